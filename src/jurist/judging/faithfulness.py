"""Whether a judgment's reasons hold, checked without another model.

The checks read the written text. They find reasons that do not fit the case or the verdict; that none is
found does not show that the reasons are the judge's. Outcome-only training degrades reasons while verdicts
get better (RationaleRM, arXiv 2602.04649), so a training can reward both (`jurist train grpo --reward
faithful`).
"""

import re
from collections.abc import Iterator
from enum import StrEnum

from jurist.core.answers import final_answer
from jurist.core.types import Case, Judgment, response_text, winner
from jurist.protocols.chain import Chain, read_chain
from jurist.protocols.injection import restore
from jurist.protocols.thinking_tags import split_thinking


class Fault(StrEnum):
    """What is wrong with the reasons of a judgment."""

    QUOTE = "quote"
    """A quotation occurs neither in the responses nor in the prompt."""
    OWNER = "owner"
    """A quotation occurs, but not in the response that it is said to be from."""
    WEIGHTS = "weights"
    """The weights of the rubric do not sum to 100%."""
    ONE_SIDED = "one-sided"
    """The evaluation speaks of one response only."""
    CONTRADICTION = "contradiction"
    """The evaluation's own scores, or its last comparison, prefer another response than the verdict."""
    SOLUTION = "solution"
    """The judge's own solution has the final answer of the response that it rejects, and not the other's."""


EXPLAINED = {
    Fault.QUOTE: "quotes a passage that occurs nowhere",
    Fault.OWNER: "quotes one response's words as the other's",
    Fault.WEIGHTS: "the rubric's weights do not sum to 100%",
    Fault.ONE_SIDED: "the evaluation names one response only",
    Fault.CONTRADICTION: "the evaluation prefers another response than the verdict",
    Fault.SOLUTION: "the judge's own solution agrees with the response that it rejects",
}

# Quotations shorter than this are names and single words, which are often not meant literally.
_SHORTEST = 12
_CURLY = re.compile(r"“([^“”\n]{12,400})”")
_PLAIN = str.maketrans("’‘“”", "''\"\"", "*_`")
_WORD = re.compile(r"[^\W\d_]{2,}")
_VERDICT = re.compile(r"\[\[|<|\bverdict\b|\banswer is\b", re.I)
_ELLIPSIS = re.compile(r"\s*(?:\[\s*)?(?:\.\.\.|…)(?:\s*\])?\s*")
_NOUN = r"(?:chatbot|response|reply|answer|assistant|output|text|candidate)"
_BETTER = re.compile(
    rf"\b{_NOUN}\s+(?P<slot>[A-Z])\s+(?:is|was|does|performs)\s+(?:(?:clearly|overall|slightly|much|far|therefore|"
    rf"thus|also|the|significantly|somewhat|a)\s+)*(?:better|superior|stronger|best|preferable|preferred)\b"
    rf"(?!\s+(?:in|at|on|for|with)\b)",
    re.I,
)
_TEN = re.compile(
    rf"\b(?:{_NOUN}\s+)?(?P<slot>[A-Z])\b[^.\n]{{0,40}}?\b(?P<score>\d{{1,2}}(?:\.\d+)?)\s*/\s*10\b"
)
_TOTAL = re.compile(
    rf"\b(?:total|final|overall)\s+score\b[^.\n]{{0,20}}?\b(?:{_NOUN}\s+)?(?P<slot>[A-Z])\b[^\d\n]{{0,15}}"
    rf"(?P<score>\d{{1,3}}(?:\.\d+)?)",
    re.I,
)


def faults(case: Case, judgment: Judgment, *, opens: bool = False) -> tuple[Fault, ...]:
    """What is wrong with the reasons of a judgment, in the order of ``Fault``; empty where nothing was found.

    ``opens``: the judge's template opens the thinking (``Protocol.opens_thinking``). Only written reasons are
    looked at: a judgment without a verdict, or with a bare one, has no faults.
    """
    if judgment.verdict.scores is None or (
        judgment.verdict.via == "recorded" and not judgment.completion.text
    ):
        return ()
    chain = read_chain(judgment.completion, opens=opens)
    _, answer = split_thinking(judgment.completion, opens=opens)
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
    """Whether a quotation stands in a text; case and white space do not matter, "..." leaves words out."""
    place, whole = 0, _folded(restore(text))
    for piece in _ELLIPSIS.split(_folded(restore(quotation)).strip(" '\"“”‘’.,;:")):
        at = whole.find(piece.strip(" '\"“”‘’.,;:"), place)
        if at < 0:
            return False
        place = at + len(piece)
    return True


