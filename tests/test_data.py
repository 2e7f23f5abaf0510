"""Training sets: what is filtered and why, pairs by final answers, splits, mixtures, released sets."""

import json
import os
import sys
import time
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make import case, write_pairs
from shared import shared

from jurist.cli.data import data as app
from jurist.core.answers import last_number
from jurist.core.errors import ConfigError, InputError, JuristError, MissingExtraError
from jurist.core.types import Case, Decision, Judgment, Message, Query, Sampling, Status, Verdict
from jurist.core.types import Completion as Said
from jurist.data.dedup import Seen
from jurist.data.difficulty import difficulty, range_of
from jurist.data.filters import Filters, fit, pairs_of
from jurist.data.math_verify import MathVerify, installed
from jurist.data.mixture import drawn, sizes
from jurist.data.report import SourceCounts
from jurist.data.rm_r1_release import released
from jurist.data.rows import Writer, read, renamed, row_of
from jurist.data.splits import part_of, parts_of
from jurist.data.verifiable import same_plainly, stated, verified
from jurist.inputs import load_cases
from jurist.inputs.rows import case_of
from jurist.protocols.rm_r1 import rm_r1

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
PROMPT = TEXT.filter(lambda t: bool(t.strip()))
TURNS = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), PROMPT), min_size=1)
CASES = st.builds(
    Case,
    id=PROMPT,
    prompt=TURNS.map(tuple),
    responses=st.tuples(TEXT | TURNS.map(tuple), TEXT),
    gold=st.sampled_from([None, (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (3.0, 4.5)]),
    group=st.none() | TEXT,
    meta=st.dictionaries(TEXT, st.integers(0, 9) | TEXT, max_size=2),
)


def data(*arguments: object) -> None:
    """Run `jurist data ...` in this process."""
    words = [str(argument) for argument in arguments]
    assert app(words, exit_on_error=False, print_error=False, result_action="return_value") == 0


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def report_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".report.json").read_text())


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def numbered(n: int, name: str = "w") -> str:
    return " ".join(f"{name}{i}" for i in range(n))


# Rows


@given(CASES)
def test_a_row_that_was_written_is_the_case_again(one: Case):
    row = json.loads(json.dumps(row_of(one)))
    assert case_of(row, "other") == one


def test_taken_ids_get_a_number_and_a_failure_leaves_no_file(tmp_path: Path):
    with Writer(tmp_path / "a.jsonl") as writer:
        for name in ("x", "x", "x~2", "x"):
            writer.write(case(name))
    assert [c.id for c in load_cases(tmp_path / "a.jsonl")] == ["x", "x~2", "x~2~2", "x~3"]
    before = (tmp_path / "a.jsonl").read_bytes()
    with pytest.raises(AttributeError), Writer(tmp_path / "a.jsonl") as writer:
        writer.write(None)  # pyright: ignore[reportArgumentType]
    assert (tmp_path / "a.jsonl").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_fields_are_taken_from_others_and_joined():
    fields = {"prompt": "q", "steps": "1. ", "good": "yes", "bad": "no"}
    row = renamed(fields, {"chosen": ["steps", "good"], "rejected": ["steps", "bad"]})
    assert row == {"prompt": "q", "chosen": "1. yes", "rejected": "1. no"}
    with pytest.raises(InputError, match="worse: is missing; fields of the row"):
        renamed(fields, {"rejected": ["worse"]})
    with pytest.raises(InputError, match=r"only texts can be joined, saw \[1\]"):
        renamed({"a": [1], "b": "x"}, {"chosen": ["a", "b"]})


# Filters

BAD = (
    ({"prompt": "q", "response": "alone"}, "one response"),
    ({"prompt": "q", "responses": ["a", "b"]}, "no gold"),
    ({"prompt": "q", "responses": ["a", "b"], "gold": [0.5, 0.5]}, "tie"),
    (pair("q", "a", " \n"), "empty response"),
    (pair("q", "a\n", "a"), "equal responses"),
    (pair("q", "x" * 500, "y"), "too long"),
    (pair("q", "c", "d", source="magpie_ultra"), "source is magpie_ultra"),
    (pair("first", "good", " bad"), "duplicate"),
    (pair("first", "bad", "good"), "contradiction"),
    (pair(numbered(60) + " more", numbered(70, "g"), "short"), "near duplicate"),
)


