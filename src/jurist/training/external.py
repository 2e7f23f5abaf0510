"""Files for a judge's training by verl or OpenRLHF: data, reward function, launch script.

The settings are those of `jurist train grpo`, by the names of verl 0.9.1 and OpenRLHF 0.11.2. RM-R1 itself
ran verl 0.2.0.dev (RM-R1-UIUC/RM-R1 @d4c2542, rm_r1/scripts/RLVR): what is not an option of ours (memory
share, micro-batches, tensor parallelism, nodes) is from its scripts, where a preset names one.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import msgspec

from jurist.core.errors import ConfigError, InputError, MissingExtraError
from jurist.core.files import write_whole
from jurist.core.types import Case
from jurist.core.version import __version__
from jurist.inputs import load_cases
from jurist.judging.config import as_dict
from jurist.judging.judge import Judge, seeded_order
from jurist.training.config import GrpoOptions, chosen
from jurist.training.evaluation import judge_of
from jurist.training.presets import with_preset
from jurist.training.prompts import PromptCounts, usable

Trainer = Literal["verl", "openrlhf"]

DATA, HELD_OUT, REWARD, LAUNCH, FACTS = "train", "held-out", "reward.py", "launch.sh", "export.json"
"""Names of the files."""


@dataclass(frozen=True)
class Cluster:
    """What the training runs on. What is None is the preset's, else one node, 8 GPUs and 4 in a tensor."""

    nodes: int | None = None
    """Nodes."""
    gpus: int = 8
    """GPUs of a node."""
    tensor_parallel: int | None = None
    """GPUs over which the rollouts' engine spreads the model."""
    gpu_memory: float | None = None
    """Share of a GPU's memory for the rollouts' engine."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("nodes", "gpus", "tensor_parallel"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} = {value} is out of range", hint="from 1 on")
        if self.gpu_memory is not None and not 0 < self.gpu_memory < 1:
            raise ConfigError(f"gpu_memory = {self.gpu_memory} is out of range", hint="a share, such as 0.5")


@dataclass(frozen=True, slots=True)
class Layout:
    """Nodes of 8 GPUs, memory share, sequences of a micro-batch, steps between two checkpoints."""

    nodes: int = 1
    memory: float = 0.5
    micro: int = 1
    save: int = 50


LAYOUTS = {
    "rm-r1-instruct-7b": Layout(1, 0.5, 4, 100),
    "rm-r1-instruct-14b": Layout(2, 0.4, 1, 45),
    "rm-r1-instruct-32b": Layout(4, 0.4, 1, 45),
    "rm-r1-reasoning-7b": Layout(1, 0.5, 4, 100),
    "rm-r1-reasoning-14b": Layout(2, 0.4, 1, 45),
    "rm-r1-reasoning-32b": Layout(4, 0.4, 1, 45),
}
"""RM-R1's scripts (rm_r1/scripts/RLVR: local for 7B, slurm for 14B and 32B). RRM's hardware is not known."""

_LOSSES = {
    "verl": {"grpo": "seq-mean-token-mean", "bnpo": "token-mean", "dapo": "token-mean",
             "dr_grpo": "seq-mean-token-sum-norm"},
    "openrlhf": {"grpo": "seq-mean-token-mean", "bnpo": "token-mean", "dapo": "token-mean"},
}  # fmt: skip


def export_training(
    trainer: Trainer, options: GrpoOptions, cluster: Cluster, source: str, out: Path
) -> tuple[PromptCounts, list[Path]]:
    """Write the files of a training into ``out``; the counts of the pairs, and what was written.

    Raises ``ConfigError`` for settings that the trainer does not have, ``InputError`` without any pair.
    """
    options = with_preset(options, "grpo")
    _check(trainer, options)
    layout = LAYOUTS.get(options.preset or "", Layout())
    judge = judge_of(options)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {out}: {error.strerror or error}") from error
    counts = PromptCounts()
    written = [_data(trainer, options, judge, source, out, DATA, counts)]
    if options.held_out:
        written.append(_data(trainer, options, judge, str(options.held_out), out, HELD_OUT, PromptCounts()))
    make = _verl if trainer == "verl" else _openrlhf
    for name, text in ((REWARD, _reward_file(trainer, options)),
                       (LAUNCH, make(options, cluster, layout, len(counts.first)))):  # fmt: skip
        write_whole(out / name, text.encode())
        written.append(out / name)
    facts = {"jurist": __version__, "trainer": trainer, "source": source, "prompts": len(counts.first),
             **as_dict(options), "cluster": as_dict(cluster)}  # fmt: skip
    write_whole(out / FACTS, msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n")
    return counts, [*written, out / FACTS]


def _check(trainer: Trainer, o: GrpoOptions) -> None:
    if o.reward != "verdict" or o.format_reward:
        raise ConfigError(
            "the reward of these trainers sees one judgment at a time: +1 for a right verdict, else -1",
            hint="leave --reward and --format-reward out, or use `jurist train grpo`",
        )
    if chosen(o.loss) not in _LOSSES[trainer]:
        raise ConfigError(f"{trainer} has no loss {o.loss}", hint=", ".join(_LOSSES[trainer]))
    if o.model == "embedded":
        raise ConfigError("the embedded model is no model of vLLM", hint="--model HUB_ID_OR_FOLDER")
    if chosen(o.batch) % chosen(o.updates):
        raise ConfigError(
            f"{o.batch} prompts do not divide into {o.updates} updates", hint="another --batch or --updates"
        )


def _data(
    trainer: Trainer, o: GrpoOptions, judge: Judge, source: str, out: Path, name: str, counts: PromptCounts
) -> Path:
    rows = list(_rows(trainer, o, judge, source, name, counts))
    if not rows:
        raise InputError(f"{source} has no pair to train on", hint="rows need a preferred response")
    if trainer == "openrlhf":
        path = out / f"{name}.jsonl"
        write_whole(path, b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        return path
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "jurist export verl") from error
    path = out / f"{name}.parquet"
    draft = path.with_suffix(".tmp")
    parquet.write_table(pyarrow.Table.from_pylist(rows), draft)
    draft.replace(path)
    return path


def _rows(
    trainer: Trainer, o: GrpoOptions, judge: Judge, source: str, split: str, counts: PromptCounts
) -> Iterator[dict[str, Any]]:
    family = f"-{o.family}" if o.family else ""
    for case in load_cases(source):
        counts.read += 1
        if not usable(case, counts):
            continue
        for order in _orders(case, o, judge):
            query = judge.query(case, order, 0)
            messages = [{"role": m.role, "content": m.content} for m in query.messages]
            slot = order.index(_better(case))
            counts.first.append(slot == 0)
            if trainer == "openrlhf":
                yield {"prompt": messages, "label": str(slot), "case_id": case.id}
                continue
            yield {
                "data_source": f"jurist/{o.protocol}{family}",
                "prompt": messages,
                "ability": "judge",
                "reward_model": {"style": "rule", "ground_truth": str(slot)},
                "extra_info": {"split": split, "index": len(counts.first) - 1, "case_id": case.id,
                               "order": list(order)},
            }  # fmt: skip


def _orders(case: Case, o: GrpoOptions, judge: Judge) -> list[tuple[int, ...]]:
    given = tuple(range(len(case.responses)))
    if o.orders == "both":
        return [given, given[::-1]]
    return [given if o.orders == "given" else seeded_order(case, 0, judge.seed)]


def _better(case: Case) -> int:
    assert case.gold is not None
    return case.gold.index(max(case.gold))


def _reward_file(trainer: Trainer, o: GrpoOptions) -> str:
    if trainer == "verl":
        return (
            '"""verl\'s reward: +1 for a right verdict, else -1 (see jurist.training.external_reward)."""\n\n'
            "from jurist.training.external_reward import compute_score\n\n"
            '__all__ = ["compute_score"]\n'
        )
    how = f"{o.protocol!r}, {o.family!r}, {o.rule!r}"
    return (
        '"""OpenRLHF\'s reward: +1 for a right verdict, else -1 (see jurist.training.external_reward)."""\n\n'
        "from jurist.training.external_reward import openrlhf_reward\n\n"
        f"reward_func = openrlhf_reward({how})\n"
    )


