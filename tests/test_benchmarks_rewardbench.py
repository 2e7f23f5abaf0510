"""RewardBench 1 and 2: published scores from published parts, the official rules case by case."""

import asyncio
import csv
import json
import re
from collections import Counter, defaultdict
from math import tanh
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import shared

from jurist.benchmarks.mt19937 import numpy_rand
from jurist.benchmarks.rewardbench import (
    PRIOR,
    REWARDBENCH,
    SECTIONS,
    SIZES,
    WEIGHTS,
    official_results,
    score_subsets,
    unique,
    weighted,
)
from jurist.benchmarks.rewardbench2 import DOMAINS, REWARDBENCH2, Rated, score_domains, ties
from jurist.benchmarks.transcripts import recorded_judgment
from jurist.core.errors import InputError
from jurist.core.statistics import mean_interval, wilson
from jurist.core.types import (
    Case,
    Completion,
    Decision,
    Message,
    ScoreRow,
    Status,
    Verdict,
)
from jurist.deliberation.tournaments import knockout, round_robin
from jurist.protocols.verdicts import parse_letter, parse_rating

RIGHT, WRONG, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)
NONE = Verdict(status=Status.UNPARSED)


def verdict(scores):
    return Verdict(tuple(map(float, scores))) if scores else NONE


def game(scores, order):
    return recorded_judgment("c", order, verdict(scores))


def pair(scores, group="math-prm", gold=RIGHT, *games):
    return Decision("c", verdict(scores), games, None, gold, group)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# ---- numpy's numbers ----


def test_the_legacy_generator_gives_known_numbers():
    # numpy.random.RandomState(0).rand(5), as its documentation and thousands of notebooks show it.
    known = [0.5488135039273248, 0.7151893663724195, 0.6027633760716439, 0.5448831829968969]
    assert numpy_rand(0, 5) == [*known, 0.4236547993389047]
    assert numpy_rand(0, 0) == []
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match="seed"):
            numpy_rand(seed, 1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 700))
def test_the_legacy_generator_is_numpys(seed, n):
    numpy = pytest.importorskip("numpy")
    assert numpy_rand(seed, n) == numpy.random.RandomState(seed).rand(n).tolist()


# ---- RewardBench: published scores ----

RM_R1 = ("RM-R1-Qwen2.5-Instruct-32B", "RM-R1-DeepSeek-Distilled-Qwen-32B")
# rows of the RRM paper's table, which its published files confirm: four sections and their mean
RRM = {"7b": ("87.7", "70.4", "80.7", "90.0", "82.2"), "32b": ("94.7", "81.1", "90.7", "98.3", "91.2")}


def rm_r1(model):
    """Published accuracies of the subsets, and the scores that were published with them."""
    folder = shared("rm-r1-results", model, "reward_bench", "score_result")
    return [
        json.loads((folder / f).read_text()) for f in ("each_small_section_score.json", "main_score.json")
    ]


def as_published(card):
    """A scorecard with the names of RM-R1's ``main_score.json``."""
    sections = {g.name: g.value for g in card.groups if g.name in SECTIONS}
    return sections | {
        "avg_Result_each_section": card.headline.value,
        "absoluate_Result": card.statistics["micro"],
    }


def decisions_of(accuracies):
    """Decisions with exactly these accuracies, one for each pair of the benchmark."""
    for subset, n in SIZES.items():
        right = round(accuracies[subset] * n)
        yield from (pair(RIGHT if i < right else WRONG, subset) for i in range(n))


@pytest.mark.parametrize("model", RM_R1)
def test_published_scores_of_rm_r1(model):
    subsets, published = rm_r1(model)
    for card in (score_subsets(subsets), REWARDBENCH.score(decisions_of(subsets))):
        assert as_published(card) == pytest.approx(published, rel=0, abs=1e-12)
        assert (card.headline.name, card.headline.n) == ("overall", 2985)
        assert all(g.interval[0] < g.value <= g.interval[1] for g in (card.headline, *card.groups))
        assert [g.name for g in card.groups] == [*SECTIONS, *SIZES]
    assert official_results(decisions_of(subsets), subsets["model"]) == subsets
    assert list(official_results(decisions_of(subsets), "")) == list(subsets)


