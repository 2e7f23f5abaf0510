"""One training row against the index: its hits."""

from typing import Literal, NamedTuple

from jurist.core.types import Case, Record
from jurist.data.overlap.index import Index, Part, Sample, samples
from jurist.data.overlap.rule import SHORT

Kind = Literal["pair", "same", "near"]
"""The same prompt and a same response of one case; the same text; a near one."""

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


class Match(NamedTuple):
    """A hit, and the numbers of its benchmark and of the benchmark's cases that it touches."""

    hit: Hit
    benchmark: int
    cases: frozenset[int]


class _Found(NamedTuple):
    text: int
    sample: Sample
    kind: Kind
    score: float


def match(case: Case, line: int, index: Index) -> list[Match]:
    """The hits of a row, one for each benchmark text, in the order of the benchmarks."""
    best: dict[int, _Found] = {}
    same: list[_Found] = []
    for sample in samples(case, index.rule):
        same += [_Found(text, sample, "same", 1.0) for text in index.same(sample)]
        for text, score in index.near(sample):
            found = _Found(text, sample, "near", score)
            if text not in best or score > best[text].score:
                best[text] = found
    pairs = _pairs(same, index)
    for found in same:
        paired = not pairs.isdisjoint(_held(found, index))
        if paired or _telling(found, index):
            best[found.text] = found._replace(kind="pair" if paired else "same")
    return [_match(case, line, best[text], index, pairs) for text in sorted(best)]


def _pairs(same: list[_Found], index: Index) -> frozenset[tuple[int, int]]:
    """The cases (benchmark, case) whose prompt and a response are the row's, if they are long enough."""
    prompts: dict[tuple[int, int], int] = {}
    responses: dict[tuple[int, int], int] = {}
    for found in same:
        side = responses if found.sample.number else prompts
        for key in _held(found, index):
            side[key] = max(side.get(key, 0), len(found.sample.words))
    return frozenset(
        key for key in prompts if key in responses and prompts[key] + responses[key] >= index.rule.words
    )


def _held(found: _Found, index: Index) -> frozenset[tuple[int, int]]:
    """The cases that hold the same text as the same part, by benchmark and number."""
    text = index.texts[found.text]
    return frozenset((text.benchmark, h.case) for h in text.holders if h.part == found.sample.part)


def _telling(found: _Found, index: Index) -> bool:
    """Whether a text that is the same says something by itself: not "hi", not a stock refusal."""
    text = index.texts[found.text]
    whole = found.sample.part == "prompt" and any(h.part == "prompt" for h in text.holders)
    return text.words >= (SHORT if whole else index.rule.words) and not index.stock(found.text)


def _match(case: Case, line: int, found: _Found, index: Index, pairs: frozenset[tuple[int, int]]) -> Match:
    text, sample = index.texts[found.text], found.sample
    touched = frozenset(holder.case for holder in text.holders)
    shown = max(text.holders, key=lambda h: ((text.benchmark, h.case) in pairs, h.part == sample.part))
    hit = Hit(
        row=case.id,
        line=line,
        kind=found.kind,
        field=f"response {sample.number}" if sample.number else sample.part,
        benchmark=index.names[text.benchmark],
        case=index.cases[text.benchmark][shown.case],
        part=shown.part,
        score=found.score,
        cases=len(touched),
        begins=" ".join(sample.words[:WORDS_SHOWN]),
    )
    return Match(hit, text.benchmark, touched)
