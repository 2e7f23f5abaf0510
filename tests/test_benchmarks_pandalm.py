"""PandaLM: the real pairs and labels, macro averages by hand, recorded outputs of the published form."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import ROOT, shared

from jurist.benchmarks.fetch import place
from jurist.benchmarks.pandalm import FILE, PANDALM, macro
from jurist.core.errors import InputError
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Status, Verdict

FIRST, SECOND, TIE, NULL = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), None


def decision(scores, gold=FIRST, group="a_b", orders=((0, 1),)):
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    judgments = tuple(Judgment(Query("c", o, 0, (), Sampling()), Completion(), verdict) for o in orders)
    return Decision("c", verdict, judgments, gold=gold, group=group)


def test_the_real_pairs():
    cases = list(PANDALM.load(shared("pandalm")))
    assert cases == list(PANDALM.load(ROOT)) == list(PANDALM.load(shared("pandalm", FILE)))
    assert Counter(c.gold for c in cases) == {TIE: 105, FIRST: 422, SECOND: 472}
    assert len({c.id for c in cases}) == 999
    assert len(Counter(c.group for c in cases)) == 10
    assert Counter(len(set(c.meta["annotators"])) for c in cases) == {1: 879, 2: 120}
    assert all(isinstance(r, str) for c in cases for r in c.responses)
    assert sum("\n\n" in c.prompt[0].content for c in cases) >= 832
    assert {tuple(c.meta["order"]) for c in cases} == {(0, 1)}


@pytest.mark.parametrize(
    ("output", "published"),
    [
        ("pandalm-7b-testset-v1.json", ("66.77", "57.38", "57.50", "57.43")),
        ("gpt-3.5-turbo-testset-v1.json", ("71.07", "58.79", "57.36", "57.55")),
    ],
)
def test_published_scores(output, published):
    card = PANDALM.score(PANDALM.recorded(shared("pandalm", output)))
    assert tuple(f"{100 * v:.2f}" for v in (card.headline.value, *card.statistics.values())) == published


def test_one_class_for_all_real_pairs_by_hand():
    gold = [c.gold for c in PANDALM.load(shared("pandalm"))]
    card = PANDALM.score(decision(FIRST, g) for g in gold)
    share = 422 / 999
    assert (card.headline.value, card.headline.n) == (share, 999)
    f1 = 2 * share / (share + 1)
    assert list(card.statistics.values()) == pytest.approx([share / 3, 1 / 3, f1 / 3])


def test_macro_by_hand():
    # Gold by row, predicted by column: tie 1 0 1, first 1 2 0, second 0 1 2.
    cells = {(0, 0): 1, (0, 2): 1, (1, 0): 1, (1, 1): 2, (2, 1): 1, (2, 2): 2}
    found = macro([labels for labels, n in cells.items() for _ in range(n)])
    precision, recall = (1 / 2, 2 / 3, 2 / 3), (1 / 2, 2 / 3, 2 / 3)
    assert found == {
        "macro_precision": pytest.approx(sum(precision) / 3),
        "macro_recall": pytest.approx(sum(recall) / 3),
        "macro_f1": pytest.approx((1 / 2 + 2 / 3 + 2 / 3) / 3),
    }


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1))
def test_precision_and_recall_swap_with_gold_and_prediction(labels):
    found, turned = macro(labels), macro([(p, g) for g, p in labels])
    assert found["macro_precision"] == pytest.approx(turned["macro_recall"])
    assert found["macro_f1"] == pytest.approx(turned["macro_f1"])
    assert all(0 <= v <= 1 + 1e-12 for v in found.values())


@pytest.mark.parametrize(
    ("scores", "gold", "right"),
    [
        (FIRST, FIRST, 1),
        ((0.4, 0.6), SECOND, 1),
        (TIE, TIE, 1),
        (TIE, FIRST, 0),
        (SECOND, TIE, 0),
        (NULL, TIE, 1),
        (NULL, SECOND, 0),
    ],
)
def test_a_tie_and_silence_are_the_class_of_ties(scores, gold, right):
    assert PANDALM.score([decision(scores, gold)]).headline.value == right


def test_a_scorecard_with_groups_and_other_orders():
    swapped = decision(FIRST, orders=((0, 1), (1, 0)), group="c_d")
    card = PANDALM.score([decision(FIRST), decision(SECOND), swapped])
    assert [(g.name, g.value, g.n) for g in card.groups] == [("a_b", 0.5, 2), ("c_d", 1.0, 1)]
    assert card.statuses == {"ok": 4}
    assert "1 of 3 pairs were not judged in the given order alone" in card.unresolved
    assert PANDALM.score([decision(NULL)]).unresolved == PANDALM.unresolved


@pytest.mark.parametrize("gold", [None, (4.0,)])
def test_gold_that_is_no_pair_is_named(gold):
    with pytest.raises(InputError, match="expected that of a pair"):
        PANDALM.score([decision(FIRST, gold)])
    with pytest.raises(InputError, match="no decisions"):
        PANDALM.score([])


def pairs(tmp_path, *labels, **fields):
    """A file of pairs with these annotators' labels."""
    row = {"cmp_key": "a_b", "motivation_app": "IMDB", "instruction": "Do.", "input": "This."}
    rows = [
        row
        | {"idx": i, "response1": "one", "response2": True}
        | {f"annotator{n}": label for n, label in enumerate(said, 1)}
        | fields
        for i, said in enumerate(labels)
    ]
    (tmp_path / FILE).write_text(json.dumps(rows))
    return tmp_path


