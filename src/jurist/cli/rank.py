"""`jurist rank` and `jurist best-of-n`: any number of responses, ordered or the best of them chosen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jurist.core.errors import ConfigError
from jurist.judging.config import DEFAULTS, JudgeConfig

if TYPE_CHECKING:
    from jurist.cli.judging import OutputFormat

Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
Texts = Annotated[list[str] | None, Parameter(allow_leading_hyphen=True, negative="")]
Flag = Annotated[bool, Parameter(negative="")]


def rank(
    source: Text | None = None,
    /,
    *,
    prompt: Text | None = None,
    response: Texts = None,
    rating: Literal["score", "win-rate", "bradley-terry", "elo"] = "bradley-terry",
    reward: Literal["none", "standardised", "rank", "rrm"] = "none",
    out: Path | None = None,
    json: Flag = False,
    skip_bad: Flag = False,
    limit: int | None = None,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Rank any number of responses: ratings, standard errors, rewards.

    A judge of pairs plays a round robin in both orders, unless --deliberation says otherwise.

    Parameters
    ----------
    source
        Cases, as for `jurist judge`: rows with prompt and responses.
    prompt
        One case from the command line: its prompt ...
    response
        ... and its responses; give the flag once for each.
    rating
        What the responses are rated by: Bradley-Terry strengths (logits, with standard errors), win rates,
        Elo, or the deliberation's own scores.
    reward
        Ratings as rewards of the group: standardised, rank (1 for the best, 0 for the worst), or rrm (RRM's
        mapping of Elo).
    out
        Run folder. Everything judged is kept there, and the same command goes on where it stopped.
    json
        Rankings as JSON lines on standard output (without --out the default where that is no terminal).
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    limit
        The first so many cases only.
    """
    if reward == "rrm" and rating not in ("elo", "bradley-terry"):
        raise ConfigError(f"--reward rrm maps Elo ratings, not {rating}", hint="--rating elo")
    from jurist.cli import ranking

    face = ranking.rank_face("elo" if reward == "rrm" else rating, reward)
    return _judged(source, prompt, response, out, limit, config, json, skip_bad, face)


def best_of_n(
    source: Text | None = None,
    /,
    *,
    prompt: Text | None = None,
    response: Texts = None,
    out: Path | None = None,
    json: Flag = False,
    skip_bad: Flag = False,
    limit: int | None = None,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Choose the best of any number of responses.

    A judge of pairs plays a knockout in both orders, unless --deliberation says otherwise.

    Parameters
    ----------
    source
        Cases, as for `jurist judge`: rows with prompt and responses.
    prompt
        One case from the command line: its prompt ...
    response
        ... and its responses; give the flag once for each.
    out
        Run folder. Everything judged is kept there, and the same command goes on where it stopped.
    json
        Choices as JSON lines on standard output (without --out the default where that is no terminal).
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    limit
        The first so many cases only.
    """
    from jurist.cli import ranking

    return _judged(source, prompt, response, out, limit, config, json, skip_bad, ranking.BEST)


def _judged(
    source: str | None,
    prompt: str | None,
    response: list[str] | None,
    out: Path | None,
    limit: int | None,
    config: JudgeConfig,
    json: bool,
    skip_bad: bool,
    face: "OutputFormat",
) -> int:
    from jurist.cli import judging

    if (source is None) == (prompt is None):
        raise ConfigError(
            "give a source of cases, or --prompt with --response", hint="jurist rank candidates.jsonl"
        )
    if prompt is not None:
        return judging.one(prompt, response or [], config, json=json, face=face)
    return judging.many(source or "", out, limit, config, json=json, skip_bad=skip_bad, face=face)