def _verl(o: GrpoOptions, cluster: Cluster, layout: Layout, prompts: int) -> str:
    batch, group, longest = chosen(o.batch), chosen(o.group), chosen(o.max_completion)
    micro = layout.micro if o.micro_batch == GrpoOptions().micro_batch else o.micro_batch
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    tensor = cluster.tensor_parallel or 4
    values: dict[str, Any] = {
        "algorithm.adv_estimator": "grpo",
        "algorithm.norm_adv_by_std_in_grpo": True,
        "algorithm.use_kl_in_reward": False,
        "data.train_files": "${HERE}/train.parquet",
        "data.val_files": f"${{HERE}}/{HELD_OUT if o.held_out else DATA}.parquet",
        "data.prompt_key": "prompt",
        "data.train_batch_size": batch,
        "data.max_prompt_length": o.max_prompt,
        "data.max_response_length": longest,
        "data.filter_overlong_prompts": o.too_long != "stop",
        "data.truncation": "error",
        "data.shuffle": True,
        "data.seed": o.seed,
        "actor_rollout_ref.model.path": o.model,
        "actor_rollout_ref.model.enable_gradient_checkpointing": True,
        "actor_rollout_ref.model.use_remove_padding": True,
        f"{actor}.optim.lr": o.learning_rate,
        f"{actor}.optim.lr_warmup_steps_ratio": o.warmup,
        f"{actor}.optim.lr_scheduler_type": "cosine" if "cosine" in chosen(o.schedule) else "constant",
        f"{actor}.optim.weight_decay": o.weight_decay,
        f"{actor}.optim.betas": f"[0.9,{o.adam_beta2 or 0.999}]",
        f"{actor}.optim.clip_grad": o.max_grad_norm,
        f"{actor}.grad_clip": o.max_grad_norm,
        f"{actor}.ppo_mini_batch_size": batch // chosen(o.updates),
        f"{actor}.ppo_micro_batch_size_per_gpu": micro,
        f"{actor}.ppo_epochs": 1,
        f"{actor}.clip_ratio": o.clip,
        f"{actor}.clip_ratio_low": o.clip,
        f"{actor}.clip_ratio_high": o.clip,
        f"{actor}.use_kl_loss": bool(o.beta),
        f"{actor}.kl_loss_coef": o.beta,
        f"{actor}.kl_loss_type": "low_var_kl",
        f"{actor}.entropy_coeff": 0,
        f"{actor}.loss_agg_mode": _LOSSES["verl"][chosen(o.loss)],
        f"{rollout}.name": "vllm",
        f"{rollout}.n": group,
        f"{rollout}.temperature": o.temperature,
        f"{rollout}.top_p": o.top_p,
        f"{rollout}.top_k": -1,
        f"{rollout}.tensor_model_parallel_size": tensor,
        f"{rollout}.gpu_memory_utilization": cluster.gpu_memory or layout.memory,
        f"{rollout}.max_num_batched_tokens": o.max_prompt + longest,
        f"{rollout}.log_prob_micro_batch_size_per_gpu": micro,
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": micro,
        "reward.custom_reward_function.path": "${HERE}/reward.py",
        "reward.custom_reward_function.name": "compute_score",
        "+reward.custom_reward_function.reward_kwargs.protocol": o.protocol,
        "+reward.custom_reward_function.reward_kwargs.rule": o.rule,
        "trainer.nnodes": cluster.nodes or layout.nodes,
        "trainer.n_gpus_per_node": cluster.gpus,
        "trainer.total_epochs": max(1, round(o.epochs or 1)) if o.steps is None else _epochs(o, prompts),
        "trainer.save_freq": layout.save,
        "trainer.test_freq": (o.eval_every or 10) if o.held_out else -1,
        "trainer.val_before_train": bool(o.held_out),
        "trainer.logger": "[console]",
        "trainer.project_name": "jurist",
        "trainer.experiment_name": o.preset or "judge",
        "trainer.default_local_dir": "${HERE}/checkpoints",
    }
    if o.family:
        values["+reward.custom_reward_function.reward_kwargs.family"] = o.family
    if o.steps is not None:
        values["trainer.total_training_steps"] = o.steps
    words = [f"{name}={_value(value)}" for name, value in values.items()]
    return _script("python3 -m verl.trainer.main_ppo", words, "verl 0.9.1", "bash launch.sh --cfg job")


