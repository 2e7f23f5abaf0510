"""The command line: `jurist COMMAND`."""

import logging
import os
import sys

from cyclopts import App

from jurist.core.version import __version__

app = App(
    name="jurist",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help="Reasoning reward models: judge answers, measure judges, read why.",
)
# Commands are imported when they are called; so their summaries stand here.
COMMANDS = {
    "judge": ("judge:judge", "Judge pairs (or rate single responses), and say why."),
    "rank": ("rank:rank", "Rank any number of responses: ratings, standard errors, rewards."),
    "best-of-n": ("rank:best_of_n", "Choose the best of any number of responses."),
    "eval": ("evaluate:evaluate", "Measure a judge on benchmarks, counted as their official code counts."),
    "curve": ("curve:curve", "Accuracy against tokens: votes, early stopping, budgets, tournaments."),
    "calibrate": ("calibrate:calibrate", "From which lead on a cheap judge may decide alone (cascades)."),
    "show": ("runs:show", "Read a run: its decisions, or one case with every judgment's reasons."),
    "compare": ("compare:compare", "Compare judges on the same cases: differences, tests, flipped cases."),
    "audit": (
        "audit:audit",
        "Audit a run, or probe a judge: position, length, markup, calibration, forgeries.",
    ),
    "score": ("runs:score", "Count a run again, without asking anybody."),
    "serve": ("serve:serve", "Serve the judge over HTTP: comparisons, rankings, rewards for trainers."),
    "label": ("label:label", "Label responses by the judge: rows for DPO and KTO in TRL's format."),
    "data": ("data:data", "Prepare training sets: filter, verify, split, mix, measure difficulty."),
    "distill": ("distill:distill", "Distil judging chains: right and whole ones become rows for training."),
    "train": ("train:train", "Train a judge: supervised, by reinforcement (GRPO), or a scalar one."),
    "ablate": ("ablate:ablate", "Make judges in several ways, and measure them in one table."),
    "overlap": ("overlap:overlap", "Find training rows that overlap with benchmarks, and leave them out."),
    "import": ("runs:import_run", "Turn the official outputs of another judge into a run, and count it."),
    "export": ("exporting:export", "Write the results of a run as its benchmark publishes them."),
    "list": ("listing:list_names", "Protocols, engines, deliberations and benchmarks, with one line each."),
    "protocols": ("protocols:protocols", "Fetch, verify and cache the prompts of published checkpoints."),
}
for _name, (_place, _help) in COMMANDS.items():
    app.command(f"jurist.cli.{_place}", name=_name, help=_help, sort_key=list(COMMANDS).index(_name))


def main() -> None:
    """Run a command; exit 0, 2 for a user's mistake, 130 when interrupted."""
    logging.getLogger("stamina").addHandler(logging.NullHandler())
    try:
        sys.exit(run(sys.argv[1:]))
    except BrokenPipeError:
        # The reader has gone (`| head`): not an error, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def run(arguments: list[str]) -> int:
    """The exit code of a command."""
    from jurist.cli.config_file import with_config
    from jurist.core.errors import JuristError

    try:
        result = app(with_config(app, arguments), exit_on_error=True, result_action="return_value")
    except JuristError as error:
        from jurist.cli.console import complain

        complain(error)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped (with --out)", file=sys.stderr)
        return 130
    return result if isinstance(result, int) else 0
