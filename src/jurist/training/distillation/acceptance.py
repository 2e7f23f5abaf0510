"""Rules that a chain must pass to become a row, each with the name of its reason for leaving one out.

Among them: phrases of a repaired chain that mention the given label, and texts that repeat themselves.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum

from jurist.core.types import Completion, Status, winner
from jurist.protocols.base import Protocol
from jurist.protocols.chain import Chain, read_chain
from jurist.training.distillation.repair import without_grounds
from jurist.training.distillation.rows import Draft


class Reason(StrEnum):
    """Why a chain is not kept; where several hold, the first of this order is the one that is counted."""

    FAILED = "failed"
    """The call failed; resuming makes it again."""
    REFUSED = "refused"
    GROUNDLESS = "groundless"
    """The repairer found no grounds for the label."""
    TRUNCATED = "truncated"
    UNRESOLVED = "unresolved"
    WRONG = "wrong"
    BROKEN = "broken"
    """A part of the chain is missing or left open, or the thinking of a student that thinks."""
    UNTIDY = "untidy"
    """It does not end in its verdict, to the letter as the student must write it."""
    LOOP = "loop"
    LONG = "too long"
    TOLD = "told"
    """A repaired chain speaks of the verdict that it was given."""
    UNREADABLE = "unreadable"
    """Put together for the student, it does not read back as the same verdict."""
    OTHER_ORDER = "other order"
    """Right here, but not with the responses exchanged."""


Reasons = tuple[Reason, ...]

_TAG = re.compile(
    r"<(?P<closes>/?)(?P<tag>type|rubric|justify|solution|eval|answer|(?:quote|summary)_[A-Z])>", re.I
)

FLAWS: Mapping[Reason, str] = {
    Reason.REFUSED: "it refuses the task",
    Reason.TRUNCATED: "it breaks off before its end",
    Reason.UNRESOLVED: "it gives no verdict in the form asked for",
    Reason.WRONG: "its verdict is wrong",
    Reason.BROKEN: "parts of the form asked for are missing, or their tags are left open",
    Reason.UNTIDY: "it does not end in its verdict, in exactly the form asked for",
    Reason.LOOP: "it repeats itself without end",
    Reason.LONG: "it is far too long",
    Reason.UNREADABLE: "its verdict cannot be read, since its tags are not in order",
}
"""Reasons that a repairer can correct, in the words of its prompt; others are no faults of the text."""

CHAINS: Mapping[str, Callable[[Chain], bool]] = {
    "rubrics": lambda chain: chain.whole,
    "rm-r1-instruct": lambda chain: chain.whole,
    "rubrics-short": lambda chain: bool(chain.criteria and chain.evaluation),
}
"""The protocols that write chains, and when one is whole."""


def faults(draft: Draft, want: int, protocol: Protocol, longest: int) -> Reasons:
    """Everything that is wrong with a draft on its own, in the order of ``Reason``; empty: it may teach.

    ``want`` is the response that gold prefers, ``longest`` the most tokens of a row.
    """
    verdict = draft.verdict
    if verdict.status is Status.FAILED:
        return (Reason.FAILED,)
    repaired, content = draft.turn == 2, draft.content
    applies = {
        Reason.REFUSED: verdict.status is Status.REFUSED,
        Reason.GROUNDLESS: repaired and without_grounds(draft.answer),
        Reason.TRUNCATED: draft.finish == "length",
        Reason.UNRESOLVED: verdict.scores is None,
        Reason.WRONG: verdict.scores is not None and winner(verdict.scores) != want,
        Reason.BROKEN: not whole(draft, protocol),
        Reason.UNTIDY: verdict.scores is not None and not ends_in_verdict(content, protocol),
        Reason.LOOP: loops(content),
        Reason.LONG: draft.tokens > longest,
        Reason.TOLD: repaired and tells(content),
    }
    reasons = tuple(reason for reason, applied in applies.items() if applied)
    return reasons or (() if reads_back(draft, want, protocol) else (Reason.UNREADABLE,))


def attempt_faults(attempt: Sequence[Draft], want: int, protocol: Protocol, longest: int) -> list[Reasons]:
    """The faults of each draft of one sample; asked in both orders, each has to be right in the other too."""
    right = all(winner(draft.verdict.scores) == want for draft in attempt)
    other: Reasons = () if right else (Reason.OTHER_ORDER,)
    return [faults(draft, want, protocol, longest) or other for draft in attempt]


def whole(draft: Draft, protocol: Protocol) -> bool:
    """Whether a draft has every part that its protocol asks for, thinking included where it opens one."""
    if protocol.opens_thinking and not draft.thinking.strip():
        return False
    complete = CHAINS.get(protocol.name)
    if complete is None:
        return True
    return balanced(draft.answer) and complete(read_chain(_turn(draft), opens=protocol.opens_thinking))


def balanced(text: str) -> bool:
    """Whether every tag of a chain is closed as often as it is opened."""
    tags = Counter((m["tag"].lower(), m["closes"]) for m in _TAG.finditer(text))
    return all(tags[tag, ""] == tags[tag, "/"] for tag, _ in tags)


def ends_in_verdict(text: str, protocol: Protocol) -> bool:
    """Whether a text ends in a verdict as the student writes it; nothing but punctuation may follow.

    What the parsers forgive in a judge (other spacing, words behind the verdict, doubled tags) is nothing
    to teach, and RM-R1's training reward does not forgive it either.
    """
    slot = protocol.slot
    starts = (text.rfind(f"{slot.before}{label}{slot.after}") for label in slot.labels)
    start = max(starts)
    after = text[start:].partition(slot.after)[2]
    return start >= 0 and not re.search(r"\w", after)


def reads_back(draft: Draft, want: int, protocol: Protocol) -> bool:
    """Whether the text of the row is read by the judge's own parser as the verdict that gold wants."""
    best = winner(protocol.parse(_turn(draft)).scores)
    return best is not None and draft.query.order[best] == want


