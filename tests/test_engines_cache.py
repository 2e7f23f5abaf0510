"""Completions of earlier runs are not paid again; failures and damage are."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from make import A_WINS, case, chat_reply, chat_server, decide, jurist, write_pairs

from jurist.api import JudgeOptions, judge
from jurist.core.errors import StoreError
from jurist.core.types import Completion, Message, Query, Sampling, Usage
from jurist.engines.base import failed
from jurist.engines.cache import CachedEngine, CompletionCache
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig


def query(text: str = "which?", **fields: Any) -> Query:
    sampling = Sampling(**fields.pop("sampling", {}))
    name, sample = fields.pop("case_id", "1"), fields.pop("sample", 0)
    return Query(name, (0, 1), sample, (Message("user", text),), sampling)


class Counting(ScriptedEngine):
    """Says how often it was asked; ``control_tokens`` and the like must reach whoever holds the cache."""

    control_tokens = ("<|x|>",)
    caps_thinking = True

    def __init__(self, answer: Any = None) -> None:
        self.asked = 0
        super().__init__(self._count, concurrency=7)
        self._given = answer or (lambda n: Completion(f"answer {n}", usage=Usage(10, 5), seconds=1.5))

    def _count(self, _: Query) -> Completion:
        self.asked += 1
        return self._given(self.asked)


def ask(engine: Any, *queries: Query) -> list[Completion]:
    async def all_of() -> list[Completion]:
        return [await engine(q) for q in queries]

    return asyncio.run(all_of())


def test_the_same_question_is_answered_from_the_cache_and_marked(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    paid = ask(CachedEngine(first, CompletionCache(tmp_path), "m"), query())[0]
    known = ask(CachedEngine(second, CompletionCache(tmp_path), "m"), query())[0]
    assert (first.asked, second.asked) == (1, 0)
    assert not paid.reused
    assert known == Completion("answer 1", usage=Usage(10, 5), seconds=1.5, reused=True)


@pytest.mark.parametrize(
    "other",
    [
        query("another?"),
        query(sample=1),
        query(sampling={"temperature": 0.7, "seed": 3}),
        query(sampling={"max_tokens": 9}),
        Query("1", (0, 1), 0, (Message("user", "which?"),), Sampling(), prefill="The"),
        Query("1", (0, 1), 0, (Message("user", "which?"),), Sampling(), choices=("A", "B")),
    ],
)
def test_another_question_is_asked(tmp_path: Path, other: Query) -> None:
    engine = Counting()
    texts = [c.text for c in ask(CachedEngine(engine, CompletionCache(tmp_path), "m"), query(), other)]
    assert texts == ["answer 1", "answer 2"]


def test_the_name_of_the_case_is_no_part_of_the_question(tmp_path: Path) -> None:
    """Rows without ids are numbered: in another file the same pair has another number."""
    engine = Counting()
    ask(CachedEngine(engine, CompletionCache(tmp_path), "m"), query(case_id="1"), query(case_id="17"))
    assert engine.asked == 1


def test_another_model_is_asked(tmp_path: Path) -> None:
    engine = Counting()
    for model in ("m", "n", "m"):
        ask(CachedEngine(engine, CompletionCache(tmp_path), model), query())
    assert engine.asked == 2


@pytest.mark.parametrize("bad", [failed("HTTP 500"), Completion(finish="filter", error="filtered")])
def test_a_failure_is_never_kept(tmp_path: Path, bad: Completion) -> None:
    engine = Counting(lambda n: bad if n == 1 else Completion("better"))
    cached = CachedEngine(engine, CompletionCache(tmp_path), "m")
    assert [c.text for c in ask(cached, query(), query(), query())] == ["", "better", "better"]
    assert engine.asked == 2


def test_what_was_cut_or_says_no_verdict_is_kept(tmp_path: Path) -> None:
    engine = Counting(lambda _: Completion("no verdict at", finish="length"))
    cached = CachedEngine(engine, CompletionCache(tmp_path), "m")
    assert [c.finish for c in ask(cached, query(), query())] == ["length", "length"]
    assert engine.asked == 1


def test_the_engine_behind_shows_through(tmp_path: Path) -> None:
    inner = Counting()
    cached = CachedEngine(inner, CompletionCache(tmp_path), "m")
    assert (cached.concurrency, cached.caps_thinking) == (7, True)
    assert cached.control_tokens == ("<|x|>",)
    assert cached.identity() == inner.identity()


def test_what_was_not_paid_is_said_once_at_the_end(tmp_path: Path) -> None:
    lines: list[str] = []
    cached = CachedEngine(Counting(), CompletionCache(tmp_path), "m", say=lines.append)
    ask(cached, query(), query(), query())
    asyncio.run(cached.aclose())
    saved = "20 tokens read and 10 written not paid"
    assert lines == [f"cache {tmp_path}: 2 of 3 calls were answered in it; {saved}"]


def test_a_closed_cache_opens_again(tmp_path: Path) -> None:
    engine = Counting()
    cached = CachedEngine(engine, CompletionCache(tmp_path), "m")
    ask(cached, query())
    asyncio.run(cached.aclose())
    ask(cached, query())
    assert engine.asked == 1


def test_a_file_that_is_no_cache_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "completions.sqlite").write_bytes(b"this is no database, " * 400)
    with pytest.raises(StoreError, match="cannot be used as a cache"):
        asyncio.run(CachedEngine(Counting(), CompletionCache(tmp_path), "m").check())


def test_a_cache_that_breaks_does_not_end_the_run(tmp_path: Path) -> None:
    lines: list[str] = []
    cache = CompletionCache(tmp_path, warn=lines.append)
    cached = CachedEngine(Counting(), cache, "m")
    ask(cached, query())
    with sqlite3.connect(tmp_path / "completions.sqlite") as other:
        other.execute("DROP TABLE completions")
    assert [c.text for c in ask(cached, query(), query())] == ["answer 2", "answer 3"]
    assert len(lines) == 1
    assert "without the cache" in lines[0]


def test_an_entry_that_cannot_be_read_is_asked_again(tmp_path: Path) -> None:
    cached = CachedEngine(engine := Counting(), CompletionCache(tmp_path), "m")
    ask(cached, query())
    with sqlite3.connect(tmp_path / "completions.sqlite") as other:
        other.execute("UPDATE completions SET body = x'00'")
    assert [c.text for c in ask(cached, query(), query())] == ["answer 2", "answer 2"]
    assert engine.asked == 2


WRITER = """
import sys
from pathlib import Path
from jurist.core.types import Completion, Message, Query, Sampling
from jurist.engines.cache import CompletionCache, question_key

