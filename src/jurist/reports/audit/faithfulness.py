"""How often the reasons of a run do not hold: each check counted over its judgments, with its interval."""

from collections import Counter
from collections.abc import Iterator

from jurist.core.runs import Run
from jurist.core.statistics import wilson
from jurist.core.types import Judgment
from jurist.judging.faithfulness import EXPLAINED, Fault, faults, rubric_key
from jurist.protocols.chain import read_chain
from jurist.protocols.thinking_tags import split_thinking
from jurist.reports.audit.findings import Finding, percent

_BARE = 20
"""Words that a bare verdict has at most."""


def faithfulness(run: Run) -> tuple[Finding, ...]:
    """Findings over the judgments that wrote reasons and whose case the run holds; empty without any."""
    counts: Counter[Fault] = Counter()
    rubrics: dict[str, set[str]] = {}
    judged = quoted = flawed = 0
    for decision in run.decisions():
        case = run.case(decision.case_id)
        if case is None:
            continue
        question = case.prompt[-1].content if case.prompt else ""
        for judgment in decision.judgments:
            if judgment.verdict.scores is None or not _reasoned(judgment):
                continue
            judged += 1
            found = faults(case, judgment)
            counts.update(found)
            flawed += bool(found)
            quoted += any(e.kind == "quote" for e in read_chain(judgment.completion).evidence)
            if key := rubric_key(judgment):
                rubrics.setdefault(key, set()).add(question)
    if not judged:
        return ()
    return tuple(_findings(counts, rubrics, judged, quoted, flawed))


def _reasoned(judgment: Judgment) -> bool:
    """Whether a judgment wrote more than a verdict."""
    chain = read_chain(judgment.completion)
    _, answer = split_thinking(judgment.completion)
    return bool(chain.criteria or chain.evaluation) or len(answer.split()) > _BARE


def _findings(
    counts: Counter[Fault], rubrics: dict[str, set[str]], judged: int, quoted: int, flawed: int
) -> Iterator[Finding]:
    yield _finding("unfaithful", "has a fault in its reasons", flawed, judged, "judgments")
    for fault in Fault:
        n = quoted if fault is Fault.OWNER else judged
        if n and counts[fault]:
            yield _finding(fault.value, EXPLAINED[fault], counts[fault], n, "judgments")
    if rubrics:
        copied = sum(len(questions) > 1 for questions in rubrics.values())
        yield _finding("copied-rubric", "was used for another question too", copied, len(rubrics), "rubrics")


def _finding(name: str, what: str, k: int, n: int, of: str) -> Finding:
    interval = wilson(min(k, n), n)
    sentence = f"{percent(k / n, interval, n)} of {n:,} {of}: {what}."
    return Finding(name, sentence, k / n, n, interval)
