"""`jurist rank` and `jurist best-of-n`: any number of responses, ordered or the best of them chosen."""

from typing import Annotated, Literal

from cyclopts import Parameter

from jurist.cli.judge import OutputFlags, OutputFormat, judge_in
from jurist.cli.options import (
    DELIBERATION,
    AsCompleted,
    Json,
    Judge,
    Limit,
    MaybeOut,
    Prompt,
    Responses,
    SkipBad,
    Source,
)
from jurist.core.errors import ConfigError
from jurist.judging.config import DEFAULTS


def rank(
    source: Source | None = None,
    /,
    *,
    prompt: Prompt = None,
    response: Responses = None,
    rating: Annotated[
        Literal["score", "win-rate", "bradley-terry", "elo"], Parameter(group=DELIBERATION)
    ] = "bradley-terry",
    reward: Annotated[Literal["none", "standardised", "rank", "rrm"], Parameter(group=DELIBERATION)] = "none",
    out: MaybeOut = None,
    json: Json = False,
    as_completed: AsCompleted = False,
    skip_bad: SkipBad = False,
    limit: Limit = None,
    config: Judge = DEFAULTS,
) -> int:
    """Rank any number of responses: ratings, standard errors, rewards.

    A judge of pairs plays a round robin in both orders, unless --deliberation says otherwise.

    Examples::

        jurist rank candidates.jsonl -o runs/ranked
        jurist rank candidates.jsonl --rating elo --reward rrm --json
        jurist rank --prompt "Name a prime." --response 7 --response 8 --response 9

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
    as_completed
        Write these lines as cases are decided, not in the order of the source.
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    limit
        The first so many cases only.
    """
    from jurist.reports.views.ranking import ranking_row, rankings_view

    if reward == "rrm" and rating not in ("elo", "bradley-terry"):
        raise ConfigError(f"--reward rrm maps Elo ratings, not {rating}", hint="--rating elo")
    by = "elo" if reward == "rrm" else rating
    form = OutputFormat(
        row=lambda decision, case: ranking_row(decision, case, by, reward),
        table=lambda decided, more: rankings_view(decided, by, more),
        example="jurist rank candidates.jsonl",
        pairs="round_robin(swapped)",
        ends_with_table=True,
    )
    flags = OutputFlags(json, as_completed, skip_bad)
    return judge_in(form, source, prompt, response, out, limit, config, flags)


def best_of_n(
    source: Source | None = None,
    /,
    *,
    prompt: Prompt = None,
    response: Responses = None,
    out: MaybeOut = None,
    json: Json = False,
    as_completed: AsCompleted = False,
    skip_bad: SkipBad = False,
    limit: Limit = None,
    config: Judge = DEFAULTS,
) -> int:
    """Choose the best of any number of responses.

    A judge of pairs plays a knockout in both orders, unless --deliberation says otherwise.

    Examples::

        jurist best-of-n candidates.jsonl -o runs/best
        jurist best-of-n candidates.jsonl --json | jq .response
        jurist best-of-n --prompt "Name a prime." --response 7 --response 8 --response 9

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
    as_completed
        Write these lines as cases are decided, not in the order of the source.
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    limit
        The first so many cases only.
    """
    from jurist.reports.views.ranking import best_row, rankings_view

    form = OutputFormat(
        row=best_row,
        table=lambda decided, more: rankings_view(decided, "score", more),
        example="jurist best-of-n candidates.jsonl",
        pairs="knockout(swapped)",
        ends_with_table=True,
    )
    flags = OutputFlags(json, as_completed, skip_bad)
    return judge_in(form, source, prompt, response, out, limit, config, flags)
