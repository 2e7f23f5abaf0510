"""The view of a training: what it shows, in how many lines, and that other output passes by unharmed."""

import io
import os
import pty
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jurist.training.progress import Progress, ProgressCallback, line, screen, sparkline

GRPO = {
    "loss": 0.0123,
    "kl": 0.0041,
    "reward": 0.5,
    "reward_std": 0.31,
    "groups/zero_variance": 0.25,
    "groups/replaced": 4.0,
    "verdicts/unanswered": 0.12,
    "completions/mean_length": 412.3,
    "completions/clipped_ratio": 0.03,
}
SFT = {"loss": 1.25, "mean_token_accuracy": 0.83, "learning_rate": 1e-5}
SCALAR = {"loss": 0.6, "accuracy": 0.62, "margin": 0.41, "mean_reward": 0.1}
HELD_OUT = {
    "held_out/accuracy": 0.714,
    "held_out/low": 0.662,
    "held_out/high": 0.761,
    "held_out/consistent": 0.84,
    "held_out/unanswered": 0.012,
}


def watched(logs, steps=10, total=40, each=2.0, begins=0, log=()):
    """What is seen after so many steps of a run that logs the same at each."""
    now = [0.0]
    progress = Progress(lambda: now[0])
    progress.begin(begins, total, log)
    for step in range(begins + 1, begins + steps + 1):
        now[0] += each
        progress.advance(step)
        progress.log(logs | {"num_tokens": 1000.0 * step}, step)
    progress.log(HELD_OUT, begins + steps)
    return progress


def drawn(progress, width=120, **options):
    console = Console(file=io.StringIO(), width=width, record=True, **options)
    console.print(screen("a training", progress))
    return console.export_text().splitlines()


def state(step, main=True, total=40):
    return SimpleNamespace(global_step=step, max_steps=total, log_history=[], is_world_process_zero=main)


@pytest.mark.parametrize(
    ("logs", "shown"),
    [
        (
            GRPO,
            [
                "a training",
                "step 10 of 40 0:00:20, 0:01:00 left",
                "reward 0.500 ± 0.31",
                "held-out 71.4% (66.2 to 76.1) 84.0% consistent 1.2% unanswered at step 10",
                "answers 12.0% unanswered 412 tokens 3.0% cut",
                "groups 25.0% without variance 4 replaced",
                "loss 0.0123 KL 0.0041",
                "speed 500 tokens/s 2.0 s a step",
            ],
        ),
        (
            SFT,
            [
                "a training",
                "step 10 of 40 0:00:20, 0:01:00 left",
                "held-out 71.4% (66.2 to 76.1) 84.0% consistent 1.2% unanswered at step 10",
                "loss 1.2500 83.0% of tokens right rate 1e-05",
                "speed 500 tokens/s 2.0 s a step",
            ],
        ),
        (
            SCALAR,
            [
                "a training",
                "step 10 of 40 0:00:20, 0:01:00 left",
                "held-out 71.4% (66.2 to 76.1) 84.0% consistent 1.2% unanswered at step 10",
                "pairs 62.0% right margin 0.410",
                "loss 0.6000",
                "speed 500 tokens/s 2.0 s a step",
            ],
        ),
    ],
)
def test_each_method_shows_what_was_measured_and_nothing_else(logs, shown):
    progress = watched(logs)
    assert [" ".join(re.sub("[▁-█━╸╺]+", "", row).split()) for row in drawn(progress)] == shown
    assert line(progress) == "step 10/40, " + ", ".join(
        re.sub("  +", "  ", name) for name in _values(progress)
    )


def _values(progress):
    rows = [row for row in drawn(progress, 200) if not row.startswith(("a training", "step"))]
    return [re.sub("[▁-█]+ +", "", row).strip() for row in map(_narrow, rows)] + ["0:01:00 left"]


def _narrow(row):
    name, _, rest = row.partition(" ")
    return f"{name} {rest.strip()}"


def test_the_screen_stays_one_on_a_narrow_terminal():
    rows = drawn(watched(GRPO | SCALAR | SFT), width=60)
    assert len(rows) == 9
    assert all(len(row) <= 60 for row in rows)


def test_before_the_first_step_there_is_a_screen_too():
    progress = Progress(lambda: 0.0)
    progress.begin(0, 0)
    assert len(drawn(progress)) == 2
    assert line(progress) == "step 0"


def test_pace_counts_this_session_and_the_curve_all_steps():
    earlier = [{"reward": -1.0, "reward_std": 0.1, "step": 5}, {"reward": 0.0, "step": 10}]
    progress = watched(GRPO, begins=20, steps=5, log=earlier)
    assert progress.left == pytest.approx(30.0)
    assert progress.history["reward"] == [-1.0, 0.0] + [0.5] * 5
    for step in range(26, 40):
        progress.advance(step)
    progress.log({"train_runtime": 1.0, "train_loss": 9.0}, 40)
    assert "train_loss" not in progress.latest


def test_tokens_that_only_the_ending_counts_are_no_pace():
    now = [0.0]
    progress = Progress(lambda: now[0])
    progress.begin(0, 3)
    for at, logs in ((1.0, {"loss": 1.0}), (2.0, {"num_tokens": float("nan")}), (3.0, {"num_tokens": None})):
        now[0] = at
        progress.log(logs, int(at))
    progress.log({"train_loss": 1.0, "num_tokens": 500.0}, 3)
    assert progress.tokens_per_second is None
    assert "train_loss" not in progress.latest
    now[0] = 9.0
    paced = watched(SFT, steps=2)
    pace = paced.tokens_per_second
    paced.log({"train_loss": 1.0, "num_tokens": 2000.0}, 2)
    assert paced.tokens_per_second == pace == 500.0


