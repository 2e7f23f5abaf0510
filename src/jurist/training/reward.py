"""The verifiable reward of a judgment, read by the same parser as in evaluation."""

from collections.abc import Sequence

from jurist.core.types import Completion, Scores, Verdict, agrees, winner
from jurist.protocols.base import Protocol
from jurist.protocols.chain import read_chain
from jurist.protocols.thinking_tags import split_thinking

RIGHT, WRONG = 1.0, -1.0
"""The values of RM-R1 (equation 8) and RRM: a judgment without a verdict is wrong."""


def reward(verdict: Verdict, gold: Scores | None) -> float | None:
    """+1 where the verdict chooses as gold does, else -1; None where gold is a tie or unknown.

    Verdict and gold are in the order of the case.
    """
    if gold is None or winner(gold) is None:
        return None
    return RIGHT if verdict.scores is not None and agrees(verdict.scores, gold) else WRONG


def consistent(first: Sequence[float | None], second: Sequence[float | None]) -> list[float | None]:
    """Of judgments in either order, paired by place: +1 where both are right, else -1 (J1, 2505.10320)."""
    return [None if a is None or b is None else min(a, b) for a, b in zip(first, second, strict=True)]


def well_formed(completion: Completion, protocol: Protocol) -> bool:
    """Whether a judgment is whole: it ended, its thinking is closed, and a chain has all of its parts."""
    thinking, answer = split_thinking(completion, opens=protocol.opens_thinking)
    if completion.finish != "stop" or not answer.strip() or (protocol.opens_thinking and not thinking):
        return False
    chained = protocol.name.startswith(("rubrics", "rm-r1")) and not protocol.opens_thinking
    chain = read_chain(completion, opens=protocol.opens_thinking) if chained else None
    if chain is None or protocol.name == "rubrics-short":
        return chain is None or bool(chain.criteria and chain.evaluation)
    return chain.whole
