"""Starts the stub server in a process of its own."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PORT = 8951


@contextmanager
def stub(seconds: float = 0.0, slots: int = 0) -> Generator[str]:
    """The address of a running stub server."""
    file = Path(__file__).with_name("stub.py")
    process = subprocess.Popen([sys.executable, str(file), str(PORT), str(seconds), str(slots)])
    url = f"http://127.0.0.1:{PORT}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/busy").read()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()
