"""The tables of names that the command line accepts; heavy packages are imported on first use."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING, Any

import msgspec

from jurist.core.errors import ConfigError, JuristError, unknown
from jurist.core.types import Deliberation
from jurist.deliberation import adaptive, balanced, effort, spec, stopping, tournaments, views, votes
from jurist.engines.openai.address import addresses_of, is_address
from jurist.judging.config import JudgeConfig
from jurist.protocols.base import Protocol
from jurist.protocols.published import prompts

if TYPE_CHECKING:
    from jurist.benchmarks.base import Benchmark
    from jurist.engines.base import EngineBase

# name: (what it is, module, attribute)
Lazy = tuple[str, str, str]

PROTOCOLS: dict[str, str] = {
    "rubrics": "chain of rubrics: classify, rubric or solution, evidence, verdict",
    "rubrics-short": "chain of rubrics in three short parts, for small models",
    "pairwise": "plain judge of a pair: reasons in a few sentences, then the verdict",
    "pairwise-short": "the same in the shortest prompt, for small models that are trained for it",
    "listwise": "ranking of any number of responses in one call",
    "pointwise": "rating of one response, 1 to 10, against a rubric",
    "pointwise-short": "rubric, evidence, rating of one response, 1 to 5: what the embedded judge writes",
    "scalar": "raw score of one response by a scalar reward model (a sequence classifier)",
    "rm-r1": "RM-R1 checkpoints with their exact prompts (--family instruct or reasoning)",
    "rrm": "RRM checkpoints with their exact prompt",
}

OWN_PROTOCOL = ("FILE.py:NAME", "your own: a `Protocol` called NAME in a file of Python")

ENGINES: dict[str, str] = {
    "embedded": "a small language model on this machine's CPU, offline (extra: embedded)",
    "http://... https://...": "any OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, hosted",
    "transformers": "a Hugging Face model in this process (extra: transformers)",
    "scalar:MODEL": "a scalar reward model in this process (extra: transformers)",
    "scalar+http://...": "a scalar reward model behind vLLM (--runner pooling) or SGLang (--is-embedding)",
    "vllm": "vLLM in this process (extra: vllm)",
    "replay:RUN": "the completions of a recorded run",
    "scripted:TEXT": "always the same text: a dry run without a model",
}

DELIBERATIONS: dict[str, tuple[str, spec.Maker]] = {
    "once": ("one ask, in a seeded order", votes.once),
    "given": ("one ask, in the order of the case: position bias goes into the number", votes.given),
    "published": ("one ask, in the order of the benchmark's published results", votes.published),
    "swapped": ("both orders, averaged; swapped(vote(5)) votes in each", votes.swapped),
    "vote": ("majority of k asks, the order alternating: vote(5)", votes.vote),
    "soft": ("mean of k probabilities (forced verdicts), the order alternating: soft(2)", stopping.soft),
    "exact": ("vote(k) that stops when the lead cannot be lost: exact(16)", stopping.exact),
    "confident": ("vote(k) that stops when its lead is nearly certain: confident(16)", stopping.confident),
    "budget": ("at most so many tokens of thinking: budget(512, vote(3))", effort.budget),
    "escalate": ("brief first; think longer on doubt: escalate(512, margin=0.2)", effort.escalate),
    "cascade": ("a cheap judge first, the main one where its lead is small: cascade(0.5)", effort.cascade),
    "knockout": ("best of n: winners advance, n - 1 matches: knockout(swapped)", tournaments.knockout),
    "round_robin": ("best of n: each against each: round_robin(vote(3))", tournaments.round_robin),
    "adaptive": (
        "best of n: a third of a round robin, nearly always its pick: adaptive(match=swapped)",
        adaptive.adaptive,
    ),
    "random_opponents": ("best of n: each meets k others: random_opponents(4)", tournaments.random_opponents),
    "balanced": ("rewards of n: each is shown first to k others: balanced(4)", balanced.balanced),
    "swiss": ("best of n: rounds of equals, no rematch: swiss(match=swapped)", tournaments.swiss),
    "pivot": ("best of n: one random response against all others", tournaments.pivot),
    "each": ("any n: each response is rated alone: each(vote(3))", views.each),
    "teams": ("best of n: responses of one final answer play as one: teams(knockout)", views.teams),
    "anchored": ("one response: its chance to beat the case's anchors: anchored(swapped)", views.anchored),
}
TOURNAMENTS = frozenset(
    {"adaptive", "balanced", "knockout", "round_robin", "random_opponents", "swiss", "pivot"}
)
ANY_NUMBER = TOURNAMENTS | {"each", "anchored"}
"""Deliberations that ask about another number of responses than the case has."""

BENCHMARKS: dict[str, Lazy] = {
    "judgebench": ("350 pairs by GPT-4o with objective labels, both orders", "judgebench", "JUDGEBENCH"),
    "judgebench-claude": ("270 pairs by Claude 3.5 Sonnet, both orders", "judgebench", "JUDGEBENCH_CLAUDE"),
    "rewardbench": ("2,985 pairs: chat, chat hard, safety, reasoning", "rewardbench", "REWARDBENCH"),
    "rewardbench2": ("1,865 cases: one right response of four; ties", "rewardbench2", "REWARDBENCH2"),
    "rm-bench": ("11,943 pairs: right against subtly wrong, three styles each", "rm_bench", "RM_BENCH"),
    "rm-bench-rm-r1": (
        "rm-bench with the counting error of RM-R1's published numbers",
        "rm_bench",
        "RM_BENCH_AS_PUBLISHED_BY_RM_R1",
    ),
    "rmb": ("17,131 pairs and 3,786 best-of-n items in 49 scenarios", "rmb", "RMB"),
    "rmb-rm-r1": ("rmb with a tie half right, as RM-R1 counts", "rmb", "RMB_RM_R1"),
    "llmbar": ("419 instruction-following pairs in five sets, both orders", "llmbar", "LLMBAR"),
    "pandalm": ("999 pairs, three human judges, ties as a class", "pandalm", "PANDALM"),
    "autoj": ("1,392 everyday pairs with ties, 8 groups, both orders", "autoj", "AUTOJ"),
    "autoj-critique": ("232 critiques against ChatGPT's: a win rate", "autoj_critique", "AUTOJ_CRITIQUE"),
    "ppe-human": ("16,038 votes of people, and the ranking of models", "ppe", "PPE_HUMAN"),
    "ppe-correctness": ("right against wrong answers, five sets", "ppe", "PPE_CORRECTNESS"),
    "gsm8k": ("731 word problems, four solutions each: best of four", "gsm8k", "GSM8K"),
}


def benchmark(name: str) -> "Benchmark":
    """A benchmark by name."""
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, BENCHMARKS)
    _, module, attribute = BENCHMARKS[name]
    return getattr(import_module(f"jurist.benchmarks.{module}"), attribute)


def deliberation(text: str) -> Deliberation:
    """A deliberation from its text."""
    return spec.parse(text, {name: maker for name, (_, maker) in DELIBERATIONS.items()})


def protocol(config: JudgeConfig, name: str) -> Protocol:
    """A protocol by name; published ones fetch their prompts on first use."""
    from jurist.protocols import listwise, pairwise, pointwise, pointwise_short, rm_r1, rrm, rubrics, scalar

    makers: dict[str, Callable[[], Protocol]] = {
        "rubrics": rubrics.rubrics,
        "rubrics-short": rubrics.rubrics_short,
        "pairwise": pairwise.pairwise,
        "pairwise-short": pairwise.pairwise_short,
        "pointwise": pointwise.pointwise,
        "pointwise-short": pointwise_short.pointwise_short,
        "scalar": scalar.scalar,
        "listwise": listwise.listwise,
    }
    if name in makers:
        if config.rule != "robust":
            raise ConfigError(f"the protocol {name!r} has no rule {config.rule!r}", hint="leave out --rule")
        return makers[name]()
    if name == "rm-r1":
        family = config.family or rm_r1.guess_family(config.model or "")
        return rm_r1.rm_r1(prompts("rm-r1", config.protocol_file), family, config.rule)
    if name == "rrm":
        return rrm.rrm(prompts("rrm", config.protocol_file), config.rule)
    if is_own(name):
        return _own(name)
    raise unknown("protocol", name, PROTOCOLS)


def is_own(name: str) -> bool:
    """Whether a protocol's name is ``FILE.py:NAME``."""
    return name.rpartition(":")[0].endswith(".py")


