"""Auto-J pairwise: rows of the published layout (written here, none is real) and the rules one by one."""

import json

import pytest

from jurist.benchmarks.autoj import AUTOJ, FILE, GROUPS, OUTPUT, SCENARIOS
from jurist.benchmarks.autoj_critique import AUTOJ_CRITIQUE
from jurist.core.errors import InputError
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Status, Verdict

FIRST, SECOND, TIE, NULL = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), None
ORDERS = ((0, 1), (1, 0))


def decision(*said, gold=FIRST, group="Code"):
    """A pair judged in the given order, then in the exchanged one; scores stand in the order of the case."""
    verdicts = [Verdict(s) if s else Verdict(status=Status.UNPARSED) for s in said]
    games = [Query("c", order, 0, (), Sampling()) for order in ORDERS]
    judgments = tuple(Judgment(q, Completion(), v) for q, v in zip(games, verdicts, strict=False))
    return Decision("c", verdicts[0], judgments, gold=gold, group=group)


def test_58_scenarios_in_8_groups():
    assert (len(GROUPS), len(SCENARIOS)) == (8, 58)
    assert [len(names.split()) for names in GROUPS.values()] == [3, 3, 5, 5, 9, 10, 12, 11]


# GAIR-NLP/auto-j @2ae17a3, codes/leaderboard/pairwise_eval.py: both orders name the label, a tie included.
@pytest.mark.parametrize(
    ("given", "exchanged", "gold", "right", "consistent"),
    [
        (FIRST, FIRST, FIRST, 1, 1),
        (FIRST, FIRST, TIE, 0, 1),
        (TIE, TIE, TIE, 1, 1),
        (TIE, TIE, SECOND, 0, 1),
        (FIRST, SECOND, FIRST, 0, 0),
        (SECOND, FIRST, TIE, 0, 0),
        (SECOND, TIE, SECOND, 0, 0),
        ((0.3, 0.7), SECOND, SECOND, 1, 1),
        (FIRST, NULL, FIRST, 0, 0),
        (NULL, TIE, TIE, 0, 0),
        (NULL, NULL, TIE, 0, 0),
    ],
)
def test_both_orders_must_name_the_label(given, exchanged, gold, right, consistent):
    card = AUTOJ.score([decision(given, exchanged, gold=gold)])
    assert (card.headline.value, card.statistics["consistency"]) == (right, consistent)
    assert card.unresolved == AUTOJ.unresolved


@pytest.mark.parametrize(("said", "gold", "right"), [(FIRST, FIRST, 1), (TIE, TIE, 1), (NULL, TIE, 0)])
def test_one_order_is_plain_accuracy_and_told(said, gold, right):
    card = AUTOJ.score([decision(said, gold=gold)])
    assert (card.headline.value, card.statistics) == (right, {})
    assert "1 of 1 pairs were not judged in both orders" in card.unresolved
    rated = Decision("c", Verdict((7.0, 4.0)), gold=FIRST, group="Code")
    assert AUTOJ.score([rated]).headline.value == 1


def test_groups_are_in_published_order_overall_over_pairs():
    code = [decision(FIRST, FIRST), decision(FIRST, SECOND), decision(TIE, TIE)]
    card = AUTOJ.score([*code, decision(TIE, TIE, gold=TIE, group="Summarization")])
    assert [(g.name, g.value, g.n) for g in card.groups] == [("Summarization", 1, 1), ("Code", 1 / 3, 3)]
    assert (card.headline.value, card.headline.n) == (0.5, 4)
    expected = {"consistency": 3 / 4, "consistency/Summarization": 1, "consistency/Code": 2 / 3}
    assert card.statistics == pytest.approx(expected)


@pytest.mark.parametrize("gold", [None, (4.0,)])
def test_gold_that_is_no_pair_is_named(gold):
    with pytest.raises(InputError, match="expected that of a pair"):
        AUTOJ.score([decision(FIRST, gold=gold)])
    with pytest.raises(InputError, match="no decisions"):
        AUTOJ.score([])


def layout(tmp_path, *rows, given=(), exchanged=()):
    """A folder as published: pairs, and the predictions of a judge for both orders."""
    for folder, name, lines in (
        ("test", FILE, rows),
        ("outputs", OUTPUT, [{"output": label} for label in given]),
        ("outputs", OUTPUT.replace("pairwise_", "pairwise_exchange_"), [{"output": x} for x in exchanged]),
    ):
        file = tmp_path / "data" / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def row(label, scenario="code_generation", **fields):
    texts = {"prompt": "Write.", "response 1": "one", "response 2": "two"}
    return {"scenario": scenario, "label": label, **texts, **fields}


def test_rows_become_pairs(tmp_path):
    cases = list(AUTOJ.load(layout(tmp_path, row(0), row(1, "others"), row(2, "chitchat"))))
    assert [c.gold for c in cases] == [FIRST, SECOND, TIE]
    assert [c.group for c in cases] == ["Code", "NLP Tasks", "General Communication"]
    assert (cases[0].id, cases[0].prompt[0].content, cases[0].responses) == ("1", "Write.", ("one", "two"))
    assert cases[1].meta == {"scenario": "others"}
    assert list(AUTOJ.load(tmp_path / "data" / "test" / FILE)) == cases


