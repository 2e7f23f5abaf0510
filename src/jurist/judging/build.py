"""Builds a judge from its options; options that were not given are chosen here, and each choice is said."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec

from jurist.core.errors import ConfigError, EngineError
from jurist.core.types import Case, Conversation, Deliberation, Message, Sampling
from jurist.core.version import __version__
from jurist.engines.base import EngineBase
from jurist.engines.cache import CachedEngine, CompletionCache, model_stamp
from jurist.engines.low_rank import JUDGE
from jurist.engines.openai.address import is_address
from jurist.judging import registry
from jurist.judging.config import JudgeConfig, as_dict, config_of
from jurist.judging.judge import Judge, Memory
from jurist.protocols import rm_r1
from jurist.protocols.base import Protocol
from jurist.protocols.published import PUBLISHED

Say = Callable[[str], None]

VOTES = frozenset({"vote", "exact", "confident"})
"""Deliberations that ask the same query several times and need samples that differ."""


@dataclass(frozen=True, slots=True)
class JudgeSetup:
    """A judge with its engine and its way to deliberate; ``config`` is what the options resolved to."""

    protocol: Protocol
    engine: EngineBase
    sampling: Sampling
    deliberate: Deliberation
    config: JudgeConfig
    first: "JudgeSetup | None" = None
    """The cheap judge of a cascade, if it is another one."""
    name: str = ""
    chosen: bool = True
    """The deliberation was the user's choice."""

    def for_many(self, many: str) -> "JudgeSetup":
        """This judge, deciding cases of more than two responses by ``many``, if it needs to and may."""
        if self.chosen or self.protocol.arity != 2:
            return self
        text = f"{self.config.deliberation} | {many}"
        config = replace(self.config, deliberation=text)
        return replace(self, deliberate=registry.deliberation(text), config=config)

    @property
    def takes_many(self) -> bool:
        """Whether cases may have any number of responses: a tournament asks about two at a time."""
        return self.protocol.arity == 0 or self.deliberate.takes is not None

    @property
    def concurrency(self) -> int:
        """Cases in work at once: enough that the engine's slots never wait for a case."""
        return self.engine.concurrency + max(8, self.engine.concurrency // 4)

    def judge(self, memory: Memory | None = None) -> Judge:
        """The judge, remembering in ``memory``."""
        return Judge(
            self.protocol,
            self.engine,
            self.sampling,
            self.config.forced or "never",
            self.config.seed,
            memory,
            self.first.judge(memory) if self.first else None,
            self.name,
        )

    async def check(self) -> None:
        """Raise ``EngineError`` where no query could succeed."""
        await self.engine.check()
        if self.first:
            await self.first.check()

    async def aclose(self) -> None:
        """Give back what the engines hold."""
        await self.engine.aclose()
        if self.first:
            await self.first.aclose()

    def fingerprint(self) -> dict[str, Any]:
        """What run.json keeps: every resolved option and the sampling in force."""
        sampling = msgspec.to_builtins(self.sampling)
        served = self.engine.identity()
        first = {"first": self.first.fingerprint()} if self.first else {}
        config = {**as_dict(self.config), **first}
        return {"jurist": __version__, **config, "served_model": served, "sampling": sampling}


def assemble(config: JudgeConfig, say: Say = lambda _: None, pairs: str = "swapped") -> JudgeSetup:
    """Resolve the options; each choice that was not the user's is said in one line.

    ``pairs`` is how a judge of pairs deliberates where nothing was chosen.
    """
    config = _with_guesses(config, say)
    _check_scalar(config)
    _check_published(config)
    protocol = _with_system(registry.protocol(config, config.protocol or ""), config.system)
    embedded = config.engine == "embedded"
    chosen = config.deliberation is not None
    config = replace(
        config,
        deliberation=config.deliberation or {0: "swapped", 1: "each"}.get(protocol.arity, pairs),
        forced=config.forced or ("always" if embedded else "never"),
    )
    deliberate = registry.deliberation(config.deliberation or "")
    sampling = _sampling(config, protocol, votes=bool(deliberate.names & VOTES), say=say)
    engine = cached(registry.engine(config), config, say)
    return JudgeSetup(protocol, engine, sampling, deliberate, config, _first(config, say), chosen=chosen)


def cached(engine: EngineBase, config: JudgeConfig, say: Say) -> EngineBase:
    """The engine, behind the cache that the options name; ``say`` is told what is worth telling."""
    engine.say = say
    kind, _, argument = config.engine.partition(":")
    if config.cache is None or kind == "replay":
        return engine
    if is_address(config.engine):
        # Where a server stands is no part of the question: another one may serve the same model.
        kind, argument = ("scalar server" if kind.startswith("scalar+") else "server"), ""
    named = config.model or argument
    model = "\n".join((kind, named, model_stamp(named), config.extra or ""))
    return CachedEngine(engine, CompletionCache(config.cache.expanduser(), warn=say), model, say)


def _first(config: JudgeConfig, say: Say) -> JudgeSetup | None:
    """The cheap judge, from its own file of options."""
    if config.first is None:
        return None
    legal = {f.name for f in fields(JudgeConfig)} - {"first", "deliberation"}
    chosen = config_of(config.first, legal, cache=config.cache)
    return replace(assemble(chosen, lambda line: say(f"first judge: {line}")), name="first")


def _with_guesses(config: JudgeConfig, say: Say) -> JudgeConfig:
    """The protocol and, of RM-R1, the family: by the model's name, or by what the server says it serves."""
    judge = config.model is None and JUDGE.exists()
    fixed = {
        "embedded": "pointwise-short" if judge else "rubrics-short",
        "scalar": "scalar",
        "scalar+http": "scalar",
        "scalar+https": "scalar",
    }
    engine = config.engine.partition(":")[0]
    if config.protocol is None and engine in fixed:
        return replace(config, protocol=fixed[engine])
    if judge and engine == "embedded" and config.protocol != fixed["embedded"]:
        # The packaged judge is trained for one protocol; in any other its base model writes better.
        say(f"model base: the packaged judge writes {fixed['embedded']} only, not {config.protocol}")
        return replace(config, model="base")
    if config.protocol is not None and (config.protocol != "rm-r1" or config.family is not None):
        return config
    name, where = config.model or "", "the model's name"
    if not name and engine in ("http", "https"):
        name = _served_model(config)
        where = f"what the server serves, {name}"
    if config.protocol is None:
        config = replace(config, protocol=_published_family(name) or "rubrics")
        if config.protocol != "rubrics":
            say(f"protocol {config.protocol}: guessed from {where} (--protocol chooses another)")
    if config.protocol == "rm-r1" and config.family is None:
        family = rm_r1.guess_family(name)
        why = f"guessed from {where}" if name else "the default, since no model's name is known"
        say(f"family {family}: {why} (--family instruct or reasoning)")
        config = replace(config, family=family)
    return config


def _published_family(model: str) -> str | None:
    """The published protocol that a model's name calls for."""
    marks = {"rm-r1": "rm-r1", "rrm-": "rrm", "reward-reasoning": "rrm"}
    return next((protocol for mark, protocol in marks.items() if mark in model.lower()), None)


def _served_model(config: JudgeConfig) -> str:
    """The name of the one model that a server serves; "" where it does not say (``check`` tells why)."""

    async def asked() -> str:
        engine = registry.engine(replace(config, timeout=min(config.timeout, 10.0), retry_for=0.0))
        try:
            await engine.check()
            return engine.identity()
        except EngineError:
            return ""
        finally:
            await engine.aclose()

    # In a thread of its own, since a loop may be running in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(asked())).result()


def _check_published(config: JudgeConfig) -> None:
    """Refuse options of published protocols that another protocol would ignore."""
    if config.protocol_file is not None and config.protocol not in PUBLISHED:
        raise ConfigError(
            f"--protocol-file {config.protocol_file} has no use for the protocol {config.protocol!r}",
            hint=f"name the protocol that it is of: --protocol {' or '.join(PUBLISHED)}",
        )
    if config.family is not None and config.protocol != "rm-r1":
        raise ConfigError(
            f"--family {config.family} has no use for the protocol {config.protocol!r}",
            hint="families are RM-R1's: --protocol rm-r1",
        )


def _check_scalar(config: JudgeConfig) -> None:
    """A scalar reward model writes no verdict, and nothing else gives a number that is one."""
    engine = config.engine.partition(":")[0].partition("+")[0]
    if engine == "scalar" and config.protocol != "scalar":
        raise ConfigError(
            f"a scalar reward model cannot follow the protocol {config.protocol!r}",
            hint="leave --protocol out, or name another engine",
        )
    if config.protocol == "scalar" and engine not in ("scalar", "replay", "scripted"):
        raise ConfigError(
            f"the engine {config.engine!r} gives no scalar rewards",
            hint="--engine scalar:MODEL, or scalar+http://HOST:PORT/v1",
        )


def _sampling(config: JudgeConfig, protocol: Protocol, *, votes: bool, say: Say) -> Sampling:
    chosen = {
        name: getattr(config, name)
        for name in ("temperature", "top_p", "max_tokens", "thinking_budget", "answer_tokens")
        if getattr(config, name) is not None
    }
    sampling = msgspec.structs.replace(protocol.sampling, **chosen)
    if votes and sampling.temperature == 0:
        if config.temperature is None:
            say("temperature 0.6: votes at temperature 0 would all be the same (--temperature chooses)")
            return msgspec.structs.replace(sampling, temperature=0.6)
        say("votes at temperature 0 are all the same: one ask would say as much")
    return sampling


def _with_system(protocol: Protocol, system: str) -> Protocol:
    """The protocol with its system prompt sent, merged into the first user turn, or left out."""
    if system == "send":
        return protocol

    def render(case: Case) -> Conversation:
        turns = protocol.render(case)
        if turns[0].role != "system":
            return turns
        head, user, *rest = turns
        if system == "merge":
            user = Message("user", f"{head.content}\n\n{user.content}")
        return (user, *rest)

    return replace(protocol, render=render)
