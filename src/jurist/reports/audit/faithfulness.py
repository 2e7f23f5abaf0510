"""How often the reasons of a run do not hold: each check counted over its judgments, with its interval."""

from collections import Counter
from collections.abc import Iterator

from jurist.core.statistics import wilson
from jurist.core.types import Case, Judgment
from jurist.judging.faithfulness import BARE, EXPLAINED, Fault, faults_of, rubric_key
from jurist.protocols.chain import Chain, read_answer
from jurist.protocols.thinking_tags import split_thinking
from jurist.reports.audit.findings import Finding, percent


class Reasons:
    """Counts the faults in the reasons of a run's judgments, those whose case is known."""

    def __init__(self) -> None:
        self._counts: Counter[Fault] = Counter()
        self._rubrics: dict[str, set[str]] = {}
        self._judged = self._quoted = self._flawed = 0

    def add(self, case: Case, judgment: Judgment, read: tuple[Chain, str] | None = None) -> tuple[Fault, ...]:
        """Count a judgment, and say what is wrong with its reasons.

        ``read``: its chain and its answer without the thinking, where they have been read.
        """
        if judgment.verdict.scores is None:
            return ()
        if read is None:
            _, answer = split_thinking(judgment.completion)
            chain = read_answer(answer)
        else:
            chain, answer = read
        if not (chain.criteria or chain.evaluation or len(answer.split()) > BARE):
            return ()  # a verdict without reasons
        self._judged += 1
        found = faults_of(case, judgment, chain, answer)
        self._counts.update(found)
        self._flawed += bool(found)
        self._quoted += any(e.kind == "quote" for e in chain.evidence)
        if key := rubric_key(chain):
            question = case.prompt[-1].content if case.prompt else ""
            self._rubrics.setdefault(key, set()).add(question)
        return found

    def findings(self) -> tuple[Finding, ...]:
        """All faults together, then each kind that occurred; empty where no reasons were written."""
        return tuple(self._findings()) if self._judged else ()

    def _findings(self) -> Iterator[Finding]:
        yield _finding("unfaithful", "has a fault in its reasons", self._flawed, self._judged, "judgments")
        for fault in Fault:
            n = self._quoted if fault is Fault.OWNER else self._judged
            if n and self._counts[fault]:
                yield _finding(fault.value, EXPLAINED[fault], self._counts[fault], n, "judgments")
        if self._rubrics:
            copied = sum(len(questions) > 1 for questions in self._rubrics.values())
            what = "was used for another question too"
            yield _finding("copied-rubric", what, copied, len(self._rubrics), "rubrics")


def _finding(name: str, what: str, k: int, n: int, of: str) -> Finding:
    interval = wilson(min(k, n), n)
    sentence = f"{percent(k / n, interval, n)} of {n:,} {of}: {what}."
    return Finding(name, sentence, k / n, n, interval)