def _epochs(o: GrpoOptions, prompts: int) -> int:
    """Epochs that hold the steps; verl ends at whichever comes first."""
    each = max(1, prompts // chosen(o.batch))
    return -(-(o.steps or 1) // each)


def _openrlhf(o: GrpoOptions, cluster: Cluster, layout: Layout, prompts: int) -> str:
    batch, group, longest = chosen(o.batch), chosen(o.group), chosen(o.max_completion)
    nodes, tensor = cluster.nodes or layout.nodes, cluster.tensor_parallel or 4
    if (nodes * cluster.gpus) % tensor:
        raise ConfigError(
            f"{nodes} nodes of {cluster.gpus} GPUs do not divide into engines of {tensor}",
            hint="another --tensor-parallel",
        )
    micro = layout.micro if o.micro_batch == GrpoOptions().micro_batch else o.micro_batch
    samples = "" if o.steps is None else str(o.steps * batch)
    values: dict[str, Any] = {
        "--actor.model_name_or_path": o.model,
        "--reward.remote_url": "${HERE}/reward.py",
        "--data.prompt_dataset": "${HERE}/train.jsonl",
        "--data.input_key": "prompt",
        "--data.label_key": "label",
        "--data.apply_chat_template": None,
        "--data.max_len": o.max_prompt + longest,
        "--rollout.max_new_tokens": longest,
        "--rollout.batch_size": batch,
        "--rollout.n_samples_per_prompt": group,
        "--rollout.temperature": o.temperature,
        "--rollout.top_p": o.top_p,
        "--rollout.micro_batch_size": micro,
        "--train.batch_size": batch * group // chosen(o.updates),
        "--train.micro_batch_size": micro,
        "--train.num_episodes": max(1, round(o.epochs or 1)) if o.steps is None else _epochs(o, prompts),
        "--train.max_epochs": 1,
        "--train.seed": o.seed,
        "--train.colocate_all": None,
        "--algo.advantage.estimator": "group_norm",
        "--algo.kl.use_loss": None if o.beta else False,
        "--algo.kl.estimator": "k3" if o.beta else "k1",
        "--algo.kl.init_coef": o.beta,
        "--actor.eps_clip": o.clip,
        "--actor.loss_agg_mode": _LOSSES["openrlhf"][chosen(o.loss)],
        "--actor.adam.lr": o.learning_rate,
        "--actor.adam.weight_decay": o.weight_decay,
        "--actor.adam.betas": f"0.9 {o.adam_beta2 or 0.999}",
        "--actor.max_norm": o.max_grad_norm,
        "--actor.lr_scheduler": o.schedule,
        "--actor.lr_warmup_ratio": o.warmup,
        "--actor.gradient_checkpointing_enable": None,
        "--actor.num_nodes": nodes,
        "--actor.num_gpus_per_node": cluster.gpus,
        "--ref.num_nodes": nodes,
        "--ref.num_gpus_per_node": cluster.gpus,
        "--vllm.num_engines": nodes * cluster.gpus // tensor,
        "--vllm.tensor_parallel_size": tensor,
        "--vllm.gpu_memory_utilization": cluster.gpu_memory or layout.memory,
        "--vllm.enable_prefix_caching": None,
        "--vllm.enable_sleep": None,
        "--ds.enable_sleep": None,
        "--ds.zero_stage": 3,
        "--ckpt.output_dir": "${HERE}/model",
        "--ckpt.path": "${HERE}/checkpoints",
        "--ckpt.save_steps": layout.save,
    }
    if samples:
        values["--data.max_samples"] = samples
    words = [_flag(name, value) for name, value in values.items() if value is not False]
    return _script("python3 -m openrlhf.cli.train_ppo_ray", words, "OpenRLHF 0.11.2", "")


def _flag(name: str, value: Any) -> str:
    return name if value is None else f"{name} {_value(value)}"


def _value(value: Any) -> str:
    """A value for a shell: quoted, but for our one variable and for lists of two numbers."""
    text = str(value) if not isinstance(value, float) else f"{value:g}"
    if text.startswith("${HERE}"):
        return f'"{text}"'
    if text.count(" ") == 1 and all(part.replace(".", "").isdigit() for part in text.split()):
        return text
    return shlex.quote(text)


def _script(command: str, words: list[str], trainer: str, dry: str) -> str:
    lines = " \\\n".join(f"    {word}" for word in [*words, '"$@"'])
    hint = f"# Without training, what it resolves to: {dry}\n" if dry else ""
    return (
        "#!/usr/bin/env bash\n"
        f"# Written by jurist {__version__} for {trainer}. What stands behind the script's name is added.\n"
        f"{hint}"
        "set -euo pipefail\n"
        'HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"\n\n'
        f"exec {command} \\\n{lines}\n"
    )
