"""Held-out pairs: judged in both orders by the trained model before, during and after its training.

Every measurement is a run folder (RUN/held-out/NAME) with its ``eval.json``.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from typing import Protocol as TypingProtocol

import msgspec

from jurist.benchmarks.base import score_pairs
from jurist.core.errors import ConfigError, InputError
from jurist.core.files import write_whole
from jurist.core.store import Store, write_scorecard
from jurist.core.types import Case, Completion, Decision, Deliberation, Query, Record, Sampling, Usage, winner
from jurist.deliberation.votes import both_orders, swapped
from jurist.engines.base import EngineBase, failed
from jurist.engines.chat_template import ChatError, ChatIds, overflow
from jurist.inputs import load_cases
from jurist.judging import registry
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import Judge, check_arity
from jurist.judging.pool import decide_all, spread
from jurist.protocols.base import Protocol
from jurist.training.config import GrpoOptions, SftOptions, TrainOptions
from jurist.training.distributed import all_gather, package, rank, world
from jurist.training.generation import generate
from jurist.training.metrics import Callback
from jurist.training.model import PolicyModel
from jurist.training.types import Args, Control, Library, Module, State, Trainer

GreedyGenerate = Callable[[list[list[int]], int], list[list[int]]]
"""(prompts, most new tokens) -> a greedy continuation of each, with the token that ended it."""

Prompt = tuple[Query, list[int]]
"""A query and its tokens."""

EVAL_FILE = "eval.json"
_ROWS = 64
"""Prompts that are answered at once, so that memory does not grow with the pairs."""


class EvalResult(Record, frozen=True):
    """One measurement: shares in [0, 1]; ``low`` and ``high`` are the accuracy's 95% interval (Wilson)."""

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
    """Pairs that the training never sees, and their measurements as run folders."""

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
        facts: dict[str, str],
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

    def measure(self, name: str, generate: GreedyGenerate) -> EvalResult:
        """Judge every pair in both orders, keep the run in ``out / name``; every process has to call."""
        judge = Judge(self._protocol, PrecomputedEngine({}), self._sampling)
        asked = [judge.query(case, order, 0) for case in self.cases for order in both_orders(case)]
        written = self._written(asked[rank() :: world()], generate)
        answers = {key: completion for part in all_gather(written) for key, completion in part.items()}
        answered = replace(judge, engine=PrecomputedEngine(answers))
        decisions = asyncio.run(decided(self.cases, answered, swapped(), self.out / name, self._facts))
        return keep(self.out / name, eval_result(decisions))

    def read(self, name: str) -> EvalResult | None:
        """The result of an earlier measurement."""
        return read_eval(self.out / name)

    def _written(self, queries: Sequence[Query], generate: GreedyGenerate) -> dict[str, Completion]:
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
    cases: Sequence[Case], judge: Judge, deliberation: Deliberation, folder: Path, facts: dict[str, str]
) -> list[Decision]:
    """The decisions of a judge whose answers are there already.

    The first process keeps them in ``folder``; what an interrupted training left there is taken away.
    """
    store = None
    if rank() == 0:
        _emptied(folder)
        store = Store(folder, {**facts, "measured": folder.name, "cases": len(cases)})
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
    with the open_model tag, so that nothing inside the thinking is taken for an answer."""
    opened = "" if protocol.opens_thinking else chat.opened
    return opened + chat.text(ids)


class PrecomputedEngine(EngineBase):
    """Completions that were written before they are asked for."""

    def __init__(self, answers: dict[str, Completion]) -> None:
        self._answers = answers

    async def __call__(self, query: Query) -> Completion:
        return self._answers.get(query.key) or failed("nothing was written for this query")


def _emptied(folder: Path) -> None:
    for file in folder.glob("*.json*") if folder.is_dir() else ():
        file.unlink()


def keep(folder: Path, result: EvalResult) -> EvalResult:
    """Write a measurement's result (on the first process); returns it."""
    if rank() == 0:
        write_whole(folder / EVAL_FILE, msgspec.json.encode(result) + b"\n")
    return result


def read_eval(folder: Path) -> EvalResult | None:
    """A measurement's result; None where it did not finish."""
    path = folder / EVAL_FILE
    return msgspec.json.decode(path.read_bytes(), type=EvalResult) if path.exists() else None


def eval_result(decisions: Sequence[Decision]) -> EvalResult:
    """The result of decisions about pairs with gold."""
    card = score_pairs(decisions)
    head = card.headline
    low, high = (head.interval if head else None) or (0.0, 1.0)
    asked = sum(card.statuses.values())
    return EvalResult(
        accuracy=head.value if head else 0.0,
        low=low,
        high=high,
        consistent=card.statistics.get("consistency"),
        unanswered=1 - card.statuses.get("ok", 0) / max(1, asked),
        first=card.statistics.get("first_shown_wins"),
        tokens=card.usage.completion_tokens / max(1, asked),
        n=len(decisions),
    )


BEFORE, AFTER = "before", "after"


class Pairs(TypingProtocol):
    """Held-out pairs, and how they measure a model that is opened for them."""

    @property
    def cases(self) -> Sequence[Case]:
        """What is measured on."""
        ...

    def measure(self, name: str, how: Any, /) -> EvalResult:
        """Measure by ``how``, which is what was opened; keep it under a name. Every process calls."""
        ...

    def read(self, name: str) -> EvalResult | None:
        """The result of an earlier measurement."""
        ...


