"""metrics.jsonl: each step once whatever happened, nothing that is no number, and errors with a line."""

import math
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.core.errors import StoreError
from jurist.training.metrics import (
    Callback,
    Line,
    Metrics,
    MetricsCallback,
    numbers,
    read_metrics,
    unanswered,
)


def state(step=0, main=True, **more):
    return SimpleNamespace(global_step=step, epoch=step / 10, is_world_process_zero=main, **more)


def session(path, start, end, clock=lambda: 0.0, every=1):
    """Train from one step to another; the file is left open, as by a kill."""
    recorder = MetricsCallback(Metrics(path, clock=clock))
    recorder.on_train_begin(None, state(start), None)
    for step in range(start + 1, end + 1):
        if step % every == 0:
            recorder.on_log(None, state(step), None, logs={"loss": float(step), "epoch": step / 10})
    return recorder


def test_a_logged_line_is_on_disk_at_once_and_has_only_numbers(tmp_path):
    path, now = tmp_path / "metrics.jsonl", iter([5.0, 7.5])
    metrics = Metrics(path, clock=lambda: next(now))
    metrics.begin(0)
    metrics.add(3, 0.3, {"loss": math.nan, "reward": None, "kl": math.inf, "epoch": 0.3, "note": "x"})
    assert path.read_bytes() == b'{"step":3,"epoch":0.3,"seconds":2.5,"loss":null,"reward":null,"kl":null}\n'
    assert read_metrics(path) == [Line(3, 0.3, 2.5, {"loss": None, "reward": None, "kl": None})]


def test_numbers_of_any_package_are_numbers():
    assert numbers({"a": Fraction(1, 2), "b": True, "step": 4, "c": [1]}) == {"a": 0.5, "b": 1.0}


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), max_size=5), st.integers(1, 3))
def test_killed_and_resumed_each_step_stands_once(tmp_path_factory, kills, every):
    path, at, clock = tmp_path_factory.mktemp("run") / "metrics.jsonl", 0, iter(range(10_000))
    for more, lost in kills:
        session(path, at, at + more, lambda: next(clock), every)
        at = max(0, at + more - lost)
    session(path, at, at + 6, lambda: next(clock), every)
    lines = read_metrics(path)
    assert [line.step for line in lines] == [s for s in range(1, at + 7) if s % every == 0]
    seconds = [line.seconds for line in lines]
    assert seconds == sorted(seconds)


def test_seconds_go_on_and_a_summary_that_was_not_the_last_goes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    now = [0.0]
    first = session(path, 0, 2, lambda: now[0])
    now[0] = 20.0
    first.on_log(None, state(2), None, logs={"loss": 2.0})
    first.on_log(None, state(2), None, logs={"train_runtime": 20.0, "train_loss": 1.5})
    first.on_train_end(None, state(2), None)
    now[0] = 1000.0
    second = session(path, 2, 2, lambda: now[0])
    now[0] = 1003.0
    second.on_log(None, state(3), None, logs={"loss": 1.0})
    assert [(one.step, one.seconds) for one in read_metrics(path)] == [(1, 0), (2, 0), (2, 20), (3, 23)]


def test_a_new_training_in_the_folder_begins_an_empty_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    session(path, 0, 5)
    session(path, 0, 2)
    assert [line.step for line in read_metrics(path)] == [1, 2]


def test_a_torn_last_line_is_cut_and_said(tmp_path):
    path, said = tmp_path / "metrics.jsonl", []
    session(path, 0, 2)
    path.write_bytes(path.read_bytes() + b'{"step":3,"ep')
    assert len(read_metrics(path)) == 2
    Metrics(path, said.append).begin(2)
    assert len(said) == 1
    assert path.read_bytes().count(b"\n") == 2
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"step":1,"epoch":0,"seconds":0}\n[]\n', "metrics.jsonl:2: not a line"),
        ('{"step":1,"epoch":0}\n', "metrics.jsonl:1: no field 'seconds'"),
        ('{"step":1,"epoch":0,"seconds":0,"loss":"low"}\n', "metrics.jsonl:1"),
        (None, "cannot open .*metrics.jsonl"),
    ],
)
def test_a_file_of_something_else_is_an_error_with_its_line(tmp_path, text, match):
    path = tmp_path / "metrics.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StoreError, match=match):
        read_metrics(path)


def test_only_the_main_process_writes_and_only_after_the_start(tmp_path):
    path = tmp_path / "metrics.jsonl"
    recorder = MetricsCallback(Metrics(path))
    for event in (recorder.on_train_begin, recorder.on_log, recorder.on_train_end):
        event(None, state(1, main=False), None)
    assert not path.exists()
    with pytest.raises(StoreError, match="before the training began"):
        recorder.on_log(None, state(1), None, logs={"loss": 1.0})


def test_a_watcher_passes_over_events_and_has_nothing_else():
    assert Callback().on_any_event(None, model=1) is None
    with pytest.raises(AttributeError, match="'state'"):
        Callback().state  # noqa: B018 - the look-up is the test


@pytest.mark.parametrize(
    ("metrics", "share"),
    [
        ({"verdicts/unanswered": 0.25, "jurist/answered": 0.9}, 0.25),
        ({"jurist/answered": 0.9}, pytest.approx(0.1)),
        ({"reward": 1.0, "jurist/answered": None}, None),
    ],
)
def test_what_is_unanswered_is_read_under_either_name(metrics, share):
    assert unanswered(metrics) == share
