"""`jurist list`: what can be named, with one line each."""

from typing import Annotated

from cyclopts import Parameter


def list_names(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Protocols, engines, deliberations and benchmarks, with one line each.

    Parameters
    ----------
    json
        As JSON on standard output.
    """
    from rich.table import Table
    from rich.text import Text

    from jurist.cli.console import out, write_json
    from jurist.judging import registry

    names = {
        "protocols": registry.PROTOCOLS,
        "engines": registry.ENGINES,
        "deliberations": {name: line for name, (line, _) in registry.DELIBERATIONS.items()},
        "benchmarks": {name: line for name, (line, *_) in registry.BENCHMARKS.items()},
    }
    if json:
        write_json(names)
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for kind, rows in names.items():
        table.add_row(Text(kind, style="bold"), "")
        for name, line in rows.items():
            table.add_row(Text(f"  {name}", style="cyan"), Text(line))
    out.print(table)
    return 0
