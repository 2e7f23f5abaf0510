"""Groups of judgments as the trainer gets them: scripted, replaced where rewards are equal, samples kept."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trainings import A, B, asked, case, chat

from jurist.cli.main import run
from jurist.core.runs import read_decisions
from jurist.core.types import Sampling
from jurist.protocols.pairwise import pairwise_short
from jurist.training.grpo import Rollouts, rollout_rewards
from jurist.training.prompts import PromptExample
from jurist.training.rollouts import GroupSampler, Traces, draw, group_shares

END = chat().reply("")[-1]
IDS = {text: chat().reply(text)[:-1] for text in (A, B, "none")}

Says = Callable[[int, int], str]
"""(prompt's number among all that were asked, copy) -> what is written."""


class Writer:
    """A writer that says what it is told, and keeps what it was asked."""

    def __init__(self, says: Says) -> None:
        self.says, self.calls, self.prompts = says, list[tuple[int, int, int]](), list[list[int]]()

    def __call__(self, prompts: list[list[int]], copies: int, seed: int) -> Any:
        self.calls.append((len(prompts), copies, seed))
        first = len(self.prompts)
        self.prompts += prompts
        rows = [[IDS[self.says(first + n, c)] + [END] for c in range(copies)] for n in range(len(prompts))]
        return [[(ids, [-0.5] * len(ids)) for ids in row] for row in rows]


def pairs(n: int, both: bool = False) -> list[tuple[PromptExample, ...]]:
    cases = [case(f"c{i}", gold=(1.0, 0.0) if i % 2 else (0.0, 1.0)) for i in range(n)]
    found, _ = asked(cases, orders="both" if both else "given")
    return [tuple(q for q in found if q.case.id == c.id) for c in cases]


def sampler(size: int = 4, both: bool = False, rewarded: Any = "verdict") -> GroupSampler:
    policy: Any = SimpleNamespace(chat=chat(), eos=[END])
    return GroupSampler(pairwise_short(), policy, Sampling(1.0, 1.0, 16), size, both, rewarded, 0.0, 7)


def rollouts(says: Says, found: Sequence[Any], *, resample: int = 1, traces: Any = None, **how: Any) -> Any:
    writer = Writer(says)
    made = Rollouts(
        found, sampler(**how), lambda _: nullcontext(writer), resample=resample, updates=2, traces=traces
    )
    return made, writer


def trainer(step: int = 0) -> Any:
    return SimpleNamespace(state=SimpleNamespace(global_step=step))


def numbers(*pairs: int, size: int = 4) -> list[str]:
    return [str(n) for n in pairs for _ in range(size)]


def test_what_the_trainer_gets_is_in_the_order_it_asked_for():
    found = pairs(4)
    made, writer = rollouts(lambda _, c: A if c < 2 else B, found)
    got = made(numbers(2, 1), trainer())
    assert got["prompt_ids"] == [q.ids for n in (2, 1) for q in found[n] for _ in range(4)]
    assert got["completion_ids"] == [[*IDS[x], END] for x in (A, A, B, B)] * 2
    assert [len(x) for x in got["logprobs"]] == [len(x) for x in got["completion_ids"]]
    # In pair 2 the second response is the better one, in pair 1 the first.
    assert got["rewarded"] == [-1, -1, 1, 1, 1, 1, -1, -1]
    assert writer.calls == [(2, 4, draw(7, 0, 0))]


def test_either_order_is_shown_to_half_of_a_group():
    found = pairs(2, both=True)
    made, writer = rollouts(lambda *_: A, found, both=True)
    got = made(numbers(0, 1), trainer())
    assert writer.prompts == [q.ids for pair in found for q in pair]
    assert writer.calls[0][:2] == (4, 2)
    # Whoever stands first is right in one of the two orders.
    assert got["rewarded"] == [-1, -1, 1, 1, 1, 1, -1, -1]
    assert made.shares["verdicts/first"] == 1.0
    assert made.shares["verdicts/right"] == 0.5


def test_a_consistent_reward_pairs_the_judgments_of_both_orders():
    found = pairs(1, both=True)  # its second response is the better one: right are B, then A
    said = {(0, 0): B, (0, 1): B, (1, 0): A, (1, 1): "none"}
    made, _ = rollouts(lambda n, c: said[n, c], found, both=True, rewarded="consistent")
    assert made(numbers(0), trainer())["rewarded"] == [1, -1, 1, -1]
    assert made.shares["verdicts/right"] == 0.75
    assert made.shares["verdicts/unanswered"] == 0.25


def test_groups_without_an_advantage_are_replaced():
    """The first ask of pair 0 and the first two replacements are zero_advantage, the third is not."""
    same = {0, 2, 3}
    made, writer = rollouts(lambda n, c: A if n in same or c else B, pairs(50), resample=5)
    got = made(numbers(0, 1), trainer(6))
    assert [len(set(got["rewarded"][at : at + 4])) for at in (0, 4)] == [2, 2]
    assert [call[0] for call in writer.calls] == [2, 1, 1, 1]
    assert [call[2] for call in writer.calls] == [draw(7, 3, attempt) for attempt in range(4)]
    assert made.shares["groups/replaced"] == 0.5
    assert made.shares["groups/zero_variance"] == 0.0
    assert got["prompt_ids"][:4] == [writer.prompts[4]] * 4
    again, _ = rollouts(lambda n, c: A if n in same or c else B, pairs(50), resample=5)
    assert again(numbers(0, 1), trainer(6)) == got


@pytest.mark.parametrize("resample", [0, 2])
def test_a_group_that_stays_without_an_advantage_stays(resample: int):
    made, writer = rollouts(lambda *_: A, pairs(9), resample=resample)
    got = made(numbers(3, 5), trainer())
    assert got["prompt_ids"][:4] == [writer.prompts[0]] * 4
    assert [call[0] for call in writer.calls] == [2] * (1 + resample)
    assert (made.shares["groups/zero_variance"], made.shares["groups/replaced"]) == (1.0, 0.0)


def test_reward_function_passes_rewards_on_and_logs_the_shares():
    made, _ = rollouts(lambda _, c: A if c else "none", pairs(3))
    got = made(numbers(1), trainer())
    logged: dict[str, float] = {}
    passed = rollout_rewards(made)
    assert passed(["x"] * 4, rewarded=got["rewarded"], log_metric=logged.__setitem__, more=1) == [-1, 1, 1, 1]
    assert logged == made.shares
    assert logged == {
        "verdicts/right": 0.75, "verdicts/unanswered": 0.25, "verdicts/first": 1.0,
        "groups/zero_variance": 0.0, "groups/replaced": 0.0,
    }  # fmt: skip


def test_a_text_that_was_cut_has_no_end_and_counts_its_tokens():
    (example,) = pairs(1)[0]
    (group,) = sampler(2).groups(
        [(example,)], 0, 0, lambda *_: [[(IDS[A], [0.0]), ([*IDS[B], END], [0.0, 0.0])]]
    )
    cut, ended = (m.judgment.completion for m in group.members)
    assert (cut.finish, ended.finish) == ("length", "stop")
    assert (cut.text, ended.text) == (A, B)
    assert (ended.usage.prompt_tokens, ended.usage.completion_tokens) == (len(example.ids), 2)
    assert group_shares([group])["verdicts/first"] == 0.5


def test_samples_of_a_training_are_kept_once_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    facts = {"engine": "training", "model": "tiny", "protocol": "pairwise-short", "deliberation": "vote(4)"}
    traces = Traces(tmp_path / "traces", facts | {"input": "pairs.jsonl"}, every=2, groups=2)
    made, _ = rollouts(lambda _, c: A if c else B, pairs(5), traces=traces)
    for update in (0, 0, 2, 4, 4):
        made(numbers(0, 1, 2), trainer(update))
    kept = list(read_decisions(tmp_path / "traces"))
    assert [d.case_id for d in kept] == ["step-00000/c0", "step-00000/c1", "step-00002/c0", "step-00002/c1"]
    assert [len(d.judgments) for d in kept] == [4] * 4
    assert kept[1].meta == {"step": 0, "rewards": [-1, 1, 1, 1]}
    assert run(["show", str(tmp_path / "traces")]) == 0
    assert "step-00002/c1" in capsys.readouterr().out


def test_a_faithful_reward_needs_reasons_that_hold():
    invented = f"Reply A says “nobody ever wrote these words”.\n{A}"
    IDS[invented] = chat().reply(invented)[:-1]
    says = [A, invented, B, A]
    found = pairs(1)
    chosen = sampler(rewarded="faithful").groups(found, 0, 0, Writer(lambda _, copy: says[copy]))[0]
    better = found[0][0].slot == 0
    assert [m.reward for m in chosen.members] == ([1, -1, -1, 1] if better else [-1, -1, 1, -1])
    plain = sampler().groups(found, 0, 0, Writer(lambda _, copy: says[copy]))[0]
    assert plain.members[1].reward == (1 if better else -1)
