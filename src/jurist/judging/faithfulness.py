"""Whether a judgment's reasons hold, checked without another model.

The checks read the written text. They find reasons that do not fit the case or the verdict; that none is
found does not show that the reasons are the judge's. Outcome-only training degrades reasons while verdicts
get better (RationaleRM, arXiv 2602.04649), so a training can reward both (`jurist train grpo --reward
faithful`).
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from jurist.core.types import Case, Judgment, response_text, winner
from jurist.judging.claims import differ, lowered, named, own_answer, preferred, stated_answer
from jurist.protocols.chain import Chain, read_answer
from jurist.protocols.injection import restore
from jurist.protocols.thinking_tags import split_thinking


class Fault(StrEnum):
    """What is wrong with the reasons of a judgment."""

    QUOTE = "quote"
    """A quotation occurs neither in the responses nor in the prompt."""
    OWNER = "owner"
    """A quotation occurs in the other response or in the prompt, not where it is said to be from."""
    WEIGHTS = "weights"
    """The weights of the rubric do not sum to 100%."""
    ONE_SIDED = "one-sided"
    """The evaluation speaks of one response only."""
    CONTRADICTION = "contradiction"
    """The evaluation's own scores, or its last comparison, prefer another response than the verdict, or one
    where the verdict is a tie."""
    SOLUTION = "solution"
    """The judge's own answer is that of one response only, and the verdict is not for that one."""


EXPLAINED = {
    Fault.QUOTE: "quotes a passage that occurs nowhere",
    Fault.OWNER: "quotes words as a response's that stand in the other or in the prompt",
    Fault.WEIGHTS: "the rubric's weights do not sum to 100%",
    Fault.ONE_SIDED: "the evaluation names one response only",
    Fault.CONTRADICTION: "the evaluation prefers another response than the verdict",
    Fault.SOLUTION: "the judge's own answer is one response's only, and the verdict is not for it",
}

# Quotations shorter than this are names and single words, which are often not meant literally.
_SHORTEST = 12
BARE = 20
"""Words that a judgment without reasons has at most: a verdict and what leads to it."""
_CURLY = re.compile(r"“([^“”\n]{12,400})”")
_MARKS = str.maketrans("", "", "*_`'\"‘’“”")
_WORD = re.compile(r"[^\W\d_]{2,}")
_VERDICT = re.compile(r"\[\[|<|\bverdict\b|\banswer is\b")
# What leaves words out of a quotation, or puts other words in: ..., [...], [they].
_ELLIPSIS = re.compile(r"\[[^\[\]]{0,40}\]|\.\.\.|…")
_LINK = re.compile(r"\(?\[?https?://\S{1,400}|\]\([^()\s]{1,400}\)")
_EDGES = ".,;:!?()"
# What says that a quotation follows; other words in quotation marks are a term, a title or a paraphrase.
_SAID = re.compile(
    r"\b(?:says?|said|saying|stat(?:es?|ed|ing)|writ(?:es?|ten|ing)|wrote|quot(?:es?|ed|ing)|mention(?:s|ed|ing)?"
    r"|ask(?:s|ed|ing)?|repl(?:y|ies|ied)|respond(?:s|ed|ing)?|begin(?:s|ning)?|start(?:s|ing)?|end(?:s|ing)?"
    r"|opens?|conclud(?:es?|ed|ing)|includ(?:es?|ed|ing)|phrases?|sentences?|lines?|words|statements?"
    r"|claim(?:s|ed|ing)?|passages?|reads?)\b[^.\n]{0,60}$"
)
_LONGEST_REMEMBERED = 32_768
_REACH = 120
"""Characters before a quotation in which it may be said to be one."""


def faults(case: Case, judgment: Judgment, *, opens: bool = False) -> tuple[Fault, ...]:
    """What is wrong with the reasons of a judgment, in the order of ``Fault``; empty where nothing was found.

    ``opens``: the judge's template opens the thinking (``Protocol.opens_thinking``). Only written reasons are
    looked at: a judgment without a verdict, or with a bare one, has no faults.
    """
    _, answer = split_thinking(judgment.completion, opens=opens)
    return faults_of(case, judgment, read_answer(answer), answer)


def faults_of(case: Case, judgment: Judgment, chain: Chain, answer: str) -> tuple[Fault, ...]:
    """``faults`` of a judgment that has been read: its answer without the thinking, and the parts of it."""
    if judgment.verdict.scores is None or not answer.strip():
        return ()
    found = set(_faults(case, judgment, chain, chain.evaluation or answer))
    return tuple(fault for fault in Fault if fault in found)


def quotations(case: Case, judgment: Judgment, chain: Chain) -> Iterator[tuple[str, int | None, bool]]:
    """(quotation, response it is said to be from, whether it occurs there) of the evaluation's quotes."""
    order = judgment.query.order
    for part in chain.evidence:
        if part.kind == "quote" and len(part.text) >= _SHORTEST and part.slot < len(order):
            index = order[part.slot]
            yield restore(part.text), index, occurs(part.text, response_text(case.responses[index]))


