"""The result of an ablation: a row for each arm, as Markdown, as JSON, and for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from jurist.benchmarks.base import UNRESOLVED, score_pairs
from jurist.core.runs import read_decisions
from jurist.core.statistics import holm, wilson
from jurist.core.store import SCORECARD
from jurist.core.types import Record, Scorecard, Status, agrees
from jurist.core.version import __version__
from jurist.judging.pool import slim
from jurist.reports.comparison import difference
from jurist.reports.views.comparison import p_text
from jurist.reports.views.style import borderless, interval, signed
from jurist.training.ablation.plan import Plan, Planned
from jurist.training.metrics import read_metrics
from jurist.training.session import METRICS, RESULT, Result


class Row(Record, frozen=True, omit_defaults=False):
    """One arm. Shares are between 0 and 1, seconds and tokens of training are summed over its trainings.

    ``consistent``, ``first`` are None for judges that see one response at a time; ``difference``, ``p``,
    ``corrected`` (Holm's, over all arms) for the base; ``training_tokens`` where no trainer counted any.
    """

    name: str
    about: str
    n: int
    right: int
    accuracy: float
    interval: tuple[float, float]
    consistent: float | None
    unanswered: float
    first: float | None
    tokens: float
    seconds: float
    training_tokens: float | None
    model: str
    run: str
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None
    benchmarks: dict[str, float] = {}


class Ablation(Record, frozen=True, omit_defaults=False):
    """All arms on the same n pairs; the first row is the base."""

    pairs: str
    n: int
    base: str
    rows: tuple[Row, ...]
    rule: str = UNRESOLVED
    jurist: str = __version__


def ablation(plan: Plan, folders: Mapping[str, Path], scores: Mapping[str, Mapping[str, Path]]) -> Ablation:
    """The table, from the run folder of each arm on the held-out pairs, and those on benchmarks."""
    rows: list[Row] = []
    graded: list[dict[str, bool]] = []
    for arm in plan.arms:
        row, right = _row(plan, arm, folders[arm.name], scores.get(arm.name, {}))
        rows.append(row)
        graded.append(right)
    return Ablation(str(plan.held_out), len(graded[0]), plan.arms[0].name, tuple(_compared(rows, graded)))


def _row(plan: Plan, arm: Planned, folder: Path, scores: Mapping[str, Path]) -> tuple[Row, dict[str, bool]]:
    decisions = [slim(decision) for decision in read_decisions(folder)]
    right = {d.case_id: d.gold is not None and agrees(d.verdict.scores, d.gold) for d in decisions}
    card = score_pairs(decisions)
    asked = max(1, sum(card.statuses.values()))
    seconds, tokens = training_cost([stage.out for stage in plan.trainings(arm)])
    both = {} if arm.scalar else card.statistics
    row = Row(
        name=arm.name,
        about=arm.about,
        n=len(right),
        right=sum(right.values()),
        accuracy=sum(right.values()) / len(right),
        interval=wilson(sum(right.values()), len(right)),
        consistent=both.get("consistency"),
        unanswered=1 - card.statuses.get(Status.OK, 0) / asked,
        first=both.get("first_shown_wins"),
        tokens=card.usage.completion_tokens / asked,
        seconds=seconds,
        training_tokens=tokens,
        model=arm.model,
        run=str(folder),
        benchmarks={name: _score(path) for name, path in scores.items()},
    )
    return row, right


def training_cost(folders: Sequence[Path]) -> tuple[float, float | None]:
    """Seconds and tokens of trainings, from what they left; tokens None where none of them counted any."""
    results = [msgspec.json.decode((folder / RESULT).read_bytes(), type=Result) for folder in folders]
    counted = [r.tokens or _counted(folder) for r, folder in zip(results, folders, strict=True)]
    return sum(r.seconds for r in results), sum(filter(None, counted)) or None


def _counted(folder: Path) -> float:
    """The tokens in a training's metrics; a session that was resumed begins to count anew."""
    if not (folder / METRICS).exists():
        return 0.0
    logged = [line.metrics.get("num_tokens") or 0.0 for line in read_metrics(folder / METRICS)]
    seen = [n for n in logged if n]
    return sum(one for one, two in pairwise(seen) if two < one) + (seen[-1] if seen else 0.0)


def _compared(rows: Sequence[Row], graded: Sequence[Mapping[str, bool]]) -> list[Row]:
    """The rows, each after the first with what it has over the first on the same pairs."""
    base, *others = graded
    differences = [difference(row.name, [right[i] for i in base], list(base.values()))
             for row, right in zip(rows[1:], others, strict=True)]  # fmt: skip
    corrected = holm([d.p for d in differences])
    return [
        rows[0],
        *(
            msgspec.structs.replace(
                row, difference=d.value, difference_interval=d.interval, p=d.p, corrected=h
            )
            for row, d, h in zip(rows[1:], differences, corrected, strict=True)
        ),
    ]


def _score(folder: Path) -> float:
    card = msgspec.json.decode((folder / SCORECARD).read_bytes(), type=Scorecard)
    return card.headline.value if card.headline else 0.0


def columns(ablation: Ablation) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, for Markdown and for the terminal."""
    names = list(ablation.rows[0].benchmarks)
    head = ["arm", "accuracy", "95% interval", "over base", "p", "consistent", "unanswered", "first shown",
            "tokens", "training", "tokens trained", *names]  # fmt: skip
    cells = [
        [
            row.name,
            f"{row.accuracy:.1%}",
            interval(row.interval, unit=""),
            "" if row.difference is None else signed(row.difference),
            "" if row.p is None else p_text(row.p).plain,
            _share(row.consistent),
            _share(row.unanswered),
            _share(row.first),
            f"{row.tokens:,.0f}",
            _duration(row.seconds),
            "" if row.training_tokens is None else f"{row.training_tokens:,.0f}",
            *(f"{row.benchmarks[name]:.1%}" for name in names),
        ]
        for row in ablation.rows
    ]
    used = [i for i in range(len(head)) if any(line[i] for line in cells)]
    return [head[i] for i in used], [[line[i] for i in used] for line in cells]


def view(ablation: Ablation) -> Group:
    """The table for a terminal, in two parts: who is right more often; how they judge, and what it cost."""
    head, cells = columns(ablation)
    at = head.index("p") + 1 if "p" in head else 3
    parts = (range(1, at), range(at, len(head)))
    return Group(_part(head, cells, parts[0]), "", _part(head, cells, parts[1]))


def _part(head: Sequence[str], cells: Sequence[Sequence[str]], which: Iterable[int]) -> Table:
    chosen = list(which)
    table = borderless(head[0], *[head[i] for i in chosen])
    for line in cells:
        table.add_row(Text(line[0]), *(Text(line[i]) for i in chosen))
    return table


def notes(ablation: Ablation) -> list[str]:
    """What the columns mean, a sentence each."""
    return [
        f"{ablation.n:,} pairs, each judged in both orders. {ablation.rule}",
        f"Over base: percentage points over {ablation.base} on the same pairs; p is McNemar's exact test, "
        "not corrected for the number of arms (ablation.json has Holm's correction).",
        "Consistent: both orders say the same. First shown: share of the verdicts for the response that is "
        "shown first. Tokens: written for one judgment.",
        "Training: time of all trainings that lead to the arm, with their measurements on the way.",
    ]


def markdown(ablation: Ablation, title: str) -> str:
    """The table with its notes as a Markdown document."""
    head, cells = columns(ablation)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *cells]
    body = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    arms = "\n".join(f"* **{row.name}**: {row.about}" for row in ablation.rows if row.about)
    return "\n\n".join(filter(None, [f"# {title}", body, arms, "\n".join(notes(ablation))])) + "\n"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 5400 else f"{seconds / 60:,.1f} min" if seconds else ""
