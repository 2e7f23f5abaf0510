"""The command line: `jurist COMMAND`."""

import logging
import os
import sys
from io import TextIOWrapper
from typing import Literal

from cyclopts import App, Group

from jurist.core.version import __version__

app = App(
    name="jurist",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help="Reasoning reward models: judge answers, measure judges, read why.",
    help_epilogue=(
        "--config FILE.toml: any of a command's options from a file, under the same names; flags win. "
        "JURIST_API_KEY (else OPENAI_API_KEY) is the key of a server."
    ),
)
GROUPS = {
    "Judge": ("judge", "rank", "best-of-n", "label", "serve"),
    "Measure": ("eval", "curve", "calibrate", "audit", "import", "export", "overlap"),
    "Read": ("report", "view", "show", "score", "compare", "agree"),
    "Train": ("data", "distill", "train", "ablate"),
    "More": ("plan", "list", "protocols", "doctor", "help", "completion"),
}
# Commands are imported when they are called; so their summaries stand here.
COMMANDS = {
    "judge": ("judge:judge", "Judge pairs (or rate single responses), and say why."),
    "rank": ("rank:rank", "Rank any number of responses: ratings, standard errors, rewards."),
    "best-of-n": ("rank:best_of_n", "Choose the best of any number of responses."),
    "label": ("label:label", "Label responses by the judge: rows for DPO and KTO in TRL's format."),
    "serve": ("serve:serve", "Serve the judge over HTTP: comparisons, rankings, rewards for trainers."),
    "eval": ("evaluate:evaluate", "Measure a judge on benchmarks, counted as their official code counts."),
    "curve": ("curve:curve", "Accuracy against tokens: votes, early stopping, budgets, tournaments."),
    "calibrate": ("calibrate:calibrate", "From which lead on a cheap judge may decide alone (cascades)."),
    "audit": (
        "audit:audit",
        "Audit a run, or probe a judge: position, length, markup, calibration, forgeries.",
    ),
    "import": ("runs:import_run", "Turn the official outputs of another judge into a run, and count it."),
    "export": (
        "export:export",
        "Write a run as rows or as published; a training for verl, OpenRLHF or Slurm.",
    ),
    "overlap": ("overlap:overlap", "Find training rows that overlap with benchmarks, and leave them out."),
    "report": ("report:report", "Write runs as one HTML file: numbers, audit, every judgment to read."),
    "view": ("report:view", "Serve the report on this machine while a run goes on."),
    "agree": ("report:agree", "Compare a judge with a person's labels: agreement, kappa, labels needed."),
    "show": ("show:show", "Read a run: its decisions, or one case with every judgment's reasons."),
    "score": ("runs:score", "Count a run again, without asking anybody."),
    "compare": ("compare:compare", "Compare judges on the same cases: differences, tests, flipped cases."),
    "data": ("data:data", "Prepare training sets: filter, verify, split, mix, measure difficulty."),
    "distill": ("distill:distill", "Distil judging chains: right and whole ones become rows for training."),
    "train": ("train:train", "Train a judge: supervised, by reinforcement (GRPO), or a scalar one."),
    "ablate": ("ablate:ablate", "Make judges in several ways, and measure them in one table."),
    "plan": ("plan:plan", "What judging, distilling and training will take: calls, tokens, hours, money."),
    "list": ("list:list_names", "Protocols, engines, deliberations, benchmarks, schemas, one line each."),
    "protocols": ("protocols:protocols", "Fetch, verify and cache the prompts of published checkpoints."),
    "doctor": ("doctor:doctor", "Say what is installed, what is cached, and what a server can do."),
}


def _help(*command: str) -> int:
    """Show how a command is used.

    Examples::

        jurist help
        jurist help judge
        jurist help train grpo
    """
    app.help_print([*command])
    return 0


def _completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print what completes commands and options, for a shell to read.

    Examples::

        eval "$(jurist completion bash)"
        eval "$(jurist completion zsh)"
        jurist completion fish | source
    """
    print(app.generate_completion(shell=shell))
    return 0


_HERE = {"help": _help, "completion": _completion}


def _register() -> None:
    for place, (title, names) in enumerate(GROUPS.items()):
        panel = Group(title, sort_key=place)
        for order, name in enumerate(names):
            if name in _HERE:
                app.command(_HERE[name], name=name, group=panel, sort_key=order)
            else:
                module, summary = COMMANDS[name]
                app.command(f"jurist.cli.{module}", name=name, help=summary, group=panel, sort_key=order)


_register()


def main() -> None:
    """Run a command; exit 0, 1 where too much failed, 2 for a user's mistake, 130 when interrupted."""
    logging.getLogger("stamina").addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that knows few letters gets an escape, not a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(run(sys.argv[1:]))
    except BrokenPipeError:
        # The reader has gone (`| head`): not an error, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _use_own_help(arguments: list[str]) -> None:
    """Give the command that is called its whole docstring as help, in place of its summary."""
    full_help(next((word for word in arguments if word != "help"), ""))


def full_help(name: str) -> None:
    """Load a command, and give it its whole docstring as help; a name that is no command does nothing."""
    if name in COMMANDS and app[name].default_command:
        app[name].help = None


def run(arguments: list[str]) -> int:
    """The exit code of a command."""
    from cyclopts.exceptions import CycloptsError

    from jurist.cli.config_file import refuse_unknown, with_config
    from jurist.core.errors import ConfigError, JuristError

    try:
        try:
            for word in arguments:
                if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
                    raise ConfigError(
                        f"the argument {word!a} is no UTF-8 text", "write it in UTF-8, or rename the file"
                    )
            _use_own_help(arguments)
            words = with_config(app, arguments)
            refuse_unknown(app, words)
            result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        except CycloptsError as error:
            chain = " ".join(error.command_chain or ())
            raise ConfigError(str(error).strip(), hint=f"jurist {chain} --help".replace("  ", " ")) from None
    except JuristError as error:
        from jurist.cli.console import complain

        complain(error)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped (with --out)", file=sys.stderr)
        return 130
    return result if isinstance(result, int) else 0
