"""PPE: rows of the published schema (written here, none is real), the counts, rankings and curves by hand."""

import json
from pathlib import Path

import pytest

from jurist.benchmarks.ppe import (
    PPE_CORRECTNESS,
    PPE_HUMAN,
    SETS,
    kendall,
    rankings,
    spearman,
)
from jurist.core.errors import InputError
from jurist.core.types import Decision, Status, Verdict

FIRST, SECOND, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vote(winner="model_a", **fields):
    """A row of the schema on the card of PPE-Human-Preference-V1, some of its columns left out."""
    row = {"question_id": "q7", "model_a": "m1", "model_b": "m2", "winner": winner, "prompt": "Why?"}
    row |= {"response_1": "one", "response_2": "two", "language": "English", "is_code": False}
    flags = {"hard_prompt": True, "easy_prompt": False, "if_prompt": False, "math_prompt": True}
    extra = {"conv_metadata": {"turns": 1}, "category_tag": {"math_v0.1": {"math": True}}, "sim": 0.5}
    return row | flags | extra | fields


def question(scores=(True, False, False), pairs=((0, 1), (2, 0)), **fields):
    """A row of the schema on the cards of the five best-of-k sets; three answers stand for 32."""
    answers = {f"response_{i + 1}": f"answer {i}" for i in range(len(scores))}
    row = {"question_id": "q", "model_name": "m", "prompt": "Solve.", "scores": scores, **answers}
    return row | {"mean_score": 0.3, "conflict_pairs": pairs, "sampled_conflict_pairs": pairs} | fields


# ---- human preference ----


