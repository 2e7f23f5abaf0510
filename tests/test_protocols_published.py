"""Published prompts: read, verified and cached from every place they may come from; every way that fails."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from shared import shared

from jurist.core.errors import ProtocolError, UnknownNameError
from jurist.protocols import published
from jurist.protocols.published import PUBLISHED, Published, cache_folder, prompts, pull

SOURCE = '''
"""A harness; it must not be run: reading is enough."""
import nowhere_to_be_found

FIRST = (
    "Judge {question}. "
    'Say "A" or "B".'
    "\\n"
)
SECOND = "Grüße " + """an
{answer}""" + ("!" "?")
THIRD: str = "annotated"
NUMBER = 1 / 0
FIRST_AND_MORE = f"{NUMBER}"
pair = other = "two targets"
'''
STRINGS = {"system": 'Judge {question}. Say "A" or "B".\n', "user": "Grüße an\n{answer}!?" * 2}
HASHES = {key: sha256(text.encode()).hexdigest() for key, text in STRINGS.items()}


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """A family 'toy' whose source nobody serves, an empty cache and no JURIST_PROTOCOLS."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JURIST_PROTOCOLS", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    family = Published(
        name="toy",
        url="http://127.0.0.1:9/generative.py",
        licence="MIT",
        constants={"system": ("FIRST",), "user": ("SECOND", "SECOND")},
        sha256=HASHES,
    )
    monkeypatch.setitem(PUBLISHED, "toy", family)
    return family


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


