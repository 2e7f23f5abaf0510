"""`jurist judge`: cases in, decisions out."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jurist.core.errors import ConfigError
from jurist.judging.config import DEFAULTS, JudgeConfig

Text = Annotated[str, Parameter(allow_leading_hyphen=True)]


def judge(
    source: Annotated[Text | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    prompt: Text | None = None,
    response: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True, negative="")] = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    skip_bad: Annotated[bool, Parameter(negative="")] = False,
    limit: int | None = None,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Judge pairs (or rate single responses), and say why.

    Parameters
    ----------
    source
        Cases: a file (.jsonl, .json, .csv, .parquet, also .gz), a folder, - for standard input, or
        hf:ORG/NAME. Rows: prompt and responses, or prompt, chosen and rejected.
    prompt
        One case from the command line: its prompt ...
    response
        ... and its responses; give the flag once for each.
    out
        Run folder. Everything judged is kept there, and the same command goes on where it stopped.
    json
        Decisions as JSON lines on standard output (without --out the default where that is no terminal).
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    limit
        Judge the first so many cases only.
    """
    if (source is None) == (prompt is None):
        raise ConfigError(
            "give a source of cases, or --prompt with --response", hint="jurist judge pairs.jsonl"
        )
    from jurist.cli import judging

    if prompt is not None:
        return judging.one(prompt, response or [], config, json=json)
    return judging.many(source or "", out, limit, config, json=json, skip_bad=skip_bad)