def test_each_bad_row_is_left_out_for_its_reason_and_counted(tmp_path: Path):
    good = [pair("first", "good", "bad"), pair(numbered(60), numbered(70, "g"), "Short!", source="magpie")]
    source = written(tmp_path / "raw.jsonl", *good, *(row for row, _ in BAD))
    out = tmp_path / "pairs.jsonl"
    data("pairs", source, "--out", out, "--longest", 450 + 600, "--drop", "source=magpie_ultra")
    assert report_of(out)["sources"][0]["dropped"] == {
        reason: 1 for _, reason in BAD if reason != "too long"
    }  # 1,050 characters are enough for all; 500 are too many below
    kept = rows_of(out)
    assert [r["id"] for r in kept[:2]] == ["raw/1", "raw/2"]
    assert kept[1]["meta"] == {"from": "raw", "source": "magpie"}
    data("pairs", source, "--out", out, "--longest", 450, "--drop", "source=magpie_ultra", "--unique", "none")
    counts = report_of(out)["sources"][0]
    assert counts["dropped"]["too long"] == 3
    assert counts["read"] == counts["written"] + sum(counts["dropped"].values())


@settings(max_examples=40)  # each has a table of 128 MiB of its own
@given(st.lists(CASES, max_size=12), st.sampled_from(["near", "exact", "prompt"]))
def test_what_was_filtered_once_passes_again_untouched(cases: list[Case], unique: Any):
    def kept(given: list[Case]) -> list[Case]:
        tally = SourceCounts("name")
        found = list(fit(iter(given), Filters(longest=60, seen=Seen(unique)), tally))
        assert tally.read == tally.written + sum(tally.dropped.values())
        return found

    once = kept(cases)
    assert kept(once) == once


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (pair(numbered(50), numbered(40, "a"), numbered(40, "b")), "duplicate"),
        (pair(numbered(50).upper(), numbered(40, "a") + ".", numbered(40, "b")), "near duplicate"),
        (pair(numbered(50), numbered(40, "b") + ".", numbered(40, "a")), "near duplicate"),  # turned round
        (pair(numbered(54), numbered(42, "a"), numbered(40, "b")), "near duplicate"),  # 46 of 50, 36 of 38
        (pair(numbered(60), numbered(40, "a"), numbered(40, "b")), None),  # 46 of 56
        (pair(numbered(50), numbered(40, "a"), numbered(40, "c")), None),  # another worse response
        (pair(numbered(50, "p"), numbered(40, "a"), numbered(40, "b")), None),  # another prompt
    ],
)
def test_a_pair_is_near_where_its_prompt_and_each_response_are(row: dict[str, Any], reason: str | None):
    # 46 of 56 sequences are 0.821, so 60 words are near at 0.8 and not at 0.83.
    seen = Seen("near", 0.83)
    first = case_of(pair(numbered(50), numbered(40, "a"), numbered(40, "b")), "1")
    assert seen.again(first) is None
    assert seen.again(case_of(row, "2")) == reason


def test_near_rows_are_found_among_many_that_share_boilerplate():
    seen, frame = Seen("near"), numbered(30, "please")
    rows = [
        (f"{frame} {numbered(60, f'p{i}x')}", numbered(80, f"g{i}x"), numbered(80, f"b{i}x"))
        for i in range(300)
    ]
    assert all(seen.again(case_of(pair(*row), "1")) is None for row in rows)
    changed = [(p.replace("x30", "y"), g.replace("x40", "y"), b) for p, g, b in rows]
    assert Counter(seen.again(case_of(pair(*row), "1")) for row in changed) == {"near duplicate": 300}


def test_prompts_come_once_on_request(tmp_path: Path):
    rows = [pair("one prompt", f"good {i}", f"bad {i}") for i in range(3)] + [pair("other", "good", "bad")]
    source, out = written(tmp_path / "raw.jsonl", *rows), tmp_path / "out.jsonl"
    data("pairs", source, "--out", out, "--unique", "prompt")
    assert [r["id"] for r in rows_of(out)] == ["raw/1", "raw/4"]
    data("pairs", source, "--out", out)
    assert len(rows_of(out)) == 4


def test_duplicates_across_sources_and_overlaps_are_left_out(tmp_path: Path):
    shared_row, leaked = pair("a prompt", "good", "bad"), pair("what is the leaked question", "good", "bad")
    one = written(tmp_path / "one.jsonl", shared_row, pair("p", "g", "b"))
    two = written(tmp_path / "two.jsonl", leaked, shared_row)
    bench, out = (
        written(tmp_path / "bench.jsonl", pair("What is the leaked question?", "x", "y")),
        tmp_path / "o.jsonl",
    )
    data("pairs", one, f"second={two}", "--out", out, "--against", bench)
    report = report_of(out)
    name = f"{tmp_path.name}/bench.jsonl"
    assert [s["dropped"] for s in report["sources"]] == [{}, {f"overlaps {name}": 1, "duplicate": 1}]
    assert [s["name"] for s in report["sources"]] == ["one", "second"]
    assert report["benchmarks"][name][0] == 1


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.integers(0, 99))
def test_many_responses_become_pairs_with_different_gold(gold: list[int], seed: int):
    many = case("1", *map(str, gold), gold=tuple(map(float, gold)))
    if len(set(gold)) == 1:
        return
    (one,) = pairs_of(many, "one", seed)
    everything = list(pairs_of(many, "all", seed))
    assert len({p.id for p in everything}) == len(everything)
    differ = sum(a != b for i, a in enumerate(gold) for b in gold[i + 1 :])
    assert len(everything) == differ
    for p in [one, *everything]:
        assert p.gold is not None
        assert [float(str(r)) for r in p.responses] == list(p.gold)
    assert max(one.gold or ()) == max(gold)


