"""Where the thinking of a completion ends: the marks of the model families, open or closed."""

import re
from collections.abc import Iterable

from msgspec.structs import replace

from jurist.core.types import Completion

_NAME = (
    r"(?:[a-z]\w{0,20}[:_])?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)(?:[:_][\w.-]{1,40})?"
)
# The families' marks, as their chat templates and vLLM's parsers (vllm/reasoning) name them.
_OPENINGS = (
    rf"<\s*{_NAME}\s*>",  # <think>, <thinking>, <reasoning>, <seed:think>, <longcat_think>
    r"\[THINK\]",  # Magistral
    r"\[unused16\]",  # Pangu
    r"◁think▷",  # Kimi
    r"<\|(?:START_THINKING|inner_prefix|begin_of_thought|think(?:ing)?)\|>",  # Command, Apertus, Solar
    # gpt-oss: every channel but the final one
    r"<\|channel\|>(?!\s*final)(?:[^<]{1,80}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>)?",
    r"<\|channel>(?:thought\s)?",  # Gemma
)
_CLOSINGS = (
    rf"<\s*/\s*{_NAME}\s*>",
    r"\[/THINK\]",
    r"\[unused17\]",
    r"◁/think▷",
    r"<\|(?:END_THINKING|inner_suffix|end_of_thought|/think(?:ing)?|content)\|>"
    r"(?:\s*<\|(?:START_(?:RESPONSE|TEXT)|begin_of_solution)\|>)?",
    r"<\|channel\|>\s*final[^<]{0,100}(?:<\|constrain\|>[^<]{0,100})?<\|message\|>",
    r"<channel\|>",
)
THINKING_MARKS = _OPENINGS + _CLOSINGS
_MARK = re.compile("|".join(THINKING_MARKS), re.I)
_BEGINNINGS = "<[◁"
"""The characters with which marks begin."""
_FEW = 32
"""Up to so many beginnings are looked at one by one: finding them takes a hundredth of a search for marks."""
_CLOSING = re.compile("|".join(_CLOSINGS), re.I)
# Words that open the thinking where a completion begins with them, and the words that then close it:
# Granite 3, and gpt-oss where the server left its control tokens out.
_HERE_IS = r"Here(?: i|['’])s my"
_WORDS = (
    (re.compile(rf"\s*{_HERE_IS} thought process:"), re.compile(rf"{_HERE_IS} response:")),
    (re.compile(r"\s*(?:assistant)?analysis(?=\w)"), re.compile(r"assistantfinal")),
)
THINKING_WORDS = re.compile(
    rf"{_HERE_IS} (?:thought process|response):|assistantfinal|\A\s*(?:assistant)?analysis(?=\w)"
)
"""The same words anywhere, also where they open or close nothing."""
# What closes an opening mark of a family whose closing mark is not its own with a slash.
_CLOSED_BY = {
    "[unused16]": "[unused17]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|think|>": "<|end|><|begin|>assistant<|content|>",
    "<|channel|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel>": "<channel|>",
    "Here": "\n\nHere is my response:",
    "analysis": "assistantfinal",
    "assistantanalysis": "assistantfinal",
}
_Span = tuple[int, int]
"""(start, end) in a text."""
_TURN = re.compile(r"(?:<\|end\|>)?(?:<\|(?:start|begin)\|>assistant)?\Z")


def split_thinking(completion: Completion, *, opens: bool = False) -> tuple[str, str]:
    """(thinking, answer) of a completion: nothing inside the thinking counts as an answer.

    The answer begins after the last mark that closes a thinking, and ends where another one opens. Where the
    template opens the thinking (``opens``), a text that was cut before it closed has no answer; a text that
    stopped by itself is one.
    """
    completion = unparted(completion)
    parted = completion.thinking is not None
    openings, closings = _spans(completion.text)
    closed, answer_start = _last_closing(completion.text, closings)
    head, answer = completion.text[:closed], completion.text[answer_start:]
    if opens and not parted and not answer_start and completion.finish != "stop":
        head, answer = completion.text, ""
    opening = _first_opening(head.strip())
    thinking = head.strip()[opening[1] :] if opening and opening[0] == 0 else head.strip()
    if completion.thinking is not None:
        # A server that parts them at the first closing mark leaves a second one in the text.
        thinking = f"{completion.thinking}\n{thinking}".strip() if thinking else completion.thinking
    opening = _first_opening(answer) if answer_start or not answer else next(iter(openings), None)
    if opening:
        thinking = f"{thinking}\n{answer[opening[1] :]}" if thinking else answer[opening[1] :]
        answer = answer[: opening[0]]
    return thinking, answer


