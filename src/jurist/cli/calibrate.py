"""`jurist calibrate`: from which lead on a cheap judge may decide alone."""

from pathlib import Path

from jurist.cli.options import Json


def calibrate(cheap: Path, thorough: Path, /, *, loss: float = 0.01, json: Json = False) -> int:
    """Find the threshold of a cascade on two runs over the same cases.

    Examples::

        jurist calibrate runs/cheap runs/thorough
        jurist calibrate runs/cheap runs/thorough --loss 0.02
        jurist calibrate runs/cheap runs/thorough --json

    Parameters
    ----------
    cheap
        Run of the cheap judge: a scalar reward model, a small judge, or --thinking-budget 0 --forced always.
    thorough
        Run of the judge that reasons.
    loss
        How much less accurate than the thorough judge the cascade may be (0.01: one point in a hundred).
    json
        The calibration as JSON on standard output.
    """
    from jurist.cli.console import next_step, out, write_json
    from jurist.core.errors import ConfigError
    from jurist.core.runs import read_decisions
    from jurist.deliberation.calibration import calibrate, trials_of
    from jurist.judging.pool import slim
    from jurist.reports.views.calibration import calibration_view

    if not 0 <= loss < 1:
        raise ConfigError(f"--loss {loss} is out of range", hint="a share from 0 to 1, such as 0.01")
    calibration = calibrate(
        trials_of(map(slim, read_decisions(cheap)), map(slim, read_decisions(thorough))), loss
    )
    if json:
        write_json(calibration)
        return 0
    out.print(calibration_view(calibration))
    if calibration.chosen.value < float("inf"):
        cascade = f"cascade({calibration.chosen.value:.4g})"
        next_step("judge with it", "jurist", "judge", "pairs.jsonl", "--deliberation", cascade)
    return 0
