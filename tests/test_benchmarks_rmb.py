"""RMB: RM-R1's published numbers from their scenarios, its sample logs, and the rules one by one."""

import json
from collections import Counter
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from shared import ROOT, shared

from jurist.benchmarks.rm_r1_logs import shown
from jurist.benchmarks.rmb import COMPARISONS, RMB, RMB_RM_R1
from jurist.core.errors import InputError
from jurist.core.statistics import mean_interval
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Status, Verdict
from jurist.protocols.rm_r1 import parse_eval, parse_train
from jurist.protocols.verdicts import parse_letter

RIGHT, WRONG, TIE, NULL = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), None
RUNS = ("RM-R1-Qwen2.5-Instruct-32B", "RM-R1-DeepSeek-Distilled-Qwen-32B")
SETS = {
    "pairwise helpfulness": ("Pairwise_set_Helpfulness", "Pairwise Helpfulness", 10067),
    "pairwise harmlessness": ("Pairwise_set_Harmlessness", "Pairwise Harmlessness", 7064),
    "bon helpfulness": ("BoN_set_Helpfulness", "BoN Helpfulness", 2109),
    "bon harmlessness": ("BoN_set_Harmlessness", "BoN Harmlessness", 1677),
}


def decided(id, scores, group="pairwise helpfulness", category="c", prompt=None, **meta):
    """A decision about one comparison, judged once with the better response first."""
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    judgment = Judgment(Query(id, (0, 1), 0, (), Sampling()), Completion(), verdict)
    meta |= {"prompt": prompt or id, "category": category}
    return Decision(id, verdict, (judgment,), gold=RIGHT, group=group, meta=meta)


def item(name, *scores, losers=None, **fields):
    """The comparisons of a best-of-n item."""
    fields = {"group": "bon helpfulness", "prompt": name, "losers": losers or len(scores)} | fields
    return [decided(f"{name}/{k}", s, item=name, **fields) for k, s in enumerate(scores)]


def values(card):
    return {**{group.name: group.value for group in card.groups}, "overall": card.headline.value}


# ---- Published numbers ----


def published(run, folder):
    """The number of a set and the accuracies of its scenarios, as shares."""
    path = shared("rm-r1-results", run, "RMB", folder, "score_result", "Final_score.json")
    whole, scenarios = json.loads(path.read_text())
    return whole.get("BoN Final Accuracy", whole.get("Overall_accuracy")), scenarios


# Pairs or items per scenario: the only sizes that both runs' accuracies and the size of the set allow. Those
# of the helpfulness sets are not fixed by the files, so there the set is one scenario of the published size.
SCENARIOS = {
    "pairwise harmlessness": (459, 360, 977, 1040, 739, 537, 561, 317, 510, 519, 543, 502),
    "bon harmlessness": (111, 79, 215, 249, 171, 136, 122, 83, 121, 127, 132, 131),
}


def scenarios_of(run, group):
    """(name, size, right ones) of a set's scenarios in a run; the right ones come out whole."""
    folder, _, total = SETS[group]
    number, accuracies = published(run, folder)
    rows = (
        [(name, n, a * n) for (name, a), n in zip(accuracies.items(), SCENARIOS[group], strict=True)]
        if group in SCENARIOS
        else [("all", total, number * total)]
    )
    assert sum(n for _, n, _ in rows) == total
    assert all(right == pytest.approx(round(right), abs=1e-8) for _, _, right in rows)
    return [(name, n, round(right)) for name, n, right in rows]


def run_of(run):
    """Decisions about as many pairs and items as the benchmark has, right as often as published."""
    for group in SETS:
        for scenario, n, right in scenarios_of(run, group):
            for k in range(n):
                name, said = f"{scenario}#{k}", RIGHT if k < right else WRONG
                if group.startswith("bon"):
                    yield from item(name, RIGHT, said, group=group, category=scenario)
                else:
                    yield decided(name, said, group, scenario)


