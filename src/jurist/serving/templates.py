"""Prompts that come as templated text: their turns, and the ends of responses."""

import re

from jurist.core.types import Conversation, Message

_ENDS = re.compile(
    r"(?:\s*(?:<\|[^\s<>|]{1,80}\|>|<｜[^\s<>｜]{1,80}｜>|</s>|<eos>|<pad>|<end_of_turn>))+\s*\Z"
)
_TEMPLATES = (
    # ChatML (Qwen), Llama 3.
    re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\s*", re.S),
    re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n(.*?)<\|eot_id\|>", re.S),
)
_OPEN = (
    re.compile(r"<\|im_start\|>assistant\n(?:<think>\n(?:\s*</think>\s*)?)?\Z"),
    re.compile(r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n\Z"),
)
_STARTS = re.compile(r"\A(?:\s*(?:<\|begin_of_text\|>|<\|endoftext\|>|<s>|<bos>))*\s*")


def turns_of(text: str) -> Conversation | None:
    """The turns of a prompt in ChatML or Llama 3's template; None where it is in neither as a whole."""
    text = _STARTS.sub("", text)
    for turn, opened in zip(_TEMPLATES, _OPEN, strict=True):
        body = opened.sub("", text)
        found = list(turn.finditer(body))
        if found and "".join(m[0] for m in found) == body:
            return tuple(Message(m[1], m[2]) for m in found)
    return None


def without_ends(response: str) -> str:
    """A response without the special tokens at its end."""
    return _ENDS.sub("", response)
