"""slime: whole groups by --group-rm, and a stated rule for samples that come alone."""

import sys
import types
from argparse import Namespace
from types import SimpleNamespace

import pytest
import served

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.integrations.slime import case_of, evaluate, group_reward
from jurist.serving.client import ServerError

TRAINING = Namespace(group_rm=True)
EVALUATION = Namespace(group_rm=False)
CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n7 * 8?<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def server():
    with served.running() as running:
        yield running


def sample(response, prompt="p", label=None, **metadata):
    return SimpleNamespace(prompt=prompt, response=response, label=label, metadata=metadata)


def group(*numbers):
    return [sample(f"answer {n}<|im_end|>") for n in numbers]


async def test_a_group_has_its_rewards_in_order(server):
    reward = group_reward(server.url)
    assert await reward(TRAINING, group(3, 9, 1, 7)) == pytest.approx([1 / 3, 1, 0, 2 / 3])
    assert await reward(TRAINING, group(4, 4, 4)) == [0.5] * 3


async def test_no_verdict_is_an_error_or_the_number_of_the_user(server):
    with pytest.raises(JuristError, match=r"no reward: refused(.|\n)*unanswered=NUMBER"):
        await group_reward(server.url)(TRAINING, group(3))
    assert await group_reward(server.url, unanswered=0.25)(TRAINING, group(3)) == [0.25]
    with pytest.raises(ServerError, match="HTTP 404"):
        await group_reward(server.url + "/nowhere", unanswered=0.25)(TRAINING, group(3, 4))


async def test_a_lone_sample_has_what_the_chosen_rule_says(server):
    with pytest.raises(ConfigError, match=r"without its siblings(.|\n)*--group-rm"):
        await group_reward(server.url)(EVALUATION, sample("answer 3"))
    assert await group_reward(server.url, lone=0.5)(EVALUATION, sample("answer 3")) == 0.5
    by_anchors = group_reward(server.url, lone="anchors")
    measured = sample("answer 5", anchors=["answer 2", "answer 3", "answer 9"])
    assert await by_anchors(EVALUATION, measured) == pytest.approx(2.5 / 4)
    with pytest.raises(InputError, match="no anchors"):
        await by_anchors(EVALUATION, sample("answer 5"))
    # The judge of this server compares pairs, and says so.
    with pytest.raises(JuristError, match="a lone response"):
        await group_reward(server.url, lone="judge")(EVALUATION, sample("answer 5"))


@pytest.mark.parametrize(("args", "samples"), [(EVALUATION, group(1, 2)), (TRAINING, [group(1), group(2)])])
async def test_parts_of_one_rollout_are_no_group(server, args, samples):
    with pytest.raises(ConfigError, match="no siblings"):
        await group_reward(server.url)(args, samples)


def test_a_case_is_what_the_samples_say():
    case = case_of([sample("56<|im_end|>", CHATML, 56, rubric="Short."), sample("57", CHATML, 56)])
    assert [(m.role, m.content) for m in case.prompt] == [("system", "Be brief."), ("user", "7 * 8?")]
    assert (case.responses, case.reference, case.rubric) == (("56", "57"), "56", "Short.")
    chat = [{"role": "user", "content": "why?"}]
    assert [m.content for m in case_of([sample("so", chat)]).prompt] == ["why?"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lone": "mean"}, "no rule"),
        ({"lone": float("nan")}, "no number"),
        ({"unanswered": float("inf")}, "no number"),
        ({"deadline": 0.0}, "deadline 0.0"),
        ({"patience": -1}, "patience -1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        group_reward("http://127.0.0.1:1", **options)


def test_evaluation_runs_slimes_rollout_without_group_rm(monkeypatch):
    """slime itself is on no package index; benchmarks/trainers/ runs its code."""
    seen = []
    module = types.ModuleType("slime.rollout.sglang_rollout")
    module.generate_rollout = lambda *a, **more: seen.append((a, more)) or "output"
    for name in ("slime", "slime.rollout"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "slime.rollout.sglang_rollout", module)
    args = Namespace(group_rm=True, other=7)
    assert evaluate(args, 3, "data", evaluation=True) == "output"
    assert seen == [((Namespace(group_rm=False, other=7), 3, "data"), {"evaluation": True})]
    assert args.group_rm
