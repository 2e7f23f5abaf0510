"""Held-out pairs: both orders, batches that do not grow, what does not fit, one folder each."""

from pathlib import Path
from typing import Any

import pytest
from trainings import OPENS, TEMPLATE, A, B, case, chat

from jurist.core.errors import InputError, ProtocolError
from jurist.core.run_config import read_config
from jurist.core.runs import read_decisions
from jurist.core.types import Case, Status
from jurist.protocols.pairwise import pairwise_short
from jurist.protocols.rrm import rrm
from jurist.training.evaluation import HeldOut

END = chat().reply("")[-1]


def held(out: Path, cases: list[Case], template: str = TEMPLATE, **how: Any) -> HeldOut:
    base = {"out": out, "limit": 500, "max_tokens": 8, "context": 400, "eos": [END]}
    facts = {"engine": "training", "model": "tiny", "protocol": "pairwise-short", "deliberation": "swapped"}
    return HeldOut(cases, pairwise_short(), chat(template), **base | {"facts": facts | {"input": "x"}} | how)


class Reader:
    """Chooses the reply with 'yes' in it, of an odd question the first; keeps what it was asked."""

    def __init__(self, words: Any = None, end: bool = True) -> None:
        self.words, self.end, self.calls = words or chat(), end, list[tuple[list[int], int]]()

    def __call__(self, prompts: list[list[int]], most: int) -> list[list[int]]:
        self.calls.append(([len(p) for p in prompts], most))
        return [self.one(self.words.text(ids)) for ids in prompts]

    def one(self, text: str) -> list[int]:
        blind = "is it odd" in text
        first = blind or text.index("yes") < text.index("[Reply B]")
        ids = chat().reply(A if first else B)
        return ids if self.end else ids[:-1]


def test_only_a_choice_that_holds_in_both_orders_counts(tmp_path: Path):
    cases = [
        case("a"),
        case("b", gold=(0.0, 1.0)),
        case("odd"),
        case("c", gold=None),
        case("d", gold=(0.5, 0.5)),
    ]
    pairs = held(tmp_path, cases)
    assert [c.id for c in pairs.cases] == ["a", "b", "odd"]
    result = pairs.measure("before", Reader())
    # a is right, b is wrong in both orders, odd chooses whoever stands first: no better than a tie.
    assert (result.accuracy, result.consistent, result.first) == (
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    )
    assert (result.n, result.unanswered, result.tokens) == (3, 0.0, 2.0)
    assert pairs.read("before") == result
    assert pairs.read("after") is None
    kept = list(read_decisions(tmp_path / "before"))
    assert [len(d.judgments) for d in kept] == [2, 2, 2]
    assert read_config(tmp_path / "before")["measured"] == "before"
    assert result.metrics()["held_out/accuracy"] == result.accuracy
    # What an interrupted measurement left is taken away.
    assert pairs.measure("before", Reader(end=False)).accuracy == result.accuracy
    assert len(list(read_decisions(tmp_path / "before"))) == 3


def test_prompts_are_answered_in_batches_of_like_lengths(tmp_path: Path):
    cases = [case(str(i), "yes" + "x" * (i % 37), "no") for i in range(70)]
    reader = Reader()
    result = held(tmp_path, cases).measure("before", reader)
    assert result.accuracy == 1.0
    sizes = [len(lengths) for lengths, _ in reader.calls]
    assert sizes == [64, 64, 12]
    asked = [n for lengths, _ in reader.calls for n in lengths]
    assert asked == sorted(asked, reverse=True)


def test_a_prompt_near_the_context_limit_gets_what_is_left(tmp_path: Path):
    cases = [case("a"), case("b", "yes" + "x" * 90, "no"), case("c", "yes" + "x" * 300, "no")]
    size = len(chat().prompt(pairwise_short().render(cases[1]), None))
    reader = Reader()
    result = held(tmp_path, cases, context=size + 3).measure("before", reader)
    assert [most for _, most in reader.calls] == [3, 8]
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.unanswered == pytest.approx(1 / 3)
    (last,) = [d for d in read_decisions(tmp_path / "before") if d.case_id == "c"]
    assert {j.verdict.status for j in last.judgments} == {Status.TRUNCATED}


def test_the_limit_spreads_over_the_pairs(tmp_path: Path):
    assert len(held(tmp_path, [case(str(i)) for i in range(50)], limit=7).cases) == 7


@pytest.mark.parametrize(("text", "accuracy", "unanswered"), [("hm</think>", 1.0, 0.0), ("hm ", 0.0, 1.0)])
def test_no_verdict_counts_inside_thinking_the_template_opened(
    tmp_path: Path, text: str, accuracy: float, unanswered: float
):
    class Thinks(Reader):
        def one(self, said: str) -> list[int]:
            assert said.endswith("<think>\n")
            return self.words._text_ids(text) + super().one(said)

    result = held(tmp_path, [case("a")], OPENS).measure("before", Thinks(chat(OPENS)))
    assert (result.accuracy, result.unanswered) == (accuracy, unanswered)
    (kept,) = read_decisions(tmp_path / "before")
    assert kept.judgments[0].completion.text.startswith("<think>\nhm")


def test_a_protocol_aware_of_opened_thinking_gets_the_bare_text(tmp_path: Path):
    class Boxes(Reader):
        def one(self, _: str) -> list[int]:
            return chat().reply("hm</think>\\boxed{Assistant 1}")

    protocol = rrm({"system": "Judge.", "user": "{question}{answer1}{answer2}"})
    pairs = HeldOut([case("a")], protocol, chat(OPENS), out=tmp_path, limit=9, max_tokens=40, context=400,
                    eos=[END], facts={"engine": "training", "model": "tiny"})  # fmt: skip
    assert pairs.measure("before", Boxes(chat(OPENS))).first == 1.0
    (kept,) = read_decisions(tmp_path / "before")
    assert kept.judgments[0].completion.text.startswith("hm</think>")


def test_pairs_that_measure_nothing_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no held-out pair has a label"):
        held(tmp_path, [case("a", gold=None), case("b", gold=(0.5, 0.5))])
    with pytest.raises(ProtocolError, match="judges 2"):
        held(tmp_path, [case("a", "x", "y", "z", gold=(1.0, 0.0, 0.0))])
