"""RM-R1's released training sets: splits rendered prompts into cases, and corrects a leak of the label.

Layouts and names follow RM-R1-UIUC/RM-R1 @d4c2542, ``rm_r1/dataset/mix_data/mix_data.py`` (prompts) and
``rm_r1/verl/utils/dataset/rl_dataset.py`` (columns).
"""

import re
from collections import Counter
from typing import NamedTuple

import msgspec

from jurist.core.errors import InputError
from jurist.core.types import Case, Completion, Conversation, Message, Response, Scores, winner
from jurist.inputs.lines import Fields, seen
from jurist.inputs.turns import shared_prompt
from jurist.protocols.verdicts import parse_letter

LABELS: dict[str, Scores] = {"model_a": (1.0, 0.0), "model_b": (0.0, 1.0)}

# The marks between the texts: of a question and two responses, and of two conversations.
_SINGLE = (
    "[Client Question]\n",
    "\n\n[The Start of Chatbot A's Response]\n",
    "\n[The End of Chatbot A's Response]\n\n[The Start of Chatbot B's Response]\n",
    "\n[The End of Chatbot B's Response]",
)
_MULTI = (
    "[The Start of the Conversation between Chatbot A and the Client]\n",
    "\n[The End of the Conversation between Chatbot A and the Client]\n\n"
    "[The Start of the Conversation between Chatbot B and the Client]\n",
    "\n[The End of the Conversation between Chatbot B and the Client]",
)
_SPEAKER = re.compile(r"^(User|Chatbot A|Chatbot B|Chabot B): ", re.MULTILINE)
_LEAK = re.compile(r"\bChabot B\b")


class Released(NamedTuple):
    """A case whose responses stand as they were shown, and what was found on the way.

    ``leak``: the misspelt name stood in the prompt, which tells the label; ``trace_leak``: it also stood
    in the trace, where it is mended.
    """

    case: Case
    leak: bool
    trace_leak: bool


def released(fields: Fields, name: str) -> Released:
    """A row of any of the released layouts.

    Columns: ``context_messages`` and ``winner``, which is the label or, beside ``ground_truth``, the trace
    to be learned. Prompts: with the system turn (family "instruct") or without ("reasoning"); a question
    and two responses, or two conversations. ``meta`` has ``layout``, ``order`` and perhaps ``trace``. Raises
    ``InputError`` where the prompt cannot be taken apart in one way only.
    """
    turns = _turns(fields)
    label, trace = _label(fields)
    layout = "instruct" if turns[0].role == "system" else "reasoning"
    user = turns[-1].content
    single, multi = (user.find(marks[0]) % (len(user) + 1) for marks in (_SINGLE, _MULTI))
    talks = multi < single
    prompt, responses, leak = _conversations(user) if talks else _question(user)
    meta: dict[str, object] = {
        "layout": f"{layout}, {'conversations' if talks else 'question'}",
        "order": [0, 1],
    }
    mended = trace and _LEAK.sub("Chatbot B", trace)
    if mended:
        meta["trace"] = mended
    case = Case(name, prompt, responses, LABELS[label], meta=meta)
    return Released(case, leak, mended != trace)


def count(released_row: Released, counts: Counter[str]) -> None:
    """Count layout, leaks by label, and whether traces end in the label."""
    case = released_row.case
    counts[f"layout {case.meta['layout']}"] += 1
    counts["label leaks mended"] += released_row.leak
    counts["label leaks mended, first response better"] += released_row.leak and case.gold == (1.0, 0.0)
    if "trace" in case.meta:
        said = winner(parse_letter(Completion(case.meta["trace"])).scores)
        verdict = (
            "no verdict"
            if said is None
            else "the label"
            if said == winner(case.gold)
            else "the other verdict"
        )
        counts[f"traces with {verdict}"] += 1
        counts["traces with the misspelt name mended"] += released_row.trace_leak


def _turns(fields: Fields) -> Conversation:
    try:
        turns = msgspec.convert(fields.get("context_messages"), tuple[Message, ...])
    except msgspec.ValidationError as error:
        raise InputError(
            f"context_messages: {error}; fields of the row: {', '.join(fields)}", _HINT
        ) from None
    if [turn.role for turn in turns] not in (["system", "user"], ["user"]):
        raise InputError(f"context_messages: is not [system, user] or [user], saw {len(turns)} turns", _HINT)
    return turns


_HINT = "the columns of the released sets are context_messages, winner and perhaps ground_truth"


def _label(fields: Fields) -> tuple[str, str | None]:
    truth, winning = fields.get("ground_truth"), fields.get("winner")
    label, trace = (winning, None) if truth is None else (truth, winning)
    if label not in LABELS:
        field = "winner" if truth is None else "ground_truth"
        raise InputError(f"{field}: is neither model_a nor model_b, saw {seen(label)}", _HINT)
    if trace in LABELS:
        trace = None  # the label a second time
    if trace is not None and not isinstance(trace, str):
        raise InputError(f"winner: is no trace, saw {seen(trace)}", _HINT)
    return label, trace


def _between(text: str, marks: tuple[str, ...]) -> list[str]:
    """The texts between the marks, each of which must occur once, in this order."""
    if wrong := next((mark for mark in marks if text.count(mark) != 1), None):
        times = "is missing" if wrong not in text else "occurs more than once"
        raise InputError(f"context_messages: {wrong.strip()!r} {times}", "a prompt of another layout")
    places = [text.index(mark) for mark in marks]
    if places != sorted(places):
        raise InputError("context_messages: the marks stand in another order", "a prompt of another layout")
    ends = [place + len(mark) for place, mark in zip(places, marks, strict=True)]
    return [text[begin:end] for begin, end in zip(ends, places[1:], strict=False)]


def _question(user: str) -> tuple[Conversation, tuple[Response, ...], bool]:
    question, first, second = _between(user, _SINGLE)
    return (Message("user", question),), (first, second), False


def _conversations(user: str) -> tuple[Conversation, tuple[Response, ...], bool]:
    texts = _between(user, _MULTI)
    first, second = (_dialogue(text, "AB"[i]) for i, text in enumerate(texts))
    leak = any(name == "Chabot B" for name in _SPEAKER.findall(texts[1]))
    prompt, responses = shared_prompt((first, second), ("conversation A", "conversation B"))
    return prompt, responses, leak


def _dialogue(text: str, letter: str) -> list[dict[str, str]]:
    """The turns of a conversation, as messages; raises where user and chatbot do not take turns to the end.

    A response with lines that read as whole turns cannot be told from turns.
    """
    parts = _SPEAKER.split(text)
    names, contents = parts[1::2], [content.removesuffix("\n") for content in parts[2::2]]
    speakers = {"Chatbot B", "Chabot B"} if letter == "B" else {"Chatbot A"}
    alternate = all((name == "User") == (i % 2 == 0) for i, name in enumerate(names))
    if parts[0] or not names or len(names) % 2 or not alternate or not speakers.issuperset(names[1::2]):
        raise InputError(
            f"conversation {letter}: its turns cannot be told apart, saw the speakers {', '.join(names)}",
            "a response that holds lines like 'User: ' looks like turns",
        )
    roles = ["user" if name == "User" else "assistant" for name in names]
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
