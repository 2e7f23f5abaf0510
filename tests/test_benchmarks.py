"""Benchmarks: the published scores from raw outputs, to the last digit, and the rules one by one."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from shared import ROOT, shared

from jurist.benchmarks.base import by_order, score_pairs, statuses
from jurist.benchmarks.judgebench import JUDGEBENCH, JUDGEBENCH_CLAUDE
from jurist.benchmarks.llmbar import LLMBAR, SETS
from jurist.core.errors import InputError
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Status, Verdict, winner

GIVEN, REVERSED = (0, 1), (1, 0)
RIGHT, WRONG, TIE, NULL = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), None


def game(scores, order=GIVEN, status=Status.UNPARSED):
    """A judgment whose verdict is already in the order of the case."""
    verdict = Verdict(scores) if scores else Verdict(status=status)
    return Judgment(Query("c", order, 0, (), Sampling()), Completion(), verdict)


def pair(given, reverse, gold=RIGHT, group="math"):
    """A case judged in both orders."""
    judgments = (game(given, GIVEN), game(reverse, REVERSED))
    return Decision("c", Verdict(TIE), judgments, gold=gold, group=group)


def rated(scores, gold=RIGHT, group="natural"):
    """A case whose responses were rated one by one, so that no order was played."""
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    judgments = (game((7.0,), (0,)), game((8.0,), (1,)))
    return Decision("c", verdict, judgments, gold=gold, group=group)


# ---- JudgeBench ----

PUBLISHED = {
    ("arena_hard", "o1-mini-2024-09-12"): ("58.44", "62.24", "82.14", "78.57", "65.71"),
    ("reward_model", "Skywork_Skywork-Reward-Gemma-2-27B"): ("59.74", "66.33", "83.93", "50.00", "64.29"),
    ("reward_model", "Ray2333_GRM-Gemma-2B-rewardmodel-ft"): ("62.99", "53.06", "64.29", "54.76", "59.43"),
}
IN_THE_TABLE = {
    "Skywork_Skywork-Reward-Gemma-2-27B": "Skywork-Reward-Gemma-2-27B",
    "Ray2333_GRM-Gemma-2B-rewardmodel-ft": "GRM-Gemma-2B",
}


def outputs(judge, model):
    """Raw outputs of a judge on the GPT-4o pairs."""
    split = "dataset=judgebench,response_model=gpt-4o-2024-05-13"
    return shared("judgebench", "outputs", f"{split},judge_name={judge},judge_model={model}.jsonl")


def percent(value):
    return f"{100 * value:.2f}"


@pytest.mark.parametrize(("judge", "expected"), PUBLISHED.items(), ids=[m for _, m in PUBLISHED])
def test_judgebench_published_scores(judge, expected):
    card = JUDGEBENCH.score(JUDGEBENCH.recorded(outputs(*judge)))
    assert [g.name for g in card.groups] == ["knowledge", "reasoning", "math", "coding"]
    assert tuple(percent(g.value) for g in (*card.groups, card.headline)) == expected
    assert (card.headline.n, sum(card.statuses.values())) == (350, 700)
    assert all(g.interval[0] < g.value < g.interval[1] for g in (*card.groups, card.headline))


@pytest.mark.parametrize(("model", "row"), IN_THE_TABLE.items())
def test_judgebench_agrees_with_the_published_table(model, row):
    with shared("reference_scores.csv").open(newline="") as file:
        lines = [
            r for r in csv.DictReader(file) if r["benchmark"].startswith("JudgeBench") and r["model"] == row
        ]
    card = JUDGEBENCH.score(JUDGEBENCH.recorded(outputs("reward_model", model)))
    ours = {g.name: percent(g.value) for g in (*card.groups, card.headline)}
    assert {r["metric"]: f"{float(r['value']):.2f}" for r in lines} == ours


def test_judgebench_statistics_of_a_recorded_judge():
    # o1-mini's decisions, both orders: counted by hand from the raw labels.
    card = JUDGEBENCH.score(JUDGEBENCH.recorded(outputs("arena_hard", "o1-mini-2024-09-12")))
    assert card.statistics["consistency"] == pytest.approx((121 + 114 + 5) / 350)
    assert card.statistics["first_shown_both"] == pytest.approx(58 / 350)
    # First shown won: 121 + 58 + 4 given, 114 + 58 + 12 reversed; winners: 700 less 8 + 4 + 12 + 10 + 2 * 5.
    assert card.statistics["first_shown"] == pytest.approx((183 + 184) / 656)


def test_judgebench_reward_model_flips_three_pairs():
    judge = outputs("reward_model", "Skywork_Skywork-Reward-Gemma-2-27B")
    decisions = list(JUDGEBENCH.recorded(judge))
    assert JUDGEBENCH.score(decisions).statistics["consistency"] == pytest.approx(347 / 350)
    assert sum(winner(d.verdict.scores) is None for d in decisions) == 3


@pytest.mark.parametrize(
    ("benchmark", "sizes"),
    [
        (JUDGEBENCH, {"knowledge": 154, "reasoning": 98, "math": 56, "coding": 42}),
        (JUDGEBENCH_CLAUDE, {"knowledge": 154, "reasoning": 51, "math": 34, "coding": 31}),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_judgebench_sizes(benchmark, sizes):
    for folder in (shared("judgebench"), shared("judgebench", "data"), ROOT):
        cases = list(benchmark.load(folder))
        assert Counter(c.group for c in cases) == sizes
    assert len({c.id for c in cases}) == len(cases)
    assert {c.gold for c in cases} == {RIGHT, WRONG}
    assert all(c.meta["response_model"].startswith(("gpt-4o", "claude-3-5")) for c in cases)


def test_judgebench_refuses_the_other_split():
    folder = shared("judgebench", "data")
    claude = next(f for f in folder.iterdir() if "claude" in f.name)
    assert len(list(JUDGEBENCH_CLAUDE.load(claude))) == 270
    with pytest.raises(InputError, match="claude-3-5-sonnet-20240620, expected gpt-4o"):
        list(JUDGEBENCH.load(claude))


# ScalerLab/JudgeBench @e2c52c2, utils/metrics.py: right when the net vote is above zero.
@pytest.mark.parametrize(
    ("given", "reverse", "right"),
    [
        (RIGHT, RIGHT, 1),
        (RIGHT, TIE, 1),
        (TIE, RIGHT, 1),
        (RIGHT, NULL, 1),
        (NULL, RIGHT, 1),
        (RIGHT, WRONG, 0),
        (WRONG, RIGHT, 0),
        (WRONG, TIE, 0),
        (WRONG, NULL, 0),
        (WRONG, WRONG, 0),
        (TIE, TIE, 0),
        (TIE, NULL, 0),
        (NULL, NULL, 0),
    ],
)
@pytest.mark.parametrize("gold", [RIGHT, WRONG])
def test_judgebench_rule_of_two_orders(given, reverse, right, gold):
    flip = {RIGHT: WRONG, WRONG: RIGHT}
    said = (given, reverse) if gold == RIGHT else (flip.get(given, given), flip.get(reverse, reverse))
    card = JUDGEBENCH.score([pair(*said, gold=gold)])
    assert card.headline.value == right
    assert "not judged in both orders" not in card.unresolved


@pytest.mark.parametrize(("scores", "right"), [(RIGHT, 1), (WRONG, 0), (TIE, 0), (NULL, 0)])
@pytest.mark.parametrize("order", [GIVEN, REVERSED])
def test_judgebench_single_game_is_told(scores, right, order):
    single = Decision(
        "c", Verdict(scores) if scores else Verdict(), (game(scores, order),), gold=RIGHT, group="math"
    )
    card = JUDGEBENCH.score([single, pair(WRONG, WRONG)])
    assert card.headline.value == right / 2
    assert "1 of 2 pairs were not judged in both orders" in card.unresolved


def test_judgebench_overall_is_over_pairs_not_over_categories():
    decisions = [pair(RIGHT, RIGHT, group="coding")] + [pair(WRONG, WRONG)] * 3
    card = JUDGEBENCH.score(decisions)
    assert card.headline.value == 0.25
    assert [(g.name, g.value, g.n) for g in card.groups] == [("math", 0.0, 3), ("coding", 1.0, 1)]
    assert card.statuses == {"ok": 8}


def test_judgebench_statistics():
    decisions = [pair(RIGHT, RIGHT), pair(RIGHT, WRONG), pair(TIE, TIE), pair(NULL, NULL)]
    # Shown first wins: given order (RIGHT: yes), reversed (RIGHT: no), then both; four games have winners.
    assert JUDGEBENCH.score(decisions).statistics == {
        "accuracy_given_order": 0.5,
        "accuracy_reversed_order": 0.25,
        "consistency": 0.5,
        "first_shown": 0.75,
        "first_shown_both": 0.25,
    }


def test_judgebench_rated_responses_have_no_order():
    card = JUDGEBENCH.score([rated((0.7, 0.2)), rated((0.2, 0.7))])
    assert card.headline.value == 0.5
    assert card.statistics == {}


def test_judgebench_needs_gold():
    with pytest.raises(InputError, match="gold is None"):
        JUDGEBENCH.score([pair(RIGHT, RIGHT, gold=None)])
    with pytest.raises(InputError, match="no decisions"):
        JUDGEBENCH.score([])


def raw(tmp_path, *games, label="A>B", **fields):
    """A file with one row of a judge's raw output."""
    row = {"pair_id": "p", "source": "livecodebench", "question": "Q", "response_model": "gpt-4o-2024-05-13"}
    row |= {"response_A": "first", "response_B": "second", "label": label, "judgments": list(games)} | fields
    file = tmp_path / "raw.jsonl"
    file.write_text(f"\n{json.dumps(row)}\n", encoding="utf-8")
    return file


