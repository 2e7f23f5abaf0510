"""`jurist report`, `jurist view` and `jurist agree`: runs in a browser, and the reader's own labels."""

import webbrowser
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import Parameter

from jurist.cli.console import next_step, out, say, write_json
from jurist.cli.options import OUTPUT, Flag, Json, Out
from jurist.core.errors import ConfigError, InputError

Runs = Annotated[list[Path], Parameter(negative="")]


def report(
    *run: Path,
    out: Out = Path("report.html"),
    title: str | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    open: Annotated[Flag, Parameter(group=OUTPUT)] = False,
) -> int:
    """Write a run, or several beside each other, as one HTML file that opens from disk and loads nothing.

    Numbers with their intervals, the audit as sentences, and every judgment: prompt, responses, both orders
    and all votes, rubric, quotations marked in the responses, thinking. Filters, search and keys; press ?
    in the page. The reader's own verdicts (keys a, b, t) are exported as labels for `jurist agree`.

    Examples::

        jurist report runs/mine
        jurist report runs/judge runs/other --out compare.html
        jurist report runs/mine --price-in 0.5 --price-out 2 --open

    Parameters
    ----------
    run
        Run folders, also of trainings (curves and sampled judgments). The first gives the order of the cases.
    out
        File to write.
    title
        Title of the page (the names of the runs).
    price_in
        Money per million tokens read.
    price_out
        Money per million tokens written.
    open
        Open it in the browser.
    """
    from jurist.core.files import write_whole

    _check(run)
    name = title or ", ".join(folder.resolve().name for folder in run)
    html = _page(run, name, price_in, price_out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, html.encode("utf-8", "replace"))
    say(f"{out}: {len(html) / 1e6:.1f} MB")
    if open:
        webbrowser.open(out.resolve().as_uri())
    next_step("label cases in it (keys a, b, t), then", "jurist", "agree", run[0], "labels.jsonl")
    return 0


def view(
    *run: Path,
    port: Annotated[int, Parameter(group=OUTPUT)] = 8400,
    price_in: float | None = None,
    price_out: float | None = None,
    open: Annotated[Flag, Parameter(group=OUTPUT)] = False,
) -> int:
    """Serve the report of a run on this machine, and show what comes while the run goes on.

    Examples::

        jurist view runs/mine
        jurist view runs/mine --open
        jurist view runs/judge runs/other --port 9000

    Parameters
    ----------
    run
        Run folders, as for `jurist report`.
    port
        Port on the loopback address (0: any free one).
    price_in
        Money per million tokens read.
    price_out
        Money per million tokens written.
    open
        Open it in the browser.
    """
    from jurist.reports.page.live import serve

    _check(run)
    name = ", ".join(folder.resolve().name for folder in run)

    def started(address: str) -> None:
        say(f"{address} (Ctrl-C ends it)")
        if open:
            webbrowser.open(address)

    serve([*run], lambda: _page(run, name, price_in, price_out, live=True), port, started)
    return 0


def agree(
    run: Path,
    labels: str,
    /,
    *,
    width: float = 5.0,
    json: Json = False,
) -> int:
    """Compare a judge with a person's labels: agreement, Cohen's kappa, and how many more labels are needed.

    Examples::

        jurist agree runs/mine labels.jsonl
        jurist agree runs/mine labels.jsonl --width 3
        jurist agree runs/mine labels.jsonl --json | jq .kappa

    Parameters
    ----------
    run
        Run folder.
    labels
        Rows with `id` and `gold` (an index, or a number per response; equal numbers are a tie), as the report
        exports them; any file that `jurist judge` reads, if its rows have ids.
    width
        Half width of the 95% interval of agreement that is wanted, in percentage points.
    json
        The result as JSON on standard output.
    """
    from jurist.core.runs import open_run
    from jurist.reports.agreement import agreement
    from jurist.reports.views.agreement import agreement_view

    if not 0 < width < 50:
        raise ConfigError(
            f"--width {width:g} is out of range", hint="percentage points, above 0 and below 50"
        )
    with open_run(run) as opened:
        found = agreement(opened.decisions(slim=True), _labels(labels), width=width / 100)
    if json:
        write_json(found)
    else:
        out.print(agreement_view(found))
    next_step("read the cases", "jurist", "report", run)
    return 0


def _check(run: tuple[Path, ...]) -> None:
    if not run:
        raise ConfigError("which run?", hint="jurist report runs/mine")


def _page(
    runs: tuple[Path, ...], title: str, price_in: float | None, price_out: float | None, *, live: bool = False
) -> str:
    from jurist.reports.page.build import build
    from jurist.reports.page.collect import collect

    given = price_in is not None or price_out is not None
    return build(
        collect(runs, prices=(price_in or 0.0, price_out or 0.0) if given else None), title, live=live
    )


def _labels(source: str) -> dict[str, tuple[float, ...]]:
    from jurist.inputs import read_rows

    def label(row: Any) -> tuple[str, tuple[float, ...]]:
        fields = row.fields
        name, gold = fields.get("id"), fields.get("gold")
        if not isinstance(name, (str, int)):
            raise InputError("id: a label names its case", "rows as the report exports them")
        if isinstance(gold, int) and not isinstance(gold, bool):
            count = max(2, gold + 1, len(fields.get("responses") or ()))
            return str(name), tuple(float(i == gold) for i in range(count))
        numbers = cast("list[Any]", gold) if isinstance(gold, list) else []
        if numbers and all(isinstance(g, (int, float)) for g in numbers):
            return str(name), tuple(map(float, numbers))
        raise InputError(f"gold: {gold!r} is no label", "an index, or a number for each response")

    return dict(read_rows(source, label))
