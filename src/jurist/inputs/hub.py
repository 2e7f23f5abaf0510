"""Datasets of the Hugging Face Hub as rows, streamed."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from jurist.core.errors import InputError, MissingExtraError, unknown
from jurist.inputs.lines import Numbered
from jurist.inputs.tables import plain

_NAME = re.compile(r"(?P<path>[^:@#]+)(:(?P<split>[^:@#]+))?(@(?P<revision>[^:@#]+))?(#(?P<config>[^:@#]+))?")
FORM = "hf:org/name[:split][@revision][#config]"


def hub_rows(source: str) -> Iterator[Numbered]:
    """Rows of ``hf:org/name[:split][@revision][#config]``; a local folder in place of the name works too.

    The dataset is found here, so that a wrong name raises at once; its rows come one at a time.
    """
    named = _NAME.fullmatch(source.removeprefix("hf:"))
    if not named:
        raise InputError(f"{source!r} does not name a dataset", f"the form is {FORM}")
    return _rows(_split(source, _found(source, named), named["split"]), source)


def _found(source: str, named: re.Match[str]) -> Any:
    try:
        datasets: Any = import_module("datasets")  # loaded by name: it has no types to offer
    except ImportError:
        raise MissingExtraError("datasets", "hub", "reading datasets of the Hugging Face Hub") from None
    folder = Path(named["path"]).expanduser()
    path = str(folder) if folder.exists() else named["path"]
    try:
        return datasets.load_dataset(path, named["config"], revision=named["revision"], streaming=True)
    except Exception as error:  # the library raises whatever its network client raised
        raise _unreachable(source, error) from error


def _split(source: str, dataset: Any, split: str | None) -> Any:
    splits = list(dataset)
    if split is None and len(splits) == 1:
        split = splits[0]
    if split is None:
        name = source.removeprefix("hf:")
        raise InputError(
            f"{source} has the splits {', '.join(splits)}; which one is meant?",
            f"for example {_with_split(name, splits[-1])}",
        )
    if split not in splits:
        error = unknown("split", split, splits)
        raise InputError(f"{source}: {error.message}", error.hint)
    return dataset[split]


def _with_split(name: str, split: str) -> str:
    mark = re.search("[@#]|$", name)
    at = mark.start() if mark else len(name)
    return f"hf:{name[:at]}:{split}{name[at:]}"


def _rows(dataset: Any, source: str) -> Iterator[Numbered]:
    number = 0
    rows: Iterator[object] = iter(dataset)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # as above: the rows come over the same network
            raise _unreachable(f"{source}: after row {number}", error) from error
        number += 1
        yield number, plain(row)


def _unreachable(what: str, error: Exception) -> InputError:
    said = str(error).strip().splitlines() or [""]
    return InputError(
        f"{what}: {type(error).__name__}: {said[0][:200]}",
        "check the name and the network; private and gated datasets need `hf auth login`; "
        "a copy on disk is read as hf:path/to/folder or as a plain file",
    )
