"""Thinking effort: a fixed budget, a second attempt without it, or a cascade of two judges."""

from typing import Unpack

from msgspec.structs import replace

from jurist.core.errors import ConfigError
from jurist.core.types import (
    Ask,
    AskOptions,
    Case,
    Decision,
    Deliberation,
    Judgment,
    Observer,
    Order,
    Scores,
    winner,
)
from jurist.deliberation.votes import swapped


def budget(tokens: int = 512, inner: Deliberation | None = None) -> Deliberation:
    """The inner deliberation (both orders, by default) with at most ``tokens`` of thinking for each ask."""
    _whole(tokens, "budget")
    asked = inner or swapped()

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        return await asked(_capped(ask, tokens), case, observe)

    return Deliberation("budget", deliberate, (asked,), asked.takes)


def escalate(tokens: int = 512, margin: float = 0.0, inner: Deliberation | None = None) -> Deliberation:
    """Judge with ``tokens`` of thinking; judge again without that cap where the answer is in doubt.

    In doubt: a judgment was cut or gave no verdict, judgments disagree (two orders do), or the best score
    leads by no more than ``margin``, a tie always. The second decision stands, unless it has no verdict
    and the first has one; its note says why it was asked for, and all judgments of both are in it.
    """
    _whole(tokens, "escalate")
    _share(margin, "margin")

    asked = inner or swapped()

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        brief = await asked(_capped(ask, tokens), case, observe)
        why = _doubt(brief, margin)
        return _second(brief, await asked(ask, case, observe), f"thought again: {why}") if why else brief

    return Deliberation("escalate", deliberate, (asked,), asked.takes)


def cascade(
    threshold: float = 0.5, then: Deliberation | None = None, first: Deliberation | None = None
) -> Deliberation:
    """A cheap judge first; the main judge only where the cheap one's lead is below ``threshold``.

    The cheap judge is that of ``--first``, else the same model read without any thinking (the labels'
    probabilities, in both orders: a lead from 0 to 1). ``first`` and ``then`` are the deliberations of
    the two, both orders where none is given; a judge of single responses (a scalar reward model) needs
    ``first=each``, and has leads in its own unit. ``jurist calibrate`` finds the threshold on data. Where
    the main judge has no verdict, the cheap one's decision counts, and the note says so.
    """
    if not threshold >= 0:
        raise ConfigError(f"threshold {threshold} is out of range", hint="a lead of at least 0")

    before, after = first or swapped(), then or swapped()

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        cheap = await before(_by_first(ask), case, observe)
        lead = margin_of(cheap.verdict.scores)
        if lead is not None and lead >= threshold:
            return cheap
        why = "no verdict" if lead is None else f"lead {lead:.3g}"
        return _second(cheap, await after(ask, case, observe), f"cascade: the first judge had {why}")

    takes = before.takes if after.takes is None else after.takes
    return Deliberation("cascade", deliberate, (before, after), takes)


def margin_of(scores: Scores | None) -> float | None:
    """By how much the best score leads; a single rating leads by itself; None without scores."""
    if not scores:
        return None
    best, *rest = sorted(scores, reverse=True)
    return best - rest[0] if rest else abs(best)


def _capped(ask: Ask, tokens: int) -> Ask:
    """The ask with a cap on its thinking."""

    async def capped(
        case: Case, order: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
    ) -> Judgment:
        options["budget"] = tokens  # the outer cap holds
        return await ask(case, order, sample, **options)

    return capped


def _by_first(ask: Ask) -> Ask:
    """The ask of the cheap judge."""

    async def by_first(
        case: Case, order: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
    ) -> Judgment:
        options["first"] = True
        return await ask(case, order, sample, **options)

    return by_first


def _doubt(decision: Decision, margin: float) -> str:
    """Why a decision is in doubt, in words; empty where it is not."""
    if any(j.verdict.scores is None for j in decision.judgments):
        return "a judgment had no verdict"
    if any(j.completion.finish == "length" and j.verdict.via == "logprobs" for j in decision.judgments):
        return "the reasoning was cut"
    scores = decision.verdict.scores
    if scores is None or (len(scores) > 1 and winner(scores) is None):
        return "the judgments disagree"
    if decision.agreement is not None and decision.agreement < 1:
        return "the judgments disagree"
    lead = margin_of(scores)
    return f"the lead is {lead:.3g}" if lead is not None and lead <= margin and len(scores) > 1 else ""


def _second(first: Decision, second: Decision, why: str) -> Decision:
    """The second decision, with what the first one cost; the first one's verdict where only it has one."""
    # The judgments that count come last (see Decision.final_judgments).
    judgments = first.judgments + second.judgments
    if second.verdict.scores is None and first.verdict.scores is not None:
        why = f"{why}; the second had no verdict ({second.verdict.status})"
        second, judgments = first, second.judgments + first.judgments
    note = "; ".join(filter(None, (second.verdict.note, why)))
    return replace(second, verdict=replace(second.verdict, note=note), judgments=judgments)


def _whole(tokens: int, name: str) -> None:
    if tokens < 0 or tokens != int(tokens):
        raise ConfigError(f"{name}({tokens}) is out of range", hint="tokens of thinking, from 0 on")


def _share(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} {value} is out of range", hint="a share from 0 to 1")
