"""A chat-completions server that answers at once, or after a fixed time, for measuring clients.

    python benchmarks/stub.py PORT [SECONDS] [SLOTS]

GET /busy gives the seconds of work done so far and its slots, for the share of slots that were busy.
"""

import asyncio
import json
import sys
import time

from aiohttp import web

REPLY = {
    "id": "stub",
    "object": "chat.completion",
    "model": "stub",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "word " * 780 + "<answer>[[A]]</answer>"},
        }
    ],
    "usage": {"prompt_tokens": 900, "completion_tokens": 800, "total_tokens": 1700},
}


def app(seconds: float, slots: int) -> web.Application:
    """The server; with ``slots`` at most so many requests are worked on at once."""
    body = json.dumps(REPLY).encode()
    free = asyncio.Semaphore(slots) if slots else None
    work = {"seconds": 0.0}

    async def chat(request: web.Request) -> web.Response:
        await request.read()
        if seconds and free:
            async with free:
                started = time.monotonic()
                await asyncio.sleep(seconds)
                work["seconds"] += time.monotonic() - started
        return web.Response(body=body, content_type="application/json")

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "stub", "owned_by": "stub"}]})

    async def busy(_: web.Request) -> web.Response:
        return web.json_response({"seconds": work["seconds"], "slots": slots})

    server = web.Application()
    server.router.add_post("/v1/chat/completions", chat)
    server.router.add_get("/v1/models", models)
    server.router.add_get("/busy", busy)
    return server


if __name__ == "__main__":
    port, seconds, slots = (float(x) for x in (*sys.argv[1:], "0", "0", "0")[:3])
    web.run_app(app(seconds, int(slots)), host="127.0.0.1", port=int(port), print=None, access_log=None)
