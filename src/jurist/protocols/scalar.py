"""A scalar reward model as a judge of one response: it reads the conversation and returns a number."""

import math

from jurist.core.types import Case, Completion, Conversation, Message, Verdict
from jurist.protocols.base import Protocol, VerdictSlot
from jurist.protocols.injection import defuse, restore
from jurist.protocols.verdicts import nothing

# A reward model writes nothing, so no verdict can be read from labels' probabilities.
_NO_SLOT = VerdictSlot(before="", labels=(), after="", values=())


def scalar() -> Protocol:
    """The raw score of one response by a sequence classifier with one output.

    The query is the prompt's turns and then the response's, and nothing else: what such a model was
    trained on. Reference and rubric are not shown. A response is sent as it was written, forged verdicts
    and thinking tags included, since no verdict is read from a text here. Only control tokens of chat
    templates keep the invisible joiner that ``injection`` puts into them, so that no response can end its own
    turn on a server that recognises them in texts.

    Scores have the unit of the model, and no bounds; sampling and a thinking budget mean nothing to it,
    and a forced verdict leaves the number as it is.
    """
    return Protocol(
        name="scalar",
        summary="raw score of one response by a scalar reward model",
        arity=1,
        render=_render,
        parse=parse_score,
        slot=_NO_SLOT,
    )


def parse_score(completion: Completion) -> Verdict:
    """The number that is the completion's whole text; anything else, NaN and infinity are unparsed."""
    text = completion.text.strip()
    if completion.finish != "stop":
        return nothing(completion, text)
    try:
        score = float(text)
    except ValueError:
        return nothing(completion, text, f"not a number: {text[:80]!r}")
    if not math.isfinite(score):
        return nothing(completion, text, f"the score is {score}")
    return Verdict((score,))


def _render(case: Case) -> Conversation:
    response = case.responses[0]
    turns = (Message("assistant", response),) if isinstance(response, str) else response
    return (*case.prompt, *[Message(m.role, _as_written(m.content)) for m in turns])


def _as_written(text: str) -> str:
    """A guarded text without its joiners, except those in control tokens."""
    return defuse(restore(text), control_only=True)
