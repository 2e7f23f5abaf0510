"""Labels: which pairs a decision is good for, the rows they become, and a run that asks nothing twice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from math import exp
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make import A_WINS, prefers, write_pairs
from shared import shared

from jurist.cli.label import label
from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.runs import read_judgments
from jurist.core.types import (
    Case,
    Completion,
    Decision,
    Judgment,
    Message,
    Order,
    Query,
    Sampling,
    Status,
    Verdict,
)
from jurist.data.labels import Rules, different, mark_row, marks_of, pair_row, pairs_of
from jurist.deliberation.ratings import Match, bradley_terry
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.config import JudgeConfig

# Until the command stands among the others, it is put there.
CODE = (
    "import jurist.cli.main as m\n"
    "if 'label' not in m.COMMANDS: m.app.command('jurist.cli.label:label', name='label')\n"
    "m.main()"
)
JURIST = [sys.executable, "-c", CODE]
A = f"scripted:{A_WINS}"
Said = tuple[Order, tuple[float, ...]]
"""The order of a judgment, and its scores in the order of the case."""


def asked(*responses: Any) -> Case:
    return Case("c", (Message("user", "q"),), responses)


def decided(scores: tuple[float, ...] | None, *said: Said, status: Status = Status.OK) -> Decision:
    """A decision by hand; its agreement is the share of judgments that prefer its winner, as for a pair."""
    judgments = tuple(
        Judgment(Query("c", order, i, (), Sampling()), Completion(), Verdict(verdict))
        for i, (order, verdict) in enumerate(said)
    )
    same = [scores and v.index(max(v)) == scores.index(max(scores)) for _, v in said]
    agreement = sum(map(bool, same)) / len(same) if same else None
    return Decision("c", Verdict(scores, status), judgments, agreement)


BOTH: tuple[Said, ...] = (((0, 1), (0.2, 0.8)), ((1, 0), (0.4, 0.6)))
SPLIT: tuple[Said, ...] = (((0, 1), (1, 0)), ((1, 0), (0.4, 0.6)))
PAIR, FOUR = asked("a", "b"), asked("a", "b", "c", "d")
RATED = (2.0, 9.0, 5.0, 5.0)


@pytest.mark.parametrize(
    ("case", "decision", "rules", "pairs", "left_out"),
    [
        (PAIR, decided((0.3, 0.7), *BOTH), Rules(), [(1, 0)], {}),
        (PAIR, decided((0.3, 0.7), *BOTH), Rules(min_margin=0.4), [(1, 0)], {}),
        (PAIR, decided((0.3, 0.7), *BOTH), Rules(min_margin=0.41), [], {"under the margin": 1}),
        (PAIR, decided((0.6, 0.4)), Rules(min_margin=0.2), [(0, 1)], {}),
        (PAIR, decided((0.5 + 1e-16, 0.5)), Rules(), [], {"tie": 1}),
        (PAIR, decided(None, status=Status.TRUNCATED), Rules(), [], {"no verdict: truncated": 1}),
        (PAIR, decided((0.7, 0.3), *SPLIT), Rules(min_agreement=0.5), [(0, 1)], {}),
        (PAIR, decided((0.7, 0.3), *SPLIT), Rules(min_agreement=0.6), [], {"under the agreement": 1}),
        (PAIR, decided((0.7, 0.3)), Rules(min_agreement=0.1), [], {"under the agreement": 1}),
        (PAIR, decided((0.3, 0.7), *BOTH), Rules(consistent=True), [(1, 0)], {}),
        (PAIR, decided((0.7, 0.3), *SPLIT), Rules(consistent=True), [], {"orders disagree": 1}),
        (PAIR, decided((0.2, 0.8), BOTH[0]), Rules(consistent=True), [], {"not in both orders": 1}),
        (PAIR, decided((0.8, 0.2), ((0, 1), (1, 0)), ((1, 0), (0.5, 0.5))), Rules(consistent=True), [],
         {"orders disagree": 1}),
        (asked("a", "a"), decided((0.3, 0.7), *BOTH), Rules(), [], {"identical responses": 1}),
        (FOUR, decided(RATED), Rules(), [(1, 0)], {}),
        (FOUR, decided(RATED), Rules("best-rest"), [(1, 2), (1, 3), (1, 0)], {}),
        (FOUR, decided(RATED), Rules("adjacent"), [(1, 2), (3, 0)], {"tie": 1}),
        (FOUR, decided(RATED), Rules("all"), [(1, 2), (1, 3), (1, 0), (2, 0), (3, 0)], {"tie": 1}),
        (FOUR, decided(RATED), Rules("all", min_margin=4), [(1, 2), (1, 3), (1, 0)],
         {"tie": 1, "under the margin": 2}),
        (asked("a", "b", "a", "c"), decided((1, 2, 1, 0)), Rules("all"), [(1, 0), (1, 3), (0, 3)], {}),
        # A ranking in one call, shown forwards and backwards: the ends agree, 1 and 2 do not.
        (asked("a", "b", "c"), decided((1, 0.6, 0.4), ((0, 1, 2), (1, 0.8, 0.2)), ((2, 1, 0), (1, 0.4, 0.6))),
         Rules("all", consistent=True), [(0, 1), (0, 2)], {"orders disagree": 1}),
    ],
)  # fmt: skip
def test_pairs_by_hand(
    case: Case, decision: Decision, rules: Rules, pairs: list[Order], left_out: dict[str, int]
):
    kept, counts = pairs_of(decision, case, rules)
    assert [(p.chosen, p.rejected) for p in kept] == pairs
    assert counts == left_out


@pytest.mark.parametrize(
    ("case", "decision", "rules", "marks", "left_out"),
    [
        (PAIR, decided((0.3, 0.7), *BOTH), Rules(), [(1, True, 0.4), (0, False, 0.4)], {}),
        (PAIR, decided((0.7, 0.3), *SPLIT), Rules(consistent=True), [], {"orders disagree": 1}),
        (FOUR, decided(RATED), Rules(), [(1, True, 7.0), (0, False, 7.0)], {}),
        (FOUR, decided(RATED), Rules(marks="mean", min_margin=1),
         [(1, True, 3.75), (0, False, 3.25)], {"under the margin": 2}),
        (asked("a", "b", "c"), decided((1.0, 0.5, 0.0)), Rules(marks="mean"),
         [(0, True, 0.5), (2, False, 0.5)], {"tie": 1}),
        (FOUR, decided(None, status=Status.UNPARSED), Rules(marks="mean"), [], {"no verdict: unparsed": 1}),
    ],
)  # fmt: skip
def test_marks_by_hand(
    case: Case, decision: Decision, rules: Rules, marks: list[Any], left_out: dict[str, int]
):
    kept, counts = marks_of(decision, case, rules)
    assert [(m.index, m.label, m.margin) for m in kept] == marks
    assert counts == left_out


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=6), st.floats(0, 1))
def test_every_two_are_a_pair_or_counted(scores: list[float], margin: float):
    case, n = asked(*map(str, range(len(scores)))), len(scores)
    kept, counts = pairs_of(decided(tuple(scores)), case, Rules("all", min_margin=margin))
    assert len(kept) + counts.total() == n * (n - 1) // 2
    assert all(scores[p.chosen] - scores[p.rejected] == p.margin >= margin for p in kept)
    assert len({frozenset((p.chosen, p.rejected)) for p in kept}) == len(kept)


def test_confidence_is_a_share_for_two_and_a_strength_for_more():
    (pair,), _ = pairs_of(decided((0.3, 0.7), *BOTH), PAIR, Rules())
    assert (pair.confidence, pair.agreement, pair.margin) == (0.7, 1.0, 0.4)
    (rated,), _ = pairs_of(decided((3.0, 7.0), ((0,), (3,)), ((1,), (7,))), PAIR, Rules())
    assert (rated.confidence, rated.agreement) == (None, None)
    said = (((0, 1), (1.0, 0.0)), ((2, 1), (0.75, 0.25)), ((0, 2), (0.6, 0.4)))
    matches = [Match(0, 1, 1), Match(1, 2, 0.75), Match(0, 2, 0.6)]
    strengths = bradley_terry(3, matches).values
    three = decided((0.8, 0.375, 0.325), *said)
    (best,), _ = pairs_of(three, asked("a", "b", "c"), Rules())
    assert best.confidence == pytest.approx(1 / (1 + exp(strengths[2] - strengths[0])), abs=1e-9)
    marks, _ = marks_of(three, asked("a", "b", "c"), Rules(marks="mean"))
    chances = [1 / (1 + exp(strengths[i] - strengths[0])) for i in (1, 2)]
    assert marks[0].confidence == pytest.approx(sum(chances) / 2, abs=1e-9)
    assert [m.label for m in marks] == [True, False, False]


def test_rows_are_messages_or_texts():
    went_on = (Message("assistant", "b"), Message("user", "and?"), Message("assistant", "c"))
    case = asked("a", went_on)
    (pair,), _ = pairs_of(decided((1.0, 0.0)), case, Rules())
    row = pair_row(pair, case, "runs/x")
    assert row["prompt"] == [{"role": "user", "content": "q"}]
    assert row["chosen"] == [{"role": "assistant", "content": "a"}]
    assert [turn["content"] for turn in row["rejected"]] == ["b", "and?", "c"]
    assert (row["run"], row["case_id"], row["chosen_index"], row["rejected_index"]) == ("runs/x", "c", 0, 1)
    (good, bad), _ = marks_of(decided((0.0, 1.0)), PAIR, Rules())
    rows = [mark_row(mark, PAIR, "runs/x", text=True) for mark in (good, bad)]
    assert [(r["prompt"], r["completion"], r["label"], r["index"]) for r in rows] == [
        ("q", "b", True, 1),
        ("q", "a", False, 0),
    ]
    assert different(asked("a", (Message("assistant", "a"),), "b")) == [0, 2]


# From outside.


def jurist(*arguments: object, code: int = 0) -> str:
    """Run `jurist label`; what it said on standard error."""
    command = [*JURIST, "label", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    return done.stderr


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_other_labels_from_the_same_run_ask_nothing_again(tmp_path: Path):
    pairs, run, rows = write_pairs(tmp_path / "pairs.jsonl", 5), tmp_path / "run", tmp_path / "rows.jsonl"
    command = (pairs, "--engine", A, "--deliberation", "given", "--out", run, "--rows", rows)
    said = jurist(*command, "--text")
    assert "dpo: 5 rows of 5 of 5 cases" in said
    assert [(r["prompt"], r["chosen"], r["rejected"], r["margin"]) for r in read(rows)] == [
        (f"question {i}", "good", "bad", 1.0) for i in range(5)
    ]
    said = jurist(*command, "--format", "both")
    assert "5 decisions and 5 judgments are kept" in said
    assert len(list(read_judgments(run))) == 5
    assert len(read(tmp_path / "rows.dpo.jsonl")) == 5
    assert [r["label"] for r in read(tmp_path / "rows.kto.jsonl")] == [True, False] * 5
    before = rows.read_bytes()
    said = jurist(*command, "--consistent", code=2)
    assert "left out: not in both orders 5" in said
    assert "none of 5 cases gave a row" in said
    counts = json.loads((run / "labels.json").read_text())
    assert counts["dpo"]["left_out"] == {"not in both orders": 5}
    assert counts["options"]["consistent"] is True
    assert before
    assert rows.read_bytes() == b"", "rows of other options do not stay behind"


def test_pairs_load_as_a_dataset_with_the_columns_of_trl(tmp_path: Path):
    datasets = pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
    import gzip

    source = shared("hh-rlhf", "harmless-base", "test.jsonl.gz")
    some = tmp_path / "some.jsonl"
    with gzip.open(source) as file:
        some.write_bytes(b"".join(file.readline() for _ in range(30)))
    rows = tmp_path / "rows.jsonl"
    jurist(some, "--engine", A, "--deliberation", "once", "--out", tmp_path / "run", "--rows", rows,
           "--format", "both")  # fmt: skip
    loaded = {
        name: datasets.Dataset.from_json(str(rows.with_suffix(f".{name}.jsonl")), cache_dir=str(tmp_path))
        for name in ("dpo", "kto")
    }
    numbers = {"margin": "float64", "confidence": "float64", "agreement": "float64"}
    kinds = {n: {k: getattr(f, "dtype", None) for k, f in d.features.items()} for n, d in loaded.items()}
    assert kinds["dpo"].items() >= {**numbers, "chosen_index": "int64", "case_id": "string"}.items()
    assert kinds["kto"].items() >= {**numbers, "label": "bool", "index": "int64", "run": "string"}.items()
    assert (loaded["dpo"].num_rows, loaded["kto"].num_rows) == (30, 60)
    assert [row["case_id"] for row in loaded["dpo"]] == [str(i) for i in range(1, 31)]
    turn = {"role", "content"}
    assert all(set(t) == turn for row in loaded["dpo"] for t in [*row["prompt"], *row["chosen"]])


def test_killed_and_started_again_it_asks_nothing_twice(tmp_path: Path):
    pairs, run, rows = write_pairs(tmp_path / "pairs.jsonl", 6000), tmp_path / "run", tmp_path / "rows.jsonl"
    command = [str(pairs), "--engine", A, "--deliberation", "once", "--out", str(run), "--rows", str(rows)]
    process = subprocess.Popen([*JURIST, "label", *command], stderr=subprocess.DEVNULL)
    kept, end = run / "judgments.jsonl", time.monotonic() + 30
    while not (kept.exists() and kept.stat().st_size > 200_000):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = kept.read_bytes().count(b"\n")
    assert 0 < before < 6000
    assert not rows.exists()
    jurist(*command)
    keys = [j.query.key for j in read_judgments(run)]
    assert len(keys) == len(set(keys)) == 6000
    assert [row["case_id"] for row in read(rows)] == [str(i) for i in range(6000)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pairs.jsonl", "rows.jsonl", "run"]


PROMPTS = '{"prompt": "one"}\n{"prompt": "two"}\n'
POLICY = 'engine = "scripted:x"\ntemperature = 0.7\n'


@pytest.mark.parametrize(
    ("rows", "arguments", "words"),
    [
        ('{"prompt": "q", "responses": ["a"]}', [], "case '1' has one response"),
        ('{"prompt": "q"}', [], "no field holds them"),
        ('{"prompt": "q", "responses": ["a", "b", "c"]}', ["--deliberation", "once"], "has 3 responses"),
        ('{"prompt": [{"role": "system", "content": "s"}], "responses": ["a", "b"]}', ["--text"], "--text"),
        ('{"prompt": "q", "responses": ["a", "a"]}', [], "none of 1 cases gave a row"),
        (None, [], "there is no such file"),
        (PROMPTS, ["--sample", "3"], "belong together"),
        (PROMPTS, ["--policy", "POLICY"], "belong together"),
        (PROMPTS, ["--sample", "1", "--policy", "POLICY"], "makes no pair"),
        (PROMPTS, ["--sample", "2", "--policy", "nowhere.toml"], "cannot read nowhere.toml"),
        (PROMPTS, ["--sample", "2", "--policy", "POLICY", "--limit", "0"], "no readable row"),
        (PROMPTS, ["--format", "kto", "--pairs", "all"], "--pairs is about dpo rows"),
        (PROMPTS, ["--marks", "mean"], "--marks is about kto rows"),
        (PROMPTS, ["--format", "kto", "--marks", "mean", "--consistent"], "leave one of them out"),
        (PROMPTS, ["--consistent", "--protocol", "pointwise"], "rates single responses"),
        (PROMPTS, ["--min-margin", "-1"], "--min-margin -1.0"),
        (PROMPTS, ["--min-agreement", "2"], "--min-agreement 2.0"),
        (PROMPTS, ["--rows", "rows.csv"], "let its name end in .jsonl"),
        (PROMPTS, ["--rows", "nowhere/rows.jsonl"], "there is no folder"),
        (PROMPTS, ["--rows", "SOURCE"], "stands in the source"),
        (PROMPTS, ["--rows", "RUN/judgments.jsonl"], "belongs to the run"),
    ],
)
def test_mistakes_are_named_with_the_mend(
    tmp_path: Path, rows: str | None, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    if rows is not None:
        (tmp_path / "source.jsonl").write_text(rows + "\n")
    (tmp_path / "policy.toml").write_text(POLICY)
    names = {"POLICY": "policy.toml", "SOURCE": "source.jsonl", "RUN/judgments.jsonl": "run/judgments.jsonl"}
    with pytest.raises(JuristError, match=words) as raised:
        _called("source.jsonl", *["--rows", "rows.jsonl"] * ("--rows" not in arguments),
                *[names.get(a, a) for a in arguments])  # fmt: skip
    assert raised.value.hint or words.startswith("cannot read")
    assert "judgments.jsonl" not in {p.name for p in tmp_path.iterdir()}


def _called(*arguments: str) -> None:
    """The function that the command line calls, by the parser that it calls it with."""
    from cyclopts import App

    app = App()
    app.default(label)
    app(
        [*arguments, "--out", "run", "--engine", A],
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ('protocol = "rrm"\n', "option in .*policy.toml 'protocol'"),
        ("temperature = 0\n", "at temperature 0"),
        ('engine = "scalar:x"\n', "writes no responses"),
        ('temperature = "warm"\n', "Expected `float"),
    ],
)
def test_a_policy_that_cannot_draw_is_refused(tmp_path: Path, policy: str, words: str):
    source, options = tmp_path / "p.jsonl", tmp_path / "policy.toml"
    source.write_text(PROMPTS)
    options.write_text(policy)
    with pytest.raises(JuristError, match=words):
        label(str(source), out=tmp_path / "run", rows=tmp_path / "r.jsonl", sample=2, policy=options)
    assert not (tmp_path / "run").exists()


def test_skipped_rows_are_listed_and_the_rest_is_labelled(tmp_path: Path):
    source, rows = write_pairs(tmp_path / "pairs.jsonl", 2), tmp_path / "rows.jsonl"
    source.write_text(source.read_text() + '{"prompt": "q", "responses": ["a"]}\n{"prompt": "q"}\n')
    said = jurist(source, "--engine", A, "--deliberation", "given", "--out", tmp_path / "run",
                  "--rows", rows, "--skip-bad")  # fmt: skip
    assert "2 bad rows were left out" in said
    assert len(read(rows)) == 2


# With engines of our own, in this process.


class Late(ScriptedEngine):
    """The judge of test cases: prefers "good"; the first case takes longest."""

    def __init__(self) -> None:
        super().__init__(A_WINS)
        self._inner = prefers("good")

    async def __call__(self, query: Query) -> Completion:
        await asyncio.sleep(0.05 if query.case_id == "0" else 0)
        return await self._inner(query)


Engines = Callable[[ScriptedEngine, ScriptedEngine], None]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    """Put a judge and a policy in place of the engines that the options name."""

    def use(judge: ScriptedEngine, policy: ScriptedEngine) -> None:
        by_name = {"scripted:judge": judge, "scripted:policy": policy}
        monkeypatch.setattr("jurist.judging.registry.engine", lambda config: by_name[config.engine])

    return use


JUDGE = JudgeConfig(engine="scripted:judge", retry_for=0)


def test_rows_stand_in_the_order_of_the_source(tmp_path: Path, engines: Engines):
    engines(Late(), ScriptedEngine(""))
    pairs, rows = write_pairs(tmp_path / "pairs.jsonl", 4), tmp_path / "rows.jsonl"
    label(str(pairs), out=tmp_path / "run", rows=rows, consistent=True, config=JUDGE)
    assert [row["case_id"] for row in read(rows)] == ["0", "1", "2", "3"]
    decisions = [
        json.loads(x)["case_id"] for x in (tmp_path / "run/decisions.jsonl").read_text().splitlines()
    ]
    assert decisions[-1] == "0"
    assert {(r["chosen_index"], r["confidence"], r["agreement"]) for r in read(rows)} == {(0, 1.0, 1.0)}


def test_three_responses_meet_each_other_in_both_orders(tmp_path: Path, engines: Engines):
    engines(judge := prefers("good"), ScriptedEngine(""))
    source, rows = tmp_path / "s.jsonl", tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "q", "responses": ["bad", "good", "worse"]}\n')
    label(str(source), out=tmp_path / "run", rows=rows, pairs="best-rest", consistent=True, config=JUDGE)
    assert len(judge.queries) == 6
    assert [(r["chosen_index"], r["rejected_index"]) for r in read(rows)] == [(1, 0), (1, 2)]


def drawn(query: Query) -> Completion:
    """What the policy says: three different answers to a prompt, the first of them cut, the last empty."""
    assert query.sampling.temperature == 0.7
    assert query.sampling.seed is not None
    if query.sample == 0:
        return Completion("good but cu", finish="length")
    return Completion(("", f"good {query.case_id}", f"bad {query.sample}", " ")[query.sample])


def test_responses_are_drawn_once_and_cut_ones_left_out(tmp_path: Path, engines: Engines):
    engines(prefers("good"), policy := ScriptedEngine(drawn))
    source, rows, run = tmp_path / "p.jsonl", tmp_path / "rows.jsonl", tmp_path / "run"
    source.write_text(PROMPTS + '{"prompt": "three", "chosen": "x", "rejected": "y"}\n')
    (tmp_path / "policy.toml").write_text('engine = "scripted:policy"\ntemperature = 0.7\n')

    def labelled(n: int) -> list[dict[str, Any]]:
        label(str(source), out=run, rows=rows, sample=n, policy=tmp_path / "policy.toml", config=JUDGE)
        return read(rows)

    first = labelled(4)
    assert [r["chosen"][0]["content"] for r in first] == ["good 1", "good 2", "good 3"]
    assert {r["rejected"][0]["content"] for r in first} == {"bad 2"}
    counts = json.loads((run / "labels.json").read_text())
    assert counts["responses"] == {"whole": 6, "cut": 3, "empty": 3}
    seeds = {q.sampling.seed for q in policy.queries}
    assert len(policy.queries) == len(seeds) == 12

    lines = (run / "responses.jsonl").read_bytes().splitlines(keepends=True)
    (run / "responses.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    policy.queries.clear()
    assert labelled(4) == first
    assert len(policy.queries) == 1, "only the torn line is drawn again"
    policy.queries.clear()
    with pytest.raises(InputError, match="none of 3 cases"):
        labelled(2)
    assert not policy.queries
    (tmp_path / "policy.toml").write_text('engine = "scripted:policy"\ntemperature = 0.8\n')
    with pytest.raises(JuristError, match=r"temperature was 0\.7, now 0\.8"):
        labelled(4)


def test_a_response_that_failed_is_drawn_again(tmp_path: Path, engines: Engines):
    broken = ScriptedEngine(lambda q: Completion(finish="error", error="down") if q.sample else "good")
    engines(prefers("good"), broken)
    source, rows = tmp_path / "p.jsonl", tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "one", "reference": "good"}\n')
    policy = tmp_path / "policy.toml"
    policy.write_text('engine = "scripted:policy"\n')

    def go() -> None:
        label(str(source), out=tmp_path / "run", rows=rows, sample=2, policy=policy, config=JUDGE)

    with pytest.raises(InputError, match="none of 1 cases"):
        go()
    counts = json.loads((tmp_path / "run/labels.json").read_text())
    assert counts["responses"] == {"whole": 1, "failed": 1}
    assert counts["dpo"]["left_out"] == {"fewer than two whole responses": 1}
    engines(prefers("good"), mended := ScriptedEngine("bad"))
    go()
    assert [q.sample for q in mended.queries] == [1]
    assert [(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in read(rows)] == [("good", "bad")]


def test_rules_that_mean_nothing_are_refused():
    for wrong in ({"min_margin": -0.1}, {"min_margin": float("nan")}, {"min_agreement": 1.1}):
        with pytest.raises(ConfigError, match="out of range"):
            Rules(**wrong)
