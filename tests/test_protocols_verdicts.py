"""Texts and the verdicts they must give: by our rule, by the official rules, and on record."""

import json
from typing import Any

import msgspec
import pytest
from goldens import ids, lines, protocol
from hypothesis import given
from hypothesis import strategies as st
from shared import shared

from jurist.core.types import Completion, Status, Verdict
from jurist.protocols import rm_r1, rubrics
from jurist.protocols.chain import read_chain
from jurist.protocols.verdicts import box_spans, parse_letter, parse_rating

RUNS = ("RM-R1-Qwen2.5-Instruct-32B", "RM-R1-DeepSeek-Distilled-Qwen-32B")


def said(verdict: Verdict) -> tuple[float, ...] | str:
    """Scores, or the status."""
    assert (verdict.scores is None) == (verdict.status is not Status.OK), "a status is never a score"
    return str(verdict.status) if verdict.scores is None else verdict.scores


@pytest.mark.parametrize("rule", ["robust", "eval", "train"])
def test_golden_verdicts(rule: str) -> None:
    """Every text of the golden files, by our rule and by the two official ones."""
    field = "verdict" if rule == "robust" else rule
    expected = {ids(g): getattr(g, field) for g in lines() if rule == "robust" or g.eval is not None}
    parsed = {
        ids(g): said(protocol(g.protocol, rule).parse(g.completion)) for g in lines() if ids(g) in expected
    }
    assert parsed == expected


def test_golden_lines_are_many_and_distinct() -> None:
    names = [ids(g) for g in lines()]
    assert len(names) == len(set(names)) >= 150


@pytest.mark.parametrize("name", ["rubrics", "rubrics_short", "pairwise"])
def test_our_pair_protocols_read_as_rm_r1_instruct(name: str) -> None:
    from jurist.protocols.pairwise import pairwise

    judge = pairwise() if name == "pairwise" else getattr(rubrics, name)()
    for golden in lines():
        if golden.protocol == "rm-r1-instruct":
            assert said(judge.parse(golden.completion)) == golden.verdict, golden.name


def test_a_failed_call_is_failed_whatever_its_text() -> None:
    for golden in lines():
        failed = msgspec.structs.replace(golden.completion, finish="error", error="connection reset")
        for rule in ("robust", "eval", "train") if golden.eval is not None else ("robust",):
            verdict = protocol(golden.protocol, rule).parse(failed)
            assert (said(verdict), verdict.note) == ("failed", "connection reset"), golden.name


def test_notes_say_why() -> None:
    def note(text: str, finish: str = "stop") -> str:
        return parse_letter(msgspec.convert({"text": text, "finish": finish}, Completion)).note

    assert note("") == "empty answer"
    assert note("Well.") == "no verdict in the answer"
    assert note("<answer>[[A/B]]</answer>") == "the answer names more than one response"
    assert note("<answer>none</answer>") == "the answer names no response"
    assert note("Well", "length") == "cut before a verdict"
    assert parse_letter(Completion(finish="length", error="too long a prompt")).note == "too long a prompt"
    assert note("I cannot say.") == "I cannot say."
    assert (
        parse_rating(Completion("<rating>11</rating>"), 1, 10).note
        == "the rating is not one number from 1 to 10"
    )
    assert "one of the two" in protocol("rrm").parse(Completion(r"</think>\boxed{Assistant 3}")).note


def test_more_labels() -> None:
    assert parse_letter(Completion("<answer>[[C]]</answer>"), "ABCD").scores == (0, 0, 1, 0)
    assert parse_letter(Completion("[[d]] is it"), "ABCD").scores == (0, 0, 0, 1)
    assert parse_letter(Completion("<answer>Response C, then D</answer>"), "ABCD").scores is None


@given(st.lists(st.sampled_from([*"{}a", r"\boxed{", r"\fbox {", "\\"]), max_size=24).map("".join))
def test_boxes_equal_their_plain_definition(text: str) -> None:
    """One pass with a stack finds what counting braces from each box finds."""
    expected: list[str] = []
    for start in range(len(text)):
        opening = next((o for o in (r"\boxed{", r"\fbox {") if text.startswith(o, start)), "")
        depth, begin = 1, start + len(opening)
        for position in range(begin, len(text) if opening else 0):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                expected.append(text[begin:position])
                break
    assert [text[start:end] for _, start, end in box_spans(text) if end >= 0] == expected


# --- real completions -------------------------------------------------------------------------------


def rmb_rows(run: str) -> list[dict[str, Any]]:
    """Every recorded pair of a released 32B run: text, in which slot the chosen one stood, outcome."""
    rows: list[dict[str, Any]] = []
    for file in sorted(shared("rm-r1-results", run, "RMB").glob("*/log_result/*logs.json")):
        try:
            content = json.loads(file.read_text("utf-8"))
        except json.JSONDecodeError:
            continue  # one published excerpt ends in the middle
        rows += content if isinstance(content, list) else [row for group in content.values() for row in group]
    return rows


@pytest.mark.parametrize("run", RUNS)
def test_recorded_outcomes_of_rm_r1(run: str) -> None:
    """Our rule, the official rule and the outcome on record are one; every one of these texts has it."""
    family = rm_r1.guess_family(run)
    rows = rmb_rows(run)
    assert len(rows) >= 8
    for row in rows:
        completion = Completion(row["answers"])
        chosen = 1 if row["Is_Chosen_Answer_Shuffled_toPositionB"] else 0
        for rule in ("robust", "eval", "train"):
            scores = protocol(f"rm-r1-{family}", rule).parse(completion).scores
            assert scores is not None, (rule, row["answers"][-200:])
            assert scores[chosen] == row["results"], (rule, row["answers"][-200:])


def test_chains_of_rm_r1() -> None:
    """Instruct texts keep the contract; distilled ones only think, so there is no chain to read."""
    rows = rmb_rows(RUNS[0])
    chains = [read_chain(Completion(row["answers"])) for row in rows]
    assert sum(chain.whole for chain in chains) / len(chains) >= 0.95
    for chain in chains:
        if chain.criteria:
            assert sum(c.weight for c in chain.criteria) == 100
            assert all(c.name and c.text for c in chain.criteria)
            assert chain.justification
        assert chain.evidence
    thinking = [read_chain(Completion(row["answers"]), opens=True) for row in rmb_rows(RUNS[1])]
    assert not any(chain.task or chain.criteria for chain in thinking)


def test_verdicts_of_another_judge_are_not_taken_for_ours() -> None:
    """o1-mini's Arena-Hard texts end in [[A>>B]] and often box a number: no protocol here reads one."""
    folder = shared("judgebench", "outputs")
    (file,) = folder.glob("*judge_model=o1-mini*")
    texts = [
        judgment["judgment"]["response"]
        for line in file.read_text("utf-8").splitlines()
        for judgment in json.loads(line)["judgments"]
    ]
    assert len(texts) == 700
    for name in ("rm-r1-instruct", "rrm", "pointwise"):
        verdicts = [protocol(name).parse(Completion(text)) for text in texts]
        assert not any(v.scores for v in verdicts)
        # One text says "I'm sorry, but I can't help with that." and then goes on to compare.
        assert sum(v.status is Status.REFUSED for v in verdicts) == 1


def test_real_texts_are_not_refusals() -> None:
    for run in RUNS:
        for row in rmb_rows(run):
            cut = Completion(row["answers"].rpartition("<answer>")[0])
            assert protocol("rm-r1-instruct").parse(cut).status is Status.UNPARSED
