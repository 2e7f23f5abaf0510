"""Past one machine: a run whose cases are asked about by workers of a Ray cluster (docs/scale.md)."""

from jurist.scale.api import judge_all
from jurist.scale.config import Cluster
from jurist.scale.run import decide_on, fill
from jurist.scale.work import Asking, Work, distilling, judging, remembered_only

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
