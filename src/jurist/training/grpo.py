"""GRPO on judgments: reinforcement learning with verifiable rewards, by TRL's ``GRPOTrainer``.

    jurist train grpo pairs.jsonl --model MODEL --out RUN [--held-out pairs.jsonl]

One step: `batch` pairs are drawn, the model writes a group of judgments of each, each judgment is parsed as
in evaluation and rewarded (+1 where the verdict chooses as gold does, else -1), and advantages are the
rewards minus their group's mean, divided by its standard deviation. Loss: the clipped policy gradient of
PPO with ratios clipped to [1 - clip, 1 + clip], plus ``beta`` times the k3 estimate of the KL divergence to
the model before training; how tokens are averaged is ``loss`` (grpo, bnpo, dapo, dr_grpo).

Departures from RM-R1 (arXiv 2505.02387): groups whose rewards are all equal are replaced (DAPO's dynamic
sampling; ``resample`` 0 turns it off); the default loss averages over all tokens (dapo); the
log-probabilities of a group compute its prompt once (shared_prefix.py). Presets (presets.py) have the
published settings.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from math import ceil
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from jurist.core.errors import ConfigError
from jurist.core.types import Sampling
from jurist.inputs import load_cases
from jurist.judging.judge import Judge
from jurist.training.config import GrpoOptions, chosen
from jurist.training.distributed import package, rank, world
from jurist.training.evaluation import held_out_pairs, judge_of
from jurist.training.metrics import Callback
from jurist.training.model import PolicyModel, load
from jurist.training.presets import with_preset
from jurist.training.prompts import PromptExample, prompt_examples
from jurist.training.rollout_backends import RolloutBackend, reload_on_cpu, rollout_backend
from jurist.training.rollouts import Generate, Group, GroupSampler, Traces, draw, group_shares
from jurist.training.session import Result, Say, Session
from jurist.training.shared_prefix import SharedPrefix
from jurist.training.types import Args, Control, State, Trainer


class Rollouts:
    """For trl's ``rollout_func``: the prompts it is given are numbers of pairs.

    Draws depend on the seed, the step and the process alone, so that a resumed training goes on as it would
    have. Replacing goes on up to ``resample`` times: each time the groups whose rewards are all equal are
    replaced by groups of other pairs that are not. A group that is still so in the end stays.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[PromptExample, ...]],
        sampler: GroupSampler,
        writing: RolloutBackend,
        *,
        resample: int,
        updates: int,
        traces: Traces | None,
    ) -> None:
        self._pairs, self._sampler, self._backend = pairs, sampler, writing
        self._resample, self._updates, self._traces = resample, updates, traces
        self.shares: dict[str, float] = {}
        """What ``group_shares`` says of the last groups, for the reward function to log."""

    def __call__(self, prompts: Sequence[str], trainer: Trainer) -> dict[str, list[Any]]:
        """Judgments for each prompt, which stands there once for each member of its group."""
        numbers = [int(prompt) for prompt in prompts[:: self._sampler.size]]
        step = trainer.state.global_step // self._updates
        with self._backend(trainer) as write:
            drawn = self._groups(numbers, step, 0, write)
            groups, replaced = self._varied(drawn, step, write)
        # Of the verdicts as they were drawn: what replaces a group is chosen for not being right.
        self.shares = group_shares(drawn) | {
            "groups/zero_variance": fmean(group.zero_advantage for group in groups),
            "groups/replaced": replaced / len(groups),
        }
        if self._traces:
            self._traces.keep(step, groups)
        members = [m for group in groups for m in group.members]
        return {
            "prompt_ids": [m.example.ids for m in members],
            "completion_ids": [m.written[0] for m in members],
            "logprobs": [m.written[1] for m in members],
            "rewarded": [m.reward for m in members],
        }

    def _varied(self, drawn: Sequence[Group], step: int, write: Generate) -> tuple[list[Group], int]:
        groups, replaced = list(drawn), 0
        for attempt in range(1, self._resample + 1):
            same = [place for place, group in enumerate(groups) if group.zero_advantage]
            if not same:
                break
            others = [
                draw(self._sampler.seed, "pair", step, attempt, rank(), place) % len(self._pairs)
                for place in same
            ]
            fresh = [g for g in self._groups(others, step, attempt, write) if not g.zero_advantage]
            for place, group in zip(same, fresh, strict=False):
                groups[place] = group
                replaced += 1
        return groups, replaced

    def _groups(self, numbers: Sequence[int], step: int, attempt: int, write: Generate) -> list[Group]:
        return self._sampler.groups([self._pairs[n] for n in numbers], step, attempt, write)


