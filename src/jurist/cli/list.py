"""`jurist list`: what can be named, with one line each."""

from jurist.cli.options import Json
from jurist.core.errors import unknown


def list_names(kind: str | None = None, /, *, json: Json = False) -> int:
    """Protocols, engines, deliberations, benchmarks and JSON schemas, with one line each.

    Examples::

        jurist list
        jurist list protocols
        jurist list schemas --json | jq .decision

    Parameters
    ----------
    kind
        Only these: protocols, engines, deliberations, benchmarks or schemas (of what a run's files and
        standard output hold).
    json
        As JSON on standard output; of schemas the whole.
    """
    from rich.text import Text

    from jurist.cli.console import next_step, out, write_json
    from jurist.core.schemas import SCHEMAS, schema
    from jurist.judging import registry
    from jurist.reports.views.style import borderless

    names = {
        "protocols": {**registry.PROTOCOLS, **dict([registry.OWN_PROTOCOL])},
        "engines": registry.ENGINES,
        "deliberations": {name: line for name, (line, _) in registry.DELIBERATIONS.items()},
        "benchmarks": {name: line for name, (line, *_) in registry.BENCHMARKS.items()},
        "schemas": {name: line.replace("`", "") for name, (line, _) in SCHEMAS.items()},
    }
    if kind is not None:
        if kind not in names:
            raise unknown("kind of name", kind, names)
        names = {kind: names[kind]}
    if json:
        schemas = {name: schema(name) for name in SCHEMAS}
        write_json(schemas if kind == "schemas" else names)
        return 0
    table = borderless("", words=[""], header=False)
    table.columns[0].no_wrap = True
    for title, lines in names.items():
        table.add_row(Text(title, style="bold"), "")
        for name, line in lines.items():
            table.add_row(Text(f"  {name}", style="cyan"), line)
    out.print(table)
    next_step("how a command takes them", "jurist", "help", "judge")
    return 0
