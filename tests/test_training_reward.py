"""The reward: what the parse of evaluation reads, on every golden text, in both orders."""

from types import SimpleNamespace
from typing import Any

import pytest
from goldens import Golden, ids, lines, protocol
from hypothesis import given
from hypothesis import strategies as st
from trainings import OPENS, TEMPLATE, chat

from jurist.core.types import Case, Completion, Message, Query, Sampling, Status, Verdict
from jurist.judging.judge import to_case_order
from jurist.protocols.base import Protocol
from jurist.protocols.rubrics import rubrics, rubrics_short
from jurist.training.evaluation import HeldOut
from jurist.training.prompts import PromptExample
from jurist.training.reward import consistent, reward, well_formed
from jurist.training.rollouts import GroupSampler

PAIRS = [g for g in lines() if g.protocol != "pointwise"]
WRITTEN = [g for g in PAIRS if g.thinking is None and g.finish in ("stop", "length")]
CASE = Case("1", (Message("user", "?"),), ("a", "b"), gold=(1.0, 0.0))


@pytest.mark.parametrize(
    ("scores", "gold", "value"),
    [
        ((1.0, 0.0), (1.0, 0.0), 1.0),
        ((0.7, 0.3), (1.0, 0.0), 1.0),
        ((0.0, 1.0), (0.0, 1.0), 1.0),
        ((0.0, 1.0), (1.0, 0.0), -1.0),
        ((0.5, 0.5), (1.0, 0.0), -1.0),
        ((1.0, 0.0), (0.5, 0.5), None),
        ((0.5, 0.5), (0.5, 0.5), None),
        ((1.0, 0.0), None, None),
    ],
)
def test_reward_of_a_verdict(scores: tuple[float, ...], gold: tuple[float, ...] | None, value: float | None):
    assert reward(Verdict(scores), gold) == value


@pytest.mark.parametrize("rule", ["robust", "eval", "train"])
def test_reward_of_each_golden_text(rule: str):
    """What a rule must read from a text is written beside it: scores, or why there is none."""
    wrong: list[str] = []
    for golden in PAIRS:
        expected = {"eval": golden.eval, "train": golden.train}.get(rule) or golden.verdict
        read = protocol(golden.protocol, rule).parse(golden.completion)
        for gold in ((1.0, 0.0), (0.0, 1.0)):
            value = 1.0 if isinstance(expected, tuple) and expected == gold else -1.0
            if reward(read, gold) != value:
                wrong.append(f"{ids(golden)}: {reward(read, gold)} for gold {gold}, expected {value}")
    assert not wrong, "\n".join(wrong)


def member(golden: Golden, judged: Protocol, template: str, order: tuple[int, int]) -> Any:
    """What a rollout of this text becomes."""
    words = chat(template)
    end = words.reply("")[-1:]
    ids = words.reply(golden.text)[:-1] if template is TEMPLATE else words.prompt(CASE.prompt, golden.text)
    ids = ids[len(words.prompt(CASE.prompt, None)) if template is OPENS else 0 :]
    policy: Any = SimpleNamespace(chat=words, eos=end)
    sampler = GroupSampler(judged, policy, Sampling(), 2, False, "verdict", 0.0, 0)
    written = ids + end if golden.finish == "stop" else ids
    example = PromptExample(CASE, Query("1", order, 0, CASE.prompt, Sampling()), [0])
    return sampler.groups([(example,)], 0, 0, lambda *_: [[(written, [0.0] * len(written))]])[0].members[0]


@pytest.mark.parametrize("name", sorted({golden.protocol for golden in WRITTEN}))
def test_a_rollout_is_rewarded_by_what_evaluation_reads(name: str):
    judged = protocol(name)
    held_out = HeldOut([CASE], judged, chat(), out=None, limit=1, max_tokens=9, context=99, facts={},  # type: ignore[arg-type]
                       eos=chat().reply("")[-1:])  # fmt: skip
    for golden in (golden for golden in WRITTEN if golden.protocol == name):
        for order in ((0, 1), (1, 0)):
            rollout = member(golden, judged, TEMPLATE, order)
            verdict = to_case_order(judged.parse(golden.completion), order)
            assert rollout.judgment.verdict == verdict, golden.name
            assert rollout.reward == reward(verdict, CASE.gold), golden.name
            assert rollout.right == (rollout.reward > 0), golden.name
            measured = held_out._completion([0], rollout.written[0])
            assert measured == rollout.judgment.completion, golden.name


def test_no_verdict_is_read_inside_thinking_the_template_opened():
    judged = protocol("rm-r1-instruct")
    for golden in (golden for golden in WRITTEN if golden.protocol == "rm-r1-instruct"):
        rollout = member(golden, judged, OPENS, (0, 1))
        assert rollout.judgment.completion.text.startswith("<think>\n"), golden.name
        if "</think>" not in golden.text:
            assert rollout.reward == -1.0, golden.name
        else:
            whole = Completion("<think>\n" + golden.text, finish=golden.finish)  # type: ignore[arg-type]
            assert rollout.judgment.verdict == judged.parse(whole), golden.name


@given(st.lists(st.tuples(*[st.sampled_from([-1.0, 1.0, 1.5, None])] * 2)))
def test_a_consistent_reward_needs_both_orders_right(rewards: list[tuple[float | None, float | None]]):
    made = consistent([a for a, _ in rewards], [b for _, b in rewards])
    for (a, b), value in zip(rewards, made, strict=True):
        assert value is None if a is None or b is None else (value > 0) == (a > 0 and b > 0)


CHAIN = "<type>Chat</type><rubric>Clear (100%): it is clear</rubric><eval>A is.</eval><answer>[[A]]</answer>"


@pytest.mark.parametrize(
    ("text", "finish", "judged", "whole"),
    [
        (CHAIN, "stop", rubrics(), True),
        (CHAIN, "length", rubrics(), False),
        (CHAIN.replace("<type>Chat</type>", ""), "stop", rubrics(), False),
        (CHAIN.replace("<type>Chat</type>", ""), "stop", rubrics_short(), True),
        ("<answer>[[A]]</answer>", "stop", rubrics_short(), False),
        ("hm</think>\\boxed{Assistant 1}", "stop", protocol("rrm"), True),
        ("</think>\\boxed{Assistant 1}", "stop", protocol("rrm"), False),
        ("\\boxed{Assistant 1}", "stop", protocol("rrm"), False),
        ("hm</think> ", "stop", protocol("rrm"), False),
        ("hm</think><answer>[[A]]</answer>", "stop", protocol("rm-r1-reasoning"), True),
        (CHAIN, "stop", protocol("rm-r1-instruct"), True),
        ("<answer>[[A]]</answer>", "stop", protocol("rm-r1-instruct"), False),
    ],
)
def test_what_is_well_formed(text: str, finish: Any, judged: Protocol, whole: bool):
    assert well_formed(Completion(text, finish=finish), judged) is whole


def test_a_missing_verdict_is_wrong_and_no_score():
    for status in (Status.UNPARSED, Status.TRUNCATED, Status.REFUSED, Status.FAILED):
        assert reward(Verdict(status=status), (1.0, 0.0)) == -1.0
