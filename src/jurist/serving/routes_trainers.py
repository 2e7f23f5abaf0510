"""The routes of trainers that send one sample a call, OpenRLHF and slime.

OpenRLHF 0.11.2, openrlhf/utils/remote_rm_utils.py; slime at 624b824, slime/rollout/rm_hub/__init__.py.
"""

from typing import Any

import msgspec

from jurist.core.types import Conversation, Message, conversation
from jurist.rewards.cohort import CohortSample
from jurist.rewards.group import Reward
from jurist.serving.errors import HTTPError
from jurist.serving.queries import query_sample, reference_of
from jurist.serving.retries import Caller
from jurist.serving.route import Route
from jurist.serving.service import GroupReward, Service
from jurist.serving.templates import turns_of, without_ends

# What each client waits, less the time that an answer needs.
OPENRLHF_WAITS = 170.0
SLIME_WAITS = 110.0


class OpenRlhfRequest(msgspec.Struct, frozen=True):
    """OpenRLHF's remote reward: ``query`` is prompt and response as decoded, special tokens kept.

    Where the prompt is not found in it (``queries.split_query``) the whole query is judged as the response.

    A label is whatever the data's label column holds; what is no text is shown as JSON.
    """

    query: tuple[str, ...]
    prompts: tuple[str, ...]
    labels: tuple[Any, ...] | None = None


class OpenRlhfReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One number per query. ``scores`` lie in [0, 1], and are left out where the ratings do not.

    ``extra_logs``: whether each number is the judge's (``answered``), whether the prompt was found in the
    query (``prompt_found``), and how many siblings were judged together.
    """

    rewards: list[float]
    extra_logs: dict[str, list[float]]
    scores: list[float] | None = None


class SlimeRequest(msgspec.Struct, frozen=True):
    """slime's remote_rm: one sample; a label as for OpenRLHF."""

    prompt: str | tuple[Message, ...]
    response: str
    label: Any = None


async def get_reward(service: Service, request: OpenRlhfRequest, caller: Caller) -> OpenRlhfReply:
    """OpenRLHF (--reward.remote_url): one sample a call, or several."""
    n = len(request.query)
    labels = request.labels if request.labels is not None else (None,) * n
    if not len(request.prompts) == len(labels) == n:
        raise HTTPError(
            409,
            f"{n} queries, {len(request.prompts)} prompts, {len(labels)} labels",
            "one prompt and one label (or null) per query",
            field="prompts",
        )
    rows = zip(request.query, request.prompts, labels, strict=True)
    queries = [query_sample(*row) for row in rows]
    samples = [CohortSample(q.prompt, q.response, reference=q.reference) for q in queries]
    both = await service.numbers(samples, caller, OPENRLHF_WAITS)
    shares = [_share(reward, number) for reward, number in both]
    known = [share for share in shares if share is not None]
    logs = {
        "answered": [float(reward.value is not None) for reward, _ in both],
        "prompt_found": [float(query.split != "none") for query in queries],
        "siblings": [float(r.siblings if isinstance(r, GroupReward) else 0) for r, _ in both],
    }
    return OpenRlhfReply([number for _, number in both], logs, known if len(known) == n else None)


async def slime(service: Service, request: SlimeRequest, caller: Caller) -> float:
    """slime (--rm-type remote_rm --rm-url): one sample, answered by one number."""
    prompt = _prompt(request.prompt) if isinstance(request.prompt, str) else conversation(request.prompt)
    sample = CohortSample(prompt, without_ends(request.response), reference=reference_of(request.label))
    return (await service.numbers([sample], caller, SLIME_WAITS, gives_back=True))[0][1]


ROUTES: tuple[Route[Any], ...] = (
    Route("/get_reward", OpenRlhfRequest, OpenRlhfReply, get_reward),
    Route("/slime", SlimeRequest, float, slime),
)


def _prompt(text: str) -> Conversation:
    return turns_of(text) or (Message("user", text),)


def _share(reward: Reward, number: float) -> float | None:
    """The rating where it is a share, else the number where that is one."""
    rating = reward.rating if isinstance(reward, GroupReward) else None
    share = number if rating is None or reward.value is None else rating
    return share if 0 <= share <= 1 else None
