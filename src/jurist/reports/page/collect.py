"""What a report shows, taken from run folders: an index of all cases, and texts in compressed blocks."""

import base64
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from jurist.benchmarks.base import PairsTally
from jurist.core.errors import InputError
from jurist.core.runs import Run, open_run, read_scorecard
from jurist.core.store import SCORECARD
from jurist.core.types import Case, Decision, Judgment, Order, Response, Scorecard, Status, winner
from jurist.judging.faithfulness import EXPLAINED, Fault, occurs
from jurist.protocols.chain import Chain, read_answer
from jurist.protocols.injection import restore
from jurist.protocols.thinking_tags import split_thinking
from jurist.reports.audit.audit import Audit, audit, read_item
from jurist.reports.audit.faithfulness import Reasons
from jurist.reports.audit.findings import Finding, Item
from jurist.reports.compact import Compact
from jurist.reports.page.curves import METRICS, POLICIES, read_curves, read_policies
from jurist.reports.words import shown, way

BLOCK = 50
"""Cases of one compressed block: what is inflated when one of them is opened."""
LONGEST = 2_000_000
"""Characters of a text that a report keeps; the rest is cut, and the cut is said."""
SIDE = (
    "engine", "model", "served_model", "protocol", "family", "deliberation", "forced", "benchmark", "input",
    "imported", "seed", "jurist",
)  # fmt: skip
"""What of run.json the first screen shows, in this order."""


@dataclass(slots=True)
class Page:
    """The data of a report: ``index`` as JSON, and blocks of gzip in base64."""

    index: dict[str, Any]
    blocks: list[str] = field(default_factory=list[str])


def collect(folders: Sequence[Path], *, prices: tuple[float, float] | None = None) -> Page:
    """Read the runs; the first gives the order of the cases.

    ``prices``: money per million tokens read and written. Raises ``StoreError`` for what is no run folder and
    ``InputError`` where a run has no decisions.
    """
    runs = [open_run(_run_of(folder)) for folder in folders]
    try:
        page = Page(
            {"runs": [], "cases": [], "block": BLOCK, "faults": {f.value: EXPLAINED[f] for f in Fault}}
        )
        names = _names(folders)
        counts = [_Counts(run) for run in runs]
        pending: list[dict[str, Any]] = []
        for case_id in _ids(runs):
            row, detail = _case(case_id, counts)
            page.index["cases"].append(row)
            pending.append(detail)
            if len(pending) == BLOCK:
                page.blocks.append(_packed(pending))
                pending = []
        if pending:
            page.blocks.append(_packed(pending))
        page.index["runs"] = [_summary(*one, prices) for one in zip(names, counts, strict=True)]
        for folder, summary in zip(folders, page.index["runs"], strict=True):
            if curves := read_curves(folder):
                summary["curves"] = curves
            if policies := read_policies(folder):
                summary["policies"] = policies
        return page
    finally:
        for run in runs:
            run.close()


def _run_of(folder: Path) -> Path:
    """The run to read: of a training the judgments that it sampled, or what it measured last."""
    if not (folder / METRICS).exists() or (folder / "run.json").exists():
        return folder
    places = [folder / "traces", folder / "held-out" / "after", folder / "held-out" / "before"]
    return next((place for place in places if (place / "run.json").exists()), folder)


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names; of equal ones the whole paths as given."""
    names = [folder.resolve().name for folder in folders]
    return [str(f) if names.count(n) > 1 else n for f, n in zip(folders, names, strict=True)]


def _ids(runs: Sequence[Run]) -> Iterator[str]:
    seen: set[str] = set()
    for run in runs:
        for case_id in run.ids():
            if case_id not in seen:
                seen.add(case_id)
                yield case_id
    # A curve has judgments and no decisions of its own.
    if not seen and not any((run.folder / POLICIES).exists() for run in runs):
        raise InputError("no decisions to report", hint="an empty run, or the wrong folder")


def _packed(details: list[dict[str, Any]]) -> str:
    return base64.b64encode(gzip.compress(msgspec.json.encode(details), 6, mtime=0)).decode()


# --- the first screen ------------------------------------------------------------------------------------


class _Counts:
    """A run, and what is counted of it while its cases are read."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reasons = Reasons()
        self.items: list[Item] = []
        self.pairs = PairsTally()
        self._digests = run.digests()
        self._compact = Compact()

    def add(self, decision: Decision, case: Case | None) -> None:
        """Count a decision; its reasons are counted judgment by judgment."""
        digest = self._digests.get(decision.case_id, "")
        self.items.append(read_item(decision, None, case, digest, self._compact))
        self.pairs.add(self.items[-1].decision)