def _turn(draft: Draft) -> Completion:
    return Completion(draft.content)


_VERDICT = r"(?:label|verdict|answer key|ground[- ]truth)"
_JUDGED = r"(?:judge?ment|verdict|evaluation|assessment|chain|decision)"
_GIVEN = (
    r"(?:given|provided|supplied|stated|indicated|specified|assigned|known|expected|required|intended|gold"
    r"|ground[- ]truth|reference|official|predetermined|target)"
)
_TELLS = (
    # the given label, the gold verdict, a predetermined decision
    rf"\b{_GIVEN} (?:label|verdict)\b",
    r"\b(?:gold|ground[- ]truth|predetermined|foregone) (?:preference|decision|winner|judge?ment|outcome)\b",
    # the correct verdict is ...; the right answer was given, but not: is given by the formula
    r"\b(?:correct|right|true|proper) (?:verdict|label)\b",
    r"\b(?:correct|right|true|better|preferred) (?:answer|choice|reply|response|one)"
    r" (?:is|was|has been|being) (?:already )?"
    r"(?:given|provided|told|known|marked|indicated|label+ed|supplied)\b(?! (?:by|in|as) )",
    # as indicated by the label; according to the note; the label says
    r"\b(?:as|is|was) (?:indicated|told|given|stated|specified|noted|suggested|directed|shown) (?:by|in)"
    rf" (?:the|this|your|that) (?:{_VERDICT}|correction|hint|note|feedback)\b",
    rf"\b(?:according to|following|in line with|consistent with|based on|per) (?:the|this|your|that)"
    rf" (?:{_VERDICT}|correction|hint|note to the writer|note above)\b",
    rf"\bthe {_VERDICT} (?:says|states|indicates|shows|tells|favou?rs|prefers)\b",
    # I was told that reply A is better; we know the right one; I am asked to favour A
    r"\bi(?: was| am| have been|['’]ve been|['’]m) (?:told|informed)\b",
    r"\bwe(?: were| are| have been|['’]ve been|['’]re) (?:told|informed) (?:that )?(?:the )?"
    r"(?:repl|response|chatbot|assistant|verdict|label|which|right|correct|better)",
    r"\b(?:i|we) (?:already )?know (?:that )?(?:the )?(?:correct|right|better|winning|preferred)\b",
    r"\b(?:i|we)(?: am| are| was| were| have been|['’]m|['’]re)"
    r" (?:asked|instructed|supposed|required|expected|meant)"
    r" to (?:conclude|justify|argue|favou?r|prefer|choose|pick|reach|arrive|side|support|rewrite|repair)",
    r"\bas (?:if|though|one who)\b[^.]{0,40}\bbeen told\b|\bwithout (?:having been|being) told\b",
    # the earlier judgment, this rewritten chain
    rf"\b(?:previous|earlier|prior|former|flawed|faulty|mistaken|first written) {_JUDGED}\b",
    rf"\b(?:rewritten|repaired|corrected|revised) {_JUDGED}\b",
    r"\bnote to the writer\b",
)
_PATTERN = re.compile("|".join(_TELLS), re.I)
# A quotation that is never closed hides nothing.
_QUOTE = re.compile(r"<\s*quote_?[A-Z]\s*>[^<]*<\s*/\s*quote_?[A-Z]\s*>", re.I)


def tells(text: str) -> bool:
    """Whether a text speaks of a verdict that was given beforehand, or of the judgment it was made from.

    English patterns, wide rather than narrow: a good chain lost costs less than one that teaches a student
    to look for a label. What stands in the quotations of the responses is not the writer's word.
    """
    return _PATTERN.search(" ".join(_QUOTE.sub(" ", text).split())) is not None


_STRETCH = 400
_ROUNDS = 6
_GRAM = 24
_OFTEN = 4
_SHARE = 1 / 2


def loops(text: str) -> bool:
    """Whether a text (runs of white space count as one) repeats itself like a model that has lost its way.

    Either a stretch of at least 400 characters is one unit said over and over without a break, six times
    or more, or half of the text is made of passages of 24 characters that stand in it at least four
    times (of texts from 400 characters on). Works on characters, so for every script; linear in time.
    """
    line = " ".join(text.split())
    if len(line) < _STRETCH:
        return False
    return _circles(line) or _often(line) >= _SHARE


def _often(line: str) -> float:
    """The share of a line's passages that stand in it often."""
    counts = Counter(_grams(line))
    return sum(n for n in counts.values() if n >= _OFTEN) / counts.total()


def _circles(line: str) -> bool:
    """Whether one unit is repeated without a break, over a long enough stretch."""
    last: dict[str, int] = {}
    period = run = 0
    for at, gram in enumerate(_grams(line)):
        back = at - last.get(gram, at)
        last[gram] = at
        run = run + 1 if back and back == period else 0
        period = back
        # The run began one passage and one period earlier.
        if run and run + _GRAM + period >= max(_STRETCH, _ROUNDS * period):
            return True
    return False


def _grams(line: str) -> Iterator[str]:
    return (line[i : i + _GRAM] for i in range(len(line) - _GRAM + 1))