cache = CompletionCache(Path(sys.argv[1]), warn=lambda line: sys.exit(line))
for i in range(400):
    q = Query(str(i), (0, 1), 0, (Message("user", f"q {i}"),), Sampling())
    cache.put(question_key(q, "m"), Completion(f"answer {i}"))
    assert cache.get(question_key(q, "m")).text == f"answer {i}"
cache.close()
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    with sqlite3.connect(tmp_path / "completions.sqlite") as other:
        assert other.execute("SELECT count(*) FROM completions").fetchone() == (400,)


def test_a_model_file_that_changed_is_another_model(tmp_path: Path) -> None:
    model = tmp_path / "judge"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"one")
    config = JudgeConfig(engine="transformers", model=str(model), protocol="rubrics", cache=tmp_path / "c")

    def name() -> str:
        engine = assemble(config).engine
        assert isinstance(engine, CachedEngine)
        return engine.model

    before = name()
    assert name() == before
    (model / "model.safetensors").write_bytes(b"two")
    assert name() != before


def test_a_replayed_run_needs_no_cache(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", 1)
    jurist("judge", pairs, "-o", tmp_path / "run", "-e", f"scripted:{A_WINS}", "-p", "rubrics")
    engine = f"replay:{tmp_path / 'run'}"
    setup = assemble(JudgeConfig(engine=engine, protocol="rubrics", cache=tmp_path / "cache"))
    assert not isinstance(setup.engine, CachedEngine)


def test_another_run_of_the_command_pays_nothing(tmp_path: Path) -> None:
    """Another folder, other ids, other rules of reading: judge, then label, then distill."""
    asked: list[Any] = []

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.append(body)
        text = body["messages"][-1]["content"]
        first = 0 <= text.find("good") < text.find("[End of reply A]")
        return chat_reply(A_WINS if first else A_WINS.replace("A", "B"))

    rows = [{"prompt": f"q {i}", "responses": ["good", "bad"], "gold": 0} for i in range(4)]
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text("".join(json.dumps(row) + "\n" for row in rows))
    two.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    with chat_server(answer) as url:
        options = ("-e", url, "-p", "rubrics", "--cache", tmp_path / "cache")
        first = jurist("judge", one, "-o", tmp_path / "a", *options)
        assert len(asked) == 8
        again = jurist("judge", two, "-o", tmp_path / "b", *options)
        jurist("label", two, "-o", tmp_path / "c", "--rows", tmp_path / "rows.jsonl", *options)
        jurist("distill", one, "-o", tmp_path / "d", *options)
    assert len(asked) == 8
    assert "8 of 8 calls were answered" in " ".join(again.stderr.split())
    assert "40 tokens written" in " ".join(first.stdout.split())
    assert "reused" not in first.stdout
    assert "all of them reused" in " ".join(again.stdout.split())


def test_eval_takes_the_cache(tmp_path: Path) -> None:
    from shared import shared

    data = shared("llmbar")
    words = ("eval", "llmbar", "--data", data, "--limit", 4, "-e", f"scripted:{A_WINS}", "-p", "rubrics")
    first = jurist(*words, "-o", tmp_path / "a", "--cache", tmp_path / "cache")
    again = jurist(*words, "-o", tmp_path / "b", "--cache", tmp_path / "cache")
    assert "0 of" in first.stderr
    assert "0 of" not in again.stderr
    assert "calls were answered" in again.stderr


def test_votes_are_kept_apart_and_a_cascade_shares_the_cache(tmp_path: Path) -> None:
    config = JudgeConfig(
        engine="scripted:x", protocol="rubrics", deliberation="vote(3)", temperature=0.5, cache=tmp_path
    )
    setup = assemble(config)
    inner = Counting(lambda _: Completion(A_WINS))
    setup = replace(setup, engine=CachedEngine(inner, CompletionCache(tmp_path), "m"))
    for _ in range(2):
        decide(setup.judge(), setup.deliberate, case())
    assert inner.asked == 3


def test_a_resumed_run_may_take_another_cache(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", 2)
    words = ("judge", pairs, "-o", tmp_path / "run", "-e", f"scripted:{A_WINS}", "-p", "rubrics")
    jurist(*words, "--cache", tmp_path / "one")
    jurist(*words, "--cache", tmp_path / "two")


def test_the_paths_of_a_judge_may_be_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "first.toml").write_text('engine = "scripted:x"\nprotocol = "rubrics"\n')
    options: JudgeOptions = {"engine": f"scripted:{A_WINS}", "protocol": "rubrics"}
    cascade: JudgeOptions = {"first": str(tmp_path / "first.toml"), "deliberation": "cascade(0.5)"}
    caches: tuple[JudgeOptions, ...] = ({"cache": str(tmp_path / "a")}, {"cache": "~/a"})
    for paths in (*caches, cascade):
        decision = judge("Name a prime.", ["7", "8"], **options, **paths)  # pyright: ignore[reportArgumentType]
        assert decision.verdict.scores == (0.5, 0.5)
    assert (tmp_path / "a").is_dir()
    assert JudgeConfig(protocol_file="~/p.json").protocol_file == tmp_path / "p.json"  # pyright: ignore