def test_a_column_called_from_does_not_mean_prepared(tmp_path: Path):
    source, out = written(tmp_path / "a.jsonl", pair("q", "g", "b", **{"from": "gsm"})), tmp_path / "o.jsonl"
    for again in (source, out):
        data("pairs", f"new={again}", "--out", tmp_path / "next.jsonl")
        (tmp_path / "next.jsonl").replace(out)
        assert [(r["id"], r["meta"]) for r in rows_of(out)] == [("new/1", {"from": "new"})]


def test_tokens_are_counted_where_a_tokenizer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def load(name: str) -> Any:
        assert name == "some/tokenizer"
        return lambda text, **_: {"input_ids": text.split()}

    source = written(tmp_path / "a.jsonl", pair("two words", "one", "two more"), pair("q", numbered(9), "b"))
    arguments = [
        "pairs",
        source,
        "--out",
        tmp_path / "o.jsonl",
        "--longest",
        5,
        "--tokenizer",
        "some/tokenizer",
    ]
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match="counting tokens needs the package 'transformers'"):
        data(*arguments)
    monkeypatch.setitem(
        sys.modules, "transformers", SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=load))
    )
    data(*arguments)
    assert report_of(tmp_path / "o.jsonl")["sources"][0]["dropped"] == {"too long": 1}


def test_hh_rlhf_gives_2308_pairs_twice(tmp_path: Path):
    source, out, again = shared("hh-rlhf", "harmless-base"), tmp_path / "hh.jsonl", tmp_path / "again.jsonl"
    llmbar = shared("llmbar")
    data("pairs", f"hh={source}", "--out", out, "--against", "llmbar", "--data", llmbar)
    counts = report_of(out)["sources"][0]
    assert (counts["read"], counts["written"], counts["dropped"]) == (2312, 2308, {"empty response": 4})
    data("pairs", out, "--out", again)
    assert again.read_bytes() == out.read_bytes()
    data("pairs", f"hh={source}", "--out", out, "--unique", "prompt")
    assert report_of(out)["sources"][0]["dropped"] == {"same prompt": 9, "empty response": 4}
    assert Counter(c.gold for c in load_cases(again)) == {(1.0, 0.0): 2308}


# Pairs by final answers


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [
        ("18", "18", True),
        ("18", "19", False),
        ("0.5", "1/2", True),
        ("1/3", "0.333", False),
        ("1/0", "1", None),
        ("B", "(b)", True),
        ("B", "C.", False),
        ("x", "3", None),
        ("x+1", "1+x", None),
        (r"\frac{1}{2}", "0.5", None),
        ("1e999999999", "1", None),
    ],
)
def test_incomparable_answers_are_neither_right_nor_wrong(reference: str, answer: str, same: bool | None):
    assert same_plainly(reference, answer) is same
    assert same_plainly(answer, reference) is same


@pytest.mark.parametrize(
    ("text", "answer"), [("so 9\n#### 1,018", "1018"), ("$7.50", "7.5"), (" x + 1 ", "x + 1")]
)
def test_a_reference_is_its_marked_answer_or_itself(text: str, answer: str):
    assert stated(text) == answer


def test_a_response_that_mentions_a_thinking_mark_is_kept_whole():
    said = "It closes its <think> block, then says:\n#### 4"
    question = Case("q", (Message("user", "2+2?"),), (said, "#### 5"), reference="4")
    (made,) = verified(question, same_plainly, "one", 0, Counter())
    assert said in made.responses


