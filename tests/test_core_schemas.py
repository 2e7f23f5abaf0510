"""The JSON schemas fit what a real run and the commands write, and are made from the records."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from make import jurist, write_pairs

from jurist.core.schemas import SCHEMAS, schema
from jurist.core.types import Decision

jsonschema = pytest.importorskip("jsonschema", reason="the group 'test' is not installed")

ENGINE = "scripted:<eval>short</eval><answer>[[A]]</answer>"


def checked(name: str, rows: list[Any]) -> None:
    """Each row fits the schema of that name, and names no field that the schema does not have."""
    validator = jsonschema.Draft202012Validator(schema(name))
    assert rows, name
    for row in rows:
        validator.validate(row)
    fields = {
        field
        for part in schema(name)["$defs"].values()
        if part["title"]
        in ("Decision", "DecisionLine", "JudgmentLine", "CaseLine", "PromptLine", "TextLine", "Scorecard")
        for field in part["properties"]
    }
    assert {field for row in rows for field in row} <= fields, name


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name: str):
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_a_run_fits_its_schemas(tmp_path: Path):
    run = tmp_path / "run"
    pairs = write_pairs(tmp_path / "pairs.jsonl", 4)
    lines = pairs.read_text().splitlines()
    lines.append(json.dumps({"id": "tie", "prompt": "p", "responses": ["x", "x"], "meta": {"k": [1]}}))
    pairs.write_text("\n".join(lines) + "\n")
    jurist("judge", pairs, "--engine", ENGINE, "--deliberation", "swapped(vote(2))", "--out", run)
    for name in SCHEMAS:
        if name.endswith(".jsonl"):
            checked(name, [json.loads(line) for line in (run / name).read_text().splitlines()])
    checked("scorecard.json", [json.loads((run / "scorecard.json").read_text())])
    shown = jurist("show", run, "--json").stdout.splitlines()
    checked("decision", [json.loads(line) for line in shown])


def test_a_decision_is_one_shape_wherever_it_is_written(tmp_path: Path):
    run, pairs = tmp_path / "run", write_pairs(tmp_path / "pairs.jsonl", 2)
    piped = jurist("judge", pairs, "--engine", ENGINE, "--json").stdout.splitlines()
    jurist("judge", pairs, "--engine", ENGINE, "--out", run)
    shown = jurist("show", run, "--json").stdout.splitlines()
    one = jurist("show", run, "1", "--json").stdout.splitlines()
    checked("decision", [json.loads(line) for line in (*piped, *shown, *one)])

    def without_times(line: str) -> Decision:
        row = json.loads(line)
        for judgment in row["judgments"]:
            judgment["completion"]["seconds"] = 0.0
        return msgspec.convert(row, Decision)

    assert [without_times(line) for line in piped] == [without_times(line) for line in shown]
    assert without_times(one[0]) == without_times(shown[1])
    for line, row in zip(
        (run / "decisions.jsonl").read_text().splitlines(), map(json.loads, shown), strict=True
    ):
        kept = json.loads(line)
        for field in ("case_id", "agreement", "gold"):
            assert kept[field] == row[field], field
        assert kept["verdict"].items() <= row["verdict"].items()
        assert len(kept["judgments"]) == len(row["judgments"])


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("rank", {"ranking", "ratings", "errors", "rewards", "matches"}),
        ("best-of-n", {"best", "tied", "response"}),
    ],
)
def test_rankings_and_choices_are_decisions_with_more(command: str, more: set[str]):
    words = ["--prompt", "p", "--response", "x", "--response", "y", "--response", "z"]
    row = json.loads(jurist(command, *words, "--engine", ENGINE, "--json").stdout)
    jsonschema.Draft202012Validator(schema("decision")).validate(row)
    assert row.keys() - schema("decision")["$defs"]["Decision"]["properties"].keys() == more


def test_list_prints_the_schemas():
    names = json.loads(jurist("list", "schemas", "--json").stdout)
    assert names == json.loads(json.dumps({name: schema(name) for name in SCHEMAS}))
