"""The bias audit of one run: position, length, markup, calibration, and what was not answered."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from jurist.core.errors import InputError
from jurist.core.runs import Run
from jurist.core.types import Case, Decision, Record, Scores
from jurist.reports.audit.calibration import Reliability, calibration
from jurist.reports.audit.cells import Matrix, cells
from jurist.reports.audit.faithfulness import Reasons
from jurist.reports.audit.findings import Finding, Item, Traits
from jurist.reports.audit.leanings import Leaning, leanings, traits
from jurist.reports.audit.position import position
from jurist.reports.audit.unanswered import unanswered
from jurist.reports.compact import Compact


@dataclass(frozen=True, slots=True)
class Known:
    """What the audit keeps of a case: enough to tell it again, and the traits of its responses."""

    digest: str
    gold: Scores | None
    traits: tuple[Traits, ...]


class Audit(Record, frozen=True):
    """What a run shows of its judge's habits; ``left_out`` says what could not be looked at, and why."""

    name: str
    n: int
    position: tuple[Finding, ...]
    leanings: tuple[Leaning, ...]
    style: tuple[Finding, ...]
    matrix: Matrix | None
    calibration: Reliability | None
    confidence: tuple[Finding, ...]
    unanswered: tuple[Finding, ...]
    left_out: tuple[str, ...]
    reasons: tuple[Finding, ...] = ()


def known(cases: Iterable[Case]) -> dict[str, Known]:
    """The cases by id, without their texts."""
    return {c.id: _known(c) for c in cases}


def _known(case: Case) -> Known:
    return Known(case.digest, case.gold, tuple(map(traits, case.responses)))


def read_run(run: Run, cases: Mapping[str, Known], reasons: Reasons) -> Iterator[Item]:
    """The decisions of a run without their texts, joined with ``cases``, or else with those that it holds.

    ``reasons`` counts the judgments of the cases that it holds.
    """
    digests, compact = run.digests(), Compact()
    for decision, case in run.decided():
        if case is not None:
            for judgment in decision.judgments:
                reasons.add(case, judgment)
        known = cases.get(decision.case_id)
        yield read_item(decision, known, case, digests.get(decision.case_id, ""), compact)


def read_item(
    decision: Decision, elsewhere: Known | None, case: Case | None, digest: str, compact: Compact
) -> Item:
    """A decision without its texts, joined with its case from elsewhere, or else with the run's own."""
    return _item(decision, elsewhere or (_known(case) if case is not None else None), digest, compact)


def read_items(
    decisions: Iterable[Decision], cases: Mapping[str, Known], digests: Mapping[str, str]
) -> list[Item]:
    """The decisions without their texts, joined with their cases; a case that differs is not joined."""
    compact = Compact()
    return [_item(d, cases.get(d.case_id), digests.get(d.case_id, ""), compact) for d in decisions]


def audit(name: str, items: Iterable[Item], reasons: Reasons | None = None) -> Audit:
    """Audit a run; raises ``InputError`` where it holds no decisions.

    ``reasons``: what was counted while the items were read.
    """
    listed = list(items)
    if not listed:
        raise InputError(f"{name}: no decisions to audit", hint="an empty run, or the wrong folder")
    matrix, style = cells(listed)
    bins, confidence = calibration(listed)
    positions = position(listed)
    leaning = leanings(listed)
    return Audit(
        name=name,
        n=len(listed),
        position=tuple(positions),
        leanings=tuple(leaning),
        style=tuple(style),
        matrix=matrix,
        calibration=bins,
        confidence=tuple(confidence),
        unanswered=tuple(unanswered(listed)),
        left_out=tuple(_left_out(listed, positions, bins, confidence)),
        reasons=reasons.findings() if reasons else (),
    )


def _item(decision: Decision, case: Known | None, digest: str, compact: Compact) -> Item:
    asked = max((sum(len(m.content) for m in j.query.messages) for j in decision.judgments), default=0)
    same = case and (digest == case.digest if digest else decision.gold == case.gold)
    return Item(compact.decision(decision), case.traits if case and same else (), asked)


def _left_out(
    items: list[Item], positions: list[Finding], bins: Reliability | None, confidence: list[Finding]
) -> Iterable[str]:
    unknown = sum(not item.traits for item in items)
    if unknown == len(items):
        yield "length and markup: the responses are not in a run; name their source with --data"
    elif unknown:
        yield f"length and markup of {unknown:,} cases: the source does not hold them, or holds others"
    if not any(f.name == "consistency" for f in positions):
        yield "consistency: no pair was judged in both orders (--deliberation swapped)"
    if bins is None:
        yield "calibration: no graded pair has shares of votes or probabilities as its scores"
    elif not confidence:
        yield "calibration: every verdict is wholly sure; vote(5), or --forced always, says how sure"
