"""RRM (arXiv 2505.14674): the prompt of the published checkpoints, and its two official rules.

Prompts come from the published file (see ``jurist.protocols.published``); layout and rules follow
microsoft/LMOps @af6bc85, ``RRM-evaluation/rewardbench/generative.py`` and ``scripts/run_generative.py``, and
``gad/deepscaler/rewards/judge_reward.py`` @1133848.
"""

import re
from collections.abc import Mapping
from functools import partial

from jurist.core.errors import ProtocolError
from jurist.core.types import Case, Completion, Conversation, Message, Sampling, Verdict, response_text
from jurist.protocols.base import Parse, Protocol, Rule, VerdictSlot
from jurist.protocols.text import fill, flatten
from jurist.protocols.thinking_tags import unparted
from jurist.protocols.verdicts import box_spans, nothing, parse_box, pick

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
    """The official evaluation rule: the last box after the first ``</think>``, to the letter."""
    answer, box = _official_box(completion)
    if completion.finish == "error" or box not in ("Assistant 1", "Assistant 2"):
        return nothing(completion, answer, "" if answer else "nothing after the thinking")
    return pick(int(box[-1]) - 1)


def parse_train(completion: Completion) -> Verdict:
    """The training rule: a label inside the last box after the first ``</think>``.

    The official reward also compares a bare number in the box with the gold one; such a box is no verdict
    here, since every candidate may hold one.
    """
    answer, box = _official_box(completion)
    label = re.search(r"(?:Solution|Assistant) (\d+)", box)
    if completion.finish == "error" or label is None or label[1] not in ("1", "2"):
        return nothing(completion, answer, "" if answer else "nothing after the thinking")
    return pick(int(label[1]) - 1)


def _official_box(completion: Completion) -> tuple[str, str]:
    """What stands between the first and a second ``</think>``, and its last box ("": there is none).

    Only the last ``\\boxed`` counts: where it never closes, or its brace does not follow, there is none.
    """
    parts = _whole(completion).split("</think>")
    answer = parts[1] if len(parts) > 1 else ""
    _, boxed, tail = answer.rpartition(r"\boxed")
    if not boxed or not tail.startswith("{"):
        return answer, ""
    _, start, end = box_spans(boxed + tail)[0]
    return answer, (boxed + tail)[start:end] if end >= 0 else ""


def _whole(completion: Completion) -> str:
    """The text as the official harness saw it, with the ``<think>`` that the template had opened."""
    completion = unparted(completion)
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
