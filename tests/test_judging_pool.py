"""The main path: every case decided once, failures stop a hopeless run, a resumed run equals a whole one."""

import asyncio
import json
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from make import A_WINS, case, prefers

from jurist.benchmarks.base import proportion, score_pairs
from jurist.benchmarks.transcripts import recorded_judgment, recorded_verdict
from jurist.core.errors import ConfigError, EngineError, UnknownNameError
from jurist.core.runs import Run
from jurist.core.store import Store
from jurist.core.types import (
    IDENTICAL,
    Case,
    Completion,
    Decision,
    Message,
    Query,
    Verdict,
)
from jurist.engines.base import failed
from jurist.engines.replay import ReplayEngine
from jurist.engines.scripted import ScriptedEngine
from jurist.judging import registry
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import Judge
from jurist.judging.pool import RunProgress, decide_all, slim, spread
from jurist.judging.registry import deliberation
from jurist.judging.run import run
from jurist.protocols.rubrics import rubrics


async def _decide(engine, n: int = 20, store: Store | None = None, **options) -> list[Decision]:
    judge = Judge(rubrics(), engine, memory=store)
    cases = (case(str(i)) for i in range(n))
    stream = decide_all(cases, judge.ask, deliberation("swapped"), concurrency=4, store=store, **options)
    return [d async for d in stream]


async def test_every_case_is_decided_once():
    progress = RunProgress()
    decisions = await _decide(prefers("good"), progress=progress)
    assert sorted(d.case_id for d in decisions) == sorted(map(str, range(20)))
    assert all(d.verdict.scores == (1.0, 0.0) for d in decisions)
    assert (progress.decisions, progress.judgments, progress.tokens, progress.unanswered) == (20, 40, 200, 0)


async def test_a_resumed_run_asks_nothing_twice_and_decides_the_same(tmp_path: Path):
    whole = await _decide(prefers("good"))
    asked: list[str] = []

    def dies(query: Query) -> Completion:
        if len(asked) == 13:
            raise KeyError("killed")
        asked.append(query.key)
        return Completion(A_WINS)

    with Store(tmp_path, {}) as store, pytest.raises(KeyError):
        await _decide(ScriptedEngine(dies), store=store)
    engine = prefers("good")
    with Store(tmp_path, {}) as store:
        await _decide(engine, store=store)
    assert not set(asked) & {q.key for q in engine.queries}
    assert len(asked) + len(engine.queries) == 40
    assert len(whole) == 20


async def test_a_replayed_run_decides_the_same(tmp_path: Path):
    with Store(tmp_path, {}) as store:
        first = await _decide(prefers("good"), store=store)
    again = await _decide(ReplayEngine(Run(tmp_path)))
    assert sorted(map(str, first)) == sorted(map(str, again))
    strange = await ReplayEngine(Run(tmp_path))(Judge(rubrics(), prefers("x")).query(case("new"), (0, 1), 0))
    assert "not in the recorded run" in (strange.error or "")


async def test_imported_outputs_are_replayed_with_their_verdicts(tmp_path: Path):
    folder = tmp_path / "imported"
    with Store(folder, {"imported": "outputs.json"}) as store:
        for i in range(4):
            # Their prompts are not ours, and nobody's parser reads "A>>B".
            for order, scores in (((0, 1), (1.0, 0.0)), ((1, 0), (0.0, 1.0) if i else (1.0, 0.0))):
                store.record(recorded_judgment(str(i), order, recorded_verdict(scores), "A>>B"))
    engine = registry.engine(JudgeConfig(engine=f"replay:{folder}"))
    decisions = {d.case_id: d for d in await _decide(engine, n=4)}
    assert decisions["0"].verdict.scores == (1.0, 0.0)
    assert decisions["3"].verdict.scores == (0.5, 0.5)
    assert decisions["3"].judgments[1].verdict.via == "recorded"
    with pytest.raises(EngineError, match=r"order .*, sample 0") as caught:
        await _decide(engine, n=20, give_up_after=5)
    assert "as that run was asked" in caught.value.hint


async def test_a_hopeless_run_stops_and_says_why():
    with pytest.raises(EngineError, match="10 calls in a row failed; the last one: down"):
        await _decide(ScriptedEngine(lambda _: failed("down")), give_up_after=10)
    assert len(await _decide(ScriptedEngine(lambda _: failed("down")), give_up_after=0)) == 20


