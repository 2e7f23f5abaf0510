"""Judges compared: worked by hand, properties of all comparisons, and published judges on real cases."""

import json
from dataclasses import replace
from operator import gt
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from shared import shared

from jurist.benchmarks.recorded import read_recorded
from jurist.cli.compare import compare as compare_command
from jurist.cli.compare import read_run, run_names
from jurist.cli.runs import import_run
from jurist.core.errors import ConfigError, InputError, StoreError
from jurist.core.statistics import holm, mcnemar, paired_difference
from jurist.core.store import Store
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Status, Usage, Verdict
from jurist.judging.registry import benchmark
from jurist.reports.compact import Compact
from jurist.reports.comparison import ComparedRun, compare
from jurist.reports.views.comparison import comparison_view

SAID = {
    "right": Verdict((1.0, 0.0)),
    "wrong": Verdict((0.0, 1.0)),
    "tie": Verdict((0.5, 0.5)),
    "none": Verdict(status=Status.TRUNCATED),
}
ANSWERS = st.lists(st.sampled_from(list(SAID)), min_size=1, max_size=40)
COLUMNS = st.integers(1, 30).flatmap(
    lambda n: st.lists(st.lists(st.sampled_from(list(SAID)), min_size=n, max_size=n), min_size=2, max_size=4)
)


def decision(case: object, said: str, group: str | None = None, gold: tuple[float, ...] | None = (1.0, 0.0)):
    query = Query(str(case), (0, 1), 0, (), Sampling())
    usage = Usage(10, 20)
    judgment = Judgment(query, Completion("x", usage=usage, seconds=2.0), SAID[said])
    return Decision(str(case), SAID[said], (judgment,), None, gold, group)


def run(name: str, said: list[str], groups: str = "") -> ComparedRun:
    return ComparedRun(name, [decision(i, s, groups[i] if groups else None) for i, s in enumerate(said)])


def test_a_comparison_worked_by_hand():
    base = run("base", ["right", "right", "right", "wrong", "tie", "none"], "aaabbb")
    other = run("other", ["right", "wrong", "right", "right", "right", "tie"], "aaabbb")
    found = compare([base, other])
    first, second = found.judges
    assert (first.right, first.ties, first.unresolved, first.statuses) == (3, 1, 1, {"ok": 5, "truncated": 1})
    assert (second.right, second.accuracy, second.tokens, second.seconds) == (4, 4 / 6, 20, 2)
    d = found.against[0].overall
    assert (d.gained, d.lost, d.value) == (2, 1, 1 / 6)
    assert (d.interval, d.p) == (paired_difference(2, 1, 6), mcnemar(2, 1))
    groups = {g.group: (g.n, g.baseline_right, g.right, g.gained, g.lost) for g in found.against[0].groups}
    assert groups == {"a": (3, 3, 2, 0, 1), "b": (3, 0, 2, 2, 0)}
    assert [(f.case_id, f.gained) for f in found.against[0].flips] == [("1", False), ("3", True), ("4", True)]
    assert "A tie (where gold is none) and an unresolved verdict count as wrong." in found.rule
    assert found.all_pairs == ()


@given(ANSWERS, st.data())
def test_swapping_two_runs_negates_the_difference(said, data):
    others = data.draw(st.lists(st.sampled_from(list(SAID)), min_size=len(said), max_size=len(said)))
    one, other = run("one", said), run("other", others)
    forth, back = compare([one, other]).against[0].overall, compare([other, one]).against[0].overall
    assert back.value == -forth.value
    assert back.interval == pytest.approx((-forth.interval[1], -forth.interval[0]), abs=1e-12)
    assert (back.p, back.gained, back.lost) == (forth.p, forth.lost, forth.gained)


@given(ANSWERS)
def test_a_run_does_not_differ_from_itself(said):
    one = run("one", said)
    found = compare([one, replace(one, name="again")]).against[0]
    assert (found.overall.value, found.overall.p, found.flips) == (0, 1, ())
    assert found.overall.interval[0] < 0 < found.overall.interval[1]