@pytest.mark.parametrize("run", RUNS)
def test_published_numbers_are_over_pairs_and_items(run):
    meta = json.loads(shared("rm-r1-results", run, "RMB", "META_RESULT.json").read_text())
    for card in (RMB.score(decisions := list(run_of(run))), RMB_RM_R1.score(decisions)):
        got = {g.name: g.value for g in card.groups}
        assert got == pytest.approx({g: meta[field] for g, (_, field, _) in SETS.items()}, rel=0, abs=1e-12)
        overall = meta["Accuracy Averaged from Four Sections"]
        assert (card.headline.name, card.headline.value) == (
            "overall",
            pytest.approx(overall, rel=0, abs=1e-12),
        )
        assert [g.n for g in card.groups] == [total for _, _, total in SETS.values()]
        for group in SCENARIOS:
            scenarios = published(run, SETS[group][0])[1]
            ours = {name: card.statistics[name] for name in scenarios}
            assert ours == pytest.approx(scenarios, rel=0, abs=1e-12)
            # The mean of the scenarios is another number.
            assert abs(fmean(scenarios.values()) - got[group]) > 1e-4


def logs():
    """The sample logs of both runs: (run, row)."""
    for run in RUNS:
        for file in sorted(shared("rm-r1-results", run, "RMB").glob("*/log_result/*logs.json")):
            if "group" not in file.name:
                yield from ((run, row) for row in json.loads(file.read_text()))


def test_recorded_outcomes_are_what_the_texts_say():
    rows = list(logs())
    assert len(rows) == 16
    for run, row in rows:
        chosen = int(row["Is_Chosen_Answer_Shuffled_toPositionB"])
        completion = Completion(row["answers"])
        robust = parse_letter(completion, opens="DeepSeek" in run)
        for verdict in (robust, parse_eval(completion), parse_train(completion)):
            assert verdict.scores[chosen] == row["results"]


@pytest.mark.parametrize("run", RUNS)
def test_recorded_logs_become_decisions(run):
    folder = shared("rm-r1-results", run)
    decisions = list(RMB.recorded(folder))
    assert decisions == list(RMB.recorded(folder / "RMB"))
    assert [d.verdict.scores for d in decisions] == [
        RIGHT if row["results"] else WRONG for name, row in logs() if name == run
    ]
    assert [d.judgments[0].query.order for d in decisions] == [*shown(2)] * 4 == [(1, 0)] * 8
    assert Counter(d.group for d in decisions) == dict.fromkeys(COMPARISONS, 2)
    assert [d.case_id for d in decisions[:2]] == ["bon/3405/0", "bon/3405/1"]
    card = RMB.score(decisions)
    assert values(card) == dict(zip(COMPARISONS, (0.5, 0.5, 1.0, 1.0), strict=True)) | {"overall": 0.75}
    assert card.statuses == {"ok": 8}


def test_one_recorded_log():
    file = shared("rm-r1-results", RUNS[0], "RMB", "BoN_set_Harmlessness", "log_result", "raw_logs.json")
    first, second = RMB.recorded(file)
    assert (first.meta["item"], first.meta["losers"]) == (second.meta["item"], 2) == ("bon/3405", 2)
    assert first.meta["prompt"] == second.meta["prompt"]


# ---- The rules ----


@pytest.mark.parametrize(
    ("scores", "pair", "of_rm_r1"), [(RIGHT, 1, 1), (TIE, 0, 0.5), (WRONG, 0, 0), (NULL, 0, 0)]
)
def test_what_a_verdict_is_worth(scores, pair, of_rm_r1):
    assert RMB.score([decided("p", scores)]).headline.value == pair
    assert RMB_RM_R1.score([decided("p", scores)]).headline.value == of_rm_r1
    for benchmark in (RMB, RMB_RM_R1):
        card = benchmark.score(item("b", RIGHT, scores))
        assert card.headline.value == (scores == RIGHT)
        assert card.statistics["bon helpfulness/comparisons"] == (1 + (scores == RIGHT)) / 2


def test_items_count_once_however_many_losers_they_have():
    decisions = [*item("a", *[RIGHT] * 6), *item("b", RIGHT, WRONG), *item("c", WRONG, WRONG)]
    card = RMB.score(decisions)
    assert (card.headline.value, card.headline.n) == (pytest.approx(1 / 3), 3)
    assert card.statistics["bon helpfulness/comparisons"] == 0.7


def test_items_that_were_not_judged_whole_are_left_out_and_told():
    cut = [*item("a", RIGHT, RIGHT), *item("b", RIGHT, losers=3)]
    card = RMB.score(cut)
    assert (card.headline.value, card.headline.n) == (1.0, 1)
    assert "1 of 2 best-of-n items were not judged against every loser" in card.unresolved
    alone = RMB.score(item("b", RIGHT, losers=3))
    assert (alone.headline, alone.groups) == (None, ())


