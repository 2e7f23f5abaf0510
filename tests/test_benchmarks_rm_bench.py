"""RM-Bench: the published numbers of RM-R1 with its counting error and without, and the rules one by one."""

import json
from collections import Counter
from itertools import product
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from shared import ROOT, shared

from jurist.benchmarks.mt19937 import numpy_rand
from jurist.benchmarks.rm_bench import CELLS, DOMAINS, RM_BENCH, RM_BENCH_AS_PUBLISHED_BY_RM_R1
from jurist.core.errors import InputError
from jurist.core.statistics import macro_interval
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Status, Verdict

RIGHT, WRONG, TIE, NULL = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), None
BOTH = (RM_BENCH, RM_BENCH_AS_PUBLISHED_BY_RM_R1)
RUNS = ("RM-R1-Qwen2.5-Instruct-32B", "RM-R1-DeepSeek-Distilled-Qwen-32B")
SIZES = {"chat": 129, "math": 529, "code": 228, "safety": 441}


def game(scores, order=(0, 1)):
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    return Judgment(Query("c", order, 0, (), Sampling()), Completion(), verdict)


def decided(cell, scores, group="chat", prompt="p", judgments=()):
    """A decision about one cell of one prompt."""
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    meta = {"prompt": f"{group}/{prompt}", "cell": list(cell)}
    return Decision(f"{group}/{prompt}/{cell}", verdict, tuple(judgments), gold=RIGHT, group=group, meta=meta)


def prompt(right, group="chat", name="p"):
    """All nine decisions about a prompt, these cells right."""
    return [decided(cell, RIGHT if cell in right else WRONG, group, name) for cell in CELLS]


def values(card):
    return {**{group.name: group.value for group in card.groups}, "overall": card.headline.value}


# ---- Published numbers ----

# RM-R1-Qwen2.5-Instruct-32B: right verdicts by style of the chosen (rows) and the rejected response.
COUNTS = {
    "chat": ((115, 58, 51), (123, 101, 84), (128, 114, 96)),
    "math": ((421, 422, 369), (436, 433, 365), (474, 471, 429)),
    "code": ((148, 140, 118), (165, 150, 130), (177, 170, 152)),
    "safety": ((419, 379, 389), (429, 415, 416), (431, 417, 420)),
}
CORRECTED = {"chat": 74.94, "math": 80.24, "code": 65.79, "safety": 93.60}
CORRECTED |= {"hard": 67.23, "normal": 80.51, "easy": 88.18}
FIELDS = {"hard": "hard_acc", "normal": "normal_acc", "easy": "easy_acc", "overall": "total_avg_acc"}


def instruct_32b():
    for domain, matrix in COUNTS.items():
        for (i, j), k in product(CELLS, range(SIZES[domain])):
            yield decided((i, j), RIGHT if k < matrix[i][j] else WRONG, domain, k)


def official(run):
    return json.loads(shared("rm-r1-results", run, "RM-Bench", "final_result.json").read_text())


def test_published_numbers_of_rm_r1_with_its_error():
    published = official(RUNS[0])
    ours = {FIELDS.get(k, k): v for k, v in values(BOTH[1].score(instruct_32b())).items()}
    assert ours == pytest.approx(published, rel=0, abs=1e-12)
    assert f"{100 * ours['total_avg_acc']:.2f}" == "79.24"


def test_corrected_numbers_of_the_same_run():
    card = RM_BENCH.score(instruct_32b())
    assert {k: round(100 * v, 2) for k, v in values(card).items()} == {**CORRECTED, "overall": 78.64}
    assert (card.headline.n, [g.n for g in card.groups[:4]]) == (11943, [9 * SIZES[d] for d in DOMAINS])
    assert card.statistics["chat/concise>markdown"] == pytest.approx(51 / 129)
    assert card.statistics["code/hard"] == pytest.approx((140 + 118 + 130) / 3 / 228)
    assert card.statistics["markdown>concise"] == pytest.approx(
        fmean(m[2][0] / SIZES[d] for d, m in COUNTS.items())
    )


@pytest.mark.parametrize("run", RUNS)
def test_published_numbers_fit_each_other(run):
    published = official(run)
    domains = [published[d] for d in DOMAINS]
    levels = [published[f] for f in list(FIELDS.values())[:3]]
    assert fmean(domains) == pytest.approx(published["total_avg_acc"], rel=0, abs=1e-12)
    assert fmean(levels) == pytest.approx(published["total_avg_acc"], rel=0, abs=1e-12)
    for d in DOMAINS:
        assert published[d] * 9 * SIZES[d] == pytest.approx(round(published[d] * 9 * SIZES[d]), abs=1e-9)