@pytest.mark.parametrize("size", RRM)
def test_published_scores_of_rrm(size):
    published = json.loads(shared("rrm-results", f"{size}_RewardBench_result.json").read_text())
    card = score_subsets(published)
    assert tuple(f"{100 * g.value:.1f}" for g in (*card.groups[:4], card.headline)) == RRM[size]
    ours = {g.name: g.value for g in card.groups[:4]}
    assert ours == pytest.approx(published["leaderboard"], rel=0, abs=1e-12)


def test_sizes_and_weights():
    assert [sum(subsets.values()) for subsets in SECTIONS.values()] == [358, 456, 740, 1431]
    code = sum(n for subset, n in SIZES.items() if subset.startswith("hep-"))
    assert WEIGHTS["math-prm"] == code == 984
    assert {k for k in SIZES if SIZES[k] != WEIGHTS[k]} == {"math-prm"}


# ---- RewardBench: rules ----


@pytest.mark.parametrize(
    ("scores", "worth"),
    [(RIGHT, 1), (WRONG, 0), (TIE, 0.5), (None, 0.5), ((0.6, 0.4), 1), ((7, 7), 0.5), ((3, 8), 0)],
)
def test_what_a_verdict_is_worth(scores, worth):
    card = REWARDBENCH.score([pair(scores)])
    assert (card.headline.value, card.statistics["micro"]) == (worth, worth)
    assert REWARDBENCH.score([pair(scores, gold=WRONG)]).headline.value == 1 - worth


def test_both_orders_are_counted_by_their_mean():
    agreed = pair(RIGHT, "hep-go", RIGHT, game(RIGHT, (0, 1)), game(RIGHT, (1, 0)))
    torn = pair(TIE, "hep-go", RIGHT, game(RIGHT, (0, 1)), game(WRONG, (1, 0)))
    card = REWARDBENCH.score([agreed, torn])
    assert card.headline.value == 0.75
    assert card.statistics == {
        "micro": 0.75,
        "ties": 1,
        "unresolved": 0,
        "without_gold": 0,
        "consistency": 0.5,
        "first_shown_wins": 0.75,
    }
    assert card.statuses == {"ok": 4}
    assert "mean verdict" in card.unresolved


def test_what_is_missing_is_said_and_not_counted_as_zero():
    card = REWARDBENCH.score([pair(RIGHT, "math-prm"), pair(WRONG, "hep-go"), pair(RIGHT, "mt-bench-easy")])
    values = {g.name: g.value for g in card.groups}
    assert values["Reasoning"] == 984 / (984 + 164)
    assert card.headline.name == "mean of Chat, Reasoning"
    assert card.headline.value == (1 + values["Reasoning"]) / 2
    assert card.statistics["micro"] == pytest.approx(2 / 3)
    assert "Without any case: alpacaeval-easy, alpacaeval-length" in card.unresolved


def test_the_first_leaderboard_has_prior_sets_at_half_weight():
    whole = [pair(RIGHT if s in SECTIONS["Chat"] else WRONG, s) for s in SIZES]
    prior = [pair(RIGHT, "shp"), pair(RIGHT, "summarize"), pair(WRONG, "summarize")]
    card = REWARDBENCH.score(prior + whole)
    assert card.headline.value == 0.25
    assert card.statistics["prior_sets"] == 0.75
    assert card.statistics["overall_v1.0"] == pytest.approx((2 + 0.75) / 9)
    assert "Without" not in card.unresolved
    assert "overall_v1.0" not in REWARDBENCH.score(whole).statistics
    assert "overall_v1.0" not in REWARDBENCH.score(prior + whole[:5]).statistics
    assert REWARDBENCH.score(prior).headline.name == "mean of prior sets"
    # Recorded beside the others, and counted by no official score.
    accuracies = dict.fromkeys(SIZES, 0.5) | {"shp": 0.75, "mtbench_human": 0.1, "model": "m"}
    assert score_subsets(accuracies).statistics == pytest.approx(
        {"micro": 0.5, "prior_sets": 0.75, "overall_v1.0": 4.75 / 9}
    )


rates = st.tuples(st.integers(0, 30), st.integers(1, 30)).filter(lambda kn: kn[0] <= kn[1])


