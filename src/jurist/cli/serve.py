"""`jurist serve`: the judge as a reward server over HTTP."""

from typing import Annotated, Literal

from cyclopts import Group, Parameter

from jurist.cli.options import Flag, Judge
from jurist.judging.config import DEFAULTS

GROUPS = Group("Groups and rewards", sort_key=1)
SERVER = Group("Server", sort_key=2)


def serve(
    *,
    host: Annotated[str, Parameter(group=SERVER)] = "127.0.0.1",
    port: Annotated[int, Parameter(group=SERVER)] = 8300,
    group_size: Annotated[int | None, Parameter(group=GROUPS)] = None,
    wait: Annotated[float, Parameter(group=GROUPS)] = 5.0,
    longest: Annotated[float, Parameter(group=GROUPS)] = 600.0,
    partial: Annotated[Literal["refuse", "judge"], Parameter(group=GROUPS)] = "refuse",
    deadline: Annotated[float | None, Parameter(group=GROUPS)] = None,
    unanswered: Annotated[str, Parameter(group=GROUPS)] = "error",
    rating: Annotated[
        Literal["score", "win-rate", "bradley-terry", "elo"], Parameter(group=GROUPS)
    ] = "win-rate",
    reward: Annotated[Literal["none", "standardised", "rank", "rrm"], Parameter(group=GROUPS)] = "none",
    verify: Annotated[Flag, Parameter(group=GROUPS)] = False,
    max_body: Annotated[int, Parameter(group=SERVER)] = 8 * 2**20,
    max_bytes: Annotated[int, Parameter(group=SERVER)] = 2**30,
    queue: Annotated[int, Parameter(group=SERVER)] = 4096,
    idle: Annotated[float, Parameter(group=SERVER)] = 30.0,
    drain: Annotated[float, Parameter(group=SERVER)] = 120.0,
    access_log: Annotated[Flag, Parameter(group=SERVER)] = False,
    config: Judge = DEFAULTS,
) -> int:
    """Serve the judge: comparisons, rankings, and rewards for trainers that send one sample a time.

    The environment variable JURIST_SERVER_TOKEN sets the bearer token that every request must have.

    Examples::

        jurist serve -e http://localhost:8000/v1
        jurist serve -e http://localhost:8000/v1 --group-size 8 --rating elo --reward rrm
        jurist serve -e http://localhost:8000/v1 --host 0.0.0.0     # with JURIST_SERVER_TOKEN set

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
    from jurist.cli.console import describe, next_step, say
    from jurist.core.errors import MissingExtraError
    from jurist.judging.build import assemble
    from jurist.rewards.group import GroupJudge, exact_answer
    from jurist.serving.settings import Settings, token_from_environment

    try:
        from jurist.serving import server
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("uvicorn", "prometheus_client"):
            raise
        raise MissingExtraError(error.name or "", "serve", "the reward server") from None
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
    judge = GroupJudge(assemble(config, say), rating, reward, verify=exact_answer if verify else None)
    say(describe(judge.setup.config))
    if port:
        next_step("is it there", "curl", f"http://{host}:{port}/healthz")
    server.run(judge, settings, say)
    say("drained; goodbye")
    return 0