def says(decision, prompt="P", response="R"):
    return {"decision": decision, "judgment": {"prompt": prompt, "response": response}}


def test_recorded_labels_are_mapped_back_from_their_slots(tmp_path):
    (decision,) = JUDGEBENCH.recorded(raw(tmp_path, says("A>B"), says("A>B", "R", "R")))
    first, second = decision.judgments
    assert (first.query.order, first.verdict.scores) == (GIVEN, RIGHT)
    assert (second.query.order, second.verdict.scores) == (REVERSED, WRONG)
    assert (first.verdict.via, first.completion.text) == ("recorded", "R")
    # The Arena-Hard runs repeat the answer where the prompt should be.
    assert ([m.content for m in first.query.messages], second.query.messages) == (["P"], ())
    assert (decision.verdict.scores, decision.agreement) == (TIE, 0.0)
    assert (decision.gold, decision.group, decision.meta["source"]) == (RIGHT, "coding", "livecodebench")


@pytest.mark.parametrize(
    ("recorded", "status", "scores"),
    [
        (says("A=B"), "ok", TIE),
        (says("B>A"), "ok", WRONG),
        (says(None), "unparsed", None),
        (None, "unparsed", None),
        (says("A<B"), "unparsed", None),
        (says("A>>B"), "unparsed", None),
    ],
)
def test_recorded_labels(tmp_path, recorded, status, scores):
    (decision,) = JUDGEBENCH.recorded(raw(tmp_path, recorded))
    (judgment,) = decision.judgments
    assert (judgment.verdict.status, judgment.verdict.scores) == (status, scores)
    assert bool(judgment.verdict.note) == (status == "unparsed")
    assert statuses([decision]) == {status: 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": "A"}, r"line 2: .*label"),
        ({"question": 3}, r"line 2: .*question"),
        ({"source": "gsm8k"}, "source 'gsm8k'"),
        ({"response_model": "llama"}, "by llama, expected gpt-4o"),
        ({"judgments": []}, "has 0 judgments"),
    ],
)
def test_judgebench_bad_rows_are_named(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        list(JUDGEBENCH.recorded(raw(tmp_path, says("A>B"), **fields)))


def test_missing_files_are_named(tmp_path):
    for benchmark in (JUDGEBENCH, LLMBAR):
        with pytest.raises(InputError, match=tmp_path.name):
            list(benchmark.load(tmp_path))
        with pytest.raises(InputError, match="cannot be read"):
            list(benchmark.recorded(tmp_path / "evaluators" / "none.json"))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no pairs"):
        list(JUDGEBENCH.load(tmp_path / "empty.jsonl"))


# ---- LLMBar ----

RUNS = ("GPT-4/Vanilla", "GPT-4/CoT", "ChatGPT/Rating", "LLaMA2/CoT")


def official(file):
    """The published statistics as shares: "94 / 100 = 94.0%" is 0.94; kappas are plain numbers."""
    published = json.loads(file.read_text())
    shares = {k: float(v.split("=")[-1].rstrip("%")) / 100 for k, v in published.items() if k[:5] != "kappa"}
    return shares | {f"official_{k}": v for k, v in published.items() if k[:5] == "kappa"}


@pytest.mark.parametrize("run", RUNS)
def test_llmbar_every_official_statistic(run):
    root = shared("llmbar")
    card = LLMBAR.score(LLMBAR.recorded(Path(f"{root}#{run}")))
    expected = {
        f"{group}/{name}": value
        for group, folder in SETS.items()
        for name, value in official(root / folder / "evaluators" / run / "statistics.json").items()
    }
    assert len(expected) == 45
    ours = {k: v for k, v in card.statistics.items() if "/" in k}
    assert ours == pytest.approx(expected, rel=0, abs=1e-12)


def test_llmbar_runs_named_here_are_all_runs_at_hand():
    files = list(shared("llmbar").rglob("statistics.json"))
    assert Counter("/".join(f.parts[-3:-1]) for f in files) == dict.fromkeys(RUNS, 5)


def test_llmbar_published_row():
    # LLMBar, table of GPT-4 with the Vanilla* prompt: five sets, Adversarial, Average.
    card = LLMBAR.score(LLMBAR.recorded(Path(f"{shared('llmbar')}#GPT-4/Vanilla")))
    row = [g.value for g in card.groups] + [card.statistics["adversarial"], card.headline.value]
    assert [f"{100 * v:.1f}" for v in row] == ["95.5", "78.7", "86.4", "77.7", "80.4", "80.8", "83.7"]
    assert [g.name for g in card.groups] == ["natural", "neighbor", "gptinst", "gptout", "manual"]
    assert (card.headline.name, card.headline.n) == ("average", 419)
    assert card.headline.interval[0] < card.headline.value < card.headline.interval[1]


def test_llmbar_unparsed_verdicts_are_counted():
    card = LLMBAR.score(LLMBAR.recorded(Path(f"{shared('llmbar')}#LLaMA2/CoT")))
    assert card.statuses == {"ok": 834, "unparsed": 4}


def test_llmbar_sizes():
    sizes = {"natural": 100, "neighbor": 134, "gptinst": 92, "gptout": 47, "manual": 46}
    for folder in (shared("llmbar"), ROOT):
        cases = list(LLMBAR.load(folder))
        assert Counter(c.group for c in cases) == sizes
    assert len({c.id for c in cases}) == 419
    assert sum(c.gold == RIGHT for c in cases if c.group == "natural") == 42


def test_llmbar_recorded_texts_belong_to_the_cases_loaded():
    root = shared("llmbar")
    decisions = list(LLMBAR.recorded(Path(f"{root}#GPT-4/CoT")))
    assert [(d.case_id, d.gold) for d in decisions] == [(c.id, c.gold) for c in LLMBAR.load(root)]
    assert all(j.verdict.via == "recorded" and j.completion.text for d in decisions for j in d.judgments)


def test_llmbar_one_result_file():
    file = shared("llmbar", "Adversarial", "Manual", "evaluators", "ChatGPT", "Rating", "result.json")
    decisions = list(LLMBAR.recorded(file))
    assert {d.group for d in decisions} == {"manual"}
    given, reverse = decisions[0].judgments
    assert given.completion.text.splitlines() == reverse.completion.text.splitlines()[::-1]
    card = LLMBAR.score(decisions)
    assert (card.headline.name, card.headline.n) == ("mean of manual", 46)
    assert "average" not in card.statistics


def test_llmbar_folder_without_a_judge_says_which_there_are():
    with pytest.raises(InputError) as caught:
        list(LLMBAR.recorded(shared("llmbar")))
    assert all(f"#{run}" in caught.value.hint for run in RUNS)


def llmbar(*decisions):
    """Statistics of one set, its name left out."""
    statistics = LLMBAR.score(decisions).statistics
    return {k.removeprefix("natural/"): v for k, v in statistics.items()}


@pytest.mark.parametrize(
    ("given", "reverse", "average", "both", "equal"),
    [
        (RIGHT, RIGHT, 1, 1, 1),
        (RIGHT, WRONG, 0.5, 0, 0),
        (RIGHT, NULL, 0.5, 0, 0),
        (NULL, RIGHT, 0.5, 0, 0),
        (WRONG, NULL, 0, 0, 0),
        (NULL, NULL, 0, 0, 1),
        (TIE, NULL, 0, 0, 1),
        (TIE, RIGHT, 0.5, 0, 0),
    ],
)
def test_llmbar_none_is_wrong_in_its_order_and_agrees_with_none(given, reverse, average, both, equal):
    ours = llmbar(pair(given, reverse, group="natural"))
    assert (ours["correct_average"], ours["correct_both"], ours["equal"]) == (average, both, equal)
    assert (ours["correct_False"], ours["correct_True"]) == (given == RIGHT, reverse == RIGHT)


def test_llmbar_official_kappa_takes_a_right_two_as_wrong():
    perfect = [pair(RIGHT, RIGHT, RIGHT, "natural"), pair(WRONG, WRONG, WRONG, "natural")]
    ours = llmbar(*perfect)
    # Predictions 1, 0 against labels 1, 2: half agree, a quarter by chance.
    assert ours["official_kappa_average"] == pytest.approx(1 / 3)
    assert ours["official_kappa_agreement"] == 1
    # None is a 0 as "2" is.
    nulls = llmbar(perfect[0], pair(NULL, NULL, WRONG, "natural"))
    assert nulls["official_kappa_False"] == ours["official_kappa_False"]
    # One kind of answer only: agreement by chance is certain, and there is no kappa to state.
    assert "official_kappa_agreement" not in llmbar(perfect[0])


@pytest.mark.parametrize(("scores", "average"), [((7, 3), 1), ((3, 7), 0), ((5, 5), 0.5), (NULL, 0.5)])
@pytest.mark.parametrize("gold", [RIGHT, WRONG])
def test_llmbar_ratings_that_draw_are_half_right(scores, average, gold):
    ours = llmbar(rated(scores, gold))
    assert ours["correct_average"] == (average if gold == RIGHT else 1 - average)


def test_llmbar_average_weighs_sets_equally():
    sets = {name: [pair(WRONG, WRONG, group=name)] * 2 for name in SETS}
    sets["natural"] = [pair(RIGHT, RIGHT, group="natural")] * 8
    sets["manual"] = [pair(RIGHT, WRONG, group="manual")] * 3
    card = LLMBAR.score([d for ds in sets.values() for d in ds])
    assert card.headline.value == pytest.approx((1 + 0.5) / 5)
    assert card.statistics["adversarial"] == pytest.approx(0.5 / 4)
    assert card.headline.n == 17


def test_llmbar_single_order_is_told_and_states_no_agreement():
    single = Decision("c", Verdict(RIGHT), (game(RIGHT, REVERSED),), gold=RIGHT, group="natural")
    card = LLMBAR.score([single])
    assert "1 of 1 cases were judged in one order only" in card.unresolved
    assert {k: v for k, v in card.statistics.items() if "/" in k} == {
        "natural/correct_True": 1,
        "natural/correct_average": 1,
    }


@pytest.mark.parametrize(
    ("finish", "status"),
    [("stop", "unparsed"), ("length", "truncated"), ("content management policy", "refused")],
)
def test_llmbar_recorded_null_says_why(tmp_path, finish, status):
    result = {"swap = False": {"completion": ["t", finish], "winner": None, "prompt": "P"}}
    result["swap = True"] = {"completion": ["t", "stop"], "winner": "2"}
    row = {"input": "Q", "output_1": "a", "output_2": "b", "label": 2, "results": [["step", "stop"], result]}
    file = tmp_path / "Base_9" / "evaluators" / "J" / "P" / "result.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps([row]))
    (decision,) = LLMBAR.recorded(file)
    first, second = decision.judgments
    assert (first.verdict.status, first.query.messages[0].content) == (status, "P")
    # The official program maps winners back itself, so "2" is the second response in both orders.
    assert (second.query.order, second.verdict.scores) == (REVERSED, WRONG)
    assert (decision.group, decision.verdict.scores) == ("base_9", WRONG)


def test_llmbar_bad_results_are_named(tmp_path):
    file = tmp_path / "S" / "evaluators" / "J" / "P" / "result.json"
    file.parent.mkdir(parents=True)
    row = {"input": "Q", "output_1": "a", "output_2": "b", "label": 2}
    for results, message in [([], "no results"), ([{"winner": "1"}], "not a result of two orders")]:
        file.write_text(json.dumps([row | {"results": results}]))
        with pytest.raises(InputError, match=message):
            list(LLMBAR.recorded(file))
    file.write_text(json.dumps([row | {"label": 3}]))
    with pytest.raises(InputError, match="label"):
        list(LLMBAR.recorded(file))


# ---- what they share ----


@pytest.mark.parametrize(
    ("votes", "best"),
    [
        ([RIGHT, RIGHT, WRONG], 0),
        ([(0.6, 0.4), WRONG, WRONG], 1),
        ([RIGHT, NULL, NULL], 0),
        ([RIGHT, TIE, TIE], 0),
        ([RIGHT, WRONG], None),
        ([TIE, NULL], None),
    ],
)
def test_votes_of_one_order_become_their_majority(votes, best):
    decision = Decision("c", Verdict(), (*(game(v, REVERSED) for v in votes), game(WRONG)))
    verdicts = by_order(decision)
    assert set(verdicts) == {GIVEN, REVERSED}
    assert winner(verdicts[REVERSED].scores) == best
    assert verdicts[REVERSED].scores is not None
    assert best is not None or verdicts[REVERSED].scores == TIE


def test_votes_without_any_verdict_have_none():
    failures = [game(None, status=s) for s in (Status.UNPARSED, Status.FAILED, Status.FAILED)]
    verdict = by_order(Decision("c", Verdict(), tuple(failures)))[GIVEN]
    assert (verdict.scores, verdict.status) == (None, Status.FAILED)
    assert statuses([Decision("c", Verdict(), tuple(failures))]) == {"unparsed": 1, "failed": 2}


def test_pairs_are_right_when_the_same_response_wins():
    def case(scores, gold, group=None):
        return Decision(
            "c", Verdict(scores) if scores else Verdict(status=Status.FAILED), gold=gold, group=group
        )

    decisions = [
        case((0.9, 0.1), RIGHT, "x"),
        case((3.0, 4.0), RIGHT, "x"),
        case(TIE, RIGHT, "y"),
        case(NULL, RIGHT, "y"),
        case(TIE, TIE),
        case(NULL, TIE),
        case(RIGHT, None),
    ]
    card = score_pairs(decisions, "mine")
    assert (card.headline.value, card.headline.n) == (2 / 6, 6)
    assert card.statistics == {"ties": 2, "unresolved": 2, "without_gold": 1}
    assert [(g.name, g.value) for g in card.groups] == [("x", 0.5), ("y", 0.0), ("ungrouped", 0.5)]
    assert card.headline.interval == pytest.approx((0.0967714, 0.7000067), abs=1e-6)


def test_ratings_and_cases_without_gold_are_not_graded():
    card = score_pairs([Decision("c", Verdict(RIGHT)), Decision("d", Verdict((4.0,)), gold=(4.0,))])
    assert card.headline is None
    assert card.statistics["without_gold"] == 2


def test_every_benchmark_says_its_source_and_its_rule():
    for benchmark in (JUDGEBENCH, JUDGEBENCH_CLAUDE, LLMBAR):
        assert "@" in benchmark.source
        assert "MIT" in benchmark.source
        assert benchmark.unresolved.endswith(".")
