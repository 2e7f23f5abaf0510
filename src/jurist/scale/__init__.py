"""Past one machine: a run whose cases are asked about by workers of a Ray cluster (docs/scale.md)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jurist.scale.api import judge_all
    from jurist.scale.config import Cluster
    from jurist.scale.run import decide_on, fill
    from jurist.scale.work import Asking, Work, distilling, judging, remembered_only

_PUBLIC = {
    "judge_all": "api",
    "Cluster": "config",
    "decide_on": "run",
    "fill": "run",
    **dict.fromkeys(("Asking", "Work", "distilling", "judging", "remembered_only"), "work"),
}

__all__ = [
    "Asking",
    "Cluster",
    "Work",
    "decide_on",
    "distilling",
    "fill",
    "judge_all",
    "judging",
    "remembered_only",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded on first use: every command reads the options of a cluster at its start."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'jurist.scale' has no attribute {name!r}")
    value = getattr(import_module(f"jurist.scale.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value