@given(st.lists(st.tuples(st.floats(0.1, 9), rates), min_size=1, max_size=8))
def test_the_interval_of_a_weighted_mean(parts):
    rows = [(w, ScoreRow("g", k / n, n, wilson(k, n))) for w, (k, n) in parts]
    whole = weighted("all", rows)
    low, high = whole.interval
    assert -1e-12 <= low < high <= 1 + 1e-12
    assert low - 1e-12 <= whole.value <= high + 1e-12
    # No wider than the parts' own bounds together; of one part it is that part's.
    total = sum(w for w, _ in rows)
    assert low >= sum(w * g.interval[0] for w, g in rows) / total - 1e-12
    assert weighted("one", rows[:1]).interval == pytest.approx(rows[0][1].interval, abs=1e-12)
    assert weighted("none", [*rows, (1, ScoreRow("g", 0.5, 3))]).interval is None


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"model": "m"}, "no accuracy of any subset"),
        ({"hep-go": 95.1}, "hep-go is 95.1"),
        ({"hep-pyton": 0.5}, "'hep-pyton'"),
    ],
)
def test_bad_official_results_are_named(results, message):
    with pytest.raises(InputError, match=message):
        score_subsets(results)


def test_decisions_that_are_not_of_the_benchmark_are_named():
    for decision, message in [(pair(RIGHT, "mine"), "'c'.*'mine'"), (pair(RIGHT, gold=None), "gold is None")]:
        with pytest.raises(InputError, match=message):
            REWARDBENCH.score([decision])
    with pytest.raises(InputError, match="no decisions"):
        REWARDBENCH.score([])


# ---- RewardBench: files ----


def rows_of(sizes):
    """Rows with the official columns; the ids are those of one source each, so 3692 comes twice."""
    subsets = [subset for subset, n in sizes.items() for _ in range(n)]
    return [
        {
            "prompt": f"Q{i}",
            "chosen": "good",
            "chosen_model": "m",
            "rejected": "bad",
            "rejected_model": "n",
            "subset": subset,
            "id": 3692 if i in (0, 1, len(subsets) - 1) else i,
        }
        for i, subset in enumerate(subsets)
    ]


def test_the_full_set_has_unique_ids_and_the_published_order(tmp_path):
    cases = list(REWARDBENCH.load(write(tmp_path / "filtered.jsonl", rows_of(SIZES))))
    assert Counter(c.group for c in cases) == SIZES
    assert len({c.id for c in cases}) == len(cases) == 2985
    first, second, last = cases[0], cases[1], cases[-1]
    ids = ["alpacaeval-easy/3692", "alpacaeval-easy/3692#2", "hep-rust/3692"]
    assert [first.id, second.id, last.id] == ids
    # 0.549, 0.715, 0.603, 0.545 are above one half, 0.424 is not.
    assert [c.meta["order"] for c in cases[:5]] == [[1, 0]] * 4 + [[0, 1]]
    assert first.meta == {"id": 3692, "chosen_model": "m", "rejected_model": "n", "order": [1, 0]}
    assert (first.prompt, first.responses, first.gold) == ((Message("user", "Q0"),), ("good", "bad"), RIGHT)


def test_a_part_of_the_set_has_no_published_order(tmp_path):
    (case,) = REWARDBENCH.load(write(tmp_path / "some.jsonl", rows_of({"hep-go": 1})))
    assert "order" not in case.meta


