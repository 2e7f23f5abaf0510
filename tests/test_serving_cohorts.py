"""Groups over HTTP, from several processes, with losses and dropped connections: the benchmark, small."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

FILE = Path(__file__).parents[1] / "benchmarks" / "cohorts.py"


@pytest.fixture(scope="module")
def cohorts():
    spec = importlib.util.spec_from_file_location("cohorts", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["cohorts"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["cohorts"]


@pytest.mark.slow
def test_every_sample_is_answered_once_and_by_its_own_group(cohorts):
    found = cohorts.measure(groups=40, processes=4, seconds=2, wait=3)
    planned = cohorts.plan(40, 4, 2, 3)
    assert found.sent == len(planned) == 320 - found.lost
    assert found.lost
    assert found.dropped == sum(s.held is not None for s in planned) > 0
    assert 0 < found.retries <= found.dropped
    assert found.groups == 40
    # Whoever misses a sibling waits for it, and no longer; the others do not wait.
    assert found.tail < 3 <= found.partial_median < 6


@pytest.mark.slow
def test_a_stopped_server_mixes_and_splits_no_group(cohorts):
    found = cohorts.measure(groups=40, processes=4, seconds=2, wait=3, paused=4)
    assert (found.groups, found.retries) == (40, found.dropped)


def test_the_plan_is_repeatable_and_spreads_siblings(cohorts):
    samples = cohorts.plan(200, 16, 10, 5)
    assert samples == cohorts.plan(200, 16, 10, 5)
    assert len({s.process for s in samples}) == 16
    share = 1 - len(samples) / 1600
    assert 0.03 < share < 0.07
    assert 0.03 < sum(s.held is not None for s in samples) / len(samples) < 0.07


def _answered(cohorts):
    """A group of three with the answers that it must get."""
    samples = [cohorts.Sample(7, i, strength, 0, 0.0, True) for i, strength in enumerate((30, 10, 20))]
    rows = []
    for own in samples:
        others = [s for s in samples if s is not own]
        trace = [{"text": f"g7.{own.sibling} against g7.{o.sibling}", "order": [own.sibling]} for o in others]
        weaker = sum(o.strength < own.strength for o in others)
        answer = {"status": "ok", "siblings": 3, "reward": weaker / 2, "index": own.sibling, "trace": trace}
        rows.append(
            {"group": 7, "sibling": own.sibling, "first": 1.0, "last": 1.0, "answered": 1.5, "answer": answer}
        )
    return samples, rows, {"samples": 3, "judged": 1, "partial": 1}


def test_right_answers_pass(cohorts):
    figures = cohorts.checked(*_answered(cohorts), 1.0, 1)
    assert (figures.sent, figures.lost, figures.partial, figures.partial_median) == (3, 5, 1, 0.5)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows, _: rows.pop(),
        lambda rows, _: rows.append(rows[0]),
        lambda rows, _: rows[0]["answer"].update(reward=0.5),
        lambda rows, _: rows[0]["answer"].update(siblings=4),
        lambda rows, _: rows[0]["answer"]["trace"][0].update(text="g7.0 against g8.1"),
        lambda rows, _: rows[0]["answer"]["trace"].pop(),
        lambda rows, _: rows[0]["answer"].update(index=2),
        lambda _, counts: counts.update(samples=4),
        lambda _, counts: counts.update(late=1),
        lambda _, counts: counts.update(waiting=1),
    ],
)
def test_whatever_is_wrong_is_found(cohorts, spoil):
    samples, rows, counts = _answered(cohorts)
    spoil(rows, counts)
    with pytest.raises(AssertionError):
        cohorts.checked(samples, rows, counts, 1.0, 1)


def test_a_dropped_sample_is_another_than_one_that_is_kept(cohorts):
    sample = cohorts.Sample(1, 2, 3, 0, 0.0, False)
    assert "key" not in cohorts._body(sample)
    assert cohorts._body(replace(sample, keyed=True))["key"] == "2"
