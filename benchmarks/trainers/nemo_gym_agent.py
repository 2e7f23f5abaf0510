"""NeMo Gym's own `SimpleAgent` and `ServerClient`, with `jurist serve` as its resources server.

    python benchmarks/trainers/run.py nemo_gym_agent
    python benchmarks/trainers/nemo_gym_agent.py URL [tasks=32] [size=8] [epochs=2] [observed=0]

Each rollout goes through the agent's `/run`: `/seed_session`, the model (a stub: "answer N"), `/verify`. Each
task has the prompt of its neighbour, and each epoch has replies of its own. ``observed``: with Gym's
observability, which puts /ng-rollout/ID before the paths. What is right is what `/rank` says of the task.
"""

import asyncio
import random
import socket
import sys
from typing import Any

import aiohttp
import uvicorn
from fastapi import FastAPI, Request
from nemo_gym.server_utils import (
    BaseServerConfig,
    GlobalAIOHTTPAsyncClientConfig,
    ServerClient,
    set_global_aiohttp_client,
)
from omegaconf import OmegaConf
from responses_api_agents.simple_agent.app import (
    ModelServerRef,
    ResourcesServerRef,
    SimpleAgent,
    SimpleAgentConfig,
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def model() -> FastAPI:
    """A model whose reply is the number that the caller put into the temperature's place of the request."""
    app = FastAPI()

    @app.post("/v1/responses")
    @app.post("/ng-rollout/{rollout_id}/v1/responses")
    async def responses(request: Request) -> dict[str, Any]:
        body = await request.json()
        await asyncio.sleep(random.random() / 5)
        text = {"type": "output_text", "text": f"answer {body['max_output_tokens']}", "annotations": []}
        message = {
            "type": "message",
            "id": "m",
            "role": "assistant",
            "status": "completed",
            "content": [text],
        }
        return {
            "id": "r",
            "created_at": 0,
            "model": "stub",
            "object": "response",
            "output": [message],
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
        }

    return app


async def serve(app: FastAPI, port: int) -> asyncio.Task[None]:
    """The application in the running loop."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_keep_alive=600))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return task


async def measure(url: str, tasks: int, size: int, epochs: int, observed: int) -> dict[str, Any]:
    """Counts of rollouts with the right reward, and the metrics that the agent aggregates."""
    host, _, port = url.rpartition("//")[2].partition(":")
    ports = {"agent": free_port(), "model": free_port()}
    config = {
        "observability_enabled": bool(observed),
        "agent": {"responses_api_agents": {"simple": {"host": "127.0.0.1", "port": ports["agent"]}}},
        "model": {"responses_api_models": {"stub": {"host": "127.0.0.1", "port": ports["model"]}}},
        "judge": {"resources_servers": {"jurist": {"host": host, "port": int(port)}}},
    }
    set_global_aiohttp_client(GlobalAIOHTTPAsyncClientConfig())
    client = ServerClient(
        head_server_config=BaseServerConfig(host="127.0.0.1", port=1),
        global_config_dict=OmegaConf.create(config),
    )
    agent = SimpleAgent(
        config=SimpleAgentConfig(
            host="127.0.0.1",
            port=ports["agent"],
            entrypoint="",
            name="agent",
            model_server=ModelServerRef(type="responses_api_models", name="model"),
            resources_server=ResourcesServerRef(type="resources_servers", name="judge"),
        ),
        server_client=client,
    )
    await serve(model(), ports["model"])
    await serve(agent.setup_webserver(), ports["agent"])
    right = wrong = failed = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def run(task: int, rollout: int, number: int) -> Any:
            params = {
                "input": [{"role": "user", "content": f"prompt {task // 2}"}],
                "max_output_tokens": number,
            }
            body = {"responses_create_params": params, "_ng_task_index": task, "_ng_rollout_index": rollout}
            async with session.post(f"http://127.0.0.1:{ports['agent']}/run", json=body) as reply:
                return await reply.json() if reply.status == 200 else {"error": await reply.text()}

        replies: list[Any] = []
        for epoch in range(epochs):
            # In each epoch the first reply is that of the last one; only its siblings differ.
            numbers = [[17] + [17 + (i if epoch % 2 else -i) for i in range(1, size)] for _ in range(tasks)]
            asks = [run(task, i, numbers[task][i]) for task in range(tasks) for i in range(size)]
            replies = await asyncio.gather(*asks)
            for task in range(tasks):
                rewards = [reply.get("reward") for reply in replies[task * size : (task + 1) * size]]
                responses = [f"answer {number}" for number in numbers[task]]
                body = {"prompt": f"prompt {task // 2}", "responses": responses}
                async with session.post(f"{url}/rank", json=body) as reply:
                    whole = [response["reward"] for response in (await reply.json())["responses"]]
                failed += sum(reward is None for reward in rewards)
                right += sum(a == b for a, b in zip(rewards, whole, strict=True))
                wrong += sum(a is not None and a != b for a, b in zip(rewards, whole, strict=True))
        rows = [
            {"_ng_task_index": i // size, "_ng_rollout_index": i % size, "reward": reply.get("reward")}
            for i, reply in enumerate(replies)
        ]
        url_of_agent = f"http://127.0.0.1:{ports['agent']}"
        async with session.post(
            f"{url_of_agent}/aggregate_metrics", json={"verify_responses": rows}
        ) as reply:
            metrics = (await reply.json()).get("key_metrics") if reply.status == 200 else await reply.text()
        async with session.get(f"{url}/reverify_mode") as reply:
            mode = await reply.json()
    errors = sorted({str(reply["error"])[:200] for reply in replies if "error" in reply})
    return {
        "rollouts": tasks * size * epochs,
        "right": right,
        "wrong": wrong,
        "failed": failed,
        "key_metrics": metrics,
        "reverify_mode": mode,
        "errors": errors,
    }


if __name__ == "__main__":
    options = {"tasks": 32, "size": 8, "epochs": 2, "observed": 0}
    for argument in sys.argv[2:]:
        name, _, value = argument.partition("=")
        options[name] = int(value)
    print(asyncio.run(measure(sys.argv[1].rstrip("/"), **options)))