def test_pairs_have_comparable_responses_without_thoughts():
    responses = (
        "<think>it is #### 5</think>\nIt is four.\n#### 4",
        "#### 5",
        "I do not know.",
        "<think>cut off #### 4",
        "#### 5 ",
    )
    counts: Counter[str] = Counter()
    question = Case("q", (Message("user", "2+2?"),), responses, reference="4")
    (made,) = verified(question, same_plainly, "one", 0, counts)
    assert set(zip(made.responses, made.gold or (), strict=True)) == {
        ("It is four.\n#### 4", 1.0),
        ("#### 5", 0.0),
    }
    assert (made.reference, made.meta) == (None, {"answer": "4", "right": 1, "wrong": 1})
    assert counts == {
        "responses right": 1,
        "responses wrong": 1,
        "responses without a comparable answer": 2,
        "questions with both": 1,
    }


GSM8K = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def test_gsm8k_has_731_questions_with_right_and_wrong_solutions(tmp_path: Path):
    published = rows_of(shared("gsm8k", "example_model_solutions.jsonl"))
    rows = [{**row, "responses": [row[n]["solution"] for n in GSM8K]} for row in published]
    keep = ("question", "ground_truth", "responses")
    source = written(tmp_path / "gsm8k.jsonl", *({k: row[k] for k in keep} for row in rows))
    out = tmp_path / "pairs.jsonl"
    data("verifiable", source, "--out", out, "--math", "off")
    assert report_of(out)["counts"] == {
        "questions with both": 731,
        "questions with only right responses": 156,
        "questions with only wrong responses": 432,
        "responses right": 1994,
        "responses without a comparable answer": 13,
        "responses wrong": 3261,
    }
    flags = {row[n]["solution"].strip(): row[n]["is_correct"] for row in published for n in GSM8K}
    made = list(load_cases(out))
    assert len(made) == 731
    assert all(flags[str(r)] == bool(g) for c in made for r, g in zip(c.responses, c.gold or (), strict=True))
    first = sum(c.gold == (1.0, 0.0) for c in made)
    assert 320 < first < 411  # the right one stands first or second by seed
    data("verifiable", source, "--out", out, "--math", "off", "--choose", "all")
    mixed = [Counter(row[n]["is_correct"] for n in GSM8K) for row in published]
    assert (
        0 <= sum(c[True] * c[False] for c in mixed) - len(rows_of(out)) < 60
    )  # less those that are equal or cut


def test_a_question_without_a_reference_is_named(tmp_path: Path):
    source = written(tmp_path / "q.jsonl", {"question": "q", "responses": ["a", "b"]})
    with pytest.raises(InputError, match=r"q\.jsonl:1: reference: is missing"):
        data("verifiable", source, "--out", tmp_path / "o.jsonl")


def _odd_server(pipe: Connection) -> None:
    """Answers, hangs or dies, as the answer says."""
    pipe.send("ready")
    while True:
        _, answer = pipe.recv()
        if answer == "hang":
            time.sleep(60)
        if answer == "die":
            os._exit(1)
        pipe.send(answer == "same")


def test_a_hanging_comparison_is_undecided_and_the_next_works():
    with MathVerify(0.5, _odd_server) as prove:
        assert [prove("x", a) for a in ("same", "hang", "other", "die", "same")] == [
            True,
            None,
            False,
            None,
            True,
        ]


def test_math_verify_decides_what_plain_texts_cannot():
    if not installed():
        pytest.skip("needs math-verify (extra math)")
    with MathVerify() as prove:
        assert prove(r"\frac{1}{2}", "0.5") is True
        assert prove("x+1", "1+x") is True
        assert prove("x+1", "x+2") is False
    with MathVerify(1.0) as prove:
        assert prove("9^{9^{9^{9}}}", "3") is None
        assert prove(r"3\sqrt{2}", r"\sqrt{18}") is True


# Splits

PARTS = parts_of("distill=0.12,rl=0.86,heldout=0.02")


@given(st.lists(PROMPT, min_size=1, max_size=30), st.integers(0, 3))
def test_a_part_follows_from_the_prompt_and_the_seed_alone(prompts: list[str], seed: int):
    for text in prompts:
        one = Case("1", (Message("user", text),), ("a", "b"), (1.0, 0.0))
        other = Case("2", (Message("user", text),), ("c",), meta={"x": 1})
        assert part_of(one, PARTS, seed) == part_of(other, PARTS, seed)
        assert part_of(one, PARTS, seed) in PARTS


