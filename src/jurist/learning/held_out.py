"""Held-out pairs, judged in both orders by the model as it stands; each measurement is a run folder."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from jurist.asking import Judge, check_arity
from jurist.benchmarks.base import score_pairs
from jurist.deliberation.votes import both_orders, swapped
from jurist.engines.base import EngineBase, failed
from jurist.engines.chat_ids import ChatError, ChatIds, overflow
from jurist.errors import InputError
from jurist.learning.processes import everyone, rank, world
from jurist.lines import write_whole
from jurist.pool import decide_all, spread
from jurist.protocols.base import Protocol
from jurist.store import Store, write_scorecard
from jurist.types import Case, Completion, Decision, Deliberation, Noun, Query, Sampling, Usage, winner

Generate = Callable[[list[list[int]], int], list[list[int]]]
"""(prompts, most new tokens) -> a greedy continuation of each, with the token that ended it."""

Prompt = tuple[Query, list[int]]
"""A query and its tokens."""

STANDING = "standing.json"
_ROWS = 64
"""Prompts that are answered at once, so that memory does not grow with the pairs."""


class Standing(Noun, frozen=True):
    """How the model did: shares, and the accuracy's 95% interval (Wilson)."""

    accuracy: float
    low: float
    high: float
    consistent: float | None
    unanswered: float
    first: float | None
    """Share of the verdicts for the response that is shown first."""
    tokens: float
    """Mean length of a judgment."""
    n: int

    def metrics(self) -> dict[str, float]:
        """The numbers under the names of the training's metrics."""
        named = {
            "accuracy": self.accuracy, "low": self.low, "high": self.high, "first": self.first,
            "consistent": self.consistent, "unanswered": self.unanswered, "length": self.tokens,
        }  # fmt: skip
        return {f"held_out/{name}": value for name, value in named.items() if value is not None}


class HeldOut:
    """Pairs that the training never sees, and the folders with what was said about them."""

    def __init__(
        self,
        cases: Sequence[Case],
        protocol: Protocol,
        chat: ChatIds,
        *,
        out: Path,
        limit: int,
        max_tokens: int,
        context: int,
        eos: Sequence[int],
        facts: dict[str, Any],
    ) -> None:
        labelled = [case for case in cases if case.gold is not None and winner(case.gold) is not None]
        if not labelled:
            raise InputError(
                "no held-out pair has a label",
                hint="rows need chosen and rejected, or responses with gold",
            )
        for case in labelled:
            check_arity(protocol, case, len(case.responses))
        self.cases = list(spread(labelled, limit))
        self.out = out
        self._protocol, self._sampling = protocol, Sampling(max_tokens=max_tokens)
        self._chat, self._context, self._eos = chat, context, set(eos)
        self._facts = facts

    def measure(self, name: str, generate: Generate) -> Standing:
        """Judge every pair in both orders, keep the run in ``out / name``; every process has to call."""
        judge = Judge(self._protocol, Answered({}), self._sampling)
        asked = [judge.query(case, order, 0) for case in self.cases for order in both_orders(case)]
        own = self._written(asked[rank() :: world()], generate)
        answers = {key: completion for part in everyone(own) for key, completion in part.items()}
        answered = replace(judge, engine=Answered(answers))
        decisions = asyncio.run(decided(self.cases, answered, swapped(), self.out / name, self._facts))
        return keep(self.out / name, standing_of(decisions))

    def read(self, name: str) -> Standing | None:
        """What an earlier measurement came to."""
        return read_standing(self.out / name)

    def _written(self, queries: Sequence[Query], generate: Generate) -> dict[str, Completion]:
        written: dict[str, Completion] = {}
        fitting: list[Prompt] = []
        for query in queries:
            try:
                ids = self._chat.prompt(query.messages, None)
            except ChatError as error:
                written[query.key] = failed(str(error))
                continue
            if len(ids) >= self._context:
                written[query.key] = overflow(len(ids), self._context)
            else:
                fitting.append((query, ids))
        for room, batch in self._batches(fitting):
            outputs = generate([ids for _, ids in batch], room)
            for (query, ids), new in zip(batch, outputs, strict=True):
                written[query.key] = self._completion(ids, new)
        return written

    def _batches(self, asked: Iterable[Prompt]) -> Iterator[tuple[int, Sequence[Prompt]]]:
        """(most new tokens, prompts): lengths together, the longest first: what cannot fit fails early."""

        def room(one: Prompt) -> int:
            return min(self._sampling.max_tokens, self._context - len(one[1]))

        ordered = sorted(asked, key=lambda one: -len(one[1]))
        for most, alike in groupby(ordered, room):
            together = list(alike)
            for at in range(0, len(together), _ROWS):
                yield most, together[at : at + _ROWS]

    def _completion(self, ids: Sequence[int], new: Sequence[int]) -> Completion:
        finish = "stop" if new and new[-1] in self._eos else "length"
        text = written_text(self._chat, self._protocol, new)
        return Completion(text, finish=finish, usage=Usage(len(ids), len(new)))


