"""A run folder: nothing lost, nothing asked twice, damage named and mended, and what it refuses."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from random import Random

import msgspec
import pytest
from make import A_WINS, case, prefers

from jurist.core.errors import JuristError, StoreError
from jurist.core.run_config import RUN, input_facts, read_config
from jurist.core.run_lines import CASES, DECISIONS, FILES, JUDGMENTS, PROMPTS
from jurist.core.runs import (
    Kept,
    Run,
    export_rows,
    open_run,
    read_decisions,
    read_digests,
    read_judgments,
    read_scorecard,
)
from jurist.core.store import SCORECARD, Store, write_scorecard
from jurist.core.types import Case, Decision, Judgment, Message, Query, Scorecard
from jurist.engines.base import failed
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge
from jurist.judging.pool import decide_all, slim
from jurist.judging.registry import deliberation
from jurist.protocols.rubrics import rubrics

CONFIG = {"protocol": "rubrics", "seed": 0}


def _case(i: int) -> Case:
    """A case with texts that are long enough to be shared."""
    return Case(
        str(i),
        (Message("user", f"question {i} " + "x" * 80),),
        (f"good {i} " + "g" * 60, f"bad {i} " + "b" * 70),
        gold=(1.0, 0.0),
        group="group",
        meta={"number": i},
    )


async def _run(folder: Path, engine=None, n: int = 12, warn=lambda _: None, text: str = "swapped(vote(2))"):
    """Judge n cases into a folder; returns the decisions by case."""
    with Store(folder, CONFIG, warn=warn) as store:
        judge = Judge(rubrics(), engine or prefers("good"), memory=store)
        cases = map(_case, range(n))
        stream = decide_all(cases, judge.ask, deliberation(text), concurrency=4, store=store)
        return {d.case_id: d async for d in stream}


async def _filled(folder: Path, n: int = 3) -> None:
    with Store(folder, CONFIG) as store:
        judge = Judge(rubrics(), ScriptedEngine(A_WINS), memory=store)
        for i in range(n):
            judgment = await judge.ask(case(str(i)))
            store.decide(Decision(str(i), judgment.verdict, (judgment,), 1.0, (1.0, 0.0)), "digest")


async def test_what_was_recorded_is_recalled_and_not_asked_again(tmp_path: Path):
    whole = await _run(tmp_path)
    engine, said = prefers("good"), []
    assert await _run(tmp_path, engine, warn=said.append) == whole
    assert engine.queries == []
    assert said == [f"resumed {tmp_path}: 12 decisions and 48 judgments are kept"]
    with Run(tmp_path) as run:
        assert {d.case_id: d for d in run.decisions()} == whole
        assert list(run.ids()) == [str(i) for i in range(12)]
        assert len(run) == 12
        assert run.decision("7") == whole["7"]
        assert run.case("7") == _case(7)
        assert run.decision("70") is run.case("70") is None
        assert [d.case_id for d in run.decisions()] == list(run.ids())
        assert list(run.decisions(slim=True)) == [slim(d) for d in run.decisions()]
        assert list(run.ids("1")) == ["1", "10", "11"]
        assert (run.damage, run.lost) == ([], 0)


async def test_another_content_under_the_same_id_is_another_case(tmp_path: Path):
    await _filled(tmp_path)
    with Store(tmp_path, CONFIG) as store:
        assert store.decided("1", "digest") is not None
        assert store.decided("1", "another digest") is None


async def test_a_failed_judgment_is_asked_again(tmp_path: Path):
    with Store(tmp_path, CONFIG) as store:
        await Judge(rubrics(), ScriptedEngine(lambda _: failed("down")), memory=store).ask(case())
    engine = ScriptedEngine(A_WINS)
    with Store(tmp_path, CONFIG) as store:
        await Judge(rubrics(), engine, memory=store).ask(case())
    assert len(engine.queries) == 1
    assert [j.verdict.status for j in read_judgments(tmp_path)] == ["failed", "ok"]


async def test_cases_prompts_and_templates_stand_once(tmp_path: Path):
    await _run(tmp_path, text="vote(8)")
    assert (tmp_path / CASES).read_bytes().count(b"\n") == 12
    lines = (tmp_path / PROMPTS).read_text()
    assert lines.count('"id"') == 24  # two orders
    assert len(lines) < 24 * 300 + 2 * len(str(rubrics().render(_case(0))))
    assert "good 3" not in lines
    size = sum((tmp_path / name).stat().st_size for name in FILES)
    plain = sum(len(msgspec.json.encode(j)) for j in read_judgments(tmp_path))
    assert size < plain / 3


async def test_exported_rows_are_whole(tmp_path: Path):
    whole = await _run(tmp_path, n=3)
    rows = list(export_rows(tmp_path, "judgments"))
    assert {r.pop("key") for r in rows} == {j.query.key for d in whole.values() for j in d.judgments}
    assert all(msgspec.convert(r, Judgment) in whole[r["query"]["case_id"]].judgments for r in rows)
    decision = list(export_rows(tmp_path))[1]
    assert (decision["case_id"], decision["responses"][0][:6]) == ("1", "good 1")
    assert list(decision["verdict"]["scores"]) == [1.0, 0.0]


async def test_a_folder_is_named_by_a_text_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = await _run(tmp_path / "run", n=2)
    write_scorecard(tmp_path / "run", Scorecard("pairs", None))
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (tmp_path / "run", str(tmp_path / "run"), "~/run"):
        assert {d.case_id: d for d in read_decisions(folder)} == whole
        assert len(list(read_judgments(folder))) == sum(len(d.judgments) for d in whole.values())
        assert read_digests(folder).keys() == whole.keys()
        assert read_scorecard(folder).name == "pairs"
        assert len(list(export_rows(folder))) == 2
        with open_run(folder) as run:
            assert len(run) == 2
    with pytest.raises(StoreError, match="not a run folder"):
        next(read_decisions(str(tmp_path)))


async def test_decisions_come_with_their_cases(tmp_path: Path):
    await _run(tmp_path, n=5)
    with open_run(tmp_path) as run:
        alone = [(decision, run.case(decision.case_id)) for decision in run.decisions()]
        assert list(run.decided()) == alone
        assert list(run.decided(slim=True)) == [(slim(decision), case) for decision, case in alone]
        assert [case for _, case in alone] == [_case(i) for i in range(5)]


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


@pytest.mark.parametrize("name", [*FILES, RUN, "index.sqlite"])
def test_a_flipped_bit_is_named_or_changes_nothing(tmp_path: Path, name: str):
    base, folder = tmp_path / "base", tmp_path / "run"
    whole, random = asyncio.run(_run(base, n=5)), Random(name)
    files = {f.name: f.read_bytes() for f in base.iterdir() if f.is_file()}
    folder.mkdir()
    for _ in range(12):
        for file, data in files.items():
            (folder / file).write_bytes(data)
        damaged = bytearray(files[name])
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        (folder / name).write_bytes(damaged)
        engine = prefers("good")
        refused = name == RUN
        with suppress(JuristError) if refused else nullcontext():
            with Run(folder) as run:
                read = {d.case_id: d for d in run.decisions()}
                cases = {i: run.case(i) for i in read}
            again = asyncio.run(_run(folder, engine, n=5))
            refused = False
        if refused:
            continue
        assert run.damage or (read == whole and cases == {i: _case(int(i)) for i in read})
        assert all(decision.verdict == whole[i].verdict for i, decision in read.items())
        assert again == whole
        assert len(engine.queries) <= 2
        with Run(folder) as run:
            assert {d.case_id: d.verdict for d in run.decisions()} == {i: d.verdict for i, d in whole.items()}
            assert not run.lost


async def _passed_over(folder: Path, engine, n: int, warn=lambda _: None) -> dict[str, Decision]:
    """As ``_run``, but what is decided is passed over by the index, and read at the end."""
    with Store(folder, CONFIG, warn=warn) as store:
        judge, kept = Judge(rubrics(), engine, memory=store), Kept(store)
        decide, cases = deliberation("swapped(vote(2))"), map(_case, range(n))
        stream = decide_all(cases, judge.ask, decide, concurrency=4, store=store, settled=kept.left)
        new = {d.case_id: slim(d) async for d in stream}
    old = {d.case_id: d for d in kept.decisions()}
    assert not old.keys() & new.keys()
    return old | new


async def test_what_is_decided_is_passed_over_by_the_index(tmp_path: Path):
    whole = {i: slim(d) for i, d in (await _run(tmp_path, n=5)).items()}
    engine = prefers("good")
    assert await _passed_over(tmp_path, engine, n=5) == whole
    assert engine.queries == []
    more = await _passed_over(tmp_path, engine, n=9)
    assert {i: more[i] for i in whole} == whole
    assert len(more) == 9
    assert {q.case_id for q in engine.queries} == set("5678")


@pytest.mark.parametrize("name", [*FILES, "index.sqlite"])
def test_a_flipped_bit_is_not_passed_over(tmp_path: Path, name: str):
    base, folder = tmp_path / "base", tmp_path / "run"
    whole, random = asyncio.run(_run(base, n=5)), Random(name + "passed over")
    files = {f.name: f.read_bytes() for f in base.iterdir() if f.is_file()}
    folder.mkdir()
    for _ in range(12):
        for file, data in files.items():
            (folder / file).write_bytes(data)
        damaged = bytearray(files[name])
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        (folder / name).write_bytes(damaged)
        engine, said = prefers("good"), []
        assert asyncio.run(_passed_over(folder, engine, 5, said.append)) == {
            i: slim(d) for i, d in whole.items()
        }
        assert len(engine.queries) <= 2
        if name in (CASES, JUDGMENTS, DECISIONS):
            assert "damaged: " in said[0] or "torn last line" in said[0]
        engine, said = prefers("good"), []
        asyncio.run(_passed_over(folder, engine, 5, said.append))
        assert engine.queries == []
        assert [line for line in said if "damaged" in line] == []


async def test_a_damaged_judgment_is_named_counted_and_asked_again(tmp_path: Path):
    whole = await _run(tmp_path, n=3, text="once")
    lines = (tmp_path / JUDGMENTS).read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"[[A]]", b"[[B]]").replace(b"[[B]]", b"[[C]]")
    (tmp_path / JUDGMENTS).write_bytes(b"".join(lines))
    with Run(tmp_path) as run:
        assert sorted(len(d.judgments) for d in run.decisions(slim=True)) == [0, 1, 1]
        assert str(run.damage[0]) == "judgments.jsonl, record 2: its checksum is wrong"
        assert run.lost == 1
        for read in (run.decisions, run.judgments, run.decisions):
            assert list(read())
        assert run.lost == 1
    engine, said = prefers("good"), []
    assert await _run(tmp_path, engine, n=3, warn=said.append, text="once") == whole
    assert len(engine.queries) == 1
    assert any("judgments.jsonl, record 2" in line for line in said)


def _as_before_version_2(folder: Path, decisions: dict[str, Decision]) -> None:
    """The folder as version 1 wrote it: whole queries, judgments by key, no checksums, no cases."""
    judgments = [j for d in decisions.values() for j in d.judgments]
    lines = [msgspec.json.encode({"key": j.query.key, "judgment": j}) for j in judgments]
    heads = [
        {
            **msgspec.to_builtins(d),
            "judgments": [j.query.key for j in d.judgments],
            "digest": _case(int(i)).digest,
        }
        for i, d in decisions.items()
    ]
    folder.mkdir()
    (folder / RUN).write_bytes(msgspec.json.encode(CONFIG))
    (folder / JUDGMENTS).write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / DECISIONS).write_bytes(b"".join(msgspec.json.encode(head) + b"\n" for head in heads))


async def test_a_folder_of_version_1_is_read_and_goes_on(tmp_path: Path):
    whole, old = await _run(tmp_path / "new", n=6), tmp_path / "old"
    _as_before_version_2(old, {i: whole[i] for i in "0123"})
    assert {d.case_id: d for d in read_decisions(old)} == {i: whole[i] for i in "0123"}
    engine = prefers("good")
    assert await _run(old, engine, n=6) == whole
    assert {q.case_id for q in engine.queries} == {"4", "5"}
    assert {d.case_id: d for d in read_decisions(old)} == whole
    assert sorted(j.query.key for j in read_judgments(old)) == sorted(
        j.query.key for d in whole.values() for j in d.judgments
    )
    engine = prefers("good")
    assert await _run(old, engine, n=6) == whole
    assert engine.queries == []


async def test_an_index_is_made_again_where_it_is_gone(tmp_path: Path):
    whole = await _run(tmp_path)
    (tmp_path / "index.sqlite").unlink()
    assert {d.case_id: d for d in read_decisions(tmp_path)} == whole
    assert not (tmp_path / "index.sqlite").exists()  # readers write nothing
    engine = prefers("good")
    assert await _run(tmp_path, engine) == whole
    assert engine.queries == []


async def test_an_index_of_before_there_were_blocks_is_made_again(tmp_path: Path):
    whole = {i: slim(d) for i, d in (await _run(tmp_path)).items()}
    with sqlite3.connect(tmp_path / "index.sqlite") as database:
        database.execute("DROP TABLE blocks")
        database.execute("PRAGMA application_id = 0")  # no checksum: as it was when its writer was killed
    assert {d.case_id: slim(d) for d in read_decisions(tmp_path)} == whole
    engine = prefers("good")
    assert await _passed_over(tmp_path, engine, n=12) == whole
    assert engine.queries == []


async def test_a_run_is_read_while_it_is_written(tmp_path: Path):
    with Store(tmp_path, CONFIG) as store:
        judge = Judge(rubrics(), prefers("good"), memory=store)
        stream = decide_all(map(_case, range(9)), judge.ask, deliberation("once"), concurrency=1, store=store)
        for n in range(1, 5):
            await anext(stream)
            assert len(list(read_decisions(tmp_path))) >= n
        await stream.aclose()


KILLED = """
import asyncio, os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_core_store import _run
from make import prefers
from jurist.engines.scripted import ScriptedEngine
engine = prefers("good")
class Slow(ScriptedEngine):
    async def __call__(self, query):
        await asyncio.sleep(0.002)
        print(query.key, flush=True)
        return await engine(query)