def test_a_split_is_disjoint_complete_repeatable_and_in_shares(tmp_path: Path):
    rows = [pair(f"question {i // 2}" + "?" * (i % 2), f"good {i}", "bad") for i in range(4000)]
    source = written(tmp_path / "all.jsonl", *rows)
    found: dict[int, dict[str, bytes]] = {}
    for seed, folder in ((0, "a"), (0, "b"), (1, "c")):
        out = tmp_path / folder
        data("split", source, "--parts", "distill=0.12,rl=0.86,heldout=0.02", "--out", out, "--seed", seed)
        files = {name: (out / f"{name}.jsonl").read_bytes() for name in PARTS}
        assert found.setdefault(seed, files) == files
    assert found[0] != found[1]
    prompts = [{r["prompt"].rstrip("?") for r in map(json.loads, x.splitlines())} for x in found[0].values()]
    assert len(set.union(*prompts)) == sum(map(len, prompts)) == 2000
    ids = [json.loads(line)["id"] for x in found[0].values() for line in x.splitlines()]
    assert sorted(map(int, ids)) == list(range(1, 4001))
    assert abs(len(prompts[0]) - 240) < 4 * (2000 * 0.12 * 0.88) ** 0.5


@pytest.mark.parametrize("text", ["a=0.5", "a=0.5,b=0.6", "a=0.5,a=0.5", "a=1,b=0", "a=x", "a b=1", ""])
def test_parts_that_do_not_make_one_are_refused(text: str):
    with pytest.raises(ConfigError, match="--parts"):
        parts_of(text)


# Mixtures

WEIGHTS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1, max_size=4)


@given(WEIGHTS, st.booleans(), st.integers(0, 200))
def test_counts_of_a_mixture_follow_the_weights(files: list[tuple[int, int]], repeat: bool, extra: int):
    rows, weights = [n for n, _ in files], [Fraction(w) for _, w in files]
    counts = sizes(rows, weights, None, repeat=repeat)
    total = sum(counts)
    assert all(abs(c - total * w / sum(weights)) < 1 for c, w in zip(counts, weights, strict=True))
    if repeat:
        assert all(c >= n for c, n in zip(counts, rows, strict=True))
        assert sum(sizes(rows, weights, total + extra, repeat=True)) == total + extra
    else:
        assert all(c <= n for c, n in zip(counts, rows, strict=True))
        with pytest.raises(ConfigError, match="suffice"):
            sizes(rows, weights, total + 1 + extra, repeat=False)


