"""Rewards of a group: one number for each of its responses, or none and why."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b
from math import inf, isfinite
from typing import Unpack

import msgspec
from msgspec.structs import replace

from jurist.core.answers import final_answer
from jurist.core.errors import ConfigError, InputError
from jurist.core.types import (
    Ask,
    AskOptions,
    Case,
    Completion,
    Decision,
    Deliberation,
    Judgment,
    Order,
    Query,
    Record,
    Response,
    Sampling,
    Scores,
    Status,
    Verdict,
    response_text,
)
from jurist.deliberation.combine import mean, unresolved
from jurist.deliberation.ratings import win_rate
from jurist.deliberation.views import anchored
from jurist.judging import registry
from jurist.judging.build import JudgeSetup
from jurist.judging.judge import Memory
from jurist.rewards.policy import ResponsePolicy
from jurist.rewards.ranking import (
    LEVEL,
    Ranking,
    Rating,
    RewardMapping,
    matches_of,
    ranking_of,
    rewards_of,
)

MANY = "balanced(4)"
"""The default deliberation of a judge of pairs on a group: 4 judgments for each response, 3 in a
group of 4. How near its rewards come to the truth, beside other schemes: benchmarks/group_cost.py."""

ORDERED = frozenset({"given", "published"})
"""Deliberations that show the responses in the order in which they came."""

Verify = Callable[[str, str], float | None]
"""``verify(response_text, reference)``: a response's value by a rule; None where the rule cannot tell."""


class Reward(Record, frozen=True):
    """The reward of one response; ``value`` is None if it has none, and never a substitute.

    ``status`` gives the reason: "truncated", the deadline came first; "refused", there was nothing to judge
    (one response and a judge of pairs, or a response refused by ``ResponsePolicy``); else the status of the
    judgments ("unparsed", "failed", ...). ``note`` gives it in words, and what ``ResponsePolicy`` found.
    """

    value: float | None
    status: Status = Status.OK
    note: str = ""


class GroupResult(Record, frozen=True):
    """Rewards and their basis; rewards and ratings have one entry per response, in order.

    ``decision`` (None if no judge was asked) is about the responses ``judged``: identical ones and those that
    ``ResponsePolicy`` leaves out are not among them, so its index i is response ``judged[i]``. ``ranking`` is
    of all responses, and empty if one of them has no rating; its errors are empty if the rating has none.
    ``level``: no judge was asked, since the responses do not differ.
    """

    rewards: tuple[Reward, ...]
    ratings: tuple[float | None, ...] = ()
    decision: Decision | None = None
    judged: tuple[int, ...] = ()
    ranking: Ranking = Ranking()
    level: bool = False


