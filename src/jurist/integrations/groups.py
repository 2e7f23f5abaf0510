"""Makes groups of the rows of all processes, returns rewards to the rows, and asks a reward server."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import isfinite, isnan
from numbers import Real
from typing import Any, Literal, cast

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.types import Case, Conversation, Message, Record, Response
from jurist.inputs.messages import message_of, text_of
from jurist.rewards.group import Reward
from jurist.serving.client import AsyncClient
from jurist.serving.schema import RankedResponse, ScoreReply

TOKEN = "JURIST_SERVER_TOKEN"
"""The environment variable with the server's bearer token, where none is given."""

Unanswered = float | Literal["error"]
"""What a sample without a verdict is worth, or that it is an error."""


class RewardRow(Record, frozen=True):
    """One completion, with all that its reward depends on."""

    prompt: Conversation
    response: Response
    reference: str | None = None
    rubric: str | None = None


class RowGroup(Record, frozen=True):
    """Siblings: ``places[i]`` is where response i of the case stands among the rows of all processes.

    ``owner``: the process that judges it, the one that holds its first row.
    """

    case: Case
    places: tuple[int, ...]
    owner: int


class ServerJudge:
    """A reward server as a judge of whole groups, one request for each."""

    def __init__(self, url: str, token: str | None, patience: float) -> None:
        self._url, self._token, self._patience = url, token, patience
        self._client: tuple[asyncio.AbstractEventLoop, AsyncClient] | None = None

    async def rewards(self, case: Case, deadline: float | None = None) -> list[Reward]:
        """One reward per response, in order; raises ``ServerError``."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            self._client = (loop, client_of(self._url, self._token, self._patience))
        more: dict[str, Any] = {"reference": case.reference, "rubric": case.rubric, "deadline": deadline}
        if case.anchors:
            more["anchors"] = case.anchors
        reply = await self._client[1].rank(case.prompt, case.responses, **more)
        return [Reward(ranked.reward, ranked.status, ranked.note) for ranked in reply.responses]

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        client, self._client = self._client, None
        if client and client[0] is asyncio.get_running_loop():
            await client[1].aclose()


def client_of(url: str, token: str | None, patience: float) -> AsyncClient:
    """A client that waits so long for each reply, and for a server that is away or busy."""
    return AsyncClient(url, token or os.environ.get(TOKEN), timeout=patience, patience=patience)


def check_options(*, unanswered: Unanswered = "error", **seconds_or_counts: float | None) -> None:
    """Raise ``ConfigError`` for options out of range."""
    for name, value in seconds_or_counts.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{name} {value} is out of range", hint="more than 0")
    if unanswered != "error" and not isfinite(unanswered):
        raise ConfigError(f"unanswered {unanswered} is no number", hint='a number, or "error"')


def number_of(reward: Reward | ScoreReply | RankedResponse, unanswered: Unanswered, hint: str) -> float:
    """The reward, or the number in its place; raises ``JuristError`` with the hint where that is "error"."""
    value = reward.value if isinstance(reward, Reward) else reward.reward
    if value is not None:
        return value
    if unanswered == "error":
        raise JuristError(f"a sample has no reward: {reward.status.value}, {reward.note}", hint=hint)
    return unanswered


def rows_of(
    prompts: Sequence[object],
    completions: Sequence[object],
    columns: Mapping[str, Sequence[object] | None],
    reference: str = "reference",
    rubric: str = "rubric",
) -> list[RewardRow]:
    """The rows of one call: prompts and completions are texts, or lists of messages.

    Calls of tools are rendered as everywhere (``inputs.messages``). Raises ``InputError``, with the row, for
    what holds something else than text.
    """
    n = len(prompts)
    fields = {name: columns.get(name) or [None] * n for name in (reference, rubric)}
    for name, values in (("completions", completions), *fields.items()):
        if len(values) != n:
            raise InputError(f"{n} prompts, {len(values)} {name}", hint="one per prompt")
    both = zip(prompts, completions, fields[reference], fields[rubric], strict=True)
    return [
        RewardRow(
            (Message("user", text_of(p, where)),) if isinstance(p, str) else _turns(p, where),
            text_of(c, written) if isinstance(c, str) else _response(_turns(c, written)),
            _text(ref, f"row {i}, {reference}"),
            _text(rub, f"row {i}, {rubric}"),
        )
        for i, (p, c, ref, rub) in enumerate(both)
        for where, written in ((f"row {i}, prompt", f"row {i}, completion"),)
    ]


def groups_of(slices: Sequence[Sequence[RewardRow]], size: int | None) -> list[RowGroup]:
    """The groups in the rows of all processes: runs of one prompt, ``size`` rows at most.

    TRL repeats each prompt ``num_generations`` times in a row and deals the rows to its processes in order,
    so that a group may begin on one of them and end on the next.
    """
    rows = [(rank, row) for rank, rows in enumerate(slices) for row in rows]
    groups: list[RowGroup] = []
    at = 0
    for _, run in groupby(rows, key=lambda both: (both[1].prompt, both[1].reference, both[1].rubric)):
        length = len(list(run))
        step = size or length
        for start in range(at, at + length, step):
            groups.append(_group(rows, range(start, min(start + step, at + length))))
        at += length
    return groups


def scattered(
    groups: Iterable[RowGroup], by_rank: Sequence[Sequence[Sequence[Reward]]], lengths: Sequence[int]
) -> list[list[Reward]]:
    """The rewards of each process's rows, from the rewards of the groups that each owns, in order."""
    by_owner = [iter(rewards) for rewards in by_rank]
    placed: dict[int, Reward] = {}
    for group in groups:
        placed.update(zip(group.places, next(by_owner[group.owner]), strict=True))
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [[placed[start + i] for i in range(n)] for start, n in zip(starts, lengths, strict=True)]


def _group(rows: Sequence[tuple[int, RewardRow]], places: Sequence[int]) -> RowGroup:
    owner, first = rows[places[0]]
    responses = tuple(rows[place][1].response for place in places)
    case = Case("group", first.prompt, responses, reference=first.reference, rubric=first.rubric)
    return RowGroup(case, tuple(places), owner)


def _turns(value: object, where: str) -> Conversation:
    """Messages as the trainer has them, calls of tools as texts; turns with nothing in them are left out."""
    listed = cast("list[object]", value if isinstance(value, list) else [None])
    turns: list[Message] = []
    for i, item in enumerate(listed):
        if not isinstance(item, dict) or "role" not in item:
            raise InputError(f"{where}: neither a text nor messages", hint="role and content in each message")
        message = cast("dict[str, object]", item)
        content = message.get("content")
        turn = message_of({**message, "content": "" if content is None else content}, f"{where}[{i}]")
        if turn.content:
            turns.append(turn)
    return tuple(turns)


def _response(turns: Conversation) -> Response:
    if not turns:
        return ""
    return turns[0].content if len(turns) == 1 and turns[0].role == "assistant" else turns


def _text(value: object, where: str) -> str | None:
    """A text, or a number as one; None for what tables have where there is nothing (null, NaN)."""
    if value is None or isinstance(value, str):
        return None if value is None else text_of(value, where)
    if isinstance(value, Real):  # numpy's numbers too
        return None if isnan(value) else str(value)
    raise InputError(f"{where}: {type(value).__name__}", hint="a text, a number, or null")