def _own(name: str) -> Protocol:
    """The protocol of a user's file; the file is run."""
    file, _, attribute = name.rpartition(":")
    try:
        found = run_path(file).get(attribute)
    except Exception as error:
        raise ConfigError(
            f"the protocol's file {file} cannot be run: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Protocol):
        seen = "nothing" if found is None else f"{type(found).__name__}"
        raise ConfigError(
            f"--protocol {name}: {attribute!r} in {file} is {seen}, not a Protocol",
            hint="NAME = Protocol(...) from jurist.protocols.base",
        )
    return found


def engine(config: JudgeConfig) -> "EngineBase":
    """The engine that a config names; nothing is loaded or called before its first use."""
    name, _, argument = config.engine.partition(":")
    if is_address(config.engine):
        return _http(config)
    makers: Mapping[str, Callable[[], EngineBase]] = {
        "embedded": lambda: _made("embedded", "EmbeddedEngine", config.model, **_width(config)),
        "transformers": lambda: _made("transformers", "TransformersEngine", _need(config), **_width(config)),
        "scalar": lambda: _made("scalar", "ScalarEngine", argument or _need(config), **_width(config)),
        "vllm": lambda: _made("vllm", "VllmEngine", _need(config), **_width(config), options=_extra(config)),
        "replay": lambda: _replay(Path(argument)),
        "scripted": lambda: _made("scripted", "ScriptedEngine", argument, **_width(config), keep=False),
    }
    if name not in makers:
        raise _unknown_engine(config.engine, [*makers, "http://..."])
    return makers[name]()


_SERVERS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "openrouter": "https://openrouter.ai/api/v1",
    "ollama": "http://localhost:11434/v1",
    "llama.cpp": "http://localhost:8080/v1",
    "lmstudio": "http://localhost:1234/v1",
    "sglang": "http://localhost:30000/v1",
}
"""Where servers that people name are reached."""