@dataclass(frozen=True, slots=True)
class GroupJudge:
    """Rewards of groups of responses by a judge.

    ``rating`` is computed from the matches, ``reward`` maps the ratings of a group. Without a deliberation a
    judge of pairs compares by ``MANY``. Raises ``ConfigError`` for a deliberation that takes no group, and
    for RRM's mapping of anything but Elo.

    Equal groups have equal rewards, whatever the order of their responses: opponents, orders and sampling
    seeds depend on the texts, unless ``policy.sort`` is off or the deliberation shows the responses in the
    order given (``ORDERED``).

    ``verify`` is applied first if a case has a reference (``exact_answer`` is such a rule). If it decides all
    responses, no judge is asked, and its values are the ratings (at most 0 for a response against the
    policy). If it decides some, matches between two of those are decided by the rule and all others by the
    judge, so that all have one scale. A judge of single responses or of whole rankings has no matches, and
    then judges all responses.

    ``memory`` keeps the judgments, as in ``Judge``.
    """

    setup: JudgeSetup
    rating: Rating = "win-rate"
    reward: RewardMapping = "none"
    policy: ResponsePolicy = field(default_factory=ResponsePolicy)
    verify: Verify | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "setup", self.setup.for_many(MANY))
        text = self.setup.config.deliberation or ""
        if not self.setup.takes_many:
            raise ConfigError(
                f"the deliberation {text!r} takes no group of responses", hint=f"for example {MANY}"
            )
        if self.reward == "rrm" and not (self.rating == "elo" and self._names & registry.TOURNAMENTS):
            raise ConfigError(
                f"the reward 'rrm' maps Elo ratings of matches, not {self.rating} by {text}",
                hint=f"the rating elo, and a tournament such as {MANY}",
            )

    async def rewards(self, case: Case, deadline: float | None = None) -> list[Reward]:
        """One reward per response, in order; ``deadline``: seconds from now. See ``judge``."""
        return list((await self.judge(case, deadline)).rewards)

    async def judge(self, case: Case, deadline: float | None = None) -> GroupResult:
        """The rewards of the case's responses, with the decision that they rest on.

        Identical responses are judged once and have equal rewards. When the deadline comes, asks in flight
        are cancelled and what was judged so far counts: a response without any verdict has no reward. A
        group of nothing but equal responses is level: a judge of pairs is not asked, and all have the rating
        of an even group (``ranking.LEVEL``). A lone response has no reward, unless the judge rates single
        responses or the case has anchors; then the value is the rating, or the chance to beat the anchors.
        Raises ``InputError`` for a case without responses.
        """
        if not case.responses:
            raise InputError(f"case {case.id!r} has no responses", hint="one response or more")
        group = self._group(case)
        ruled = self._ruled(group.case)
        if ruled and len(ruled) == len(group.case.responses):
            return group.result(_Rated(tuple(ruled.values()), note="by rule", floor=0.0), None, self.reward)
        deliberate = self._deliberation(group.case)
        if deliberate is None:
            rated = _nothing_to_compare(group, len(case.responses), self.rating)
            return group.result(rated, None, self.reward)
        decision, cut = await self._decided(group.case, deliberate, ruled, deadline)
        teams = "teams" in self._names and not cut
        rated = _rate(decision, len(group.judged), self.rating, cut=cut, teams=teams)
        return group.result(rated, decision, self.reward)

    def judged(self, case: Case) -> tuple[int, ...]:
        """The responses that the judge is asked about, in order: none that is guarded or repeated."""
        return self._group(case).judged

    @property
    def _names(self) -> frozenset[str]:
        return self.setup.deliberate.names

    def _group(self, case: Case) -> "_Group":
        return _Group(case, self.policy, sort=self.policy.sort and not self._names & ORDERED)

    def _ruled(self, case: Case) -> dict[int, float]:
        """What the rule says, by index."""
        if self.verify is None or case.reference is None:
            return {}
        values = [self.verify(response_text(r), case.reference) for r in case.responses]
        if not all(isfinite(value) for value in values if value is not None):
            raise ConfigError(f"the rule gave {values} (case {case.id!r})", hint="a finite number, or None")
        return {i: float(value) for i, value in enumerate(values) if value is not None}

    def _deliberation(self, case: Case) -> Deliberation | None:
        """How the case is decided; None where this judge cannot."""
        if len(case.responses) != 1 or self.setup.protocol.arity == 1:
            return self.setup.deliberate if case.responses else None
        if not case.anchors:
            return None
        return self.setup.deliberate if "anchored" in self._names else anchored()

    async def _decided(
        self, case: Case, deliberate: Deliberation, ruled: dict[int, float], deadline: float | None
    ) -> tuple[Decision, bool]:
        """The decision, and whether the deadline cut it."""
        judgments: list[Judgment] = []
        ask = _recorded(self.setup.judge(self.memory).ask, ruled, judgments)
        if deadline is None:
            return await deliberate(ask, case), False
        limit = asyncio.timeout(deadline)
        try:
            async with limit:
                return await deliberate(ask, case), False
        except TimeoutError:
            if not limit.expired():
                raise
        return _so_far(case, judgments), True