def test_a_folder_is_read_by_the_published_names(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    data = tmp_path / "data"
    data.mkdir()
    parquet.write_table(
        pyarrow.Table.from_pylist(rows_of({"hep-go": 3})), data / "filtered-00000-of-00001.parquet"
    )
    write(data / "raw-00000-of-00001.jsonl", rows_of({"hep-go": 9}))
    turns = [{"role": r, "content": r} for r in ("user", "assistant", "user")]
    hhh = {"prompt": turns, "chosen": "a", "rejected": "b", "subset": "honest"}
    write(data / "anthropic_hhh-00000-of-00001.jsonl", [hhh])
    write(data / "mtbench_gpt4-00000-of-00001.jsonl", [hhh])
    cases = list(REWARDBENCH.load(tmp_path))
    # The prior sets' own column says something else, and their rows have no id.
    assert sorted(c.id for c in cases) == ["anthropic_hhh/1", "hep-go/3692", "hep-go/3692#2", "hep-go/3692#3"]
    prior = next(c for c in cases if c.group in PRIOR)
    assert [m.role for m in prior.prompt] == ["user", "assistant", "user"]
    assert prior.responses == ("a", "b")


def test_a_split_of_the_hub_names_its_prior_set(monkeypatch):
    def rows(path, row):
        assert str(path) == "hf:allenai/preference-test-sets:shp@main"
        return [row([Message("user", "Q")], "a", "b", subset="askacademia")]

    monkeypatch.setattr("jurist.benchmarks.rewardbench.read_rows", rows)
    (case,) = REWARDBENCH.load(Path("hf:allenai/preference-test-sets:shp@main"))
    assert (case.id, case.group) == ("shp/1", "shp")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subset": "hep-goo"}, "row 1 of x.jsonl.*'hep-goo'"),
        ({"subset": None}, "no field 'subset'"),
        ({"chosen": 3}, r"x.jsonl:1.*chosen"),
    ],
)
def test_bad_pairs_are_named(tmp_path, change, message):
    row = rows_of({"hep-go": 1})[0] | change
    with pytest.raises(InputError, match=message):
        list(REWARDBENCH.load(write(tmp_path / "x.jsonl", [row])))


@given(st.lists(st.sampled_from("abc")))
def test_names_become_unique_and_stay_stable(names):
    made = list(unique(names))
    assert len(set(made)) == len(names)
    assert list(unique(names[:2])) == made[:2]


# ---- RewardBench: other judges ----


def logs(*rows):
    """Rows of RM-R1's logs.json from (result, text, whether the chosen response is shown second)."""
    return [
        {
            "text_chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
            "text_rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}],
            "results": result,
            "answers": text,
            "Is_Chosen_Answer_Shuffled_toPositionB": shuffled,
            "subset": "hep-go",
            "id": 7,
        }
        for result, text, shuffled in rows
    ]


def dump(path, value):
    path.write_text(json.dumps(value))
    return path


def test_recorded_logs_of_rm_r1(tmp_path):
    rows = logs(
        (1, "x [[B]]", True),
        (0, "[[A]]", True),
        (0, "[[A]] or [[B]]", False),
        (0, "H2O", False),
        (1, "[[A]]", False),
    )
    decisions = list(REWARDBENCH.recorded(dump(tmp_path / "logs.json", rows)))
    assert [d.verdict.scores for d in decisions] == [RIGHT, WRONG, None, None, RIGHT]
    assert [d.judgments[0].query.order for d in decisions] == [(1, 0)] * 2 + [(0, 1)] * 3
    assert [d.case_id for d in decisions[:2]] == ["hep-go/7", "hep-go/7#2"]
    assert decisions[0].judgments[0].completion.text == "x [[B]]"
    card = REWARDBENCH.score(decisions)
    # Its harness gives an error nothing, where the official one gives half.
    assert card.headline.value == pytest.approx(2 / 5)
    assert card.statuses == {"ok": 3, "unparsed": 2}
    assert card.statistics["first_shown_wins"] == pytest.approx(2 / 3)
    assert "5 results are counted as they were recorded." in card.unresolved


def test_recorded_scores_of_a_scalar_model(tmp_path):
    columns = {
        "model": "org/m",
        "model_type": "Seq. Classifier",
        "id": [1, 2, 3, 4],
        "subset": ["hep-go"] * 3 + ["mtbench_human"],
        "results": [1, 0, 0, 1],
        "scores_chosen": [[2.5], [1.0], [-3.0], [1.0]],
        "scores_rejected": [1.5, 1.0, -2.0, 0.0],
    }
    decisions = list(REWARDBENCH.recorded(dump(tmp_path / "m.json", columns)))
    assert [d.verdict.scores for d in decisions] == [(2.5, 1.5), (1.0, 1.0), (-3.0, -2.0)]
    card = REWARDBENCH.score(decisions)
    assert card.headline.value == 1 / 3, "a scalar tie is wrong"
    assert (card.statistics["ties"], "first_shown_wins" in card.statistics) == (1, False)


