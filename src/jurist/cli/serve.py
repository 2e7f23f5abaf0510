"""`jurist serve`: the judge as a reward server over HTTP."""

from typing import Annotated, Literal

from cyclopts import Parameter

from jurist.judging.config import DEFAULTS, JudgeConfig

Flag = Annotated[bool, Parameter(negative="")]


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8300,
    group_size: int | None = None,
    wait: float = 5.0,
    longest: float = 60.0,
    deadline: float | None = None,
    unanswered: str = "error",
    rating: Literal["score", "win-rate", "bradley-terry", "elo"] = "win-rate",
    reward: Literal["none", "standardised", "rank", "rrm"] = "none",
    verify: Flag = False,
    max_body: int = 8 * 2**20,
    queue: int = 4096,
    drain: float = 120.0,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Serve the judge: comparisons, rankings, and rewards for trainers that send one sample a time.

    The environment variable JURIST_SERVER_TOKEN sets the bearer token that every request must have.

    Parameters
    ----------
    host
        Address to listen on; any other than this machine's own needs a token.
    port
        Port to listen on (0: any free one).
    group_size
        Samples of one group, where a request does not say; a full group is judged at once.
    wait
        Seconds after the last sibling until an unfinished group is judged.
    longest
        Seconds after the first sibling until an unfinished group is judged.
    deadline
        Seconds in which every request is answered, where it does not say. OpenRLHF's requests have 170
        and slime's 110 without it.
    unanswered
        For a sample without reward, where the trainer needs a number: error (HTTP 503), mean (of its
        group), or a number.
    rating
        What responses are rated by, from the matches of their group.
    reward
        Ratings as rewards of the group: standardised, rank, or rrm (with --rating elo).
    verify
        Compare final answers with the reference, where there is one, and ask the judge about the rest.
    max_body
        Most bytes of a request.
    queue
        Most requests at once; more get HTTP 429.
    drain
        Seconds for what is waiting when the server is told to stop.
    """
    from jurist.cli import serving
    from jurist.serving.settings import Settings, token_from_environment

    settings = Settings(
        host,
        port,
        token_from_environment(),
        group_size,
        wait,
        longest,
        deadline,
        unanswered,
        max_body,
        queue,
        drain,
    )
    return serving.serve(config, settings, rating, reward, verify=verify)
