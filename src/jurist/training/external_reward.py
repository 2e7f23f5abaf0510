"""The reward of `jurist train grpo` for trainers that call a function: verl and OpenRLHF.

`jurist export verl` and `jurist export openrlhf` write data whose labels are read here. The verdict is parsed
as in evaluation; +1 where it names the label's slot, else -1, as in RM-R1 (equation 8) and RRM.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from jurist.core.errors import ConfigError
from jurist.core.types import Completion, winner
from jurist.judging import registry
from jurist.judging.config import JudgeConfig
from jurist.protocols import rm_r1, rrm
from jurist.protocols.base import Parse, Rule
from jurist.training.reward import RIGHT, WRONG

LABELS = ("0", "1")
"""The slot of the better response, as the ground truth of a row."""


@cache
def parser(protocol: str, family: rm_r1.Family | None = None, rule: Rule = "robust") -> Parse:
    """How a protocol's verdict is read; published prompts are not needed for that."""
    if protocol == "rm-r1":
        return rm_r1.rm_r1({}, family or "instruct", rule).parse
    if protocol == "rrm":
        return rrm.rrm({}, rule).parse
    return registry.protocol(JudgeConfig(rule=rule), protocol).parse


def verdict_reward(text: str, label: str, parse: Parse) -> float:
    """+1 where the text's verdict names the slot ``label`` ("0" or "1"), else -1, also without a verdict."""
    if label not in LABELS:
        raise ConfigError(
            f"the label {label!r} is no slot", hint='"0" or "1", as `jurist export` writes them'
        )
    scores = parse(Completion(text)).scores
    best = winner(scores) if scores else None
    return RIGHT if best is not None and str(best) == label else WRONG


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    protocol: str,
    family: rm_r1.Family | None = None,
    rule: Rule = "robust",
    **_: Any,
) -> dict[str, float]:
    """verl's custom reward function (0.9.1); the keywords are its ``reward_kwargs``.

    ``score`` is the reward, ``acc`` whether it is right, ``answered`` whether there was a verdict.
    """
    del data_source, extra_info
    parse = parser(protocol, family, rule)
    score = verdict_reward(solution_str, str(ground_truth), parse)
    answered = parse(Completion(solution_str)).scores is not None
    return {"score": score, "acc": float(score == RIGHT), "answered": float(answered)}


def openrlhf_reward(
    protocol: str, family: rm_r1.Family | None = None, rule: Rule = "robust"
) -> Callable[[Sequence[str], Sequence[str], Sequence[Any]], dict[str, Any]]:
    """The ``reward_func`` of a file for OpenRLHF's ``--reward.remote_url`` (0.11.2)."""
    from jurist.integrations.openrlhf import samples_of

    parse = parser(protocol, family, rule)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        torch: Any = import_module("torch")
        samples = samples_of(queries, prompts)
        rewards = [
            verdict_reward(sample.response, str(label), parse)
            for sample, label in zip(samples, labels, strict=True)
        ]
        right = torch.tensor([float(reward == RIGHT) for reward in rewards])
        return {"rewards": torch.tensor(rewards), "scores": right, "extra_logs": {"right": right}}

    return reward_func