def exact_answer(response: str, reference: str) -> float | None:
    r"""1 where the final answer is the reference's, 0 where it is another; None where nobody can say.

    The reference is an answer, or a solution that marks one (``jurist.core.answers``). Numbers and fractions
    are compared by value, letters of choices as letters; any other answer decides only by being the same,
    since \boxed{x+1} and 1+x may be one.
    """
    answer = final_answer(response)
    wanted = final_answer(reference) or final_answer(f"\\boxed{{{reference}}}")
    if answer is None or wanted is None:
        return None
    if answer == wanted:
        return 1.0
    if all(len(text) == 1 and text.isalpha() for text in (answer, wanted)):
        return float(answer.upper() == wanted.upper())
    values = _value(answer), _value(wanted)
    return None if None in values else float(values[0] == values[1])


@dataclass(frozen=True, slots=True)
class _Rated:
    """Ratings of the judged responses, and why one has none.

    ``floor``: what "lowest" is at most. ``level``: the rating of all, where nothing sets them apart.
    """

    ratings: Sequence[float | None]
    missing: Sequence[Verdict] = ()
    errors: Scores | None = None
    matches: int = 0
    note: str = ""
    floor: float = inf
    level: float | None = None


class _Group:
    """A group with its guarded and repeated responses set aside; ``case`` has what remains.

    The responses of ``case`` stand in an order that follows from their contents, and its id is a hash of
    all that it holds: so every choice that is drawn from them (opponents, orders, sampling seeds) is the
    same in whatever order the responses came. Without ``sort`` order and id are left as they are.
    """

    def __init__(self, whole: Case, policy: ResponsePolicy, *, sort: bool) -> None:
        shown = tuple(policy.shown(response) for response in whole.responses)
        self._treated = [policy.treatment(response) for response in shown]
        first: dict[Response, int] = {}
        for i, response in enumerate(shown):
            if self._treated[i][0] == "judge":  # which depends on the text alone
                first.setdefault(response, i)
        order = sorted(first, key=lambda response: _hash(whole.prompt, response)) if sort else list(first)
        self._order = tuple(first[response] for response in order)
        self._places = [order.index(response) if response in first else None for response in shown]
        self.judged = tuple(sorted(self._order))
        case = replace(whole, responses=shown).reordered(self._order)
        self.case = replace(case, id=_hash(*_contents(case)).hex()) if sort else case
        self._name = whole.id
        treatments = {treatment for treatment, _ in self._treated}
        self.level = len(whole.responses) > 1 and len(first) < 2 and treatments <= {"judge", "lowest"}
        """Nothing sets its responses apart: they are equal, or all but equal ones level with the lowest."""

    def result(self, rated: _Rated, decision: Decision | None, mapping: RewardMapping) -> GroupResult:
        """The result for the whole group."""
        ratings = self._ratings(rated)
        known = tuple(r for r in ratings if r is not None)
        mapped = "none" if mapping == "rrm" and not (rated.matches or rated.level) else mapping
        values = iter(rewards_of(Ranking(ratings=known), mapped) or known)
        filled = [None if r is None else next(values) for r in ratings]
        rewards = tuple(self._reward(i, value, rated) for i, value in enumerate(filled))
        ranking = self._ranking(ratings, rated)
        if decision is None:
            return GroupResult(rewards, ratings, ranking=ranking, level=rated.level is not None)
        return GroupResult(rewards, ratings, self._in_order_of_request(decision), self.judged, ranking)

    def _in_order_of_request(self, decision: Decision) -> Decision:
        """The decision in terms of the responses ``judged``, in the order in which they came."""
        if self._order == self.judged:
            return replace(decision, case_id=self._name)
        places = {i: self.judged.index(whole) for i, whole in enumerate(self._order)}

        def place(i: int) -> int:
            """Where the response i of ``case`` came; anchors have the indices after it."""
            return places.get(i, i)

        def moved(values: Scores | None, indices: Sequence[int]) -> Scores | None:
            """Values of these responses, in ascending order of their new places."""
            if values is None or len(values) != len(indices):
                return values
            return tuple(value for _, value in sorted(zip(map(place, indices), values, strict=True)))

        def verdict(verdict: Verdict, indices: Sequence[int]) -> Verdict:
            scores, errors = moved(verdict.scores, indices), moved(verdict.errors, indices)
            return replace(verdict, scores=scores, errors=errors)

        judgments = tuple(
            replace(
                judgment,
                query=replace(judgment.query, order=tuple(map(place, judgment.query.order))),
                verdict=verdict(judgment.verdict, sorted(judgment.query.order)),
            )
            for judgment in decision.judgments
        )
        everyone = range(len(self._order))
        return replace(
            decision,
            case_id=self._name,
            verdict=verdict(decision.verdict, everyone),
            judgments=judgments,
            gold=moved(decision.gold, everyone),
        )

    def _ratings(self, rated: _Rated) -> tuple[float | None, ...]:
        known = [r for r in rated.ratings if r is not None]
        lowest = min([rated.floor, *known]) if known else rated.level
        both = zip(self._places, self._treated, strict=True)
        return tuple(
            rated.ratings[place] if place is not None else lowest if treatment == "lowest" else None
            for place, (treatment, _) in both
        )

    def _reward(self, i: int, value: float | None, rated: _Rated) -> Reward:
        finding, place = self._treated[i][1], self._places[i]
        if place is None and value is None:
            return Reward(None, Status.REFUSED, f"{finding}: no reward")
        if place is None and rated.level is None:
            return Reward(value, note=f"{finding}: level with the lowest of its group")
        if value is not None:
            return Reward(value, note="; ".join(filter(None, (finding, rated.note))))
        missing = rated.missing[place or 0]
        return Reward(None, missing.status, "; ".join(filter(None, (finding, missing.note))))

    def _ranking(self, ratings: Sequence[float | None], rated: _Rated) -> Ranking:
        values = tuple(r for r in ratings if r is not None)
        if len(values) < len(ratings):
            return Ranking(matches=rated.matches)
        places = [place for place in self._places if place is not None]
        whole = len(places) == len(values)
        errors = tuple(rated.errors[p] for p in places) if rated.errors and whole else None
        order = tuple(sorted(range(len(values)), key=lambda i: -values[i]))
        return Ranking(order, values, errors, rated.matches)


