"""verl: samples of several workers are judged among their siblings, and no verdict is not a number."""

import asyncio
import sys
from array import array

import pytest
import served

from jurist.core.errors import ConfigError, InputError, JuristError, MissingExtraError
from jurist.core.types import Message
from jurist.integrations import verl
from jurist.integrations.verl import VerlOptions, compute_score, group_size, options_of, sample_of
from jurist.serving.client import ServerError

KEYS = ["score", "answered", "siblings", "status"]
ROLLOUT = {"n": 4, "val_kwargs": {"n": 1}}
ANY = VerlOptions(server="http://127.0.0.1:1")
MODULE = "pkg://jurist.integrations.verl"
OURS = {"source": "importlib", "name": "GroupRewardManager", "module": {"path": MODULE}}
NAIVE = {"source": "register", "name": "naive"}


@pytest.fixture(scope="module")
def server():
    with served.running(longest=4) as running:
        yield running


async def asked(server, number, prompt, uid=None, truth="", **options):
    info = {"question": prompt, "uid": uid}
    return await compute_score("s", f"answer {number}", truth, info, server=server.url, **options)


# --- the function ----------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", ["", "step 1 "])
async def test_samples_of_one_prompt_are_judged_among_each_other(server, uid):
    """Two prompts at once, dealt in any order; a win rate is the share of siblings that are weaker."""
    deal = [("a", 3), ("b", 5), ("a", 9), ("b", 2), ("a", 1), ("b", 7)]
    asks = [asked(server, n, p, uid + p if uid else None, size=3) for p, n in deal]
    found = await asyncio.gather(*asks)
    assert [row["score"] for row in found] == [0.5, 0.5, 1, 0, 0, 1]
    assert all([*row] == KEYS and row["answered"] == 1 and row["siblings"] == 3 for row in found)


async def test_another_ground_truth_is_another_group(server):
    shared = {"size": 2, "unanswered": 0}
    apart = await asyncio.gather(*(asked(server, n, "t", truth=t, **shared) for n, t in [(1, "5"), (2, 6)]))
    assert [row["status"] for row in apart] == ["truncated"] * 2  # each waited for a sibling in vain
    odd = [(1, [1]), (2, {"a": 5})]
    both = await asyncio.gather(*(asked(server, n, "t", truth=t, reference=False, **shared) for n, t in odd))
    assert [row["score"] for row in both] == [0, 1]


async def test_a_number_for_no_verdict_is_said_to_be_one(server):
    lone = await asked(server, 1, "c", size=1, unanswered=0.25)
    assert lone == {"score": 0.25, "answered": 0, "siblings": 1, "status": "refused"}


async def test_no_verdict_is_an_error_and_a_refusal_always_is(server):
    with pytest.raises(JuristError, match=r"no reward: refused(.|\n)*unanswered=NUMBER"):
        await asked(server, 1, "c", size=1)
    with pytest.raises(ServerError, match="HTTP 404"):
        await compute_score("s", "r", "", {"prompt": "p"}, server=server.url + "/nowhere", unanswered=0)


@pytest.mark.parametrize(
    ("truth", "info", "told"),
    [
        ("", None, r"data source 's': extra_info has no prompt \(raw_prompt, prompt, question\)"),
        ("", {"question": None}, "extra_info has no prompt"),
        ("", {"prompt": 5}, "data source 's': prompt: neither a text nor messages"),
        ({"target": 5}, {"prompt": "p"}, r"data source 's': reference: dict\n.*reference=false"),
    ],
)
async def test_a_row_that_cannot_be_judged_is_named(truth, info, told):
    with pytest.raises(InputError, match=told):
        await compute_score("s", "r", truth, info, server=ANY.server)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "reward_kwargs: .*missing required field `server`"),
        ({"server": "x", "sever": "y"}, "unknown field `sever`"),
        ({"server": "x", "size": 0}, r"size"),
        ({"server": "x", "unanswered": "none"}, "none"),
        ({"server": "x", "unanswered": float("nan")}, "unanswered nan is no number"),
        ({"server": "x", "patience": 0}, "patience"),
    ],
)
def test_options_of_another_shape_are_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        options_of(given)


# --- rows of a batch -------------------------------------------------------------------------------


class Letters:
    """A tokenizer whose tokens are characters."""

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return "".join(map(chr, ids))


def sampled(response="yes", width=6, options=ANY, **others):
    """The sample of a row whose prompt is padded on the left and whose response is on the right."""
    ids, gap = [ord(c) for c in response], width - len(response)
    tensors = {
        "prompts": array("q", [0, 7]),
        "responses": array("q", ids + [0] * gap),
        "attention_mask": array("q", [0, 1] + [1] * len(ids) + [0] * gap),
    }
    told = {"raw_prompt": [{"role": "user", "content": "sum?"}], "uid": "u", **others}
    return sample_of(tensors, told, Letters(), {"actor_rollout_ref": {"rollout": ROLLOUT}}, options)


