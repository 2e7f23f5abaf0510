"""Several benchmarks in one pool, their files, their orders, and what a missing verdict would be worth."""

import asyncio
import http.server
import json
import re
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from make import A_WINS
from shared import ROOT, shared

from jurist.benchmarks.base import Benchmark, score_pairs, scored
from jurist.benchmarks.fetch import place
from jurist.benchmarks.files import PinnedFile
from jurist.core.errors import ConfigError, InputError, ProtocolError
from jurist.core.run_config import read_config
from jurist.core.runs import read_decisions
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Status, Usage, Verdict
from jurist.engines.scripted import ScriptedEngine
from jurist.inputs import load_cases
from jurist.judging import registry
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.run import measure

OPTIONS = {"engine": f"scripted:{A_WINS}", "protocol": "rubrics"}


def toy(name, n, responses=2, many=None):
    """A benchmark of n cases, the first response right."""
    rows = [
        {"id": f"{name}{i}", "prompt": "p", "responses": [f"r{j}" for j in range(responses)], "gold": 0}
        for i in range(n)
    ]

    def load(path: Path):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_cases(path)

    return Benchmark(name, name, "here", "wrong", load, lambda d: score_pairs(d, name), many=many)


def measured(benches, tmp_path, **options):
    bench = assemble(JudgeConfig(**{**OPTIONS, **options}))
    return asyncio.run(measure(bench, benches, tmp_path / "data.jsonl", out=tmp_path / "run"))


def test_benchmarks_share_a_pool_and_keep_their_own_folders(tmp_path):
    cards = measured([toy("one", 3), toy("two", 5)], tmp_path)
    assert [(c.name, c.headline.n) for c in cards] == [("one", 3), ("two", 5)]
    assert len(list(read_decisions(tmp_path / "run" / "two"))) == 5
    assert (tmp_path / "run" / "one" / "scorecard.json").exists()
    assert measured([toy("one", 3), toy("two", 5)], tmp_path)[1].headline == cards[1].headline


def test_the_next_benchmark_begins_while_the_last_case_drags_on(tmp_path):
    """With two slots, one case of the first benchmark holds one; the second runs in the other meanwhile."""
    order = []

    class Slow(ScriptedEngine):
        concurrency = 1

        async def __call__(self, query: Query) -> Completion:
            await asyncio.sleep(0.2 if query.case_id == "one0" else 0.001)
            order.append(query.case_id)
            return Completion(A_WINS)

    bench = assemble(JudgeConfig(**OPTIONS, deliberation="given"))
    bench = replace(bench, engine=Slow(A_WINS))
    asyncio.run(measure(bench, [toy("one", 2), toy("two", 4)], tmp_path / "d.jsonl"))
    assert order[-1] == "one0"
    assert len(order) == 6


def test_larger_cases_use_the_benchmarks_deliberation(tmp_path):
    four = toy("four", 2, 4, many="knockout")
    (card,) = measured([four], tmp_path)
    assert card.statuses == {"ok": 6}
    assert read_config(tmp_path / "run")["deliberation"] == "swapped | knockout"
    with pytest.raises(ProtocolError, match="has 4 responses"):
        measured([four], tmp_path, deliberation="swapped")


def test_a_choice_of_the_user_stands(tmp_path):
    (card,) = measured([toy("four", 1, 4, many="knockout")], tmp_path, deliberation="round_robin")
    assert card.statuses == {"ok": 6}


# ---- what a missing verdict would be worth ----


def decision(i, *scores):
    """A case judged once for each of the scores; None is no verdict."""
    judgments = tuple(
        Judgment(
            Query(str(i), (0, 1) if k % 2 == 0 else (1, 0), k, (), Sampling()),
            Completion(usage=Usage(1, 1)),
            Verdict(s) if s else Verdict(status=Status.TRUNCATED),
        )
        for k, s in enumerate(scores)
    )
    found = [s for s in scores if s]
    verdict = Verdict(found[0]) if found else Verdict(status=Status.TRUNCATED)
    return Decision(str(i), verdict, judgments, gold=(1.0, 0.0))


def test_missing_verdicts_counted_otherwise():
    right, wrong = (1.0, 0.0), (0.0, 1.0)
    card = scored(
        score_pairs, [decision(0, right), decision(1, wrong), decision(2, None), decision(3, right)]
    )
    assert card.headline.value == 0.5
    assert card.statistics["if_dropped"] == pytest.approx(2 / 3)
    assert card.statistics["if_wrong"] == 0.5
    whole = scored(score_pairs, [decision(0, right), decision(1, wrong)])
    assert "if_wrong" not in whole.statistics