@given(COLUMNS)
def test_groups_add_up_and_all_pairs_are_corrected_together(columns):
    found = compare([run(str(i), said, "abc" * 10) for i, said in enumerate(columns)])
    for against in found.against:
        if against.groups:
            assert (
                sum(g.gained - g.lost for g in against.groups)
                == against.overall.gained - against.overall.lost
            )
            assert sum(g.n for g in against.groups) == found.n
        assert len(against.flips) == against.overall.gained + against.overall.lost
    k = len(columns)
    assert len(found.all_pairs) == (k * (k - 1) // 2 if k > 2 else 0)
    assert [t.holm for t in found.all_pairs] == holm([t.p for t in found.all_pairs])
    assert [t.p for t in found.all_pairs[: k - 1]] == [a.overall.p for a in found.against if k > 2]


def test_only_shared_cases_are_compared():
    one = run("one", ["right"] * 6)
    two = run("two", ["wrong"] * 5)
    one.decisions[0] = decision(0, "right", gold=(0.0, 1.0))
    one.decisions[1], two.decisions[1] = (decision(1, s, gold=None) for s in ("right", "wrong"))
    one, two = replace(one, digests={"2": "a", "3": "b"}), replace(two, digests={"2": "z", "3": "b"})
    found = compare([one, two])
    assert found.n == 2  # cases 3 and 4: 0 has another gold, 1 has none, 2 another hash, 5 is not shared
    text = " ".join(found.left_out)
    for words in ("not in every run: 1 of one", "another case: 2", "without gold that names a response: 1"):
        assert words in text


@pytest.mark.parametrize(
    ("runs", "error", "words"),
    [
        ([run("a", ["right"])], ConfigError, "two or more"),
        ([run("a", ["right"]), run("a", ["right"])], ConfigError, "own name"),
        ([run("a", ["right"]), ComparedRun("b", [decision("x", "right")])], InputError, "not in every run"),
        ([ComparedRun("a", []), ComparedRun("b", [])], InputError, "no decisions"),
    ],
)
def test_what_cannot_be_compared_says_why(runs, error, words):
    with pytest.raises(error, match=words):
        compare(runs)


def test_a_score_that_is_no_share_is_counted_simply():
    # LLMBar gives half a point for one right order of two.
    def halves(name: str) -> ComparedRun:
        judgments = tuple(
            Judgment(Query("0", order, 0, (), Sampling()), Completion("x"), SAID[said])
            for order, said in (((0, 1), "right"), ((1, 0), "wrong"))
        )
        return ComparedRun(
            name, [Decision("0", SAID["tie"], judgments, None, (1.0, 0.0), "natural")], {}, "llmbar"
        )

    found = compare([halves("a"), halves("b")])
    assert found.judges[0].right == 0
    assert "llmbar's own score is no plain share" in found.rule
    named = compare([replace(run("a", ["right"], "x"), benchmark="judgebench"), run("b", ["tie"], "x")])
    assert "judgebench" not in named.rule


def test_names_of_runs_tell_them_apart(tmp_path: Path):
    a, b = tmp_path / "x" / "run", tmp_path / "y" / "run"
    assert run_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert run_names([a, b]) == ["x", "y"]
    assert run_names([a, a]) == ["run", "run (2)"]
    assert run_names([b, tmp_path / "c", b / "run"]) == ["y/run", "c", "y/run/run"]
    assert run_names([b, b / "run"]) == ["run", "run/run"]


def _folder(path: Path, said: list[str], digest: str = "") -> Path:
    with Store(path, {"jurist": "0"}) as store:
        for i, word in enumerate(said):
            found = decision(i, word)
            for judgment in found.judgments:
                store.record(judgment)
            store.decide(found, f"{digest}{i}" if digest else "")
    return path


def test_the_command_reads_folders_and_prints_words_or_json(tmp_path: Path, capsys):
    one = _folder(tmp_path / "one", ["right", "wrong", "tie"], "d")
    two = _folder(tmp_path / "two", ["right", "right", "right"], "d")
    assert compare_command(one, two, flips=1) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "two is right in 2 more of 3 cases than one: it gains 2 and loses 0." in text
    assert "between equals, a split at least as uneven comes up 50% of the time" in text
    assert "response 2, wrong response 1, right" in text
    assert "1 more; --flips 2 lists all" in text
    compare_command(one, two, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["against"][0]["overall"]["gained"] == 2
    assert len(found["against"][0]["flips"]) == 2
    with pytest.raises(InputError, match="another case: 3"):
        compare_command(one, _folder(tmp_path / "three", ["right"] * 3, "e"))
    with pytest.raises(ConfigError, match="two or more"):
        compare_command(one)
    with pytest.raises(ConfigError, match="--flips -1"):
        compare_command(one, two, flips=-1)
    with pytest.raises(StoreError, match="not a run folder"):
        compare_command(one, tmp_path)


OUTPUTS = "dataset=judgebench,response_model=gpt-4o-2024-05-13,judge_name={},judge_model={}.jsonl"
JUDGES = {
    "o1-mini": ("arena_hard", "o1-mini-2024-09-12", 65.71),
    "skywork-27b": ("reward_model", "Skywork_Skywork-Reward-Gemma-2-27B", 64.29),
    "grm-2b": ("reward_model", "Ray2333_GRM-Gemma-2B-rewardmodel-ft", 59.43),
}


def _net(row: dict) -> bool:
    """Whether the net vote of a pair is right, from the raw file alone."""
    flip = {"A>B": "B>A", "B>A": "A>B"}
    given, reverse = (game["decision"] for game in row["judgments"])
    votes = [given, flip.get(reverse)]
    return votes.count(row["label"]) > votes.count(flip[row["label"]])


def test_published_judges_differ_as_their_raw_outputs_do(tmp_path: Path, capsys):
    runs, right = [], []
    for name, (kind, model, score) in JUDGES.items():
        file = shared("judgebench", "outputs", OUTPUTS.format(kind, model))
        import_run("judgebench", str(file), out=tmp_path / name, json=True)
        runs.append(read_run(tmp_path / name, name))
        right.append([_net(msgspec.json.decode(line)) for line in file.read_bytes().splitlines()])
        assert round(100 * sum(right[-1]) / 350, 2) == score
    found = compare(runs)
    assert (found.n, found.rule) == (350, "Each case is right or wrong as judgebench counts it.")
    assert [j.right for j in found.judges] == [sum(r) for r in right] == [230, 225, 208]
    gained, lost = (sum(map(gt, a, b)) for a, b in ((right[1], right[0]), (right[0], right[1])))
    d = found.against[0].overall
    assert (d.gained, d.lost) == (gained, lost) == (55, 60)
    assert d.p == pytest.approx(0.7093227, abs=1e-7)
    assert d.interval == pytest.approx((-0.0746495, 0.0460814), abs=1e-7)
    capsys.readouterr()
    console = Console(width=100, record=True, file=None)
    console.print(comparison_view(found, flips=3))
    lines = console.export_text().splitlines()
    assert any("coding" in line and "−28.6" in line and "0.008" in line for line in lines)
    assert not any(len(line.rstrip()) > 100 for line in lines)


def test_compact_decisions_count_the_same():
    (source,) = shared("judgebench", "outputs").glob("*o1-mini*")
    for name, outputs in (("judgebench", source), ("llmbar", f"{shared('llmbar')}#GPT-4/CoT")):
        decisions = read_recorded(benchmark(name), Path(outputs))
        compact = Compact()
        small = [compact.decision(decision) for decision in decisions]
        assert benchmark(name).score(small) == benchmark(name).score(decisions)
        assert [d.usage for d in small] == [d.usage for d in decisions]
        assert not any(j.completion.text for d in small for j in d.judgments)
        assert len({id(j.query) for d in small for j in d.judgments}) == 2  # one for each order


def test_what_stages_and_calls_said_stays_apart():
    cheap = Query("1", (0, 1), 0, (), Sampling(thinking_budget=0, seed=3), judge="first")
    main = Query("1", (0, 1), 0, (), Sampling(seed=4))
    judgments = (
        Judgment(cheap, Completion("a", seconds=0.5, usage=Usage(3, 1)), Verdict((0.0, 1.0))),
        Judgment(main, Completion("b", error="cut", finish="error"), Verdict(None, Status.FAILED, "cut")),
        Judgment(main, Completion("c"), Verdict((1.0, 0.0)), Completion("A", usage=Usage(2, 1))),
    )
    whole = Decision("1", Verdict((1.0, 0.0)), judgments, gold=(1.0, 0.0), group="g", meta={"unit": 1})
    small = Compact().decision(whole)
    assert [j.usage for j in small.judgments] == [j.usage for j in judgments]
    assert [j.verdict for j in small.final_judgments] == [j.verdict for j in whole.final_judgments]
    assert (small.judgments[0].completion.seconds, small.judgments[1].completion.error) == (0.5, "cut")
    assert (small.gold, small.group, small.meta, small.right) == ((1.0, 0.0), "g", {"unit": 1}, True)
