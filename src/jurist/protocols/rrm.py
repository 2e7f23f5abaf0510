"""RRM (arXiv 2505.14674): the prompt of the published checkpoints, and its two official rules.

Prompts come from the published file (see ``jurist.published``); layout and rules follow
microsoft/LMOps @af6bc85, ``RRM-evaluation/rewardbench/generative.py``, and the training extractor
``gad/deepscaler/rewards/judge_extractor.py``.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Literal

from jurist.errors import ProtocolError
from jurist.protocols.base import Parse, Protocol, VerdictSlot, flatten
from jurist.protocols.rubrics import fill
from jurist.protocols.verdicts import boxes, nothing, parse_box, pick
from jurist.types import Case, Completion, Conversation, Message, Sampling, Verdict, response_text

Rule = Literal["robust", "eval", "train"]
SOURCE = "microsoft/LMOps @af6bc85 (MIT), RRM-evaluation/rewardbench/generative.py"
_SLOT = VerdictSlot(before=r"\boxed{Assistant ", labels=("1", "2"), after="}")


def rrm(strings: Mapping[str, str], rule: Rule = "robust") -> Protocol:
    """RRM with its exact prompt; the chat template of its checkpoints opens ``<think>``."""
    rules: dict[str, Parse] = {
        "robust": partial(parse_box, opens=True),
        "eval": parse_eval,
        "train": parse_train,
    }
    return Protocol(
        name="rrm",
        summary="RRM checkpoints, exact prompt",
        arity=2,
        render=partial(_render, strings),
        parse=rules[rule],
        slot=_SLOT,
        source=SOURCE,
        sampling=Sampling(temperature=0.6, max_tokens=8192),
        opens_thinking=True,
    )


def parse_eval(completion: Completion) -> Verdict:
    """The official evaluation rule: last box between the first and a second ``</think>``, to the letter."""
    parts = _whole(completion).split("</think>")
    found = boxes(parts[1]) if len(parts) > 1 else []
    label = found[-1] if found else ""
    if completion.finish == "error" or label not in ("Assistant 1", "Assistant 2"):
        return nothing(completion, parts[-1], "" if len(parts) > 1 else "the thinking never closed")
    return pick(int(label[-1]) - 1)


def parse_train(completion: Completion) -> Verdict:
    """The training rule: a label inside the last box after the last ``</think>``."""
    _, closed, answer = _whole(completion).rpartition("</think>")
    found = boxes(answer) if closed else []
    label = re.search(r"(?:Solution|Assistant) (\d+)", found[-1]) if found else None
    if completion.finish == "error" or label is None or label[1] not in ("1", "2"):
        return nothing(completion, answer, "" if closed else "the thinking never closed")
    return pick(int(label[1]) - 1)


def _whole(completion: Completion) -> str:
    """The text as the official harness saw it, with the ``<think>`` that the template had opened."""
    if completion.thinking is None:
        return "<think>" + completion.text
    return f"<think>{completion.thinking}</think>{completion.text}"


def _render(strings: Mapping[str, str], case: Case) -> Conversation:
    if len(case.prompt) > 1 or any(not isinstance(r, str) and len(r) > 1 for r in case.responses):
        raise ProtocolError(
            f"case {case.id!r} has several turns; the protocol 'rrm' was published for one turn only",
            hint="judge it with --protocol rubrics, or flatten the conversation into one prompt",
        )
    first, second = (response_text(r) for r in case.responses)
    user = fill(strings["user"], question=flatten(case.prompt), answer1=first, answer2=second)
    return Message("system", strings["system"]), Message("user", user)
