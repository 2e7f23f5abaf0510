"""Settings of all tests."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Shared machines pause: a slow example is no failure. In CI the same examples each time; elsewhere new ones.
settings.register_profile("jurist", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("jurist")

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainings import tiny

    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainings import pairs

    return pairs(tmp_path_factory.mktemp("held") / "held.jsonl", 3)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``folder_of(name)``: where a random model of that architecture is saved."""
    from architectures import save_architecture

    return cache(lambda name: save_architecture(name, tmp_path_factory.mktemp(name)))


@pytest.fixture
async def server() -> AsyncIterator[Any]:
    """A scripted server of chat completions."""
    from stub_server import stub_server

    async with stub_server() as stub:
        yield stub


@pytest.fixture
async def make_http(server: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """Makes engines at the scripted server, given back after the test; no key and no proxy is set."""
    from jurist.engines.openai.client import HttpEngine

    for name in ("JURIST_API_KEY", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    engines: list[HttpEngine] = []

    def build(url: str = "", model: str | None = "m", kind: Any = HttpEngine, **options: Any) -> HttpEngine:
        engines.append(kind(url or server.url, model, **{"timeout": 5.0, "retry_for": 5.0, **options}))
        return engines[-1]

    yield build
    for engine in engines:
        await engine.aclose()


@pytest.fixture(scope="session")
def embedded_engine() -> Iterator[Any]:
    """The embedded engine with the packaged model, loaded once."""
    import asyncio

    pytest.importorskip("openvino_genai", reason="the extra 'embedded' is not installed")
    from jurist.core.errors import EngineError
    from jurist.engines.embedded import EmbeddedEngine

    engine = EmbeddedEngine("base", concurrency=8)
    try:
        asyncio.run(engine.check())
    except EngineError as error:
        pytest.skip(str(error))
    yield engine
    asyncio.run(engine.aclose())
