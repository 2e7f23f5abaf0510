"""The model card: YAML that the Hub reads, every fact in its place, and what is unknown said plainly."""

import re
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make import case
from msgspec.structs import replace

from jurist.core.errors import InputError
from jurist.data.overlap import Index, OverlapReport, OverlapSummary, Rule
from jurist.training.evaluation import EvalResult
from jurist.training.metrics import Line
from jurist.training.model_card import (
    CardFacts,
    DataFile,
    Measured,
    card,
    draw_curves,
    read_overlap,
)

BEFORE = EvalResult(0.5, 0.4312, 0.5688, 0.61, 0.125, None, 90.0, 200)
AFTER = EvalResult(0.715, 0.6489, 0.7731, 0.84, 0.0, None, 90.0, 200)

FACTS = CardFacts(
    "judge-135m",
    "someone/a-model",
    "grpo",
    "rubrics-short",
    "0.2.0",
    preset="rm-r1",
    license="apache-2.0",
    options={"learning_rate": 1e-6, "steps": None, "held_out": Path("/home/me/private/held.jsonl")},
    data=(
        DataFile("pairs.jsonl", 4000, "ab" * 32, hub="someone/pairs"),
        DataFile("held|out.jsonl", 200, use="held-out", hub="someone/held"),
    ),
    scores=(Measured("held-out pairs", BEFORE, AFTER, "someone/held"),),
    log=tuple(Line(n, n / 10, 9.0 * n, {"reward": n / 100, "kl": None, "other": 1.0}) for n in range(50)),
    steps=49,
    seconds=3725.4,
    tokens=1234567.0,
    device="2 CPU cores",
    versions={"trl": "1.16.0"},
    limits=("Trained on English alone.",),
)


def front(text):
    yaml = pytest.importorskip("yaml")
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_front_is_what_the_hub_reads():
    head, _ = front(card(FACTS))
    assert head == {
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "someone/a-model",
        "datasets": ["someone/pairs"],
        "tags": ["jurist", "reward-model", "llm-as-a-judge", "grpo", "trl"],
        "model-index": [
            {
                "name": "judge-135m",
                "results": [
                    {
                        "task": {
                            "type": "text-classification",
                            "name": "preference between two responses",
                        },
                        "dataset": {"type": "someone/held", "name": "held-out pairs"},
                        "metrics": [
                            {"type": "accuracy", "name": "accuracy", "value": 0.715},
                            {"type": "consistency", "name": "consistency", "value": 0.84},
                        ],
                    }
                ],
            }
        ],
    }


def test_the_hubs_own_reader_finds_the_scores():
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(card(FACTS))
    assert (read.data.base_model, read.data.library_name) == ("someone/a-model", "transformers")
    found = [(r.dataset_name, r.metric_type, r.metric_value) for r in read.data.eval_results]
    assert found == [
        ("held-out pairs", "accuracy", 0.715),
        ("held-out pairs", "consistency", 0.84),
    ]


# Control characters and line separators become white space.
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")))


@given(NAMES, NAMES)
def test_no_name_breaks_the_front(name, hub):
    told = {"data": (DataFile(name, 1, hub=hub),), "scores": (Measured(name, None, AFTER),)}
    facts = CardFacts(name, "base", "sft", "p", "0", base_local=True, **told)
    yaml = pytest.importorskip("yaml")
    head = yaml.safe_load(card(facts).removeprefix("---\n").partition("\n---\n\n#")[0])
    assert head["model-index"][0]["name"] == name
    assert head.get("datasets") == ([hub] if hub else None)
    assert "base_model" not in head


@pytest.mark.parametrize(
    "shown",
    [
        "| held-out pairs | before | 50.0% | 43.1 to 56.9 | 200 | 61.0% | 12.5% |",
        "| held-out pairs | after | 71.5% | 64.9 to 77.3 | 200 | 84.0% | 0.0% |",
        "`someone/a-model` after reinforcement learning with verifiable rewards (GRPO), with the settings of "
        "`rm-r1`",
        "jurist judge pairs.jsonl --engine transformers --model FOLDER --protocol rubrics-short\n",
        f"| pairs.jsonl | training | 4,000 | `{'ab' * 32}` |",
        "| held\\|out.jsonl | held-out | 200 |  |",
        "Overlap with benchmarks: not checked",
        "49 steps in 1:02:05 hours, 1,234,567 tokens on 2 CPU cores. trl 1.16.0.",
        "| `learning_rate` | 1e-06 |",
        "| `held_out` | held.jsonl |",
        "- held-out pairs: the order of the responses decides 16.0% of the pairs; ask in both.",
        "- Only the verdict was rewarded: the reasoning may be wrong where the verdict is right.",
        "- Benchmarks may stand in its training data: the overlap was not checked.",
        "- Trained on English alone.",
    ],
)
def test_every_fact_has_its_place(shown):
    assert shown in card(FACTS)