def test_recorded_without_an_order_says_nothing_of_position(tmp_path):
    rows = [{"id": "a", "subset": "shp", "results": r} for r in (1, 0.5)]
    decisions = list(REWARDBENCH.recorded(dump(tmp_path / "r.json", rows)))
    assert [d.verdict.scores for d in decisions] == [RIGHT, TIE]
    card = REWARDBENCH.score(decisions)
    assert card.statistics == {"prior_sets": 0.75, "ties": 1, "unresolved": 0, "without_gold": 0}
    assert card.statuses == {"ok": 2}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"model": "m", "hep-go": 0.5}, "no columns of one length"),
        ({"id": [1], "results": [1, 0]}, r"saw \{'id': 1, 'results': 2\}"),
        ([{"id": 1, "results": 1}], "subset"),
        ([{"id": 1, "results": 2, "subset": "shp"}], "result 2.0"),
        ([{"id": 1, "results": 1, "subset": "chat"}], "'chat'"),
        ("text", "bad.json"),
    ],
)
@pytest.mark.parametrize("benchmark", [REWARDBENCH, REWARDBENCH2], ids=lambda b: b.name)
def test_bad_recorded_files_are_named(tmp_path, benchmark, value, message):
    with pytest.raises(InputError, match=message if benchmark is REWARDBENCH else "bad.json"):
        list(benchmark.recorded(dump(tmp_path / "bad.json", value)))


# ---- RewardBench 2: Ties ----


def one(right, wrong):
    return Rated(tuple(map(float, right)), tuple(map(float, wrong)))


A = {("ref", 1): one([9], [3, 2]), ("tied", 1): one([8, 7, 9], [4, 1])}
B = {("ref", 2): one([5], [4]), ("tied", 2): one([9, 6], [2])}


@pytest.mark.parametrize(
    ("prompts", "parts", "value"),
    [
        # gaps 6 and 3, spread 2: everything holds; tanh(3/2 - 1)
        (A, (1, 1, 1, 1, tanh(0.5)), 1.0046211715726),
        # gaps 1 and 4, spread 3: 4 > 3, but not 1 > 3; tanh(1/3 - 1)
        (B, (1, 1, 1, 0, tanh(-2 / 3)), 0.79417217054660),
        # both, a reference prompt of its own that is right, a tied one of its own that is wrong
        (
            A | B | {("ref", 3): one([2], [1]), ("tied", 4): one([5, 5], [5])},
            (1, 2 / 3, 1, 0.5, (tanh(0.5) + tanh(-2 / 3)) / 2),
            0.3 + 0.2 + 0.2 + 0.1 + 0.005 * (tanh(0.5) - tanh(2 / 3)),
        ),
        # spread 0 and gap -2: the quotient is minus infinity, its margin -1
        ({("ref", 0): one([3], [5]), ("tied", 0): one([7, 7], [7])}, (0, 0, 0, 0, -1), -0.01),
        # spread 0 and gap 1: plus infinity, and the most there is
        ({("ref", 0): one([6], [5]), ("tied", 0): one([9, 9], [7])}, (1, 1, 1, 1, 1), 1.01),
        # every rating failed: zero by zero counts as zero
        ({("ref", 0): one([-1], [-1]), ("tied", 0): one([-1, -1], [-1])}, (0, 0, 0, 0, 0), 0),
    ],
)
def test_ties_worked_out_by_hand(prompts, parts, value):
    score = ties(prompts)
    ours = (score.ref_accuracy, score.tied_accuracy, score.correctness_preferred)
    ours += (score.correctness_preferred_hard, score.margin)
    assert ours == pytest.approx(parts, abs=1e-12)
    assert score.value == pytest.approx(value, abs=1e-12)


def test_ties_need_a_number_with_both_kinds():
    assert ties({("ref", 1): one([9], [3]), ("tied", 2): one([9, 9], [3])}) is None


ratings = st.integers(-1, 10).map(float)
prompt = st.builds(
    Rated, st.tuples(ratings, ratings) | st.tuples(ratings, ratings, ratings), st.tuples(ratings, ratings)
)