def rollout_rewards(
    rollouts: Rollouts,
) -> Callable[..., list[float | None]]:
    """The trainer's reward function: the rewards that came with the rollouts; it logs their shares."""

    def verdict(
        prompts: Sequence[object],
        rewarded: Sequence[float | None],
        log_metric: Callable[[str, float], None] | None = None,
        **_: object,
    ) -> list[float | None]:
        del prompts
        if log_metric:
            for name, value in rollouts.shares.items():
                log_metric(name, value)
        return list(rewarded)

    return verdict


TRACES = "traces"


def train_grpo(options: GrpoOptions, source: str, out: Path, say: Say) -> Result:
    """Train on the pairs of ``source`` in the folder ``out``; the same call goes on where it stopped."""
    options = with_preset(options, "grpo")
    _check(options)
    session = Session("grpo", options, out, source, say)
    with session.open() as checkpoint:
        if ended := session.ended():
            return ended
        policy = load(options)
        judge = judge_of(options)
        pairs = _pairs(options, source, judge, policy, say)
        held_out = held_out_pairs(options, policy, out, options.eval_tokens or options.max_completion or 512)
        rollouts = _rollouts(session, options, policy, judge, pairs)
        trainer = _trainer(session, options, policy, rollouts, len(pairs))
        no_signal_after = options.no_signal_after * chosen(options.updates)
        return session.train(trainer, checkpoint, policy, held_out, no_signal_after, rows=len(pairs))


def _check(options: GrpoOptions) -> None:
    if options.reward == "consistent" and options.orders != "both":
        raise ConfigError("a consistent reward needs both orders", hint="--orders both")
    if options.orders == "both" and (options.group or 0) % 2:
        raise ConfigError(f"a group of {options.group} has no halves for both orders", hint="an even --group")
    if (options.group or 2) < 2:
        raise ConfigError("a group of one has nothing to be compared with", hint="--group 8")


def _pairs(
    options: GrpoOptions, source: str, judge: Judge, policy: PolicyModel, say: Say
) -> list[tuple[PromptExample, ...]]:
    """The questions of each pair, one for each order in which it is shown."""
    longest = chosen(options.max_completion)
    room = policy.context - longest
    if room < 1:
        raise ConfigError(
            f"completions of {longest} tokens leave no room for a prompt in a context of {policy.context}",
            hint="--max-completion",
        )
    examples, count = prompt_examples(
        load_cases(source), judge, policy.chat,
        orders=options.orders, max_prompt=min(options.max_prompt, room), too_long=options.too_long,
    )  # fmt: skip
    for line in count.lines():
        say(line)
    pairs = [tuple(group) for _, group in groupby(examples, key=lambda q: q.case.id)]
    orders = 2 if options.orders == "both" else 1
    return [pair for pair in pairs if len(pair) == orders]


def _rollouts(
    session: Session,
    options: GrpoOptions,
    policy: PolicyModel,
    judge: Judge,
    pairs: list[tuple[PromptExample, ...]],
) -> Rollouts:
    sampling = Sampling(chosen(options.temperature), options.top_p, chosen(options.max_completion))
    sampler = GroupSampler(
        judge.protocol, policy, sampling, chosen(options.group), options.orders == "both", options.reward,
        options.format_reward, options.seed,
    )  # fmt: skip
    facts = {"engine": "training", "model": options.model, "protocol": options.protocol,
             "deliberation": f"vote({options.group})", "input": session.source}  # fmt: skip
    traces = Traces(session.out / TRACES, facts, options.trace_every) if rank() == 0 else None

    return Rollouts(
        pairs,
        sampler,
        rollout_backend(options, policy, sampling),
        resample=options.resample,
        updates=chosen(options.updates),
        traces=traces,
    )


