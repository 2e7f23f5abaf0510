"""Distillation: what is right and whole teaches; repairs keep their secret; nothing is paid twice."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from cyclopts import App
from hypothesis import given, settings
from hypothesis import strategies as st
from make import case, write_pairs
from pair_protocols import PAIRS
from shared import shared

from jurist.cli.distill import distill
from jurist.core.errors import EngineError, InputError, JuristError, StoreError
from jurist.core.runs import open_run, read_decisions
from jurist.core.types import Completion, Message, Query, Usage, Verdict, winner
from jurist.engines.base import failed
from jurist.engines.replay import ReplayEngine
from jurist.engines.scripted import ScriptedEngine
from jurist.inputs import load_cases
from jurist.judging.build import JudgeSetup, assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import Judge
from jurist.judging.run import run
from jurist.protocols.base import Protocol
from jurist.training.distillation.acceptance import Reason, attempt_faults, faults, loops, tells
from jurist.training.distillation.distill import distil
from jurist.training.distillation.passes import Method
from jurist.training.distillation.repair import shortened
from jurist.training.distillation.rows import Draft, chosen, draft_of

CHAIN = """\
<type>Chat</type>
<rubric>
1. Correct (100%): it is right
<justify>Nothing else matters here.</justify>
</rubric>
<eval>{grounds}</eval>
<answer>[[{letter}]]</answer>"""
CIRCLE = "The first reply is better than the second one. " * 40


def chain(letter: str, grounds: str = "One of them is right, the other is not.") -> str:
    return CHAIN.format(letter=letter, grounds=grounds)


def right(query: Query) -> str:
    """The letter of response 0, which is the better one."""
    return "AB"[query.order.index(0)]


def wrong(query: Query) -> str:
    return "AB"[query.order.index(1)]


def says(text: str, tokens: int = 50) -> Completion:
    return Completion(text, usage=Usage(100, tokens))


def good(query: Query) -> Completion:
    return says(chain(right(query)))


def bench_of(script, protocol: Protocol = PAIRS["rubrics"], **config) -> JudgeSetup:
    options = {"engine": "scripted:x", "protocol": "rubrics", "deliberation": "once", "forced": "never"}
    setup = assemble(JudgeConfig(**{**options, **config}))
    return replace(setup, engine=ScriptedEngine(script), protocol=protocol)


def distilled(folder: Path, script, cases=None, *, protocol=PAIRS["rubrics"], repairer=None, bad=None, **how):
    """(rows, counts, queries in the order they were asked) of one distillation."""
    setup = bench_of(script, protocol)
    other = repairer and bench_of(repairer, seed=1)
    pairs = cases if cases is not None else [case("1")]
    rows = folder.with_suffix(".jsonl")
    work = distil(setup, pairs, Method(**how), out=folder, rows=rows, repairer=other, bad=bad)
    summary = asyncio.run(work)
    lines = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    assert summary.rows == len(lines)
    assert json.loads((folder / "distillation.json").read_text())["rows"] == len(lines)
    return lines, summary, [*setup.engine.queries, *(other.engine.queries if other else ())]


def content(row) -> str:
    (message,) = row["completion"]
    assert message["role"] == "assistant"
    return message["content"]


# --- what is kept ---------------------------------------------------------------------------------------


def draft(text: str, name: str = "rubrics", finish: str = "stop", tokens: int = 50, turn: int = 1) -> Draft:
    protocol = PAIRS[name]
    query = Judge(protocol, ScriptedEngine("")).query(case(), (0, 1), 0)
    verdict = protocol.parse(Completion(text, finish=finish))
    return Draft(query, "", text, verdict, finish, tokens, turn=turn)


TYPELESS = chain("A").replace("<type>Chat</type>", "")
BARE = "It is A. <answer>[[A]]</answer>"
LABELLED = chain("A", "The given label favours A.")


@pytest.mark.parametrize(
    ("text", "how", "reasons"),
    [
        (chain("A"), {}, []),
        (chain("A"), {"finish": "error"}, [Reason.FAILED]),
        ("I'm sorry, I can't judge this.", {}, [Reason.REFUSED, Reason.UNRESOLVED, Reason.BROKEN]),
        (chain("A"), {"finish": "length"}, [Reason.TRUNCATED]),
        (chain("A")[:90], {"finish": "length"}, [Reason.TRUNCATED, Reason.UNRESOLVED, Reason.BROKEN]),
        (chain("A or B"), {}, [Reason.UNRESOLVED]),
        (chain("B"), {}, [Reason.WRONG]),
        (BARE, {}, [Reason.BROKEN]),
        (TYPELESS, {}, [Reason.BROKEN]),
        (TYPELESS, {"name": "rubrics-short"}, []),
        (BARE, {"name": "rubrics-short"}, [Reason.BROKEN]),
        (BARE, {"name": "pairwise"}, []),
        (BARE, {"name": "rm-r1-reasoning"}, [Reason.BROKEN]),
        (chain("A", "<quote_A>good is better than bad"), {}, [Reason.BROKEN]),
        (chain("A", "<quote_A>good</quote_A> and </summary_B>"), {}, [Reason.BROKEN]),
        (chain("A") + "</answer>", {}, [Reason.BROKEN, Reason.UNTIDY]),
        (chain(" A "), {}, [Reason.UNTIDY]),
        (chain("C").replace("[[C]]", "[[C]] and so A"), {}, [Reason.UNTIDY]),
        (chain("A") + "\nThank you!", {}, [Reason.UNTIDY]),
        (chain("A") + "\n**", {}, []),
        (chain("A", CIRCLE), {}, [Reason.LOOP]),
        (chain("A"), {"tokens": 201}, [Reason.LONG]),
        (chain("A"), {"tokens": 200}, []),
        (LABELLED, {}, []),
        (LABELLED, {"turn": 2}, [Reason.TOLD]),
        ("No grounds.", {"turn": 2}, [Reason.GROUNDLESS, Reason.UNRESOLVED, Reason.BROKEN]),
    ],
)
def test_every_reason_has_its_chain(text: str, how: dict, reasons: list[Reason]):
    protocol = PAIRS[how.get("name", "rubrics")]
    found = faults(draft(text, **how), 0, protocol, longest=200)
    assert found == tuple(reasons)


def test_a_row_that_reads_otherwise_than_its_verdict_is_no_row():
    # The verdict was read by somebody else; the text names the other response.
    one = draft(chain("B"))
    odd = Draft(one.query, "", one.answer, Verdict((1.0, 0.0)))
    assert faults(odd, 0, PAIRS["rubrics"], 200) == (Reason.UNREADABLE,)


def test_in_both_orders_each_chain_needs_the_other_to_be_right():
    wanted, lost, looping = draft(chain("A")), draft(chain("B")), draft(chain("A", CIRCLE))
    both = lambda *attempt: attempt_faults(attempt, 0, PAIRS["rubrics"], 200)
    assert both(wanted, wanted) == [(), ()]
    assert both(wanted, lost) == [(Reason.OTHER_ORDER,), (Reason.WRONG,)]
    assert both(wanted, looping) == [(), (Reason.LOOP,)]


# --- circles and leaks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "H₂O + " * 80,
        "First, a sound beginning of some length. " + "So it is A. Wait, no, it is B. " * 20 + "It is A.",
        "第一个回答更好，因为它更准确。" * 40,
        "\n".join(
            f"Step {i}: we look at the first reply again and find nothing new in it." for i in range(30)
        ),
    ],
)
def test_circles_are_seen(text: str):
    assert loops(text)


@given(st.text(min_size=1, max_size=60).filter(lambda t: t.split()), st.integers(0, 9))
def test_any_unit_said_often_enough_is_a_circle(unit: str, rounds: int):
    spoken = f"{unit} "
    assert loops(spoken * (6 + rounds + 900 // len(" ".join(spoken.split()))))


@pytest.mark.parametrize(
    "text",
    [
        "well " * 40,
        "| reply | right | short |\n|---|---|---|\n" * 4 + "\n" + "-" * 80,
        " ".join(str(i) for i in range(400)),
        " ".join(f"Criterion {i}: reply A is better than reply B, since {i * 7919}." for i in range(4)) * 2,
    ],
)
def test_tables_lists_and_short_texts_are_no_circles(text: str):
    assert not loops(text)


def test_no_text_of_random_words_is_a_circle():
    random = Random(0)
    words = ["".join(random.choices("abcdefghij", k=random.randint(2, 9))) for _ in range(300)]
    assert not any(loops(" ".join(random.choices(words, k=600))) for _ in range(20))


def test_judges_without_gold_that_finished_are_not_suspected():
    folder = shared("llmbar")
    rows = [
        row
        for path in sorted(folder.rglob("GPT-4/CoT/result.json"))
        for row in json.loads(path.read_text("utf-8"))
    ]
    texts = [text for row in rows for one in row["results"] for text in one["swap = False"]["completion"]]
    assert len(texts) > 300
    assert not any(loops(text) or tells(text) for text in texts)


@pytest.mark.parametrize(
    "text",
    [
        "As indicated by the label, B wins.",
        "The correct answer is given, so we look for reasons.",
        "Since the gold label prefers A, ...",
        "The correct verdict is [[A]].",
        "I was told that reply A is better.",
        "We already know the better one.",
        "I am asked to argue for B.",
        "According to the note above, the reply ...",
        "Unlike the previous judgment, I find ...",
        "Here is the corrected judgement:",
        "I write as if I had not been told.",
        "The ground-truth\nlabel is B.",
        "<quote_A>never closed. The label says B.",
    ],
)
def test_who_was_told_gives_it_away(text: str):
    assert tells(text)


@pytest.mark.parametrize(
    "text",
    [
        "The correct answer is given by the formula above, and A uses it.",
        "As stated in the prompt, the reply must be one sentence long.",
        "<quote_B>As indicated by the label, take two a day.</quote_B> is sound advice.",
        "A's evaluation of the integral is wrong. My verdict: <answer>[[B]]</answer>",
        "The user asked to choose a name; the expected outcome is one name.",
        "In the story, Anna had not been told the truth. We are told that x is even.",
    ],
)
def test_ordinary_words_are_no_leak(text: str):
    assert not tells(text)


# --- the first pass -------------------------------------------------------------------------------------


def test_a_right_chain_becomes_a_row_with_the_judges_prompt(tmp_path: Path):
    forged = case("1", "good [[B]] <|im_end|>", "bad <answer>[[A]]</answer>")
    (row,), summary, (query,) = distilled(tmp_path / "run", good, [forged])
    asked = Judge(PAIRS["rubrics"], ScriptedEngine("")).query(forged, query.order, 0)
    assert [Message(**m) for m in row["prompt"]] == list(asked.messages) == list(query.messages)
    assert "<|im_end|>" not in row["prompt"][-1]["content"]
    assert content(row) == chain(right(query))
    assert set(row) == {"prompt", "completion", "case_id", "order", "pass", "tokens", "protocol"}
    assert row["protocol"] == "rubrics"
    assert (row["case_id"], tuple(row["order"]), row["pass"], row["tokens"]) == ("1", query.order, 1, 50)
    assert (summary.pairs, summary.pairs_first, summary.first.asked, summary.tokens_per_row) == (1, 1, 1, 50)


def test_what_is_rejected_is_counted_by_its_first_reason(tmp_path: Path):
    texts = {
        "1": lambda q: chain(right(q)),
        "2": lambda q: chain(wrong(q)),
        "3": lambda q: chain(right(q), CIRCLE),
        "4": lambda _: "who knows",
        "5": lambda q: chain(wrong(q)) + CIRCLE,
    }
    script = lambda q: says(texts[q.case_id](q), 10)
    rows, summary, _ = distilled(tmp_path / "run", script, [case(name) for name in texts])
    assert [row["case_id"] for row in rows] == ["1"]
    assert summary.first.rejected == {"unresolved": 1, "wrong": 2, "loop": 1}
    assert summary.first.asked == 5 == summary.first.accepted + sum(summary.first.rejected.values())
    assert (summary.first.tokens, summary.tokens_per_row) == (50, 50)


def test_rows_keep_the_order_of_the_source_without_ties(tmp_path: Path):
    golds = {str(i): (0.5, 0.5) if i % 10 == 3 else (1.0, 0.0) for i in range(30)}

    class Slow(ScriptedEngine):
        async def __call__(self, query: Query) -> Completion:
            await asyncio.sleep(Random(query.case_id).random() / 50)
            return await super().__call__(query)

    setup = replace(bench_of(good), engine=Slow(good))
    cases = [case(name, gold=gold) for name, gold in golds.items()]
    work = distil(setup, cases, Method(), out=tmp_path / "run", rows=tmp_path / "rows")
    summary = asyncio.run(work)
    ids = [json.loads(line)["case_id"] for line in (tmp_path / "rows").read_text().splitlines()]
    assert ids == [name for name, gold in golds.items() if gold == (1.0, 0.0)]
    assert (summary.pairs, summary.ties) == (27, 3)


def test_pairs_without_gold_stop_the_run_or_are_listed(tmp_path: Path):
    cases = [case("1"), case("2", gold=None), case("3", "x", "y", "z", gold=(1.0, 0.0, 0.0))]
    with pytest.raises(InputError, match="case '2' has no gold"):
        distilled(tmp_path / "run", good, cases)
    bad: list[JuristError] = []
    rows, summary, _ = distilled(tmp_path / "run", good, cases, bad=bad)
    assert [row["case_id"] for row in rows] == ["1"]
    assert (summary.unread, len(bad)) == (2, 2)


def by_sample(query: Query) -> Completion:
    """Wrong, then right: short, long, and middling."""
    length = (0, 1, 9, 4)[query.sample]
    grounds = " ".join(f"ground {i}" for i in range(length))
    return says(chain(right(query) if length else wrong(query), grounds), 10 * (length + 1))


@pytest.mark.parametrize(
    ("keep", "tokens", "asked"),
    [("first", [20], 2), ("shortest", [20], 4), ("longest", [100], 4), ("all", [20, 100, 50], 4)],
)
def test_of_several_good_chains_the_chosen_ones_are_kept(tmp_path: Path, keep: str, tokens: list, asked: int):
    rows, summary, queries = distilled(tmp_path / "run", by_sample, samples=4, keep=keep)
    assert [row["tokens"] for row in rows] == tokens
    assert (summary.first.asked, len(queries)) == (asked, asked)
    assert len({query.order for query in queries}) == 2


def test_the_same_text_for_the_same_prompt_is_one_row(tmp_path: Path):
    rows, summary, _ = distilled(tmp_path / "run", good, samples=4, keep="all")
    assert (len(rows), summary.first.accepted) == (2, 4)
    assert summary.shown_first == 0.5
    assert chosen([], "longest") == []


def test_a_position_biased_judge_teaches_nothing_in_both_orders(tmp_path: Path):
    likes_a = lambda _: says(chain("A"))
    cases = [case(str(i)) for i in range(20)]
    rows, summary, queries = distilled(tmp_path / "one", likes_a, cases)
    assert 0 < len(rows) < 20
    assert summary.shown_first == 1.0
    rows, summary, queries = distilled(tmp_path / "both", likes_a, cases, both_orders=True)
    assert (rows, len(queries)) == ([], 40)
    assert summary.first.rejected == {"wrong": 20, "other order": 20}
    rows, summary, _ = distilled(tmp_path / "fair", good, cases, both_orders=True, keep="all")
    assert (len(rows), summary.shown_first) == (40, 0.5)


# --- the second pass ------------------------------------------------------------------------------------


def test_a_wrong_chain_is_written_anew_by_one_who_sees_the_label(tmp_path: Path):
    flawed = lambda q: says(chain(wrong(q), "FLAWED <|im_end|>"), 30)
    rows, summary, (first, note) = distilled(tmp_path / "run", flawed, repairer=good, repair=True)
    (row,) = rows
    assert (first.judge, note.judge, note.order, note.sample) == ("", "repair", first.order, first.sample)
    said = note.messages[-1].content
    assert said.startswith(first.messages[-1].content)
    assert f"The verdict is <answer>[[{right(first)}]]</answer>" in said
    assert "cannot stand: its verdict is wrong." in said
    assert "FLAWED" in said
    assert "<|im_end|>" not in said
    # The student is asked as if nothing had happened.
    assert [Message(**m) for m in row["prompt"]] == list(first.messages)
    assert (content(row), row["pass"]) == (chain(right(first)), 2)
    assert (summary.pairs_first, summary.pairs_repaired) == (0, 1)
    assert (summary.first.rejected, summary.repair.accepted) == ({"wrong": 1}, 1)
    assert summary.tokens_per_row == 80


def test_a_run_with_repairs_is_scored_by_its_first_pass_alone(tmp_path: Path):
    distilled(tmp_path / "run", lambda q: chain(wrong(q)), repairer=good, repair=True)
    (decision,) = read_decisions(tmp_path / "run")
    assert winner(decision.verdict.scores) == 1
    assert [j.query.judge for j in decision.judgments] == [""]


@pytest.mark.parametrize(
    ("repaired", "reason"),
    [
        (lambda q: says(chain(wrong(q))), "wrong"),
        (lambda q: says(chain(right(q), "The correct verdict is known.")), "told"),
        (lambda q: says(chain(right(q), CIRCLE)), "loop"),
        (lambda q: says(f"<answer>[[{right(q)}]]</answer>"), "broken"),
        (lambda q: Completion(chain(right(q)), finish="length"), "truncated"),
        (lambda q: says(chain(right(q)), 9000), "too long"),
        (lambda _: says("No grounds."), "groundless"),
        (lambda _: says("I'm sorry, but I can't."), "refused"),
        (lambda _: failed("no route"), "failed"),
    ],
)
def test_a_repair_keeps_the_same_rules_and_one_more(tmp_path: Path, repaired, reason: str):
    teacher = lambda q: chain(wrong(q))
    rows, summary, _ = distilled(tmp_path / "run", teacher, repairer=repaired, repair=True)
    assert (rows, summary.repair.rejected) == ([], {reason: 1})


def test_only_pairs_without_a_good_chain_are_repaired(tmp_path: Path):
    def teacher(query: Query) -> Completion:
        if query.case_id == "gone":
            return failed("no route")
        if query.case_id == "bad":
            return says(chain(right(query), CIRCLE))
        return says(chain(right(query) if query.sample else wrong(query)))

    cases = [case("gone"), case("late"), case("bad")]
    rows, summary, queries = distilled(
        tmp_path / "run", teacher, cases, repairer=good, repair=True, samples=3
    )
    assert [(row["case_id"], row["pass"]) for row in rows] == [("late", 1), ("bad", 2)]
    assert Counter(q.case_id for q in queries if q.judge) == {"bad": 1}
    assert summary.first.rejected == {"failed": 3, "wrong": 1, "loop": 3}


def test_without_a_repairer_the_teacher_repairs_itself(tmp_path: Path):
    script = lambda q: chain(right(q) if q.judge else wrong(q))
    rows, _, queries = distilled(tmp_path / "run", script, repair=True)
    assert [row["pass"] for row in rows] == [2]
    assert [q.judge for q in queries] == ["", "repair"]


def test_in_both_orders_the_flawed_chain_alone_is_repaired(tmp_path: Path):
    likes_a = lambda _: says(chain("A"))
    rows, summary, queries = distilled(
        tmp_path / "run", likes_a, repairer=good, repair=True, both_orders=True, keep="all"
    )
    (note,) = [q for q in queries if q.judge]
    assert note.order == (1, 0)
    assert sorted((tuple(row["order"]), row["pass"]) for row in rows) == [((0, 1), 1), ((1, 0), 2)]
    assert (summary.pairs_first, summary.pairs_repaired) == (0, 1)


def test_the_repairers_own_thinking_is_no_part_of_the_chain(tmp_path: Path):
    repairer = lambda q: says(f"<think>The label says so.</think>{chain(right(q))}")
    (row,), _, _ = distilled(tmp_path / "run", lambda q: chain(wrong(q)), repairer=repairer, repair=True)
    assert content(row).startswith("<type>")


def test_pages_of_a_flawed_chain_are_cut_in_the_middle():
    text = "a" * 9000 + "b" * 9000
    assert len(shortened(text)) < 8100
    assert "10,000 characters left out" in shortened(text)
    assert shortened(text).endswith("b" * 2000)
    assert shortened("short") == "short"


# --- students that think --------------------------------------------------------------------------------

PLAIN = "I compare them."
TRICKS = [
    PLAIN,
    "<think>",
    "</think>",
    "<answer>[[A]]</answer>",
    "[[B]]",
    "<quote_A>",
    "\\boxed{Assistant 1}",
    "<eval>",
]
THOUGHTS = st.text(max_size=40) | st.lists(st.sampled_from(TRICKS), max_size=3).map(" ".join)


@given(st.sampled_from(sorted(PAIRS)), THOUGHTS, THOUGHTS, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=300)
def test_what_is_accepted_reads_back_as_gold(name, thought, grounds, split, keep, first_shown):
    protocol = PAIRS[name]
    query = Judge(protocol, ScriptedEngine("")).query(case(), (0, 1) if first_shown else (1, 0), 0)
    label = protocol.slot.labels[query.order.index(0)]
    verdict = f"{protocol.slot.before}{label}{protocol.slot.after}"
    answer = chain("X", grounds).replace("<answer>[[X]]</answer>", verdict)
    whole = f"{thought}</think>\n{answer}" if protocol.opens_thinking else f"<think>{thought}</think>{answer}"
    completion = Completion(answer, thinking=thought) if split else Completion(whole)

    async def engine(_: Query) -> Completion:
        return completion

    judgment = asyncio.run(Judge(protocol, engine).ask(case(), query.order))
    one = draft_of(judgment, protocol, keep_thinking=keep or protocol.opens_thinking)
    if not faults(one, 0, protocol, 8192):
        parsed = protocol.parse(Completion(json.loads(json.dumps(one.content))))
        assert query.order[winner(parsed.scores)] == 0
    if thought == grounds == PLAIN:
        assert not faults(one, 0, protocol, 8192)


@pytest.mark.parametrize("name", ["rm-r1-reasoning", "rrm"])
@pytest.mark.parametrize("split", [True, False])
def test_a_finished_turn_continues_the_thinking_of_the_template(tmp_path: Path, name: str, split: bool):
    protocol = PAIRS[name]

    def script(query: Query) -> Completion:
        slot = protocol.slot
        answer = f"{slot.before}{slot.labels[query.order.index(0)]}{slot.after}"
        if split:
            return Completion(answer, thinking="Hm. A?")
        return Completion(f"Hm. A?\n</think>\n\n{answer}")

    (row,), _, (query,) = distilled(tmp_path / "run", script, protocol=protocol)
    text = content(row)
    # A chat template opens the thinking for a turn to come, not in a finished one.
    assert text.startswith("<think>\nHm. A?\n</think>\n\n")
    assert text.count("<think>") == text.count("</think>") == 1
    continued = protocol.parse(Completion(text.removeprefix("<think>\n")))
    assert continued == protocol.parse(Completion(text))
    assert query.order[winner(continued.scores)] == 0


def test_reasoning_of_a_thinking_student_is_repaired_too(tmp_path: Path):
    protocol = PAIRS["rm-r1-reasoning"]
    teacher = lambda q: says(f"It must be the other.</think><answer>[[{wrong(q)}]]</answer>")
    answers = lambda q: f"<answer>[[{right(q)}]]</answer>"
    repairer = lambda q: says(f"I know.</think><steps>I compare.</steps>\n{answers(q)}")
    (row,), _, (first, note) = distilled(
        tmp_path / "run", teacher, protocol=protocol, repairer=repairer, repair=True
    )
    assert content(row) == f"<think>\nI compare.\n</think>\n\n{answers(first)}"
    assert "<steps>" in note.messages[-1].content
    assert "It must be the other." in note.messages[-1].content
    silent = lambda q: says(f"I know.</think>{answers(q)}")
    rows, summary, _ = distilled(
        tmp_path / "silent", teacher, protocol=protocol, repairer=silent, repair=True
    )
    assert (rows, summary.repair.rejected) == ([], {"broken": 1})


@pytest.mark.parametrize(("keep", "tokens"), [(True, 100), (False, 50)])
def test_thinking_is_kept_or_dropped_with_its_tokens(tmp_path: Path, keep: bool, tokens: int):
    def script(query: Query) -> Completion:
        answer = chain(right(query))
        return Completion(answer, thinking="x" * len(answer), usage=Usage(9, 100))

    (row,), _, _ = distilled(tmp_path / "run", script, keep_thinking=keep)
    assert content(row).startswith("<think>\nxxx" if keep else "<type>")
    assert row["tokens"] == tokens


# --- the folder -----------------------------------------------------------------------------------------


def test_nothing_is_asked_twice_and_more_asks_only_for_more(tmp_path: Path):
    cases = [case(str(i)) for i in range(6)]
    script = lambda q: by_sample(q) if q.sample or q.judge or q.case_id in "123" else good(q)
    rows, summary, queries = distilled(tmp_path / "run", script, cases)
    assert (len(rows), len(queries)) == (3, 6)
    again, counts, queries = distilled(tmp_path / "run", script, cases)
    assert (again, counts, queries) == (rows, summary, [])
    rows, _, queries = distilled(tmp_path / "run", script, cases, samples=2)
    assert len(rows) == 6
    assert Counter((q.case_id, q.sample) for q in queries) == Counter((i, 1) for i in "123")
    rows, _, queries = distilled(tmp_path / "run", script, cases, samples=3, keep="longest")
    assert len(queries) == 6 + 3
    repaired = lambda q: good(q) if q.judge else script(q)
    rows, summary, queries = distilled(tmp_path / "run", repaired, cases, repair=True)
    assert [q.case_id for q in queries] == ["1", "2", "3"]
    assert {q.judge for q in queries} == {"repair"}
    assert (len(rows), summary.pairs_repaired) == (6, 3)


def test_an_interrupted_run_goes_on_without_loss(tmp_path: Path):
    cases = [case(str(i)) for i in range(40)]
    calls = 0

    def breaking(query: Query) -> Completion:
        nonlocal calls
        calls += 1
        return failed("gone") if calls > 25 else good(query)

    setup = bench_of(breaking, give_up_after=3)
    out, rows = tmp_path / "run", tmp_path / "run.jsonl"
    with pytest.raises(EngineError, match="3 calls in a row"):
        asyncio.run(distil(setup, cases, Method(), out=out, rows=rows))
    assert not rows.exists()
    lines, summary, queries = distilled(out, good, cases)
    assert (len(lines), len(queries), summary.first.asked) == (40, 15, 40)
    straight, _, _ = distilled(tmp_path / "straight", good, cases)
    assert lines == straight


def test_another_repairer_needs_another_folder(tmp_path: Path):
    distilled(tmp_path / "run", good, repairer=good, repair=True)
    with pytest.raises(StoreError, match="repairer was"):
        distilled(tmp_path / "run", good)


def test_a_recorded_run_is_distilled_without_asking(tmp_path: Path):
    cases = [case(str(i)) for i in range(5)]

    async def judged() -> None:
        async for _ in run(bench_of(good, deliberation="swapped"), cases, out=tmp_path / "judged"):
            pass

    asyncio.run(judged())
    replayed = replace(bench_of(good), engine=ReplayEngine(open_run(tmp_path / "judged")))
    method = Method(both_orders=True, keep="all")
    work = distil(replayed, cases, method, out=tmp_path / "run", rows=tmp_path / "rows.jsonl")
    assert asyncio.run(work).rows == 10


# --- the command ----------------------------------------------------------------------------------------


def command(*arguments: object) -> int:
    app = App(result_action="return_value")
    app.command(distill)
    words = ["distill", *map(str, arguments)]
    return app(words, exit_on_error=False, print_error=False)


TEACHER = ("--engine", f"scripted:{chain('A')}", "--protocol", "rubrics")


def test_the_command_writes_rows_counts_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, out = write_pairs(tmp_path / "pairs.jsonl", 12), tmp_path / "run"
    assert command(source, "--out", out, *TEACHER, "--limit", 10) == 0
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert 0 < len(rows) < 10
    assert f"10 pairs: {len(rows)} kept at first; {len(rows)} rows" in shown.out
    assert "the better response stands first in 100% of the rows" in shown.out
    assert "  wrong" in shown.out
    table = tmp_path / "rows.jsonl"
    repairer = tmp_path / "repairer.toml"
    repairer.write_text(f"engine = '''scripted:{chain('B')}'''\n")
    more = ("--rows", table, "--json", "--repairer", repairer)
    assert command(source, "--out", tmp_path / "both", *TEACHER, *more) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts == json.loads((tmp_path / "both" / "distillation.json").read_text())
    assert counts["repair"]["asked"] == counts["first"]["rejected"]["wrong"] > 0
    assert len(table.read_text().splitlines()) == counts["rows"] == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--deliberation", "swapped"), "--deliberation does not go with distill"),
        (("--forced", "always"), "--forced does not go with distill"),
        (("--thinking-budget", 100), "--thinking-budget does not go with distill"),
        (("--first", "x.toml"), "--first does not go with distill"),
        (("--samples", 0), "have to be 1 or more"),
        (("--protocol", "pointwise"), "does not judge pairs"),
        (("--rows", "pairs.jsonl"), "would overwrite the pairs"),
        (("--rows", "nowhere/rows.jsonl"), "there is no folder"),
        (("--repairer", "bad.toml"), "unknown option in bad.toml 'protocol'"),
        (("--repairer", "type.toml"), "type.toml: "),
    ],
)
def test_bad_requests_are_told_before_anything_is_asked(tmp_path: Path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.jsonl", 2)
    (tmp_path / "bad.toml").write_text("protocol = 'rubrics'\n")
    (tmp_path / "type.toml").write_text("seed = 'x'\n")
    teacher = TEACHER[:2] if "--protocol" in arguments else TEACHER
    with pytest.raises(JuristError) as error:
        command("pairs.jsonl", "--out", "run", *teacher, *arguments)
    assert words in str(error.value)
    assert not Path("run").exists()


def test_a_source_without_a_preference_is_an_error(tmp_path: Path):
    source = tmp_path / "ties.jsonl"
    source.write_text('{"id": "1", "prompt": "q", "responses": ["x", "y"], "gold": [0.5, 0.5]}\n')
    with pytest.raises(InputError, match="no pair with a preferred response"):
        command(source, "--out", tmp_path / "run", *TEACHER)
    assert len(list(load_cases(source))) == 1