def _summary(name: str, counts: _Counts, prices: tuple[float, float] | None) -> dict[str, Any]:
    run, card = counts.run, _scorecard(counts)
    usage = card.usage
    cost = prices and (usage.prompt_tokens * prices[0] + usage.completion_tokens * prices[1]) / 1e6
    found = audit(name, counts.items, counts.reasons) if counts.items else None
    return {
        "name": name,
        "config": [[k, _shown(k, run.config[k])] for k in SIDE if run.config.get(k) not in (None, "", [])],
        "card": msgspec.to_builtins(card),
        "cost": cost or None,
        "lost": run.lost,
        "audit": _sections(found) if found else [],
        "calibration": msgspec.to_builtins(found.calibration) if found and found.calibration else None,
        "left_out": list(found.left_out) if found else [],
        "faithfulness": [_finding(f) for f in found.reasons] if found else [],
    }


def _shown(key: str, value: Any) -> str:
    """A fact of run.json; of the outputs that were imported the name, which says whose they are."""
    return (
        str(value).rstrip("/").rpartition("/")[2]
        if key == "imported" and "#" not in str(value)
        else str(value)
    )


def _scorecard(counts: _Counts) -> Scorecard:
    """The folder's scorecard; of a run that is still going on, one over what is there."""
    folder = counts.run.folder
    return read_scorecard(folder) if (folder / SCORECARD).exists() else counts.pairs.scorecard(folder.name)


def _sections(found: Audit) -> list[dict[str, Any]]:
    parts: list[tuple[str, Sequence[Finding]]] = [
        ("position", found.position), ("style", found.style), ("calibration", found.confidence),
        ("unanswered", found.unanswered),
    ]  # fmt: skip
    sections = [{"title": title, "findings": [_finding(f) for f in some]} for title, some in parts if some]
    leanings = [
        {"sentence": one.sentence, "shown": one.shown, "value": one.prefers, "interval": one.interval,
         "neutral": one.gold, "name": one.trait}
        for one in found.leanings
    ]  # fmt: skip
    if leanings:
        sections.insert(1, {"title": "length and markup", "findings": leanings})
    return sections


def _finding(finding: Finding) -> dict[str, Any]:
    return {"shown": finding.shown, **msgspec.to_builtins(finding)}


# --- one case --------------------------------------------------------------------------------------------