def _trainer(
    session: Session, options: GrpoOptions, policy: PolicyModel, rollouts: Rollouts, pairs: int
) -> Trainer:
    trl, datasets = package("trl"), package("datasets")
    batch, updates = chosen(options.batch), chosen(options.updates)
    if batch > pairs:
        raise ConfigError(
            f"a step of {batch} prompts needs more than the {pairs} that there are", hint=f"--batch {pairs}"
        )
    micro = _micro(options, batch, updates)
    rows = batch * chosen(options.group)
    steps = options.steps or ceil(chosen(options.epochs) * (pairs // batch))
    numbers = course(pairs, batch, steps, options.seed)
    arguments = session.arguments(policy, rows // updates, micro)
    config = trl.GRPOConfig(
        **arguments
        | {
            "max_steps": steps * updates,
            "save_steps": options.save_every * updates,
            "logging_steps": updates,
        },
        steps_per_generation=rows // (micro * world()),
        num_generations=options.group,
        max_completion_length=options.max_completion,
        temperature=options.temperature,
        top_p=options.top_p,
        beta=options.beta,
        epsilon=options.clip,
        loss_type=options.loss,
        shuffle_dataset=False,
        remove_unused_columns=False,
        **_vllm(options),
    )

    class SharedPrefixTrainer(SharedPrefix, trl.GRPOTrainer):
        """TRL's trainer with shared prompts."""

        say = staticmethod(session.say)

    maker: type[Trainer] = SharedPrefixTrainer if options.shared_prefix else trl.GRPOTrainer
    trainer = maker(
        model=policy.model,
        args=config,
        reward_funcs=rollout_rewards(rollouts),
        train_dataset=datasets.Dataset.from_list([{"prompt": str(n)} for n in numbers]),
        processing_class=policy.tokenizer,
        peft_config=policy.peft,
        rollout_func=rollouts,
    )
    if options.rollouts == "vllm" and policy.device.type == "cpu":
        reload_on_cpu(trainer)
    trainer.add_callback(_EpochCallback(steps / (pairs // batch)))
    return trainer


def course(pairs: int, batch: int, steps: int, seed: int) -> list[int]:
    """The number of the pair for every prompt of the training: shuffled anew each time all were seen.

    The trainer's own sampler shuffles by what it drew before, and so differently after a resume. The rest
    of the pairs that makes no whole batch is left out, another one each time.
    """
    numbers: list[int] = []
    for epoch in range(ceil(steps / (pairs // batch))):
        shuffled = list(range(pairs))
        Random(draw(seed, "order", epoch)).shuffle(shuffled)
        numbers += shuffled[: pairs // batch * batch]
    return numbers[: batch * steps]


class _EpochCallback(Callback):
    """Tells how often the pairs were seen: to the trainer the whole training is one epoch."""

    def __init__(self, epochs: float) -> None:
        self._epochs = epochs

    def on_step_end(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Set it right before it is logged."""
        del args, control
        state.epoch = self._epochs * state.global_step / state.max_steps


def _micro(options: GrpoOptions, batch: int, updates: int) -> int:
    """Rows of a micro-batch: of whole groups if they fit, else what divides the rows of an update."""
    group = chosen(options.group)
    if batch % world():
        raise ConfigError(f"{batch} prompts do not divide among {world()} processes", hint="another --batch")
    share, rest = divmod(batch * group, world() * updates)
    if rest:
        raise ConfigError(
            f"{batch} groups of {group} do not divide into {updates} updates",
            hint="another --batch or --updates",
        )
    fitting = [n for n in range(1, min(share, options.micro_batch) + 1) if share % n == 0]
    return max([n for n in fitting if n % group == 0] or fitting)


def _vllm(options: GrpoOptions) -> dict[str, object]:
    if options.rollouts == "vllm":
        return {"use_vllm": True, "vllm_mode": "colocate"}
    if options.rollouts == "vllm-server":
        return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": options.vllm_url}
    return {}
