"""JSON schemas of a run's files and of a decision on standard output, made from the records themselves."""

from typing import Any

import msgspec

from jurist.core.run_lines import CaseLine, DecisionLine, JudgmentLine, PromptLine, TextLine
from jurist.core.types import Decision, Scorecard

DRAFT = "https://json-schema.org/draft/2020-12/schema"
DECISION = "decision"

_DERIVED = {
    "winner": {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "description": "index of the best response; null for a tie, no verdict, a lone response",
    },
    "right": {
        "anyOf": [{"type": "boolean"}, {"type": "null"}],
        "description": "whether gold says the same; null without gold or verdict",
    },
    "tokens": {"type": "integer", "description": "tokens written for this decision, thinking included"},
}
"""What a decision on standard output has beside the fields of ``Decision``."""

SCHEMAS: dict[str, tuple[str, tuple[Any, ...]]] = {
    DECISION: (
        "A decision on standard output, by `jurist judge` and `jurist show --json`; `rank` and `best-of-n` "
        "add fields.",
        (Decision,),
    ),
    "decisions.jsonl": (
        "A decision in the run: its judgments by their keys, defaults left out.",
        (DecisionLine,),
    ),
    "judgments.jsonl": ("A judgment: what was asked, what was written, the verdict.", (JudgmentLine,)),
    "cases.jsonl": ("A case with its hash.", (CaseLine,)),
    "prompts.jsonl": ("A rendered prompt, or a text that several prompts share.", (PromptLine, TextLine)),
    "scorecard.json": ("The count of a run.", (Scorecard,)),
}
"""What has a schema: one line on it, and its records."""


def schema(name: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a name in ``SCHEMAS``; raises ``KeyError`` for another."""
    summary, records = SCHEMAS[name]
    tops, parts = msgspec.json.schema_components(records, ref_template="#/$defs/{name}")
    if name == DECISION:
        for part in parts.values():
            # On standard output defaults are written.
            if "properties" in part:
                part["required"] = list(part["properties"])
        parts["Decision"]["properties"] |= _DERIVED
        parts["Decision"]["required"] += list(_DERIVED)
    elif name.endswith(".jsonl"):
        for record in records:
            parts[record.__name__]["properties"]["crc"] = {"type": "string", "description": _CRC}
    top = tops[0] if len(tops) == 1 else {"anyOf": [*tops]}
    described = summary.replace("`", "")
    return {"$schema": DRAFT, "title": name, "description": described, **top, "$defs": parts}


_CRC = "CRC-32 of the bytes before it, 8 hex digits"