def _unknown_engine(name: str, legal: list[str]) -> JuristError:
    """The error for a name that is no engine: a server has an address, a model is named by --model."""
    if address := _SERVERS.get(name.lower()):
        hint = f"--engine {address} --model NAME (the key, if it needs one, stands in JURIST_API_KEY)"
        return ConfigError(f"the engine {name!r} is a server: name its address", hint)
    error = unknown("engine", name, legal)
    if "did you mean" not in error.hint and any(character in name for character in "-/0123456789"):
        error.hint = f"a model behind a server: --engine http://HOST:PORT/v1 --model {name}"
    return error


def _http(config: JudgeConfig) -> "EngineBase":
    from jurist.engines.openai.client import HttpEngine
    from jurist.engines.openai.scalar import ScalarHttpEngine

    options: dict[str, Any] = {
        "concurrency": config.concurrency or 64,
        "timeout": config.timeout,
        "retry_for": config.retry_for,
        "samples_per_request": config.samples_per_request,
        "extra": _extra(config),
    }
    urls = [*addresses_of(config.engine)]
    limits = {
        "requests_per_minute": config.requests_per_minute,
        "tokens_per_minute": config.tokens_per_minute,
    }
    if len(urls) > 1 or any(limits.values()):
        from jurist.engines.openai.endpoints import EndpointsEngine

        return EndpointsEngine(urls, config.model, **limits, **options)
    kind = ScalarHttpEngine if urls[0].startswith("scalar+") else HttpEngine
    return kind(urls[0], config.model, **options)


def _extra(config: JudgeConfig) -> dict[str, Any]:
    try:
        return msgspec.json.decode(config.extra or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        hint = "for example --extra '{\"top_k\": 20}'"
        raise ConfigError(f"--extra is not a JSON object: {error}", hint) from None


def _replay(run: Path) -> "EngineBase":
    from jurist.core.runs import open_run
    from jurist.engines.replay import ReplayEngine

    recorded = open_run(run)
    if recorded.config.get("aggregate"):
        recorded.close()
        raise ConfigError(
            f"{run} holds results of groups, and no judgment that could be replayed",
            hint="import the outputs for single cases",
        )
    return ReplayEngine(recorded)


def _made(module: str, name: str, *arguments: Any, **options: Any) -> "EngineBase":
    return getattr(import_module(f"jurist.engines.{module}"), name)(*arguments, **options)


def _width(config: JudgeConfig) -> dict[str, int]:
    return {"concurrency": config.concurrency} if config.concurrency else {}


def _need(config: JudgeConfig) -> str:
    if not config.model:
        raise ConfigError(f"the engine {config.engine!r} needs a model", hint="--model HUB_ID_OR_FOLDER")
    return config.model
