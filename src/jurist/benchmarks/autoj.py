"""Auto-J pairwise: everyday pairs in 58 scenarios, ties among them, judged in both orders."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal

import msgspec

from jurist.benchmarks.base import (
    Benchmark,
    by_order,
    demand,
    grouped,
    headline_name,
    pair_winner,
    proportion,
    scorecard,
)
from jurist.benchmarks.files import on_github, published_file, read_lines
from jurist.benchmarks.transcripts import PAIR, recorded_judgment, recorded_verdict, transcribed
from jurist.core.errors import InputError
from jurist.core.types import Case, Decision, Judgment, Message, Order, Scorecard, Verdict, winner

GROUPS = {
    "Summarization": "post_summarization text_summarization note_summarization",
    "Exam Questions": "math_reasoning solving_exam_question_with_math solving_exam_question_without_math",
    "Code": "code_simplification code_generation explaining_code code_correction_rewriting "
    "code_to_code_translation",
    "Rewriting": "text_simplification language_polishing instructional_rewriting text_correction "
    "paraphrasing",
    "Creative Writing": "writing_song_lyrics writing_social_media_post writing_blog_post "
    "writing_personal_essay creative_writing writing_advertisement writing_marketing_materials "
    "writing_presentation_script counterfactual",
    "Functional Writing": "writing_product_description writing_job_application writing_news_article "
    "writing_biography writing_email writing_legal_document writing_technical_document "
    "writing_scientific_paper functional_writing writing_cooking_recipe",
    "General Communication": "asking_how_to_question open_question analyzing_general explaining_general "
    "seeking_advice recommendation value_judgement verifying_fact chitchat roleplay planning brainstorming",
    "NLP Tasks": "ranking text_to_text_translation data_analysis classification_identification "
    "title_generation question_generation reading_comprehension keywords_extraction "
    "information_extraction topic_modeling others",
}
"""Scenarios by group, as ``codes/leaderboard/utils_constants.py`` groups and orders them."""

SCENARIOS = {scenario: group for group, names in GROUPS.items() for scenario in names.split()}

FILE = "testdata_pairwise.jsonl"
SIZE = 1392
OUTPUT = "pairwise_example_output.jsonl"
ORDERS: tuple[Order, Order] = ((0, 1), (1, 0))
SOURCE = "GAIR-NLP/auto-j @2ae17a3, no licence stated"
UNRESOLVED = (
    "A pair is right when both orders say its label, a tie where people call it one; an order without a "
    "verdict says nothing, so its pair is neither right nor consistent."
)

_SCORES = (PAIR.first, PAIR.second, PAIR.tie)
"""What a label says."""

Label = Literal[0, 1, 2]


class _Row(msgspec.Struct):
    scenario: str
    label: Label
    prompt: str
    first: str = msgspec.field(name="response 1")
    second: str = msgspec.field(name="response 2")


class _Output(msgspec.Struct):
    output: Label


def load(path: Path) -> Iterator[Case]:
    """The 1,392 pairs, from the file or the folder of the published layout; groups are the eight groups."""
    file = _find(path, "test", FILE)
    for number, row in enumerate(read_lines(file, _Row), 1):
        yield _case(row, number, file)


def recorded(path: Path) -> Iterator[Decision]:
    """Decisions of another judge: the folder of the published layout, or a ``pairwise_*`` file of outputs.

    Its folder also has ``pairwise_exchange_*``, with the responses exchanged; the pairs are in ``../test``.
    """
    given = _find(path, "outputs", OUTPUT)
    exchanged = given.with_name(given.name.replace("pairwise_", "pairwise_exchange_", 1))
    labels, labels_exchanged = (list(read_lines(file, _Output)) for file in (given, exchanged))
    cases = list(load(given.parent.parent / "test" / FILE))
    if not len(labels) == len(labels_exchanged) == len(cases):
        raise InputError(
            f"{given}: {len(labels)} predictions and {len(labels_exchanged)} for the exchanged order, "
            f"expected one for each of {len(cases)} pairs"
        )
    for case, *games in zip(cases, labels, labels_exchanged, strict=True):
        yield transcribed(case, [_judgment(case, o, game) for o, game in zip(ORDERS, games, strict=True)])


def recorded_cases(path: Path) -> Iterator[Case]:
    """The pairs in ``../test`` beside the outputs."""
    return load(_find(path, "outputs", OUTPUT).parent.parent / "test" / FILE)


def score(decisions: Iterable[Decision]) -> Scorecard:
    """Agreement: both orders name the label (GAIR-NLP/auto-j @2ae17a3, ``leaderboard/pairwise_eval.py``).

    The headline is over all pairs. ``consistency``: pairs whose orders say the same. With one order, or
    ratings, it is the official plain accuracy of a judge of single responses. Shares in [0, 1].
    """
    listed = demand(decisions, "autoj")
    rows = grouped(listed, tuple(GROUPS))
    consistency = {f"consistency/{group}": _consistency(ds) for group, ds in rows.items()}
    statistics = {"consistency": _consistency(listed), **consistency}
    return scorecard(
        "autoj",
        listed,
        headline=proportion(headline_name("agreement", len(listed), SIZE), [_right(d) for d in listed]),
        groups=(proportion(group, [_right(d) for d in ds]) for group, ds in rows.items()),
        statistics={name: value for name, value in statistics.items() if value is not None},
        unresolved=f"{UNRESOLVED} {_single_orders(listed)}",
    )


def _said(decision: Decision) -> list[Verdict]:
    return list(by_order(decision).values()) or [decision.verdict]


def _right(decision: Decision) -> bool:
    label = pair_winner(decision)
    return all(v.scores is not None and winner(v.scores) == label for v in _said(decision))


def _consistency(decisions: Sequence[Decision]) -> float | None:
    pairs = [said for d in decisions if len(said := _said(d)) == 2]
    if not pairs:
        return None
    return fmean(None not in (a.scores, b.scores) and winner(a.scores) == winner(b.scores) for a, b in pairs)


def _single_orders(decisions: Sequence[Decision]) -> str:
    single = sum(len(_said(d)) < 2 for d in decisions)
    if not single:
        return ""
    return (
        f"{single} of {len(decisions)} pairs were not judged in both orders and count by one verdict, as "
        "officially for judges of single responses; those of pairs need both."
    )


def _find(path: Path, folder: str, name: str) -> Path:
    return published_file(path, name, (f"data/{folder}", folder), "GAIR-NLP/auto-j")


def _case(row: _Row, number: int, file: Path) -> Case:
    if row.scenario not in SCENARIOS:
        raise InputError(f"{file}, row {number}: scenario {row.scenario!r} is none of the 58")
    return Case(
        id=str(number),
        prompt=(Message("user", row.prompt),),
        responses=(row.first, row.second),
        gold=_SCORES[row.label],
        group=SCENARIOS[row.scenario],
        meta={"scenario": row.scenario},
    )


def _judgment(case: Case, order: Order, game: _Output) -> Judgment:
    return recorded_judgment(case.id, order, recorded_verdict(_SCORES[game.output], order))


AUTOJ = Benchmark(
    name="autoj",
    summary="1,392 pairs in 58 everyday scenarios with ties, both orders (Auto-J)",
    source=SOURCE,
    unresolved=UNRESOLVED,
    load=load,
    score=score,
    recorded=recorded,
    recorded_cases=recorded_cases,
    files=on_github(
        "GAIR-NLP/auto-j",
        "2ae17a3",
        {
            f"data/test/{FILE}": (
                f"test/{FILE}",
                "56f32fad71d9b6b33bc4d51794c324981e26355bcbf3ce4908d7f8ddcc61f80e",
            )
        },
    ),
)