def test_a_neutral_vote_counted_as_wrong():
    """JudgeBench gives a pair with one right and one missing order the point; were it wrong, it had none."""
    score = registry.benchmark("judgebench").score
    card = scored(score, [decision(0, (1.0, 0.0), None), decision(1, (1.0, 0.0), (1.0, 0.0))])
    assert card.headline.value == 1.0
    assert card.statistics["if_wrong"] == 0.5


# ---- orders ----


def test_the_published_order_is_shown(tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [
        {"prompt": "p", "responses": ["x", "y"], "gold": 0, "meta": {"order": order}}
        for order in ([1, 0], [0, 1])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import jurist

    decisions = jurist.judge_all(path, **OPTIONS, deliberation="published")
    assert [d.judgments[0].query.order for d in decisions] == [(1, 0), (0, 1)]
    assert [d.verdict.scores for d in decisions] == [(0.0, 1.0), (1.0, 0.0)]
    with pytest.raises(ConfigError, match="no published order"):
        jurist.judge("p", ["x", "y"], **OPTIONS, deliberation="published")


# ---- files ----


@pytest.fixture
def server(tmp_path):
    """A server of the folder ``site``."""
    (tmp_path / "site").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "site"))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", tmp_path / "site"
        served.shutdown()


def test_published_files_are_fetched_verified_and_kept(server, tmp_path, monkeypatch):
    address, site = server
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (site / "a.json").write_text("[1]")
    pin = PinnedFile(f"{address}/a.json", "sub/a.json", sha256(b"[1]").hexdigest())
    chosen = replace(toy("pinned", 1), files=(pin,))
    folder = place(chosen)
    assert (folder / "sub" / "a.json").read_text() == "[1]"
    (site / "a.json").unlink()
    assert place(chosen) == folder
    (folder / "sub" / "a.json").write_text("damaged")
    with pytest.raises(InputError, match="cannot fetch"):
        place(chosen)
    (site / "a.json").write_text("[2]")
    with pytest.raises(InputError, match="is not the file that was published"):
        place(chosen)


def test_where_files_are_looked_for(tmp_path):
    one = toy("one", 1)
    assert place(one, tmp_path) == tmp_path
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "__init__.py").touch()  # a package of that name, as PandaLM's repository has one
    packaged = replace(one, load=load_cases)
    assert place(packaged, tmp_path) == tmp_path
    (tmp_path / "one" / "pairs.jsonl").write_text("{}")
    assert place(one, tmp_path) == tmp_path / "one"
    assert str(place(replace(one, hub="org/set:test"))) == "hf:org/set:test"
    with pytest.raises(InputError, match="not published where"):
        place(one)


@pytest.mark.parametrize("name", [n for n in registry.BENCHMARKS if registry.benchmark(n).files])
def test_the_pins_are_those_of_the_shared_files(name):
    for file in registry.benchmark(name).files:
        found = list(ROOT.rglob(file.path)) if shared("MANIFEST.md") else []
        if not found:
            pytest.skip(f"{file.path} is not among the shared data")
        assert sha256(found[0].read_bytes()).hexdigest() == file.sha256


@pytest.mark.parametrize("name", [n for n in registry.BENCHMARKS if registry.benchmark(n).hub])
def test_hub_names_are_read_as_they_are_written(name):
    chosen = registry.benchmark(name)
    assert not chosen.hub.startswith("hf:")
    assert re.fullmatch(r"hf:[\w-]+(/[\w.-]+(:\w+)?)?", str(place(chosen)))


@pytest.mark.parametrize("name", registry.BENCHMARKS)
def test_each_benchmark_says_what_it_is_and_runs(name):
    chosen = registry.benchmark(name)
    assert chosen.name == name
    assert "@" in chosen.source or "hf:" in chosen.source or "published" in chosen.source
    assert chosen.unresolved.endswith(".")
    folder = ROOT / name.split("-")[0] if not name.startswith("rm-bench") else ROOT / "rm-bench"
    folder = ROOT / "rmb-sample" if name.startswith("rmb") else folder
    if not folder.exists():
        pytest.skip(f"needs {folder}")
    bench = assemble(JudgeConfig(**OPTIONS))
    (card,) = asyncio.run(measure(bench, [chosen], folder, limit=12))
    assert 0 <= card.headline.value <= 1
    assert sum(card.statuses.values()) >= 12
