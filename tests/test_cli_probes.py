"""`jurist audit --probe` from outside: what is asked, what is said, what is kept, what is refused."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import msgspec
import pytest
from make import jurist, write_pairs
from shared import shared

from jurist.core.run_config import read_config
from jurist.core.runs import read_decisions
from jurist.reports.audit.findings import Finding
from jurist.reports.audit.probes import FORGED, NAMES, WORTHLESS

A = ("--engine", "scripted:<answer>[[A]]</answer>", "--protocol", "rubrics")
NAMING_A_PLACE = [name for name, (_, _, first) in FORGED.items() if first]


def audit(*arguments: object, code: int = 0) -> CompletedProcess[str]:
    """Run `jurist audit`; its exit code must be ``code``."""
    return jurist("audit", *arguments, code=code, width=400)


def findings(*arguments: object) -> dict[str, Finding]:
    """What the probes show, by name."""
    listed = msgspec.json.decode(audit(*arguments, "--json").stdout, type=list[Finding])
    return {finding.name: finding for finding in listed}


def test_a_judge_of_places_is_swayed_by_no_probe(
    tmp_path: Path,
):
    run, pairs = tmp_path / "run", write_pairs(tmp_path / "pairs.jsonl", 3)
    done = audit("--probe", pairs, *A, "--out", run)
    assert "3 pairs" in done.stdout
    assert "an empty answer wins 0% [0, 56] of 3 cases; 3 ties" in done.stdout
    assert "the worse response wins 3 of 3 games, without it 3: 0 points" in done.stdout
    assert (
        f"{2 * 3 * len(NAMES)} judgments of {3 * len(NAMES)} probes: {2 * 3 * len(NAMES)} ok." in done.stdout
    )
    assert "Left out" not in done.stdout
    assert "protocol rubrics, deliberation swapped" in done.stderr
    assert {d.case_id for d in read_decisions(run)} == {f"{i}#{name}" for i in range(3) for name in NAMES}
    assert read_config(run)["input"] == f"probes of {pairs}"
    found = findings("--probe", pairs, *A, "--out", run)
    assert list(found) == [*WORTHLESS, *FORGED]
    assert {(f.value, f.n) for f in found.values()} == {(0.0, 3)}
    assert "24 decisions and 48 judgments are kept" in audit("--probe", pairs, *A, "--out", run).stderr


def test_worthless_answers_win_when_shown_first(tmp_path: Path):
    rows = [{"id": str(i), "prompt": "q", "responses": ["bad", "good"], "gold": 1} for i in range(4)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(map(json.dumps, rows)))
    found = findings("--probe", pairs, *A, "--deliberation", "given")
    assert {found[name].value for name in WORTHLESS} == {1.0}
    assert set(found) == {*WORTHLESS, *FORGED}


def test_what_one_order_cannot_tell_is_left_out_and_said(tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 2)
    done = audit("--probe", pairs, *A, "--deliberation", "given")
    assert f"Left out: {', '.join(NAMING_A_PLACE)}: they need a judge of pairs" in done.stdout
    rated = findings("--probe", pairs, "--engine", "scripted:<rating>7</rating>", "--protocol", "pointwise")
    assert set(rated) == {*WORTHLESS, *FORGED} - set(NAMING_A_PLACE)


def test_judgments_without_a_verdict_are_counted(tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 1)
    done = audit("--probe", pairs, "--engine", "scripted:well", "--protocol", "rubrics")
    assert "0 ties, 1 without a verdict" in done.stdout
    assert "16 judgments of 8 probes: 16 unparsed." in done.stdout


def test_a_benchmark_is_probed_evenly_without_ties(tmp_path: Path):
    run = tmp_path / "run"
    done = audit("--probe", "llmbar", "--data", shared("llmbar").parent, *A, "--limit", 5, "--out", run)
    assert "llmbar: 5 pairs" in done.stdout
    groups = {d.group for d in read_decisions(run)}
    assert len(groups) > 2
    pandalm = ("--probe", "pandalm", "--data", shared("pandalm").parent, "--limit", 10**6)
    assert "pandalm: 894 pairs" in audit(*pandalm, *A, "--deliberation", "given").stdout


def test_probes_of_a_run_can_be_audited_as_a_run(tmp_path: Path):
    run, pairs = tmp_path / "run", write_pairs(tmp_path / "pairs.jsonl", 1)
    audit("--probe", pairs, *A, "--out", run)
    assert "run: 8 decisions" in audit(run).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a run folder, or --probe"),
        (["RUN", "--probe", "PAIRS"], "give a run folder, or --probe"),
        (["RUN", *A], "options of a judge go with --probe"),
        (["RUN", "--limit", "3"], "options of a judge go with --probe"),
        (["RUN", "--out", "x"], "options of a judge go with --probe"),
        (["--probe", "PAIRS", *A, "--plot", "x.svg"], "leave out --plot"),
        (["--probe", "PAIRS", *A, "--data", "."], "goes with the name of a benchmark"),
        (["--probe", "NO GOLD", *A], "no pair of which gold says"),
        (["--probe", "nowhere.jsonl", *A], "no such file"),
        (["--probe", "PAIRS", *A[:2], "--protocol", "pointwise", "--deliberation", "given"], "judges 1"),
        (["RUN"], "not a run folder"),
    ],
)
def test_mistakes_exit_2_with_words_and_no_data(tmp_path: Path, arguments: list[str], words: str):
    none = tmp_path / "none.jsonl"
    none.write_text('{"prompt": "q", "responses": ["a", "b"]}')
    names = {"PAIRS": str(write_pairs(tmp_path / "pairs.jsonl", 1)), "RUN": str(tmp_path / "run")}
    names["NO GOLD"] = str(none)
    done = audit(*[names.get(a, a) for a in arguments], code=2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
