"""Curves for the report: the metrics of a training, and accuracy against tokens of several deliberations."""

import json
from pathlib import Path
from typing import Any

import msgspec

from jurist.judging.curve import CurvePoint

METRICS = "metrics.jsonl"
POLICIES = "curve.json"
"""What `jurist curve --out` leaves in its folder."""
SHOWN = {
    "reward": "reward",
    "held_out/accuracy": "held-out accuracy",
    "held_out/consistent": "held-out pairs judged alike in both orders",
    "verdicts/unanswered": "judgments without a verdict",
    "groups/zero_variance": "groups without an advantage",
    "completions/mean_length": "tokens of a judgment",
    "kl": "KL",
    "loss": "loss",
}
"""Metrics that are drawn, in their order, and what they are called."""
MOST = 400
"""Points of a curve; of more, evenly spread ones."""


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """Each metric's (step, value) points; held-out accuracy with its 95% interval; empty without metrics."""
    path = folder / METRICS
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_bytes().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue  # the last line of a training that is being written
    curves: list[dict[str, Any]] = []
    for metric, name in SHOWN.items():
        points = [[line["step"], line[metric]] for line in lines if isinstance(line.get(metric), float | int)]
        if len(points) < 2:
            continue
        step = max(1, len(points) // MOST)
        curve: dict[str, Any] = {"name": name, "points": points[::step]}
        if metric == "held_out/accuracy":
            low, high = "held_out/low", "held_out/high"
            curve["band"] = [[x["step"], x[low], x[high]] for x in lines if x.get(low) is not None]
        curves.append(curve)
    return curves


def read_policies(folder: Path) -> list[dict[str, Any]]:
    """What each deliberation of a `jurist curve` reached and cost; empty where the folder holds no curve.

    ``x`` is tokens written a case, or judgments a case where no engine counted tokens.
    """
    path = folder / POLICIES
    try:
        points = msgspec.json.decode(path.read_bytes(), type=list[CurvePoint])
    except (OSError, msgspec.DecodeError):
        return []
    counted = any(point.tokens for point in points)
    unit = "tokens written a case" if counted else "judgments a case"
    return [
        {
            "name": point.policy, "line": point.line, "x": point.tokens if counted else point.judgments,
            "unit": unit, "value": point.score.value, "interval": point.score.interval,
            "efficient": point.efficient,
        }
        for point in points
    ]  # fmt: skip
