"""Thresholds of cascades: chosen right, told honestly, refused where there is nothing to choose from."""

import json
import subprocess
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make import write_pairs

from jurist.core.errors import InputError
from jurist.core.types import Decision, Verdict
from jurist.deliberation.calibration import Trial, calibrate, trials_of


def trials(*rows):
    return [
        Trial(str(i), lead, bool(cheap), bool(thorough), 100)
        for i, (lead, cheap, thorough) in enumerate(rows)
    ]


def test_the_threshold_worked_out_by_hand():
    # The cheap judge is right from a lead of 0.5 on, the thorough one always.
    rows = [(0.1 * i, i >= 5, True) for i in range(10)]
    found = calibrate(trials(*rows), loss=0.0)
    assert found.chosen.value == pytest.approx(0.5)
    assert (found.chosen.score.value, found.chosen.asked, found.chosen.tokens) == (1.0, 0.5, 50)
    assert (found.cheap.value, found.thorough.value, found.tokens) == (0.5, 1.0, 100)
    lax = calibrate(trials(*rows), loss=0.2)
    assert lax.chosen.value == pytest.approx(0.3)
    assert lax.chosen.score.value == pytest.approx(0.8)


def test_a_cheap_judge_that_is_as_good_is_never_overruled():
    assert calibrate(trials(*[(0.2, True, True)] * 10)).chosen.asked == 0
    assert calibrate(trials(*[(0.2, False, True)] * 10)).chosen.asked == 1
    assert calibrate(trials(*[(None, False, True)] * 10)).chosen.asked == 1


@given(
    st.lists(
        st.tuples(st.sampled_from([None, 0.1, 0.2, 0.5]), st.booleans(), st.booleans()),
        min_size=10,
        max_size=40,
    )
)
def test_the_choice_keeps_its_word_and_none_asks_less(rows):
    found = calibrate(trials(*rows), loss=0.05)
    enough = found.thorough.value - 0.05
    assert found.chosen.score.value >= enough - 1e-12
    cheaper = [s for s in found.steps if s.asked < found.chosen.asked]
    assert all(s.score.value < enough for s in cheaper)


def test_held_out_is_no_better_than_chance_on_noise():
    """Leads that say nothing: what looks like a gain on the cases of the choice is none on others."""
    random = Random(0)
    rows = [(random.random(), random.random() < 0.6, random.random() < 0.6) for _ in range(400)]
    found = calibrate(trials(*rows), loss=0.0)
    assert found.chosen.score.value >= found.thorough.value
    assert abs(found.held_out.score.value - 0.6) < 0.06


def test_too_few_cases_are_refused():
    decisions = [Decision(str(i), Verdict((1.0, 0.0)), gold=(1.0, 0.0)) for i in range(9)]
    with pytest.raises(InputError, match="9 cases with gold"):
        trials_of(decisions, decisions)


def test_the_command_from_outside(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 12)

    def run(*arguments):
        command = [sys.executable, "-m", "jurist", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    says = ("--engine", "scripted:<answer>[[A]]</answer>", "--protocol", "rubrics")
    for name, deliberation in (("cheap", "swapped"), ("thorough", "given")):
        run("judge", str(source), *says, "--deliberation", deliberation, "--out", str(tmp_path / name))
    folders = (str(tmp_path / "cheap"), str(tmp_path / "thorough"))
    found = json.loads(run("calibrate", *folders, "--json"))
    assert (found["cheap"]["value"], found["thorough"]["value"]) == (0.0, 1.0)
    assert found["chosen"]["asked"] == 1.0
    assert "thorough judge" in run("calibrate", *folders)
