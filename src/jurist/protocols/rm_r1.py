"""RM-R1 (arXiv 2505.02387): the prompts of the published checkpoints, and its two official rules.

Prompts come from the published file (see ``jurist.protocols.published``); layout and rules follow
RM-R1-UIUC/RM-R1 @d4c2542, ``eval/*/rewardbench/generative.py`` and
``rm_r1/verl/utils/reward_score/lm_as_judge.py``.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal

from jurist.core.types import (
    Case,
    Completion,
    Conversation,
    Message,
    Response,
    Sampling,
    Verdict,
    response_text,
)
from jurist.protocols.base import Parse, Protocol, Rule
from jurist.protocols.rubrics import SLOT
from jurist.protocols.text import fill, speaker, without_speakers
from jurist.protocols.thinking_tags import unparted
from jurist.protocols.verdicts import nothing, parse_letter, pick

Family = Literal["instruct", "reasoning"]
SOURCE = "RM-R1-UIUC/RM-R1 @d4c2542 (Apache-2.0), eval/reward-bench/rewardbench/generative.py"


def rm_r1(strings: Mapping[str, str], family: Family, rule: Rule = "robust") -> Protocol:
    """RM-R1 with its exact prompts: ``instruct`` (system prompt) or ``reasoning`` (user turn only)."""
    thinks = family == "reasoning"
    rules: dict[str, Parse] = {
        "robust": partial(parse_letter, opens=thinks),
        "eval": parse_eval,
        "train": parse_train,
    }
    return Protocol(
        name=f"rm-r1-{family}",
        summary=f"RM-R1 checkpoints, {family} family, exact prompts",
        arity=2,
        render=partial(_render, strings, family),
        parse=rules[rule],
        slot=SLOT,
        source=SOURCE,
        sampling=Sampling(max_tokens=8192),
        opens_thinking=thinks,
    )


def guess_family(model: str) -> Family:
    """The family that a checkpoint's name suggests: DeepSeek-distilled ones reason, others follow."""
    name = model.lower()
    return "reasoning" if "deepseek" in name or "distill" in name or "r1-d" in name else "instruct"


def parse_eval(completion: Completion) -> Verdict:
    """The official evaluation rule: a label anywhere, thinking included; both labels are an error."""
    text = _everything(completion)
    a, b = "[[A]]" in text, "[[B]]" in text
    if a == b or completion.finish == "error":
        return nothing(completion, text, "both verdicts in the text" if a and b else "")
    return pick(0 if a else 1)


def parse_train(completion: Completion) -> Verdict:
    """The training rule: the exact tag, alone, in the last 80 characters."""
    tail = _everything(completion)[-80:]
    a, b = "<answer>[[A]]</answer>" in tail, "<answer>[[B]]</answer>" in tail
    if a == b or completion.finish == "error":
        return nothing(completion, tail, "not exactly one verdict tag in the last 80 characters")
    return pick(0 if a else 1)


def _everything(completion: Completion) -> str:
    completion = unparted(completion)
    if completion.thinking is None:
        return completion.text
    return f"{completion.thinking}</think>{completion.text}"


def _render(strings: Mapping[str, str], family: Family, case: Case) -> Conversation:
    turns = "_multi_turn" if _is_multi_turn(case) else ""
    if turns:
        first, second = (_dialogue(case, i) for i in (0, 1))
        parts = {"conversation_1": first, "conversation_2": second}
    else:
        first, second = (response_text(r) for r in case.responses)
        parts = {"question": case.prompt[-1].content, "answer_a": first, "answer_b": second}
    user = Message("user", fill(strings[f"{family}_user{turns}"], **parts))
    return (Message("system", strings["instruct_system"]), user) if family == "instruct" else (user,)


def _is_multi_turn(case: Case) -> bool:
    long = any(not isinstance(r, str) and len(r) > 1 for r in case.responses)
    return long or len(case.prompt) > 1


def _dialogue(case: Case, slot: int) -> str:
    """Every turn on its own line, as RMB's runner joins them (``run_generative.py:183-199``)."""
    response: Response = case.responses[slot]
    turns = (
        (*case.prompt, Message("assistant", response))
        if isinstance(response, str)
        else case.prompt + response
    )
    chatbot = f"Chatbot {'AB'[slot]}"
    lines = ((speaker(m.role, chatbot), without_speakers(m.content)) for m in turns)
    return "\n".join(f"{name[:1].upper()}{name[1:]}: {content}" for name, content in lines)