def _recorded(ask: Ask, ruled: dict[int, float], judgments: list[Judgment]) -> Ask:
    """The ask, which adds to ``judgments``; a match of two responses that the rule knows is not asked."""

    async def recorded(
        case: Case, order: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
    ) -> Judgment:
        shown = order if order is not None else options.get("among")
        shown = tuple(range(len(case.responses))) if shown is None else shown
        if len(shown) == 2 and all(i in ruled for i in shown):
            judgment = _by_rule(case, shown, sample, ruled)
        else:
            judgment = await ask(case, order, sample, **options)
        judgments.append(judgment)
        return judgment

    return recorded


def _by_rule(case: Case, shown: Order, sample: int, ruled: dict[int, float]) -> Judgment:
    a, b = (ruled[i] for i in sorted(shown))
    won = (a > b) + (a == b) / 2
    query = Query(case.id, shown, sample, (), Sampling())
    return Judgment(query, Completion(), Verdict((won, 1 - won), note="by rule", via="recorded"))


def _so_far(case: Case, finished: Sequence[Judgment]) -> Decision:
    """The decision that a deadline cut; its scores are mean ratings, or win rates, where there are any."""
    n = len(case.responses)
    # By responses, since Elo's ratings depend on the order of matches, and arrival is an accident.
    judgments = tuple(sorted(finished, key=lambda j: sorted(j.query.order)))
    decision = Decision(case.id, Verdict(), judgments, None, case.gold, case.group, case.meta)
    note = f"the deadline came after {len(judgments)} judgments"
    matches = matches_of(decision)
    whole = [j.verdict for j in decision.final_judgments if j.verdict.scores and len(j.verdict.scores) == n]
    if n == 1 and matches:
        # As ``views.anchored``: the posterior mean of the chance to beat an anchor.
        verdict = Verdict(((sum(m.score for m in matches) + 0.5) / (len(matches) + 1),))
    elif matches:
        verdict = Verdict(win_rate(n, matches))
    else:
        verdict = mean(whole) if whole else Verdict(status=Status.TRUNCATED)
    return replace(decision, verdict=replace(verdict, note=note))


