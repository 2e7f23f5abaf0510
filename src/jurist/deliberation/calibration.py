"""Finds the threshold of a cascade on data: the lead from which on the cheap judge decides alone."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from math import inf
from statistics import fmean

from jurist.core.errors import InputError
from jurist.core.statistics import wilson
from jurist.core.types import Decision, Record, ScoreRow, Scores, agrees
from jurist.deliberation.effort import margin_of

FOLDS = 5


class Trial(Record, frozen=True):
    """A case that both judges decided: the cheap one's lead (None: no verdict), and who was right."""

    case_id: str
    lead: float | None
    cheap: bool
    thorough: bool
    tokens: int = 0
    """What the thorough judge wrote."""


class Threshold(Record, frozen=True):
    """A cascade at a threshold: its accuracy, and the share of cases that the thorough judge is asked."""

    value: float
    score: ScoreRow
    asked: float
    tokens: float


class CascadeCalibration(Record, frozen=True):
    """The chosen threshold, the two judges alone, and the choice on cases that it was not made on."""

    chosen: Threshold
    held_out: Threshold
    cheap: ScoreRow
    thorough: ScoreRow
    steps: tuple[Threshold, ...]
    loss: float
    tokens: float
    """What the thorough judge alone writes, per case."""


def trials_of(cheap: Iterable[Decision], thorough: Iterable[Decision]) -> list[Trial]:
    """The cases with gold that both decided, in the order of ``thorough``; raises where there is none."""
    first = {d.case_id: d for d in cheap}
    trials = [
        Trial(
            d.case_id,
            margin_of(first[d.case_id].verdict.scores),
            _right(first[d.case_id].verdict.scores, d.gold),
            _right(d.verdict.scores, d.gold),
            d.usage.completion_tokens,
        )
        for d in thorough
        if d.case_id in first and d.gold and len(d.gold) > 1
    ]
    if len(trials) < 2 * FOLDS:
        raise InputError(
            f"{len(trials)} cases with gold were decided in both runs; a threshold needs {2 * FOLDS}",
            hint="both runs judge the same cases: jurist judge CASES --out ... twice",
        )
    return trials


def calibrate(trials: Sequence[Trial], loss: float = 0.01) -> CascadeCalibration:
    """The threshold that asks the thorough judge least, at most ``loss`` less accurate than it is alone.

    Held out: each fold's cases are decided by the threshold that the other folds choose; that estimate is
    the honest one, since the threshold was chosen for the best on its own cases.
    """
    chosen = _choose(trials, loss)
    folds: dict[int, list[Trial]] = {}
    for trial in trials:
        folds.setdefault(_fold(trial.case_id), []).append(trial)
    values = {
        t.case_id: _choose([x for other, ts in folds.items() if other != fold for x in ts], loss)
        for fold, members in folds.items()
        for t in members
    }
    return CascadeCalibration(
        chosen=_at(trials, chosen),
        held_out=_measured(trials, values, chosen),
        cheap=_group("cheap", [t.cheap for t in trials]),
        thorough=_group("thorough", [t.thorough for t in trials]),
        steps=tuple(_at(trials, value) for value in _steps(trials)),
        loss=loss,
        tokens=fmean(t.tokens for t in trials),
    )


def _choose(trials: Sequence[Trial], loss: float) -> float:
    """Thresholds from the lowest up: the first that is accurate enough asks least."""
    enough = fmean(t.thorough for t in trials) - loss
    leads = sorted({t.lead for t in trials if t.lead is not None})
    # From the threshold 0 on: each step sends the cases with the lowest lead to the thorough judge.
    right = sum(t.thorough if t.lead is None else t.cheap for t in trials)
    by_lead: dict[float, int] = {}
    for t in trials:
        if t.lead is not None:
            by_lead[t.lead] = by_lead.get(t.lead, 0) + t.thorough - t.cheap
    for lead in leads:
        if right / len(trials) >= enough:
            return lead
        right += by_lead[lead]
    return inf


def _steps(trials: Sequence[Trial]) -> list[float]:
    """Thresholds at the tenths of the cheap judge's leads."""
    leads = sorted(t.lead for t in trials if t.lead is not None)
    return sorted({leads[i * (len(leads) - 1) // 10] for i in range(11)}) if leads else []


def _at(trials: Sequence[Trial], value: float) -> Threshold:
    return _measured(trials, {t.case_id: value for t in trials}, value)


def _measured(trials: Sequence[Trial], values: Mapping[str, float], value: float) -> Threshold:
    asked = [t.lead is None or t.lead < values[t.case_id] for t in trials]
    right = [t.thorough if ask else t.cheap for t, ask in zip(trials, asked, strict=True)]
    tokens = fmean(t.tokens if ask else 0 for t, ask in zip(trials, asked, strict=True))
    return Threshold(value, _group("cascade", right), fmean(asked), tokens)


def _group(name: str, right: Sequence[bool]) -> ScoreRow:
    return ScoreRow(name, fmean(right), len(right), wilson(sum(right), len(right)))


def _fold(case_id: str) -> int:
    return blake2b(case_id.encode(), digest_size=4).digest()[0] % FOLDS


def _right(scores: Scores | None, gold: Scores | None) -> bool:
    return gold is not None and agrees(scores, gold)