async def decided(
    cases: Sequence[Case], judge: Judge, deliberation: Deliberation, folder: Path, facts: dict[str, Any]
) -> list[Decision]:
    """The decisions of a judge whose answers are there already.

    The first process keeps them in ``folder``; what an interrupted training left there is taken away.
    """
    store = None
    if rank() == 0:
        _emptied(folder)
        store = Store(folder, facts | {"measured": folder.name, "cases": len(cases)})
    ask = replace(judge, memory=store).ask
    decisions: list[Decision] = []
    try:
        stream = decide_all(cases, ask, deliberation, concurrency=8, store=store, give_up_after=0)
        async with aclosing(stream):
            async for decision in stream:
                decisions.append(decision)
    finally:
        if store:
            store.close()
    if store:
        write_scorecard(folder, score_pairs(decisions, f"held-out pairs, {folder.name}"))
    return decisions


def written_text(chat: ChatIds, protocol: Protocol, ids: Sequence[int]) -> str:
    """The text of generated ids; where the template opened the thinking, and the parser does not know it,
    with the opening tag, so that nothing inside the thinking is taken for an answer."""
    opened = "" if protocol.opens_thinking else chat.opened
    return opened + chat.text(ids)


class Answered(EngineBase):
    """Completions that were written before they are asked for."""

    def __init__(self, answers: dict[str, Completion]) -> None:
        self._answers = answers

    async def __call__(self, query: Query) -> Completion:
        return self._answers.get(query.key) or failed("nothing was written for this query")


def _emptied(folder: Path) -> None:
    for file in folder.glob("*.json*") if folder.is_dir() else ():
        file.unlink()


def keep(folder: Path, standing: Standing) -> Standing:
    """Write down what a measurement came to (on the first process); returns it."""
    if rank() == 0:
        write_whole(folder / STANDING, msgspec.json.encode(standing) + b"\n")
    return standing


def read_standing(folder: Path) -> Standing | None:
    """What a measurement came to; None where it did not end."""
    path = folder / STANDING
    return msgspec.json.decode(path.read_bytes(), type=Standing) if path.exists() else None


def standing_of(decisions: Sequence[Decision]) -> Standing:
    """What decisions about pairs with gold come to."""
    card = score_pairs(decisions)
    head = card.headline
    low, high = (head.interval if head else None) or (0.0, 1.0)
    asked = sum(card.statuses.values())
    return Standing(
        accuracy=head.value if head else 0.0,
        low=low,
        high=high,
        consistent=card.statistics.get("consistency"),
        unanswered=1 - card.statuses.get("ok", 0) / max(1, asked),
        first=card.statistics.get("first_shown_wins"),
        tokens=card.usage.completion_tokens / max(1, asked),
        n=len(decisions),
    )