def test_nothing_is_said_that_is_not_known():
    text = card(CardFacts("judge", "some folder", "scalar", "scalar", "0.2.0", base_local=True))
    head, body = front(text)
    assert head == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["jurist", "reward-model", "trl"],
    }
    for said in ("Not measured.", "Not recorded.", "not checked", "How well it judges was not measured."):
        assert said in body
    assert "jurist judge pairs.jsonl --engine scalar:FOLDER --protocol scalar" in body
    assert not {"None", "nan", "/home", "steps` |"} & set(text.split())
    assert "/home" not in card(FACTS)


def test_a_scalar_models_card_omits_orders_and_verdicts():
    text = card(
        replace(
            FACTS,
            method="scalar",
            scores=(Measured("pairs", None, replace(AFTER, consistent=1.0, unanswered=0.01)),),
        )
    )
    assert "Accuracy: the response that gold prefers has the higher score" in text
    assert "- pairs: 1.0% of the responses have no score." in text
    assert "both orders of a pair" in card(FACTS)
    assert not {"orders", "verdict", "judgments"} & set(re.findall(r"\w+", text.partition("## Scores")[2]))


def test_the_curve_is_a_short_table_with_first_and_last_step():
    rows = [row for row in card(FACTS).splitlines() if row.startswith("| ") and "step | reward" not in row]
    steps = [int(row.split(" | ")[0][2:]) for row in rows if row.split(" | ")[0][2:].isdecimal()]
    assert len(steps) == 12
    assert (steps[0], steps[-1]) == (0, 49)
    assert "| step | reward |" in card(FACTS)


def test_with_many_measurements_the_curve_shows_those():
    course = [Line(n, 0.0, 0.0, {"loss": 1.0 / (n + 1)}) for n in range(30)]
    course += [Line(n, 0.0, 0.0, {"held_out/accuracy": 0.5 + n / 100}) for n in (0, 10, 29)]
    text = card(CardFacts("j", "b", "sft", "p", "0", log=tuple(course)))
    table = text[text.index("| step |") :].splitlines()[:6]
    assert table == [
        "| step | held-out accuracy | loss |",
        "| --- | --- | --- |",
        "| 0 | 50.0% | 1 |",
        "| 10 | 60.0% | 0.09091 |",
        "| 29 | 79.0% | 0.03333 |",
        "",
    ]


def test_the_picture_shows_what_has_a_course(tmp_path):
    pytest.importorskip("matplotlib")
    held = [
        Line(n, 0.0, 0.0, {"held_out/accuracy": 0.6, "held_out/low": 0.5, "held_out/high": 0.7})
        for n in (0, 20, 40)
    ]
    assert draw_curves([*FACTS.log, *held], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not draw_curves([Line(1, 0.0, 0.0, {"reward": 1.0})], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    text = card(CardFacts("j", "b", "sft", "p", "0", picture="curves.png"))
    assert "![Curves of the training](curves.png)" in text


def report(tmp_path):
    """A report of one training row that stands in a benchmark of two cases."""
    rule = Rule()
    index = Index(rule)
    index.add("small", [case("one two three four"), case("five six seven eight")])
    index.freeze()
    path = tmp_path / "overlap.jsonl"
    with OverlapReport(index, path) as found:
        found.add([])
        found.finish(
            OverlapSummary("0.2.0", "train/pairs.jsonl", "cd" * 32, found.rows, 0, 0, rule, found.counts)
        )
    return path


def test_the_overlap_is_the_stamp_of_the_report(tmp_path):
    path = report(tmp_path)
    overlap = read_overlap(path)
    assert overlap.report == sha256(path.read_bytes()).hexdigest()
    text = card(CardFacts("j", "b", "sft", "p", "0", overlap=(overlap,)))
    assert "0 of 1 rows of train/pairs.jsonl (sha256 cdcdcdcdcdcdcdcd) overlap with small (2 cases" in text
    assert f"report sha256 {overlap.report}; jurist 0.2.0" in text
    assert "not checked" not in text


@pytest.mark.parametrize("text", [None, "", '{"row": 1}\n', "words\n"])
def test_what_is_no_report_of_an_overlap_is_an_error(tmp_path, text):
    path = tmp_path / "overlap.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"overlap\.jsonl"):
        read_overlap(path)
