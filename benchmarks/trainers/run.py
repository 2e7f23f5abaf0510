"""Run a client of this folder in an environment of its own, against a server of this project.

    python benchmarks/trainers/run.py CLIENT [--python PYTHON] [--source FOLDER] [NAME=VALUE ...]

CLIENT is a name of ``CLIENTS``. The environment is made in build/trainers/ (pip, and git for what is on no
package index), unless ``--python`` (an interpreter with the requirements) and ``--source`` (a checkout) are
given. The server is judge_server.py with ``group_size`` 8, run by this interpreter.
"""

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Client(NamedTuple):
    """What a script needs: packages, and a repository at a commit that is put on the path."""

    packages: tuple[str, ...]
    repository: str = ""
    commit: str = ""


GYM = (
    "openai<=2.7.2 anthropic fastapi mcp>=1.28,<2 itsdangerous uvicorn uvloop hydra-core omegaconf aiohttp "
    "yappi psutil orjson devtools requests python-multipart wandb GitPython pandas ray[default] datasets tqdm"
)
CLIENTS = {
    "slime_remote_rm": Client(
        ("aiohttp", "httpx", "pylatexenc", "sympy", "torch"), "https://github.com/THUDM/slime", "624b824"
    ),
    "nemo_gym_agent": Client(tuple(GYM.split()), "https://github.com/NVIDIA-NeMo/Gym", "07d6b0d"),
    "rerank_clients": Client(("cohere==5.21.*", "litellm==1.110.*", "openai==3.57.*")),
}


def environment(name: str, client: Client) -> Path:
    """The interpreter of the client's environment, which is made where it is not there."""
    folder = Path("build/trainers") / name
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *client.packages], check=True)
    return python


def checkout(name: str, client: Client) -> Path:
    """The client's repository at its commit."""
    folder = Path("build/trainers") / f"{name}-source"
    if not folder.exists():
        subprocess.run(["git", "clone", "-q", client.repository, folder], check=True)
        subprocess.run(["git", "-C", folder, "checkout", "-q", client.commit], check=True)
    return folder


def main() -> None:
    """Start the server, run the client, end the server."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("client", choices=sorted(CLIENTS))
    parser.add_argument("--python", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--port", type=int, default=8399)
    parser.add_argument("--server", action="append", default=[], help="NAME=VALUE of judge_server.py")
    parser.add_argument("options", nargs="*")
    asked = parser.parse_intermixed_args()
    client = CLIENTS[asked.client]
    python = asked.python or environment(asked.client, client)
    path = str(asked.source or checkout(asked.client, client)) if client.repository else ""
    command = [sys.executable, str(HERE / "judge_server.py"), str(asked.port), "group_size=8", *asked.server]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            line = server.stderr.readline()
            if "listening" not in line:
                raise SystemExit(line + server.stderr.read())
            script = [str(python), str(HERE / f"{asked.client}.py"), f"http://127.0.0.1:{asked.port}"]
            environ = {**os.environ, "PYTHONPATH": path}
            raise SystemExit(subprocess.run([*script, *asked.options], env=environ, check=False).returncode)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
