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
    longest: float = 600.0,
    partial: Literal["refuse", "judge"] = "refuse",
    deadline: float | None = None,
    unanswered: str = "error",
    rating: Literal["score", "win-rate", "bradley-terry", "elo"] = "win-rate",
    reward: Literal["none", "standardised", "rank", "rrm"] = "none",
    verify: Flag = False,
    max_body: int = 8 * 2**20,
    max_bytes: int = 2**30,
    queue: int = 4096,
    idle: float = 30.0,
    drain: float = 120.0,
    access_log: Flag = False,
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
        Seconds after the last sibling until a group of unknown size is judged.
    longest
        Seconds after the first sibling until a group that is not whole is given up.
    partial
        What becomes of it: refuse (no reward, and the status says so) or judge (those that came).
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
    max_bytes
        Most bytes of all requests at once; more get HTTP 429.
    queue
        Most requests at once; more get HTTP 429. Fewer where the limit of open files is lower.
    idle
        Seconds in which the head of a request, and then each part of its body, must come.
    drain
        Seconds for what is waiting when the server is told to stop.
    access_log
        Log each request to standard error.
    """
    from jurist.cli import serving
    from jurist.serving.settings import Settings, token_from_environment

    settings = Settings(
        host=host,
        port=port,
        token=token_from_environment(),
        group_size=group_size,
        wait=wait,
        longest=longest,
        partial=partial,
        deadline=deadline,
        unanswered=unanswered,
        max_body=max_body,
        max_bytes=max_bytes,
        queue=queue,
        idle=idle,
        drain=drain,
        access_log=access_log,
    )
    return serving.serve(config, settings, rating, reward, verify=verify)