def test_recorded_labels_are_mapped_back_from_their_slots(tmp_path):
    # In the exchanged order 0 means the response shown first, which is the second.
    folder = layout(tmp_path, row(0), row(0), row(2), given=(0, 0, 2), exchanged=(1, 0, 2))
    decisions = list(AUTOJ.recorded(folder))
    assert decisions == list(AUTOJ.recorded(folder / "data" / "outputs" / OUTPUT))
    said = [[j.verdict.scores for j in d.judgments] for d in decisions]
    assert said == [[FIRST, FIRST], [FIRST, SECOND], [TIE, TIE]]
    assert [j.query.order for j in decisions[0].judgments] == list(ORDERS)
    card = AUTOJ.score(decisions)
    assert card.headline.value == pytest.approx(2 / 3) == card.statistics["consistency"]
    assert card.statuses == {"ok": 6}


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        ([row(3)], (0,), r"line 1: .*label"),
        ([row(0, "cooking")], (0,), "row 1: scenario 'cooking' is none of the 58"),
        ([row(0)], (7,), r"line 1: .*output"),
        ([row(0), row(1)], (0,), "1 predictions and 1 for the exchanged order, expected one for each of 2"),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, given, message):
    with pytest.raises(InputError, match=message):
        list(AUTOJ.recorded(layout(tmp_path, *rows, given=given, exchanged=given)))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=FILE):
        list(AUTOJ.load(tmp_path))
    with pytest.raises(InputError, match=OUTPUT):
        list(AUTOJ.recorded(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        list(AUTOJ.recorded(tmp_path / OUTPUT))


# ---- critiques ----


def critique_layout(tmp_path, *comparisons):
    """A folder as published: responses, critiques of a critic and of ChatGPT, and GPT-4's comparisons."""
    rows = [{"scenario": "chitchat", "prompt": f"q{i}", "response": f"r{i}"} for i in range(len(comparisons))]
    for name, lines in (
        ("test/testdata_critique.jsonl", rows),
        ("test/reference_chatgpt_critique.jsonl", [{"output": f"c{i}"} for i in range(len(rows))]),
        ("outputs/critique_example_output.jsonl", [{"output": f"a{i}"} for i in range(len(rows))]),
        ("outputs/gpt-4-Eval_auto-j_vs_chatgpt.jsonl", comparisons),
    ):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def compared(text, *, exchange=False):
    return {"output": f"{text}\nreasons: B: ...", "meta": {"exchange": exchange, "idx": 0}}


def test_critiques_are_counted_as_officially(tmp_path):
    texts = ["A: Feedback 1 is better", "B: Feedback 2 is better", "C: They are alike", "A: or B: who knows"]
    folder = critique_layout(tmp_path, *(compared(t) for t in texts), compared(texts[0], exchange=True))
    decisions = list(AUTOJ_CRITIQUE.recorded(folder))
    assert decisions == list(
        AUTOJ_CRITIQUE.recorded(folder / "data/outputs/gpt-4-Eval_auto-j_vs_chatgpt.jsonl")
    )
    assert [d.verdict.scores for d in decisions] == [FIRST, SECOND, TIE, None, SECOND]
    card = AUTOJ_CRITIQUE.score(decisions)
    assert (card.headline.name, card.headline.value) == ("mean of 5 of 232 pairs", 1 / 5)
    assert card.statistics == {"ties": 1}
    assert card.statuses == {"ok": 4, "unparsed": 1}
    assert [g.name for g in card.groups] == ["General Communication"]
    (folder / "data/test/testdata_critique.jsonl").write_text("")
    with pytest.raises(InputError, match="5 comparisons of 0 responses"):
        list(AUTOJ_CRITIQUE.recorded(folder))


def test_pairs_of_critiques_are_cases(tmp_path):
    cases = list(AUTOJ_CRITIQUE.load(critique_layout(tmp_path, compared("A:"), compared("B:"))))
    assert [c.responses for c in cases] == [("a0", "c0"), ("a1", "c1")]
    assert "[Response]\nr1" in cases[1].prompt[0].content
    other = tmp_path / "data" / "outputs" / "mine.jsonl"
    other.write_text(json.dumps({"output": "m0"}) + "\n" + json.dumps({"output": "m1"}) + "\n")
    assert [c.responses[0] for c in AUTOJ_CRITIQUE.load(other)] == ["m0", "m1"]
    other.write_text(json.dumps({"output": "m0"}) + "\n")
    with pytest.raises(InputError, match="1 critiques, 2 of ChatGPT, 2 responses"):
        list(AUTOJ_CRITIQUE.load(other))
    with pytest.raises(InputError, match="no file testdata_critique"):
        list(AUTOJ_CRITIQUE.load(tmp_path / "data" / "outputs"))
