"""The hits of one training row in the index."""

from typing import Literal, NamedTuple

from jurist.core.types import Case, Record
from jurist.data.overlap.index import ComparedText, Index, Part, compared_texts
from jurist.data.overlap.rule import SHORT

Kind = Literal["pair", "same", "near"]
"""The same prompt and the same response as a case; the same text; a near duplicate."""

WORDS_SHOWN = 12


class Hit(Record, frozen=True):
    """A text of a training row that a benchmark has too.

    ``row`` and ``line`` say where it stands in the source, ``field`` which text it is ("response 2" is the
    second), ``case`` one of the ``cases`` that hold it, as their ``part``. ``score`` is the share of
    the shorter text's n-grams that both have (1 for the same text). ``begins`` are the row's first words.
    """

    row: str
    line: int
    kind: Kind
    field: str
    benchmark: str
    case: str
    part: Part
    score: float
    cases: int
    begins: str


class OverlapMatch(NamedTuple):
    """A hit, and the numbers of its benchmark and of the benchmark's cases that it touches."""

    hit: Hit
    benchmark: int
    cases: frozenset[int]


class _TextHit(NamedTuple):
    text: int
    sample: ComparedText
    kind: Kind
    score: float


def match(case: Case, line: int, index: Index) -> list[OverlapMatch]:
    """The hits of a row, one for each benchmark text, in the order of the benchmarks."""
    best: dict[int, _TextHit] = {}
    same: list[_TextHit] = []
    for sample in compared_texts(case, index.rule):
        same += [_TextHit(text, sample, "same", 1.0) for text in index.same(sample)]
        for text, score in index.near(sample):
            text_hit = _TextHit(text, sample, "near", score)
            if text not in best or score > best[text].score:
                best[text] = text_hit
    pairs = _pairs(same, index)
    for text_hit in same:
        paired = not pairs.isdisjoint(_cases_with(text_hit, index))
        if paired or _says_something(text_hit, index):
            best[text_hit.text] = text_hit._replace(kind="pair" if paired else "same")
    return [_match(case, line, best[text], index, pairs) for text in sorted(best)]


def _pairs(same: list[_TextHit], index: Index) -> frozenset[tuple[int, int]]:
    """The cases (benchmark, case) whose prompt and a response are the row's, if they are long enough."""
    prompts: dict[tuple[int, int], int] = {}
    responses: dict[tuple[int, int], int] = {}
    for text_hit in same:
        side = responses if text_hit.sample.number else prompts
        for key in _cases_with(text_hit, index):
            side[key] = max(side.get(key, 0), len(text_hit.sample.words))
    return frozenset(
        key for key in prompts if key in responses and prompts[key] + responses[key] >= index.rule.words
    )


def _cases_with(text_hit: _TextHit, index: Index) -> frozenset[tuple[int, int]]:
    """The cases that hold the same text as the same part, by benchmark and number."""
    text = index.texts[text_hit.text]
    return frozenset((text.benchmark, h.case) for h in text.holders if h.part == text_hit.sample.part)


def _says_something(text_hit: _TextHit, index: Index) -> bool:
    """Whether an equal text counts by itself: it is long enough, and no stock phrase such as a refusal."""
    text = index.texts[text_hit.text]
    whole = text_hit.sample.part == "prompt" and any(h.part == "prompt" for h in text.holders)
    return text.words >= (SHORT if whole else index.rule.words) and not index.stock(text_hit.text)


def _match(
    case: Case, line: int, text_hit: _TextHit, index: Index, pairs: frozenset[tuple[int, int]]
) -> OverlapMatch:
    text, sample = index.texts[text_hit.text], text_hit.sample
    touched = frozenset(holder.case for holder in text.holders)
    shown = max(text.holders, key=lambda h: ((text.benchmark, h.case) in pairs, h.part == sample.part))
    hit = Hit(
        row=case.id,
        line=line,
        kind=text_hit.kind,
        field=f"response {sample.number}" if sample.number else sample.part,
        benchmark=index.names[text.benchmark],
        case=index.cases[text.benchmark][shown.case],
        part=shown.part,
        score=text_hit.score,
        cases=len(touched),
        begins=" ".join(sample.words[:WORDS_SHOWN]),
    )
    return OverlapMatch(hit, text.benchmark, touched)