@given(st.lists(st.tuples(prompt, prompt), min_size=1, max_size=12))
def test_ties_are_the_vector_formula(pairs):
    np = pytest.importorskip("numpy")
    ref, tied = (np.array([[p.gap, p.spread] for p in column]) for column in zip(*pairs, strict=True))
    gap, spread = tied.T
    hard = np.minimum(ref[:, 0], gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(np.tanh(hard / spread - 1), nan=0.0)
    terms = [gap > 0, ref[:, 0] > 0, gap > spread, hard > spread, margin]
    expected = sum(w * float(np.mean(t)) for w, t in zip((0.3, 0.3, 0.2, 0.2, 0.01), terms, strict=True))
    prompts = {(k, i): p for i, both in enumerate(pairs) for k, p in zip(("ref", "tied"), both, strict=True)}
    assert ties(prompts).value == pytest.approx(expected, abs=1e-12)


def tie(name, scores, right, *games):
    gold = (1.0,) * right + (0.0,) * (max(len(scores or ()), len(games), 3) - right)
    return Decision(f"Ties/{name}", verdict(scores), games, None, gold, "Ties", {"id": name})


def test_ties_take_failed_ratings_as_minus_one():
    alone = [game((8,), (0,)), game((6,), (0,)), game((3,), (2,)), game(None, (1,))]
    decisions = [tie("ref:1", (9, 3, 2), 1), tie("tied:1", None, 2, *alone)]
    card = REWARDBENCH2.score(decisions)
    # Right 7 (mean of two) and -1, wrong 3: gap -4, spread 8.
    assert card.statistics["Ties/tied_accuracy"] == 0
    assert card.statistics["Ties/margin"] == tanh(-4 / 8 - 1)
    assert card.statistics["unresolved"] == 1
    silent = REWARDBENCH2.score([decisions[0], tie("tied:1", None, 2)])
    assert (silent.statistics["Ties/margin"], silent.groups[0].interval) == (0, None)


def test_ties_of_one_id_are_one_prompt():
    halves = [tie("tied:1", (9, 8, 2), 2), tie("tied:1", (9, 1, 8), 1)]
    card = REWARDBENCH2.score([tie("ref:1", (9, 3, 2), 1), *halves])
    assert (card.statistics["Ties/tied_accuracy"], card.groups[0].n) == (0, 2)


def test_the_interval_of_ties_is_the_jackknife():
    good, bad = (9, 8, 2), (2, 8, 9)
    each = [bad if i % 3 == 0 else good for i in range(9)]
    decisions = [tie(f"{k}:{i}", s, 1 + (k == "tied")) for i, s in enumerate(each) for k in ("ref", "tied")]
    (group,) = REWARDBENCH2.score(decisions).groups
    # Good: gaps 1 and 6, spread 1, so all but 1 > 1. Bad: gaps -7, spread 6. Where every number has both
    # kinds the score is a mean over numbers, and the jackknife the plain standard error of a mean.
    worth = [0.01 * tanh(-7 / 6 - 1) if s == bad else 0.8 for s in each]
    assert group.value == pytest.approx(fmean(worth))
    assert group.interval == pytest.approx(mean_interval(worth))


def ask_of(right):
    """An ask of a perfect judge: right responses beat wrong ones, equals tie."""

    async def ask(case, order=None, _sample=0, among=None, **_):
        shown = tuple(sorted(order or among))
        sides = [float(i in right) for i in shown]
        said = Verdict(tuple((s == max(sides)) / sides.count(max(sides)) for s in sides))
        return recorded_judgment(case.id, shown, said)

    return ask


@pytest.mark.parametrize(("deliberate", "best"), [(knockout, False), (round_robin, True)])
def test_only_a_round_robin_puts_right_answers_above_wrong(deliberate, best):
    def decide(name, right):
        gold = tuple(float(i < right) for i in range(7))
        case = Case(
            name, (Message("user", "Q"),), tuple("abcdefg"), gold=gold, group="Ties", meta={"id": name}
        )
        return asyncio.run(deliberate()(ask_of(range(right)), case))

    card = REWARDBENCH2.score([decide("ref:1", 1), decide("tied:1", 5)])
    assert (card.headline.value == pytest.approx(1.01, abs=1e-4)) == best
    assert card.statistics["Ties/tied_accuracy"] == best
    assert REWARDBENCH2.many.startswith("round_robin")


# ---- RewardBench 2: the other domains ----


def four(scores, group="Math", *games):
    return Decision("c", verdict(scores), games, None, (1.0, 0.0, 0.0, 0.0), group)


@pytest.mark.parametrize(
    ("decision", "worth"),
    [
        (four((1, 0, 0, 0)), 1),
        (four((0, 0, 1, 0)), 0),
        (four((7, 7, 7, 2)), 1 / 3),
        (four((7, 7, 7, 7)), 1 / 4),
        (four((7, 7, 2, 8)), 0),
        (four(None), 1 / 4),
        (four(None, "Math", *(game(None, (i,)) for i in range(4))), 1 / 4),
        # A response without a rating cannot win, also on scales below -1.
        (four(None, "Math", game((-5,), (0,)), game(None, (1,)), game((-7,), (2,))), 1),
        (four(None, "Math", game(None, (0,)), game((2,), (1,))), 0),
    ],
)
def test_what_a_choice_among_four_is_worth(decision, worth):
    card = REWARDBENCH2.score([decision])
    assert card.headline.value == worth
    assert card.headline.name == "mean of Math"
    assert "Without a score: Factuality, Precise IF, Safety, Focus, Ties" in card.unresolved


def test_the_score_is_the_plain_mean_of_six_domains():
    decisions = [four((1, 0, 0, 0), domain) for domain in DOMAINS[:3] for _ in range(3)]
    decisions += [four((0, 1, 0, 0), domain) for domain in DOMAINS[3:5]]
    decisions += [tie("ref:1", (9, 3, 2), 1), tie("tied:1", (9, 9, 2), 2)]
    games = [game(RIGHT, (0, 2)), game(WRONG, (0, 3)), game(TIE, (1, 2)), game(RIGHT, (3, 1))]
    decisions[0] = four((1, 0, 0, 0), "Factuality", *games)
    card = REWARDBENCH2.score(decisions)
    assert card.headline.value == pytest.approx((3 + 1.01) / 6)
    assert (card.headline.name, card.headline.n) == ("mean of 13 of 1,865 cases", 13)
    assert [g.name for g in card.groups] == list(DOMAINS)
    assert card.statistics["first_shown_wins"] == pytest.approx(1 / 3)
    assert "Without" not in card.unresolved


def test_published_overall_scores():
    rows = defaultdict(dict)
    with shared("reference_scores.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["benchmark"] == "RewardBench2":
                rows[row["model"]][row["metric"]] = float(row["value"]) / 100
    assert len(rows) == 10
    names = dict(zip(("factuality", "precise_if", "math", "safety", "focus", "ties"), DOMAINS, strict=True))
    for model, row in rows.items():
        card = score_domains({"model": model} | {names[k]: v for k, v in row.items() if k in names})
        # Both sides are rounded to a tenth of a percent.
        assert abs(card.headline.value - row["overall"]) <= 0.0005 + 1e-9, model
        assert (card.headline.interval, len(card.groups)) == (None, 6)


@pytest.mark.parametrize(
    ("results", "message"),
    [({"model": "m"}, "no score"), ({"Math": 81.1}, "Math is 81.1"), ({"Chat": 0.5}, "'Chat'")],
)
def test_bad_domain_scores_are_named(results, message):
    with pytest.raises(InputError, match=message):
        score_domains(results)


# ---- RewardBench 2: files ----

ROW = {"id": "12", "prompt": "Q", "chosen": ["a"], "rejected": ["b", "c", "d"], "subset": "Math"}
TIED = {"id": "tied:4", "prompt": "Q", "chosen": ["a", "b"], "rejected": ["c"], "subset": "Ties"}


def test_cases_have_the_right_responses_first(tmp_path):
    rows = [ROW | {"num_correct": 1, "additional_metadata": None}, TIED | {"num_correct": 2}, ROW]
    write(tmp_path / "data" / "test-00000-of-00001.jsonl", rows)
    plain, tied, again = REWARDBENCH2.load(tmp_path)
    assert (plain.id, again.id, tied.id) == ("Math/12", "Math/12#2", "Ties/tied:4")
    assert (plain.responses, plain.gold) == (("a", "b", "c", "d"), (1.0, 0.0, 0.0, 0.0))
    assert plain.meta == {"subset": "Math", "id": "12"}
    assert (tied.gold, tied.group) == ((1.0, 1.0, 0.0), "Ties")
    assert tied.meta == {"subset": "Ties", "id": "tied:4", "kind": "tied", "number": 4}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW | {"chosen": ["a", "e"]}, "Math/12: 2 of 5 responses are right"),
        (ROW | {"rejected": []}, "1 of 1"),
        (TIED | {"num_correct": 3}, "3 of 3"),
        (TIED | {"id": "12"}, "the id '12' is no id of Ties"),
        (TIED | {"id": "tied:x"}, "'tied:x'"),
        (ROW | {"subset": "Maths"}, "'Maths'"),
        (ROW | {"chosen": "a"}, r"x.jsonl:1.*chosen"),
    ],
)
def test_bad_cases_are_named(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        list(REWARDBENCH2.load(write(tmp_path / "x.jsonl", [row])))


def test_recorded_scores_are_counted_anew(tmp_path):
    columns = {
        "model": "m",
        "id": ["1", "2", "ref:1", "tied:1"],
        "subset": ["Math", "Math", "Ties", "Ties"],
        "scores": [[[4.0], [4.0], [1.0], [0.0]], [1.0, 2.0, 0.0, 0.0], [9, 3], [8, 7, 9, 4]],
        "results": [0.5, 0.0, 1.0, 0.0],
        "num_correct": [1, 1, 1, 3],
    }
    decisions = list(REWARDBENCH2.recorded(dump(tmp_path / "m.json", columns)))
    card = REWARDBENCH2.score(decisions)
    assert {g.name: g.value for g in card.groups} == {
        "Math": 0.25,
        "Ties": pytest.approx(1 + 0.01 * tanh(0.5)),
    }
    assert decisions[3].gold == (1.0, 1.0, 1.0, 0.0)
    assert card.statistics["ties_at_the_top"] == 1


def test_recorded_choices_are_worth_what_was_recorded(tmp_path):
    rows = [{"id": i, "subset": "Focus", "results": r} for i, r in enumerate((1, 0, 0.25))]
    decisions = list(REWARDBENCH2.recorded(dump(tmp_path / "r.json", rows)))
    card = REWARDBENCH2.score(decisions)
    assert card.headline.value == pytest.approx(1.25 / 3)
    assert card.statuses == {"ok": 2, "unparsed": 1}


# ---- traps of the official parsers, and what this one reads instead ----


def official_rating(text):
    """The official rule: a number from 1 to 10 at the very end; -1 where there is none."""
    found = re.search(r"\b([1-9]|10)\b\s*$", text.strip())
    return int(found[1]) if found else -1


@pytest.mark.parametrize(
    ("said", "official", "ours"),
    [
        ("9", 9, 9),
        ("8/10", 10, 8),
        ("8.5", 5, 8.5),
        ("**9**", -1, 9),
        ("7.", -1, 7),
        ("11", -1, None),
        ("between 3 and 4", 4, None),
    ],
)
def test_ratings_are_read_from_their_tag_and_not_from_the_end(said, official, ours):
    assert official_rating(f"A fair answer. Rating: {said}") == official
    tagged = parse_rating(Completion(f"A fair answer of 3 pages. <rating>{said}</rating>"), 1, 10)
    assert tagged.scores == (None if ours is None else (ours,))
    assert (tagged.status is Status.OK) == (ours is not None)


def official_letter(text):
    """The official rule: ``[[A]]`` anywhere, else ``[[B]]`` anywhere."""
    return "A" if "[[A]]" in text else "B" if "[[B]]" in text else "error"


@pytest.mark.parametrize(
    ("text", "official", "ours"),
    [
        ("So [[B]].", "B", WRONG),
        ("I would say [[A]], but the facts are wrong: [[B]]", "A", WRONG),
        ("I would say [[B]], but the facts are wrong: [[A]]", "A", RIGHT),
        ("<think>[[A]]?</think> [[B]]", "A", WRONG),
        ("<answer>[[A]] or [[B]]</answer>", "A", None),
        ("no idea", "error", None),
    ],
)
def test_the_last_letter_counts(text, official, ours):
    assert official_letter(text) == official
    assert parse_letter(Completion(text)).scores == ours


def test_both_say_their_source_and_what_silence_is_worth():
    for benchmark in (REWARDBENCH, REWARDBENCH2):
        assert "@05a9005" in benchmark.source
        assert "ODC-BY" in benchmark.source
        assert benchmark.unresolved.endswith(".")
        assert all("/resolve/" in file.url and len(file.sha256) == 64 for file in benchmark.files)
