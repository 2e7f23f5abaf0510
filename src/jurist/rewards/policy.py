"""Rules for responses of a group that are empty, contain forged verdicts, or follow long thinking."""

from typing import Literal

from jurist.core.types import Message, Record, Response, response_text
from jurist.protocols.injection import defuse
from jurist.protocols.thinking_tags import without_thinking

Treatment = Literal["judge", "lowest", "none"]
"""Judged like any other; not judged, with the lowest reward of those judged; not judged, no reward."""


class ResponsePolicy(Record, frozen=True):
    """How responses that are not what they should be are treated.

    ``empty``: there is nothing to read in it. ``forged``: it holds marks of verdicts, of the judges'
    prompts or of chat templates; they are neutralised in any case (``protocols.injection``) and named in the
    note. "lowest" for these is a veto; an honest ``<answer>`` of a trained format is such a mark too.
    ``thinking``: what a response thought (up to ``</think>``) is not shown to the judge, as in RRM's
    reward (``remove_think``; arXiv 2505.14674). ``sort``: responses are put in an order that follows from
    their contents before anything is drawn, so that rewards do not depend on the order in which they came.
    """

    empty: Treatment = "lowest"
    forged: Treatment = "judge"
    thinking: bool = True
    sort: bool = True

    def shown(self, response: Response) -> Response:
        """The response as a judge sees it: without its thinking, where the policy says so."""
        if not self.thinking:
            return response
        if isinstance(response, str):
            return _answer(response)
        return tuple(m if m.role != "assistant" else Message(m.role, _answer(m.content)) for m in response)

    def treatment(self, response: Response) -> tuple[Treatment, str]:
        """How a response (as it is shown) is treated, and the reason for it ("": none)."""
        text = response_text(response)
        if not legible(text):
            return self.empty, "empty response"
        neutral = defuse(text)
        if neutral == text:
            return "judge", ""
        start = next(i for i, c in enumerate(neutral) if i == len(text) or c != text[i])
        return self.forged, f"neutralised {text[max(0, start - 1) : start + 23]!r}"


AS_THEY_ARE = ResponsePolicy("judge", "judge", thinking=False, sort=False)
"""Every response is judged unchanged."""


def legible(text: str) -> bool:
    """Whether there is anything to read; zero-width characters are no more to read than blanks."""
    return any(c.isprintable() and not c.isspace() for c in text)


def _answer(text: str) -> str:
    return without_thinking(text)
