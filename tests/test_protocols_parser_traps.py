"""Texts on which parsers of official code go astray: what each of them says, and what ours says.

The rules are those of the repositories' code as the benchmarks' files name it, written down here again.
RewardBench's and RewardBench 2's are in test_benchmarks_rewardbench.py.
"""

import re

import pytest

from jurist.core.types import Completion, Status
from jurist.protocols.verdicts import parse_letter, parse_rating


def prometheus_absolute(text):
    """prometheus-eval: the first "score N" or "[RESULT] N" of the text; no range, and one branch is dead."""
    rule = re.compile(
        r"(?:\[RESULT\]|Score|\[SCORE\]|\[RESULT\]:|score\sof)\s*(?:\(|\[|)\s*(\d+)", re.I | re.X
    )
    found = rule.search(text)
    return int(found[1]) if found else None


def skywork_critic(text):
    """JudgeBench's reader of Skywork-Critic: any capital A in the text is a vote for A."""
    return "A" if "A" in text else "B" if "B" in text else None


def judgebench_arena_hard(text):
    """JudgeBench's reader of Arena-Hard judges: one distinct label, or nothing."""
    labels = set(re.findall(r"\[\[([AB<>=]+)\]\]", text))
    return labels.pop().replace(">>", ">").replace("<<", "<") if len(labels) == 1 else None


def arena_hard(text):
    """Arena-Hard itself: the last label."""
    labels = re.findall(r"\[\[([AB<>=]+)\]\]", text.upper())
    return labels[-1] if labels else None


def pandalm(text):
    """PandaLM: the first line is exactly 1, 2 or tie; all else is a tie."""
    return {"1": 1, "2": 2, "tie": 0}.get(
        text.strip().splitlines()[0].strip().lower() if text.strip() else "", 0
    )


def letter(text):
    """Ours: A, B, or why there is none."""
    verdict = parse_letter(Completion(text))
    return "AB"[verdict.scores.index(1.0)] if verdict.scores else str(verdict.status)


def rating(text):
    """Ours: the number, or why there is none."""
    verdict = parse_rating(Completion(text), 1, 5)
    return verdict.scores[0] if verdict.scores else str(verdict.status)


@pytest.mark.parametrize(
    ("text", "theirs", "ours"),
    [
        # A score in the reasons comes first; the result behind it is never looked at.
        ("It would be a Score 2 if ... but no. [RESULT] 4", 2, "unparsed"),
        ("[RESULT] 10", 10, "unparsed"),
        ("<rating>10</rating>", None, "unparsed"),
        ("Score 2 at first sight. <rating>4</rating>", 2, 4.0),
    ],
)
def test_prometheus_takes_the_first_score_and_any_number(text, theirs, ours):
    assert prometheus_absolute(text) == theirs
    assert rating(text) == ours


@pytest.mark.parametrize(
    ("text", "theirs", "ours"),
    [
        ("All things considered, the better answer is [[B]].", "A", "B"),
        ("Assistant 2 wins. [[B]]", "A", "B"),
        ("the second one", None, "unparsed"),
    ],
)
def test_skywork_critic_reads_any_capital_a(text, theirs, ours):
    assert skywork_critic(text) == theirs
    assert letter(text) == ours


@pytest.mark.parametrize(
    ("text", "judgebench", "arena", "ours"),
    [
        ("First I thought [[A]], now [[B]].", None, "B", "B"),
        ("[[A>B]] or rather [[B>A]]", None, "B>A", "unparsed"),
        ("My verdict: [[B]]", "B", "B", "B"),
        ("<answer>[[A]] and [[B]]</answer>", None, "B", "unparsed"),
    ],
)
def test_one_distinct_label_and_the_last_label_are_two_verdicts(text, judgebench, arena, ours):
    assert judgebench_arena_hard(text) == judgebench
    assert arena_hard(text) == arena
    assert letter(text) == ours


@pytest.mark.parametrize(
    ("text", "theirs", "ours"),
    [
        ("2\n\n### Reason: it is complete", 2, "unparsed"),
        ("Response 2 is better: [[B]]", 0, "B"),
        ("", 0, "unparsed"),
        ("1 or 2", 0, "unparsed"),
    ],
)
def test_pandalm_calls_a_tie_what_it_cannot_read(text, theirs, ours):
    assert pandalm(text) == theirs
    assert letter(text) == ours


def test_ours_never_makes_a_score_of_what_it_cannot_read():
    for text in ("", "tie?", "both [[A]] [[B]] <answer>AB</answer>", "[RESULT] 3"):
        for verdict in (parse_letter(Completion(text)), parse_rating(Completion(text), 1, 5)):
            assert verdict.scores is None or verdict.status is Status.OK
