"""What a protocol is: a renderer, a parser and the place where its verdict stands."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jurist.types import Case, Completion, Conversation, Message, Sampling, Scores, Verdict

Render = Callable[[Case], Conversation]
Parse = Callable[[Completion], Verdict]


@dataclass(frozen=True, slots=True)
class VerdictSlot:
    """Where a verdict stands in the text: ``before``, one of ``labels``, ``after``.

    Labels are single tokens in the usual vocabularies. ``values`` turns them into a rating (its
    expectation); without values there is one label per response, and their probabilities are the scores.
    """

    before: str
    labels: tuple[str, ...]
    after: str
    values: tuple[float, ...] | None = None

    def scores(self, logprobs: Mapping[str, float]) -> Scores | None:
        """Soft scores in slot order from the labels' natural-log probabilities; None if one is unusable."""
        logs = [logprobs.get(label, math.nan) for label in self.labels]
        top = max(logs)
        if any(math.isnan(x) for x in logs) or math.isinf(top):
            return None
        weights = [math.exp(x - top) for x in logs]
        shares = [w / sum(weights) for w in weights]
        if self.values is None:
            return tuple(shares)
        return (sum(v * s for v, s in zip(self.values, shares, strict=True)),)


@dataclass(frozen=True, slots=True)
class Protocol:
    """A family of judges, as two pure functions.

    ``render`` takes a case whose responses are in slot order; ``parse`` answers in slot order.
    ``arity`` is the number of responses per call. ``opens_thinking``: the chat template of the family
    already opens ``<think>``, so a completion holds only ``</think>``.
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
        thinking, answer = split_thinking(completion, opens=self.opens_thinking)
        answer = answer[: _verdict_start(answer, self.slot.before)].rstrip()
        parts = [answer, self.slot.before] if answer else [self.slot.before]
        body = "\n\n".join(parts)
        if not thinking:
            return body
        opening = "" if self.opens_thinking else "<think>\n"
        return f"{opening}{thinking.strip()}\n</think>\n\n{body}"


def split_thinking(completion: Completion, *, opens: bool = False) -> tuple[str, str]:
    """(thinking, answer) of a completion: nothing inside the thinking counts as an answer.

    The answer begins after the last ``</think>``. Thinking that never closed has no answer; where the
    template opens it (``opens``), a text that stopped by itself without a closing tag is an answer.
    """
    if completion.thinking is not None:
        return completion.thinking, completion.text
    text = completion.text
    head, closed, tail = text.rpartition("</think>")
    if closed:
        return head.strip().removeprefix("<think>"), tail
    start = text.find("<think>")
    if start >= 0:
        return text[start + len("<think>") :], text[:start]
    if opens and completion.finish != "stop":
        return text, ""
    return "", text


def flatten(prompt: Conversation) -> str:
    """One question from a conversation: its only user turn, or every turn with its speaker's name."""
    if len(prompt) == 1:
        return prompt[0].content
    names = {"user": "User", "assistant": "Assistant", "system": "System"}
    return "\n\n".join(f"{names.get(m.role, m.role)}: {m.content}" for m in prompt)


def messages(system: str, user: str) -> Conversation:
    """A system turn and a user turn."""
    return Message("system", system), Message("user", user)


def _verdict_start(text: str, before: str) -> int:
    """Where a verdict that the text already gives begins; its end where there is none."""
    found = text.rfind(before)
    return found if found >= 0 else len(text)
