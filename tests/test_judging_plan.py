"""What a plan says before anything starts, against what real runs ask of a server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from make import chat_reply, chat_server, jurist

from jurist.core.errors import ConfigError
from jurist.core.types import Case, Message
from jurist.inputs import load_cases
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.dry_run import dry_run

PAIRS = ["once", "given", "swapped", "vote(5)", "soft(2)", "swapped(vote(3))"]
GROUPS = [
    "knockout(swapped)", "round_robin", "random_opponents(3)", "pivot", "balanced(4)", "round_robin(vote(3))",
]  # fmt: skip
OPEN = ["exact(5)", "confident(9)", "escalate(64)", "budget(64, once)", "adaptive(match=swapped)", "swiss"]
"""Deliberations whose calls depend on the verdicts."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[Any]]]:
    """A judge who prefers the reply with more letters, and changes its mind on some prompts; its requests."""
    asked: list[Any] = []

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.append(body)
        text = body["messages"][-1]["content"]
        doubtful = "question 1" in text or "question 4" in text
        label = "AB"[crc32(text.encode()) % 2] if doubtful else "AB"[text.find("good") > text.find("bad")]
        return chat_reply(f"<answer>[[{label}]]</answer>")

    with chat_server(answer) as url:
        yield url, asked


def rows(path: Path, responses: Callable[[int], list[str]], n: int = 7) -> Path:
    lines = [{"id": str(i), "prompt": f"question {i}", "responses": responses(i)} for i in range(n)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def pairs(path: Path) -> Path:
    """Pairs, one of them of equal responses."""
    return rows(path, lambda i: ["good", "bad"] if i != 3 else ["bad", "bad"])


def groups(path: Path) -> Path:
    """Two to six responses, some of them equal."""
    return rows(path, lambda i: [f"good {j // 2 if i == 5 else j}" for j in range(2 + i % 5)])


def planned(*words: object) -> dict[str, Any]:
    return json.loads(jurist(*words, "--plan", "--json").stdout)


@pytest.mark.parametrize("text", PAIRS)
def test_the_calls_of_a_fixed_deliberation_are_exact(text: str, server: Any, tmp_path: Path) -> None:
    url, asked = server
    words = ("judge", pairs(tmp_path / "p.jsonl"), "-e", url, "-m", "m", "-p", "rubrics", "-d", text)
    calls = planned(*words)["calls"]
    assert not asked
    jurist(*words, "--temperature", "0.5", "-o", tmp_path / "run")
    chats = [body for body in asked if body["messages"][-1]["content"] != "Hi"]
    assert calls == {"low": len(chats), "high": len(chats)}


@pytest.mark.parametrize("text", GROUPS)
def test_the_calls_of_a_tournament_are_exact(text: str, server: Any, tmp_path: Path) -> None:
    url, asked = server
    source = groups(tmp_path / "g.jsonl")
    words = ("best-of-n", source, "-e", url, "-m", "m", "-p", "rubrics", "-d", text, "--temperature", "0.5")
    calls = planned_judge(*words[1:])
    jurist(*words, "-o", tmp_path / "run")
    assert (calls.low, calls.high) == (len(asked), len(asked))


def planned_judge(source: Path, *words: Any) -> Any:
    """The calls by the function that the commands use."""
    names = {"-e": "engine", "-m": "model", "-p": "protocol", "-d": "deliberation", "--temperature": ""}
    given = dict(zip(words[::2], words[1::2], strict=True))
    config = JudgeConfig(**{names[str(k)]: v for k, v in given.items() if names[str(k)]}, temperature=0.5)
    return asyncio.run(dry_run(assemble(config), list(load_cases(source)), kept=True)).calls


@pytest.mark.parametrize("text", OPEN)
def test_calls_of_an_early_stop_lie_in_the_range(text: str, server: Any, tmp_path: Path) -> None:
    url, asked = server
    many = text.startswith(("adaptive", "swiss"))
    source = groups(tmp_path / "s.jsonl") if many else pairs(tmp_path / "s.jsonl")
    words = (source, "-e", url, "-m", "m", "-p", "rubrics", "-d", text, "--temperature", "0.5")
    calls = planned_judge(*words)
    jurist("best-of-n" if many else "judge", *words, "-o", tmp_path / "run")
    assert calls.low <= len(asked) <= calls.high
    assert calls.high <= 3 * calls.low


def test_a_vote_that_stops_early_has_known_ends() -> None:
    config = JudgeConfig(engine="scripted:x", protocol="rubrics", deliberation="exact(9)", temperature=1.0)
    cases = [Case(str(i), (Message("user", "q"),), ("a", "b")) for i in range(10)]
    assert asyncio.run(dry_run(assemble(config), cases)).calls == (50, 90)


def test_a_cascade_counts_both_judges() -> None:
    config = JudgeConfig(engine="scripted:x", protocol="rubrics", deliberation="cascade(0.5)")
    cases = [Case(str(i), (Message("user", "q"),), ("a", "b")) for i in range(10)]
    assert asyncio.run(dry_run(assemble(config), cases)).calls == (20, 40)


@pytest.mark.parametrize(
    ("forced", "calls"), [("never", (20, 20)), ("missing", (20, 40)), ("always", (40, 40))]
)
def test_forced_verdicts_are_calls(forced: Any, calls: tuple[int, int]) -> None:
    config = JudgeConfig(engine="scripted:x", protocol="rubrics", deliberation="swapped", forced=forced)
    cases = [Case(str(i), (Message("user", "q"),), ("a", "b")) for i in range(10)]
    run = asyncio.run(dry_run(assemble(config), cases))
    assert run.calls == calls
    assert run.most_written.high == 20 * run.prompts[0].sampling.max_tokens + run.continued.high


def test_more_cases_than_are_played_through_are_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    from jurist.judging import dry_run as module

    monkeypatch.setattr(module, "COUNTED", 30)
    config = JudgeConfig(engine="scripted:x", protocol="rubrics", deliberation="swapped")
    cases = [Case(str(i), (Message("user", "q"),), ("a", "b")) for i in range(90)]
    run = asyncio.run(dry_run(assemble(config), cases))
    assert (run.cases, run.played, run.calls) == (90, 30, (180, 180))


def test_a_deliberation_that_cannot_decide_these_cases_says_so() -> None:
    config = JudgeConfig(engine="scripted:x", protocol="rubrics", deliberation="published")
    with pytest.raises(ConfigError, match="no published order"):
        asyncio.run(dry_run(assemble(config), [Case("1", (Message("user", "q"),), ("a", "b"))]))


@pytest.mark.usefixtures("embedded_engine")
def test_tokens_read_are_those_that_the_embedded_judge_reads(tmp_path: Path) -> None:
    """Its own tokenizer, its own template: to the token."""
    source = pairs(tmp_path / "p.jsonl")
    words = ("judge", source, "-m", "base", "-p", "pairwise-short", "--forced", "never", "--max-tokens", 4)
    plan = planned(*words)
    assert plan["counted_by"] == "the judge's tokenizer"
    jurist(*words, "-o", tmp_path / "run")
    from jurist.core.runs import read_judgments

    usage = [j.usage for j in read_judgments(tmp_path / "run")]
    assert plan["calls"] == {"low": len(usage), "high": len(usage)}
    assert plan["read"]["low"] == plan["read"]["high"] == sum(u.prompt_tokens for u in usage)
    assert plan["written"] == {"low": 0, "high": 4 * len(usage)}


def test_without_a_tokenizer_it_says_that_it_estimates(server: Any, tmp_path: Path) -> None:
    url, asked = server
    plan = planned("judge", pairs(tmp_path / "p.jsonl"), "-e", url, "-m", "nobody/has-this")
    assert plan["counted_by"] == "an estimate: characters / 4"
    assert plan["at_most"]
    assert not asked


def test_a_server_is_not_even_asked_for_its_model(tmp_path: Path) -> None:
    source = pairs(tmp_path / "p.jsonl")
    done = jurist("judge", source, "-e", "http://127.0.0.1:9/v1", "--plan")
    assert "no server is asked" in done.stderr
    assert "calls" in done.stdout


def test_a_measured_run_tells_tokens_hours_money_and_disk(server: Any, tmp_path: Path) -> None:
    url, _ = server
    source = rows(tmp_path / "p.jsonl", lambda _: ["good", "bad"], n=40)
    words = ("judge", source, "-e", url, "-m", "m", "-p", "rubrics")
    jurist(*words, "-o", tmp_path / "run", "--limit", 20)
    rates = ("--like", tmp_path / "run", "--price-read", 2, "--price-written", 10, "--rate", 1000)
    plan = planned(*words, *rates, "-o", tmp_path / "whole")
    assert plan["written"] == {"low": 400, "high": 400}
    assert plan["hours"]["low"] == pytest.approx(400 / 1000 / 3600)
    assert plan["money"]["low"] == pytest.approx(2e-6 * plan["read"]["low"] + 10e-6 * 400)
    jurist(*words, "-o", tmp_path / "whole")
    disk = sum(file.stat().st_size for file in (tmp_path / "whole").glob("*.jsonl"))
    assert plan["disk"]["low"] == pytest.approx(disk, rel=0.1)


def test_disk_is_near_without_a_measured_run(server: Any, tmp_path: Path) -> None:
    url, _ = server
    source = rows(tmp_path / "p.jsonl", lambda i: [f"good {i} " * 80, f"bad {i} " * 80], n=60)
    words = ("judge", source, "-e", url, "-m", "m", "-p", "rubrics", "-o", tmp_path / "run")
    plan = planned(*words, "--written", 5)
    jurist(*words)
    disk = sum(file.stat().st_size for file in (tmp_path / "run").glob("*.jsonl"))
    assert plan["disk"]["low"] == pytest.approx(disk, rel=0.3)


def test_prices_and_rates_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    source = pairs(tmp_path / "p.jsonl")
    assert "rate = -1.0 is out of range" in jurist("judge", source, "--plan", "--rate", -1, code=2).stderr
    jurist("judge", "--prompt", "q", "--response", "a", "--plan", code=2)


def test_eval_plans_each_benchmark(tmp_path: Path) -> None:
    from shared import shared

    words = ("eval", "llmbar", "--data", shared("llmbar"), "-e", "scripted:x", "-p", "rubrics")
    plan = planned(*words, "-o", tmp_path / "run")
    assert (plan["cases"], plan["calls"]) == (419, {"low": 838, "high": 838})
    assert not (tmp_path / "run").exists()
    limited = planned(*words, "--limit", 10)
    assert limited["cases"] == 10


def test_label_plans_its_own_deliberation_and_what_it_draws(server: Any, tmp_path: Path) -> None:
    url, asked = server
    source = groups(tmp_path / "g.jsonl")
    words = ("label", source, "-e", url, "-m", "m", "-p", "rubrics", "-o", tmp_path / "run",
             "--rows", tmp_path / "rows.jsonl")  # fmt: skip
    plan = planned(*words)
    assert not (tmp_path / "run").exists()
    jurist(*words)
    assert plan["calls"] == {"low": len(asked), "high": len(asked)}
    (tmp_path / "policy.toml").write_text(f'engine = "{url}"\nmodel = "m"\nmax_tokens = 50\n')
    drawn = ("--sample", 3, "--policy", tmp_path / "policy.toml", "--plan", "--json")
    first, second = map(json.loads, jurist(*words, *drawn).stdout.splitlines())
    assert first["calls"] == {"low": 21, "high": 21}
    assert second["calls"] == {"low": 42, "high": 42}


def test_several_deliberations_side_by_side(tmp_path: Path) -> None:
    source = groups(tmp_path / "g.jsonl")
    options = ("-e", "scripted:x", "-p", "rubrics", "--json")
    lines = [
        json.loads(line) for line in jurist("plan", "deliberations", source, *options).stdout.splitlines()
    ]
    by_name = {line.get("what") or line["deliberation"]: line for line in lines}
    assert "refused" in by_name["swapped"]
    assert by_name["round_robin(swapped)"]["calls"]["low"] == 2 * (1 + 3 + 6 + 10 + 15 + 0 + 3)
    text = jurist("plan", "deliberations", source, *options[:-1]).stdout
    assert "knockout(swapped)" in text


@pytest.mark.parametrize(
    ("words", "low", "high"),
    [((), 6, 6), (("--samples", 3), 6, 18), (("--samples", 3, "--keep", "all", "--both-orders"), 36, 36)],
)
def test_distillation(words: tuple[Any, ...], low: int, high: int, server: Any, tmp_path: Path) -> None:
    url, asked = server
    lines = [
        {
            "id": str(i),
            "prompt": f"question {i}",
            "responses": ["good", "bad"],
            "gold": [0.5, 0.5] if i == 3 else 0,
        }
        for i in range(7)
    ]
    source = tmp_path / "p.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    engine = ("-e", url, "-m", "m", "-p", "rubrics")
    plan = json.loads(jurist("plan", "distill", source, *words, *engine, "--json").stdout)
    assert plan["calls"] == {"low": low, "high": high}
    jurist("distill", source, *words, *engine, "-o", tmp_path / "run")
    assert low <= len(asked) <= high


def test_trainings(tmp_path: Path) -> None:
    lines = [
        {"id": str(i), "prompt": f"question {i}", "chosen": "good " * 20, "rejected": "bad " * 20}
        for i in range(90)
    ]
    source = tmp_path / "p.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def plan(*words: object) -> dict[str, Any]:
        done = jurist("plan", *words, "--model", "nobody/has-this", "--json")
        return json.loads(done.stdout)

    scalar = plan("scalar", source, "--batch", 16, "--epochs", 2)
    assert (scalar["rows"], scalar["steps"]) == (90, 12)
    assert scalar["trained"]["low"] == pytest.approx(180 * 2 * (100 + 10) / 4, rel=0.3)
    grpo = plan("grpo", source, "--batch", 10, "--group", 4, "--resample", 0, "--written", 50, "--rate", 100)
    assert (grpo["steps"], grpo["calls"]) == (9, 360)
    assert grpo["written"] == {"low": 18000, "high": 18000}
    assert grpo["hours"]["low"] == pytest.approx((18000 + grpo["trained"]["low"]) / 100 / 3600)
    rows_ = tmp_path / "rows.jsonl"
    rows_.write_text(
        "".join(json.dumps({"prompt": "q " * 40, "completion": "a " * 20}) + "\n" for _ in range(50))
    )
    sft = plan("sft", rows_, "--batch", 8)
    assert (sft["rows"], sft["steps"], sft["trained"]["low"]) == (50, 7, 50 * 30)


def test_weights_are_counted_in_the_heads_of_the_files(model: Path) -> None:
    from jurist.training.plan import parameters_of

    pytest.importorskip("safetensors")
    from safetensors import safe_open

    total = 0
    for file in model.glob("*.safetensors"):
        with safe_open(str(file), "np") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                size = 1
                for side in tensors.get_slice(name).get_shape():
                    size *= side
                total += size
    assert parameters_of(str(model)) == total > 0
    assert parameters_of("nobody/has-this") is None
