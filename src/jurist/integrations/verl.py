"""A judge as verl's reward: a reward server compares each sample with its group.

The contracts are those of verl 0.9.1 (verl/trainer/ppo/reward.py, verl/experimental/reward_loop). verl deals
the siblings of a prompt to its reward workers at random, so that no worker sees a whole group; a server does.
"""

import asyncio
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, cast

import msgspec

from jurist.core.errors import ConfigError, InputError, MissingExtraError
from jurist.core.types import Record
from jurist.integrations.groups import (
    RewardRow,
    Unanswered,
    check_options,
    client_of,
    number_of,
    rows_of,
)

PROMPTS = ("raw_prompt", "prompt", "question")
"""Where a row's ``extra_info`` may have its prompt; the first that is there."""

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class VerlOptions(Record, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """verl's ``reward.custom_reward_function.reward_kwargs``; the manager reads them there too.

    ``server``: the address of a `jurist serve`, as the reward workers see it. ``size``: how many siblings a
    sample has, itself included; the manager knows it by itself. ``unanswered``: what a sample without a
    verdict is worth, or "error". ``reference``: whether the ground truth goes along. ``deadline``: seconds
    for a group; ``patience``: seconds that a sample waits for its reply. ``prompt``, ``group``: the keys of
    ``extra_info`` with the prompt (else one of ``PROMPTS``) and with the group's name; the manager takes
    both from the batch.
    """

    server: str
    size: Annotated[int, msgspec.Meta(ge=1)] | None = None
    unanswered: Unanswered = "error"
    reference: bool = True
    deadline: Seconds | None = None
    patience: Seconds = 7200.0
    prompt: str | None = None
    group: str = "uid"


class VerlSample(Record, frozen=True):
    """One row of a batch: ``group`` names its siblings (None: those with its prompt and reference)."""

    row: RewardRow
    group: str | None = None
    size: int | None = None


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, object] | None = None,
    reward_router_address: object = None,
    reward_model_tokenizer: object = None,
    **reward_kwargs: object,
) -> dict[str, float | str]:
    """verl's custom reward function; ``reward_kwargs`` are the fields of ``VerlOptions``.

    Every row has the same keys: ``score``, ``answered`` (0 where ``score`` is not the judge's), ``siblings``
    (judged together), ``status``. verl's own reward model is not asked. Raises ``ConfigError`` for options,
    ``InputError`` for a row without a prompt or with another reference than a text or a number,
    ``ServerError``, and ``JuristError`` where there is no verdict and no number for that.
    """
    del reward_router_address, reward_model_tokenizer
    options, info = options_of(reward_kwargs), extra_info or {}
    keys = PROMPTS if options.prompt is None else (options.prompt,)
    prompt = next((info[key] for key in keys if info.get(key) is not None), None)
    if prompt is None:
        raise InputError(
            f"data source {data_source!r}: extra_info has no prompt ({', '.join(keys)})",
            hint="add it to extra_info; or use the manager GroupRewardManager, which needs none",
        )
    row = _row(str(data_source), prompt, solution_str, ground_truth if options.reference else None, info)
    return await scored(VerlSample(row, _name(info.get(options.group)), options.size), options)


async def scored(sample: VerlSample, options: VerlOptions) -> dict[str, float | str]:
    """What the server says of a sample, as verl's reward and its extra keys."""
    row = sample.row
    async with client_of(options.server, None, options.patience) as client:
        score = await client.score(
            row.prompt,
            row.response,
            group=sample.group,
            size=sample.size,
            reference=row.reference,
            rubric=row.rubric,
            deadline=options.deadline,
        )
    return {
        "score": number_of(score, options.unanswered, "reward_kwargs.unanswered=NUMBER gives it that number"),
        "answered": float(score.reward is not None),
        "siblings": float(score.siblings),
        "status": score.status.value,
    }