@given(st.integers(1, 40), st.integers(0, 130), st.integers(0, 9))
def test_rows_come_again_only_after_all_others(rows: int, count: int, seed: int):
    times = Counter(drawn(rows, count, seed))
    assert sum(times.values()) == count
    assert all(count // rows <= times[i] <= -(-count // rows) for i in range(rows))


def test_a_mixture_is_shuffled_weighted_and_repeatable(tmp_path: Path):
    a, b = (written(tmp_path / f"{n}.jsonl", *(pair(f"{n} {i}", "g", "b") for i in range(60))) for n in "ab")
    outs = [tmp_path / f"m{i}.jsonl" for i in range(3)]
    for out, seed in zip(outs, (0, 0, 1), strict=True):
        data("mix", f"{a}=5", f"{b}=1", "--out", out, "--seed", seed, "--order", "random")
    assert outs[0].read_bytes() == outs[1].read_bytes() != outs[2].read_bytes()
    mixed = list(load_cases(outs[0]))
    assert Counter(c.meta["from"] for c in mixed) == {"a": 60, "b": 12}
    assert [c.meta["from"] for c in mixed] != sorted(c.meta["from"] for c in mixed)
    assert 15 < sum(c.meta["order"] == [0, 1] for c in mixed) < 57
    data("mix", f"{a}=1", f"{b}=1/2", "--repeat", "--rows", 150, "--out", outs[0], "--order", "both")
    both = list(load_cases(outs[0]))
    assert Counter((c.meta["from"], tuple(c.meta["order"])) for c in both) == {
        (name, order): n for name, n in (("a", 100), ("b", 50)) for order in ((0, 1), (1, 0))
    }


def test_a_mixture_names_what_is_wrong(tmp_path: Path):
    a = written(tmp_path / "a.jsonl", pair("p", "g", "b"), {"prompt": "no responses"})
    out = tmp_path / "o.jsonl"
    for arguments, said in (
        ([f"{a}=0"], "no FILE=WEIGHT"),
        ([a], "no FILE=WEIGHT"),
        ([f"{a}=1", "--rows", 3], "suffice for 2"),
        ([f"{a}=1"], r"a\.jsonl: row 2: responses"),
        ([f"{a}=1", f"{a}=2"], "two sources are called 'a'"),
    ):
        with pytest.raises(JuristError, match=said):
            data("mix", *arguments, "--out", out)
    assert not out.exists()
    with pytest.raises(ConfigError, match="is a source itself"):
        data("mix", f"{a}=1", "--out", a)


# Difficulty


def test_the_pass_rate_leaves_failed_calls_out():
    def judged(verdict: Verdict, sample: int) -> Judgment:
        query = Query("1", (0, 1), sample, (), Sampling())
        return Judgment(query, Said(), verdict)

    verdicts = [
        Verdict((1.0, 0.0)),
        Verdict((0.0, 1.0)),
        Verdict(status=Status.TRUNCATED),
        Verdict((0.5, 0.5)),
    ]
    verdicts.append(Verdict(status=Status.FAILED))
    judgments = tuple(judged(v, i) for i, v in enumerate(verdicts))
    found = difficulty(Decision("1", Verdict(), judgments, gold=(1.0, 0.0)))
    assert (found.samples, found.right, found.unresolved, found.rate) == (4, 1, 1, 0.25)
    assert difficulty(Decision("1", Verdict(), judgments[-1:], gold=(1.0, 0.0))).rate is None
    assert range_of("0.1..0.9") == (0.1, 0.9)
    for text in ("0.9..0.1", "0.5", "a..b", "0..2"):
        with pytest.raises(ConfigError, match="no range"):
            range_of(text)


def test_difficulty_is_measured_once_and_decides_what_is_kept(tmp_path: Path):
    source, out = write_pairs(tmp_path / "pairs.jsonl", 5), tmp_path / "rated.jsonl"
    arguments = ["difficulty", source, "--out", out, "--k", 4, "--engine", "scripted:<answer>[[A]]</answer>"]
    data(*arguments)  # A wins, and each response is A half the time
    assert [r["meta"]["difficulty"] for r in rows_of(out)] == [
        {"samples": 4, "right": 2, "unresolved": 0, "rate": 0.5}
    ] * 5
    judgments = tmp_path / "rated.jsonl.run" / "judgments.jsonl"
    before = judgments.read_bytes()
    data(*arguments, "--keep", "0.1..0.9")
    assert judgments.read_bytes() == before
    with pytest.raises(InputError, match=r"no pair has a pass rate in 0\.6\.\.1"):
        data(*arguments, "--keep", "0.6..1")
    ties = written(tmp_path / "ties.jsonl", {"prompt": "q", "responses": ["a", "b"]})
    with pytest.raises(InputError, match="no pair with a better response"):
        data("difficulty", ties, "--out", out, "--engine", "scripted:x", "--run", tmp_path / "other")


# RM-R1's released sets

STRINGS = {
    "instruct_system": "judge",
    "instruct_user": "[Client Question]\n{question}\n\n[The Start of Chatbot A's Response]\n{answer_a}\n"
    "[The End of Chatbot A's Response]\n\n[The Start of Chatbot B's Response]\n{answer_b}\n"
    "[The End of Chatbot B's Response]",
    "instruct_user_multi_turn": "[The Start of the Conversation between Chatbot A and the Client]\n"
    "{conversation_1}\n[The End of the Conversation between Chatbot A and the Client]\n\n"
    "[The Start of the Conversation between Chatbot B and the Client]\n{conversation_2}\n"
    "[The End of the Conversation between Chatbot B and the Client]",
}
STRINGS["reasoning_user"] = f"judge \n\n{STRINGS['instruct_user']}\n\nend"
STRINGS["reasoning_user_multi_turn"] = f"judge \n\n{STRINGS['instruct_user_multi_turn']}\n\nend"
FAMILIES = ("instruct", "reasoning")
PLAIN = TEXT.filter(lambda t: not any(mark in t for mark in ("[", ":", "\r", "\x85", "\u2028", "\u2029")))


def rendered(one: Case, family: Any, strings: dict[str, str] = STRINGS, **columns: str) -> dict[str, Any]:
    turns = rm_r1(strings, family).render(one)
    return {"context_messages": [{"role": m.role, "content": m.content} for m in turns], **columns}


def talk(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


@given(PLAIN.filter(str.strip), PLAIN, PLAIN, st.sampled_from(FAMILIES))
def test_a_released_question_is_the_case_that_was_rendered(question: str, a: str, b: str, family: Any):
    one = Case("1", (Message("user", question),), (a, b), (0.0, 1.0))
    found = released(rendered(one, family, winner="model_b"), "1")
    assert (found.case.prompt, found.case.responses, found.case.gold) == (one.prompt, (a, b), (0.0, 1.0))
    assert (found.leak, found.case.meta) == (False, {"layout": f"{family}, question", "order": [0, 1]})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("gold", "winner"), [((1.0, 0.0), "model_a"), ((0.0, 1.0), "model_b")])
def test_the_label_leak_is_found_and_mended(family: Any, gold: tuple[float, float], winner: str):
    longer = (Message("assistant", "so"), *talk("what", "no"))
    one = Case("1", talk("hello", "hi\n\nthere", "why?"), ("because", longer), gold)
    row = rendered(one, family, winner=winner)
    row["context_messages"][-1]["content"] = row["context_messages"][-1]["content"].replace(
        "\nChatbot B: ", "\nChabot B: " if winner == "model_a" else "\nChatbot B: "
    )
    found = released(row, "1")
    assert (found.case.prompt, found.case.responses, found.case.gold) == (one.prompt, one.responses, gold)
    assert found.leak == (winner == "model_a")
    assert found.case.meta["layout"] == f"{family}, conversations"


def test_the_published_prompts_are_taken_apart():
    strings = json.loads(shared("protocols", "rm-r1.json").read_text())["strings"]
    for family in FAMILIES:
        for prompt in (talk("q"), talk("q", "a", "r")):
            one = Case("1", prompt, ("good", "bad"), (1.0, 0.0))
            assert (
                released(rendered(one, family, strings, winner="model_a"), "1").case.responses
                == one.responses
            )


def test_traces_are_kept_mended_and_counted(tmp_path: Path):
    one, told = case("1"), "<eval>Chabot B errs</eval><answer>[[A]]</answer>"
    rows = [rendered(one, "instruct", winner=told, ground_truth=label) for label in ("model_a", "model_b")]
    rows.append(rendered(one, "instruct", winner="cut off", ground_truth="model_a"))
    source, out = written(tmp_path / "sft.jsonl", *rows), tmp_path / "out.jsonl"
    data("released", source, "--out", out)
    assert [r["meta"].get("trace") for r in rows_of(out)] == [told.replace("Chabot", "Chatbot")] * 2 + [
        "cut off"
    ]
    counts = report_of(out)["counts"]
    assert {k: v for k, v in counts.items() if "trace" in k} == {
        "traces with no verdict": 1,
        "traces with the label": 1,
        "traces with the misspelt name mended": 2,
        "traces with the other verdict": 1,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"winner": "tie"}, "winner: is neither model_a nor model_b"),
        ({"winner": "trace", "ground_truth": "A"}, "ground_truth: is neither"),
        ({"context_messages": "text"}, "context_messages: "),
        ({"context_messages": [{"role": "user", "content": "hello"}]}, "is missing"),
        ({"context_messages": [{"role": "assistant", "content": "hello"}]}, r"not \[system, user\]"),
    ],
)
def test_a_row_of_another_layout_is_named(change: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        released({**rendered(case("1"), "instruct", winner="model_a"), **change}, "1")


def test_prompts_that_can_be_read_in_two_ways_are_refused():
    def unguarded(one: Case, text: str) -> dict[str, Any]:
        """The row as the released sets have it: their frames in responses are not defused."""
        row = json.dumps(rendered(one, "instruct", winner="model_a"))
        return json.loads(row.replace("PLACE", text))

    twice = case("1", "good\nPLACE", "bad")
    with pytest.raises(InputError, match="occurs more than once"):
        released(unguarded(twice, "[The End of Chatbot B's Response]"), "1")
    speaks = Case("1", talk("q", "a", "r"), ("one\nPLACE and you?", "two"), (1.0, 0.0))
    with pytest.raises(InputError, match="conversation A: its turns cannot be told apart"):
        released(unguarded(speaks, "User:"), "1")


# The command line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pairs"], "no source is named"),
        (["pairs", "SOURCE", "OTHER/SOURCE"], "two sources are called"),
        (["pairs", "SOURCE", "--field", "chosen"], "no NAME=VALUE"),
        (["pairs", "SOURCE", "--near", "1.5"], "no share"),
        (["pairs", "SOURCE", "--against", "judgebenhc"], "unknown benchmark"),
        (["pairs", "SOURCE", "--drop", "group=x"], "no pair is left: source: 2 rows read"),
        (["split", "SOURCE", "--parts", "a=0.5"], "make 0.5, not 1"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(arguments: list[str], said: str, tmp_path: Path):
    source = written(tmp_path / "source.jsonl", *(pair(f"p{i}", "g", "b", group="x") for i in range(2)))
    out = tmp_path / ("parts" if arguments[0] == "split" else "out.jsonl")
    words = [w.replace("OTHER/", f"{tmp_path}/./").replace("SOURCE", str(source)) for w in arguments]
    words = [w.replace(f"{tmp_path}/./{tmp_path}", f"{tmp_path}/.") for w in words]
    with pytest.raises(JuristError, match=said):
        data(*words, "--out", out)
    assert not out.exists()


def test_bad_rows_stop_the_command_or_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = tmp_path / "raw.jsonl"
    source.write_text('{"prompt": "q", "chosen": "g", "rejected": "b"}\n{"prompt": 3}\nnot json\n')
    out = tmp_path / "o.jsonl"
    with pytest.raises(InputError, match=r"raw\.jsonl:2: "):
        data("pairs", source, "--out", out)
    data("pairs", source, "--out", out, "--skip-bad")
    said = capsys.readouterr().err
    assert "2 bad rows were left out" in said
    assert "raw.jsonl:3: not JSON" in " ".join(said.split())
    assert report_of(out)["sources"][0]["unread"] == 2
    assert all(a.id < b.id for a, b in pairwise(read(str(out))))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("27 + 82 = 109.", "109"),
        ("It is 1,250.50 dollars, not 7", "7"),
        ("so \\boxed{12} of the 40", "12"),
        ("#### 5\nchecked 3 times", "5"),
        ("27 + 82 = \N{MINUS SIGN}3", "-3"),
        ("version v2.5 has none 3x", "3"),
        ("no number", None),
    ],
)
def test_the_last_number_answers_where_nothing_is_marked(text, answer):
    assert last_number(text) == answer