def rubric_key(judgment: Judgment) -> str | None:
    """The rubric of a judgment as one text, to find it again in another case; None where it wrote none."""
    criteria = read_chain(judgment.completion).criteria
    texts = [_folded(f"{c.name} {c.text}") for c in criteria if c.text]
    return " | ".join(sorted(texts)) if texts else None


def _faults(case: Case, judgment: Judgment, chain: Chain, evaluation: str) -> Iterator[Fault]:
    texts = [response_text(response) for response in case.responses]
    everything = "\n".join(
        [*(m.content for m in case.prompt), *texts, case.reference or "", case.rubric or ""]
    )
    tagged: set[str] = set()
    for quotation, index, there in quotations(case, judgment, chain):
        tagged.add(quotation)
        if not there:
            yield Fault.OWNER if index is not None and occurs(quotation, everything) else Fault.QUOTE
    # Words in quotation marks may be the rubric's or the solution's own.
    own = f"{chain.solution or ''} {' '.join(f'{c.name} {c.text}' for c in chain.criteria)}"
    for words in _quoted(evaluation):
        if words not in tagged and not occurs(words, f"{everything}\n{own}"):
            yield Fault.QUOTE
    weights = [criterion.weight for criterion in chain.criteria]
    if len(weights) > 1 and abs(sum(weights) - 100) > 1:
        yield Fault.WEIGHTS
    if len(judgment.query.order) == 2:
        yield from _pair_faults(judgment, chain, evaluation, texts)


def _quoted(text: str) -> Iterator[str]:
    """Passages in quotation marks that may be quotations: four words or more, not the verdict itself.

    Straight marks are paired within a line; a line with an odd number of them has none.
    """
    passages = [match[1] for match in _CURLY.finditer(text)]
    for line in text.splitlines():
        parts = line.split('"')
        passages += parts[1::2] if len(parts) % 2 else []
    for passage in passages:
        if len(passage) >= _SHORTEST and len(_WORD.findall(passage)) > 3 and not _VERDICT.search(passage):
            yield passage


def _pair_faults(judgment: Judgment, chain: Chain, evaluation: str, texts: list[str]) -> Iterator[Fault]:
    order, best = judgment.query.order, winner(judgment.verdict.scores)
    named = {slot for slot in (0, 1) if _names(evaluation, slot)} | {e.slot for e in chain.evidence}
    if chain.evaluation and len(named & {0, 1}) == 1:
        yield Fault.ONE_SIDED
    if best is None:
        return
    # Scores of a judgment are in ascending order of the responses that it was shown.
    chosen = sorted(order)[best]
    preferred = _preferred(evaluation)
    if preferred is not None and order[preferred] != chosen:
        yield Fault.CONTRADICTION
    if chain.solution and (answer := final_answer(chain.solution)) is not None:
        agree = {index for index in order if final_answer(texts[index]) == answer}
        if agree and chosen not in agree:
            yield Fault.SOLUTION


def _names(evaluation: str, slot: int) -> bool:
    letter = "AB"[slot]
    return (
        bool(
            re.search(
                rf"\b{_NOUN}s?\s+{letter}\b|[_(\[]{letter}[>)\]]|^\W*{letter}\b", evaluation, re.I | re.M
            )
        )
        or (
            bool(
                re.search(
                    rf"\b{letter}(?:'s)?\s+(?:is|has|does|gives|says|and|also|fails|offers)\b", evaluation
                )
            )
        )
        or bool(re.search(r"\bboth\b", evaluation, re.I))
    )


def _preferred(evaluation: str) -> int | None:
    """The slot that the evaluation prefers, by its scores or its last comparison; None if it does not say."""
    for pattern in (_TOTAL, _TEN):
        scores: dict[int, list[float]] = {}
        for match in pattern.finditer(evaluation):
            scores.setdefault(ord(match["slot"].upper()) - ord("A"), []).append(float(match["score"]))
        if scores.keys() == {0, 1} and len(scores[0]) == len(scores[1]) == 1:
            first, second = scores[0][0], scores[1][0]
            return None if first == second else int(second > first)
    last = [match["slot"].upper() for match in _BETTER.finditer(evaluation)]
    slots = {"A": 0, "B": 1}
    return slots.get(last[-1]) if last else None


def _folded(text: str) -> str:
    """Lower case, one space between words, plain quotation marks, no marks of emphasis."""
    return " ".join(text.translate(_PLAIN).casefold().split())
