"""Rows of files on filesystems that pyarrow or fsspec knows: s3://, gs://, abfs://, hdfs:// ..."""

import io
from collections.abc import Iterator
from importlib import import_module
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple, cast

from jurist.core.errors import InputError, MissingExtraError
from jurist.inputs.files import LEGAL, READERS, placed_rows, suffix_of
from jurist.inputs.lines import BadRow, NoDataError, Row


class Remote(NamedTuple):
    """A place on a filesystem of pyarrow."""

    filesystem: Any
    path: str


def is_remote(source: str) -> bool:
    """Whether a source is an address on a filesystem; those of web pages are not."""
    scheme, mark, _ = source.partition("://")
    return bool(mark) and scheme.isidentifier() and scheme.lower() not in ("http", "https")


def remote_of(source: str, filesystem: Any = None) -> Remote:
    """Where an address leads; ``filesystem`` (pyarrow's or fsspec's) takes the place of the one it names.

    Raises ``InputError`` for an address that neither pyarrow nor fsspec knows.
    """
    try:
        arrow = import_module("pyarrow.fs")
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", "reading from other filesystems") from None
    path = source.partition("://")[2] if "://" in source else source
    if filesystem is not None:
        return Remote(_arrow_of(arrow, filesystem), path)
    try:
        return Remote(*arrow.FileSystem.from_uri(source))
    except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors
        refused = error
    try:
        found, path = import_module("fsspec.core").url_to_fs(source)
        return Remote(_arrow_of(arrow, found), path)
    except ImportError as error:
        missing = f"{error}; without it: {refused}"
        raise InputError(f"{source}: cannot be read: {missing}", "python -m pip install fsspec") from None
    except ValueError as error:
        raise InputError(f"{source}: cannot be read: {error}", "s3://, gs://, abfs://, hdfs://") from None


def remote_rows(source: str, filesystem: Any = None) -> Iterator[Row | BadRow]:
    """Rows of a file or folder of another filesystem, with the places and ids of a local one's.

    A source that cannot be read raises ``InputError`` here.
    """
    remote = remote_of(source, filesystem)
    files = _files(remote, source)
    if [remote.path.rstrip("/")] == files:
        return _file_rows(remote, files[0], source, "")
    rows = (
        row
        for path in files
        for row in _file_rows(remote, path, f"{source.rstrip('/')}/{_name(path)}", f"{_name(path)}:")
    )
    return (row._replace(number=number) for number, row in enumerate(rows, 1))


def _files(remote: Remote, source: str) -> list[str]:
    """The file that an address names, or those of a folder in the order of their names."""
    arrow = import_module("pyarrow.fs")
    try:
        info = remote.filesystem.get_file_info(remote.path.rstrip("/"))
        if info.type == arrow.FileType.NotFound:
            raise InputError(f"{source}: there is no such file or folder", "check the address and the rights")
        if info.type == arrow.FileType.File:
            if not _holds_rows(info.path):
                raise InputError(f"{source}: no format of rows has this suffix; {LEGAL}", "rename the file")
            return [remote.path.rstrip("/")]
        listed = remote.filesystem.get_file_info(arrow.FileSelector(remote.path.rstrip("/")))
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error}", "check the address and the rights") from None
    files = sorted(f.path for f in listed if f.type == arrow.FileType.File and _holds_rows(f.path))
    if not files:
        raise NoDataError(f"{source}: the folder holds no data files", LEGAL)
    return files


def _file_rows(remote: Remote, path: str, name: str, prefix: str) -> Iterator[Row | BadRow]:
    suffix = suffix_of(PurePosixPath(path))
    # Columns are read here and there, lines from the beginning on, unpacked by the name's ending.
    opened: Any = (
        remote.filesystem.open_input_file(path)
        if suffix == ".parquet"
        else remote.filesystem.open_input_stream(path, buffer_size=1 << 20)
    )
    stream = cast("IO[bytes]", opened if suffix == ".parquet" else io.BufferedReader(opened, 1 << 20))
    with stream:
        yield from placed_rows(READERS[suffix](stream), name, prefix, "row " if suffix == ".parquet" else "")


def _holds_rows(path: str) -> bool:
    return not _name(path).startswith(".") and suffix_of(PurePosixPath(path)) in READERS


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _arrow_of(arrow: Any, filesystem: Any) -> Any:
    """A filesystem of pyarrow; one of fsspec is wrapped."""
    if isinstance(filesystem, arrow.FileSystem):
        return filesystem
    return arrow.PyFileSystem(arrow.FSSpecHandler(filesystem))
