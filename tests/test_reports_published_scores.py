"""Known scores: every number fits its own headline, and stands beside a run's scorecard."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from make import jurist
from rich.console import Console
from shared import shared

from jurist.benchmarks.judgebench import JUDGEBENCH
from jurist.benchmarks.llmbar import LLMBAR, SETS
from jurist.benchmarks.rewardbench import SECTIONS, score_subsets
from jurist.benchmarks.rewardbench2 import DOMAINS, score_domains
from jurist.core.types import Scorecard, ScoreRow
from jurist.judging.registry import BENCHMARKS
from jurist.reports.views.published_scores import known_scores, known_view

ROWS = [
    pytest.param(benchmark, table.groups, row, id=f"{benchmark}: {judge}")
    for benchmark, table in known_scores().items()
    for source in table.sources
    for judge, row in source.rows.items()
]
# What a group weighs in the headline; 0: it cuts the same cases another way.
WEIGHTS: dict[str, dict[str, float]] = {
    "judgebench": {"knowledge": 154, "reasoning": 98, "math": 56, "coding": 42},
    "llmbar": dict.fromkeys(SETS, 1),
    "rewardbench": dict.fromkeys(SECTIONS, 1),
    "rewardbench2": dict.fromkeys(DOMAINS, 1),
    "rm-bench": dict.fromkeys(("chat", "math", "code", "safety"), 1),
    "rmb": dict.fromkeys(known_scores()["rmb"].groups, 1),
}
LEVELS = ("hard", "normal", "easy")
RELEASED, SMALL = "rm-r1-results", "reward_bench/score_result/each_small_section_score.json"


@pytest.mark.parametrize(("benchmark", "groups", "row"), ROWS)
def test_each_headline_is_what_our_scorer_makes_of_its_groups(
    benchmark: str, groups: tuple[str, ...], row: tuple[float, ...]
):
    headline, found = row[0], dict(zip(groups, row[1:], strict=False))
    weights = next(w for name, w in WEIGHTS.items() if benchmark in (name, f"{name}-rm-r1"))
    decimals = 2 if any(round(value, 1) != value for value in row) else 1
    # Half a unit of the last digit in the headline, and as much in each part.
    near = pytest.approx(headline, abs=10**-decimals + 1e-9)
    assert all(0 <= value <= 100 for value in row)
    assert sum(w * found[g] for g, w in weights.items()) / sum(weights.values()) == near
    if set(LEVELS) <= set(found):
        assert sum(found[level] for level in LEVELS) / 3 == near


def test_each_benchmark_has_enough_known_rows():
    assert set(known_scores()) == {*WEIGHTS, "rm-bench-rm-r1", "rmb-rm-r1"} <= set(BENCHMARKS)
    for benchmark, table in known_scores().items():
        judges = [judge for source in table.sources for judge in source.rows]
        assert 5 <= len(judges) == len(set(judges)) <= 12, benchmark
        assert all(len(row) <= len(table.groups) + 1 for s in table.sources for row in s.rows.values())


def test_columns_are_called_what_our_scorecards_call_them():
    accuracies = {subset: 0.5 for subsets in SECTIONS.values() for subset in subsets}
    for card in (score_subsets(accuracies), score_domains(dict.fromkeys(DOMAINS, 0.5))):
        columns = known_scores()[card.name].groups
        assert columns == tuple(group.name for group in card.groups)[: len(columns)]
    file = next(shared("judgebench", "outputs").glob("*o1-mini*"))
    llmbar = LLMBAR.recorded(Path(f"{shared('llmbar')}#GPT-4/CoT"))
    assert JUDGEBENCH.recorded is not None
    for card in (JUDGEBENCH.score(JUDGEBENCH.recorded(file)), LLMBAR.score(llmbar)):
        assert known_scores()[card.name].groups == tuple(group.name for group in card.groups)


@pytest.mark.parametrize(
    ("benchmark", "published"),
    [
        ("judgebench", "JudgeBench/gpt-4o pairs"),
        ("rewardbench2", "RewardBench2"),
        ("rm-bench", "RM-Bench"),
    ],
)
def test_rows_are_the_published_ones_to_the_last_digit(benchmark: str, published: str):
    rows: dict[str, dict[str, float]] = {}
    with shared("reference_scores.csv").open() as file:
        for line in csv.DictReader(file):
            if line["benchmark"] == published:
                metric = line["metric"].removesuffix("_overall").replace("_", " ").lower()
                judge = line["model"].replace(" (README)", "").replace("-mini high", "-mini, high")
                rows.setdefault(judge, {})[metric] = float(line["value"])
    ours = [(judge, row) for s in known_scores()[benchmark].sources for judge, row in s.rows.items()]
    columns = ("overall", *map(str.lower, known_scores()[benchmark].groups))
    same = [judge for judge, row in ours if dict(zip(columns, row, strict=False)) == rows.get(judge)]
    # The others: o1-mini and RM-R1 are counted from outputs, one RRM is of another README.
    assert len(ours) - len(same) == {"judgebench": 1, "rewardbench2": 0, "rm-bench": 3}[benchmark]


def test_rows_of_released_results_are_those_results():
    """Where sections or statistics can be counted again they are, and rounded to what the table says."""
    for file, judge in (
        ("rrm-results/32b_RewardBench_result.json", "RRM-32B"),
        ("rrm-results/7b_RewardBench_result.json", "RRM-7B"),
        (f"{RELEASED}/RM-R1-Qwen2.5-Instruct-32B/{SMALL}", "RM-R1-Qwen-Instruct-32B"),
        (f"{RELEASED}/RM-R1-DeepSeek-Distilled-Qwen-32B/{SMALL}", "RM-R1-DeepSeek-Distilled-Qwen-32B"),
    ):
        card = score_subsets(msgspec.json.decode(shared(file).read_bytes()))
        assert _percent(card) == pytest.approx(_row("rewardbench", judge), abs=0.051), judge
    for run, judge in (("GPT-4/CoT", "GPT-4, CoT"), ("LLaMA2/CoT", "LLaMA2-70B, CoT")):
        card = LLMBAR.score(LLMBAR.recorded(Path(f"{shared('llmbar')}#{run}")))
        assert _percent(card) == pytest.approx(_row("llmbar", judge), abs=0.051), judge


def _row(benchmark: str, judge: str) -> tuple[float, ...]:
    return next(s.rows[judge] for s in known_scores()[benchmark].sources if judge in s.rows)


def _percent(card: Scorecard) -> tuple[float, ...]:
    assert card.headline is not None
    found = {group.name: group.value for group in card.groups}
    return tuple(
        100 * value for value in (card.headline.value, *map(found.get, known_scores()[card.name].groups))
    )


def _seen(card: Scorecard, width: int = 110) -> list[str]:
    view = known_view(card)
    assert view is not None
    screen = Console(file=io.StringIO(), width=width)
    screen.print(view)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


WHOLE = Scorecard("rmb", ScoreRow("overall", 0.712345, 4), (ScoreRow("bon helpfulness", 0.5, 1),))


def test_the_run_stands_first_and_the_others_by_their_headline():
    lines = _seen(WHOLE)
    assert lines[2].split() == ["this", "run", "71.2", "50.0"]
    heads = list(_headlines(lines[3:]))
    assert heads == sorted(heads, reverse=True)
    assert len(heads) == 12
    assert lines[-1].startswith("As published: arXiv 2505.02387")
    assert not any("This run" in line for line in lines)


def _headlines(lines: list[str]) -> Iterator[float]:
    for line in lines:
        numbers = [word for word in line.split() if "." in word and word.replace(".", "").isdigit()]
        if len(numbers) == 5:
            yield float(numbers[0])


def test_numbers_are_rounded_and_never_cut():
    card = Scorecard("rm-bench", ScoreRow("mean of chat, code, safety", 0.5, 9))
    lines = _seen(card, 80)
    assert any("83.4  73.2  91.8  73.3    95.0  73.5    85.5  91.1" in line for line in lines)
    assert "…" not in "".join(lines)
    assert "This run: mean of chat, code, safety. The others are of the whole benchmark." in lines
    assert "¹ THU-KEG/RM-Bench-Leaderboard" in " ".join(lines)


@pytest.mark.parametrize(
    "card",
    [
        Scorecard("gsm8k", ScoreRow("overall", 0.5, 9)),
        Scorecard("judgebench-claude: 3 of 270 cases", ScoreRow("overall", 0.5, 3)),
        Scorecard("pairs.jsonl", ScoreRow("overall", 0.5, 3)),
        Scorecard("rmb"),
    ],
)
def test_there_is_nothing_to_show_of_the_unknown(card: Scorecard):
    assert known_view(card) is None


def test_eval_shows_known_judges_unless_told_not_to():
    words = ["eval", "judgebench", "--data", shared("judgebench"), "--limit", 4]
    words += ["--engine", "scripted:<answer>[[A]]</answer>"]
    whole, without, data = (jurist(*words, *more).stdout for more in ([], ["--no-known"], ["--json"]))
    assert "Skywork-Reward-Gemma-2-27B¹" in whole
    assert "This run: 4 of 350 cases, not the official score" in whole
    assert "Skywork" not in without
    assert "4 of 350" in without
    assert msgspec.json.decode(data, type=Scorecard).headline is not None
