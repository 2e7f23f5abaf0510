"""The second pass: the prompt by which a repairer, who sees the label, rewrites a rejected chain."""

import re
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from jurist.core.types import Case, Completion, Conversation, Order, Verdict
from jurist.protocols.base import Protocol
from jurist.protocols.injection import defuse
from jurist.protocols.text import fill
from jurist.protocols.thinking_tags import split_thinking

_ASK = """\
{task}

[Note to the writer]
Somebody has judged these two before. The judgment below cannot stand: {faults}.

[Judgment that cannot stand]
{flawed}
[End of the judgment that cannot stand]

It is settled which of the two is better. The verdict is {label}

Write a new judgment, whole, in exactly the form that is asked for above this note, ending in that verdict. \
Take what was sound in the old one, drop what was not, and look for the grounds where they lie: in the \
request and in the words of the two texts. Make the yardstick first and apply it fairly to both; say what \
the weaker one does well.

Write as one who judges for the first time and comes to the verdict by looking. A reader must not be able to \
tell that a verdict was known, that there was another judgment, or that there is this note.{form}

If an honest look finds no grounds for that verdict, write only: no grounds"""

_THINKS = """ \
Write the reasoning that leads there, doubts and checks included, between <steps> and </steps>; \
behind it the answer."""

# Not a tag of reasoning models, whose thinking is taken out before this is read.
_PARTS = re.compile(r"\s*<steps>(.*?)</steps>(.*)", re.I | re.S)
_NO_GROUNDS = re.compile(r"\W*no grounds\W*", re.I)
_HEAD, _TAIL = 6000, 2000


def repairing(
    protocol: Protocol, label: str, flawed: str, faults: Sequence[str], *, thinks: bool
) -> Protocol:
    """The protocol of one repair: it renders the note, and reads the text of the new chain alone.

    ``label`` is the verdict as the student writes it, ``flawed`` the old text, ``faults`` what is wrong with
    it, in words. ``thinks``: the student's reasoning stands before its answer, so it is asked for as well.
    What the repairer thinks for itself is no part of the chain.
    """

    def render(case: Case) -> Conversation:
        *before, task = protocol.render(case)
        form = _THINKS if thinks else ""
        old = defuse(shortened(flawed), control_only=True)
        text = fill(_ASK, task=task.content, faults="; ".join(faults), flawed=old, label=label, form=form)
        return (*before, msgspec.structs.replace(task, content=text))

    def parse(completion: Completion) -> Verdict:
        return protocol.parse(rewritten(completion, protocol, thinks=thinks))

    return replace(protocol, name=f"{protocol.name} repair", render=render, parse=parse)


def rewritten(completion: Completion, protocol: Protocol, *, thinks: bool) -> Completion:
    """What a repairer wrote for the student, as the student's own completion."""
    thinking, answer = repaired_parts(completion, protocol, thinks=thinks)
    return msgspec.structs.replace(completion, text=answer, thinking=thinking or None)


def repaired_parts(completion: Completion, protocol: Protocol, *, thinks: bool) -> tuple[str, str]:
    """(thinking, answer) that a repairer wrote for the student; its own thinking is left out."""
    _, text = split_thinking(completion, opens=protocol.opens_thinking)
    parts = _PARTS.fullmatch(text) if thinks else None
    return (parts[1].strip(), parts[2].strip()) if parts else ("", text.strip())


def label_of(protocol: Protocol, order: Order, want: int) -> str:
    """The verdict for the wanted response, as a student writes it in this order."""
    slot = protocol.slot
    return f"{slot.before}{slot.labels[order.index(want)]}{slot.after}"


def shortened(text: str) -> str:
    """A text of bounded length: a chain that ran on for pages shows its beginning and its end."""
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]}\n[... {len(text) - _HEAD - _TAIL:,} characters left out ...]\n{text[-_TAIL:]}"


def without_grounds(answer: str) -> bool:
    """Whether a repairer says that there is nothing to be said for the label."""
    return _NO_GROUNDS.fullmatch(answer) is not None
