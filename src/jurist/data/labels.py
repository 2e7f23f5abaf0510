"""Preference rows for TRL from decisions: pairs and labelled completions that pass the rules."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import exp, inf
from pathlib import Path
from typing import Literal, TypedDict

import msgspec

from jurist.core.errors import ConfigError, InputError
from jurist.core.files import write_whole
from jurist.core.types import Case, Decision, Record, Response, Scores
from jurist.data.rows import RowsInOrder, as_messages, turns_of
from jurist.deliberation.matches import originals
from jurist.inputs import BadRows
from jurist.judging.build import JudgeSetup
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import check_arity
from jurist.rewards.ranking import matches_of, ranking_of

LABELS = "labels.json"
"""The counts in the run folder."""

Pairs = Literal["best-worst", "best-rest", "all", "adjacent"]
"""Which responses of a ranking become pairs: best and worst, best and each other, every two, neighbours."""

Marks = Literal["best-worst", "mean"]
"""Which completions get a label: best and worst, or all whose score is not the group's mean."""

IDENTICAL, AGREEMENT = "identical responses", "under the agreement"
TIE, MARGIN, CONTRADICTED, ONE_ORDER = "tie", "under the margin", "orders disagree", "not in both orders"


class Rules(Record, frozen=True):
    """Which labels are kept. Margins are in the unit of the scores: 0 to 1 for shares and win rates."""

    pairs: Pairs = "best-worst"
    marks: Marks = "best-worst"
    min_margin: float = 0.0
    min_agreement: float = 0.0
    consistent: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers and combinations that mean nothing."""
        if not 0 <= self.min_margin < inf:
            raise ConfigError(f"--min-margin {self.min_margin} is out of range", hint="a number from 0 on")
        if not 0 <= self.min_agreement <= 1:
            raise ConfigError(f"--min-agreement {self.min_agreement} is out of range", hint="a share, 0 to 1")
        if self.consistent and self.marks == "mean":
            raise ConfigError(
                "--consistent is about pairs, and labels by the mean are none", hint="leave one of them out"
            )


class Pair(Record, frozen=True):
    """Response ``chosen`` is better than ``rejected`` (indices into the case); numbers as in ``pairs_of``."""

    chosen: int
    rejected: int
    margin: float
    confidence: float | None
    agreement: float | None


class Mark(Record, frozen=True):
    """Response ``index`` is good (``label``) or bad; numbers as in ``marks_of``."""

    index: int
    label: bool
    margin: float
    confidence: float | None
    agreement: float | None


class PairRow(TypedDict):
    """A row of TRL's preference type with an explicit prompt: lists of messages, or texts."""

    prompt: str | list[dict[str, str]]
    chosen: str | list[dict[str, str]]
    rejected: str | list[dict[str, str]]
    margin: float
    confidence: float | None
    agreement: float | None
    case_id: str
    chosen_index: int
    rejected_index: int
    run: str


class MarkRow(TypedDict):
    """A row of TRL's unpaired preference type: lists of messages, or texts."""

    prompt: str | list[dict[str, str]]
    completion: str | list[dict[str, str]]
    label: bool
    margin: float
    confidence: float | None
    agreement: float | None
    case_id: str
    index: int
    run: str


Chance = Callable[[int, int], float | None]
"""The chance that one response (by index) beats another."""


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """The options of `jurist label`, checked: ``targets`` has a file for each format (dpo, kto).

    ``policy`` is the model of which ``sample`` responses to each prompt are drawn.
    """

    source: str
    out: Path
    targets: dict[str, Path]
    rules: Rules
    text: bool
    sample: int | None
    policy: JudgeConfig | None
    skip_bad: bool
    limit: int | None
    config: JudgeConfig