@pytest.mark.parametrize(
    ("winner", "gold"), [("model_a", FIRST), ("model_b", SECOND), ("tie", TIE), ("tie (bothbad)", TIE)]
)
def test_a_vote_becomes_a_pair(tmp_path, winner, gold):
    (case,) = PPE_HUMAN.load(write(tmp_path / "votes.jsonl", vote(winner)))
    assert (case.id, case.responses, case.gold) == ("1", ("one", "two"), gold)
    assert (case.prompt[0].content, case.meta["models"], case.meta["vote"]) == ("Why?", ["m1", "m2"], winner)
    assert case.meta["categories"] == ["hard_prompt", "math_prompt"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"winner": "a"}, r":2: .*winner"), ({"prompt": None}, r":2: .*prompt")],
)
def test_bad_votes_are_named(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        list(PPE_HUMAN.load(write(tmp_path / "votes.jsonl", vote(), vote(**fields))))


def decision(scores, gold=FIRST, group=None, **meta):
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    return Decision("c", verdict, gold=gold, group=group, meta=meta)


def test_accuracy_is_over_votes_with_a_winner():
    card = PPE_HUMAN.score(
        [
            decision(FIRST, categories=["is_code", "hard_prompt"]),
            decision(SECOND, SECOND, categories=["hard_prompt"]),
            decision(SECOND),
            decision(TIE),
            decision(None),
            decision(TIE, TIE, categories=["is_code"]),
        ]
    )
    assert (card.headline.value, card.headline.n) == (2 / 5, 5)
    assert card.headline.interval[0] < 2 / 5 < card.headline.interval[1]
    assert [(g.name, g.value, g.n) for g in card.groups] == [("hard_prompt", 1, 2), ("is_code", 1, 1)]
    assert card.statistics == {"tied_votes": 1}
    assert PPE_HUMAN.score([decision(TIE, TIE)]).headline is None


@pytest.mark.parametrize("gold", [None, (4.0,)])
@pytest.mark.parametrize("benchmark", [PPE_HUMAN, PPE_CORRECTNESS], ids=lambda b: b.name)
def test_gold_that_is_no_pair_is_named(benchmark, gold):
    with pytest.raises(InputError, match="expected that of a pair"):
        benchmark.score([decision(FIRST, gold)])
    with pytest.raises(InputError, match="no decisions"):
        benchmark.score([])


def battles(*games, times=40):
    """Votes between models and what the judge said of them: (first, second, people, judge)."""
    return [decision(ours, people, models=[a, b]) for a, b, people, ours in games for _ in range(times)]


ORDERED = [("a", "b"), ("a", "c"), ("b", "c")]


def test_a_judge_that_says_what_people_say_ranks_as_they_do():
    # a and b are equals, and both beat c: two of the three pairs can be told apart.
    found = rankings(battles(("a", "b", TIE, TIE), ("a", "c", FIRST, FIRST), ("b", "c", FIRST, FIRST)))
    assert found == {
        "spearman": pytest.approx(1),
        "kendall": 1,
        "row_pearson": pytest.approx(1),
        "separability": pytest.approx(2 / 3),
        "confidence_agreement": pytest.approx(2 / 3),
        "brier": pytest.approx(0, abs=1e-6),
    }


def test_errors_shrink_with_the_votes():
    few, many = (rankings(battles(*((a, b, FIRST, FIRST) for a, b in ORDERED), times=n)) for n in (1, 40))
    assert (few["separability"], many["separability"]) == (0, 1)
    assert few["brier"] > 100 * many["brier"]


def test_a_judge_that_says_the_opposite_separates_and_disagrees():
    games = [(a, b, FIRST, SECOND) for a, b in ORDERED]
    found = rankings(battles(*games))
    assert (found["spearman"], found["kendall"]) == (-1, -1)
    assert (found["separability"], found["confidence_agreement"]) == (1, -1)
    assert found["brier"] == pytest.approx(1, abs=0.01)
    right = rankings(battles(*((a, b, FIRST, FIRST) for a, b in ORDERED)))
    assert right["confidence_agreement"] == 1
    assert right["brier"] == pytest.approx(0, abs=0.01)


def test_a_judge_without_an_opinion_separates_nothing():
    found = rankings(battles(*((a, b, FIRST, TIE) for a, b in ORDERED)))
    assert found == {"separability": 0, "confidence_agreement": 0, "brier": pytest.approx(1 / 4)}


def test_rows_correlate_by_hand():
    # Against b and c, people let a win 3 of 4 and 1 of 4, the judge 1 of 4 and 3 of 4; b and c met one only.
    a_b = [("a", "b", FIRST, SECOND)] * 2 + [("a", "b", FIRST, FIRST), ("b", "a", FIRST, FIRST)]
    a_c = [("a", "c", SECOND, FIRST)] * 2 + [("a", "c", FIRST, FIRST), ("c", "a", FIRST, FIRST)]
    assert rankings(battles(*a_b, *a_c, times=1))["row_pearson"] == pytest.approx(-1)


def test_votes_that_rank_nothing_are_left_out():
    same = battles(("a", "a", FIRST, FIRST), ("a", "b", FIRST, None))
    assert rankings(same) == rankings([decision(FIRST)]) == {}


@pytest.mark.parametrize(
    ("a", "b", "rho", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 4, 3], 0.8, 4 / 6),
        ([1, 2, 3], [3, 2, 1], -1, -1),
        # Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: 4.5 / sqrt(4.5 * 5); tau-b 5 / sqrt(5 * 6).
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / 22.5**0.5, 5 / 30**0.5),
        ([1, 1, 1], [1, 2, 3], None, None),
        ([], [], None, None),
    ],
)
def test_rank_correlations_by_hand(a, b, rho, tau):
    assert (spearman(a, b), kendall(a, b)) == (pytest.approx(rho), pytest.approx(tau))


# ---- correctness ----


def test_a_question_becomes_its_sampled_pairs(tmp_path):
    file = write(tmp_path / "ppe_mbpp_plus_best_of_k.jsonl", question(), question((False, True), [[0, 1]]))
    cases = list(PPE_CORRECTNESS.load(file))
    assert [(c.id, c.responses, c.gold) for c in cases] == [
        ("MBPP-Plus/1/1", ("answer 0", "answer 1"), FIRST),
        ("MBPP-Plus/1/2", ("answer 2", "answer 0"), SECOND),
        ("MBPP-Plus/2/1", ("answer 0", "answer 1"), SECOND),
    ]
    assert {(c.group, c.prompt[0].content, c.reference) for c in cases} == {("MBPP-Plus", "Solve.", None)}