@given(st.lists(st.floats(-1e9, 1e9), max_size=200), st.integers(1, 40))
def test_a_sparkline_fits_and_rises_where_its_values_rise(values, width):
    bars = sparkline(sorted(values), width)
    assert len(bars) == (0 if len(values) < 2 else min(width, len(values)))
    assert list(bars) == sorted(bars)
    assert set(sparkline(values, width)) <= set("▁▂▃▄▅▆▇█")


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([0.0, 7.0], 8, "▁█"),
        ([float(i) for i in range(8)], 8, "▁▂▃▄▅▆▇█"),
        ([0.0, 2.0, 6.0, 8.0], 2, "▁█"),
        ([3.0, 3.0, 3.0], 8, "▁▁▁"),
        ([1.0, float("nan"), 2.0, float("inf")], 8, "▁█"),
    ],
)
def test_sparklines_by_hand(values, width, bars):
    assert sparkline(values, width) == bars


def logged(steps, **options):
    """The lines of a run of so many steps, a second each, that are written where there is no terminal."""
    now = [0.0]
    console = Console(file=io.StringIO(), width=300)
    with ProgressCallback("a training", console, clock=lambda: now[0], **options) as view:
        view.on_train_begin(None, state(0), None)
        for step in range(1, steps + 1):
            now[0] += 1.0
            view.on_step_end(None, state(step), None)
            view.on_log(None, state(step), None, logs=SFT)
            if step == 5:
                view.on_log(None, state(step), None, logs=HELD_OUT)
        view.on_train_end(None, state(steps), None)
    return [one.split(",")[0] for one in console.file.getvalue().splitlines()]


def test_without_a_terminal_progress_is_written_as_lines():
    assert logged(40, every=15) == [f"step {n}/40" for n in (1, 5, 20, 35, 40)]
    assert logged(39, every=100) == ["step 1/40", "step 5/40"]


def test_other_processes_show_nothing():
    console = Console(file=io.StringIO())
    view = ProgressCallback("a training", console)
    view.on_train_begin(None, state(0, main=False), None)
    view.on_log(None, state(1, main=False), None, logs=GRPO)
    assert console.file.getvalue() == ""


LIVE = """
import logging, sys, time, warnings
sys.path.insert(0, {source!r})
from types import SimpleNamespace
handler = logging.StreamHandler()
logging.getLogger("a.library").addHandler(handler)
from jurist.training.progress import ProgressCallback
def state(n): return SimpleNamespace(global_step=n, max_steps=4, log_history=[], is_world_process_zero=True)
stream = handler.stream
try:
    with ProgressCallback("the title") as view:
        view.on_train_begin(None, state(0), None)
        for n in range(1, 4):
            view.on_step_end(None, state(n), None)
            view.on_log(None, state(n), None, logs={{"loss": 0.5, "reward": n / 10}})
            print(f"printed {{n}}")
            logging.getLogger("a.library").warning(f"logged {{n}}")
            time.sleep(0.6)
        raise RuntimeError("it broke")
except RuntimeError as error:
    print(error, file=sys.stderr)
assert handler.stream is stream is sys.stderr
"""


def on_terminal(stdout=None, **env):
    """What a terminal of 100 columns receives of the live view in a process of its own."""
    source = os.path.join(os.path.dirname(__file__), "..", "src")
    master, slave = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    done = subprocess.Popen(
        [sys.executable, "-c", LIVE.format(source=source)],
        stdin=slave,
        stdout=stdout or slave,
        stderr=slave,
        env=kept | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"} | env,
    )
    os.close(slave)
    received = b""
    while True:
        try:
            received += (block := os.read(master, 65536))
        except OSError:
            break
        if not block:
            break
    os.close(master)
    assert done.wait() == 0, received.decode()
    return received.decode()


def test_terminal_keeps_other_output_whole_and_errors_restore_it():
    text = on_terminal()
    rows = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", row).strip() for row in re.split("[\r\n]+", text)]
    for said in ("printed", "logged"):
        assert [row for row in rows if row.startswith(said)] == [f"{said} {n}" for n in (1, 2, 3)]
    assert rows[-2] == "it broke"
    assert rows.index("the title") < rows.index("it broke")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden, and back
    assert "\x1b[36m" in text


def test_no_colour_is_honoured_and_a_pipe_gets_only_its_lines(tmp_path):
    with (tmp_path / "out").open("wb") as out:
        text = on_terminal(out, NO_COLOR="1")
    assert (tmp_path / "out").read_text() == "printed 1\nprinted 2\nprinted 3\n"
    assert "printed" not in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", text)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines():
    text = on_terminal(TERM="dumb")
    assert "step 1/4, reward 0.100, loss 0.5000" in text
    assert "the title" not in text


def test_it_shows_a_real_trainer(tmp_path):
    pytest.importorskip("transformers")
    from tiny import tiny_trainer

    console = Console(file=io.StringIO(), width=200)
    with ProgressCallback("a training", console) as view:
        tiny_trainer(tmp_path, view, steps=3, include_num_input_tokens_seen=True).train()
    first, last = console.file.getvalue().splitlines()
    assert first.startswith("step 1/3, loss 2.")
    assert last.startswith("step 3/3, loss 2.")
