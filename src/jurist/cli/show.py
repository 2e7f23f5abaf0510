"""`jurist show`: read a run in the terminal, as a list or one case whole."""

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from jurist.cli.console import next_step, say, tell_damage, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import Flag, Json, Text
from jurist.core.errors import ConfigError, StoreError, UnknownNameError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jurist.core.runs import Run
    from jurist.core.types import Decision
    from jurist.reports.selection import Selection

WHICH = Group("Which cases", sort_key=1)
_Which = Annotated[Flag, Parameter(group=WHICH)]

_NAMED = 2000
"""Among so many ids the nearest to an unknown one is looked for."""


def show(
    run: Path,
    case: str | None = None,
    /,
    *,
    wrong: _Which = False,
    ties: _Which = False,
    unanswered: _Which = False,
    disagree: _Which = False,
    group: Annotated[list[str] | None, Parameter(negative="", group=WHICH)] = None,
    search: Annotated[Text, Parameter(group=WHICH, show_default=False)] = "",
    all: _Which = False,
    full: Flag = False,
    json: Json = False,
) -> int:
    """Read a run: its decisions in a table, or one case with every judgment's reasons.

    --wrong, --ties and --unanswered add up; --disagree, --group and --search narrow what is left. On a
    terminal, what is longer than the screen is shown by $PAGER (less).

    Examples::

        jurist show runs/mine
        jurist show runs/mine --wrong --search "prime number"
        jurist show runs/mine --ties --unanswered --group math --all
        jurist show runs/mine CASE --full
        jurist show runs/mine --wrong --json | jq .verdict.scores

    Parameters
    ----------
    run
        Run folder.
    case
        Id of the case to read, or how it begins.
    wrong
        Cases whose verdict gold contradicts.
    ties
        Cases whose verdict is a tie.
    unanswered
        Cases without a verdict.
    disagree
        Cases whose judgments (orders, votes) do not all say the same.
    group
        Cases of this group; may be given several times.
    search
        Cases in which all these words occur: id, prompt, responses, reference, the judge's texts.
    all
        List all that fit, not the first ones only.
    full
        With a case: the whole responses and the whole thinking.
    json
        Decisions as JSON lines on standard output, all that fit.
    """
    from jurist.core.runs import open_run
    from jurist.reports.selection import Selection
    from jurist.reports.views.json_rows import decision_row

    selection = Selection(wrong, ties, unanswered, disagree, tuple(group or ()), search)
    if case is not None and (selection.narrows or all):
        raise ConfigError(
            f"{case!r} is one case, and the options choose several", hint="leave one of them out"
        )
    if case is None and full:
        raise ConfigError("--full shows one case whole: which?", hint=f"jurist show {run} CASE --full")
    with open_run(run) as opened:
        if opened.config.get("aggregate"):
            raise ConfigError(f"{run} holds results of groups and no decisions", hint=f"jurist score {run}")
        if case is not None:
            _show_case(opened, case, full=full, json=json)
        elif json:
            for decision in selection.of(opened):
                write_json(decision_row(decision))
        else:
            _list(opened, selection, all=all)
        tell_damage(opened)
    return 0


def _show_case(run: "Run", begins: str, *, full: bool, json: bool) -> None:
    from jurist.cli.paging import print_paged
    from jurist.reports.views.json_rows import decision_row
    from jurist.reports.views.judgment import decision_parts

    name = _id_of(run, begins)
    decision = run.decision(name)
    if decision is None:
        raise StoreError(f"the decision on {name!r} in {run.folder} cannot be read")
    if json:
        write_json(decision_row(decision))
    else:
        print_paged(decision_parts(decision, run.case(name), full=full), screen)
        if full:
            next_step("as a page to browse", "jurist", "report", run.folder)
        else:
            next_step("whole responses and thinking", "jurist", "show", run.folder, "--full", case=name)


def _list(run: "Run", selection: "Selection", *, all: bool) -> None:
    """The table, in the order of the input; how many fit is said at its end."""
    from jurist.cli.paging import print_paged

    first: list[Decision] = []
    print_paged(_tables(run, selection, first, all=all), screen)
    if selection.narrows or not first:
        say(f"{selection.fitting:,} of {len(run):,} cases fit")
    if first:
        next_step("read one", "jurist", "show", run.folder, case=first[0].case_id)


def _tables(
    run: "Run", selection: "Selection", first: "list[Decision]", *, all: bool
) -> "Iterator[RenderableType]":
    """Tables of a few rows each, so that a long list is printed while it is read."""
    from jurist.reports.views.scorecard import SHOWN, DecisionTables, more_line

    decisions = selection.of(run, slim=True)
    first += islice(decisions, SHOWN)
    tables = DecisionTables(first, screen.width)
    if first:
        yield tables.next(first)
    if all:
        while rows := list(islice(decisions, SHOWN)):
            yield tables.next(rows)
    elif not selection.narrows:
        selection.fitting = len(run)
    else:
        for _ in decisions:  # they are counted
            pass
    if selection.fitting > len(first) and not all:
        yield more_line(selection.fitting - len(first), "--all lists them")


def _id_of(run: "Run", name: str) -> str:
    """The id of a case, from the id or from how the only one begins that begins so."""
    begun = list(islice(run.ids(name), _NAMED)) if name else []
    if name in begun:
        return name
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise ConfigError(
            f"{len(begun):,} cases in {run.folder} begin with {name!r}: {', '.join(begun[:10])}",
            hint="write more of the id",
        )
    near = get_close_matches(name, list(islice(run.ids(), _NAMED)), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"jurist show {run.folder} lists them"
    raise UnknownNameError(f"no case {name!r} in {run.folder}", hint)