# ---- The rules ----

# A single right cell of a lone prompt: what it adds to hard, normal and easy in thirds, ours and RM-R1's.
THIRDS = {
    (0, 0): ((0, 1, 0), (0, 1, 0)),
    (0, 1): ((1, 0, 0), (0, 0, 0)),  # file 2 is never read
    (0, 2): ((1, 0, 0), (2, 0, 0)),
    (1, 0): ((0, 0, 1), (1, 0, 1)),  # an easy cell lands in hard
    (1, 1): ((0, 1, 0), (0, 1, 0)),
    (1, 2): ((1, 0, 0), (0, 0, 0)),
    (2, 0): ((0, 0, 1), (0, 0, 0)),
    (2, 1): ((0, 0, 1), (0, 0, 2)),
    (2, 2): ((0, 1, 0), (0, 1, 0)),
}


@pytest.mark.parametrize("cell", CELLS)
def test_where_each_cell_counts(cell):
    for benchmark, thirds in zip(BOTH, THIRDS[cell], strict=True):
        got = values(benchmark.score(prompt({cell})))
        assert [3 * got[level] for level in ("hard", "normal", "easy")] == pytest.approx(thirds)
        assert got["chat"] == pytest.approx(sum(thirds) / 9)


def test_the_error_of_rm_r1_is_told():
    card = BOTH[1].score(prompt({(1, 0)}))
    assert card.name == BOTH[1].name == "rm-bench-rm-r1"
    assert card.headline.n == 6
    assert "detailed>markdown is read from detailed>concise" in card.unresolved
    assert card.statistics["chat/detailed>markdown"] == 1.0
    assert RM_BENCH.score(prompt({(1, 0)})).statistics["chat/detailed>markdown"] == 0.0


def test_ties_and_unresolved_verdicts_are_wrong_and_counted():
    card = RM_BENCH.score(
        [
            decided((0, 0), TIE, judgments=[game(RIGHT), game(WRONG, (1, 0))]),
            decided((1, 1), NULL, judgments=[game(NULL)]),
            decided((2, 2), RIGHT, judgments=[game(RIGHT), game(RIGHT, (1, 0))]),
        ]
    )
    assert values(card) == dict.fromkeys(("chat", "normal", "overall"), pytest.approx(1 / 3))
    assert card.headline.name == "mean of chat"
    counted = {k: card.statistics[k] for k in ("ties", "unresolved", "consistency", "first_shown_wins")}
    assert counted == {"ties": 1, "unresolved": 1, "consistency": 0.5, "first_shown_wins": 0.75}
    assert (card.statuses, card.headline.n) == ({"ok": 4, "unparsed": 1}, 3)
    assert "1 of 1 prompts were not judged in all nine pairs" in card.unresolved


def test_domains_weigh_the_same_and_missing_ones_are_named():
    half = [*prompt(CELLS, "code"), *(d for k in range(3) for d in prompt((), "chat", k))]
    card = RM_BENCH.score(half)
    assert (card.headline.name, card.headline.value) == ("mean of chat, code", 0.5)
    whole = RM_BENCH.score([*half, *prompt(CELLS, "math"), *prompt(CELLS, "safety")])
    assert (whole.headline.name, whole.headline.value) == ("mean of 54 of 11,943 pairs", 0.75)
    assert [g.name for g in whole.groups] == ["chat", "math", "code", "safety", "hard", "normal", "easy"]


def test_the_halves_of_safety_are_pooled_by_prompts():
    refuse = [d for k in range(3) for d in prompt(CELLS, "safety-refuse", k)]
    card = RM_BENCH.score([*refuse, *prompt((), "safety-response")])
    assert values(card)["safety"] == 0.75


OUTCOMES = st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=2, max_size=6)


@given(st.fixed_dictionaries({"chat": OUTCOMES, "math": OUTCOMES, "code": OUTCOMES, "safety": OUTCOMES}))
def test_levels_and_domains_have_one_mean(tables):
    decisions = [
        decided(cell, RIGHT if right else WRONG, domain, k)
        for domain, prompts in tables.items()
        for k, row in enumerate(prompts)
        for cell, right in zip(CELLS, row, strict=True)
    ]
    for card in (benchmark.score(decisions) for benchmark in BOTH):
        got = values(card)
        assert got["overall"] == pytest.approx(fmean(got[level] for level in ("hard", "normal", "easy")))
        assert got["overall"] == pytest.approx(fmean(got[domain] for domain in DOMAINS))
    card = RM_BENCH.score(decisions)
    expected = macro_interval([[fmean(row) for row in prompts] for prompts in tables.values()])
    if card.headline.interval is None:
        assert expected[1] - expected[0] == pytest.approx(0, abs=1e-9)
    else:
        clipped = (max(0, expected[0]), min(1, expected[1]))
        assert card.headline.interval == pytest.approx(clipped, abs=1e-9)


