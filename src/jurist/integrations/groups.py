"""From the rows of all processes to groups, and from their rewards back to the rows.

What a reward server says of a sample, as the number that a trainer takes.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from math import isfinite
from typing import Any, Literal, cast

import msgspec

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.types import Case, Conversation, Message, Record, Response, response_text
from jurist.rewards.group import Reward
from jurist.serving.schema import ScoreReply


class Row(Record, frozen=True):
    """One completion, with all that its reward depends on."""

    prompt: Conversation
    response: Response
    reference: str | None = None
    rubric: str | None = None


class Group(Record, frozen=True):
    """Siblings: ``places[i]`` is where response i of the case stands among the rows of all processes.

    ``owner``: the process that judges it, the one that holds its first row.
    """

    case: Case
    places: tuple[int, ...]
    owner: int


def rows_of(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: Mapping[str, Any],
    reference: str = "reference",
    rubric: str = "rubric",
) -> list[Row]:
    """The rows of one call: prompts and completions are texts, or lists of messages.

    Raises ``InputError``, with the row, for what holds something else than text.
    """
    n = len(prompts)
    given = {name: columns.get(name) or [None] * n for name in (reference, rubric)}
    for name, values in (("completions", completions), *given.items()):
        if len(values) != n:
            raise InputError(f"{n} prompts, {len(values)} {name}", hint="one per prompt")
    both = zip(prompts, completions, given[reference], given[rubric], strict=True)
    return [
        Row(
            (Message("user", p),) if isinstance(p, str) else _turns(p, f"row {i}, prompt"),
            c if isinstance(c, str) else _response(_turns(c, f"row {i}, completion")),
            _text(ref, f"row {i}, {reference}"),
            _text(rub, f"row {i}, {rubric}"),
        )
        for i, (p, c, ref, rub) in enumerate(both)
    ]


def groups_of(slices: Sequence[Sequence[Row]], size: int | None) -> list[Group]:
    """The groups in the rows of all processes: runs of one prompt, ``size`` rows at most.

    TRL repeats each prompt ``num_generations`` times in a row and deals the rows to its processes in order,
    so that a group may begin on one of them and end on the next. A case is named by all that it holds, and
    its responses are sorted: its rewards depend neither on the number of processes nor on their order.
    """
    rows = [(rank, row) for rank, rows in enumerate(slices) for row in rows]
    groups: list[Group] = []
    at = 0
    for _, run in groupby(rows, key=lambda both: (both[1].prompt, both[1].reference, both[1].rubric)):
        length = len(list(run))
        step = size or length
        for start in range(at, at + length, step):
            groups.append(_group(rows, range(start, min(start + step, at + length))))
        at += length
    return groups


def scattered(
    groups: Iterable[Group], told: Sequence[Sequence[Sequence[Reward]]], lengths: Sequence[int]
) -> list[list[Reward]]:
    """The rewards of each process's rows, from what each told of the groups that it owns, in order."""
    by_owner = [iter(rewards) for rewards in told]
    placed: dict[int, Reward] = {}
    for group in groups:
        placed.update(zip(group.places, next(by_owner[group.owner]), strict=True))
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [[placed[start + i] for i in range(n)] for start, n in zip(starts, lengths, strict=True)]


def _group(rows: Sequence[tuple[int, Row]], places: Sequence[int]) -> Group:
    # The order in which a server's cohort judges its samples (jurist.rewards.cohort).
    ordered = tuple(sorted(places, key=lambda place: response_text(rows[place][1].response)))
    owner, first = rows[places[0]]
    responses = tuple(rows[place][1].response for place in ordered)
    held = msgspec.json.encode((first.prompt, first.reference, first.rubric, responses))
    name = blake2b(held, digest_size=12).hexdigest()
    case = Case(name, first.prompt, responses, reference=first.reference, rubric=first.rubric)
    return Group(case, ordered, owner)


def _turns(value: Any, where: str) -> Conversation:
    """Messages as the trainer has them; turns without any text, such as calls of tools, are left out."""
    listed = cast("list[Any]", value) if isinstance(value, list) else [None]
    turns: list[Message] = []
    for item in listed:
        if not isinstance(item, dict) or "role" not in item:
            raise InputError(f"{where}: neither a text nor messages", hint="role and content in each message")
        message = cast("dict[str, Any]", item)
        if text := _content(message.get("content"), where):
            turns.append(Message(str(message["role"]), text))
    return tuple(turns)


def _content(value: Any, where: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    parts = cast("list[Any]", value) if isinstance(value, list) else [None]
    texts = [cast("dict[str, Any]", part).get("text") if isinstance(part, dict) else None for part in parts]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < len(texts):
        raise InputError(f"{where}: content that is no text", hint="a judge reads text alone")
    return "".join(found)


def _response(turns: Conversation) -> Response:
    if not turns:
        return ""
    return turns[0].content if len(turns) == 1 and turns[0].role == "assistant" else turns


def _text(value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    raise InputError(f"{where}: {type(value).__name__}", hint="a text, a number, or null")


Unanswered = float | Literal["error"]
"""What a sample without a verdict is worth, or that it is an error."""


def check_unanswered(unanswered: Unanswered) -> None:
    """Raise ``ConfigError`` for what is no number."""
    if unanswered != "error" and not isfinite(unanswered):
        raise ConfigError(f"unanswered {unanswered} is no number", hint='a number, or "error"')


def number(score: ScoreReply, unanswered: Unanswered, option: str) -> float:
    """The reward, or the number in its place; raises ``JuristError``, whose hint names the ``option``."""
    if score.reward is not None:
        return score.reward
    if unanswered == "error":
        raise JuristError(
            f"a sample has no reward: {score.status.value}, {score.note}",
            hint=f"{option} gives such samples that number",
        )
    return unanswered