async def test_stopping_early_cancels_what_is_in_flight():
    running = 0

    class Slow(ScriptedEngine):
        async def __call__(self, query: Query) -> Completion:
            nonlocal running
            running += 1
            try:
                await asyncio.sleep(0 if query.case_id == "0" else 60)
            finally:
                running -= 1
            return Completion(A_WINS)

    judge = Judge(rubrics(), Slow(A_WINS))
    stream = decide_all((case(str(i)) for i in range(9)), judge.ask, deliberation("once"), concurrency=4)
    assert (await anext(stream)).case_id == "0"
    await stream.aclose()
    assert running == 0


def test_spread_is_even_and_keeps_the_order():
    cases = [case(str(i)) for i in range(10)]
    assert [c.id for c in spread(cases, 4)] == ["0", "2", "5", "7"]
    assert spread(cases, None) is cases
    assert spread(cases, 99) is cases


async def test_a_slim_decision_keeps_what_scores_need():
    (decision,) = await _decide(prefers("good"), n=1)
    small = slim(decision)
    assert (small.verdict, small.usage, small.gold) == (decision.verdict, decision.usage, decision.gold)
    assert not any(j.completion.text or j.query.messages for j in small.judgments)


def test_choices_that_were_not_the_users_are_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jurist.judging.registry.prompts", lambda *_: {"reasoning_user": "{question}"})
    said: list[str] = []
    model = "gaotang/RM-R1-DeepSeek-Distilled-Qwen-7B"
    bench = assemble(JudgeConfig(engine="scripted:x", model=model), said.append)
    assert bench.protocol.name == "rm-r1-reasoning"
    assert any("protocol rm-r1" in line for line in said)
    assert any("family reasoning" in line for line in said)
    assert bench.fingerprint()["family"] == "reasoning"


@pytest.mark.parametrize(
    ("protocol", "model", "asked", "resolved"),
    [
        (None, None, "pointwise-short", None),
        ("pointwise-short", None, "pointwise-short", None),
        ("rubrics-short", None, "rubrics-short", "base"),
        ("rubrics-short", "other.gguf", "rubrics-short", "other.gguf"),
    ],
)
def test_the_packaged_judge_writes_one_protocol(protocol, model, asked, resolved, monkeypatch, tmp_path):
    (tmp_path / "judge.gguf").write_bytes(b"")
    monkeypatch.setattr("jurist.judging.build.JUDGE", tmp_path / "judge.gguf")
    said: list[str] = []
    setup = assemble(JudgeConfig(protocol=protocol, model=model), said.append)
    assert (setup.protocol.name, setup.config.model) == (asked, resolved)
    assert (resolved == "base") == any("model base" in line for line in said)


@pytest.mark.parametrize(
    ("served", "protocol", "family", "words"),
    [
        (
            ["gaotang/RM-R1-DeepSeek-Distilled-Qwen-7B"],
            "rm-r1-reasoning",
            "reasoning",
            "what the server serves",
        ),
        (["RM-R1-Qwen2.5-Instruct-7B"], "rm-r1-instruct", "instruct", "what the server serves"),
        (["Reward-Reasoning/RRM-7B"], "rrm", None, "protocol rrm: guessed from what the server serves"),
        (["llama"], "rubrics", None, ""),
        (["RM-R1-a", "RM-R1-b"], "rubrics", None, ""),  # check() says that one must be chosen
    ],
)
def test_the_protocol_is_guessed_from_what_is_served(served, protocol, family, words, monkeypatch):
    texts = {
        "reasoning_user": "{question}",
        "instruct_system": "",
        "instruct_user": "",
        "system": "",
        "user": "",
    }
    monkeypatch.setattr("jurist.judging.registry.prompts", lambda *_: texts)
    said: list[str] = []
    with _listing(served) as url:
        setup = assemble(JudgeConfig(engine=url), said.append)
    assert (setup.protocol.name, setup.config.family) == (protocol, family)
    assert any(words in line for line in said) or not words