def _rate(decision: Decision, n: int, rating: Rating, *, cut: bool, teams: bool) -> _Rated:
    """Ratings of the n responses of a decision."""
    verdict, matches = decision.verdict, matches_of(decision) if n > 1 else []
    final = decision.final_judgments
    singles = _singles(final)
    missing = [_missing(decision, final, i, cut=cut) for i in range(n)]
    if singles:
        return _Rated([singles.get(i) for i in range(n)], missing, note=verdict.note)
    if matches:
        ranked = ranking_of(decision, n, rating, matches)
        met = {i for m in matches for i in (m.first, m.second)}
        asked = {i for j in final for i in j.query.order}
        # A member of a team that was not asked about shares the rating of the one that was.
        known = [i in met or (teams and i not in asked) for i in range(n)]
        ratings = [r if k else None for r, k in zip(ranked.ratings, known, strict=True)]
        return _Rated(ratings, missing, ranked.errors, len(matches), verdict.note)
    scores: Sequence[float | None] = verdict.scores or (None,) * n
    return _Rated(scores, missing, verdict.errors, 0, verdict.note)


def _singles(final: Sequence[Judgment]) -> dict[int, float]:
    """Mean ratings of the responses that were rated alone."""
    by_response: dict[int, list[float]] = {}
    for judgment in final:
        if len(judgment.query.order) == 1 and judgment.verdict.scores:
            by_response.setdefault(judgment.query.order[0], []).append(judgment.verdict.scores[0])
    return {i: sum(ratings) / len(ratings) for i, ratings in by_response.items()}


def _missing(decision: Decision, final: Sequence[Judgment], i: int, *, cut: bool) -> Verdict:
    """Why response i has no rating, if it has none."""
    verdicts = [j.verdict for j in final if j.verdict.scores is None and i in j.query.order]
    if cut:
        return Verdict(status=Status.TRUNCATED, note=decision.verdict.note)
    if verdicts or decision.verdict.scores is None:
        return unresolved(verdicts) if verdicts else decision.verdict
    return Verdict(status=Status.REFUSED, note="no match with this response")


def _nothing_to_compare(group: _Group, n: int, rating: Rating) -> _Rated:
    """A judge of pairs with no two different responses: a group is level, a lone response has no reward."""
    judged = len(group.judged)
    if group.level:
        note = "level: no two different responses among " + str(n)
        return _Rated([LEVEL[rating]] * judged, note=note, level=LEVEL[rating])
    alone = "a lone response" if n == 1 else f"no two different responses among {n}"
    none = Verdict(status=Status.REFUSED, note=f"{alone}: a judge of pairs has nothing to compare")
    return _Rated([None] * judged, [none] * judged)


def _contents(case: Case) -> tuple[object, ...]:
    return case.prompt, case.responses, case.reference, case.rubric, case.anchors


def _hash(*contents: object) -> bytes:
    return blake2b(msgspec.json.encode(contents), digest_size=12).digest()


def _value(answer: str) -> Fraction | None:
    try:
        return Fraction(answer)
    except (ValueError, ZeroDivisionError):  # also more digits than Python reads
        return None
