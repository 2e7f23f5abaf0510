"""Rankings, ratings and rewards from recorded judgments; `jurist rank` and `best-of-n` from outside."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make import A_WINS, case, decide

import jurist
from jurist.benchmarks.base import PairsTally
from jurist.core.errors import InputError
from jurist.core.types import Completion, agrees
from jurist.deliberation.effort import escalate
from jurist.deliberation.tournaments import knockout, round_robin
from jurist.deliberation.votes import swapped
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge
from jurist.protocols.rubrics import rubrics
from jurist.reports.views.ranking import best_row
from jurist.rewards.ranking import matches_of, ranking_of, rewards_of


def strength(query):
    """The reply with the higher number wins."""
    text = query.messages[-1].content
    a, b = (int(part.split("[End")[0].split()[-1]) for part in text.split("[Reply ")[1:])
    return Completion(f"<answer>[[{'A' if a > b else 'B'}]]</answer>")


def by_strength(deliberation, *numbers):
    which = case("1", *(f"answer {n}" for n in numbers), gold=None)
    return decide(Judge(rubrics(), ScriptedEngine(strength)), deliberation, which), which


@given(
    st.lists(st.integers(0, 99), min_size=2, max_size=7, unique=True),
    st.sampled_from(["win-rate", "bradley-terry", "score"]),
)
def test_a_transitive_group_is_ranked_as_it_is(numbers, rating):
    decision, which = by_strength(round_robin(swapped()), *numbers)
    ranking = ranking_of(decision, len(numbers), rating)
    assert [numbers[i] for i in ranking.order] == sorted(numbers, reverse=True)
    assert ranking.matches == len(numbers) * (len(numbers) - 1) // 2
    assert best_row(decision, which)["best"] == numbers.index(max(numbers))


def test_ratings_with_their_errors_and_rewards():
    decision, _ = by_strength(round_robin(), 5, 9, 7)
    ranking = ranking_of(decision, 3, "bradley-terry")
    assert ranking.order == (1, 2, 0)
    assert len(ranking.errors) == 3
    assert rewards_of(ranking, "rank") == (0.0, 1.0, 0.5)
    assert sum(rewards_of(ranking, "standardised")) == pytest.approx(0)
    assert rewards_of(ranking_of(decision, 3, "elo"), "rrm")[1] > 0.5
    assert rewards_of(ranking, "none") is None


def test_identical_responses_share_rating_and_error():
    decision, _ = by_strength(round_robin(), 5, 9, 5)
    for rating in ("win-rate", "bradley-terry", "elo", "score"):
        ranking = ranking_of(decision, 3, rating)
        assert ranking.ratings[0] == ranking.ratings[2]
        assert ranking.errors is None or ranking.errors[0] == ranking.errors[2]


def test_an_overruled_look_is_no_match_and_no_vote():
    """A brief look that always says A is overruled by a long one; scorecards and ratings count the latter."""

    def script(query):
        return Completion(A_WINS) if query.sampling.max_tokens < 100 else strength(query)

    decision = decide(
        Judge(rubrics(), ScriptedEngine(script)), escalate(50), case("1", "answer 3", "answer 8")
    )
    assert len(decision.judgments) == 4
    assert [m.score for m in matches_of(decision)] == [0.0]
    tally = PairsTally()
    tally.add(decision)
    card = tally.scorecard()
    assert card.statistics["consistency"] == 1.0
    assert card.statistics["first_shown_wins"] == 0.5
    assert card.statuses == {"ok": 4}


def test_matches_of_a_tournament_are_counted_pair_by_pair():
    decision, _ = by_strength(knockout(swapped()), 1, 2, 3, 4)
    tally = PairsTally()
    tally.add(decision)
    assert tally.scorecard().statistics["consistency"] == 1.0
    assert tally.scorecard().statistics["first_shown_wins"] == 0.5


def test_no_verdict_is_no_ranking():
    decision = decide(Judge(rubrics(), ScriptedEngine("?")), knockout(), case("1", "x", "y", "z", gold=None))
    assert ranking_of(decision, 3, "elo").order == ()
    assert best_row(decision, case("1", "x", "y", "z"))["best"] is None


@pytest.mark.parametrize(
    ("scores", "gold", "right"),
    [
        ((1, 0), (1, 0), True),
        ((0.5, 0.5), (1, 0), False),
        ((0.5, 0.5), (0.5, 0.5), True),
        ((1, 0), (0.5, 0.5), False),
        ((0, 1, 0), (1, 1, 0), True),
        ((0, 0, 1), (1, 1, 0), False),
        ((1, 1, 0), (1, 1, 0), False),
        (None, (1, 0), False),
        (None, (0.5, 0.5), False),
    ],
)
def test_what_counts_as_right(scores, gold, right):
    assert agrees(scores, gold) is right


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jurist", *arguments], check=False, capture_output=True, text=True
    )


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


SAYS_A = ("--engine", f"scripted:{A_WINS}", "--protocol", "rubrics")


def test_rank_and_best_of_n_as_data(tmp_path):
    source = write(tmp_path / "c.jsonl", {"id": "q", "prompt": "p", "responses": ["x", "y", "z", "x"]})
    done = run("rank", source, *SAYS_A, "--reward", "rank")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert (row["matches"], sorted(row["ranking"]), row["rewards"]) == (3, [0, 1, 2, 3], [0.5] * 4)
    assert "round_robin(swapped)" in done.stderr
    done = run("best-of-n", source, *SAYS_A, "--deliberation", "knockout")
    row = json.loads(done.stdout)
    assert row["response"] in ("x", "y", "z")
    assert len(row["judgments"]) == 2


def test_a_choice_is_resumed_and_shown(tmp_path):
    source = write(
        tmp_path / "c.jsonl", *({"prompt": f"p{i}", "responses": ["x", "y", "z"]} for i in range(3))
    )
    for _ in range(2):
        done = run("best-of-n", source, *SAYS_A, "--out", str(tmp_path / "run"))
        assert done.returncode == 0, done.stderr
        assert "best to worst" in done.stdout
    assert "resumed" in done.stderr


def test_bad_requests_are_told(tmp_path):
    many = write(tmp_path / "m.jsonl", {"prompt": "p", "responses": [str(i) for i in range(1000)]})
    done = run("rank", many, *SAYS_A)
    assert done.returncode == 2
    assert "499500 matches" in done.stderr
    assert "knockout plays 999" in done.stderr
    done = run("rank", many, *SAYS_A, "--rating", "win-rate", "--reward", "rrm")
    assert "maps Elo ratings" in done.stderr
    assert run("rank").returncode == 2


def test_one_response_and_anchors_from_a_file(tmp_path):
    source = write(tmp_path / "a.jsonl", {"prompt": "p", "response": "x", "anchors": ["y", "z"]})
    done = run("judge", source, *SAYS_A, "--deliberation", "anchored", "--json")
    row = json.loads(done.stdout)
    assert row["verdict"]["scores"] == [0.5]
    assert row["verdict"]["errors"] == pytest.approx([0.25])


def test_the_python_door():
    options = {"engine": f"scripted:{A_WINS}", "protocol": "rubrics"}
    best = jurist.best_of_n("p", ["x", "y", "z"], deliberation="knockout", **options)
    assert best.response == ["x", "y", "z"][best.index]
    assert set(best.reasons) == {A_WINS}
    assert len(best.decision.judgments) == 2
    none = jurist.best_of_n("p", ["x", "y"], engine="scripted:hm", protocol="rubrics")
    assert (none.index, none.response, none.tied) == (None, None, ())
    assert repr(none) == "Best(no verdict: unparsed, judgments 2)"
    assert jurist.rank("p", ["x", "y"], **options).ratings == (0.0, 0.0)
    with pytest.raises(InputError, match="one or more responses"):
        jurist.rank("p", [], **options)
