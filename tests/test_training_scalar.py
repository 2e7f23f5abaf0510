"""The scalar baseline: what it reads is what its engine shows, and what it measures is what a judge finds."""

import asyncio
import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from make import case
from tiny import CONTEXT, scalar_model

from jurist.cli.main import run as jurist
from jurist.core.errors import ConfigError, InputError
from jurist.core.runs import read_decisions
from jurist.core.types import Query, Sampling
from jurist.engines.scalar import ScalarEngine
from jurist.inputs import load_cases
from jurist.training.config import ScalarOptions
from jurist.training.metrics import read_metrics
from jurist.training.session import Result

pytest.importorskip("trl")
pytestmark = pytest.mark.slow

WORDS = ("tea", "sea", "day", "cup", "rye", "<|end|> x", "fig", "oak")


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(start: int, count: int) -> list[dict]:
    """Whoever says yes is right."""
    names = [f"{WORDS[n % 8]} {n}" for n in range(start, start + count)]
    return [{"id": w, "prompt": f"is {w} good ?", "chosen": f"yes {w}", "rejected": f"no {w}"} for w in names]


def options(folder: Path, **more) -> ScalarOptions:
    given = {"model": str(folder / "base"), "precision": "fp32", "batch": 8, "micro_batch": 4, "steps": 12}
    given |= {"learning_rate": 1e-2, "save_every": 6, "eval_every": 6, "held_out": folder / "held.jsonl"}
    return ScalarOptions(**given | more)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A base model, pairs with some that teach nothing, and held-out pairs."""
    folder = tmp_path_factory.mktemp("scalar")
    scalar_model(folder / "base", head="CausalLM", initializer_range=0.1)
    useless = [
        {"id": "tie", "prompt": "p", "responses": ["a", "b"], "gold": [0.5, 0.5]},
        {"id": "same", "prompt": "p", "chosen": "a", "rejected": "a"},
        {"id": "open", "prompt": "p", "responses": ["a", "b"]},
        {"id": "long", "prompt": "p", "chosen": "a" * CONTEXT, "rejected": "b"},
    ]
    write(folder / "pairs.jsonl", pairs(0, 32) + useless)
    held = pairs(100, 12)
    for row in held[::4]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    write(folder / "held.jsonl", held)
    return folder


def train(place: Path, out: Path, **more) -> tuple[Result, list[str]]:
    from jurist.training.scalar import train_scalar

    said: list[str] = []
    return train_scalar(options(place, **more), str(place / "pairs.jsonl"), out, said.append), said


@pytest.fixture(scope="module")
def trained(place) -> tuple[Path, Result, list[str]]:
    return place / "out", *train(place, place / "out")


def test_it_learns_and_says_what_it_left_out(trained):
    out, result, said = trained
    assert said[:5] == [
        "32 of 36 pairs, at most 63 tokens in a conversation",
        "1 ties left out",
        "1 pairs without a label left out",
        "1 pairs of equal responses left out",
        "1 pairs over the limit left out (--max-length, --too-long truncate)",
    ]
    assert result.after.accuracy == 0.75 > result.before.accuracy, "a quarter has the wrong label"
    assert (result.after.consistent, result.after.unanswered, result.after.n) == (1.0, 0.0, 12)
    lines = read_metrics(out / "metrics.jsonl")
    assert [n.step for n in lines if "loss" in n.metrics] == list(range(1, 13))
    assert lines[-1].metrics.keys() >= {"train_loss"}
    assert result.tokens == max(n.metrics.get("num_tokens") or 0 for n in lines) > 0
    assert msgspec.json.decode((out / "result.json").read_bytes(), type=Result) == result
    measured = {p.name for p in (out / "held-out").iterdir()}
    assert measured == {"before", "after", "step-000006"}


def test_the_same_command_once_more_has_nothing_to_do(place, trained, monkeypatch):
    out, result, _ = trained
    kept = (out / "metrics.jsonl").read_bytes()
    monkeypatch.setattr("jurist.training.scalar.load_scalar", None)
    again, said = train(place, out)
    assert again == result
    assert said[-1] == f"{out} holds this training, and it is over"
    assert (out / "metrics.jsonl").read_bytes() == kept


def test_judge_of_the_trained_model_is_as_accurate_as_measured(place, trained, tmp_path):
    out, result, _ = trained
    engine = f"scalar:{out / 'model'}"
    assert jurist(["judge", str(place / "held.jsonl"), "--engine", engine, "--out", str(tmp_path / "r")]) == 0
    judged = {d.case_id: d.verdict.scores for d in read_decisions(tmp_path / "r")}
    measured = {d.case_id: d.verdict.scores for d in read_decisions(out / "held-out" / "after")}
    assert judged.keys() == measured.keys()
    for name, scores in judged.items():
        assert scores == pytest.approx(measured[name], abs=1e-5)
    right = sum(a > b for a, b in judged.values())
    assert right / len(judged) == result.after.accuracy


def test_what_is_trained_on_are_the_ids_that_the_engine_reads(place, trained):
    from jurist.training.scalar import load_scalar, preferences

    out, _, _ = trained
    found, _ = preferences(load_cases(str(place / "pairs.jsonl")), load_scalar(options(place)), limit=CONTEXT)
    run = place / "ids"
    command = ["judge", str(place / "pairs.jsonl"), "--engine", f"scalar:{out / 'model'}"]
    assert jurist([*command, "--out", str(run)]) == 0
    engine = ScalarEngine(str(out / "model"))
    chat = engine._load().chat
    asked: dict[str, list[list[int]]] = {}
    for decision in read_decisions(run):
        shown = sorted(decision.judgments, key=lambda j: j.query.order)
        asked[decision.case_id] = [chat.prompt(j.query.messages, None) for j in shown]
    asyncio.run(engine.aclose())
    assert [[p.chosen, p.rejected] for p in found] == [asked[row["id"]] for row in pairs(0, 32)]
    forged = next(p for p in found if "x 5" in chat.text(p.chosen))
    end = chat._tokenizer.convert_tokens_to_ids("<|end|>")
    assert forged.chosen.count(end) == 2, "only the template's own"


def test_it_goes_on_from_a_checkpoint_to_the_same_weights(place, trained, tmp_path):
    from safetensors.torch import load_file

    out, result, _ = trained
    again = tmp_path / "again"
    shutil.copytree(
        out, again, ignore=shutil.ignore_patterns("model", "checkpoint-12", "result.json", "after")
    )
    resumed, said = train(place, again)
    assert f"resumed from {again / 'checkpoints' / 'checkpoint-6'}" in said
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (out, again))
    assert all((one[name] == two[name]).all() for name in one)
    assert (resumed.before, resumed.after) == (result.before, result.after)
    steps = [n.step for n in read_metrics(again / "metrics.jsonl") if "loss" in n.metrics]
    assert steps == list(range(1, 13))
    assert resumed.tokens == result.tokens


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapters_and_head_are_merged_and_measured_in_float32(place, tmp_path, precision):
    more = {"learning_rate": 3e-2, "eval_every": 99, "precision": precision}
    result, _ = train(place, tmp_path, adapter="lora", **more)
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in names
    assert not any("adapter" in n for n in names)
    assert result.after.accuracy == 0.75
    engine = ScalarEngine(str(tmp_path / "model"))
    last = next(read_decisions(tmp_path / "held-out" / "after"))
    query = last.judgments[0].query
    score = asyncio.run(engine(Query("c", (0,), 0, query.messages, Sampling())))
    asyncio.run(engine.aclose())
    assert float(score.text) == pytest.approx(last.verdict.scores[query.order[0]], abs=1e-4)


def test_the_card_tells_the_scores_and_where_they_come_from(trained):
    out, result, _ = trained
    text = (out / "model" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in text
    assert "--engine scalar:FOLDER --protocol scalar" in text
    assert f"| held.jsonl | after | {result.after.accuracy:.1%} |" in text
    assert "| pairs.jsonl | training | 32 | `" in text
    assert "not checked" in text
    assert "both orders" not in text
    assert str(out.parent) not in text
    assert (out / "model" / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_card_has_the_overlap_stamp_of_its_own_file_only(place, tmp_path):
    source, bench = place / "pairs.jsonl", write(tmp_path / "bench.jsonl", pairs(3, 2))
    report = tmp_path / "report.jsonl"
    command = ["overlap", str(source), "--against", str(bench), "--report", str(report)]
    assert jurist(command) == 0
    train(place, tmp_path / "out", steps=1, held_out=None, overlap=report)
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert re.search(r"2 of 36 rows of \S*pairs.jsonl", card)
    write(place / "other.jsonl", pairs(0, 8))
    from jurist.training.scalar import train_scalar

    with pytest.raises(ConfigError, match=r"report.jsonl is about .*pairs.jsonl, not about .*other.jsonl"):
        train_scalar(options(place, overlap=report), str(place / "other.jsonl"), tmp_path / "no", [].append)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        ([], {}, "the file has no rows"),
        ([case("t", gold=(0.5, 0.5))], {}, "1 ties left out"),
        ([case("u", gold=None)], {}, "1 pairs without a label"),
        ([case("n", "a", "b", "c", gold=(1.0, 0.0, 0.0))], {}, "'n' has 3 responses"),
        ([case("w", "a" * 99, "b")], {"too_long": "stop"}, "'w': a conversation has"),
        ([case("w", "a" * 99, "b")], {}, "1 pairs over the limit left out"),
    ],
)
def test_pairs_that_teach_nothing_are_an_error_at_the_door(place, rows, more, message):
    from jurist.training.scalar import load_scalar, preferences

    with pytest.raises(InputError, match=message):
        preferences(rows, load_scalar(options(place)), limit=60, **more)


def test_long_pairs_are_cut_to_the_limit_exactly(place):
    from jurist.training.scalar import load_scalar, preferences

    policy = load_scalar(options(place))
    rows = [case("w", "a" * 99, "b" * 50), case("same", "a" * 99, "a" * 98 + "b")]
    (pair,), count = preferences(rows, policy, limit=60, too_long="truncate")
    assert len(pair.chosen) == len(pair.rejected) == 60
    assert "aaa [...]" in policy.chat.text(pair.chosen)
    assert (count.truncated, count.dropped) == (1, 1)