asyncio.run(_run(Path(sys.argv[1]), Slow(""), n=40))
"""


def test_kills_lose_nothing_and_nothing_is_asked_twice(tmp_path: Path):
    code, random = KILLED.format(tests=str(Path(__file__).parent)), Random(5)
    asked: list[str] = []
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        asked += [process.stdout.readline().strip() for _ in range(random.randrange(1, 30))]
        process.kill()
        asked += process.stdout.read().split()
        process.wait()
    engine = prefers("good")
    asyncio.run(_run(tmp_path, engine, n=40))
    with Run(tmp_path) as run:
        kept = [j.query.key for j in run.judgments()]
        assert (run.lost, len(run)) == (0, 40)
    assert len(kept) == len(set(kept)) == 160
    # In flight when it was killed: at most four cases of four asks.
    assert len(asked) + len(engine.queries) - 160 <= 4 * 16


def test_a_kill_between_the_first_files_leaves_a_usable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[Path] = []

    def killed(path: Path, _: object) -> None:
        path.touch()
        made.append(path)
        if len(made) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("jurist.core.store.Lines", killed)
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path, CONFIG)
    assert asyncio.run(_run(tmp_path, n=2)).keys() == {"0", "1"}


async def test_another_configuration_is_refused_and_named(tmp_path: Path):
    await _filled(tmp_path)
    with pytest.raises(StoreError, match="seed was 0, now 1") as caught:
        Store(tmp_path, {**CONFIG, "seed": 1})
    assert "--out" in caught.value.hint
    Store(tmp_path, {**CONFIG, "concurrency": 7}).close()  # speed is not identity


def test_another_input_is_refused_and_a_longer_one_goes_on(tmp_path: Path):
    rows, run, said = tmp_path / "rows.jsonl", tmp_path / "run", []
    rows.write_text("1\n2\n")
    Store(run, {**CONFIG, **input_facts(str(rows))}).close()
    moved = rows.rename(tmp_path / "moved.jsonl")
    Store(run, {**CONFIG, **input_facts(str(moved))}).close()
    moved.write_text("1\n2\n3\n")
    Store(run, {**CONFIG, **input_facts(str(moved))}, warn=said.append).close()
    assert said == ["the input has grown by 2 bytes since this run began: what it had before is kept"]
    moved.write_text("1\n2\n4\n")
    with pytest.raises(StoreError, match="belongs to another input"):
        Store(run, {**CONFIG, **input_facts(str(moved))})
    moved.write_text("1\n2\n")  # shorter than what was judged
    with pytest.raises(StoreError, match="belongs to another input"):
        Store(run, {**CONFIG, **input_facts(str(moved))})
    assert read_config(run)["input_bytes"] == 6


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


@pytest.mark.parametrize("name", [*FILES, RUN, "index.sqlite", ".lock", "index.sqlite-journal"])
def test_links_in_a_run_folder_are_not_followed(tmp_path: Path, name: str):
    target, run = tmp_path / "target", tmp_path / "run"
    target.write_text("mine")
    Store(run, CONFIG).close()
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(target)
    with pytest.raises(StoreError, match="it is a link"):
        Store(run, CONFIG)
    assert target.read_text() == "mine"
    (run / name).unlink()
    (run / name).symlink_to("/dev/zero")
    if name in (RUN, JUDGMENTS, DECISIONS):
        with pytest.raises(StoreError, match="it is a link"):
            list(read_judgments(run) if name == JUDGMENTS else read_decisions(run))


def test_a_scorecard_replaces_a_link_and_leaves_its_target(tmp_path: Path):
    target = tmp_path / "target"
    target.write_text("mine")
    for name in (SCORECARD, SCORECARD + ".tmp"):
        (tmp_path / name).symlink_to(target)
    write_scorecard(tmp_path, Scorecard("pairs"))
    assert target.read_text() == "mine"
    assert not (tmp_path / SCORECARD).is_symlink()


async def test_a_folder_that_is_moved_away_is_an_error(tmp_path: Path):
    store = Store(tmp_path / "run", CONFIG)
    await Judge(rubrics(), ScriptedEngine(A_WINS), memory=store).ask(case("1"))
    os.rename(tmp_path / "run", tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="was moved or deleted"):
        store.close()
    (kept,) = read_judgments(tmp_path / "elsewhere")
    assert kept.completion.text == A_WINS


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


async def test_the_last_decision_about_a_case_counts(tmp_path: Path):
    await _filled(tmp_path)
    with Store(tmp_path, CONFIG) as store:
        first = store.decided("0", "digest")
        assert first is not None
        store.decide(Decision("0", first.verdict, first.judgments, 0.25), "digest 2")
    decisions = {d.case_id: d for d in read_decisions(tmp_path)}
    assert set(decisions) == {"0", "1", "2"}
    assert decisions["0"].agreement == 0.25
    assert decisions["1"].judgments[0].completion.text == A_WINS


async def test_the_key_of_a_query_is_that_of_its_fields():
    query = Judge(rubrics(), prefers("good")).query(_case(1), (0, 1), 0)
    decoded = msgspec.json.decode(msgspec.json.encode(query), type=Query)
    assert decoded.key == query.key
    assert msgspec.structs.replace(query, sample=1).key != query.key
