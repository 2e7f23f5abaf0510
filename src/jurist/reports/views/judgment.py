"""One judgment made readable: the question, the responses, the rubric, the evidence, the verdict."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from jurist.core.types import Case, Decision, Judgment, Order, Response, winner
from jurist.protocols.chain import Chain, evidence_spans, read_chain
from jurist.protocols.injection import restore
from jurist.protocols.thinking_tags import split_thinking
from jurist.reports.views.scorecard import grade, verdict_text
from jurist.reports.views.style import borderless
from jurist.reports.words import shown, slot, way

_THINKING = 600
_RESPONSE = 1200
"""Characters of a thinking and of a response that are shown unless the whole is asked for."""


def decision_view(decision: Decision, case: Case | None = None, *, more: str = "--full") -> Group:
    """A decision with every judgment under it; with the case, its question and responses first.

    Long thinking and responses are cut; ``more`` is the option that shows the whole.
    """
    return Group(*decision_parts(decision, case, more=more))


def decision_parts(
    decision: Decision, case: Case | None = None, *, full: bool = False, more: str = "--full"
) -> Iterator[RenderableType]:
    """The parts of ``decision_view``, one after the other; ``full``: nothing is cut."""
    cut = _Cut(not full, more)
    if case is not None:
        yield from _case(case, cut)
    head = Text.assemble(("decision  ", "bold"), verdict_text(decision))
    if decision.verdict.scores:
        head.append(f"  (scores {', '.join(f'{s:.2f}' for s in decision.verdict.scores)})", style="dim")
    if decision.verdict.note and not decision.judgments:
        head.append(f"  {decision.verdict.note}", style="dim")
    if decision.agreement is not None and len(decision.judgments) > 1:
        head.append(f"  {decision.agreement:.0%} of {len(decision.judgments)} judgments agree", style="dim")
    yield Rule(title=f"case {decision.case_id}", style="dim")
    yield head
    if decision.gold:
        yield _gold(decision)
    for judgment in decision.judgments:
        yield _judgment(judgment, cut)


class _Cut(NamedTuple):
    """Whether long texts are cut, and the option that shows them whole."""

    cuts: bool
    more: str

    def __call__(self, text: str, most: int) -> str:
        text = text.strip("\n")
        if not self.cuts or len(text) <= most:
            return text
        kept = text[:most].rstrip()
        return f"{kept}\n[{len(text) - len(kept):,} more characters: {self.more}]"


def _gold(decision: Decision) -> Text:
    gold = decision.gold or ()
    best = winner(gold)
    numbers = f"({', '.join(f'{g:g}' for g in gold)})"
    if len(gold) == 1:
        return Text.assemble(("gold      ", "bold"), f"rating {gold[0]:g}")
    what = "tie at the top" if best is None else f"response {best + 1}"
    return Text.assemble(("gold      ", "bold"), what, (f"  {numbers}  ", "dim"), grade(decision))


def _judgment(judgment: Judgment, cut: _Cut) -> Group:
    """One judgment: its parts where it wrote a chain of rubrics, else its text."""
    order = judgment.query.order
    head = ", ".join(filter(None, (shown(order), _how(judgment))))
    parts: list[RenderableType] = [Text(""), Text(f"judgment  {head}", style="bold")]
    thinking, answer = split_thinking(judgment.completion)
    if thinking.strip():
        parts.append(_indented(cut(thinking.strip(), _THINKING), "dim italic"))
    chain = read_chain(judgment.completion)
    if chain.criteria or chain.solution or chain.evidence or chain.evaluation:
        parts += list(_chain(chain, order))
    else:
        parts.append(_indented(restore(answer.strip()) or "(no text)"))
    parts.append(_verdict(judgment))
    return Group(*parts)


def _how(judgment: Judgment) -> str:
    """What sets this ask apart: another judge, a cap on the thinking."""
    query = judgment.query
    budget = query.sampling.thinking_budget
    capped = "" if budget is None else "no thinking" if budget == 0 else f"thinking up to {budget} tokens"
    return ", ".join(filter(None, (f"{query.judge} judge" if query.judge else "", capped)))


def _case(case: Case, cut: _Cut) -> Iterator[RenderableType]:
    for message in case.prompt:
        yield Text(message.role, style="bold")
        yield _indented(message.content if message.role != "system" else cut(message.content, _RESPONSE))
    for i, response in enumerate(case.responses):
        yield Text(f"response {i + 1}", style="bold")
        yield _indented(cut(_turns(response), _RESPONSE))
    for name, text in (("reference", case.reference), ("rubric", case.rubric)):
        if text:
            yield Text(name, style="bold")
            yield _indented(cut(text, _RESPONSE))


def _turns(response: Response) -> str:
    """A response; of several turns, each with its role."""
    if isinstance(response, str):
        return response
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in response)


def _chain(chain: Chain, order: Order) -> Iterator[RenderableType]:
    if chain.task:
        yield _indented(f"task: {chain.task}")
    if chain.criteria:
        table = borderless("weight", words=("criterion", "what it asks"))
        table.columns[0].justify = "right"
        for c in chain.criteria:
            table.add_row(f"{c.weight:g}%", c.name, c.text)
        yield Padding(table, (0, 0, 0, 2))
    if chain.justification:
        yield _indented(f"why: {chain.justification}", "dim")
    if chain.solution:
        yield _indented(f"solution: {chain.solution}")
    if chain.evaluation:
        yield Padding(_evaluation(chain.evaluation, order), (0, 0, 0, 2))


def _evaluation(text: str, order: Order) -> Text:
    """The comparison as it was written, its quotations marked and told whose they are."""
    marked = Text()
    at = 0
    for part, begin, end in evidence_spans(text):
        whose = (
            f"response {order[part.slot] + 1}" if part.slot < len(order) else f"response {slot(part.slot)}"
        )
        quoted = restore(part.text)
        marked.append(restore(text[at:begin]))
        marked.append(f"“{quoted}”" if part.kind == "quote" else quoted, "cyan")
        if len(order) > 1:
            marked.append(f" ({whose})", "dim")
        at = end
    return marked.append(restore(text[at:]).rstrip())


def _verdict(judgment: Judgment) -> Text:
    """What the judgment says, in terms of the case's responses; its scores are in their ascending order."""
    verdict = judgment.verdict
    if verdict.scores is None:
        note = f": {verdict.note}" if verdict.note else ""
        return Text(f"  no verdict, {verdict.status}{note}", style="yellow")
    judged = sorted(judgment.query.order) or list(range(len(verdict.scores)))
    best = winner(verdict.scores)
    if len(verdict.scores) == 1:
        what, sure = f"rating {verdict.scores[0]:.2f}", ""
    else:
        what = "tie" if best is None else f"response {judged[best] + 1}"
        sure = f" ({max(verdict.scores):.2f})"
    sure += f", {verdict.note}" if verdict.note else ""
    return Text.assemble(("  verdict  ", "bold"), (what, "green"), sure, (f"  {way(verdict)}", "dim"))


def _indented(text: str, style: str = "") -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, 2))
