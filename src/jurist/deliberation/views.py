"""Deliberations that let a judge of one or two responses decide other cases: ratings, anchors, teams."""

from collections.abc import Sequence
from math import sqrt
from typing import Unpack

from msgspec.structs import replace

from jurist.core.answers import final_answer
from jurist.core.errors import ConfigError
from jurist.core.types import (
    Ask,
    AskOptions,
    Case,
    Compared,
    Decision,
    Deliberation,
    Judgment,
    Observer,
    Order,
    Response,
    Verdict,
    response_text,
)
from jurist.deliberation.combine import unresolved
from jurist.deliberation.matches import Played, on_pair, originals
from jurist.deliberation.votes import decide, gather, once, swapped


def each(inner: Deliberation | None = None) -> Deliberation:
    """Each response is rated alone; the ratings are the scores.

    Identical responses are rated once. A response without a rating leaves the case without a verdict:
    nobody knows where it stands; the note counts them.
    """

    by = inner or once()

    async def rating(ask: Ask, case: Case, i: int, observe: Observer) -> Decision:
        decision = await by(*_alone(ask, case, i))
        observe(Compared((i,), decision.verdict, decision.judgments))
        return decision

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        original = originals(case.responses)
        rated = sorted(set(original))
        decisions = await gather(*[rating(ask, case, i, observe) for i in rated])
        verdicts = {i: d.verdict for i, d in zip(rated, decisions, strict=True)}
        judgments = tuple(j for d in decisions for j in d.judgments)
        return decide(case, _ratings([verdicts[i] for i in original]), judgments)

    return Deliberation("each", deliberate, (by,), takes=0)


def teams(inner: Deliberation | None = None) -> Deliberation:
    """Responses that end in the same final answer (``jurist.core.answers``) play as one, and share its score.

    For verifiable tasks: the first of a team is judged for all. A response without a recognisable final
    answer plays for itself.
    """

    by = inner or swapped()

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        return await by(ask, replace(case, responses=_as_teams(case.responses)), observe)

    return Deliberation("teams", deliberate, (by,), by.takes)


def anchored(match: Deliberation | None = None) -> Deliberation:
    """A single response's chance to beat an anchor, by a judge of pairs, with its standard error.

    The response meets each of ``Case.anchors`` (``match``: both orders, where none is given). With a
    sum s of its shares over k matches, the score is the mean of the posterior Beta(s + 1/2, k - s + 1/2)
    and the error its standard deviation: between anchors of one kind, and for judgments that are right
    or wrong by the response alone. Matches without a verdict are left out and counted in the note.
    """

    by = match or swapped()

    async def deliberate(ask: Ask, case: Case, _: Observer) -> Decision:
        if len(case.responses) != 1 or not case.anchors:
            raise ConfigError(
                f"case {case.id!r} has {len(case.responses)} responses and {len(case.anchors)} anchors",
                hint='anchored needs one response, and a field "anchors" with a list of others',
            )
        field = replace(case, responses=(*case.responses, *case.anchors), gold=None, anchors=())
        pairs = [on_pair(ask, field, 0, j) for j in range(1, len(field.responses))]
        decisions = await gather(*[by(*both) for both in pairs])
        judgments = tuple(j for d in decisions for j in d.judgments)
        return decide(case, _standing([d.verdict for d in decisions]), judgments)

    return Deliberation("anchored", deliberate, (by,), takes=1)


def _alone(ask: Ask, case: Case, i: int) -> tuple[Ask, Case]:
    async def ask_one(
        _one: Case, _order: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
    ) -> Judgment:
        options.pop("among", None)
        return await ask(case, (i,), sample, **options)

    return ask_one, case.reordered((i,))


def _ratings(verdicts: Sequence[Verdict]) -> Verdict:
    missing = sum(v.scores is None for v in verdicts)
    if missing:
        none = unresolved([v for v in verdicts if v.scores is None])
        return replace(none, note=f"{missing} of {len(verdicts)} responses without a rating; {none.note}")
    return Verdict(tuple(v.scores[0] for v in verdicts if v.scores), via=verdicts[0].via)


def _as_teams(responses: Sequence[Response]) -> tuple[Response, ...]:
    first: dict[str, Response] = {}
    answers = [final_answer(response_text(r)) for r in responses]
    return tuple(
        r if answer is None else first.setdefault(answer, r)
        for r, answer in zip(responses, answers, strict=True)
    )


def _standing(verdicts: Sequence[Verdict]) -> Verdict:
    shares = [Played((0, 1), v, ()).match.score for v in verdicts if v.scores]
    if not shares:
        return unresolved(verdicts)
    k = len(shares)
    mean = (sum(shares) + 0.5) / (k + 1)
    missing = len(verdicts) - k
    note = f"{missing} of {len(verdicts)} anchors without a verdict" if missing else ""
    return Verdict((mean,), note=note, errors=(sqrt(mean * (1 - mean) / (k + 2)),))