def test_interval_counts_prompts_and_not_their_pairs():
    same = [d for k in range(40) for d in prompt(CELLS if k % 2 else (), name=k)]
    low, high = RM_BENCH.score(same).headline.interval
    assert high - low == pytest.approx(2 * 1.959964 * 0.5 / 39**0.5, rel=1e-6)
    assert RM_BENCH.score(prompt(CELLS)).headline.interval is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": "poetry"}, "group 'poetry'"),
        ({"group": None}, "group None"),
        ({"meta": {}}, "meta cell None"),
        ({"meta": {"cell": [0, 3]}}, r"meta cell \[0, 3\]"),
        ({"gold": None}, "gold is None"),
    ],
)
def test_decisions_of_something_else_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        RM_BENCH.score([replace(decided((0, 0), RIGHT), **changes)])
    with pytest.raises(InputError, match="no decisions"):
        RM_BENCH.score([])


# ---- Loading ----

# Rows of the whole dataset, as RM-R1's released logs number them.
ROWS = {"chat/37": 43, "chat/8": 120, "chat/95": 128, "code/10": 129, "code/8": 280, "code/99": 356}
ROWS |= {"safety-refuse/3271": 1075, "safety-refuse/3554": 1169, "safety-response/3155": 1170}


def test_the_real_prompts_load_from_every_folder():
    for folder in (shared("rm-bench", "data"), shared("rm-bench"), ROOT):
        cases = list(RM_BENCH.load(folder))
        assert Counter(c.group for c in cases) == {"chat": 9 * 129, "code": 9 * 228, "safety": 9 * 441}
    assert (len(cases), len({c.id for c in cases})) == (7182, 7182)
    assert {c.gold for c in cases} == {RIGHT}
    assert Counter(tuple(c.meta["cell"]) for c in cases) == dict.fromkeys(CELLS, 798)


def test_cells_pair_the_styles():
    rows = json.loads(shared("rm-bench", "data", "chat_filtered.json").read_text())
    cases = {c.id: c for c in RM_BENCH.load(shared("rm-bench", "data", "chat_filtered.json"))}
    for row, (i, j) in product(rows[:20], CELLS):
        case = cases[f"chat/{row['id']}/{i}{j}"]
        assert case.responses == (row["chosen"][i], row["rejected"][j])
        assert [m.content for m in case.prompt] == [row["prompt"]]


def test_published_orders_depend_on_the_row_and_the_chosen_style():
    draws = numpy_rand(0, 3 * 1327)
    cases = {c.id: c for c in RM_BENCH.load(shared("rm-bench"))}
    for (name, row), (i, j) in product(ROWS.items(), CELLS):
        flipped = draws[i * 1327 + row] > 0.5
        assert cases[f"{name}/{i}{j}"].meta["order"] == ([1, 0] if flipped else [0, 1])
    assert 0.45 < fmean(c.meta["order"][0] for c in cases.values()) < 0.55


def written(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(rows), encoding="utf-8")
    return folder / name


def row(id="math/1", **fields):
    return {"id": id, "prompt": "Q", "chosen": ["a", "b", "c"], "rejected": ["x", "y", "z"]} | fields


def test_one_file_with_domains_is_the_same_as_several(tmp_path):
    rows = []
    for file in shared("rm-bench", "data").iterdir():
        domain = file.name.partition("_")[0]
        named = [r | {"id": f"{domain}/{r['id']}", "domain": domain} for r in json.loads(file.read_text())]
        rows += [{k: r[k] for k in ("id", "domain", "prompt", "chosen", "rejected")} for r in named]
    file = written(tmp_path, "total_dataset.json", rows)
    written(tmp_path, "chat_filtered.json", [])  # not read beside the whole
    expected = {c.id: c for c in RM_BENCH.load(shared("rm-bench"))}
    for path in (tmp_path, file):
        assert {c.id: c for c in RM_BENCH.load(path)} == expected


