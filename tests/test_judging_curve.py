"""The curve: points that are right, judgments that are shared, replays that are complete."""

import asyncio
import json
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from make import A_WINS, B_WINS

from jurist.benchmarks.base import score_pairs
from jurist.core.errors import JuristError
from jurist.core.types import Case, Completion, Decision, Message, Status, Usage, Verdict
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.build import JudgeSetup, assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.curve import curve, decided, policies_of
from jurist.reports.views.curve import draw_curve

POLICIES = ["vote({1,3,7,16})", "exact(16)", "confident(16)"]


def noisy(query):
    """Right with probability 0.75, by a hash of the query."""
    share = int.from_bytes(blake2b(query.key.encode(), digest_size=4).digest()) / 2**32
    a_is_good = query.order[0] == 0
    return Completion(A_WINS if (share < 0.75) == a_is_good else B_WINS, usage=Usage(100, 50))


def cases(n=150):
    return [Case(str(i), (Message("user", f"q{i}"),), ("good", "bad"), gold=(1.0, 0.0)) for i in range(n)]


class Counting(ScriptedEngine):
    def __init__(self):
        super().__init__(noisy)
        self.asked = 0

    async def __call__(self, query):
        self.asked += 1
        return await super().__call__(query)


def bench_of(engine):
    setup = assemble(JudgeConfig(engine="scripted:x", protocol="rubrics", deliberation="vote(16)"))
    return JudgeSetup(setup.protocol, engine, setup.sampling, setup.deliberate, setup.config)


def drawn(engine, policies=POLICIES, out=None, n=150):
    return asyncio.run(curve(bench_of(engine), cases(n), policies_of(policies), score_pairs, out=out))


def test_votes_help_and_stopping_early_is_cheaper():
    engine = Counting()
    points = {p.policy: p for p in drawn(engine)}
    assert engine.asked == 16 * 150
    assert points["vote(1)"].score.value < points["vote(7)"].score.value <= points["vote(16)"].score.value
    assert points["vote(16)"].judgments == 16
    assert points["vote(16)"].tokens == 800
    assert points["exact(16)"].score.value == points["vote(16)"].score.value
    assert points["exact(16)"].tokens < 0.8 * 800
    assert points["confident(16)"].tokens < 0.55 * 800
    assert points["confident(16)"].efficient
    assert not points["vote(16)"].efficient


def test_a_curve_is_not_paid_twice(tmp_path):
    first, again, more = Counting(), Counting(), Counting()
    points = drawn(first, out=tmp_path / "run", n=20)
    assert drawn(again, out=tmp_path / "run", n=20) == points
    assert again.asked == 0
    drawn(more, ["vote({16,18})"], out=tmp_path / "run", n=20)
    assert more.asked == 2 * 20


def test_a_tie_is_a_coin_and_no_verdict_is_wrong():
    def one(scores, gold):
        return Decision("1", Verdict(scores) if scores else Verdict(status=Status.TRUNCATED), gold=gold)

    cases = [
        (one((1.0, 0.0), (1.0, 0.0)), 1),
        (one((0.5, 0.5), (1.0, 0.0)), 0.5),
        (one((0.5, 0.5), (0.5, 0.5)), 1),
        (one((1.0, 0.0), (0.5, 0.5)), 0),
        (one((1.0, 1.0, 0.2), (1.0, 0.0, 1.0)), 0.5),
        (one(None, (1.0, 0.0)), 0),
    ]
    for decision, worth in cases:
        assert decided([decision]).headline.value == worth
    assert decided([d for d, _ in cases]).headline.value == 0.5
    assert decided([one((1.0, 0.0), None)]).headline is None


def test_policies_are_spelled_out_once():
    found = policies_of(["vote({1,2})", "swapped(vote({1, 2}))", "budget({0,64}, vote({1,2}))", "vote(2)"])
    assert [p.text for p in found] == [
        "vote(1)",
        "vote(2)",
        "swapped(vote(1))",
        "swapped(vote(2))",
        "budget(0, vote(1))",
        "budget(0, vote(2))",
        "budget(64, vote(1))",
        "budget(64, vote(2))",
    ]
    for bad in (["vote({1,0})"], ["nonsense"], []):
        with pytest.raises(JuristError):
            policies_of(bad)


def run(*arguments):
    command = [sys.executable, "-m", "jurist", "curve", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def write(path, gold=0):
    rows = [{"id": str(i), "prompt": f"q{i}", "responses": ["x", "y"], "gold": gold} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


SAYS_A = ("--engine", f"scripted:{A_WINS}", "--protocol", "rubrics")


def test_the_command_runs_keeps_draws_and_replays(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the extra: plot")
    source, kept = write(tmp_path / "p.jsonl"), tmp_path / "run"
    votes = ("--policy", "vote({1,2})", "--policy", "swapped")
    done = run(source, *SAYS_A, *votes, "--out", str(kept), "--plot", str(tmp_path / "c.svg"))
    assert done.returncode == 0, done.stderr
    assert "vote(2)" in done.stdout
    assert "• vote(1)" in done.stdout
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")
    points = json.loads((kept / "curve.json").read_text())
    assert [p["policy"] for p in points] == ["vote(1)", "vote(2)", "swapped"]
    replayed = run(source, "--engine", f"replay:{kept}", "--protocol", "rubrics", *votes, "--json")
    assert [json.loads(line) for line in replayed.stdout.splitlines()] == points
    lacking = run(source, "--engine", f"replay:{kept}", "--protocol", "rubrics", "--policy", "vote(3)")
    assert lacking.returncode == 2
    assert "lacks 4 judgments that vote(3) needs" in lacking.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--plot", "c.bmp"), "a picture ends in .svg"),
        (("--deliberation", "swapped"), "policies, not one deliberation"),
        (("--policy", "vote(0)"), "asks nothing"),
    ],
)
def test_bad_requests_are_told_before_anything_is_asked(tmp_path, arguments, words):
    done = run(write(tmp_path / "p.jsonl"), *SAYS_A, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_cases_without_gold_have_no_curve(tmp_path):
    done = run(write(tmp_path / "p.jsonl", gold=None), *SAYS_A, "--policy", "vote(1)")
    assert done.returncode == 2
    assert "needs cases with gold" in done.stderr


def test_a_picture_without_tokens_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the extra: plot")
    points = drawn(ScriptedEngine(A_WINS), ["vote({1,2})"], n=4)
    draw_curve(points, "free", tmp_path / "free.png")
    assert Path(tmp_path / "free.png").stat().st_size > 1000