def test_short_answers_become_pairs_by_their_last_number(tmp_path):
    source = tmp_path / "sums.jsonl"
    source.write_text('{"question": "2 + 3?", "reference": "5", "responses": ["2 + 3 = 5.", "2 + 3 = 6."]}\n')
    with pytest.raises(JuristError, match="no question has"):
        data("verifiable", source, "--out", tmp_path / "none.jsonl")
    data("verifiable", source, "--out", tmp_path / "pairs.jsonl", "--answer", "last-number")
    (pair,) = read(str(tmp_path / "pairs.jsonl"))
    assert pair.responses[pair.gold.index(1.0)] == "2 + 3 = 5."


def test_rows_in_the_format_of_trl(tmp_path: Path):
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "?"},
    ]
    source = written(
        tmp_path / "raw.jsonl",
        {"id": "a", "prompt": "Name a prime.", "responses": ["8", "7"], "gold": 1, "n": 1},
        {"id": "b", "prompt": talk, "chosen": "yes", "rejected": "no", "n": "x"},
    )  # fmt: skip
    out, mixture = tmp_path / "out.jsonl", tmp_path / "mix.jsonl"
    data("pairs", source, "--out", out, "--format", "trl")
    first, second = rows_of(out)
    assert first == {
        "id": "raw/a", "source": "raw",
        "prompt": [{"role": "user", "content": "Name a prime."}],
        "chosen": [{"role": "assistant", "content": "7"}],
        "rejected": [{"role": "assistant", "content": "8"}],
    }  # fmt: skip
    assert second["prompt"] == talk
    (again, _) = load_cases(out)
    assert (again.responses, again.gold) == (("7", "8"), (1.0, 0.0))
    data("mix", f"{out}=1", "--out", mixture, "--format", "trl")
    assert sorted(r["chosen"][0]["content"] for r in rows_of(mixture)) == ["7", "yes"]
    tie = Case("t", (Message("user", "Q"),), ("a", "b"), gold=(0.5, 0.5))
    with (
        pytest.raises(InputError, match="no pair with a better"),
        Writer(tmp_path / "t.jsonl", "trl") as writer,
    ):
        writer.write(tie)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Reward", "DPO"])
