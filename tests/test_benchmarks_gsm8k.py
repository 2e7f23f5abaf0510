"""GSM8K best-of-4: flags derived again from final answers, what a pick is worth, bad input."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import shared

from jurist.benchmarks.gsm8k import FILE, GSM8K, SOURCE
from jurist.core.answers import final_answer, number
from jurist.core.errors import InputError
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Status, Usage, Verdict

SOLVERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 9 * 2 = 18\n#### 18", "18"),
        ("He has 5.\nA: 2,125", "2125"),
        ("A: $1,250.00", "1250"),
        ("#### -0.50", "-0.5"),
        ("#### .5", "0.5"),
        ("#### 5.", "5"),
        ("#### −3", "-3"),
        ("#### -0", "0"),
        ("#### 007", "7"),
        ("#### 0,007", "7"),
        ("#### 25%", "25"),
        (r"thus \boxed{42}.", "42"),
        (r"\boxed{\$1{,}000}", r"\$1{,}000"),
        (r"\boxed{\frac{1}{2}} or so", r"\frac{1}{2}"),
        (r"#### \boxed{5}", "5"),
        ("A: 1/5", "1/5"),
        ("A: 7 / 14", "7/14"),
        ("#### 12\nwait\n#### 13", "13"),
        ("#### 12\n\\boxed{13}\nA: 14", "14"),
        ("#### 12\n#### Remarks", "12"),
        ("A: 10+John's age", None),
        ("A: -1.8 billion", None),
        ("Q: why?\nA: because", None),
        ("the answer is in A: 5", None),
        ("#### 1,2", None),
        ("#### ,", None),
        ("#### .", None),
        (r"\boxed{", None),
        (r"\boxed{ }", None),
        ("18", None),
        ("", None),
    ],
)
def test_final_answers(text, answer):
    assert final_answer(text) == answer


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_a_number_is_the_same_in_every_dress(value):
    plain = number(f"{value:f}")
    assert plain is not None
    assert float(plain) == float(value)
    for dressed in (f"${value:,f}", f"{value:+,f}", f" {value:f}00 ", f"{value:f}%", plain):
        assert number(dressed) == plain


def test_hostile_text_is_read_in_no_time():
    for text in ("\\boxed{" * 20_000, "{" * 100_000, "####" * 30_000, "A: " * 30_000, "#### " + "1" * 99_999):
        assert final_answer(text) is None


def test_the_recorded_flags_follow_from_the_final_answers():
    rows = [json.loads(line) for line in shared("gsm8k", FILE).read_text().splitlines()]
    same = [
        (final_answer(row[solver]["solution"]) == final_answer(row["ground_truth"]))
        == row[solver]["is_correct"]
        for row in rows
        for solver in SOLVERS
    ]
    assert (sum(same), len(same)) == (5276, 5276)
    right = [100 * sum(row[s]["is_correct"] for row in rows) / len(rows) for s in SOLVERS]
    assert [f"{r:.2f}" for r in right] == ["21.68", "39.04", "34.72", "56.25"]
    with shared("gsm8k", "test.jsonl").open() as file:
        assert [final_answer(json.loads(line)["answer"]) for line in file] == [
            final_answer(row["ground_truth"]) for row in rows
        ]


def test_the_real_set_has_731_questions_and_gives_nothing_away():
    cases = list(GSM8K.load(shared("gsm8k")))
    assert cases == list(GSM8K.load(shared("gsm8k").parent)) == list(GSM8K.load(shared("gsm8k", FILE)))
    assert Counter(c.group for c in cases) == {"1 of 4 right": 290, "2 of 4 right": 236, "3 of 4 right": 205}
    assert len({c.id for c in cases}) == 731
    assert all(c.reference is None and c.rubric is None and set(c.gold) == {0.0, 1.0} for c in cases)
    assert not any("<<" in r or ">>" in r for c in cases for r in c.responses)
    by_solver = Counter(s for c in cases for s, g in zip(c.meta["solvers"], c.gold, strict=True) if g)
    assert by_solver == dict(zip(SOLVERS, (130, 359, 302, 586), strict=True))
    slots = [sum(c.gold[i] for c in cases) / 731 for i in range(4)]
    assert all(0.43 < slot < 0.52 for slot in slots)
    for case in cases:
        assert [float(final_answer(r) == case.meta["answer"]) for r in case.responses] == list(case.gold)


def raw(tmp_path, flags, truth="So 18.\nA: 18", **fields):
    """A file with one question whose solvers are right where ``flags`` says so."""
    row = {"question": "How many?", "ground_truth": truth}
    for solver, flag in zip(SOLVERS, flags, strict=True):
        said = f"{solver} sums 9*2=<<9*2=18>>18\nA: {18 if flag else 17}"
        row[solver] = {"is_correct": flag, "solution": said}
    file = tmp_path / FILE
    file.write_text(json.dumps(row | fields) + "\n")
    return file


def test_one_case_and_what_it_shows(tmp_path):
    raw(tmp_path, (True, False, False, True))
    (case,) = GSM8K.load(tmp_path)
    assert (case.id, case.group, case.meta["answer"]) == ("test/1", "2 of 4 right", "18")
    assert sorted(case.meta["solvers"]) == sorted(SOLVERS)
    for solver, response, gold in zip(case.meta["solvers"], case.responses, case.gold, strict=True):
        assert response == f"{solver} sums 9*2=18\nA: {18 if gold else 17}"
        assert gold == (solver in (SOLVERS[0], SOLVERS[3]))


@pytest.mark.parametrize("flags", [(True,) * 4, (False,) * 4])
def test_questions_without_a_choice_are_left_out(tmp_path, flags):
    assert list(GSM8K.load(raw(tmp_path, flags))) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ground_truth": "18"}, "row 1: ground_truth"),
        ({"question": 3}, r"line 1: .*question"),
        ({"6b_finetuning": {"solution": "x"}}, r"line 1: .*is_correct.*6b_finetuning"),
    ],
)
def test_bad_rows_are_named(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        list(GSM8K.load(raw(tmp_path, (True, False, False, True), **fields)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=FILE):
        list(GSM8K.load(tmp_path))


# ---- the count ----

GOLD = (1.0, 0.0, 0.0, 1.0)


def match(order, scores):
    """A judgment of some responses; its scores stand in ascending order of the responses."""
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    return Judgment(Query("c", order, 0, (), Sampling()), Completion(usage=Usage(10, 5)), verdict)


def picked(scores, *judgments, gold=GOLD, group="2 of 4 right"):
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    return Decision("c", verdict, judgments, gold=gold, group=group)


@pytest.mark.parametrize(
    ("scores", "gold", "worth"),
    [
        ((1.0, 0.5, 0.0, 0.0), GOLD, 1.0),
        ((0.0, 1.0, 0.5, 0.0), GOLD, 0.0),
        ((1.0, 1.0, 0.0, 0.0), GOLD, 0.5),
        ((0.5, 0.5, 0.5, 0.0), GOLD, 1 / 3),
        ((0.5, 0.5, 0.5, 0.5), GOLD, 0.5),
        (None, GOLD, 0.5),
        (None, (0.0, 1.0, 0.0, 0.0), 0.25),
    ],
)
def test_what_a_pick_is_worth(scores, gold, worth):
    headline = GSM8K.score([picked(scores, gold=gold)]).headline
    assert (headline.value, headline.n) == (pytest.approx(worth), 1)


def test_a_scorecard_by_hand():
    decisions = [
        # 0 beats 2 though shown last: right; 0 and 3 are both right: not counted; 1 and 3 tie: wrong.
        picked((1, 0, 0, 0), match((2, 0), (1.0, 0.0)), match((0, 3), (1.0, 0.0)), match((1, 3), (0.5, 0.5))),
        picked(None, match((0, 1), None), gold=(0.0, 1.0, 0.0, 0.0), group="1 of 4 right"),
        picked((0, 0, 1, 1), match((0,), (7.0,)), match((0, 1), (0.9, 0.1))),
    ]
    card = GSM8K.score(decisions)
    assert card.headline.value == pytest.approx((1 + 0.25 + 0.5) / 3)
    assert card.headline.interval[0] < card.headline.value < card.headline.interval[1]
    assert [(g.name, g.value, g.n) for g in card.groups] == [
        ("1 of 4 right", 0.25, 1),
        ("2 of 4 right", 0.75, 2),
    ]
    mean = (0.5 + 0.25 + 0.5) / 3
    assert card.statistics == pytest.approx(
        {
            "mean": mean,
            "oracle": 1.0,
            "gain": (1.75 / 3 - mean) / (1 - mean),
            "pairwise_accuracy": 2 / 4,
            "mixed_judgments": 4,
            "comparisons_per_question": 5 / 3,
            "tokens_per_question": 6 * 15 / 3,
        }
    )
    assert card.statuses == {"ok": 5, "unparsed": 1}
    assert card.usage == Usage(60, 30)


def test_a_perfect_judge_gains_all_and_a_silent_one_nothing():
    cases = list(GSM8K.load(shared("gsm8k")))
    perfect = GSM8K.score(Decision(c.id, Verdict(c.gold), gold=c.gold, group=c.group) for c in cases)
    silent = GSM8K.score(
        Decision(c.id, Verdict(status=Status.FAILED), gold=c.gold, group=c.group) for c in cases
    )
    assert (perfect.headline.value, perfect.statistics["gain"]) == (1.0, 1.0)
    # Right are 130 + 359 + 302 + 586 of 4 * 731.
    assert silent.headline.value == pytest.approx(1377 / 2924) == silent.statistics["mean"]
    assert silent.statistics["gain"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (picked((1.0, 0.0, 0.0, 0.0), gold=None), "gold is None"),
        (picked((1.0, 0.0), gold=(0.5, 0.5)), "right or wrong"),
        (picked((1.0, 0.0)), "2 scores for 4 responses"),
    ],
)
def test_decisions_that_cannot_be_counted_are_named(decision, message):
    with pytest.raises(InputError, match=message):
        GSM8K.score([decision])
    with pytest.raises(InputError, match="no decisions"):
        GSM8K.score([])


def test_the_benchmark_says_how_it_is_counted():
    assert (GSM8K.many, GSM8K.source) == ("knockout(swapped)", SOURCE)
    assert GSM8K.unresolved.endswith("right.")