def options_of(values: Mapping[str, object]) -> VerlOptions:
    """The options as verl's configuration has them; raises ``ConfigError``."""
    try:
        options = msgspec.convert(dict(values), VerlOptions)
    except msgspec.ValidationError as error:
        names = ", ".join(VerlOptions.__struct_fields__)
        where = "reward.custom_reward_function.reward_kwargs"
        raise ConfigError(f"{where}: {error}", hint=f"fields: {names}") from None
    check_options(unanswered=options.unanswered)
    return options


def sample_of(
    tensors: Mapping[str, Any],
    others: Mapping[str, object],
    tokenizer: Any,
    config: Any,
    options: VerlOptions,
) -> VerlSample:
    """The sample that a row of a DataProto holds: its ``batch`` and its ``non_tensor_batch``.

    The group is the row's ``uid``, which verl draws anew for each prompt of each step. ``responses`` and
    ``attention_mask`` are as in verl/experimental/reward_loop/reward_manager/naive.py: the response's tokens
    stand at the start, and its mask at the end.
    """
    ids = tensors["responses"].tolist()
    length = sum(tensors["attention_mask"].tolist()[-len(ids) :])
    response = tokenizer.decode(ids[:length], skip_special_tokens=True)
    info = _mapping(others.get("extra_info"))
    graded = _mapping(others.get("reward_model"))
    truth = graded.get("ground_truth") if options.reference else None
    if others.get("raw_prompt") is None:
        raise InputError("the batch has no raw_prompt", hint="verl's RLHFDataset gives one to each row")
    row = _row(str(others.get("data_source", "")), others["raw_prompt"], response, truth, info)
    return VerlSample(row, _name(others.get("uid")), options.size or group_size(config, info))


def group_size(config: Any, extra_info: Mapping[str, object]) -> int:
    """How often verl answers a row's prompt: it tells no worker whether a row is for validation.

    So ``extra_info.split`` does, which verl's own data have: what is there and not "train" is validation.
    """
    rollout = config["actor_rollout_ref"]["rollout"]
    trains = extra_info.get("split", "train") == "train"
    return int(rollout["n"] if trains else rollout["val_kwargs"]["n"])


def __getattr__(name: str) -> type:
    # verl looks the class up by its name; using the function alone must not import verl.
    if name == "GroupRewardManager":
        return _manager()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _manager() -> type:
    """The class that ``reward.reward_manager`` names: a subclass of verl's base class."""
    try:
        base: Any = import_module("verl.experimental.reward_loop.reward_manager.base").RewardManagerBase
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "verl", "verl", "GroupRewardManager") from None

    class GroupRewardManager(base):
        """verl's reward manager: samples go to a reward server with their prompt and their group."""

        def __init__(self, config: Any, tokenizer: Any, compute_score: object = None, **_: object) -> None:
            base.__init__(self, config, tokenizer, compute_score)
            function = _mapping(config["reward"].get("custom_reward_function"))
            self.options = options_of(_mapping(function.get("reward_kwargs")))

        async def run_single(self, data: Any) -> dict[str, object]:
            """The reward of the last row, as in verl's own managers: it ends the trajectory."""
            row = data[-1:][0]
            fields = (row.batch, row.non_tensor_batch, self.tokenizer, self.config, self.options)
            extra = await scored(await asyncio.to_thread(sample_of, *fields), self.options)
            return {"reward_score": extra["score"], "reward_extra_info": extra}

    return GroupRewardManager


def _row(source: str, prompt: object, response: str, truth: object, info: Mapping[str, object]) -> RewardRow:
    """A row of texts; a ground truth of "" is none, as verl's data have it where there is none."""
    to_list = getattr(prompt, "tolist", None)
    messages = to_list() if callable(to_list) else prompt
    columns = {"reference": [None if isinstance(truth, str) and not truth else truth]}
    try:
        return rows_of([messages], [response], {**columns, "rubric": [info.get("rubric")]})[0]
    except InputError as error:
        what = error.message.removeprefix("row 0, ")
        mend = "; reward_kwargs.reference=false leaves it out" if what.startswith("reference") else ""
        raise InputError(f"data source {source!r}: {what}", hint=error.hint + mend) from None


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _name(group: object) -> str | None:
    return None if group is None else str(group)