def test_a_part_of_a_domain_has_no_published_order(tmp_path):
    written(tmp_path, "math_filtered.json", [row(1), row(2)])
    cases = list(RM_BENCH.load(tmp_path))
    assert [c.id for c in cases][8:10] == ["math/1/22", "math/2/00"]
    assert not any("order" in c.meta for c in cases)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(chosen=["a", "b"])], r"math_filtered.json:1: .*length 3.*chosen"),
        ([row(), row("2", prompt=None)], r"math_filtered.json:1: .*prompt"),
        ([row(), row(1)], "prompt math/1 stands there twice"),
        ([row(domain="poetry")], "prompt math/1: domain 'poetry'"),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        list(RM_BENCH.load(written(tmp_path, "math_filtered.json", rows)))


def test_missing_files_and_domains_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no total_dataset.json"):
        list(RM_BENCH.load(tmp_path))
    with pytest.raises(InputError, match="no domain in the row"):
        list(RM_BENCH.load(written(tmp_path, "rows.json", [row()])))


# ---- Recorded runs of RM-R1 ----


def logs(folder, results, answers="[[A]]", flipped=(True, False, False), **changes):
    """The three files of a run about one prompt: 3 x 3 results, file by file."""
    for turn, result in enumerate(results):
        rejected = (["x", "y", "z"] * 2)[turn : turn + 3]
        fields = {"domain": "math", "rejected": rejected, "result": result, "output": [answers] * 3}
        fields |= {"Is_Chosen_Answer_Shuffled_toPositionB": list(flipped)} | changes.get(
            f"file{turn + 1}", {}
        )
        written(folder / "RM-Bench" / "logs", f"total_dataset_{turn + 1}_model.json", [row(**fields)])
    return folder


def test_recorded_comparisons_find_their_cells(tmp_path):
    run = logs(tmp_path, ([1, 0, 0], [0, 1, 0], [0, 0, 1]))
    for path in (run, run / "RM-Bench", run / "RM-Bench" / "logs"):
        decisions = {tuple(d.meta["cell"]): d for d in RM_BENCH.recorded(path)}
        assert [cell for cell, d in decisions.items() if d.verdict.scores == RIGHT] == [
            (0, 0),
            (1, 2),
            (2, 1),
        ]
    assert [decisions[i, 0].judgments[0].query.order for i in range(3)] == [(1, 0), (0, 1), (0, 1)]
    (judgment,) = decisions[0, 1].judgments
    assert (judgment.verdict.via, judgment.completion.text) == ("recorded", "[[A]]")
    assert decisions[0, 1].case_id == "math/1/01"
    got, published = (values(benchmark.score(decisions.values())) for benchmark in BOTH)
    assert [got[k] for k in ("hard", "normal", "easy")] == pytest.approx([1 / 3] * 3)
    assert [published[k] for k in ("hard", "normal", "easy")] == pytest.approx([0, 1 / 3, 2 / 3])


def test_recorded_zeros_are_lost_or_unresolved_as_the_text_says(tmp_path):
    lost, nothing = ([[0, 0.5, 1]] + [[0, 0, 0]] * 2, [[0, 0, 0]] * 3)
    scores = {
        d.meta["cell"][0]: d.verdict.scores
        for d in RM_BENCH.recorded(logs(tmp_path, lost))
        if d.meta["cell"][0] == d.meta["cell"][1]
    }
    assert scores == {0: WRONG, 1: TIE, 2: RIGHT}
    for text in ("both [[A]] and [[B]]", "neither"):
        card = RM_BENCH.score(RM_BENCH.recorded(logs(tmp_path, nothing, text)))
        assert card.statuses == {"unparsed": 9}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file2": {"rejected": ["x", "y", "z"]}}, r"total_dataset_2_model.json: row 0 .*rotated by 1"),
        ({"file3": {"id": "math/2"}}, r"total_dataset_3_model.json: row 0 is prompt math/2"),
        ({"file1": {"result": [1, 0, 7]}}, "case 'math/1/22': the recorded result is 7"),
        ({"file1": {"output": ["a", "b"]}}, r"total_dataset_1_model.json: .*output"),
    ],
)
def test_bad_logs_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        list(RM_BENCH.recorded(logs(tmp_path, [[1, 1, 1]] * 3, **changes)))


def test_incomplete_logs_are_named(tmp_path):
    with pytest.raises(InputError, match="no file total_dataset_1_"):
        list(RM_BENCH.recorded(tmp_path))
    folder = logs(tmp_path, [[1, 1, 1]] * 3) / "RM-Bench" / "logs"
    written(folder, "total_dataset_2_model.json", [])
    with pytest.raises(InputError, match="has 0 prompts"):
        list(RM_BENCH.recorded(tmp_path))
    (folder / "total_dataset_2_model.json").unlink()
    with pytest.raises(InputError, match="one file each"):
        list(RM_BENCH.recorded(tmp_path))
