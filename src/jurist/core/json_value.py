"""What JSON can say, as types: for rows and replies that are looked through by ``isinstance``."""

from typing import TypeAlias, Union

JsonValue: TypeAlias = Union["JsonObject", list["JsonValue"], str, int, float, bool, None]
JsonObject: TypeAlias = dict[str, JsonValue]