@contextmanager
def _listing(names: list[str]):
    """A server that lists models, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/v1/models"
            body = json.dumps({"data": [{"id": name} for name in names]}).encode() if found else b"{}"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_a_family_without_a_model_name_is_the_default_and_said(monkeypatch: pytest.MonkeyPatch):
    texts = {"instruct_system": "", "instruct_user": ""}
    monkeypatch.setattr("jurist.judging.registry.prompts", lambda *_: texts)
    said: list[str] = []
    setup = assemble(JudgeConfig(engine="scripted:x", protocol="rm-r1"), said.append)
    assert setup.config.family == "instruct"
    assert said == [
        "family instruct: the default, since no model's name is known (--family instruct or reasoning)"
    ]


def test_votes_get_a_temperature_and_say_so():
    said: list[str] = []
    bench = assemble(JudgeConfig(engine="scripted:x", deliberation="vote(3)"), said.append)
    assert bench.sampling.temperature == 0.6
    assert any("temperature 0.6" in line for line in said)
    assert assemble(JudgeConfig(engine="scripted:x", temperature=0.0)).sampling.temperature == 0.0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"engine": "embeded"}, UnknownNameError, "did you mean 'embedded'"),
        ({"engine": "scripted:x", "protocol": "rubric"}, UnknownNameError, "did you mean 'rubrics'"),
        ({"engine": "scripted:x", "rule": "eval"}, ConfigError, "no rule"),
        ({"engine": "transformers"}, ConfigError, "needs a model"),
        ({"engine": "http://x/v1", "extra": "[1]"}, ConfigError, "not a JSON object"),
        ({"engine": "scripted:x", "protocol_file": Path("x")}, ConfigError, "has no use for the protocol"),
        ({"engine": "scripted:x", "family": "reasoning"}, ConfigError, "--protocol rm-r1"),
        ({"engine": "scripted:x", "deliberation": "vote(1e9)"}, ConfigError, "at most 10,000"),
        ({"engine": "scripted:x", "deliberation": "vote(1" + "+1" * 10**5 + ")"}, ConfigError, "too long"),
        (
            {"engine": "scripted:x", "deliberation": "swapped(" * 99 + "1" + ")" * 99},
            ConfigError,
            "cannot take",
        ),
        ({"temperature": -1.0}, ConfigError, "out of range"),
        ({"max_tokens": 0}, ConfigError, "out of range"),
        ({"concurrency": 0}, ConfigError, "out of range"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict, error: type[Exception], words: str):
    with pytest.raises(error) as caught:
        assemble(JudgeConfig(**options))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("system", "roles"), [("send", ["system", "user"]), ("merge", ["user"]), ("drop", ["user"])]
)
def test_the_system_prompt_is_sent_merged_or_dropped(system, roles: list[str]):
    protocol = assemble(JudgeConfig(engine="scripted:x", protocol="rubrics", system=system)).protocol
    messages = protocol.render(case())
    assert [m.role for m in messages] == roles
    assert ("<type>" in messages[0].content) == (system != "drop")


def test_a_part_of_a_benchmark_says_so_in_python_too():
    from shared import shared

    import jurist

    data = shared("judgebench")
    card = jurist.evaluate("judgebench", data, engine="scripted:<answer>[[A]]</answer>", limit=5)
    assert "5 of 350 cases, not the official score" in card.name


async def test_identical_responses_are_a_tie_without_a_call():
    same = Case("same", (Message("user", "p"),), ("x", "x", "x"), gold=(1.0, 0.0, 0.0), meta={"k": 1})
    engine = prefers("good")
    setup = replace(assemble(JudgeConfig(engine="scripted:x", protocol="rubrics")), engine=engine)
    [decision] = [d async for d in run(setup, [same])]
    assert decision.verdict == Verdict((1 / 3, 1 / 3, 1 / 3), note=IDENTICAL)
    assert (decision.gold, decision.meta, decision.judgments, engine.queries) == (
        same.gold,
        same.meta,
        (),
        [],
    )
    card = score_pairs([decision])
    assert (card.statistics["identical"], card.statistics["ties"], card.headline) == (
        1,
        1,
        proportion("overall", [False]),
    )


async def test_a_judge_of_single_responses_rates_identical_ones():
    same = Case("same", (Message("user", "p"),), ("x", "x"))
    config = JudgeConfig(
        engine="scripted:<rating>7</rating>", protocol="pointwise", deliberation="each(given)"
    )
    [decision] = [d async for d in run(assemble(config), [same])]
    assert decision.verdict.note == ""
    assert decision.judgments
