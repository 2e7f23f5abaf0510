"""Preference data from decisions: which pairs and completions a judge's word is good for, as TRL's rows."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations, pairwise
from math import exp, inf
from typing import Any, Literal

from jurist.core.errors import ConfigError
from jurist.core.types import Case, Conversation, Decision, Message, Record, Response, Scores
from jurist.deliberation.matches import originals
from jurist.rewards.ranking import matches_of, ranking_of

Pairs = Literal["best-worst", "best-rest", "all", "adjacent"]
"""Which responses of a ranking become pairs: its ends, its head with each other, each two, neighbours."""

Marks = Literal["best-worst", "mean"]
"""Which completions get a label: the ends of the ranking, or all that stand off the group's mean."""

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


Chance = Callable[[int, int], float | None]
"""The chance that one response (by index) beats another."""


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
    return sorted(set(originals([_turns(response) for response in case.responses])))


def pair_row(pair: Pair, case: Case, run: str, *, text: bool = False) -> dict[str, Any]:
    """A row of TRL's preference type with an explicit prompt: lists of messages, or texts.

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


def mark_row(mark: Mark, case: Case, run: str, *, text: bool = False) -> dict[str, Any]:
    """A row of TRL's unpaired preference type: lists of messages, or texts."""
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
    roles = {tuple(turn.role for turn in _turns(response)) for response in case.responses}
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


def _turns(response: Response) -> Conversation:
    return (Message("assistant", response),) if isinstance(response, str) else response


def _prompt(case: Case, *, text: bool) -> str | list[dict[str, str]]:
    return case.prompt[0].content if text else _listed(case.prompt)


def _completion(response: Response, *, text: bool) -> str | list[dict[str, str]]:
    return _turns(response)[0].content if text else _listed(_turns(response))


def _listed(turns: Conversation) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]