OpenModel = Callable[[Trainer], AbstractContextManager[Any]]
"""Opens the model of a trainer for ``Pairs.measure``."""


class HeldOutCallback(Callback):
    """Measures held-out pairs before, every so many steps, and after."""

    def __init__(self, trainer: Trainer, pairs: Pairs, open_model: OpenModel, every: int | None) -> None:
        self._measured: dict[str, EvalResult] = {}
        self._trainer, self._pairs, self._opening, self._every = trainer, pairs, open_model, every

    def on_train_begin(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Measure the model before its first step; a resumed training reads what it was."""
        del args, control
        if not state.global_step:
            self._measure(BEFORE)

    def on_step_end(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Measure at every so many steps, and after the last, before its checkpoint is written."""
        # The trainer's steps are updates, of which a step of rollouts may have several.
        step, updates = state.global_step, args.logging_steps
        every = (self._every or max(1, state.max_steps // updates // 10)) * updates
        # A log says that nothing is left to be logged; the step's own is still to come.
        due = control.should_log
        if step >= state.max_steps:
            self._measure(AFTER)
        elif step % every == 0:
            self._measure(f"step-{step // updates:06d}")
        control.should_log = due

    @property
    def count(self) -> int:
        """How many pairs are measured on."""
        return len(self._pairs.cases)

    def result(self, name: str) -> EvalResult | None:
        """What was measured under a name, in this session or an earlier one."""
        return self._measured.get(name) or self._pairs.read(name)

    def _measure(self, name: str) -> None:
        with self._opening(self._trainer) as how:
            result = self._measured[name] = self._pairs.measure(name, how)
        # Not by the trainer's own log: that one empties what it gathered during the step.
        package("transformers").Trainer.log(self._trainer, result.metrics())


@contextmanager
def generating(trainer: Trainer, policy: PolicyModel) -> Generator[GreedyGenerate]:
    """The model of a trainer as it stands, writing greedily."""
    with written_by(trainer) as model:

        def write(prompts: list[list[int]], most: int) -> list[list[int]]:
            with trainer.accelerator.autocast():
                rows = generate(
                    model, prompts, 1, max_new_tokens=most, temperature=0.0, top_p=1.0,
                    eos=policy.eos, pad=policy.tokenizer.pad_token_id, seed=0,
                )  # fmt: skip
            return [ids for ids, _ in rows]

        yield write


@contextmanager
def written_by(trainer: Trainer) -> Generator[Module]:
    """The trainer's model, gathered from its shards and in evaluation mode; restored afterwards."""
    unwrapped: Library = package("trl.models.utils").unwrap_model_for_generation
    wrapped = getattr(trainer, "model_wrapped", None) or trainer.model
    with unwrapped(wrapped, trainer.accelerator) as model, package("torch").no_grad():
        training, cached = model.training, model.config.use_cache
        model.eval()
        try:
            yield model
        finally:
            model.train(training)
            model.config.use_cache = cached


def judge_of(options: TrainOptions) -> Judge:
    """Renders and parses as the trained judge will; it cannot be asked. Raises for a protocol of no pairs."""
    rule = options.rule if isinstance(options, GrpoOptions) else "robust"
    if rule != "robust" and options.protocol not in ("rm-r1", "rrm"):
        raise ConfigError(
            f"rule = {rule} is an official rule of RM-R1 and RRM, {options.protocol!r} has none",
            hint="--rule robust, or --protocol rm-r1 or rrm",
        )
    config = JudgeConfig(
        engine="transformers",
        model=options.model,
        protocol=options.protocol,
        family=options.family,
        protocol_file=options.protocol_file,
        rule=rule,
    )
    protocol = registry.protocol(config, options.protocol)
    # Written rows of one reply are learned as any others; to ask about pairs takes a protocol of pairs.
    learned = isinstance(options, SftOptions) and options.target == "chain" and options.held_out is None
    if protocol.arity != 2 and not (protocol.arity == 1 and learned):
        raise ConfigError(
            f"the protocol {protocol.name!r} does not judge pairs",
            hint="train with a protocol of pairs, such as --protocol rubrics",
        )
    return Judge(protocol, _NoEngine(), seed=options.seed)


def held_out_pairs(options: TrainOptions, policy: PolicyModel, out: Path, tokens: int) -> HeldOut | None:
    """The pairs of ``--held-out``, if there are any."""
    if options.held_out is None:
        return None
    return HeldOut(
        list(load_cases(str(options.held_out))),
        judge_of(options).protocol,
        policy.chat,
        out=out / "held-out",
        limit=options.eval_limit,
        max_tokens=tokens,
        context=policy.context,
        eos=policy.eos,
        facts={"engine": "training", "model": options.model, "protocol": options.protocol,
               "deliberation": "swapped", "input": str(options.held_out)},
    )  # fmt: skip


class _NoEngine(EngineBase):
    """The engine of a judge that is only used to render and parse."""

    async def __call__(self, query: Query) -> Completion:
        return failed(f"this judge has no engine ({query.case_id})")
