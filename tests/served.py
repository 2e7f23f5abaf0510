"""A reward server on a free port in a thread of its own, for tests."""

import asyncio
import contextlib
import json
import re
import threading
from dataclasses import replace

import aiohttp
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from jurist.core.types import Completion, Usage
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.group import GroupJudge
from jurist.serving.server import Server, address, listening
from jurist.serving.service import Service
from jurist.serving.settings import Settings

NUMBERS = re.compile(r"answer (\d+)")


class Strength(ScriptedEngine):
    """The reply with the higher number wins, after some time; equal numbers: no verdict."""

    def __init__(self, seconds=0.0):
        super().__init__(self._verdict)
        self.seconds, self.broken = seconds, False

    async def __call__(self, query):
        await asyncio.sleep(self.seconds)
        return await super().__call__(query)

    def _verdict(self, query):
        a, b = map(int, NUMBERS.findall(query.messages[-1].content))
        text = "hm" if self.broken else f"because <answer>[[{'A' if a > b else 'B'}]]</answer>"
        return Completion(text, usage=Usage(10, 5), seconds=0.5)


def judge_of(engine, **options):
    bench = assemble(JudgeConfig(engine="scripted:", protocol="rubrics"))
    return GroupJudge(replace(bench, engine=engine), **options)


class Running:
    """A server on a free port in a thread of its own, and how to ask it."""

    def __init__(self, engine, judge, settings):
        self.engine = engine
        self.service = Service(judge, settings)
        self.server = Server(self.service)
        self.door = listening(settings)
        self.url = address(self.door)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve(sockets=[self.door])))

    async def post(self, path, body, **more):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, data=data, **more) as reply,
        ):
            return reply.status, await reply.json(), reply.headers

    async def get(self, path, **more):
        async with aiohttp.ClientSession() as session, session.get(self.url + path, **more) as reply:
            return reply.status, await reply.text()

    async def until(self, true):
        for _ in range(200):
            if true():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it never came")


@contextlib.contextmanager
def running(engine=None, judge=None, **settings):
    engine = engine or Strength()
    server = Running(engine, judge or judge_of(engine), Settings(**{"port": 0, **settings}))
    server.thread.start()
    try:
        yield server
    finally:
        server.service.draining = True
        server.thread.join(20)
        assert not server.thread.is_alive()
