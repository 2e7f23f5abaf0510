"""The files of a benchmark: given, fetched from where they are published, or on the hub."""

import http.client
import urllib.request
from hashlib import sha256
from pathlib import Path

from jurist.benchmarks.base import Benchmark, PinnedFile
from jurist.core.errors import InputError
from jurist.core.files import cache_folder, write_whole
from jurist.inputs.lines import NoDataError


def place(benchmark: Benchmark, data: Path | None = None) -> Path:
    """What ``Benchmark.load`` reads: below ``data`` the folder of the benchmark's name, if there is one.

    Without ``data`` the published files are fetched into the cache and verified, or the hub is named.
    Raises ``InputError`` where neither can be had.
    """
    if data is not None:
        names = (benchmark.name, benchmark.name.split("-")[0])
        return next((data / name for name in names if _holds(benchmark, data / name)), data)
    if benchmark.files:
        folder = cache_folder("benchmarks") / benchmark.name
        for file in benchmark.files:
            _fetched(file, folder / file.path)
        return folder
    if benchmark.hub:
        return Path(f"hf:{benchmark.hub}")
    raise InputError(
        f"{benchmark.name}: its files are not published where they could be fetched",
        hint=f"--data FOLDER; source: {benchmark.source}",
    )


def _holds(benchmark: Benchmark, folder: Path) -> bool:
    """Whether a folder of the benchmark's name has its files: in its repository that may be a package."""
    if not folder.is_dir():
        return False
    try:
        next(iter(benchmark.load(folder)), None)
    except NoDataError:
        return False
    except (InputError, OSError):
        return True  # a file that cannot be read: loading it says why
    return True


def _fetched(file: PinnedFile, path: Path) -> None:
    if path.exists() and sha256(path.read_bytes()).hexdigest() == file.sha256:
        return
    try:
        with urllib.request.urlopen(file.url, timeout=60) as reply:
            content: bytes = reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"cannot fetch {file.url}: {getattr(error, 'reason', error)}",
            hint="fetch it elsewhere, and give its folder: --data FOLDER",
        ) from error
    digest = sha256(content).hexdigest()
    if digest != file.sha256:
        raise InputError(
            f"{file.url} is not the file that was published: sha256 {digest}, expected {file.sha256}",
            hint="give a folder with the right file: --data FOLDER",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