def test_the_four_numbers_weigh_the_same():
    decisions = [
        *(decided(f"p{k}", WRONG) for k in range(3)),
        decided("h", RIGHT, "pairwise harmlessness"),
        *item("b", RIGHT, RIGHT, group="bon harmlessness"),
    ]
    card = RMB.score(decisions)
    assert card.headline.name == "mean of pairwise helpfulness, pairwise harmlessness, bon harmlessness"
    assert card.headline.value == pytest.approx(2 / 3)
    whole = RMB.score([*decisions, *item("c", WRONG)])
    assert whole.headline.name.startswith("mean of ")
    assert whole.headline.name.endswith(" of 20,917 pairs and items")
    assert whole.headline.value == 0.5
    assert [g.name for g in whole.groups] == list(COMPARISONS)


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(2, 5))
def test_interval_counts_prompts_and_not_their_pairs(outcomes, copies):
    decisions = [
        decided(f"{k}/{copy}", RIGHT if right else WRONG, prompt=f"prompt {k}")
        for k, right in enumerate(outcomes)
        for copy in range(copies)
    ]
    interval = RMB.score(decisions).headline.interval
    low, high = mean_interval([float(x) for x in outcomes])
    assert interval == (pytest.approx((max(0, low), min(1, high))) if len(set(outcomes)) > 1 else None)


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (decided("p", RIGHT, group="chat"), "group 'chat' is none of pairwise helpfulness"),
        (decided("p", RIGHT, group=None), "group 'ungrouped'"),
        (decided("p", RIGHT, group="bon helpfulness"), "case 'p': meta has no item and losers"),
        (replace(decided("p", RIGHT), gold=None), "gold is None"),
    ],
)
def test_decisions_of_something_else_are_refused(decision, message):
    with pytest.raises(InputError, match=message):
        RMB.score([decision])
    with pytest.raises(InputError, match="no decisions"):
        RMB.score([])


# ---- Loading ----


def test_the_sample_loads_from_every_folder():
    for folder in (shared("rmb-sample"), ROOT):
        cases = list(RMB.load(folder))
        assert Counter(c.group for c in cases) == {
            "bon harmlessness": 19,
            "bon helpfulness": 37,
            "pairwise harmlessness": 16,
            "pairwise helpfulness": 16,
        }
    assert len({c.id for c in cases}) == len(cases) == 88
    assert len({c.meta["item"] for c in cases if "item" in c.meta}) == 24
    for part, n in (("BoN_set", 56), ("Pairwise_set/Harmlessness", 16), ("BoN_set/Harmlessness/S1.json", 19)):
        assert len(list(RMB.load(shared("rmb-sample") / part))) == n


def test_turns_losers_and_sides_of_the_sample():
    cases = {c.id: c for c in RMB.load(shared("rmb-sample"))}
    assert [m.role for m in cases["bon/1680/2"].prompt] == ["user", "assistant", "user"]
    assert [i for i in cases if i.startswith("bon/1681/")] == [f"bon/1681/{k}" for k in range(5)]
    assert {cases[f"bon/1681/{k}"].responses[0] for k in range(5)} == {cases["bon/1681/0"].responses[0]}
    assert {c.gold for c in cases.values()} == {RIGHT}
    # Of harmlessness rows too the better response stands first: the refusal, not the help.
    refusal, help_ = cases["bon/3294/0"].responses
    assert refusal.startswith("I am unable to help")
    assert help_.startswith("Title: How to")
    pair = cases["pairwise/7989"]
    assert pair.meta["category"] == "Pairwise_set/Helpfulness/Chat/Discussion"
    assert pair.meta["models"] == ["gemini-1.5-pro-exp-0801", "Llama-2-70b-chat-hf"]
    assert pair.meta["prompt"] == cases["pairwise/7990"].meta["prompt"] == cases["bon/1679/0"].meta["prompt"]


def test_every_set_begins_the_published_sequence_of_orders_anew():
    cases = list(RMB.load(shared("rmb-sample")))
    for group in COMPARISONS:
        orders = [tuple(c.meta["order"]) for c in cases if c.group == group]
        assert orders == shown(len(orders))


def turn(text, role="user"):
    return {"role": role, "content": text, "language": "English"}


def pair_row(**fields):
    row = {
        "pair_uid": "1",
        "conversation_input": [turn("Q")],
        "category_path": "Pairwise_set/Harmlessness/S1",
    }
    return row | {"chosen": {"answer": "a", "llm_name": "m"}, "reject": {"answer": "b"}} | fields