@contextmanager
def served(body: bytes, status: int = 200) -> Iterator[str]:
    """The address of a server on this machine that always answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/generative.py"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- the places -------------------------------------------------------------------------------------


def test_json_file(tmp_path: Path) -> None:
    file = write(
        tmp_path / "toy.json", {"protocol": "toy", "strings": STRINGS | {"more": "kept out"}, "n": 1}
    )
    assert prompts("toy", file) == STRINGS
    assert not cache_folder().exists(), "reading a file caches nothing"


def test_python_source_with_concatenations(tmp_path: Path) -> None:
    assert prompts("toy", write(tmp_path / "generative.py", SOURCE)) == STRINGS


def test_pull_from_a_file_fills_the_cache(tmp_path: Path) -> None:
    file = write(tmp_path / "generative.py", SOURCE)
    assert pull("toy", file) == STRINGS
    file.unlink()
    assert prompts("toy") == STRINGS
    assert [f.name for f in cache_folder().iterdir()] == ["toy.json"]
    kept = json.loads((cache_folder() / "toy.json").read_text("utf-8"))
    assert kept["strings"] == STRINGS
    assert (kept["licence"], kept["source"]) == ("MIT", PUBLISHED["toy"].url)
    assert pull("toy", cache_folder() / "toy.json") == STRINGS, "the cache is itself such a file"


def test_environment_names_a_file_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "shared" / "toy.json", {"strings": STRINGS})
    for place in (file, file.parent):
        monkeypatch.setenv("JURIST_PROTOCOLS", str(place))
        assert prompts("toy") == STRINGS
    source = write(tmp_path / "generative.py", SOURCE)
    monkeypatch.setenv("JURIST_PROTOCOLS", str(source))
    assert prompts("toy") == STRINGS


def test_a_file_goes_before_environment_before_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = write(tmp_path / "good.json", {"strings": STRINGS})
    bad = write(tmp_path / "bad.json", {"strings": {}})
    write(cache_folder() / "toy.json", {"strings": {}})
    monkeypatch.setenv("JURIST_PROTOCOLS", str(bad))
    assert prompts("toy", good) == STRINGS
    monkeypatch.setenv("JURIST_PROTOCOLS", str(good))
    assert prompts("toy") == STRINGS


def test_fetched_once(toy: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(SOURCE.encode()) as url:
        monkeypatch.setitem(PUBLISHED, "toy", replace(toy, url=url))
        assert prompts("toy") == STRINGS
    assert prompts("toy") == STRINGS, "the second time from the cache: the server is gone"


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache" / "jurist" / "protocols"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "jurist" / "protocols"


# --- what goes wrong --------------------------------------------------------------------------------


def test_offline_and_uncached() -> None:
    with pytest.raises(ProtocolError, match="toy are not cached and could not be fetched") as caught:
        prompts("toy")
    assert "jurist protocols pull toy" in caught.value.hint
    assert "--file" in caught.value.hint
    assert "127.0.0.1:9" in caught.value.message


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"gone", 404, "could not be fetched"),
        (b"\xff\xfe", 200, "could not be fetched"),
        (b"<!doctype html><p>Please log in", 200, "is not the published Python source"),
        (b"x = '\x00'", 200, "is not the published Python source"),
        (SOURCE.replace("Judge", "Judges").encode(), 200, "'system' of toy .* is not the published one"),
        (b"", 200, "is not the published one"),
    ],
)
def test_a_wrong_answer_is_not_cached(
    toy: Published, monkeypatch: pytest.MonkeyPatch, body: bytes, status: int, message: str
) -> None:
    with served(body, status) as url:
        monkeypatch.setitem(PUBLISHED, "toy", replace(toy, url=url))
        with pytest.raises(ProtocolError, match=message) as caught:
            pull("toy")
    assert caught.value.hint
    assert not cache_folder().exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            {"strings": STRINGS | {"user": "changed"}},
            "'user' of toy from .*a.json is not the published",
        ),
        (
            "a.json",
            {"strings": {"system": STRINGS["system"]}},
            "'user' of toy from .*a.json is not the published",
        ),
        ("a.json", {"strings": STRINGS | {"user": 1}}, "a.json is not a protocol file"),
        ("a.json", {"prompts": STRINGS}, "a.json is not a protocol file"),
        ("a.json", [STRINGS], "a.json is not a protocol file"),
        ("a.json", "not JSON", "a.json is not a protocol file"),
        ("a.json", "", "a.json is not a protocol file"),
        ("a.py", "FIRST = (", "a.py is not the published Python source"),
        ("a.py", SOURCE.replace("FIRST =", "RENAMED ="), "'system' of toy from .*a.py is not the published"),
        ("a.py", SOURCE.replace('"an', 'f"an'), "is not the published"),
    ],
)
def test_a_wrong_file(tmp_path: Path, name: str, content: object, message: str) -> None:
    file = write(tmp_path / name, content)
    for read in (prompts, pull):
        with pytest.raises(ProtocolError, match=message) as caught:
            read("toy", file)
        assert caught.value.hint
    assert not cache_folder().exists()


def test_an_absent_or_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "a.json"
    binary.write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "absent.json", tmp_path, binary):
        with pytest.raises(ProtocolError, match="cannot read the protocol file") as caught:
            prompts("toy", file)
        assert "jurist protocols pull toy" in caught.value.hint
    monkeypatch.setenv("JURIST_PROTOCOLS", str(tmp_path))
    with pytest.raises(ProtocolError, match=r"toy\.json") as caught:
        prompts("toy")
    assert "JURIST_PROTOCOLS" in caught.value.hint


def test_an_unknown_family() -> None:
    for call in (prompts, pull):
        with pytest.raises(UnknownNameError, match="unknown published protocol 'rm-r2'") as caught:
            call("rm-r2")
        assert "rm-r1" in caught.value.hint


# --- the real ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rm-r1", "rrm"])
def test_the_shared_copy_is_the_published_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared("protocols")
    monkeypatch.setenv("JURIST_PROTOCOLS", str(folder))
    strings = prompts(name)
    assert list(strings) == list(PUBLISHED[name].sha256) == list(PUBLISHED[name].constants)
    assert (
        json.loads((folder / f"{name}.json").read_text("utf-8"))["sha256"].items()
        >= PUBLISHED[name].sha256.items()
    )
    assert pull(name, folder / f"{name}.json") == strings
    monkeypatch.delenv("JURIST_PROTOCOLS")
    assert prompts(name) == strings


def test_sources_are_pinned_to_a_commit() -> None:
    for name in ("rm-r1", "rrm"):
        commit = PUBLISHED[name].url.split("/")[5]
        assert len(commit) == 40
        assert set(commit) <= set("0123456789abcdef")
        assert published.PUBLISHED[name].licence in ("Apache-2.0", "MIT")
