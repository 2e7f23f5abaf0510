"""Difficulty of a pair: the share of a judge's samples that prefer the better response."""

from jurist.core.errors import ConfigError, InputError
from jurist.core.types import Case, Decision, Record, Status, winner


class Difficulty(Record, frozen=True, omit_defaults=False):
    """Of ``samples`` judgments ``right`` named the better response, ``unresolved`` gave no verdict.

    ``rate`` is right / samples: a sample without a verdict did not solve the pair. Calls that failed are
    no samples; without any there is no rate.
    """

    samples: int
    right: int
    unresolved: int

    @property
    def rate(self) -> float | None:
        """The pass rate."""
        return self.right / self.samples if self.samples else None


def difficulty(decision: Decision) -> Difficulty:
    """The judgments of a decision against its gold; both in the order of the case."""
    samples = [j.verdict for j in decision.final_judgments if j.verdict.status is not Status.FAILED]
    best = winner(decision.gold)
    right = sum(v.scores is not None and winner(v.scores) == best for v in samples)
    return Difficulty(len(samples), right, sum(v.scores is None for v in samples))


def check_pair(case: Case) -> Case:
    """The case; raises ``InputError`` unless it is a pair whose better response is known."""
    if len(case.responses) != 2 or winner(case.gold) is None:
        raise InputError(
            f"case {case.id!r} is no pair with a better response", "prepare it: jurist data pairs"
        )
    return case


def range_of(text: str) -> tuple[float, float]:
    """The ends of ``0.1..0.9``, both included; raises ``ConfigError``."""
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = (1.0, 0.0)
    if not 0 <= ends[0] <= ends[1] <= 1:
        raise ConfigError(f"--keep {text!r} is no range of pass rates", "for example --keep 0.1..0.9")
    return ends
