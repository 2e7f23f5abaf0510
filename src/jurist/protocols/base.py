"""A protocol: a renderer, a parser, and the words around its verdict."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from jurist.core.types import Case, Completion, Conversation, Message, Sampling, Scores, Verdict
from jurist.protocols.text import plain
from jurist.protocols.thinking_tags import closed_thinking

Render = Callable[[Case], Conversation]
Parse = Callable[[Completion], Verdict]
Rule = Literal["robust", "eval", "train"]
"""How a verdict is read: by our rule, or by a published family's rule of evaluation or of training."""


@dataclass(frozen=True, slots=True)
class VerdictSlot:
    """The words around a verdict: ``before``, one of ``labels``, ``after``.

    Labels are single tokens in the usual vocabularies. ``values`` turns them into a rating (its
    expectation); without values there is one label per response (the first n of them), and their
    probabilities are the scores. ``decimals`` is how many a rating keeps: by less, two do not differ.
    """

    before: str
    labels: tuple[str, ...]
    after: str
    values: tuple[float, ...] | None = None
    decimals: int | None = None

    def labels_of(self, n: int) -> tuple[str, ...]:
        """The labels that n responses can have."""
        return self.labels if self.values else self.labels[:n]

    def scores(self, logprobs: Mapping[str, float], n: int | None = None) -> Scores | None:
        """Soft scores in slot order from the labels' natural-log probabilities; None if one is unusable.

        ``n`` is the number of responses, where it is not that of the labels.
        """
        labels = self.labels if n is None else self.labels_of(n)
        logs = [logprobs.get(label, math.nan) for label in labels]
        top = max(logs)
        if any(math.isnan(x) for x in logs) or math.isinf(top):
            return None
        weights = [math.exp(x - top) for x in logs]
        shares = [w / sum(weights) for w in weights]
        if self.values is None:
            return tuple(shares)
        rating = sum(v * s for v, s in zip(self.values, shares, strict=True))
        return (rating if self.decimals is None else round(rating, self.decimals),)


@dataclass(frozen=True, slots=True)
class Protocol:
    """A family of judges, as two pure functions.

    ``render`` takes a case whose responses are in slot order; ``parse`` answers in slot order.
    ``arity`` is the number of responses per call (0: any number from two on). ``opens_thinking``: the
    chat template of the family already opens ``<think>``, so a completion holds only ``</think>``.
    """

    name: str
    summary: str
    arity: int
    render: Render
    parse: Parse
    slot: VerdictSlot
    source: str = "worded by this project"
    sampling: Sampling = field(default_factory=Sampling)
    opens_thinking: bool = False

    def prefill(self, completion: Completion) -> str:
        """The assistant turn so far, its thinking closed, up to the place where the verdict stands."""
        turn, answer = closed_thinking(completion, opens=self.opens_thinking)
        answer = answer[: _verdict_start(answer, self.slot.before)].strip()
        return turn + "\n\n".join([answer, self.slot.before] if answer else [self.slot.before])


def messages(system: str, user: str) -> Conversation:
    """A system turn and a user turn."""
    return Message("system", system), Message("user", user)


def _verdict_start(text: str, before: str) -> int:
    """Where a verdict that the text already gives (or began) opens; its end where there is none."""
    opening = re.match(r"[^>{]*[>{]?", before)
    letters = opening[0].replace(" ", "") if opening else before
    openings = list(re.finditer(r"\s*".join(map(re.escape, letters)), plain(text), re.I))
    return openings[-1].start() if openings else len(text)
