"""The judge that is trained: its protocol, and the held-out pairs that it is measured on."""

from pathlib import Path

from jurist import catalog
from jurist.asking import Judge
from jurist.config import JudgeConfig
from jurist.engines.base import EngineBase, failed
from jurist.errors import ConfigError
from jurist.inputs import load_cases
from jurist.learning.held_out import HeldOut
from jurist.learning.models import Learner
from jurist.learning.options import GrpoOptions, TrainOptions
from jurist.types import Completion, Query


def judge_of(options: TrainOptions) -> Judge:
    """Renders and parses as the trained judge will; it cannot be asked. Raises for a protocol of no pairs."""
    rule = options.rule if isinstance(options, GrpoOptions) else "robust"
    if rule != "robust" and options.protocol not in ("rm-r1", "rrm"):
        raise ConfigError(
            f"rule = {rule} is an official rule of RM-R1 and RRM, {options.protocol!r} has none",
            hint="--rule robust, or --protocol rm-r1 or rrm",
        )
    config = JudgeConfig(
        engine="transformers",
        model=options.model,
        protocol=options.protocol,
        family=options.family,
        protocol_file=options.protocol_file,
        rule=rule,
    )
    protocol = catalog.protocol(config, options.protocol)
    if protocol.arity != 2:
        raise ConfigError(
            f"the protocol {protocol.name!r} does not judge pairs",
            hint="train with a protocol of pairs, such as --protocol rubrics",
        )
    return Judge(protocol, _Nobody(), seed=options.seed)


def held_out_pairs(options: TrainOptions, learner: Learner, out: Path, tokens: int) -> HeldOut | None:
    """The pairs of ``--held-out``, if there are any."""
    if options.held_out is None:
        return None
    return HeldOut(
        list(load_cases(str(options.held_out))),
        judge_of(options).protocol,
        learner.chat,
        out=out / "held-out",
        limit=options.eval_limit,
        max_tokens=tokens,
        context=learner.context,
        eos=learner.eos,
        facts={"engine": "training", "model": options.model, "protocol": options.protocol,
               "deliberation": "swapped", "input": str(options.held_out)},
    )  # fmt: skip


class _Nobody(EngineBase):
    """Stands where a judge is only rendered and parsed."""

    async def __call__(self, query: Query) -> Completion:
        return failed(f"nobody answers {query.case_id}")
