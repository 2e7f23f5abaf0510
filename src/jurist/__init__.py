"""Jurist: reasoning reward models, judged, measured, trained and served.

import jurist
decision = jurist.judge("What is 7 * 8?", ["54", "56"])
print(decision.verdict.scores, decision.judgments[0].completion.text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jurist.api import best_of_n, evaluate, judge, judge_all, rank
    from jurist.core.errors import JuristError
    from jurist.core.types import (
        Case,
        Completion,
        Decision,
        Judgment,
        Message,
        Query,
        Sampling,
        Scorecard,
        Status,
        Verdict,
    )
    from jurist.core.version import __version__ as __version__
    from jurist.inputs import load_cases
    from jurist.judging.config import JudgeConfig
    from jurist.judging.judge import Judge
    from jurist.reports.frame import to_frame

_NOUNS = "Case Completion Decision Judgment Message Query Sampling Scorecard Status Verdict"
_PUBLIC = {
    "judge": "api",
    "judge_all": "api",
    "rank": "api",
    "best_of_n": "api",
    "evaluate": "api",
    "load_cases": "inputs",
    "to_frame": "reports.frame",
    "Judge": "judging.judge",
    "JudgeConfig": "judging.config",
    "JuristError": "core.errors",
    "__version__": "core.version",
    **dict.fromkeys(_NOUNS.split(), "core.types"),
}

__all__ = [  # noqa: RUF022 - in the order of the path
    "judge",
    "judge_all",
    "rank",
    "best_of_n",
    "evaluate",
    "load_cases",
    "to_frame",
    "Judge",
    "JudgeConfig",
    "JuristError",
    "Case",
    "Completion",
    "Decision",
    "Judgment",
    "Message",
    "Query",
    "Sampling",
    "Scorecard",
    "Status",
    "Verdict",
]


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    """Public names are loaded on first use, so that ``import jurist`` stays light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'jurist' has no attribute {name!r}")
    value = getattr(import_module(f"jurist.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value
