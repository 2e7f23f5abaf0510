"""`jurist label`: responses to prompts become preference rows for DPO and KTO."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jurist.core.errors import ConfigError
from jurist.judging.config import DEFAULTS, JudgeConfig, config_of

if TYPE_CHECKING:
    from jurist.data.labels import Rules

Flag = Annotated[bool, Parameter(negative="")]
Format = Literal["dpo", "kto", "both"]

LABELS, DRAWN, POLICY = "labels.json", "responses.jsonl", "policy.json"
"""What this command adds to a run folder: the counts, and the responses of a policy."""

SHAPING = ("engine", "model", "temperature", "top_p", "max_tokens", "seed", "extra")
"""Options of a policy that change what it says; the others change how fast."""

POLICY_OPTIONS = (*SHAPING, "concurrency", "timeout", "retry_for", "samples_per_request", "give_up_after")


@dataclass(frozen=True, slots=True)
class Plan:
    """The options, checked: ``targets`` has a file for each format, ``policy`` is who is sampled from."""

    source: str
    out: Path
    targets: dict[str, Path]
    rules: "Rules"
    text: bool
    sample: int | None
    policy: JudgeConfig | None
    skip_bad: bool
    limit: int | None
    config: JudgeConfig


def label(
    source: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: Path,
    rows: Path,
    format: Format = "dpo",
    pairs: Literal["best-worst", "best-rest", "all", "adjacent"] | None = None,
    marks: Literal["best-worst", "mean"] | None = None,
    min_margin: float = 0.0,
    min_agreement: float = 0.0,
    consistent: Flag = False,
    text: Flag = False,
    sample: int | None = None,
    policy: Path | None = None,
    skip_bad: Flag = False,
    limit: int | None = None,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Label responses by the judge: rows for DPO and KTO in TRL's format.

    A judge of pairs compares two responses in both orders, and of more each two in both orders, unless
    --deliberation says otherwise. Ties, cases without a verdict and what the options below leave out are
    counted by reason. Other labels from the same --out ask nothing again.

    Parameters
    ----------
    source
        Cases of two or more responses, as for `jurist judge`; with --sample prompts.
    out
        Run folder. What is judged and sampled is kept there, and the same command goes on where it stopped.
    rows
        The preference rows (.jsonl), in the order of the source, written whole at the end. With --format
        both two files beside each other: NAME.dpo.jsonl and NAME.kto.jsonl.
    format
        dpo: prompt, chosen, rejected. kto: prompt, completion, label.
    pairs
        Which responses become pairs (dpo): best-worst (the default), best-rest (the best with each other
        one), all (each two), adjacent (neighbours in the ranking).
    marks
        Which responses get a label (kto): best-worst (the default), or mean (above or below the case's mean).
    min_margin
        Leave out pairs whose scores differ by less (kto by the mean: responses that are nearer to it).
    min_agreement
        Leave out cases on which a smaller share of the judgments agree.
    consistent
        Only pairs on which both orders agree.
    text
        Texts in place of messages, where each prompt is one user turn.
    sample
        Draw so many responses to each prompt ...
    policy
        ... from the model in this TOML file: engine, model, temperature, max_tokens and the like.
    skip_bad
        Leave out rows that cannot be read or labelled, and list them, instead of stopping.
    limit
        The first so many cases only.
    """
    for flag, value, needed in (("--pairs", pairs, "dpo"), ("--marks", marks, "kto")):
        if value is not None and format not in (needed, "both"):
            raise ConfigError(
                f"{flag} is about {needed} rows, not {format}", hint=f"--format {needed} or both"
            )
    if (sample is None) != (policy is None):
        raise ConfigError(
            "--sample and --policy belong together", hint="--sample 4 --policy policy.toml, or neither"
        )
    if sample is not None and sample < 2:
        raise ConfigError(f"--sample {sample} makes no pair", hint="--sample 2 or more")
    from jurist.cli import labelling
    from jurist.data.labels import Rules

    rules = Rules(pairs or "best-worst", marks or "best-worst", min_margin, min_agreement, consistent)
    drawn_from = policy and policy_of(policy)
    targets = targets_of(rows, format, source, out)
    return labelling.label(
        Plan(source, out, targets, rules, text, sample, drawn_from, skip_bad, limit, config)
    )


def targets_of(rows: Path, format: Format, source: str, out: Path) -> dict[str, Path]:
    """The file of each format; raises where it could not or should not be written."""
    from jurist.core.store import DECISIONS, JUDGMENTS, RUN, SCORECARD

    folder = rows.parent
    if rows.suffix != ".jsonl":
        raise ConfigError(f"{rows}: the rows are JSON lines", hint="let its name end in .jsonl")
    if not folder.is_dir() and folder.resolve() != out.resolve():
        raise ConfigError(f"{rows}: there is no folder {str(folder)!r}", hint="make it first")
    targets = {format: rows}
    if format == "both":
        targets = {name: rows.with_suffix(f".{name}.jsonl") for name in ("dpo", "kto")}
    origin = Path(source).expanduser().resolve()
    taken = {out.resolve() / name for name in (JUDGMENTS, DECISIONS, RUN, SCORECARD, LABELS, DRAWN, POLICY)}
    for path in targets.values():
        if origin in (path.resolve(), path.resolve().parent):
            raise ConfigError(f"{path} stands in the source", hint="name another file for --rows")
        if path.resolve() in taken:
            raise ConfigError(f"{path} belongs to the run", hint="name another file for --rows")
    return targets


def policy_of(path: Path) -> JudgeConfig:
    """The policy that a TOML file tells; raises for options that cannot draw responses."""
    config = config_of(path, POLICY_OPTIONS, temperature=1.0, max_tokens=2048)
    if config.engine.startswith("scalar"):
        raise ConfigError(f"{path}: {config.engine} writes no responses", hint="name a chat model")
    if not config.temperature:
        hint = "temperature = 1.0"
        raise ConfigError(f"{path}: at temperature 0 all responses to a prompt are the same", hint=hint)
    return config