def test_a_folder_holds_all_five_sets(tmp_path):
    folder = tmp_path / "sets"
    folder.mkdir()
    for name in SETS:
        write(folder / f"PPE-{name}-Best-of-K.jsonl", question())
    assert [c.group for c in PPE_CORRECTNESS.load(folder)] == [name for name in SETS for _ in range(2)]
    (folder / "PPE-GPQA-Best-of-K.jsonl").unlink()
    with pytest.raises(InputError, match="nothing here is named after GPQA"):
        list(PPE_CORRECTNESS.load(folder))
    with pytest.raises(InputError, match="its name tells none of the sets MMLU-Pro"):
        list(PPE_CORRECTNESS.load(write(tmp_path / "rows.jsonl", question())))


@pytest.mark.parametrize("source", ["hf:lmarena-ai", "hf:lmarena-ai/PPE-MATH-Best-of-K"])
def test_the_hub_is_asked_for_the_published_names(monkeypatch, source):
    asked = []
    monkeypatch.setattr(
        "jurist.benchmarks.ppe.read_rows", lambda path, _: asked.append(str(path)) or iter([question()])
    )
    cases = list(PPE_CORRECTNESS.load(Path(source)))
    names = SETS if source == "hf:lmarena-ai" else ("MATH",)
    assert asked == [f"hf:lmarena-ai/PPE-{name}-Best-of-K" for name in names]
    assert len(cases) == 2 * len(names)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (question(pairs=[[1, 2]]), r"row 2: sampled_conflict_pairs: \(1, 2\) is not a right and a wrong"),
        (question(pairs=[[0, -1]]), r"\(0, -1\) is not"),
        (question(pairs=[[0, 9]]), "row 2: list index"),
        (question(response_2=None), "row 2: Expected `str`"),
        ({"prompt": "Solve."}, "row 2: no field 'scores'"),
    ],
)
def test_bad_questions_are_named(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        list(PPE_CORRECTNESS.load(write(tmp_path / "ppe-gpqa.jsonl", question(), row)))


def test_correctness_is_the_mean_of_the_sets():
    small = [decision(FIRST, group="GPQA"), decision(TIE, group="GPQA")]
    card = PPE_CORRECTNESS.score([*small, *[decision(FIRST, group="MATH")] * 3, decision(None, group="MATH")])
    assert (card.headline.name, card.headline.value) == ("mean of MATH, GPQA", (0.75 + 0.5) / 2)
    assert [(g.name, g.value, g.n) for g in card.groups] == [("MATH", 0.75, 4), ("GPQA", 0.5, 2)]
    assert card.statistics == {"micro": 4 / 6}
    assert PPE_CORRECTNESS.score([decision(FIRST, group=name) for name in SETS]).headline.name == (
        "mean of the five sets"
    )


# ---- curves of recorded scores ----


def test_repositories_of_the_hub_are_read_as_they_are_laid_out(tmp_path):
    human = tmp_path / "PPE-Human-Preference-V1"
    for folder in (human, *(tmp_path / f"PPE-{name}-Best-of-K" for name in SETS)):
        (folder / "data").mkdir(parents=True)
        (folder / "README.md").write_text("a card")
    write(human / "data" / "test-00000-of-00002.jsonl", vote())
    write(human / "data" / "test-00001-of-00002.jsonl", vote("tie"))
    for path in (human, tmp_path):
        assert [c.gold for c in PPE_HUMAN.load(path)] == [FIRST, TIE]
    for name in SETS:
        write(tmp_path / f"PPE-{name}-Best-of-K" / "data" / "train-00000-of-00001.jsonl", question())
    assert [c.group for c in PPE_CORRECTNESS.load(tmp_path)] == [name for name in SETS for _ in range(2)]
    assert len(list(PPE_CORRECTNESS.load(tmp_path / "PPE-MATH-Best-of-K"))) == 2
