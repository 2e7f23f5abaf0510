"""Samples responses to prompts from a policy behind an engine, and keeps them in the run folder."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Unpack

import msgspec
from msgspec.structs import replace

from jurist.core.errors import ConfigError, InputError
from jurist.core.files import Lines, Warn, read_line, scan
from jurist.core.hashing import seed_of
from jurist.core.run_config import adopt
from jurist.core.store import claim
from jurist.core.types import (
    Ask,
    AskOptions,
    Case,
    Completion,
    Decision,
    Judgment,
    Order,
    Query,
    Record,
    Sampling,
    Status,
    Verdict,
)
from jurist.deliberation.votes import together
from jurist.inputs import OnBad, read_rows
from jurist.inputs.lines import Fields, Place, Row
from jurist.inputs.rows import RESPONSES, case_of
from jurist.judging import registry
from jurist.judging.config import JudgeConfig, as_dict, config_of
from jurist.judging.plan import Plan, Range
from jurist.judging.pool import RunProgress, decide_all
from jurist.judging.tokens import token_counter

DRAWN, POLICY = "responses.jsonl", "policy.json"
"""What sampling adds to a run folder."""

SHAPING = ("engine", "model", "temperature", "top_p", "max_tokens", "seed", "extra")
"""Options of a policy that change its responses; the others change only its speed."""

POLICY_OPTIONS = (*SHAPING, "concurrency", "timeout", "retry_for", "samples_per_request", "give_up_after")

_FLAWS = {"length": "cut", "filter": "filtered", "error": "failed"}


class _Drawn(Record, frozen=True):
    """One response as it was drawn: a line of responses.jsonl."""

    key: str
    case_id: str
    sample: int
    completion: Completion


def policy_of(path: Path) -> JudgeConfig:
    """The policy that a TOML file tells; raises for options that cannot draw responses."""
    config = config_of(path, POLICY_OPTIONS, temperature=1.0, max_tokens=2048)
    if config.engine.startswith("scalar"):
        raise ConfigError(f"{path}: {config.engine} writes no responses", hint="name a chat model")
    if not config.temperature:
        hint = "temperature = 1.0"
        raise ConfigError(f"{path}: at temperature 0 all responses to a prompt are the same", hint=hint)
    return config


def prompts_of(source: str, on_bad: OnBad | None = None) -> Iterator[Case]:
    """The prompts of a source, as cases without responses; those that rows bring are not used."""
    places: dict[str, Place] = {}

    def prompt(row: Row) -> Case:
        case = _prompt_case(row.fields, row.default_id)
        if case.id in places:
            raise InputError(f"id: {case.id!r} was taken by {places[case.id]}", "give each row its own id")
        places[case.id] = row.place
        return case

    return read_rows(source, prompt, on_bad)


class PolicySampler:
    """A policy and the file in ``folder`` that keeps what it said; ``n`` responses to each prompt."""

    def __init__(self, folder: Path, config: JudgeConfig, n: int) -> None:
        self._folder, self._config, self._samples = folder, config, range(n)
        self._kept: dict[str, int] = {}

    async def draw(
        self, prompts: Sequence[Case], say: Warn, watch: Callable[[RunProgress], None] = lambda _: None
    ) -> None:
        """Draw what is missing; raises where another policy, or another process, works in the folder."""
        with claim(self._folder):
            chosen = {name: value for name, value in as_dict(self._config).items() if name in SHAPING}
            adopt(self._folder, chosen, POLICY)
            lines = Lines(self._folder / DRAWN, say)
            try:
                self._kept = {line.key: offset for offset, line in scan(lines.path, _Drawn)}
                await self._draw(prompts, lines, say, watch)
            finally:
                lines.close()

    async def _draw(
        self, prompts: Sequence[Case], lines: Lines, say: Warn, watch: Callable[[RunProgress], None]
    ) -> None:
        engine = registry.engine(self._config)
        engine.say = say

        async def ask(
            case: Case, _order: Order | None = None, sample: int = 0, **_: Unpack[AskOptions]
        ) -> Judgment:
            query = self._query(case, sample)
            if query.key in self._kept:
                return Judgment(query, Completion(), Verdict())
            completion = await engine(query)
            if completion.finish == "error":
                return Judgment(query, completion, Verdict(status=Status.FAILED, note=completion.error or ""))
            line = _Drawn(query.key, case.id, sample, completion)
            self._kept[query.key] = lines.append(msgspec.json.encode(line))
            return Judgment(query, completion, Verdict())

        async def draw(ask: Ask, case: Case) -> Decision:
            return Decision(case.id, Verdict(), await together(ask, case, [(None, i) for i in self._samples]))

        try:
            await engine.check()
            # The pool of cases does for responses what it does for judgments.
            stop = self._config.give_up_after
            stream = decide_all(
                prompts, ask, draw, concurrency=engine.concurrency, watch=watch, give_up_after=stop
            )
            async with aclosing(stream):
                async for _ in stream:
                    pass
        finally:
            await engine.aclose()

    def _query(self, case: Case, sample: int) -> Query:
        config = self._config
        seed = seed_of(config.seed, case.id, sample) % 2**31
        sampling = Sampling(config.temperature or 0.0, config.top_p or 1.0, config.max_tokens or 0, seed)
        return Query(case.id, (), sample, case.prompt, sampling, judge="policy")

    def cases(self, prompts: Iterable[Case], counts: Counter[str]) -> Iterator[Case]:
        """The prompts with their whole responses; all that were drawn are counted in ``counts``.

        What was cut at its length, filtered, empty or failed is no response that anyone should learn from.
        ``meta["samples"]`` names the samples that the responses are.
        """
        with (self._folder / DRAWN).open("rb") as file:
            for case in prompts:
                whole: dict[int, str] = {}
                for i in self._samples:
                    offset = self._kept.get(self._query(case, i).key)
                    completion = Completion(finish="error")
                    if offset is not None:
                        line = read_line(file.fileno(), offset)
                        completion = msgspec.json.decode(line, type=_Drawn).completion
                    flaw = _FLAWS.get(completion.finish) or ("" if completion.text.strip() else "empty")
                    counts[flaw or "whole"] += 1
                    if not flaw:
                        whole[i] = completion.text
                meta = {**case.meta, "samples": list(whole)}
                yield replace(case, responses=tuple(whole.values()), meta=meta)


def undrawn(source: str, config: JudgeConfig, n: int, limit: int | None) -> Iterator[Case]:
    """The prompts of a source with n made-up responses, as long as the policy may write: what is planned."""
    longest = "word " * int((config.max_tokens or 0) * 4 / 5)
    for case in islice(prompts_of(source), limit):
        yield replace(case, responses=tuple(f"{i} {longest}" for i in range(n)))


def drawing_plan(what: str, prompts: Sequence[Case], config: JudgeConfig, n: int) -> Plan:
    """What drawing n responses to each prompt takes."""
    counter = token_counter(config)
    calls = float(len(prompts) * n)
    some = prompts[:: max(1, len(prompts) // 200)]
    lengths = [counter.count(case.prompt, None) for case in some]
    read = sum(lengths) / max(1, len(lengths)) * calls
    most = Range(0, calls * (config.max_tokens or 0))
    note = f"the responses that are judged are counted at the {config.max_tokens:,} tokens that they may have"
    return Plan(
        what, len(prompts), Range(calls, calls), Range(read, read), most, True, counter.how,
        max(lengths, default=0), notes=(note,),
    )  # fmt: skip


def _prompt_case(fields: Fields, default_id: str) -> Case:
    answered = any(fields.get(name) is not None for name in RESPONSES)
    case = case_of(fields if answered else {**fields, "response": ""}, default_id)
    return replace(case, responses=(), gold=None)
