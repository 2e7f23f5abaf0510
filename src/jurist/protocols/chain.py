"""Reads a written chain of rubrics as structure: task type, criteria, solution, evidence."""

import re
from collections.abc import Iterator
from typing import Literal

from jurist.core.types import Completion, Record
from jurist.protocols.thinking_tags import split_thinking

_PARTS = {
    tag: (re.compile(rf"<\s*{name}\s*>", re.I), re.compile(rf"<\s*(?:/\s*{name}|eval|answer)\s*>", re.I))
    for tag, name in [(name, name) for name in ("type", "eval", "justify", "solution")]
    + [("rubric", "rubrics?")]
}
_JUSTIFY = re.compile(r"<\s*justify\s*>", re.I)
# One line that opens a criterion: "1. Name (40%): text", "- **Name** [40%] - text", "Name (weight: 40%)".
_ITEM = re.compile(
    r"(?P<bullet>[-*•]|\d+[.)])?(?P<name>.*?)[(\[]\s*(?:weight\W+)?(?P<weight>\d+(?:\.\d+)?)\s*%\s*[)\]]"
    r"(?P<text>.*)",
    re.I,
)
_EVIDENCE = re.compile(
    r"<\s*(?P<kind>quote|summary)_?(?P<slot>[A-Z])\s*>(?P<text>.*?)"
    r"(?:(?P<close><\s*/\s*(?P=kind)_?(?P=slot)\s*>)|(?=<\s*(?:quote|summary)_)|$)",
    re.I | re.S,
)


# A line of an assessment of one response, as pointwise-short has them: what it quotes is the response's.
_FINDING = re.compile(r"^ *\d+\. .*\b(?:Met|Not met)\.$", re.M)
_QUOTED = re.compile(r'"([^"\n]+)"')


class Criterion(Record, frozen=True):
    """One line of a rubric; ``weight`` in percent."""

    name: str
    weight: float
    text: str = ""


class Evidence(Record, frozen=True):
    """A quotation or a summary of the response in a slot (0: the first shown)."""

    kind: Literal["quote", "summary"]
    slot: int
    text: str


class Chain(Record, frozen=True):
    """The parts of a chain of rubrics; what a text does not have is None or empty.

    ``slots`` in evidence are those of the prompt, not of the case: map them with ``Query.order``.
    """

    task: str | None = None
    criteria: tuple[Criterion, ...] = ()
    justification: str | None = None
    solution: str | None = None
    evaluation: str | None = None
    evidence: tuple[Evidence, ...] = ()

    @property
    def whole(self) -> bool:
        """It names a task, a yardstick and a comparison."""
        return bool(self.task and (self.criteria or self.solution) and self.evaluation)


def read_chain(completion: Completion, *, opens: bool = False) -> Chain:
    """The parts that the answer of a completion writes, tags unclosed or doubled included."""
    return read_answer(split_thinking(completion, opens=opens)[1])


def read_answer(text: str) -> Chain:
    """The parts that an answer without its thinking writes."""
    rubric = _part(text, "rubric")
    evaluation = _part(text, "eval")
    task = _part(text, "type")
    return Chain(
        task=task.capitalize() if task else None,
        criteria=tuple(_criteria(rubric or "")),
        justification=_part(rubric or "", "justify") or _part(text, "justify"),
        solution=_part(text, "solution"),
        evaluation=evaluation,
        evidence=tuple(found for found, _, _ in evidence_spans(evaluation or "")),
    )


def _part(text: str, tag: str) -> str | None:
    """What stands between a tag and its end, that of the text, or the evaluation or the verdict behind it."""
    opens, ends = _PARTS[tag]
    opening = opens.search(text)
    if opening is None:
        return None
    end = ends.search(text, opening.end())
    return text[opening.end() : end.start() if end else None].strip() or None


def _criteria(rubric: str) -> list[Criterion]:
    criteria: list[tuple[str, float, list[str]]] = []
    for line in _JUSTIFY.split(rubric, maxsplit=1)[0].splitlines():
        line = line.replace("**", "").strip(" \t#")
        item = _ITEM.match(line)
        name = item["name"].strip(" \t:–-") if item else ""
        # Without a bullet, only a heading opens a criterion: a percentage may stand in a sentence.
        if item and name and (item["bullet"] or (len(name) < 60 and item["text"].lstrip()[:1] in ("", ":"))):
            criteria.append((name, float(item["weight"]), [item["text"].lstrip(" \t:–-")]))
        elif criteria:
            criteria[-1][2].append(line)
    return [Criterion(name, weight, " ".join(" ".join(lines).split())) for name, weight, lines in criteria]


def evidence_spans(evaluation: str) -> Iterator[tuple[Evidence, int, int]]:
    """(evidence, begin, end) of each tag in an evaluation; one that is not closed ends with its line.

    Findings about one response ("1. ... Met.") have no tags: their quotation marks are the evidence.
    """
    if _FINDING.search(evaluation) and not _EVIDENCE.search(evaluation):
        for match in _QUOTED.finditer(evaluation):
            yield Evidence("quote", 0, match[1]), match.start(), match.end()
        return
    for match in _EVIDENCE.finditer(evaluation):
        text, end = match["text"], match.end()
        if match["close"] is None:
            # Leading line breaks are the tag's own: "<quote_A>\nwords".
            skipped = len(text) - len(text.lstrip())
            text = text[: skipped + len(text[skipped:].partition("\n")[0])]
            end = match.start("text") + len(text)
        kind = "quote" if match["kind"].lower() == "quote" else "summary"
        yield Evidence(kind, ord(match["slot"].upper()) - ord("A"), text.strip()), match.start(), end