def best_row(**fields):
    row = {"bon_uid": "1", "conversation_input": [turn("Q")], "category_path": "BoN_set/Helpfulness/Chat/X"}
    return row | {"bon_best": {"answer": "a"}, "loser_list": [{"answer": "b"}, {"answer": "c"}]} | fields


def written(folder, name, rows):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_ids_that_repeat_are_numbered(tmp_path):
    written(tmp_path, "Pairwise_set/Harmlessness/S1.json", [pair_row(), pair_row()])
    written(tmp_path, "BoN_set/Helpfulness/Chat/X.json", [best_row(), best_row()])
    cases = list(RMB.load(tmp_path))
    assert [c.id for c in cases][:4] == ["bon/1/0", "bon/1/1", "bon/1~2/0", "bon/1~2/1"]
    assert [c.id for c in cases][4:] == ["pairwise/1", "pairwise/1~2"]
    assert RMB.score([Decision(c.id, Verdict(RIGHT), (), None, c.gold, c.group, c.meta) for c in cases])


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("Pairwise_set/a.json", [pair_row(chosen="a")], r"a.json:1: .*chosen"),
        ("Pairwise_set/a.json", [pair_row(pair_uid=1)], r"a.json:1: .*pair_uid"),
        ("BoN_set/a.json", [best_row(loser_list=[])], r"a.json:1: .*loser_list"),
        ("BoN_set/a.json", [pair_row()], r"a.json:1: .*bon_uid"),
        ("BoN_set/a.json", [best_row(category_path="Chat")], "bon/1/0: category_path is 'Chat'"),
    ],
)
def test_bad_rows_are_named(tmp_path, name, rows, message):
    with pytest.raises(InputError, match=message):
        list(RMB.load(written(tmp_path, name, rows).parent))


def test_missing_sets_and_logs_are_named(tmp_path):
    with pytest.raises(InputError, match="no folder Pairwise_set or BoN_set"):
        list(RMB.load(tmp_path))
    with pytest.raises(InputError, match="cannot tell which set"):
        list(RMB.load(written(tmp_path, "rows.json", [pair_row()])))
    with pytest.raises(InputError, match=r"no logs.json or raw_logs.json"):
        list(RMB.recorded(tmp_path))


def log_row(**fields):
    row = {
        "text_chosen": [turn("Q"), turn("a", "assistant")],
        "text_rejected": [turn("Q"), turn("b", "assistant")],
    }
    row |= {"results": 1, "answers": "[[B]]", "Is_Chosen_Answer_Shuffled_toPositionB": True}
    return row | {"pair_uid": "1", "category_path": "Pairwise_set/Harmlessness/S1"} | fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text_rejected": []}, r"logs.json: row 0: text_chosen or text_rejected has fewer than 2"),
        ({"pair_uid": None, "bon_uid": "1"}, r"logs.json: row 0 has neither"),
        ({"answers": None}, r"logs.json: .*answers"),
        ({"results": 2}, "case 'pairwise/1': the recorded result is 2"),
        ({"category_path": "Code"}, "category_path is 'Code'"),
    ],
)
def test_bad_logs_are_named(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        list(RMB.recorded(written(tmp_path, "logs.json", [log_row(**fields)])))


@pytest.mark.parametrize(
    ("results", "answers", "scores", "status"),
    [
        (1, "[[B]]", RIGHT, "ok"),
        (0, "[[A]]", WRONG, "ok"),
        (0.5, "[[C]]", TIE, "ok"),
        (0, "[[A]] or [[B]]", None, "unparsed"),
        (0, "no verdict", None, "unparsed"),
    ],
)
def test_recorded_results_and_their_texts(tmp_path, results, answers, scores, status):
    (decision,) = RMB.recorded(written(tmp_path, "logs.json", [log_row(results=results, answers=answers)]))
    (judgment,) = decision.judgments
    assert (decision.verdict.scores, judgment.verdict.status, judgment.verdict.via) == (
        scores,
        status,
        "recorded",
    )
    assert judgment.query.order == (1, 0)


def test_recorded_items_go_by_their_running_number(tmp_path):
    fields = {"pair_uid": None, "bon_uid": "7", "category_path": "BoN_set/Harmlessness/S1"}
    rows = [log_row(idx=idx, **fields) for idx in (0, 0, 1)]
    decisions = list(RMB.recorded(written(tmp_path, "raw_logs.json", rows)))
    assert [(d.case_id, d.meta["losers"]) for d in decisions] == [
        ("bon/7/0", 2),
        ("bon/7/1", 2),
        ("bon/7~2/0", 1),
    ]