class LabelWriter:
    """The cases of a plan on their way to the judge, what is left out of them, and their rows.

    ``sampled`` counts drawn responses: those that are "whole", and the others by what is wrong with them.
    """

    def __init__(self, plan: LabelPlan, setup: JudgeSetup) -> None:
        self.bad = BadRows(skip=plan.skip_bad)
        self.sampled: Counter[str] = Counter()
        self._plan, self._setup = plan, setup
        self._cases = 0
        self._files = {name: RowsInOrder(path) for name, path in plan.targets.items()}
        self._left_out: dict[str, Counter[str]] = {name: Counter() for name in plan.targets}
        self._pending: dict[str, tuple[int, Case]] = {}

    def taken(self, cases: Iterable[Case]) -> Iterator[Case]:
        """The cases that are worth a judgment, their places noted: decisions come in any order."""
        for case in cases:
            try:
                flaw = self._flaw(case)
            except InputError as error:
                if self.bad.on_bad is None:
                    raise
                self.bad.on_bad(error)
                continue
            self._cases += 1
            if flaw:
                for counts in self._left_out.values():
                    counts[flaw] += 1
                continue
            self._pending[case.id] = self._cases, case
            yield case

    def counted(self, cases: Iterable[Case]) -> Iterator[Case]:
        """As ``taken``, for cases that are handed back by ``add_case``: none is held in memory."""
        for case in self.taken(cases):
            self._pending.clear()
            yield case

    def add_case(self, place: int, case: Case, decision: Decision) -> None:
        """Make the rows of a case that ``counted`` gave; ``place``: among these."""
        self._pending[case.id] = place, case
        self.add(decision)

    def add(self, decision: Decision) -> None:
        """Make the rows of a decision."""
        place, case = self._pending.pop(decision.case_id)
        for name, file in self._files.items():
            rows, left_out = self._rows(name, decision, case)
            file.add(place, rows)
            self._left_out[name] += left_out

    def finish(self, say: Callable[[str], None]) -> None:
        """Write the rows and the counts, and say them; raises ``InputError`` where there is no row at all."""
        for line in self.bad.lines():
            say(line)
        for name, file in self._files.items():
            with file:
                file.finish()
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in self._left_out[name].most_common())
            counts = f"{file.rows:,} rows of {file.cases:,} of {self._cases:,} cases in {file.path}"
            say(f"{name}: {counts}; left out: {reasons or 'nothing'}")
        path = self._plan.out / LABELS
        write_whole(path, msgspec.json.format(msgspec.json.encode(self._report()), indent=2) + b"\n")
        if not self._cases:
            raise InputError(
                "no case was labelled: the source has no readable row", "see what is listed above"
            )
        if not any(file.rows for file in self._files.values()):
            raise InputError(f"none of {self._cases:,} cases gave a row", f"{path} says why")

    def _flaw(self, case: Case) -> str:
        """Why a case needs no judging, if so; raises for one that cannot be labelled."""
        n = len(case.responses)
        if n < 2 and self._plan.sample:
            return "fewer than two whole responses"
        if n < 2:
            raise InputError(
                f"case {case.id!r} has one response; a label needs two or more",
                "add responses, or sample them: --sample 4 --policy policy.toml",
            )
        if not self._setup.takes_many:
            check_arity(self._setup.protocol, case, n)
        if self._plan.text and not is_plain(case):
            raise InputError(
                f"case {case.id!r} has more than a user's turn and an assistant's: --text cannot write it",
                "leave out --text: rows are lists of messages then",
            )
        return IDENTICAL if len(different(case)) < 2 else ""

    def _rows(
        self, name: str, decision: Decision, case: Case
    ) -> tuple[Sequence[PairRow] | Sequence[MarkRow], Counter[str]]:
        """The rows of a case, and what was left out for which reason."""
        plan, folder = self._plan, str(self._plan.out)
        if name == "dpo":
            pairs, left_out = pairs_of(decision, case, plan.rules)
            return [pair_row(pair, case, folder, text=plan.text) for pair in pairs], left_out
        marks, left_out = marks_of(decision, case, plan.rules)
        return [mark_row(mark, case, folder, text=plan.text) for mark in marks], left_out

    def _report(self) -> dict[str, object]:
        plan = self._plan
        report: dict[str, object] = {"source": plan.source, "cases": self._cases, "bad_rows": self.bad.count}
        if plan.sample:
            report["responses"] = dict(self.sampled)
        for name, file in self._files.items():
            counts = {"file": str(file.path), "rows": file.rows, "cases": file.cases}
            report[name] = {**counts, "left_out": dict(self._left_out[name])}
        return {**report, "options": {**msgspec.structs.asdict(plan.rules), "text": plan.text}}