def closed_thinking(completion: Completion, *, opens: bool = False) -> tuple[str, str]:
    """(the assistant's turn up to the end of its thinking, closed; the answer so far).

    The first is empty where nothing was thought. The marks are the completion's own, else ``<think>`` tags;
    what the template opened (``opens``) is closed only, also where nothing was thought.
    """
    thinking, answer = split_thinking(completion, opens=opens)
    if not thinking.strip() and not opens:
        return "", answer
    text = unparted(completion).text.lstrip()
    span = None if opens else _first_opening(text)
    opening = text[: span[1]] if span and span[0] == 0 else "<think>"
    closing = next((c for o, c in _CLOSED_BY.items() if opening.lower().startswith(o.lower())), None)
    closing = closing or re.sub(r"^([<\[◁])\s*", r"\1/", opening)
    # Tags stand on lines of their own.
    line = "\n" if opening.startswith("<") and not opening.startswith("<|") else ""
    return f"{'' if opens else opening + line}{thinking.strip()}{line}{closing}\n\n", answer


def unparted(completion: Completion) -> Completion:
    """The completion with its thinking as its text, where a server delivered the whole answer as reasoning.

    Reasoning parsers do that to a text that never closes its thinking (content null, finish "stop").
    """
    if completion.thinking and completion.finish == "stop" and not completion.text.strip():
        return replace(completion, text=completion.thinking, thinking=None)
    return completion


def without_thinking(response: str) -> str:
    """A candidate's text without the thinking that it begins with; every other text as it is.

    Thinking begins with an opening mark, or with the text where its template had opened it; what is left
    begins after the first closing mark. Thinking that never closes leaves nothing. A mark in the middle of a
    text that began otherwise is what the text is about.
    """
    if not _may_mark(response):
        return response
    openings, closings = _spans(response)
    marks = sorted([*((span, False) for span in openings), *((span, True) for span in closings)])
    if not marks:
        return response
    (start, _), closes = marks[0]
    if not closes and response[:start].strip():
        return response
    return next((response[end:].strip() for (_, end), closing in marks if closing), "")


def _last_closing(text: str, closings: Iterable[_Span]) -> _Span:
    """The last mark that closes a thinking, with the turn that it ends; (0, 0) where there is none."""
    start, end = max(closings, default=(0, 0))
    turn = _TURN.search(text, max(0, start - 40), start)
    return turn.start() if turn else start, end


def _first_opening(text: str) -> _Span | None:
    """The first mark that opens a thinking."""
    return next(iter(_spans(text)[0]), None)


def _may_mark(text: str) -> bool:
    """Whether a mark or words of thinking may stand in a text."""
    return any(first in text for first in _BEGINNINGS) or any(opening.match(text) for opening, _ in _WORDS)


def _marks(text: str) -> list[re.Match[str]]:
    """The marks in a text, in order; none begins within another."""
    places: list[int] = []
    for first in _BEGINNINGS:
        at = text.find(first)
        while at >= 0:
            places.append(at)
            if len(places) > _FEW:
                return list(_MARK.finditer(text))
            at = text.find(first, at + 1)
    marks: list[re.Match[str]] = []
    for at in sorted(places):
        if (not marks or at >= marks[-1].end()) and (mark := _MARK.match(text, at)):
            marks.append(mark)
    return marks


def _spans(text: str) -> tuple[list[_Span], list[_Span]]:
    """(what opens a thinking, what closes one) in a text: words first, then marks in their order."""
    openings: list[_Span] = []
    closings: list[_Span] = []
    for opening, closing in _WORDS:
        if words := opening.match(text):
            openings.append(words.span())
            closings += [found.span() for found in closing.finditer(text)]
    for mark in _marks(text):
        (closings if _CLOSING.fullmatch(mark[0]) else openings).append(mark.span())
    return openings, closings
