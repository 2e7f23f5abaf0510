"""Matches of a tournament: each is a case of two responses; all of them make one decision."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Unpack

from msgspec.structs import replace

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
    Scores,
    Status,
    Verdict,
    winner,
)
from jurist.deliberation.brackets import Pair, pair
from jurist.deliberation.combine import mean
from jurist.deliberation.ratings import Match, share
from jurist.deliberation.votes import gather, once


@dataclass(frozen=True, slots=True)
class Played:
    """A match that was played: the verdict has a score for the first and for the second of the pair."""

    pair: Pair
    verdict: Verdict
    judgments: tuple[Judgment, ...]

    @property
    def match(self) -> Match:
        """The match as ratings count it; a tie where there is no verdict."""
        return Match(*self.pair, share(self.verdict.scores))

    @property
    def winner(self) -> int | None:
        """The winner; None for a tie or no verdict."""
        place = winner(self.verdict.scores)
        return None if place is None else self.pair[place]


Play = Callable[[Sequence[Pair]], Awaitable[list[Played]]]
"""All matches of a round at once."""

Plan = Callable[[Play, Case, list[int]], Awaitable[Scores]]
"""A format: plays its rounds among the players, and gives every response of the case its score."""


def tournament(name: str, plan: Plan, match: Deliberation | None) -> Deliberation:
    """The deliberation that follows a plan; each match is deliberated by ``match`` (default ``once``)."""
    by = match or once()

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        original = originals(case.responses)
        matches: list[Played] = []

        async def play(pairs: Sequence[Pair]) -> list[Played]:
            played = await gather(*[_match(ask, case, both, by, observe) for both in pairs])
            matches.extend(played)
            return played

        scores = await plan(play, case, sorted(set(original)))
        return _decision(case, tuple(scores[i] for i in original), matches)

    return Deliberation(name, deliberate, (by,), takes=0)


async def _match(ask: Ask, case: Case, both: Pair, match: Deliberation, observe: Observer) -> Played:
    decision = await match(*on_pair(ask, case, *both))
    verdict = decision.verdict
    if verdict.scores and not all(isfinite(s) for s in verdict.scores):
        verdict = Verdict(status=Status.UNPARSED, note="a score of the match is not a number")
    observe(Compared(both, verdict, decision.judgments))
    return Played(both, verdict, decision.judgments)


def on_pair(ask: Ask, case: Case, i: int, j: int) -> tuple[Ask, Case]:
    """Responses i and j as a case of two, in ascending order, and an ask that judges it within ``case``."""
    both = pair(i, j)

    async def ask_pair(
        _pair: Case, order: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
    ) -> Judgment:
        among = options.pop("among", None)
        shown = order if order is not None else among
        named = both if shown is None else tuple(both[place] for place in shown)
        if order is None:
            options["among"] = named
            return await ask(case, None, sample, **options)
        return await ask(case, named, sample, **options)

    return ask_pair, case.reordered(both)


def originals(responses: Sequence[Response]) -> list[int]:
    """For each response, the index of the first that is identical to it."""
    first: dict[Response, int] = {}
    return [first.setdefault(response, i) for i, response in enumerate(responses)]


def _decision(case: Case, scores: Scores, matches: Sequence[Played]) -> Decision:
    judgments = tuple(j for played in matches for j in played.judgments)
    verdict = Verdict(scores)
    if matches:
        combined = mean([played.verdict for played in matches])
        note = _note(matches)
        verdict = replace(combined, scores=scores, note=note) if combined.scores else combined
    agreement = _agreement(scores, judgments) if verdict.scores else None
    return Decision(case.id, verdict, judgments, agreement, case.gold, case.group, case.meta)


def _note(matches: Sequence[Played]) -> str:
    missing = sum(played.verdict.scores is None for played in matches)
    return f"{missing} of {len(matches)} matches without a verdict" if missing else ""


def _agreement(scores: Scores, judgments: Sequence[Judgment]) -> float | None:
    """Share of resolved judgments that say what the final scores say of their two responses."""
    same: list[bool] = []
    for judgment in judgments:
        if judgment.verdict.scores:
            both = sorted(judgment.query.order)
            same.append(winner(judgment.verdict.scores) == winner(tuple(scores[i] for i in both)))
    return sum(same) / len(same) if same else None
