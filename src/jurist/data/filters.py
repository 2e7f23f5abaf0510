"""Filters of training rows: the first reason for which a row is left out, the cheapest test first.

Cases of many responses become pairs of a better and a worse one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from jurist.core.errors import ConfigError, MissingExtraError
from jurist.core.hashing import seed_of
from jurist.core.types import Case, Message, Response, response_text
from jurist.data.dedup import Seen, Unique
from jurist.data.overlap import Index, match
from jurist.data.report import SourceCounts
from jurist.data.sources import pair_of

Choose = Literal["one", "all"]
"""One pair of each case (one of the best, one of the others, by seed), or all with different gold."""


def pairs_of(case: Case, choose: Choose, seed: int) -> Iterator[Case]:
    """Pairs of a case whose gold names better and worse responses; a pair is itself.

    The responses stay in their order; ids say which of them they are, counted from 1.
    """
    if len(case.responses) == 2:
        yield case
        return
    for first, second in _chosen(case, choose, seed):
        yield replace(case.reordered((first, second)), id=f"{case.id}/{first + 1}-{second + 1}")


def _chosen(case: Case, choose: Choose, seed: int) -> Iterator[tuple[int, int]]:
    gold = case.gold or ()
    everything = range(len(gold))
    if choose == "all":
        yield from ((i, j) for i in everything for j in everything[i + 1 :] if gold[i] != gold[j])
        return
    by_seed = sorted(everything, key=lambda i: seed_of(seed, case.id, i))
    best = next(i for i in by_seed if gold[i] == max(gold))
    worse = next(i for i in by_seed if gold[i] < max(gold))
    yield min(best, worse), max(best, worse)


Measure = Callable[[str], int]
"""The length of a text."""

Values = Sequence[tuple[str, str]]
"""Fields and values."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a row must pass. ``longest``: prompt and both responses together, in units of ``measure``.

    ``drop``: rows whose group or meta field has this value. ``index``: frozen, the texts of benchmarks.
    """

    drop: Values = ()
    longest: int | None = None
    measure: Measure = len
    index: Index | None = None
    seen: Seen | None = None

    def unfit(self, case: Case) -> str | None:
        """Why a case gives no pair, or None."""
        for name, value in self.drop:
            if str(case.group if name == "group" else case.meta.get(name)) == value:
                return f"{name} is {value}"
        if len(case.responses) < 2:
            return "one response"
        if case.gold is None:
            return "no gold"
        if min(case.gold) == max(case.gold):
            return "tie"
        return None

    def fault(self, pair: Case) -> str | None:
        """Why a pair is not fit, or None; one that is fit is seen from now on."""
        responses = [response_text(r).strip() for r in pair.responses]
        if not all(responses):
            return "empty response"
        if responses[0] == responses[1] and _earlier(pair.responses[0]) == _earlier(pair.responses[1]):
            return "equal responses"
        if self.longest is not None and self._length(pair) > self.longest:
            return "too long"
        if self.index:
            hits = match(pair, 0, self.index)
            if hits:
                return f"overlaps {hits[0].hit.benchmark}"
        return self.seen.again(pair) if self.seen else None

    def _length(self, pair: Case) -> int:
        turns = [turn.content for turn in pair.prompt]
        turns += [
            text for r in pair.responses for text in ([r] if isinstance(r, str) else [m.content for m in r])
        ]
        return sum(map(self.measure, turns))


class FilterOptions(NamedTuple):
    """The filters of `jurist data pairs`, as options of the command line."""

    unique: Unique | Literal["none"]
    near: float
    longest: int | None
    tokenizer: str | None
    drop: list[str]
    against: list[str]
    data: Path | None


def filters_of(options: FilterOptions, index: Index | None) -> Filters:
    """The filters that the options name; raises ``ConfigError``."""
    if not 0 < options.near <= 1:
        raise ConfigError(f"--near {options.near:g} is no share", "0.8 is usual")
    drop = [pair_of(text, "--drop source=magpie_ultra") for text in options.drop]
    measure = tokens_of(options.tokenizer) if options.tokenizer else len
    seen = None if options.unique == "none" else Seen(options.unique, options.near)
    return Filters(drop, options.longest, measure, index, seen)


def fit(
    cases: Iterator[Case], filters: Filters, tally: SourceCounts, choose: Choose = "one", seed: int = 0
) -> Iterator[Case]:
    """The pairs that pass, named after their source (see ``named``); counted in the tally."""
    for case in cases:
        tally.read += 1
        reason = filters.unfit(case)
        if reason:
            tally.dropped[reason] += 1
            continue
        for pair in pairs_of(named(case, tally.name), choose, seed):
            fault = filters.fault(pair)
            if fault:
                tally.dropped[fault] += 1
            else:
                tally.written += 1
                yield pair


def named(case: Case, name: str) -> Case:
    """The case under the id ``NAME/ID`` with ``meta.from``; one that was named before keeps its name."""
    if case.id.startswith(f"{case.meta.get('from')}/"):
        return case
    return replace(case, id=f"{name}/{case.id}", meta={**case.meta, "from": name})


def tokens_of(tokenizer: str) -> Measure:
    """How many tokens a text has by a Hugging Face tokenizer (without special tokens)."""
    try:
        transformers: Any = import_module("transformers")
    except ImportError:
        raise MissingExtraError("transformers", "transformers", "counting tokens") from None
    encode: Any = transformers.AutoTokenizer.from_pretrained(tokenizer)
    return lambda text: len(encode(text, add_special_tokens=False)["input_ids"])


def _earlier(response: Response) -> tuple[Message, ...]:
    """The turns of a response that are not the assistant's."""
    return () if isinstance(response, str) else tuple(turn for turn in response if turn.role != "assistant")