@pytest.mark.parametrize(("response", "width"), [("yes", 6), ("yes", 3), ("", 4)])
def test_a_response_is_what_its_mask_leaves(response, width):
    assert sampled(response, width).row.response == response


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({}, ("u", 4, None, None)),
        ({"uid": None}, (None, 4, None, None)),
        ({"uid": 7, "reward_model": {"ground_truth": "5"}}, ("7", 4, "5", None)),
        ({"reward_model": {"ground_truth": ""}}, ("u", 4, None, None)),
        ({"reward_model": None, "extra_info": None}, ("u", 4, None, None)),
        ({"extra_info": {"split": "train", "rubric": "be brief"}}, ("u", 4, None, "be brief")),
        ({"extra_info": {"split": "test"}}, ("u", 1, None, None)),
        ({"options": VerlOptions(server="x", size=9, reference=False)}, ("u", 9, None, None)),
    ],
)
def test_a_row_tells_its_group_its_size_and_its_reference(others, expected):
    found = sampled(**others)
    row = found.row
    assert (found.group, found.size, row.reference, row.rubric) == expected
    assert row.prompt == (Message("user", "sum?"),)


def test_a_row_without_its_messages_is_an_error():
    with pytest.raises(InputError, match="no raw_prompt"):
        sampled(raw_prompt=None)


def test_sizes_differ_between_training_and_validation():
    config = {"actor_rollout_ref": {"rollout": ROLLOUT}}
    assert [group_size(config, {"split": s}) for s in ("train", "test", "val")] == [4, 1, 1]


def test_the_manager_says_what_is_missing_without_verl(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "verl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "verl", None)
    verl._manager.cache_clear()
    with pytest.raises(MissingExtraError, match="verl"):
        _ = verl.GroupRewardManager
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        _ = verl.Manager


# --- verl itself -----------------------------------------------------------------------------------


def configured(server, path=None, manager=OURS, **kwargs):
    """What of verl's configuration its reward loop reads."""
    from omegaconf import OmegaConf

    function = {"path": path, "name": "compute_score", "reward_kwargs": {"server": server.url, **kwargs}}
    told = {"custom_reward_function": function, "reward_manager": manager, "reward_model": {"enable": False}}
    rollout = {"actor_rollout_ref": {"rollout": ROLLOUT}}
    return OmegaConf.create({"reward": told | {"num_workers": 2}} | rollout)


def batch_of(numbers, uids):
    """A DataProto as verl's agent loop makes it, one row per response."""
    import numpy as np
    import torch
    from tensordict import TensorDict
    from verl import DataProto

    texts = [f"answer {n}" for n in numbers]
    width = max(map(len, texts)) + 2
    padded = torch.tensor([[*map(ord, t), *[0] * (width - len(t))] for t in texts])
    mask = torch.tensor([[0, 1, *[1] * len(t), *[0] * (width - len(t))] for t in texts])
    tensors = {"prompts": torch.tensor([[0, 7]] * len(texts)), "responses": padded, "attention_mask": mask}
    others = {
        "raw_prompt": np.array([[{"role": "user", "content": f"question {u}"}] for u in uids], dtype=object),
        "uid": np.array(uids, dtype=object),
        "data_source": np.array(["s"] * len(texts)),
        "reward_model": np.array([{"ground_truth": "", "style": "model"}] * len(texts)),
        "extra_info": np.array([{"question": f"question {u}", "split": "train"} for u in uids]),
    }
    return DataProto(batch=TensorDict(tensors, batch_size=len(texts)), non_tensor_batch=others)


def worker_of(config):
    """verl's reward worker with our tokenizer, for its own wants a model."""
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
    from verl.trainer.ppo.reward import load_reward_manager

    worker = RewardLoopWorker.__new__(RewardLoopWorker)
    worker.config = config
    worker.reward_manager = load_reward_manager(config, Letters())
    return worker


@pytest.mark.slow
def test_verls_reward_workers_judge_scattered_siblings_together(server):
    """Two groups of four over three of verl's workers: by the manager, and by the function alone."""
    pytest.importorskip("verl", reason="verl is not installed")
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    numbers, uids = [3, 9, 1, 4, 7, 2, 8, 5], ["v"] * 4 + ["w"] * 4
    dealt = [[0, 5, 7], [1, 4], [2, 3, 6]]
    for config in (configured(server), configured(server, MODULE, NAIVE, size=4)):

        async def all_workers(config=config):
            workers, batch = [worker_of(config) for _ in dealt], batch_of(numbers, uids)
            asks = [w.compute_score_batch(batch[rows]) for w, rows in zip(workers, dealt, strict=True)]
            return await asyncio.gather(*asks)

        told = asyncio.run(all_workers())
        found = {
            i: row for rows, part in zip(dealt, told, strict=True) for i, row in zip(rows, part, strict=True)
        }
        expected = [1 / 3, 1, 0, 2 / 3, 2 / 3, 0, 1, 1 / 3]
        assert [found[i]["reward_score"] for i in range(8)] == pytest.approx(expected)
        assert all([*found[i]["reward_extra_info"]] == KEYS for i in range(8))
        rewards = resolve_reward_manager_cls(config).assemble_rm_scores(batch_of(numbers, uids), expected)
        assert rewards.sum(-1).tolist() == pytest.approx(expected)


@pytest.mark.slow
def test_a_manager_of_verl_refuses_options_at_the_start(server):
    pytest.importorskip("verl", reason="verl is not installed")
    with pytest.raises(ConfigError, match="sever"):
        worker_of(configured(server, sever=1))
