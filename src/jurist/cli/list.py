"""`jurist list`: what can be named, with one line each."""

from jurist.cli.options import Json
from jurist.core.errors import unknown


def list_names(kind: str | None = None, /, *, json: Json = False) -> int:
    """Protocols, engines, deliberations and benchmarks, with one line each.

    Examples::

        jurist list
        jurist list protocols
        jurist list benchmarks --json

    Parameters
    ----------
    kind
        Only these: protocols, engines, deliberations or benchmarks.
    json
        As JSON on standard output.
    """
    from rich.text import Text

    from jurist.cli.console import out, write_json
    from jurist.judging import registry
    from jurist.reports.views.style import borderless

    names = {
        "protocols": registry.PROTOCOLS,
        "engines": registry.ENGINES,
        "deliberations": {name: line for name, (line, _) in registry.DELIBERATIONS.items()},
        "benchmarks": {name: line for name, (line, *_) in registry.BENCHMARKS.items()},
    }
    if kind is not None:
        if kind not in names:
            raise unknown("kind of name", kind, names)
        names = {kind: names[kind]}
    if json:
        write_json(names)
        return 0
    table = borderless("", words=[""], header=False)
    table.columns[0].no_wrap = True
    for title, lines in names.items():
        table.add_row(Text(title, style="bold"), "")
        for name, line in lines.items():
            table.add_row(Text(f"  {name}", style="cyan"), line)
    out.print(table)
    return 0