def occurs(quotation: str, text: str) -> bool:
    """Whether a quotation stands in a text.

    Case, white space, emphasis, links and quotation marks do not matter; "..." leaves words out, and so do
    words in brackets, which stand for others.
    """
    read = _searchable if len(text) <= _LONGEST_REMEMBERED else _both_ways
    wanted, whole = _wanted(quotation), read(text)
    if _in_order(wanted[0], whole[0]):
        return True
    return len(wanted) + len(whole) > 2 and _in_order(wanted[-1], whole[-1])


class _Wanted(NamedTuple):
    """A folded quotation, and the pieces of it that stand in order where words are left out."""

    plain: str
    pieces: tuple[str, ...]


def _in_order(wanted: _Wanted, whole: str) -> bool:
    if wanted.plain in whole:
        return True
    place = 0
    for piece in wanted.pieces:
        if (at := whole.find(piece.strip(_EDGES), place)) < 0:
            return False
        place = at + len(piece)
    return True


@lru_cache(maxsize=64)
def _wanted(quotation: str) -> tuple[_Wanted, ...]:
    """A quotation as it is looked for: as it is written and, where it has links, without them."""
    plain = [folded.strip(_EDGES) for folded in _both_ways(quotation)]
    return tuple(_Wanted(text, tuple(_ELLIPSIS.split(text))) for text in plain)


def _both_ways(text: str) -> tuple[str, ...]:
    """A text folded and, where it has links, also without them."""
    whole = restore(text)
    folded = _folded(whole)
    if "http" not in whole and "](" not in whole:
        return (folded,)
    unlinked = _LINK.sub(" ", whole)
    return (folded,) if unlinked == whole else (folded, _folded(unlinked))


_searchable = lru_cache(maxsize=64)(_both_ways)
"""The texts of a case are searched for every quotation of every judgment; they are folded once."""


def rubric_key(chain: Chain) -> str | None:
    """The rubric of a judgment as one text, to find it again in another case; None where it wrote none."""
    texts = [_folded(f"{c.name} {c.text}") for c in chain.criteria if c.text]
    return " | ".join(sorted(texts)) if texts else None


def _faults(case: Case, judgment: Judgment, chain: Chain, evaluation: str) -> Iterator[Fault]:
    texts = [response_text(response) for response in case.responses]
    shown = [*texts, *(m.content for m in case.prompt), case.reference or "", case.rubric or ""]
    tagged: set[str] = set()
    for quotation, _, there in quotations(case, judgment, chain):
        tagged.add(quotation)
        if not there:
            yield Fault.OWNER if any(occurs(quotation, text) for text in shown) else Fault.QUOTE
    # Words in quotation marks may be the rubric's or the solution's own.
    shown += [chain.solution or "", *(f"{c.name} {c.text}" for c in chain.criteria)]
    for words in _quoted(evaluation):
        if words not in tagged and not any(occurs(words, text) for text in shown):
            yield Fault.QUOTE
    weights = [criterion.weight for criterion in chain.criteria]
    if len(weights) > 1 and abs(sum(weights) - 100) > 1:
        yield Fault.WEIGHTS
    if len(judgment.query.order) == 2:
        yield from _pair_faults(judgment, chain, evaluation, texts)


def _quoted(text: str) -> Iterator[str]:
    """Passages in quotation marks that are said to be quotations: four words or more, not the verdict itself.

    Straight marks are paired within a line; a line with an odd number of them has none.
    """
    text = text.replace("'\"'", "   ")  # the character, named
    passages = [(match[1], match.start()) for match in _CURLY.finditer(text)]
    begin = 0
    for line in text.splitlines(keepends=True):
        parts, at = line.split('"'), begin
        for place, part in enumerate(parts if len(parts) % 2 else ()):
            if place % 2:
                passages.append((part, at - 1))
            at += len(part) + 1
        begin += len(line)
    for passage, at in passages:
        if len(passage) < _SHORTEST or len(_WORD.findall(passage)) <= 3 or _VERDICT.search(lowered(passage)):
            continue
        if _SAID.search(lowered(text[max(0, at - _REACH) : at])):
            yield passage


def _pair_faults(judgment: Judgment, chain: Chain, evaluation: str, texts: list[str]) -> Iterator[Fault]:
    order, best = judgment.query.order, winner(judgment.verdict.scores)
    speaks_of = named(evaluation) | {e.slot for e in chain.evidence} & {0, 1}
    if len(speaks_of) == 1 and (chain.evaluation or len(evaluation.split()) > BARE):
        yield Fault.ONE_SIDED
    # Scores of a judgment are in ascending order of the responses that it was shown.
    chosen = None if best is None else sorted(order)[best]
    slot = preferred(evaluation)
    if slot is not None and order[slot] != chosen:
        yield Fault.CONTRADICTION
    own = stated_answer(chain.solution) if chain.solution else own_answer(evaluation)
    if own is not None:
        answers = {index: stated_answer(texts[index]) for index in order}
        agree = [index for index in order if answers[index] == own]
        others = [answers[index] for index in order if answers[index] != own]
        if len(agree) == 1 and agree[0] != chosen and others[0] is not None and differ(own, others[0]):
            yield Fault.SOLUTION


def _folded(text: str) -> str:
    """Lower case, without white space, quotation marks and marks of emphasis."""
    return "".join(text.translate(_MARKS).casefold().split())
