"""Chains written from findings: the rubric, the evidence for each criterion, the rating or the verdict.

Two forms from the same pairs: one reply alone, and both replies side by side.
"""

from collections.abc import Sequence

from findings import Criterion, Finding, Pair

MET, UNMET = "Met.", "Not met."


def rating(rubric: Sequence[Criterion], findings: Sequence[Finding]) -> int:
    """From 1 (no criterion met) to 5 (all met), by the weights."""
    share = sum(c.weight for c, f in zip(rubric, findings, strict=True) if f.met) / sum(
        c.weight for c in rubric
    )
    return 1 + round(4 * share)


def rubric_text(pair: Pair) -> str:
    """The rubric and, where there is one, the solution."""
    lines = [f"{i}. {c.name} ({c.weight}%): {c.text}" for i, c in enumerate(pair.rubric, 1)]
    solution = f"<solution>{pair.solution}</solution>\n" if pair.solution else ""
    return "<rubric>" + "\n".join(lines) + "</rubric>\n" + solution


def alone(pair: Pair, better: bool) -> str:
    """The assessment of one reply."""
    findings = pair.good_findings if better else pair.bad_findings
    lines = [f"{i}. {f.evidence} {MET if f.met else UNMET}" for i, f in enumerate(findings, 1)]
    shown = "\n".join(lines)
    return f"{rubric_text(pair)}<eval>{shown}</eval>\n<rating>{rating(pair.rubric, findings)}</rating>"


def side_by_side(pair: Pair, first_better: bool) -> str:
    """Both replies assessed one after the other, and the verdict."""
    shown = (
        [pair.good_findings, pair.bad_findings] if first_better else [pair.bad_findings, pair.good_findings]
    )
    lines: list[str] = []
    for i in range(len(pair.rubric)):
        a, b = shown[0][i], shown[1][i]
        lines.append(
            f"{i + 1}. A: {a.evidence} {MET if a.met else UNMET} B: {b.evidence} {MET if b.met else UNMET}"
        )
    points = [rating(pair.rubric, findings) for findings in shown]
    letter = "A" if points[0] > points[1] else "B"
    joined = "\n".join(lines)
    return f"{rubric_text(pair)}<eval>{joined}</eval>\n<answer>[[{letter}]]</answer>"
