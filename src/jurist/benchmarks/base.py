"""What a benchmark is, and the counting that all of them share."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from jurist.core.errors import InputError
from jurist.core.reasons import Reasons
from jurist.core.statistics import wilson
from jurist.core.types import (
    IDENTICAL,
    Case,
    Completion,
    Decision,
    Judgment,
    Order,
    Query,
    Sampling,
    Scorecard,
    ScoreRow,
    Status,
    Usage,
    Verdict,
    agrees,
    winner,
)
from jurist.deliberation.combine import majority, mean
from jurist.inputs import read_rows as read_source
from jurist.inputs.lines import Row as SourceRow

Row = TypeVar("Row")

RAW = "https://raw.githubusercontent.com"
HUB = "https://huggingface.co/datasets"


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A published file: its address, where it stands below the benchmark's folder, and its hash."""

    url: str
    path: str
    sha256: str


def on_hub(dataset: str, revision: str, files: dict[str, tuple[str, str]]) -> tuple[PinnedFile, ...]:
    """Files of a dataset of the Hugging Face Hub at a commit, as for ``on_github``."""
    return tuple(
        PinnedFile(f"{HUB}/{dataset}/resolve/{revision}/{there}", here, sha)
        for there, (here, sha) in files.items()
    )


def on_github(repository: str, commit: str, files: dict[str, tuple[str, str]]) -> tuple[PinnedFile, ...]:
    """Files of a repository at a commit: path there, and (path below the benchmark's folder, sha256)."""
    return tuple(
        PinnedFile(f"{RAW}/{repository}/{commit}/{there}", here, sha) for there, (here, sha) in files.items()
    )


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Cases and the official way to count.

    ``source`` names repository, commit and licence. ``unresolved`` says in one sentence what a verdict
    without a score is worth in the official count. ``recorded`` reads the official raw outputs of another
    judge as decisions, so that its published score can be counted again. ``many`` is how a judge of pairs
    decides cases of more than two responses, where there are some. Cases that count together have the
    same ``meta[unit]``. ``hub`` names the dataset that ``load`` reads as a path where it is only published
    there; ``files`` are published ones, pinned. Cases whose published order is known hold it in
    ``meta["order"]``: which response was shown in which slot.
    """

    name: str
    summary: str
    source: str
    unresolved: str
    load: Callable[[Path], Iterator[Case]]
    score: Callable[[Iterable[Decision]], Scorecard]
    recorded: Callable[[Path], Iterator[Decision]] | None = None
    many: str | None = None
    unit: str | None = None
    hub: str | None = None
    files: tuple[PinnedFile, ...] = ()


def by_order(decision: Decision) -> dict[Order, Verdict]:
    """One verdict per order in which the responses were shown, its scores in the order of the case.

    A judgment of a single response is a rating, belongs to no order, and is left out.
    """
    shown: dict[Order, list[Verdict]] = {}
    for judgment in decision.final_judgments:
        if len(judgment.query.order) > 1:
            shown.setdefault(judgment.query.order, []).append(judgment.verdict)
    return {order: vs[0] if len(vs) == 1 else majority(vs) for order, vs in shown.items()}


def statuses(decisions: Iterable[Decision]) -> dict[str, int]:
    """How many judgments ended in which status, in the order of ``Status``; zeros are left out."""
    counts = Counter(judgment.verdict.status for d in decisions for judgment in d.judgments)
    return {status.value: counts[status] for status in Status if counts[status]}


def usage(decisions: Iterable[Decision]) -> Usage:
    """Tokens of all decisions together."""
    return sum((d.usage for d in decisions), Usage())


def proportion(name: str, right: Sequence[bool]) -> ScoreRow:
    """A row of a scorecard: the share that is right, with its Wilson 95% interval."""
    k, n = sum(right), len(right)
    return ScoreRow(name, k / n, n, wilson(k, n))


def grouped(decisions: Iterable[Decision], first: Sequence[str] = ()) -> dict[str, list[Decision]]:
    """Decisions by their group: the ``first`` names lead, others follow as they come, no group last."""
    groups: dict[str, list[Decision]] = {name: [] for name in first}
    rest: list[Decision] = []
    for d in decisions:
        (rest if d.group is None else groups.setdefault(d.group, [])).append(d)
    named = {name: members for name, members in groups.items() if members}
    return {**named, "ungrouped": named.get("ungrouped", []) + rest} if rest else named


def scored(score: Callable[[Iterable[Decision]], Scorecard], decisions: Sequence[Decision]) -> Scorecard:
    """The official scorecard and, where a verdict is missing, what it would be otherwise.

    ``if_wrong``: every judgment without a verdict had been wrong. ``if_dropped``: cases without a verdict
    were left out. Both only where they can be told (the scorer may need all of a case's parts).
    """
    card, reasons = score(decisions), Reasons()
    for decision in decisions:
        reasons.add(decision.judgments)
    card = msgspec.structs.replace(card, reasons=reasons.most())
    if card.headline is None or all(j.verdict.scores for d in decisions for j in d.final_judgments):
        return card
    kept = [d for d in decisions if d.verdict.scores is not None]
    variants = {"if_wrong": [_wronged(d) for d in decisions], "if_dropped": kept}
    extra: dict[str, float] = {}
    for name, some in variants.items():
        headline = score(some).headline if some else None
        if headline is not None:
            extra[name] = headline.value
    return msgspec.structs.replace(card, statistics={**card.statistics, **extra})


def _wronged(decision: Decision) -> Decision:
    """The decision, what has no verdict in it answered against gold."""
    gold = decision.gold
    if gold is None or len(gold) < 2:
        return decision
    against = tuple(max(gold) - g for g in gold)
    judgments = tuple(_against(j, against) for j in decision.judgments)
    verdict = decision.verdict if decision.verdict.scores else Verdict(against)
    return msgspec.structs.replace(decision, verdict=verdict, judgments=judgments)


def _against(judgment: Judgment, against: Sequence[float]) -> Judgment:
    order = judgment.query.order
    if judgment.verdict.scores is not None or len(order) < 2:
        return judgment
    scores = tuple(against[i] for i in sorted(order))
    return msgspec.structs.replace(judgment, verdict=Verdict(scores))


def headline_name(name: str, judged: int, whole: int, unit: str = "pairs") -> str:
    """``name`` of a whole benchmark's score; of a part it says how much of it was judged."""
    return name if judged >= whole else f"mean of {judged:,} of {whole:,} {unit}"


def unique(names: Iterable[str]) -> Iterator[str]:
    """The names, from the second time on with how often they came: ``a``, ``b``, ``a#2``."""
    seen = Counter[str]()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def hub_files(path: Path, dataset: str, split: str) -> list[Path]:
    """Files of a split as a dataset's repository holds them: ``data/SPLIT-*`` or ``SPLIT-*``.

    ``path`` is the repository, or a folder in which it has the dataset's name.
    """
    for folder in (path, path / dataset):
        for place in (folder / "data", folder):
            if found := sorted(place.glob(f"{split}-*")):
                return found
    return []


def demand(decisions: Iterable[Decision], benchmark: str) -> list[Decision]:
    """The decisions as a list; raises ``InputError`` where there is nothing to count."""
    listed = list(decisions)
    if not listed:
        raise InputError(f"{benchmark}: no decisions to score", hint="an empty run, or the wrong file")
    return listed


def gold_winner(decision: Decision) -> int:
    """Which of two responses is right; raises ``InputError`` where the gold does not say."""
    best = winner(decision.gold)
    if best is None or decision.gold is None or len(decision.gold) != 2:
        raise InputError(
            f"case {decision.case_id!r}: gold is {decision.gold}, expected one of two responses to win",
            hint="gold is (1, 0) or (0, 1)",
        )
    return best


def pair_winner(decision: Decision) -> int | None:
    """Which of two responses gold names, None for a tie; raises ``InputError`` for gold of anything else."""
    if decision.gold is None or len(decision.gold) != 2:
        raise InputError(
            f"case {decision.case_id!r}: gold is {decision.gold}, expected that of a pair",
            hint="gold is (1, 0), (0, 1) or a tie, (0.5, 0.5)",
        )
    return winner(decision.gold)


def transcribed(case: Case, judgments: Sequence[Judgment]) -> Decision:
    """The decision that recorded games amount to: the mean of those that were resolved.

    So one clear order decides alone, and two that contradict each other are a tie.
    """
    verdict = mean([j.verdict for j in judgments])
    said = [winner(j.verdict.scores) for j in judgments if j.verdict.scores]
    agreement = said.count(winner(verdict.scores)) / len(said) if said else None
    return Decision(case.id, verdict, tuple(judgments), agreement, case.gold, case.group, case.meta)


def rated(case: Case, scores: tuple[float, ...]) -> Decision:
    """The decision that recorded scores amount to, each of a response that was judged alone."""
    judgments = tuple(
        Judgment(Query(case.id, (i,), 0, (), Sampling()), Completion(), Verdict((score,), via="recorded"))
        for i, score in enumerate(scores)
    )
    verdict = Verdict(scores, via="recorded")
    return Decision(case.id, verdict, judgments, None, case.gold, case.group, case.meta)


def score_pairs(decisions: Iterable[Decision], name: str = "pairs") -> Scorecard:
    """Accuracy of the verdicts against gold, for cases of two or more responses; one pass, little memory."""
    tally = PairsTally()
    for decision in decisions:
        tally.add(decision)
    return tally.scorecard(name)


UNRESOLVED = "A tie (where gold is none) and an unresolved verdict count as wrong."


class PairsTally:
    """Counts decisions one by one, and gives their scorecard at any time.

    Right is: the same response wins. A tie is right only where gold is the same tie; an unresolved
    verdict never is. Decisions without gold (and ratings) are not graded, but counted.
    """

    def __init__(self) -> None:
        self._n = self._ties = self._unresolved = self._identical = 0
        self._both = self._consistent = self._games = self._first = 0
        self._right: dict[str, list[bool]] = {}
        self._statuses: Counter[Status] = Counter()
        self._usage = self._reused = Usage()
        self._reasons = Reasons()

    def add(self, decision: Decision) -> None:
        """Count one decision."""
        self._n += 1
        self._usage += decision.usage
        self._reused += decision.reused
        self._statuses.update(j.verdict.status for j in decision.judgments)
        self._reasons.add(decision.judgments)
        self._ties += len(decision.verdict.scores or ()) > 1 and winner(decision.verdict.scores) is None
        self._unresolved += decision.verdict.scores is None
        self._identical += decision.verdict.note == IDENTICAL
        self._orders(decision)
        if decision.gold is not None and len(decision.gold) > 1:
            right = agrees(decision.verdict.scores, decision.gold)
            self._right.setdefault(decision.group or "ungrouped", []).append(right)

    def scorecard(self, name: str = "pairs", seconds: float = 0.0) -> Scorecard:
        """What was counted so far."""
        graded = [right for group in self._right.values() for right in group]
        rows = tuple(proportion(g, right) for g, right in self._right.items())
        return Scorecard(
            name=name,
            headline=proportion("overall", graded) if graded else None,
            groups=rows if len(rows) > 1 else (),
            statistics=self._statistics(len(graded)),
            statuses={s.value: self._statuses[s] for s in Status if self._statuses[s]},
            unresolved=UNRESOLVED if graded else "",
            usage=self._usage,
            reused=self._reused,
            seconds=seconds,
            reasons=self._reasons.most(),
        )

    def _orders(self, decision: Decision) -> None:
        """Each pair of responses that was judged, in one order or in both."""
        pairs: dict[frozenset[int], list[int | None]] = {}
        for order, verdict in by_order(decision).items():
            if verdict.scores:
                best = winner(verdict.scores)
                response = None if best is None else sorted(order)[best]
                pairs.setdefault(frozenset(order), []).append(response)
                self._games += 1
                self._first += order[0] == response
        both = [winners for winners in pairs.values() if len(winners) > 1]
        self._both += len(both)
        self._consistent += sum(len(set(winners)) == 1 for winners in both)

    def _statistics(self, graded: int) -> dict[str, float]:
        counts: dict[str, float] = {
            "ties": self._ties,
            "unresolved": self._unresolved,
            "without_gold": self._n - graded,
        }
        if self._identical:
            counts["identical"] = self._identical
        shares = {
            "consistency": (self._consistent, self._both),
            "first_shown_wins": (self._first, self._games),
        }
        return counts | {name: k / n for name, (k, n) in shares.items() if n}


def read_rows(path: Path, row: type[Row]) -> Iterator[Row]:
    """The rows of a file of any format, a folder or an ``hf:`` name; raises naming file, line and field."""

    def typed(found: SourceRow) -> Row:
        try:
            return msgspec.convert(found.fields, row)
        except msgspec.ValidationError as error:
            raise InputError(str(error)) from error

    return read_source(str(path), typed)


def read_lines(path: Path, row: type[Row]) -> Iterator[Row]:
    """The rows of a JSON-lines file; raises ``InputError`` naming file, line and field."""
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        if line.strip():
            yield decoded(line, row, f"{path}, line {number}")


def read_list(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a file that is one JSON array; raises ``InputError`` naming file and field."""
    return decoded(read_bytes(path), list[row], str(path))


def decoded(data: bytes, kind: type[Row], place: str) -> Row:
    """A JSON value of a type; raises ``InputError`` with the place, and with a field that is NaN or infinite.

    Python's own writer, which most official code uses, writes those as ``NaN`` and ``Infinity``.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        field = _not_finite(data)
        if field is None:
            raise InputError(f"{place}: {error}") from error
        raise InputError(
            f"{place}: {field} is no finite number",
            "the program that wrote it failed there: run it again, or take the entry out",
        ) from error


def _not_finite(data: bytes) -> str | None:
    """Where the first NaN or infinity stands in what Python's JSON writer wrote; None where there is none."""
    if not re.search(rb"\b(NaN|Infinity)\b", data):
        return None
    try:
        value: Any = json.loads(data)
    except ValueError:
        return None
    found: list[tuple[str, Any]] = [("", value)]
    while found:
        name, item = found.pop(0)
        if isinstance(item, dict):
            entries = cast("dict[str, Any]", item).items()
            found += [(f"{name}.{key}" if name else key, entry) for key, entry in entries]
        elif isinstance(item, list):
            found += [(f"{name}[{i}]", entry) for i, entry in enumerate(cast("list[Any]", item))]
        elif isinstance(item, float) and not isfinite(item):
            return f"{name or 'the value'} ({item})"
    return None


def one_file(path: Path, *patterns: str) -> Path:
    """A file of results: ``path`` itself, or the one file in a folder that fits the first fitting pattern.

    Raises ``InputError`` where a folder has none, or several.
    """
    if not path.is_dir():
        return path
    for pattern in patterns:
        files = sorted(file for file in path.glob(pattern) if file.is_file())
        if len(files) == 1:
            return files[0]
        if files:
            names = ", ".join(file.name for file in files[:4]) + (", ..." if len(files) > 4 else "")
            raise InputError(
                f"{path} holds {len(files)} files of results: {names}", "name the one that is meant"
            )
    raise InputError(f"{path}: no file of results ({' or '.join(patterns)}) in this folder", "name the file")


def read_bytes(path: Path) -> bytes:
    """What a file holds; raises ``InputError`` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