def test_recorded_labels(tmp_path):
    said = ["1", "2", "Tie", "tie", "garbage"]
    pairs(tmp_path, *[(1, 1, 2)] * 5)
    rows = [{"idx": i, "gpt_result": s, "gpt_reason": "Because."} for i, s in enumerate(said)]
    (tmp_path / "gpt.json").write_text(json.dumps(rows))
    decisions = list(PANDALM.recorded(tmp_path / "gpt.json"))
    assert [d.verdict.scores for d in decisions] == [FIRST, SECOND, TIE, TIE, None]
    assert decisions[4].judgments[0].verdict.note == "recorded as 'garbage'"
    assert decisions[0].judgments[0].completion.text == "Because."
    assert PANDALM.score(decisions).statuses == {"ok": 4, "unparsed": 1}
    rows = [{"idx": i, "pandalm_result": n, "pandalm_reason": ""} for i, n in enumerate((0, 1, 2, 1, 1))]
    (tmp_path / "pandalm.json").write_text(json.dumps(rows))
    own = [d.verdict.scores for d in PANDALM.recorded(tmp_path / "pandalm.json")]
    assert own == [TIE, FIRST, SECOND, FIRST, FIRST]


def test_a_pair_as_the_judge_sees_it(tmp_path):
    (case,) = PANDALM.load(pairs(tmp_path, (2, 0, 2)))
    assert (case.prompt[0].content, case.responses, case.gold) == ("Do.\n\nThis.", ("one", "True"), SECOND)
    (case,) = PANDALM.load(pairs(tmp_path, (0, 0, 2), input=""))
    assert (case.prompt[0].content, case.gold) == ("Do.", TIE)


@pytest.mark.parametrize(
    ("labels", "fields", "message"),
    [
        ((0, 1, 2), {}, r"pair 0: the annotators say \(0, 1, 2\)"),
        ((0, 0, 3), {}, "annotator3"),
        ((1, 1, 1), {"response1": 3}, "response1"),
    ],
)
def test_bad_pairs_are_named(tmp_path, labels, fields, message):
    with pytest.raises(InputError, match=message):
        list(PANDALM.load(pairs(tmp_path, labels, **fields)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "its idx are not those of the 1 pairs"),
        ([{"idx": 5, "gpt_result": "1"}], "its idx"),
        ([{"idx": 0}], "neither gpt_result"),
    ],
)
def test_bad_outputs_are_named(tmp_path, rows, message):
    pairs(tmp_path, (1, 1, 1))
    (tmp_path / "out.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match=message):
        list(PANDALM.recorded(tmp_path / "out.json"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=FILE):
        list(PANDALM.load(tmp_path))


def test_the_folder_of_the_package_does_not_hide_the_data(tmp_path):
    (tmp_path / "pandalm").mkdir()
    (tmp_path / "pandalm" / "__init__.py").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE).write_bytes(shared("pandalm", FILE).read_bytes())
    assert place(PANDALM, tmp_path) == tmp_path
    assert len(list(PANDALM.load(place(PANDALM, tmp_path)))) == 999
