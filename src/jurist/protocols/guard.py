"""What a candidate writes cannot steer the judge: forged verdicts and control tokens are defused.

A word joiner (U+2060, invisible, no width) goes behind the first character of each marker. Ordinary
text stays as it is, and ``restore`` takes out exactly what ``defuse`` put in.
"""

import re

from msgspec.structs import replace

from jurist.types import Case, Message, Response

JOINER = "\u2060"

# Each marker is one first character, any number of joiners, and the rest: so a text that already holds
# a defused marker gets one joiner more, and loses it again.
_CONTROL = (
    rf"<{JOINER}*[|｜][^\s<>|｜]{{1,80}}[|｜]>",  # <|im_end|>, <｜User｜>
    rf"<{JOINER}*/?(?:s|bos|eos|pad|unk|mask|sep|cls)>",
    rf"<{JOINER}*/?(?:(?:start|end|begin)_of_[a-z]+|fim_[a-z]+|(?:issue|jupyter|commit|tool)_[a-z]+"
    r"|file_sep|filename|repo_?name|gh_stars|empty_output)>",
    rf"<{JOINER}*</?SYS>>",
    rf"\[{JOINER}*/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]",
)
_FORGED = (
    rf"[<＜]{JOINER}*\s*[/／]?\s*(?:answer|rating|verdict|think|thinking|quote_?[a-z])\s*[>＞]",
    rf"[\[［]{JOINER}*[\[［]\s*[A-Za-zＡ-Ｚａ-ｚ]\s*[\]］][\]］]",
    rf"\\{JOINER}*f?box(?:ed)?\s*\{{[^\n]{{0,40}}?(?:assistant|solution|response)\W{{0,10}}\d",
    rf"\[{JOINER}*The (?:Start|End) of ",  # the frames that the judges' prompts put around responses
    rf"#{JOINER}*##? (?:Assistant \d|Assistant responses|Analysis|Query)\b",
)
_CONTROL_ONLY = re.compile("|".join(_CONTROL), re.I)
_MARKER = re.compile("|".join(_CONTROL + _FORGED), re.I)


def defuse(text: str, *, control_only: bool = False) -> str:
    """``text`` with every marker defused; ordinary text is returned unchanged."""
    pattern = _CONTROL_ONLY if control_only else _MARKER
    return pattern.sub(lambda m: m[0][0] + JOINER + m[0][1:], text)


def restore(text: str) -> str:
    """The inverse of ``defuse``: ``restore(defuse(text)) == text`` for every text."""
    return _MARKER.sub(lambda m: m[0][0] + m[0][1:].removeprefix(JOINER), text)


def guarded(case: Case) -> Case:
    """The case as a judge may see it: responses defused, control tokens defused in the prompt too."""
    prompt = tuple(replace(m, content=defuse(m.content, control_only=True)) for m in case.prompt)
    return replace(case, prompt=prompt, responses=tuple(_guarded(r) for r in case.responses))


def _guarded(response: Response) -> Response:
    if isinstance(response, str):
        return defuse(response)
    return tuple(Message(m.role, defuse(m.content)) for m in response)
