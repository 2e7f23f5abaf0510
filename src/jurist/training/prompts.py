"""Labelled pairs as prompts of the trained judge: rendered, tokenised, filtered by length, counted."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from jurist.core.errors import InputError
from jurist.core.types import Case, Order, Query, Response, response_text, winner
from jurist.engines.chat_template import ChatError, ChatIds
from jurist.judging.judge import Judge, check_arity, seeded_order
from jurist.training.config import Orders, TooLong

_CUT = " [...]"


@dataclass(frozen=True, slots=True)
class PromptExample:
    """One prompt of the judge, and which response it ought to choose."""

    case: Case
    query: Query
    ids: list[int]
    """The prompt's tokens."""

    @property
    def want(self) -> int:
        """Index of the better response, in the order of the case."""
        best = winner(self.case.gold)
        assert best is not None
        return best

    @property
    def slot(self) -> int:
        """Where the better response is shown."""
        return self.query.order.index(self.want)


@dataclass(slots=True)
class PromptCounts:
    """What became of the rows that were read."""

    read: int = 0
    ties: int = 0
    unlabelled: int = 0
    equal: int = 0
    """Pairs of two equal responses."""
    dropped: int = 0
    """Too long."""
    truncated: int = 0
    longest: int = 0
    """Tokens of the longest prompt that stayed."""
    first: list[bool] = field(default_factory=list[bool])

    def lines(self) -> Iterator[str]:
        """What a person should know, a line each."""
        n = len(self.first)
        yield f"{n:,} prompts of {self.read:,} pairs, at most {self.longest:,} tokens each"
        for count, what in (
            (self.ties, "ties left out"),
            (self.unlabelled, "pairs without a label left out"),
            (self.equal, "pairs of equal responses left out"),
            (self.dropped, "prompts over the limit left out (--max-prompt, --too-long truncate)"),
            (self.truncated, "prompts over the limit cut"),
        ):
            if count:
                yield f"{count:,} {what}"
        if n:
            yield f"the better response stands first in {sum(self.first) / n:.0%} of the prompts"


def prompt_examples(
    cases: Iterable[Case],
    judge: Judge,
    chat: ChatIds,
    *,
    orders: Orders = "random",
    max_prompt: int,
    too_long: TooLong = "drop",
) -> tuple[list[PromptExample], PromptCounts]:
    """The prompts of labelled pairs. Raises ``InputError`` where nothing could be learned from them."""
    examples: list[PromptExample] = []
    count = PromptCounts()
    for case in cases:
        count.read += 1
        check_arity(judge.protocol, case, len(case.responses))
        if not usable(case, count):
            continue
        asked = [
            _prompt_example(case, o, judge, chat, max_prompt, too_long) for o in _orders(case, orders, judge)
        ]
        fitting = [example for example in asked if example is not None]
        if len(fitting) < len(asked):
            # An order without the other would teach what stands first.
            count.dropped += len(asked)
            continue
        examples += fitting
        count.truncated += sum(example.case is not case for example in fitting)
        count.first += [example.slot == 0 for example in fitting]
        count.longest = max(count.longest, *(len(example.ids) for example in fitting))
    _check(examples, count, orders)
    return examples, count


def usable(case: Case, count: PromptCounts) -> bool:
    """Whether something can be learned from a pair; if not, why is counted."""
    if case.gold is None:
        count.unlabelled += 1
    elif winner(case.gold) is None:
        count.ties += 1
    elif len({response_text(r) for r in case.responses}) == 1:
        count.equal += 1
    else:
        return True
    return False


def _orders(case: Case, orders: Orders, judge: Judge) -> Sequence[Order]:
    straight = tuple(range(len(case.responses)))
    if orders == "given":
        return (straight,)
    if orders == "both":
        return (straight, straight[::-1])
    return (seeded_order(case, 0, judge.seed),)


def _prompt_example(
    case: Case, order: Order, judge: Judge, chat: ChatIds, limit: int, too_long: TooLong
) -> PromptExample | None:
    query = judge.query(case, order, 0)
    ids = prompt_ids(chat, query)
    if len(ids) <= limit:
        return PromptExample(case, query, ids)
    if too_long == "stop":
        raise InputError(
            f"case {case.id!r}: its prompt has {len(ids):,} tokens, the limit is {limit:,}",
            hint="--too-long drop leaves such pairs out, --too-long truncate cuts their responses",
        )
    return _truncated(case, order, judge, chat, limit) if too_long == "truncate" else None


def _truncated(case: Case, order: Order, judge: Judge, chat: ChatIds, limit: int) -> PromptExample | None:
    """The question with its responses cut at equal lengths until it fits; None where the rest is too long."""
    low, high = 0, max(len(response_text(r)) for r in case.responses)
    best: PromptExample | None = None
    while low <= high:
        keep = (low + high) // 2
        shorter = replace(case, responses=tuple(cut(r, keep) for r in case.responses))
        query = judge.query(shorter, order, 0)
        ids = prompt_ids(chat, query)
        if len(ids) <= limit:
            best, low = PromptExample(shorter, query, ids), keep + 1
        else:
            high = keep - 1
    return best if best and len({response_text(r) for r in best.case.responses}) > 1 else None


def cut(response: Response, keep: int) -> Response:
    """A response of at most ``keep`` characters, and a mark where it goes on."""
    text = response_text(response)
    return response if len(text) <= keep else text[:keep] + _CUT


def prompt_ids(chat: ChatIds, query: Query) -> list[int]:
    """The tokens of a query; raises ``InputError`` where the model's template cannot say it."""
    try:
        return chat.prompt(query.messages, query.prefill)
    except ChatError as error:
        raise InputError(f"case {query.case_id!r}: {error}") from error


def _check(examples: Sequence[PromptExample], count: PromptCounts, orders: Orders) -> None:
    if not count.read:
        raise InputError("no pair to train on: the file has no rows")
    if not examples:
        reasons = ", ".join(list(count.lines())[1:])
        label = "rows need a label: chosen and rejected, or responses with gold"
        raise InputError(
            f"no pair to train on: {reasons}",
            hint="a larger --max-prompt, or --too-long truncate" if count.dropped else label,
        )
    if orders == "given" and len(examples) > 1 and len(set(count.first)) == 1:
        place = "first" if count.first[0] else "second"
        raise InputError(
            f"the better response stands {place} in every prompt: a judge would learn that, and nothing else",
            hint="--orders random or --orders both",
        )