def _case(case_id: str, runs: Sequence[_Counts]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(a row of the index, the texts)."""
    case: Case | None = None
    cells: list[dict[str, Any] | None] = []
    sides: list[dict[str, Any] | None] = []
    group: str | None = None
    prompts: list[list[list[str]]] = []
    rendered: list[list[str]] = []
    for counts in runs:
        decision, own = counts.run.found(case_id)
        case = case or own
        if decision is None:
            cells.append(None)
            sides.append(None)
            continue
        group = group or decision.group
        counts.add(decision, own)
        judgments = [_judgment(judgment, case, prompts, counts.reasons) for judgment in decision.judgments]
        if not rendered and prompts:
            rendered = prompts[0]
        cells.append(_cell(decision, judgments))
        sides.append(_side(decision, judgments))
    prompt = [[m.role, _text(m.content)] for m in case.prompt] if case else rendered
    question = next(
        (text for role, text in reversed(prompt) if role == "user"), prompt[-1][1] if prompt else ""
    )
    row: dict[str, Any] = {"id": case_id, "q": " ".join(question.split())[:160], "runs": cells}
    if group:
        row["g"] = group
    detail: dict[str, Any] = {"id": case_id, "prompt": prompt, "rendered": case is None, "runs": sides,
                              "prompts": prompts}  # fmt: skip
    if case:
        row["n"] = len(case.responses)
        detail |= {"responses": [_response(r) for r in case.responses], "gold": case.gold,
                   "reference": case.reference, "rubric": case.rubric}  # fmt: skip
    return row, detail


def _cell(decision: Decision, judgments: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the list of cases shows and filters by."""
    scores = decision.verdict.scores
    if scores is None:
        state = "unanswered"
    elif decision.right is None:
        state = "open"
    elif decision.right:
        state = "right"
    else:
        state = "tie" if len(scores) > 1 and winner(scores) is None else "wrong"
    cell: dict[str, Any] = {"s": state, "t": decision.usage.completion_tokens}
    if scores is not None:
        cell["w"] = winner(scores)
    if scores is None:
        cell["u"] = decision.verdict.status.value
    if decision.agreement is not None:
        cell["a"] = round(decision.agreement, 3)
    if _flipped(decision):
        cell["o"] = 1
    if found := sorted({fault for judgment in judgments for fault in judgment.get("faults", ())}):
        cell["f"] = found
    if task := next((j["chain"]["task"] for j in judgments if j.get("chain", {}).get("task")), None):
        cell["k"] = task
    return cell


def _flipped(decision: Decision) -> bool:
    """Whether the two orders of a pair prefer different responses, each by the majority of its judgments."""
    sums: dict[tuple[int, ...], float] = {}
    for judgment in decision.final_judgments:
        scores = judgment.verdict.scores
        if scores and len(scores) == 2 and sorted(judgment.query.order) == [0, 1]:
            sums[judgment.query.order] = sums.get(judgment.query.order, 0.0) + scores[0] - scores[1]
    return len(sums) == 2 and min(sums.values()) < 0 < max(sums.values())


def _side(decision: Decision, judgments: list[dict[str, Any]]) -> dict[str, Any]:
    verdict = decision.verdict
    side: dict[str, Any] = {"scores": verdict.scores, "status": verdict.status.value, "judgments": judgments}
    for name, value in (
        ("note", verdict.note),
        ("errors", verdict.errors),
        ("agreement", decision.agreement),
    ):
        if value not in (None, ""):
            side[name] = value
    return side


def _judgment(
    judgment: Judgment, case: Case | None, prompts: list[list[list[str]]], reasons: Reasons
) -> dict[str, Any]:
    query, completion, verdict = judgment.query, judgment.completion, judgment.verdict
    thinking, answer = split_thinking(completion)
    one: dict[str, Any] = {
        "order": query.order, "sample": query.sample, "text": _text(restore(answer).strip()),
        "scores": verdict.scores, "tokens": judgment.usage.completion_tokens,
        "shown": shown(query.order), "way": "" if verdict.via == "text" else way(verdict),
    }  # fmt: skip
    for name, value in (
        ("judge", query.judge), ("budget", query.sampling.thinking_budget),
        ("thinking", _text(thinking.strip())),
        ("note", verdict.note), ("error", completion.error), ("seconds", round(completion.seconds, 2)),
        ("logprobs", judgment.forced.logprobs if judgment.forced else completion.logprobs),
    ):  # fmt: skip
        if value not in (None, "", 0.0):
            one[name] = value
    if verdict.status is not Status.OK:
        one["status"] = verdict.status.value
    if completion.finish != "stop":
        one["finish"] = completion.finish
    if query.messages:
        prompt = [[m.role, _text(restore(m.content))] for m in query.messages]
        if prompt not in prompts:
            prompts.append(prompt)
        one["prompt"] = prompts.index(prompt)
    chain = read_answer(answer)
    if chain.criteria or chain.solution or chain.evaluation:
        one["chain"] = _chain(chain, query.order, case)
    if case and (found := reasons.add(case, judgment, (chain, answer))):
        one["faults"] = [fault.value for fault in found]
    return one


def _chain(chain: Chain, order: Order, case: Case | None) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "task": chain.task, "why": chain.justification, "solution": chain.solution,
        "evaluation": restore(chain.evaluation) if chain.evaluation else None,
        "criteria": [[c.name, c.weight, c.text] for c in chain.criteria] or None,
    }  # fmt: skip
    quotes: list[list[Any]] = []
    for part in chain.evidence:
        index = order[part.slot] if part.slot < len(order) else None
        there: bool | None = None
        if part.kind == "quote" and case and index is not None:
            there = occurs(part.text, _plain(case.responses[index]))
        quotes.append([part.kind, index, restore(part.text), there])
    return {name: value for name, value in (parts | {"quotes": quotes or None}).items() if value}


def _response(response: Response) -> Any:
    return _text(response) if isinstance(response, str) else [[m.role, _text(m.content)] for m in response]


def _plain(response: Response) -> str:
    return response if isinstance(response, str) else "\n".join(m.content for m in response)


def _text(text: str) -> str:
    return (
        text if len(text) <= LONGEST else f"{text[:LONGEST]}\n[cut: {len(text) - LONGEST:,} more characters]"
    )
