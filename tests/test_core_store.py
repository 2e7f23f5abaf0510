"""A run folder: nothing lost, nothing asked twice, and what it refuses."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from make import A_WINS, case

from jurist.core.errors import StoreError
from jurist.core.store import DECISIONS, JUDGMENTS, Store, read_config, read_decisions, read_judgments
from jurist.core.types import Decision
from jurist.engines.base import failed
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge
from jurist.protocols.rubrics import rubrics

CONFIG = {"protocol": "rubrics", "seed": 0}


async def _filled(folder: Path, n: int = 3) -> None:
    with Store(folder, CONFIG) as store:
        judge = Judge(rubrics(), ScriptedEngine(A_WINS), memory=store)
        for i in range(n):
            judgment = await judge.ask(case(str(i)))
            store.decide(Decision(str(i), judgment.verdict, (judgment,), 1.0, (1.0, 0.0)), "digest")


async def test_what_was_recorded_is_recalled_and_not_asked_again(tmp_path: Path):
    await _filled(tmp_path)
    engine = ScriptedEngine(A_WINS)
    with Store(tmp_path, CONFIG) as store:
        assert store.kept == (3, 3)
        judgment = await Judge(rubrics(), engine, memory=store).ask(case("1"))
        known = store.decided("1", "digest")
        assert known is not None
        assert known.judgments == (judgment,)
        assert store.decided("1", "another digest") is None
    assert engine.queries == []


async def test_a_failed_judgment_is_asked_again(tmp_path: Path):
    with Store(tmp_path, CONFIG) as store:
        await Judge(rubrics(), ScriptedEngine(lambda _: failed("down")), memory=store).ask(case())
    engine = ScriptedEngine(A_WINS)
    with Store(tmp_path, CONFIG) as store:
        await Judge(rubrics(), engine, memory=store).ask(case())
    assert len(engine.queries) == 1
    assert [j.verdict.status for j in read_judgments(tmp_path)] == ["failed", "ok"]


@pytest.mark.parametrize("cut", [1, 7, 200])
async def test_a_torn_last_line_is_cut_off(tmp_path: Path, cut: int):
    await _filled(tmp_path)
    whole = (tmp_path / JUDGMENTS).read_bytes()
    (tmp_path / JUDGMENTS).write_bytes(whole[:-cut])
    said: list[str] = []
    with Store(tmp_path, CONFIG, warn=said.append) as store:
        assert store.kept[0] == 2
        await Judge(rubrics(), ScriptedEngine(A_WINS), memory=store).ask(case("2"))
    assert "torn last line" in said[0]
    assert (tmp_path / JUDGMENTS).read_bytes() == whole


async def test_a_broken_line_in_the_middle_is_named(tmp_path: Path):
    await _filled(tmp_path)
    lines = (tmp_path / JUDGMENTS).read_bytes().splitlines(keepends=True)
    lines[1] = b'{"key": 5}\n'
    (tmp_path / JUDGMENTS).write_bytes(b"".join(lines))
    with pytest.raises(StoreError, match=r"judgments.jsonl:2.*") as caught:
        Store(tmp_path, CONFIG)
    assert "sed -i 2d" in caught.value.hint
    Store(tmp_path / "other", CONFIG).close()  # and the lock of the first was given back
    with pytest.raises(StoreError, match=":2"):
        Store(tmp_path, CONFIG)


async def test_another_configuration_is_refused_and_named(tmp_path: Path):
    await _filled(tmp_path)
    with pytest.raises(StoreError, match="seed was 0, now 1") as caught:
        Store(tmp_path, {**CONFIG, "seed": 1})
    assert "--out" in caught.value.hint
    Store(tmp_path, {**CONFIG, "concurrency": 7}).close()  # speed is not identity


def test_a_second_process_is_refused(tmp_path: Path):
    with Store(tmp_path, CONFIG):
        code = "import sys, pathlib, jurist.core.store as s; s.Store(pathlib.Path(sys.argv[1]), {})"
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
        )
    assert done.returncode != 0
    assert "another process is writing" in done.stderr


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    (tmp_path / DECISIONS).write_text("")
    with pytest.raises(StoreError, match=r"no run\.json"):
        Store(tmp_path, CONFIG)
    with pytest.raises(StoreError, match="not a run folder"):
        read_config(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError, match="cannot make the run folder"):
        Store(file, CONFIG)


def test_a_full_disk_stops_the_run_and_leaves_whole_lines(tmp_path: Path):
    asyncio.run(_filled(tmp_path, 2))
    before = (tmp_path / JUDGMENTS).read_bytes()
    code = f"""
import asyncio, resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from make import *
from jurist.judging.judge import Judge
from jurist.protocols.rubrics import rubrics
from jurist.core.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Store(Path({str(tmp_path)!r}), {CONFIG}) as store:
    limit = {len(before)} + 100
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    asyncio.run(Judge(rubrics(), ScriptedEngine(A_WINS), memory=store).ask(case("new")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "cannot write" in done.stderr
    assert "run the same command again" in done.stderr
    assert (tmp_path / JUDGMENTS).read_bytes() == before


async def test_read_decisions_joins_judgments_and_takes_the_last(tmp_path: Path):
    await _filled(tmp_path)
    with Store(tmp_path, CONFIG) as store:
        first = store.decided("0", "digest")
        assert first is not None
        store.decide(Decision("0", first.verdict, first.judgments, 0.25), "digest 2")
    decisions = {d.case_id: d for d in read_decisions(tmp_path)}
    assert set(decisions) == {"0", "1", "2"}
    assert decisions["0"].agreement == 0.25
    assert decisions["1"].judgments[0].completion.text == A_WINS