def pairs_of(decision: Decision, case: Case, rules: Rules) -> tuple[list[Pair], Counter[str]]:
    """The pairs of a case, best first, and how many were left out for which reason.

    ``margin`` is the difference of the decision's scores, rounded to nine digits; where it is 0 the two are
    tied. ``confidence`` is ``chance_of``, ``agreement`` ``agreement_of``. Of identical responses the first
    stands for all. A case that is left out as a whole (no verdict, under the agreement, identical responses)
    counts as one.
    """
    return _pairs(decision, case, rules, rules.pairs)


def marks_of(decision: Decision, case: Case, rules: Rules) -> tuple[list[Mark], Counter[str]]:
    """The labelled completions of a case, and how many were left out for which reason.

    "best-worst": the two of that pair, with its numbers; a pair that is left out counts as one. "mean":
    every response whose score is off the mean of the case's different responses; ``margin`` is by how much,
    ``confidence`` the mean of the chances that it beats (label true) or loses to (false) each other one.
    """
    if rules.marks == "mean":
        return _by_mean(decision, case, rules)
    pairs, left_out = _pairs(decision, case, rules, "best-worst")
    ends = [(pair, index, index == pair.chosen) for pair in pairs for index in (pair.chosen, pair.rejected)]
    return [Mark(i, good, p.margin, p.confidence, p.agreement) for p, i, good in ends], left_out


def chance_of(decision: Decision, case: Case) -> Chance:
    """The judge's own estimate of the chance that one response of a case beats another.

    Of two different responses: the mean share that the final judgments (``Decision.final_judgments``) give
    the first, a hard verdict being 1 or 0, a tie half. Of more: 1 / (1 + exp(b - a)) with the Bradley-Terry
    strengths a and b of all matches, fitted by ``bradley_terry`` with its default prior.
    None where no two responses were compared (ratings of single responses, rankings in one call). It is as
    calibrated as the judge is, which `jurist audit` measures; two judgments that agree give 1.
    """
    matches = matches_of(decision)
    if not matches:
        return lambda _better, _worse: None
    if len(matches) == 1 and len(different(case)) == 2:
        first, share = matches[0].first, matches[0].score
        return lambda better, _worse: _clean(share if better == first else 1 - share)
    strengths = ranking_of(decision, len(case.responses), "bradley-terry").ratings
    return lambda better, worse: _clean(1 / (1 + exp(strengths[worse] - strengths[better])))


def agreement_of(decision: Decision) -> float | None:
    """``Decision.agreement`` where judgments saw responses side by side; ratings alone cannot agree."""
    compared = any(len(judgment.query.order) > 1 for judgment in decision.final_judgments)
    return decision.agreement if compared else None


def different(case: Case) -> list[int]:
    """The first of each set of identical responses, by index."""
    return sorted(set(originals([turns_of(response) for response in case.responses])))


def pair_row(pair: Pair, case: Case, run: str, *, text: bool = False) -> PairRow:
    """The row of a pair; ``text``: prompt and responses as texts.

    ``run`` and ``case_id`` say where the reasons are: `jurist show RUN CASE_ID`.
    """
    return {
        "prompt": _prompt(case, text=text),
        "chosen": _completion(case.responses[pair.chosen], text=text),
        "rejected": _completion(case.responses[pair.rejected], text=text),
        "margin": pair.margin,
        "confidence": pair.confidence,
        "agreement": pair.agreement,
        "case_id": case.id,
        "chosen_index": pair.chosen,
        "rejected_index": pair.rejected,
        "run": run,
    }


def mark_row(mark: Mark, case: Case, run: str, *, text: bool = False) -> MarkRow:
    """The row of a labelled completion, as ``pair_row``."""
    return {
        "prompt": _prompt(case, text=text),
        "completion": _completion(case.responses[mark.index], text=text),
        "label": mark.label,
        "margin": mark.margin,
        "confidence": mark.confidence,
        "agreement": mark.agreement,
        "case_id": case.id,
        "index": mark.index,
        "run": run,
    }


def is_plain(case: Case) -> bool:
    """Whether a case can be written as texts: one user turn, and responses of one assistant turn each."""
    roles = {tuple(turn.role for turn in turns_of(response)) for response in case.responses}
    return [turn.role for turn in case.prompt] == ["user"] and roles == {("assistant",)}


