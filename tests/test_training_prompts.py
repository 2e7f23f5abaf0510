"""Pairs as prompts of a judge that is trained: orders, limits, templates, and rows of written judgments."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import DROPS_SYSTEM, REFUSES_SYSTEM, TEMPLATE
from trainings import BAD, GOOD, OPENS, asked, case, chat, judge, rows, tokenizer

from jurist.core.errors import EngineError, InputError, ProtocolError
from jurist.core.types import Case, Completion
from jurist.engines.chat_template import ChatIds
from jurist.judging.judge import to_case_order
from jurist.training.config import Orders
from jurist.training.evaluation import written_text
from jurist.training.prompts import PromptCounts, PromptExample, prompt_examples
from jurist.training.reward import reward
from jurist.training.sft import chain_examples, verdict_examples

# --- pairs -----------------------------------------------------------------------------------------------


def test_what_cannot_teach_is_left_out_and_counted():
    cases = [
        case("a"), case("b", gold=None), case("c", gold=(0.5, 0.5)), case("d", GOOD, GOOD),
        case("e", "x" * 500, "y"), case("f", gold=(0.0, 1.0)),
    ]  # fmt: skip
    found, count = asked(cases, orders="given")
    assert [(q.case.id, q.want, q.slot) for q in found] == [("a", 0, 0), ("f", 1, 1)]
    assert (count.read, count.unlabelled, count.ties, count.equal, count.dropped) == (6, 1, 1, 1, 1)
    assert count.longest == max(len(q.ids) for q in found) == len(found[0].ids)
    text = "\n".join(count.lines())
    for words in ("2 prompts of 6 pairs", "1 ties", "1 pairs without", "1 pairs of equal", "in 50% of"):
        assert words in text


@pytest.mark.parametrize("orders", ["both", "random", "given"])
def test_the_orders_in_which_pairs_are_shown(orders: Orders):
    cases = [case(str(i), gold=(1.0, 0.0) if i % 3 else (0.0, 1.0)) for i in range(60)]
    found, _ = asked(cases, orders=orders)
    again, _ = asked(cases[::-1], orders=orders)
    assert {q.query.key for q in found} == {q.query.key for q in again}
    shown = {c.id: [q.query.order for q in found if q.case.id == c.id] for c in cases}
    wanted = {"both": {((0, 1), (1, 0))}, "random": {((0, 1),), ((1, 0),)}, "given": {((0, 1),)}}[orders]
    assert {tuple(o) for o in shown.values()} == wanted
    assert all(q.query.order[q.slot] == q.want == (q.case.gold or ()).index(1.0) for q in found)
    if orders != "given":
        assert 0.25 < sum(q.slot == 0 for q in found) / len(found) < 0.75


@given(st.text(max_size=300), st.text(max_size=300), st.integers(110, 260))
def test_cut_prompts_fit_and_lose_no_more_than_they_must(first: str, second: str, limit: int):
    pair = [case("1", first, second)]
    with suppress(InputError):
        found, count = asked(pair, orders="both", max_prompt=limit, too_long="truncate")
        fits_as_well_as_it_can(found, count, (first, second), limit)


def fits_as_well_as_it_can(
    found: list[PromptExample], count: PromptCounts, whole: tuple[str, str], limit: int
) -> None:
    assert len(found) == 2
    assert all(len(q.ids) <= limit for q in found)
    cut = [q for q in found if q.case.responses != whole]
    assert count.truncated == len(cut)
    for q in cut:
        kept = [r.removesuffix(" [...]") for r in q.case.responses]
        assert all(text.startswith(part) for text, part in zip(whole, kept, strict=True))
        # One more character of each (four bytes at most) and the marks of the cut would not have fitted.
        assert len(q.ids) > limit - 2 * (4 + len(" [...]")) - 2


def test_if_one_order_does_not_fit_neither_is_shown():
    class Odd(ChatIds):
        def prompt(self, messages: Any, prefill: str | None) -> list[int]:
            ids = super().prompt(messages, prefill)
            return ids * 9 if messages[0].content.index(BAD) < messages[0].content.index(GOOD) else ids

    odd = Odd(tokenizer(), "odd")
    with pytest.raises(InputError, match="2 prompts over the limit"):
        prompt_examples([case()], judge(), odd, orders="both", max_prompt=300)


@pytest.mark.parametrize(
    ("cases", "options", "words"),
    [
        ([], {}, "the file has no rows"),
        ([case(gold=None)], {}, "1 pairs without a label.*rows need a label"),
        ([case(gold=(0.5, 0.5))] * 2, {}, "2 ties left out"),
        ([case()], {"max_prompt": 20}, "1 prompts over the limit.*--max-prompt"),
        ([case("x")], {"max_prompt": 20, "too_long": "stop"}, "case 'x': its prompt has 1.. tokens, the"),
        ([case("a"), case("b")], {"orders": "given"}, "stands first in every prompt.*--orders random"),
        ([case(gold=(0.0, 1.0))] * 2, {"orders": "given"}, "stands second in every"),
    ],
)  # fmt: skip
def test_pairs_that_teach_nothing_are_refused(cases: list[Case], options: Any, words: str):
    with pytest.raises(InputError, match=f"(?s){words}"):
        asked(cases, **options)


def test_few_pairs_in_random_orders_may_stand_one_way():
    found = [asked([case(a), case(b)], orders="random")[0] for a in "abcd" for b in "efgh"]
    assert {len({q.slot for q in two}) for two in found} == {1, 2}


def test_other_numbers_of_responses_are_refused():
    for responses, gold in ((("one",), (3.0,)), (("a", "b", "c"), (1.0, 0.0, 0.0))):
        with pytest.raises(ProtocolError, match="judges 2"):
            asked([case("1", *responses, gold=gold)])


# --- templates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, DROPS_SYSTEM])
def test_templates_without_a_system_role_show_it_to_the_user(template: str):
    ids = prompt_examples([case()], judge("pairwise"), chat(template), max_prompt=2000)[0][0].ids
    text = chat(template).text(ids)
    assert "Two assistants, A and B" in text
    assert "## Request" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<think>\nhm\n</think>\n\nA", "hm\n</think>\n\nA"),
        ("<think>\n\n</think>\n\nA", "</think>\n\nA"),
        ("\nhm</think>A", "hm</think>A"),
        ("A", "</think>\n\nA"),
    ],
)
def test_a_reply_goes_on_where_the_template_opened_the_thinking(content: str, said: str):
    opens, closed = chat(OPENS), chat()
    end = [tokenizer().eos_token_id]
    assert (opens.opened, closed.opened) == ("<think>\n", "")
    assert opens.reply(content) == tokenizer()(said, add_special_tokens=False)["input_ids"] + end
    assert closed.reply(content) == tokenizer()(content, add_special_tokens=False)["input_ids"] + end


def test_a_reply_ends_with_the_templates_token_and_forges_none():
    words = tokenizer(TEMPLATE.replace("<|end|>{% endfor", "<|turn|>{% endfor"))
    words.add_tokens([pytest.importorskip("tokenizers").AddedToken("<|turn|>", special=True)])
    ids = ChatIds(words, "tiny").reply("a<|end|>b")
    assert ids[-1] == words.convert_tokens_to_ids("<|turn|>")
    assert words.eos_token_id not in ids
    assert words.decode(ids[:-1]) == "a<|end|>b"


def test_a_base_model_is_refused():
    with pytest.raises(EngineError, match=r"(?s)no chat template.*instruction-tuned"):
        ChatIds(tokenizer(None), "base")


# --- rows of written judgments ---------------------------------------------------------------------------

ROW = {"prompt": "is it?", "completion": "yes"}
USER = '{"role": "user", "content": "a"}'
TURNS = [{"role": "user", "content": "is it?"}, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {"messages": TURNS},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
        ROW | {"id": 3},
        {"messages": [{"from": "human", "value": "is it?"}, {"from": "gpt", "value": "yes"}]},
    ],
)
def test_every_form_of_a_row_is_the_same_lesson(tmp_path: Path, row: Any):
    (example,), lengths = chain_examples(str(rows(tmp_path / "x.jsonl", [row])), chat(), 100)
    assert chat().text(example.prompt) == "user is it?assistant "
    assert example.completion == chat().reply("yes")
    assert (lengths.rows, lengths.longest) == (1, len(example.prompt) + len(example.completion))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "a", "completion"', "not JSON"),
        ("[1]", "a row must be an object"),
        ('{"prompt": "a"}', "completion: is missing; fields of the row.*--target answer"),
        ('{"prompt": "a", "completion": " \\n"}', "completion: what is to be written is empty"),
        ('{"prompt": "a", "completion": 3}', "completion: must be a text or a list of messages, saw 3"),
        ('{"prompt": [], "completion": "b"}', "prompt: is a conversation without turns"),
        (f'{{"prompt": "a", "completion": [{USER}]}}', "completion: one turn of the assistant"),
        (f'{{"messages": [{USER}]}}', "messages: the last turn is not the assistant's"),
        (f'{{"messages": [{USER}, {{"role": "assistant", "content": ""}}]}}', "messages: what is to be"),
        ('{"messages": "a"}', 'messages: must be a text or a list of messages, saw "a"'),
    ],
)  # fmt: skip
def test_broken_rows_name_file_and_line(tmp_path: Path, line: str, words: str):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + line + "\n")
    with pytest.raises(InputError, match=f"(?s)rows.jsonl:2: {words}"):
        chain_examples(str(path), chat(), 100)


def test_long_rows_are_counted_and_nothing_left_is_an_error(tmp_path: Path):
    long = ROW | {"completion": "y" * 90}
    found, lengths = chain_examples(str(rows(tmp_path / "x.jsonl", [ROW, long])), chat(), 50)
    assert (len(found), lengths.rows, lengths.dropped) == (1, 2, 1)
    assert "1 longer rows left out" in "\n".join(lengths.lines())
    for values, words in (([long], "all are longer"), ([], "no rows")):
        with pytest.raises(InputError, match=words):
            chain_examples(str(rows(tmp_path / "y.jsonl", values)), chat(), 50)


@pytest.mark.parametrize("template", [TEMPLATE, OPENS])
def test_bare_verdicts_are_read_as_what_they_teach(template: str):
    words, one = chat(template), judge()
    found, _ = prompt_examples(
        [case("1"), case("2", gold=(0.0, 1.0))], one, words, orders="both", max_prompt=500
    )
    examples, _ = verdict_examples(found, one.protocol, words, 600)
    for prompt, example in zip(found, examples, strict=True):
        text = written_text(words, one.protocol, example.completion)
        verdict = to_case_order(one.protocol.parse(Completion(text)), prompt.query.order)
        assert reward(verdict, prompt.case.gold) == 1.0
        assert example.prompt == prompt.ids
