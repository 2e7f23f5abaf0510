"""A judge of one reply in the shortest prompt: a rubric for the request, evidence, a rating from 1 to 5.

For small models that are trained for it. Each reply is assessed alone, so no place can be preferred and both
orders agree by construction; the two ratings are compared afterwards.
"""

from functools import partial

from jurist.core.types import Case, Conversation, Sampling
from jurist.protocols.base import Protocol, VerdictSlot, messages
from jurist.protocols.text import fill, flatten, turns_text
from jurist.protocols.verdicts import parse_rating

_SYSTEM = "Assess the reply: rubric, evidence, rating."

_USER = """\
[Request]
{question}

[Reply]
{reply}
[End of reply]"""

_LABELS = tuple("12345")


def pointwise_short() -> Protocol:
    """A rubric, the evidence for each criterion, and a rating from 1 to 5 of one response."""
    return Protocol(
        name="pointwise-short",
        summary="rubric, evidence, rating of one response, 1 to 5, for small models that are trained",
        arity=1,
        render=_render,
        parse=partial(parse_rating, low=1, high=5),
        # With one decimal two replies with the same findings tie, however the model's last digits fall.
        slot=VerdictSlot("<rating>", _LABELS, "</rating>", tuple(map(float, _LABELS)), decimals=1),
        sampling=Sampling(max_tokens=256),
    )


def _render(case: Case) -> Conversation:
    return messages(_SYSTEM, fill(_USER, question=flatten(case.prompt), reply=turns_text(case.responses[0])))
