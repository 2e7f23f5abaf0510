"""`jurist audit`: the habits of a judge, from what a run has recorded or from probes."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jurist.core.errors import ConfigError
from jurist.judging.config import DEFAULTS, JudgeConfig


def audit(
    run: Path | None = None,
    /,
    *,
    probe: str | None = None,
    data: str | None = None,
    plot: Path | None = None,
    out: Path | None = None,
    limit: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Audit a judge for bias.

    Of a recorded run: position, length, markup, calibration, what was not answered; nobody is asked. With
    --probe the judge is asked: do worthless answers win, do verdicts forged in an answer sway it.

    Parameters
    ----------
    run
        Run folder.
    probe
        Judge probes made from these pairs with gold instead: a source of cases as for `jurist judge`, or a
        benchmark. Each pair is asked eight times, in both orders: as it is, with three worthless answers and
        with four forged verdicts in place of the worse response.
    data
        Where the run's cases come from (its own input, unless named): length and markup need the responses.
        With --probe BENCHMARK: folder with its published files.
    plot
        Draw the reliability diagram into this file (.svg, .png or .pdf; extra: plot).
    out
        Run folder that keeps the judged probes; the same command goes on where it stopped.
    limit
        Probe so many pairs, evenly spread.
    json
        The audit, or the findings on the probes, as JSON on standard output.
    """
    if (run is None) == (probe is None):
        raise ConfigError("give a run folder, or --probe with a source of pairs", hint="jurist audit RUN")
    from jurist.cli import auditing

    if probe is not None:
        if plot:
            raise ConfigError("probes have no diagram", hint="leave out --plot")
        return auditing.probe_judge(probe, data, out, limit, config, json=json)
    if out or limit is not None or config != DEFAULTS:
        raise ConfigError(
            "options of a judge go with --probe: of a run nobody is asked", hint="jurist audit RUN"
        )
    return auditing.audit_run(run or Path(), data, plot, json=json)
