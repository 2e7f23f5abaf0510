"""The records that all rooms share: cases, queries, completions, verdicts, judgments, decisions."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

import msgspec

from jurist.core import html

Order = tuple[int, ...]
"""Which response stands in which slot: ``order[slot]`` is an index into ``Case.responses``."""

Scores = tuple[float, ...]
"""One number per response, in the order of the case: ``(1, 0)``, a tie ``(.5, .5)``, a rating ``(4,)``."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all records: frozen, slotted, JSON in and out."""


class Message(Record, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str


Conversation = tuple[Message, ...]
Response = str | Conversation
"""A response is a text, or several turns when its conversation went on."""


class Case(Record, frozen=True):
    """What is to be judged: 1 response (a rating), 2 (a pair), n (best-of-n).

    ``gold`` has one number per response and the shape of ``Verdict.scores``; None where nobody knows.
    ``anchors`` are known responses to the same prompt that a single response can be measured against.
    ``group`` is the subset that scorecards break down by; ``meta`` travels along untouched.
    """

    id: str
    prompt: Conversation
    responses: tuple[Response, ...]
    gold: Scores | None = None
    reference: str | None = None
    rubric: str | None = None
    group: str | None = None
    meta: dict[str, Any] = {}
    anchors: tuple[Response, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of every field, 24 hex digits: what a judge may see, what it is measured against, the meta."""
        return _digest(self)

    def reordered(self, order: Order) -> "Case":
        """The same case with these of its responses (and their gold), in slot order."""
        gold = self.gold and tuple(self.gold[i] for i in order)
        return msgspec.structs.replace(self, responses=tuple(self.responses[i] for i in order), gold=gold)


class Sampling(Record, frozen=True):
    """How tokens are drawn. ``max_tokens`` counts thinking and answer together.

    ``thinking_budget`` caps the thinking alone (tokens; None: no cap); the answer after thinking that it
    cut has ``answer_tokens``.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 4096
    seed: int | None = None
    thinking_budget: int | None = None
    stop: tuple[str, ...] = ()
    answer_tokens: int = 100


class Query(Record, frozen=True, dict=True):
    """One call of a model. ``key`` is the cache key and the resume key.

    With ``prefill`` the model continues an assistant turn that begins so; with ``choices`` it is asked
    which of these strings comes next, and the completion carries their log-probabilities. ``judge`` tells
    the judges of a cascade apart ("" is the main one).
    """

    case_id: str
    order: Order
    sample: int
    messages: Conversation
    sampling: Sampling
    prefill: str | None = None
    choices: tuple[str, ...] = ()
    judge: str = ""

    @cached_property
    def key(self) -> str:
        """Hash of every field; 24 hex digits."""
        return _digest(self)


Finish = Literal["stop", "length", "filter", "error"]


class Usage(Record, frozen=True):
    """Tokens read and written by one call; ``cached`` of the read ones came from a shared prefix."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Sum, field by field."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached + other.cached,
        )


class Completion(Record, frozen=True):
    """What an engine returns, always, also when it failed (then ``finish`` is "error").

    ``thinking`` is set where the server separates it from the answer; otherwise it stands in ``text``.
    ``logprobs`` maps each of the query's choices to its natural-log probability. ``reused``: it was paid in
    an earlier run, and came from a cache.
    """

    text: str = ""
    thinking: str | None = None
    finish: Finish = "stop"
    usage: Usage = Usage()
    seconds: float = 0.0
    logprobs: dict[str, float] | None = None
    error: str | None = None
    reused: bool = False


class Status(StrEnum):
    """Whether there is a score, and if not, why; never itself a score."""

    OK = "ok"
    UNPARSED = "unparsed"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    FAILED = "failed"


Via = Literal["text", "logprobs", "choice", "recorded"]
"""Which way a verdict came: read in the text, from the labels' log-probabilities, from a constrained
choice, or recorded by somebody else's program."""


class Verdict(Record, frozen=True):
    """What a text says. ``scores`` has the shape of ``Case.gold``, and is None unless status is ok.

    ``errors`` are the standard errors of the scores, where a deliberation knows them.
    """

    scores: Scores | None = None
    status: Status = Status.OK
    note: str = ""
    via: Via = "text"
    errors: Scores | None = None


IDENTICAL = "identical responses, not judged"
"""The note of a verdict on a case whose responses are all the same: a tie without any call."""


class Judgment(Record, frozen=True):
    """One call, whole; ``forced`` is the short second call that read a forced verdict, if there was one."""

    query: Query
    completion: Completion
    verdict: Verdict
    forced: Completion | None = None

    def __repr__(self) -> str:
        """One line: what was shown in which slot, and what the verdict is; texts are in the fields."""
        order = self.query.order
        told = _told(self.verdict, sorted(order))
        return f"Judgment(case {self.query.case_id!r}, shown {', '.join(map(str, order))}: {told})"

    def _repr_html_(self) -> str:
        """For notebooks: what was shown, the verdict, and the thinking and the text, folded."""
        judged = sorted(self.query.order)
        order = ", ".join(map(str, self.query.order))
        title = f"judgment on case {self.query.case_id}, shown {order}: {_told(self.verdict, judged)}"
        parts = [html.folded("thinking", self.completion.thinking)] if self.completion.thinking else []
        shown = html.table(["response", "score"], _score_rows(judged, self.verdict.scores, None))
        return html.block(title, [shown, *parts, html.folded("text", self.completion.text)])

    @property
    def usage(self) -> Usage:
        """Tokens of the call and of its forced verdict."""
        return self.completion.usage + (self.forced.usage if self.forced else Usage())

    @property
    def reused(self) -> Usage:
        """Those of them that an earlier run paid: they came from a cache."""
        calls = (self.completion, self.forced)
        return sum((call.usage for call in calls if call is not None and call.reused), Usage())


class Decision(Record, frozen=True):
    """What a deliberation says about a case. ``agreement``: share of resolved judgments that say the same."""

    case_id: str
    verdict: Verdict
    judgments: tuple[Judgment, ...] = ()
    agreement: float | None = None
    gold: Scores | None = None
    group: str | None = None
    meta: dict[str, Any] = {}

    def __repr__(self) -> str:
        """One line: the verdict, how many judgments it rests on, and gold; reasons are in ``judgments``."""
        agreement = "" if self.agreement is None else f", {self.agreement:.0%} agree"
        gold = "" if self.gold is None else f", gold {_numbers(self.gold)}"
        n = len(self.judgments)
        told = _told(self.verdict, range(len(self.verdict.scores or ())))
        return f"Decision(case {self.case_id!r}: {told}, judgments {n}{agreement}{gold})"

    def _repr_html_(self) -> str:
        """For notebooks: the scores beside gold, and every judgment's text, folded."""
        scores = self.verdict.scores
        graded = {True: ", right", False: ", wrong", None: ""}[self.right]
        title = f"case {self.case_id}: {_told(self.verdict, range(len(scores or ())))}{graded}"
        rows = _score_rows(range(len(scores or self.gold or ())), scores, self.gold)
        head = ["response", "score", "gold"] if self.gold else ["response", "score"]
        texts = [
            html.folded(_told(j.verdict, sorted(j.query.order)), j.completion.text)
            for j in self.judgments[: html.MOST_ROWS]
        ]
        more = len(self.judgments) - len(texts)
        told = [f"<div>... and {more:,} more judgments</div>"] if more else []
        return html.block(title, [html.table(head, rows), *texts, *told])

    @property
    def winner(self) -> int | None:
        """Index of the best response; None for a tie, no verdict and the rating of one response."""
        scores = self.verdict.scores
        return winner(scores) if scores and len(scores) > 1 else None

    @property
    def right(self) -> bool | None:
        """Whether gold says the same; None without gold about several responses, and without a verdict.

        A tie where gold prefers one is False. What no verdict is worth, each benchmark says for itself.
        """
        scores, gold = self.verdict.scores, self.gold
        return None if scores is None or gold is None or len(gold) < 2 else agrees(scores, gold)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The text of each judgment, in the order of ``judgments``; empty where it was not kept."""
        return tuple(j.completion.text for j in self.judgments)

    @property
    def usage(self) -> Usage:
        """Tokens of this decision's judgments."""
        return sum((j.usage for j in self.judgments), Usage())

    @property
    def reused(self) -> Usage:
        """Those of them that an earlier run paid: they came from a cache."""
        return sum((j.reused for j in self.judgments), Usage())

    @property
    def final_judgments(self) -> tuple[Judgment, ...]:
        """The judgments that the verdict rests on: on the same responses, those of the last stage.

        What a cascade's first judge or a brief look said is paid, but overruled by what came after it.
        """
        if len({_stage(j.query) for j in self.judgments}) < 2:
            return self.judgments
        last = {frozenset(j.query.order): _stage(j.query) for j in self.judgments}
        return tuple(j for j in self.judgments if _stage(j.query) == last[frozenset(j.query.order)])


class ScoreRow(Record, frozen=True):
    """One row of a scorecard: a value in [0, 1] over n cases and its 95% interval (None: not stated)."""

    name: str
    value: float
    n: int
    interval: tuple[float, float] | None = None


class Scorecard(Record, frozen=True):
    """The number with its interval, and what was not answered; no headline where no case has gold.

    ``statuses`` counts judgments. ``reasons`` counts those without a verdict by status and note, the most
    frequent first (see ``core.reasons``). ``lost`` counts damaged records of the run. ``reused`` are those of
    the tokens in ``usage`` that an earlier run paid: they came from a cache.
    """

    name: str
    headline: ScoreRow | None = None
    groups: tuple[ScoreRow, ...] = ()
    statistics: dict[str, float] = {}
    statuses: dict[str, int] = {}
    reasons: dict[str, int] = {}
    lost: int = 0

    def __repr__(self) -> str:
        """One line: the headline with its interval, and the statuses of the judgments."""
        row = self.headline
        share = "no score" if row is None else f"{row.value:.2%} of {row.n:,}"
        if row is not None and row.interval:
            share += f" ({row.interval[0]:.1%} to {row.interval[1]:.1%})"
        counts = ", ".join(f"{n:,} {status}" for status, n in self.statuses.items())
        return f"Scorecard({self.name}: {share}{f'; judgments: {counts}' if counts else ''})"

    def _repr_html_(self) -> str:
        """For notebooks: headline and groups with their intervals, statuses, why there is no verdict."""
        rows = [
            (row.name, f"{row.value:.2%}", _share_interval(row.interval), f"{row.n:,}")
            for row in (*((self.headline,) if self.headline else ()), *self.groups)
        ]
        counts = ", ".join(f"{n:,} {status}" for status, n in self.statuses.items())
        parts = [html.table(["", "score", "95% interval", "n"], rows)] if rows else []
        lines = [f"judgments: {counts}"] if counts else []
        lines += [f"{n:,} x {reason}" for reason, n in list(self.reasons.items())[:3]]
        if self.headline is None:
            lines.insert(0, "no score")
        return html.block(self.name, [*parts, *(f"<div>{html.escaped(line)}</div>" for line in lines)])

    unresolved: str = ""
    usage: Usage = Usage()
    seconds: float = 0.0
    reused: Usage = Usage()


Engine = Callable[[Query], Awaitable[Completion]]
"""Where tokens come from. May have ``aclose()`` and ``check()`` (see ``jurist.engines``)."""


class AskOptions(TypedDict, total=False):
    """The keyword arguments of ``Ask``: a wrapper takes them as one and hands on those that it does not set.

    ``among``: indices of the responses to judge, in ascending order, where the order is left to the judge
    (without it, all). ``budget``: the most tokens of thinking. ``first``: whether the cheap judge is asked.
    """

    among: Order | None
    budget: int | None
    first: bool


class Ask(Protocol):
    """Asks for one judgment; ``Judge.ask`` is one, and says what the arguments mean."""

    def __call__(
        self,
        case: Case,
        order: Order | None = None,
        sample: int = 0,
        /,
        *,
        among: Order | None = None,
        budget: int | None = None,
        first: bool = False,
    ) -> Awaitable[Judgment]:
        """The judgment, its verdict in the order of the case."""
        ...


class Compared(NamedTuple):
    """A finished match of two responses, or the rating of one, within a case of any number.

    ``responses`` are indices into ``Case.responses``, ascending; the verdict has one score for each.
    """

    responses: tuple[int, ...]
    verdict: Verdict
    judgments: tuple[Judgment, ...]


Observer = Callable[[Compared], None]
"""Is called whenever a comparison has finished; what it raises ends the deliberation."""


def unobserved(_: Compared) -> None:
    """The observer that does nothing."""


Decide = Callable[[Ask, Case], Awaitable[Decision]]
"""Any function that decides a case by asking; a ``Deliberation`` is one."""


@dataclass(frozen=True, slots=True)
class Deliberation:
    """How many asks make a decision.

    ``name`` is that of its maker (``either`` for ``pairs | many``), ``parts`` are the deliberations that
    it is made of. ``takes`` says how many responses a case may have: 1, 0 for any number (a tournament
    asks a judge of pairs about two at a time), None for as many as the judge takes at once.
    ``function(ask, case, observe)`` decides; tournaments and ratings of single responses call ``observe``
    after each comparison, and every other deliberation hands it on to its parts.
    """

    name: str
    function: Callable[[Ask, Case, Observer], Awaitable[Decision]]
    parts: tuple["Deliberation", ...] = ()
    takes: int | None = None
    names: frozenset[str] = field(init=False)
    """Its name and those of all that it is made of."""

    def __post_init__(self) -> None:
        """Collect the names once: they are asked for with every case."""
        object.__setattr__(self, "names", frozenset({self.name}.union(*(part.names for part in self.parts))))

    def __call__(self, ask: Ask, case: Case, observe: Observer = unobserved) -> Awaitable[Decision]:
        """Decide the case."""
        return self.function(ask, case, observe)

    def of(self, n: int) -> "Deliberation":
        """The deliberation that decides cases of n responses: a side of ``pairs | many``, else itself."""
        return self.parts[n > 2].of(n) if self.name == EITHER else self


EITHER = "either"
"""The name of a deliberation ``pairs | many``; its parts are these two."""


def conversation(value: str | Sequence[Message] | Sequence[dict[str, str]]) -> Conversation:
    """A conversation from a text (one user turn), messages, or role/content dictionaries."""
    if isinstance(value, str):
        return (Message("user", value),)
    return tuple(msgspec.convert(list(value), list[Message]))


def response_text(response: Response) -> str:
    """The text of a response; of several turns, its assistant turns joined by a blank line."""
    if isinstance(response, str):
        return response
    return "\n\n".join(m.content for m in response if m.role == "assistant")


def winner(scores: Scores | None) -> int | None:
    """Index of the best response, or None for a tie at the top (or no scores)."""
    if not scores:
        return None
    best = max(scores)
    return scores.index(best) if scores.count(best) == 1 else None


def agrees(scores: Scores | None, gold: Scores) -> bool:
    """Whether the best response by ``scores`` is one of the best by ``gold``; of a gold tie of all, a tie."""
    best = winner(scores)
    if min(gold) == max(gold):
        return bool(scores) and best is None
    return best is not None and gold[best] == max(gold)


def _numbers(scores: Scores) -> str:
    return f"({', '.join(f'{s:.3g}' for s in scores)})"


def _told(verdict: Verdict, judged: Sequence[int]) -> str:
    """A verdict in words; ``judged`` are the indices of the responses that its scores are about."""
    if verdict.scores is None:
        return f"no verdict, {verdict.status}"
    best = winner(verdict.scores)
    single = len(verdict.scores) == 1
    what = "rating" if single else "tie" if best is None else f"prefers {judged[best]}"
    return f"{what}, scores {_numbers(verdict.scores)}"


def _score_rows(responses: Sequence[int], scores: Scores | None, gold: Scores | None) -> list[list[str]]:
    """Index, score and gold (if any is given) of each response; scores are in the responses' order."""
    columns = [[str(i) for i in responses]]
    for numbers in (scores or (), *((gold,) if gold else ())):
        columns.append([f"{number:.3g}" for number in numbers])
    return [list(row) for row in zip_longest(*columns, fillvalue="")]


def _share_interval(bounds: tuple[float, float] | None) -> str:
    return f"{bounds[0]:.1%} to {bounds[1]:.1%}" if bounds else ""


def _stage(query: Query) -> tuple[str, int | None]:
    return query.judge, query.sampling.thinking_budget


def _digest(record: Record) -> str:
    return blake2b(msgspec.json.encode(record), digest_size=12).hexdigest()