def test_trainers_of_trl_read_the_rows(tmp_path: Path, method: str):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    from datasets import load_dataset
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
    from transformers import PreTrainedTokenizerFast as FastTokenizer

    raw = written(
        tmp_path / "raw.jsonl", *(pair(f"q{i}", f"good {i}", f"bad {i}", **{"n": i}) for i in range(4))
    )
    data("pairs", raw, "--out", tmp_path / "pairs.jsonl", "--format", "trl")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    splitting = Tokenizer(models.BPE({c: i for i, c in enumerate(["<pad>", "<eos>", *letters])}, []))
    splitting.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    splitting.decoder = decoders.ByteLevel()
    tokenizer = FastTokenizer(tokenizer_object=splitting, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}<eos>{% endfor %}"
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, num_labels=1, **sizes)
    model = (LlamaForSequenceClassification if method == "Reward" else LlamaForCausalLM)(config)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    dataset = load_dataset(
        "json", data_files=str(tmp_path / "pairs.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    arguments = getattr(trl, f"{method}Config")(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to="none",
    )
    trainer = getattr(trl, f"{method}Trainer")(
        model=str(tmp_path / "model"), args=arguments, train_dataset=dataset, processing_class=tokenizer
    )
    assert trainer.train().training_loss > 0
    row = trainer.train_dataset[0]
    chosen = tokenizer.decode(next(row[name] for name in ("chosen_ids", "chosen_input_ids") if name in row))
    assert "good 0" in chosen
    assert "bad" not in chosen
