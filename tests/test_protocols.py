"""What each protocol shows a judge, where its verdict stands, and what is read from a chain of rubrics."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pair_protocols import PAIRS
from shared import shared

from jurist.core.errors import ProtocolError
from jurist.core.types import Case, Completion, Message, Response
from jurist.judging.judge import check_arity
from jurist.protocols import pointwise, rm_r1, rrm
from jurist.protocols.base import Protocol, VerdictSlot
from jurist.protocols.chain import Criterion, Evidence, read_chain
from jurist.protocols.text import INVISIBLE, fill, flatten, plain, visible

ALL = {**PAIRS, "pointwise": pointwise.pointwise()}
MULTI = [name for name in PAIRS if name != "rrm"]
QUESTION, FIRST, SECOND = "How tall is it?", "The tower has 324 metres.", "I measured 330 m."
TALK = (Message("user", "Hello"), Message("assistant", "Good day"), Message("user", QUESTION))


def pair(first: Response = FIRST, second: Response = SECOND, question: str = QUESTION) -> Case:
    return Case("1", (Message("user", question),), (first, second))


def published(name: str) -> dict[str, str]:
    return json.loads(shared("protocols", f"{name}.json").read_text("utf-8"))["strings"]


# --- rendering --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_shown_once_and_in_order(name: str) -> None:
    protocol = PAIRS[name]
    shown = protocol.render(pair())
    *_, user = shown
    for part in (QUESTION, FIRST, SECOND):
        assert sum(m.content.count(part) for m in shown) == user.content.count(part) == 1
    assert user.content.index(QUESTION) < user.content.index(FIRST) < user.content.index(SECOND)
    assert user.role == "user"
    assert protocol.arity == 2
    assert {m.role for m in shown[:-1]} <= {"system", "assistant", "user"}
    assert protocol.render(pair()) == shown, "rendering is pure"
    assert protocol.name == name
    assert protocol.summary


@pytest.mark.parametrize("name", ALL)
def test_gold_and_meta_are_not_shown(name: str) -> None:
    bare = Case("1", pair().prompt, pair().responses[: ALL[name].arity])
    labelled = Case("other", bare.prompt, bare.responses, gold=(1.0, 0.0), group="hard", meta={"k": "v"})
    assert ALL[name].render(labelled) == ALL[name].render(bare)


@pytest.mark.parametrize("name", MULTI)
def test_a_long_conversation_is_shown_whole(name: str) -> None:
    second = (Message("assistant", "Why?"), Message("user", "Just so."), Message("assistant", SECOND))
    text = PAIRS[name].render(Case("1", TALK, (FIRST, second)))[-1].content
    # RM-R1 was trained on one whole conversation per side, the others see the question once.
    twice = 2 if name.startswith("rm-r1") else 1
    for part, count in (("Hello", twice), ("Good day", twice), (QUESTION, twice), (FIRST, 1), (SECOND, 1)):
        assert text.count(part) == count, part
    assert (
        text.index("Hello")
        < text.index(QUESTION)
        < text.index(FIRST)
        < text.index("Why?")
        < text.index(SECOND)
    )


def test_rm_r1_names_the_speakers_as_rmb_does() -> None:
    text = PAIRS["rm-r1-reasoning"].render(Case("1", TALK, (FIRST, SECOND)))[0].content
    assert f"1 User: Hello\nChatbot A: Good day\nUser: {QUESTION}\nChatbot A: {FIRST}\n2 User:" in text
    assert text.endswith(f"Chatbot B: {SECOND}")


def test_rrm_takes_one_turn_only() -> None:
    for case in (Case("7", TALK, (FIRST, SECOND)), Case("7", TALK[:1], (FIRST, TALK[1:]))):
        with pytest.raises(ProtocolError, match="case '7' has several turns") as caught:
            PAIRS["rrm"].render(case)
        assert "rubrics" in caught.value.hint


@pytest.mark.parametrize("name", ALL)
def test_braces_in_texts_are_texts(name: str) -> None:
    protocol = ALL[name]
    texts = [
        "{question} {answer_a} {a} {b}",
        "{answer_b} {answer1} {answer2}",
        "{reply} {rubric}",
        "{",
        "}}{{",
        "{0}",
    ]
    for text, question in [(t, q) for t in texts for q in (t, "q")]:
        case = Case("1", (Message("user", question),), (f"x{text}y", f"v{text}w")[: protocol.arity])
        shown = protocol.render(case)[-1].content
        plain = protocol.render(Case("1", (Message("user", "QQQ"),), ("RRR", "SSS")[: protocol.arity]))[
            -1
        ].content
        filled = "".join(
            {"QQQ": question, "RRR": f"x{text}y", "SSS": f"v{text}w"}.get(p, p)
            for p in _parts(plain, ("QQQ", "RRR", "SSS"))
        )
        assert shown == filled


def _parts(text: str, marks: tuple[str, ...]) -> list[str]:
    """``text`` cut at the marks, the marks kept."""
    for mark in marks:
        text = text.replace(mark, f"\0{mark}\0")
    return text.split("\0")


def test_fill_leaves_unknown_places() -> None:
    assert fill(r"{a} \boxed{Assistant 1} {b", a="{b}", b="no") == r"{b} \boxed{Assistant 1} {b"
    assert fill("", a="x") == ""


@pytest.mark.parametrize("name", ALL)
def test_long_and_empty_responses(name: str) -> None:
    protocol = ALL[name]
    long = "wörd {a} " * 22_000
    shown = protocol.render(Case("1", (Message("user", "q"),), (long, "")[: protocol.arity]))[-1].content
    assert shown.count(long) == 1
    assert protocol.render(Case("1", (Message("user", ""),), ("", "")[: protocol.arity]))


def test_pointwise_shows_rubric_and_reference() -> None:
    def shown(**more: str) -> str:
        return ALL["pointwise"].render(Case("1", (Message("user", QUESTION),), (FIRST,), **more))[-1].content

    assert shown(rubric="- it is kind").count("- it is kind") == 1
    assert shown(reference="324 m").count("[Reference answer]\n324 m\n") == 1
    assert "Reference" not in shown()
    assert "[Rubric]\n- " in shown()
    assert shown().count(FIRST) == shown().count(QUESTION) == 1


@pytest.mark.parametrize("name", ["rubrics", "pointwise"])
def test_arity(name: str) -> None:
    protocol = ALL[name]
    for n, hint in ((1, "pointwise"), (2, "rubrics"), (3, "tournament"), (0, "")):
        case = Case("c", (), ("x",) * n)
        if n == protocol.arity:
            check_arity(protocol, case, n)
            continue
        with pytest.raises(ProtocolError, match=f"case 'c' has {n} response") as caught:
            check_arity(protocol, case, n)
        assert f"{name!r} judges {protocol.arity}" in caught.value.message
        assert hint in caught.value.hint


def test_flatten() -> None:
    assert flatten((Message("user", "a"),)) == "a"
    assert flatten(TALK) == f"User: Hello\n\nAssistant: Good day\n\nUser: {QUESTION}"
    assert flatten((Message("tool", "x"), Message("system", "y"))) == "tool: x\n\nSystem: y"


# --- the published prompts --------------------------------------------------------------------------


def test_rm_r1_messages_are_the_official_ones() -> None:
    strings = published("rm-r1")
    parts = {"question": QUESTION, "answer_a": FIRST, "answer_b": SECOND}
    instruct = rm_r1.rm_r1(strings, "instruct").render(pair())
    assert [m.role for m in instruct] == ["system", "user"]
    assert instruct[0].content == strings["instruct_system"]
    assert instruct[1].content == strings["instruct_user"].format(**parts)
    (reasoning,) = rm_r1.rm_r1(strings, "reasoning").render(pair())
    assert reasoning == Message("user", strings["reasoning_user"].format(**parts))


@pytest.mark.parametrize("family", ["instruct", "reasoning"])
def test_rm_r1_multi_turn_messages_are_the_official_ones(family: rm_r1.Family) -> None:
    strings = published("rm-r1")
    sides = [
        f"User: Hello\n{bot}: Good day\nUser: {QUESTION}\n{bot}: {response}"
        for bot, response in (("Chatbot A", FIRST), ("Chatbot B", SECOND))
    ]
    expected = strings[f"{family}_user_multi_turn"].format(conversation_1=sides[0], conversation_2=sides[1])
    assert rm_r1.rm_r1(strings, family).render(Case("1", TALK, (FIRST, SECOND)))[-1].content == expected


def test_rrm_messages_are_the_official_ones() -> None:
    strings = published("rrm")
    # The official code formats the first part only; the rest holds a bare \boxed{Assistant 1}.
    head, mark, tail = strings["user"].partition("\n\n## Analysis")
    expected = head.format(question=QUESTION, answer1=FIRST, answer2=SECOND) + mark + tail
    system, user = rrm.rrm(strings).render(pair())
    assert (system, user) == (Message("system", strings["system"]), Message("user", expected))


def test_families_are_guessed_as_the_official_code_names_them() -> None:
    names = {
        "gaotang/RM-R1-Qwen2.5-Instruct-32B": "instruct",
        "gaotang/RM-R1-DeepSeek-Distilled-Qwen-7B": "reasoning",
        "./ckpt/global_step_62": "instruct",
        "deepseek-r1-distill": "reasoning",
    }
    assert {name: rm_r1.guess_family(name) for name in names} == names


# --- where the verdict stands -----------------------------------------------------------------------


def closed(protocol: Protocol, text: str, thinking: str | None = None) -> str:
    prefill = protocol.prefill(Completion(text, thinking=thinking, finish="length"))
    assert prefill.endswith(protocol.slot.before), "the next token is a label"
    return prefill.removesuffix(protocol.slot.before)


@pytest.mark.parametrize("name", ["rubrics", "pairwise", "rm-r1-instruct"])
def test_prefill_of_families_that_do_not_open_the_thinking(name: str) -> None:
    judge = ALL[name]
    assert closed(judge, "") == ""
    assert closed(judge, "B is kinder.  \n") == "B is kinder.\n\n"
    assert (
        closed(judge, "<think>\nHm.\n</think>\n\nB is kinder.")
        == "<think>\nHm.\n</think>\n\nB is kinder.\n\n"
    )
    assert closed(judge, "<think>Hm. It seems") == "<think>\nHm. It seems\n</think>\n\n"
    assert closed(judge, "B is kinder.", thinking="Hm.") == "<think>\nHm.\n</think>\n\nB is kinder.\n\n"
    assert closed(judge, "", thinking="Hm.") == "<think>\nHm.\n</think>\n\n"


@pytest.mark.parametrize("name", ["rm-r1-reasoning", "rrm"])
def test_prefill_where_the_template_opened_the_thinking(name: str) -> None:
    """The turn goes on behind ``<think>``: it is closed once, also where nothing was thought."""
    judge = ALL[name]
    assert closed(judge, "Hm. It seems") == "Hm. It seems\n</think>\n\n"
    assert closed(judge, "Hm.\n</think>\n\nThe second.") == "Hm.\n</think>\n\nThe second.\n\n"
    assert closed(judge, "<think>Hm.</think>The second.") == "Hm.\n</think>\n\nThe second.\n\n"
    assert closed(judge, "The second.", thinking="Hm.") == "Hm.\n</think>\n\nThe second.\n\n"
    stopped = judge.prefill(Completion("The second."))
    assert stopped == f"\n</think>\n\nThe second.\n\n{judge.slot.before}"
    for text in ("", "Hm.", "a</think>b", "<think>a</think>b"):
        assert closed(judge, text).count("</think>") == 1
        assert "<think>" not in closed(judge, text)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("rubrics", "<answer>[[A]]</answer>"),
        ("rubrics", "<answer>[["),
        ("rubrics", "<answer>"),
        ("rubrics", "<Answer> [[a]] </Answer> That is all."),
        ("rubrics", "<answer>B</answer>"),
        ("rubrics", "＜answer＞［［A］］"),
        ("rrm", r"\boxed{Assistant 1}"),
        ("rrm", r"\boxed{\text{Assistant 2}}."),
        ("rrm", r"\boxed {"),
        ("pointwise", "<rating>7</rating>"),
        ("pointwise", "<rating>\n7"),
    ],
)
def test_prefill_is_cut_before_a_written_verdict(name: str, written: str) -> None:
    judge = ALL[name]
    thinking = "t" if judge.opens_thinking else None
    start = "t\n</think>\n\n" if thinking else ""
    assert closed(judge, f"Because.\n\n{written}", thinking) == f"{start}Because.\n\n"
    assert closed(judge, written, thinking) == start


def test_slots_are_what_the_parser_reads() -> None:
    for protocol in ALL.values():
        slot = protocol.slot
        for index, label in enumerate(slot.labels):
            text = f"{slot.before}{label}{slot.after}"
            scores = protocol.parse(Completion(text, thinking="t")).scores
            expected = (slot.values[index],) if slot.values else tuple(float(i == index) for i in range(2))
            assert scores == expected


def test_soft_scores() -> None:
    pair_slot, rating_slot = PAIRS["rubrics"].slot, ALL["pointwise"].slot
    soft = pair_slot.scores({"A": -0.1, "B": -3.0, "C": 0.0})
    assert soft is not None
    assert sum(soft) == pytest.approx(1)
    assert soft[0] == pytest.approx(1 / (1 + math.exp(-2.9)))
    assert pair_slot.scores({"A": -1e9, "B": -1e9}) == (0.5, 0.5), "only differences count"
    assert pair_slot.scores({"A": 0.0, "B": -math.inf}) == (1.0, 0.0)
    even = rating_slot.scores(dict.fromkeys("123456789", -2.0))
    assert even == pytest.approx((5.0,))
    sure = rating_slot.scores({x: 0.0 if x == "8" else -50.0 for x in "123456789"})
    assert sure == pytest.approx((8.0,))


@pytest.mark.parametrize(
    "logprobs",
    [
        {},
        {"A": -1.0},
        {"A": math.nan, "B": -1.0},
        {"A": -1.0, "B": math.nan},
        {"A": -math.inf, "B": -math.inf},
        {"A": math.inf, "B": 0.0},
    ],
)
def test_unusable_probabilities_are_no_score(logprobs: dict[str, float]) -> None:
    assert VerdictSlot("[", ("A", "B"), "]").scores(logprobs) is None


# --- the chain --------------------------------------------------------------------------------------


def rubric(text: str) -> tuple[Criterion, ...]:
    return read_chain(Completion(f"<rubric>\n{text}\n</rubric>")).criteria


@pytest.mark.parametrize(
    "line",
    [
        "1. Truth (40%): it holds",
        "1) Truth (40 %): it holds",
        "- **Truth** (40%): it holds",
        "- **Truth (40%)**: it holds",
        "- **Truth (40%):** it holds",
        "* Truth [40%] - it holds",
        "• Truth (40%) – it holds",
        "  1. Truth: (40%) it holds",
        "1. Truth (weight: 40%): it holds",
        "1. **Truth** (Weight 40%)\n   it holds",
        "### Truth (40%)\nit holds",
        "Truth (40%): it holds",
        "**Truth** (40.0%): it\n  holds",
    ],
)
def test_layouts_of_a_criterion(line: str) -> None:
    for text in (line, line + "\n", line + "\n\n"):
        assert rubric(text) == (Criterion("Truth", 40.0, "it holds"),)
    both = rubric(line + "\n2. Tone [60%]: it is warm (in 90% of its words)")
    assert both == (
        Criterion("Truth", 40.0, "it holds"),
        Criterion("Tone", 60.0, "it is warm (in 90% of its words)"),
    )


def test_no_criteria_in_prose() -> None:
    assert rubric("The reply that says more of what matters (about 80%) wins here.") == ()
    assert rubric("") == rubric("Be kind.") == ()
    two = rubric("1. Truth (60%): most of it\n   (say 90%) holds\n2. Tone (40%)")
    assert two == (Criterion("Truth", 60.0, "most of it (say 90%) holds"), Criterion("Tone", 40.0))


CHAIN = """<type>chat</type>
<rubric>
1. Truth (70%): it holds
2. Tone (30%): it is warm
<justify>Truth first (100% sure).</justify>
</rubric>
<eval>
<quote_A>so it is 98</quote_A> is right, <summary_B>B is rude</summary_B>.
<quote_B>go away</quote_B>
</eval>
<answer>[[A]]</answer>"""


def test_whole_chain() -> None:
    chain = read_chain(Completion(CHAIN))
    assert chain.task == "Chat"
    assert [(c.name, c.weight) for c in chain.criteria] == [("Truth", 70), ("Tone", 30)]
    assert chain.justification == "Truth first (100% sure)."
    assert chain.solution is None
    assert chain.evaluation
    assert chain.evaluation.endswith("</quote_B>")
    assert chain.evidence == (
        Evidence("quote", 0, "so it is 98"),
        Evidence("summary", 1, "B is rude"),
        Evidence("quote", 1, "go away"),
    )
    assert chain.whole


def test_chain_with_a_solution() -> None:
    chain = read_chain(Completion("<type>Reasoning</type><solution>98</solution><eval>A has it.</eval>"))
    assert (chain.task, chain.solution, chain.criteria, chain.whole) == ("Reasoning", "98", (), True)


def test_chain_with_unclosed_tags() -> None:
    text = CHAIN.replace("</rubric>", "").replace("</eval>", "").replace("</quote_B>", "</quote_B")
    chain = read_chain(Completion(text.replace("</summary_B>", "")))
    assert [c.name for c in chain.criteria] == ["Truth", "Tone"]
    assert chain.justification == "Truth first (100% sure)."
    assert [(e.kind, e.slot) for e in chain.evidence] == [("quote", 0), ("summary", 1), ("quote", 1)]
    assert chain.evidence[1].text == "B is rude."
    assert "[[A]]" not in (chain.evaluation or "")
    cut = read_chain(Completion(CHAIN[: CHAIN.index("</justify>")], finish="length"))
    assert (len(cut.criteria), cut.justification, cut.whole) == (2, "Truth first (100% sure).", False)


def test_chain_in_other_cases_and_doubled() -> None:
    text = CHAIN.replace("<eval>", "< EVAL >").replace("</eval>", "</eval></eval>").replace("type>", "Type>")
    assert read_chain(Completion(text)).whole


def test_chain_is_not_read_from_the_thinking() -> None:
    assert read_chain(Completion("fine", thinking=CHAIN)) == read_chain(Completion("fine"))
    assert read_chain(Completion(f"<think>{CHAIN}</think>")) == read_chain(Completion(""))
    assert not read_chain(Completion("")).whole
    assert read_chain(Completion("No tags at all.")).evidence == ()


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\x00\x1b\x7f\u200b\ufeff\U000e0041ａ！ \n")))
def test_texts_are_made_visible_and_plain_as_one_search_would(text: str) -> None:
    assert visible(text) == re.sub(f"[{INVISIBLE}]", "", text)
    assert plain(text) == "".join(chr(ord(c) - 0xFEE0) if "！" <= c <= "～" else c for c in text)
