"""A decision as one flat JSON row for pipes: what was decided and the reasons, without the prompts."""

from typing import Any

from jurist.core.types import Decision, Judgment, winner


def decision_row(decision: Decision) -> dict[str, Any]:
    """The row of a decision; ``prefers`` is the index of the best response, null for a tie or no verdict."""
    verdict = decision.verdict
    return {
        "case_id": decision.case_id,
        "prefers": winner(verdict.scores) if len(verdict.scores or ()) > 1 else None,
        "scores": verdict.scores,
        **({"errors": verdict.errors} if verdict.errors else {}),
        "status": verdict.status,
        **({"note": verdict.note} if verdict.note and not decision.judgments else {}),
        "agreement": decision.agreement,
        "gold": decision.gold,
        "group": decision.group,
        "tokens": decision.usage.completion_tokens,
        "judgments": [_judgment_row(j) for j in decision.judgments],
    }


def _judgment_row(judgment: Judgment) -> dict[str, Any]:
    verdict = judgment.verdict
    return {
        "order": judgment.query.order,
        "sample": judgment.query.sample,
        "scores": verdict.scores,
        "status": verdict.status,
        "via": verdict.via,
        "note": verdict.note,
        "text": judgment.completion.text,
        "thinking": judgment.completion.thinking,
    }
