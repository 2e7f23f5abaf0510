"""The verdict weighed in the thinking is not the verdict: every family's marks, closed, open and cut."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.core.types import Completion, Status
from jurist.protocols import rm_r1, rrm
from jurist.protocols.thinking_tags import (
    THINKING_MARKS,
    _marks,  # pyright: ignore[reportPrivateUsage]
    closed_thinking,
    split_thinking,
    without_thinking,
)
from jurist.protocols.verdicts import parse_box, parse_letter, parse_rating

FAMILIES = {
    "DeepSeek": ("<think>", "</think>"),
    "in other letters": ("<THINK >", "</ Think>"),
    "Magistral": ("[THINK]", "[/THINK]"),
    "Seed": ("<seed:think>", "</seed:think>"),
    "LongCat": ("<longcat_think>", "</longcat_think>"),
    "thinking": ("<thinking>", "</thinking>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "thought": ("<thought>", "</thought>"),
    "Granite": ("Here is my thought process:", "Here is my response:"),
    "Granite, contracted": (" Here's my thought process:", "Here’s my response:"),
    "gpt-oss": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss in a format": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "gpt-oss with a call": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=x<|message|>",
        "<|call|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss without its tokens": ("analysis", "assistantfinal"),
    "Gemma": ("<|channel>thought\n", "<channel|>"),
    "Kimi": ("◁think▷", "◁/think▷"),
    "Command": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "Apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "Sky-T1": ("<|begin_of_thought|>", "<|end_of_thought|>\n<|begin_of_solution|>"),
    "Solar": ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    "Pangu": ("[unused16]", "[unused17]"),
}
WEIGHED = "First I lean to <answer>[[A]]</answer>, but let me check B again."


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_inside_a_thinking_counts(family: str) -> None:
    opening, closing = FAMILIES[family]
    whole = f"{opening}{WEIGHED}{closing}"
    assert parse_letter(Completion(f"{whole}\n<answer>[[B]]</answer>")).scores == (0, 1)
    assert parse_letter(Completion(f"{whole}\nBoth have merits.")).status is Status.UNPARSED
    cut = Completion(f"{opening}{WEIGHED}", finish="length")
    assert parse_letter(cut).status is Status.TRUNCATED
    assert parse_letter(Completion(cut.text)).scores is None, "a thinking that never closes has no answer"
    again = f"{whole}\nSo B. {FAMILIES['DeepSeek'][0]}{WEIGHED}"
    assert parse_letter(Completion(again)).scores is None, "nor has one that opens again"
    assert parse_letter(Completion(f"{whole}[[B]] {FAMILIES['DeepSeek'][0]}{WEIGHED}")).scores == (0, 1)
    thinking, answer = split_thinking(Completion(f"{whole}\nBoth."))
    assert WEIGHED in thinking
    assert answer.endswith("\nBoth.")
    assert "[[A]]" not in answer


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("Granite, contracted", "Granite")])
def test_a_closing_mark_alone_ends_the_thinking(family: str) -> None:
    """The chat template had opened it. (Words alone close nothing where no words have opened.)"""
    if family != "gpt-oss without its tokens":
        text = f"{WEIGHED}{FAMILIES[family][1]}\n[[B]]"
        assert parse_letter(Completion(text)).scores == (0, 1)
        assert parse_letter(Completion(text.removesuffix("[[B]]"))).scores is None


def test_words_of_a_family_are_words_elsewhere() -> None:
    for text in ("[[A]] Here is my response: fine.", "The analysis: assistantfinal [[A]]", "analysis: [[A]]"):
        assert parse_letter(Completion(text)).scores == (1, 0), text


def test_a_template_that_opens_the_thinking() -> None:
    assert split_thinking(Completion("Hm. [[A]]", finish="length"), opens=True) == ("Hm. [[A]]", "")
    assert split_thinking(Completion("Hm. [[A]]"), opens=True) == ("", "Hm. [[A]]")
    assert split_thinking(Completion("Hm.</think>So.", finish="length"), opens=True) == ("Hm.", "So.")
    assert split_thinking(Completion("<think>Hm.", finish="length"), opens=True) == ("Hm.", "")


def test_a_thinking_that_the_server_parted() -> None:
    assert split_thinking(Completion("So.", thinking="Hm.")) == ("Hm.", "So.")
    assert split_thinking(Completion("more</think>So.", thinking="Hm.")) == ("Hm.\nmore", "So.")
    assert split_thinking(Completion("", thinking="Hm.", finish="length")) == ("Hm.", "")


def test_an_answer_delivered_as_reasoning_is_read() -> None:
    """A reasoning parser that saw no closing mark puts the whole answer there: content null, finish stop."""
    delivered = [
        (parse_letter, "B is better. <answer>[[B]]</answer>", (0, 1)),
        (parse_box, r"So \boxed{Assistant 2}", (0, 1)),
        (lambda c: parse_rating(c, 1, 10), "<rating>7</rating>", (7,)),
        (rm_r1.rm_r1({}, "reasoning").parse, "<answer>[[B]]</answer>", (0, 1)),
        (rm_r1.parse_eval, "<answer>[[B]]</answer>", (0, 1)),
        (rm_r1.parse_train, "x" * 50 + "<answer>[[B]]</answer>", (0, 1)),
    ]
    for parse, text, scores in delivered:
        for content in ("", " \n"):
            assert parse(Completion(content, thinking=text)).scores == scores
        assert parse(Completion(text)).scores == scores, "as the same text unparted"
    for parse in (rrm.parse_eval, rrm.parse_train):
        alone = Completion("", thinking=r"\boxed{Assistant 2}")
        assert parse(alone).scores is parse(Completion(alone.thinking or "")).scores is None
    cut = Completion("", thinking="[[A]]", finish="length")
    assert parse_letter(cut).status is Status.TRUNCATED
    assert parse_letter(Completion("", thinking="<think>Hm. [[A]]")).scores is None
    assert parse_letter(Completion("So?", thinking="[[A]]")).scores is None


INVISIBLE = ["\u200b", "\u2060", "\xad", "\u200e", "\ufe0f", "\u034f", "\x00", "\U000e0041", "\u3164"]


@pytest.mark.parametrize("mark", INVISIBLE)
def test_invisible_characters_do_not_turn_a_verdict(mark: str) -> None:
    """Wherever one stands in the last verdict, it does not leave the word to an earlier one."""
    texts = {
        parse_letter: ("<answer>[[A]]</answer> No: ", "<answer>[[B]]</answer>", (0, 1)),
        parse_box: (r"\boxed{Assistant 1} No: ", r"\boxed{Assistant 2}", (0, 1)),
    }
    for parse, (before, verdict, scores) in texts.items():
        for place in range(len(verdict) + 1):
            text = f"{before}{verdict[:place]}{mark}{verdict[place:]}"
            assert parse(Completion(text)).scores == scores, ascii(text)
    for place in range(len("</think>")):
        text = f"Hm, [[A]].{'</think>'[:place]}{mark}{'</think>'[place:]}[[B]]"
        assert parse_letter(Completion(text)).scores == (0, 1)
    assert parse_letter(Completion(f"[[A]] or [[{mark}]]")).scores == (1, 0)


def test_responses_lose_the_thinking_that_they_begin_with() -> None:
    for opening, closing in FAMILIES.values():
        assert without_thinking(f" {opening}Hm.{closing}\n42.") == "42."
        assert without_thinking(f"{opening}Hm.") == ""
    assert without_thinking("Hm.</think>42.") == "42.", "its template had opened it"
    for text in (
        "Use <thinking> tags.",
        "Use <thinking> and </thinking> around it.",
        "Here it is: Here is my response: x",
        "x <|channel|>analysis",
        "",
    ):
        assert without_thinking(text) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_turn_goes_on_in_its_own_marks(family: str) -> None:
    """A forced verdict and a second request go on after a cut thinking, closed as its family does."""
    opening, closing = FAMILIES[family]
    if family != "gpt-oss with a call":
        turn, answer = closed_thinking(Completion(f"{opening}{WEIGHED}", finish="length"))
        assert answer == ""
        thinking, answer = split_thinking(Completion(f"{turn}[[B]]"))
        assert (thinking.strip(), answer.strip()) == (WEIGHED, "[[B]]")
        assert turn.startswith(opening.lstrip().partition("\n")[0])
    judge = rm_r1.rm_r1({}, "instruct")
    written = Completion(f"{opening}{WEIGHED}{closing}\nB is kinder. <answer>[[", finish="length")
    assert judge.prefill(written).endswith("\n\nB is kinder.\n\n<answer>[[")
    assert judge.parse(Completion(judge.prefill(written) + "B]]</answer>")).scores == (0, 1)


def test_a_turn_without_marks_of_its_own() -> None:
    def turn(text: str, thinking: str | None = None, opens: bool = False) -> tuple[str, str]:
        return closed_thinking(Completion(text, thinking=thinking, finish="length"), opens=opens)

    assert turn("So.") == ("", "So.")
    assert turn("So.", "Hm.") == ("<think>\nHm.\n</think>\n\n", "So.")
    assert turn("Hm.", opens=True) == ("Hm.\n</think>\n\n", "")
    assert turn("", opens=True) == ("\n</think>\n\n", "")
    assert turn("Hm.</think>So.", opens=True) == ("Hm.\n</think>\n\n", "So.")


@given(
    st.lists(
        st.sampled_from(
            [
                *(mark for family in FAMILIES.values() for mark in family),
                "<",
                "[",
                "◁",
                "a < b",
                "[[A]]",
                "\n",
                "é",
            ]
        ),
        max_size=60,
    ).map("".join)
)
def test_marks_are_those_of_one_search_through_the_text(text: str) -> None:
    """Beginnings that are looked at one by one (few) or by one search (many) give the same marks."""
    one_search = re.finditer("|".join(THINKING_MARKS), text, re.I)
    assert [m.span() for m in _marks(text)] == [m.span() for m in one_search]
