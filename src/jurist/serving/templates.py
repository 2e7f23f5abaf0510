"""Prompts that come as templated text: their turns, and the ends of responses. All in linear time."""

import re

from jurist.core.types import Conversation, Message

TEMPLATES = "the chat template of ChatML, Llama 3, Gemma or Mistral"
"""The templates that are known, for messages."""

_STARTS = ("<|begin_of_text|>", "<|endoftext|>", "<s>", "<bos>")
_END = re.compile(r"(?:<\|[^\s<>|]{1,80}\|>|<｜[^\s<>｜]{1,80}｜>|</s>|<eos>|<pad>|<end_of_turn>)\Z")
_LONGEST_END = 84

# The head of a turn, its end, and what may stand in the place of a last turn: a turn that is to be written.
_MARKED = (
    (
        re.compile(r"<\|im_start\|>(\w{1,40})\n"),
        "<|im_end|>",
        re.compile(r"<\|im_start\|>assistant\n(?:<think>\n(?:\s{0,8}</think>\s{0,8})?)?\Z"),
    ),
    (
        re.compile(r"<\|start_header_id\|>(\w{1,40})<\|end_header_id\|>\n\n"),
        "<|eot_id|>",
        re.compile(r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n\Z"),
    ),
    (
        re.compile(r"<start_of_turn>(\w{1,40})\n"),
        "<end_of_turn>",
        re.compile(r"<start_of_turn>model\n\Z"),
    ),
)


def turns_of(text: str) -> Conversation | None:
    """The turns of a prompt in one of the known templates; None where it is in none as a whole."""
    at = _past_blanks(text, 0)
    while start := next((s for s in _STARTS if text.startswith(s, at)), None):
        at = _past_blanks(text, at + len(start))
    if text.startswith("[INST]", at):
        return _mistral(text[at:])
    for head, end, opening in _MARKED:
        if head.match(text, at):
            return _marked(text, at, head, end, opening)
    return None


def without_ends(response: str) -> str:
    """A response without the special tokens at its end."""
    stop = cut = len(response)
    while True:
        while stop and response[stop - 1].isspace():
            stop -= 1
        m = _END.search(response[max(0, stop - _LONGEST_END) : stop])
        if m is None:
            return response if cut == len(response) else response[:stop]
        stop = cut = stop - len(m[0])


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _marked(
    text: str, at: int, head: re.Pattern[str], end: str, opening: re.Pattern[str]
) -> Conversation | None:
    """The turns of a template in which every turn names its role."""
    turns: list[Message] = []
    while at < len(text) and not opening.match(text, at):
        m = head.match(text, at)
        stop = text.find(end, m.end()) if m else -1
        if not m or stop < 0:
            return None
        turns.append(Message("assistant" if m[1] == "model" else m[1], text[m.end() : stop]))
        at = _past_blanks(text, stop + len(end))
    return tuple(turns) or None


def _mistral(text: str) -> Conversation | None:
    """``[INST] question [/INST] answer</s>``, any number of times; a system text is in the first question."""
    turns: list[Message] = []
    for part in text.split("[INST]")[1:]:
        question, closed, answer = part.partition("[/INST]")
        if not closed or "[/INST]" in answer:
            return None
        turns.append(Message("user", question.strip()))
        if answer := answer.strip().removesuffix("</s>").strip():
            turns.append(Message("assistant", answer))
    return tuple(turns)