def _pairs(decision: Decision, case: Case, rules: Rules, which: Pairs) -> tuple[list[Pair], Counter[str]]:
    scores, flaw = decision.verdict.scores, _case_flaw(decision, case, rules)
    if scores is None or flaw:
        return [], Counter([flaw])
    chance, agreement = chance_of(decision, case), agreement_of(decision)
    kept: list[Pair] = []
    left_out: Counter[str] = Counter()
    for better, worse in _matched(_ranked(scores, different(case)), which):
        margin = _clean(scores[better] - scores[worse])
        if flaw := _flaw(margin, rules) or _order_flaw(decision, better, worse, rules):
            left_out[flaw] += 1
        else:
            kept.append(Pair(better, worse, margin, chance(better, worse), agreement))
    return kept, left_out


def _by_mean(decision: Decision, case: Case, rules: Rules) -> tuple[list[Mark], Counter[str]]:
    scores, flaw = decision.verdict.scores, _case_flaw(decision, case, rules)
    if scores is None or flaw:
        return [], Counter([flaw])
    chance, agreement, players = chance_of(decision, case), agreement_of(decision), different(case)
    mean = sum(scores[i] for i in players) / len(players)
    kept: list[Mark] = []
    left_out: Counter[str] = Counter()
    for i in _ranked(scores, players):
        good, margin = scores[i] > mean, _clean(abs(scores[i] - mean))
        if flaw := _flaw(margin, rules):
            left_out[flaw] += 1
            continue
        chances = [chance(i, j) if good else chance(j, i) for j in players if j != i]
        known = [c for c in chances if c is not None]
        kept.append(Mark(i, good, margin, sum(known) / len(known) if known else None, agreement))
    return kept, left_out


def _case_flaw(decision: Decision, case: Case, rules: Rules) -> str:
    """Why a case as a whole gives no label; empty where it may."""
    if decision.verdict.scores is None:
        return f"no verdict: {decision.verdict.status}"
    if len(different(case)) < 2:
        return IDENTICAL
    agreement = agreement_of(decision)
    return AGREEMENT if rules.min_agreement > (0.0 if agreement is None else agreement) else ""


def _flaw(margin: float, rules: Rules) -> str:
    if not margin > 0:
        return TIE
    return MARGIN if margin < rules.min_margin else ""


def _order_flaw(decision: Decision, better: int, worse: int, rules: Rules) -> str:
    """Whether the judgments that showed the better one first, and those that showed it second, prefer it."""
    if not rules.consistent:
        return ""
    leads: dict[bool, list[float]] = {True: [], False: []}
    for judgment in decision.final_judgments:
        order, scores = judgment.query.order, judgment.verdict.scores
        if scores and better in order and worse in order:
            # A judgment's scores stand in the order of the case.
            by_index = dict(zip(sorted(order), scores, strict=True))
            leads[order.index(better) < order.index(worse)].append(by_index[better] - by_index[worse])
    if not all(leads.values()):
        return ONE_ORDER
    return "" if all(_clean(sum(side)) > 0 for side in leads.values()) else CONTRADICTED


def _ranked(scores: Scores, players: Iterable[int]) -> list[int]:
    return sorted(players, key=lambda i: -scores[i])


def _matched(ranked: list[int], which: Pairs) -> list[tuple[int, int]]:
    """The pairs of a ranking, the better first."""
    best, *rest = ranked
    return {
        "best-worst": [(best, ranked[-1])],
        "best-rest": [(best, other) for other in rest],
        "all": list(combinations(ranked, 2)),
        "adjacent": list(pairwise(ranked)),
    }[which]


def _clean(number: float) -> float:
    # Means of shares leave dust; without it equal scores are a tie and 0.6 - 0.4 is 0.2.
    return round(number, 9) + 0.0


def _prompt(case: Case, *, text: bool) -> str | list[dict[str, str]]:
    return case.prompt[0].content if text else as_messages(case.prompt)


def _completion(response: Response, *, text: bool) -> str | list[dict[str, str]]:
    turns = turns_of(response)
    return turns[0].content if text else as_messages(turns)
