"""Options that commands share: their types, short flags, and the groups under which help shows them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter, Token

from jurist.judging.config import JudgeConfig
from jurist.scale.config import Cluster

CASES = Group("What is judged", sort_key=1)
JUDGE = Group("Judge", sort_key=2)
SAMPLING = Group("Sampling and thinking", sort_key=3)
DELIBERATION = Group("Deliberation", sort_key=4)
NETWORK = Group("Network", sort_key=5)
OUTPUT = Group("Output", sort_key=6)
CLUSTER = Group("Cluster", sort_key=7)

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
Source = Annotated[str, Parameter(allow_leading_hyphen=True, group=CASES)]
Many = Annotated[list[str] | None, Parameter(negative="")]

Prompt = Annotated[str | None, Parameter(allow_leading_hyphen=True, group=CASES)]
Responses = Annotated[list[str] | None, Parameter(allow_leading_hyphen=True, negative="", group=CASES)]
SkipBad = Annotated[bool, Parameter(negative="", group=CASES, show_default=False)]
Limit = Annotated[int | None, Parameter(group=CASES, show_default=lambda _: "all")]
Data = Annotated[Path | None, Parameter(group=CASES)]
AsCompleted = Annotated[bool, Parameter(negative="", group=OUTPUT, show_default=False)]
Json = Annotated[bool, Parameter(negative="", group=OUTPUT, show_default=False)]


def _folder(_: Any, tokens: Sequence[Token]) -> Path:
    if not tokens[0].value.strip():
        raise ValueError("it is empty, and would stand for the current folder: name one, such as runs/mine")
    return Path(tokens[0].value).expanduser()


Out = Annotated[Path, Parameter(alias="-o", group=OUTPUT, converter=_folder)]
MaybeOut = Annotated[Path | None, Parameter(alias="-o", group=OUTPUT, converter=_folder)]
Judge = Annotated[JudgeConfig, Parameter(name="*")]
OnCluster = Annotated[Cluster, Parameter(name="*")]

# Each option of a judge: its group, its short flag, and what stands for a default that is resolved later.
_JUDGE_OPTIONS: dict[str, tuple[Group, str | None, str | None]] = {
    "engine": (JUDGE, "-e", None),
    "model": (JUDGE, "-m", "the one that the server has"),
    "protocol": (JUDGE, "-p", "by the model's name, else rubrics; embedded: pointwise-short"),
    "family": (JUDGE, None, "by the model's name"),
    "rule": (JUDGE, None, None),
    "system": (JUDGE, None, None),
    "protocol_file": (JUDGE, None, None),
    "deliberation": (DELIBERATION, "-d", "pairs: swapped"),
    "forced": (DELIBERATION, None, "never; embedded: always"),
    "first": (DELIBERATION, None, "the judge itself, without thinking"),
    "seed": (DELIBERATION, None, None),
    "temperature": (SAMPLING, None, "by the protocol; votes: 0.6 where that is 0"),
    "top_p": (SAMPLING, None, "by the protocol"),
    "max_tokens": (SAMPLING, None, "by the protocol"),
    "thinking_budget": (SAMPLING, None, "no cap"),
    "answer_tokens": (SAMPLING, None, None),
    "concurrency": (NETWORK, None, "servers: 64"),
    "timeout": (NETWORK, None, None),
    "retry_for": (NETWORK, None, None),
    "requests_per_minute": (NETWORK, None, "no limit"),
    "tokens_per_minute": (NETWORK, None, "no limit"),
    "samples_per_request": (NETWORK, None, None),
    "extra": (NETWORK, None, None),
    "cache": (NETWORK, None, "none"),
    "give_up_after": (NETWORK, None, None),
}


# The same of a cluster.
_CLUSTER_OPTIONS: dict[str, tuple[Group, str | None, str | None]] = {
    "on": (CLUSTER, None, None),
    "address": (CLUSTER, None, "RAY_ADDRESS, else a Ray on this machine"),
    "workers": (CLUSTER, None, "one for each GPU it needs, else for each node"),
    "worker_gpus": (CLUSTER, None, "as many as the model needs"),
    "shards": (CLUSTER, None, "none"),
    "piece": (CLUSTER, None, "by the number of cases, at most 256"),
    "tries": (CLUSTER, None, None),
    "stall": (CLUSTER, None, None),
}


def _group_options(of: type, options: dict[str, tuple[Group, str | None, str | None]]) -> None:
    """Tell cyclopts the group of each field of a dataclass, which itself knows no command line."""
    for name, (group, short, default) in options.items():
        how: dict[str, Any] = {"group": group, "alias": short}
        if default is not None:
            how["show_default"] = _constant(default)
        # Several servers may each have a flag of their own; the configuration joins them.
        hint = list[str] | str if name == "engine" else of.__annotations__[name]
        how |= {"negative": "", "metavar": "STR"} if name == "engine" else {}
        of.__annotations__[name] = Annotated[hint, Parameter(**how)]


def _constant(text: str) -> Callable[[object], str]:
    def shown(_: object) -> str:
        return text

    return shown


_group_options(JudgeConfig, _JUDGE_OPTIONS)
_group_options(Cluster, _CLUSTER_OPTIONS)
