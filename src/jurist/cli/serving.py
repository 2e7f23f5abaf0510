"""What `jurist serve` does, once its options are read."""

import asyncio

from jurist.cli.console import say
from jurist.cli.judging import describe
from jurist.core.errors import MissingExtraError
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.group import GroupJudge, exact_answer
from jurist.rewards.ranking import Rating
from jurist.rewards.ranking import Reward as Mapping
from jurist.serving.settings import Settings


def serve(
    config: JudgeConfig, settings: Settings, rating: Rating, reward: Mapping, *, verify: bool = False
) -> int:
    """Serve until a signal, then answer what is waiting."""
    try:
        from jurist.serving import server
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("starlette", "uvicorn", "prometheus_client"):
            raise
        raise MissingExtraError(error.name or "", "serve", "the reward server") from None
    judge = GroupJudge(assemble(config, say), rating, reward, verify=exact_answer if verify else None)
    say(describe(judge.setup.config))
    asyncio.run(server.serve(judge, settings, say))
    say("drained; goodbye")
    return 0
