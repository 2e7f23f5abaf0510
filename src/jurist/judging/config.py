"""The options of a judge, shared by every command."""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from jurist.core.errors import ConfigError, unknown


@dataclass(frozen=True)
class JudgeConfig:
    """Options of a judge. What is None is chosen by the engine, the protocol or the model's name."""

    engine: str = "embedded"
    """Where tokens come from: embedded, http://HOST:PORT/v1 (any OpenAI-compatible server; several that serve
    one model with commas between them), transformers, vllm, replay:RUN."""
    model: str | None = None
    """Model name at the server, Hugging Face id or folder, or GGUF file (embedded; without one, the judge
    that comes with this package; base: the model that it was trained from)."""
    protocol: str | None = None
    """Prompt and parser of the judge; guessed from the model's name if not given. See `jurist list`;
    your own: FILE.py:NAME."""
    family: Literal["instruct", "reasoning"] | None = None
    """Family of an RM-R1 checkpoint: instruct (Qwen2.5-Instruct) or reasoning (DeepSeek-distilled)."""
    rule: Literal["robust", "eval", "train"] = "robust"
    """How verdicts are read: ours, or the official evaluation or training rule of RM-R1 and RRM."""
    system: Literal["send", "merge", "drop"] = "send"
    """The protocol's system prompt: sent as such, merged into the user turn, or left out."""
    protocol_file: Path | None = None
    """Local file with the prompts of a published protocol."""
    deliberation: str | None = None
    """How many asks make a decision: once, swapped, swapped(vote(5)), confident(16), knockout(swapped) ...
    See `jurist list`."""
    forced: Literal["never", "missing", "always"] | None = None
    """Read the verdict from the labels' probabilities after the reasoning: never, where the text has none
    (missing), always."""
    temperature: float | None = None
    """Sampling temperature (0: greedy)."""
    top_p: float | None = None
    """Nucleus sampling."""
    max_tokens: int | None = None
    """Most tokens of one completion, thinking included."""
    thinking_budget: int | None = None
    """Most tokens of thinking (0: none); thinking that is cut is closed, and a short answer follows."""
    answer_tokens: int = 100
    """Most tokens of the answer after thinking that was cut at its budget."""
    first: Path | None = None
    """TOML file with the options of the cheap judge that a cascade asks first."""
    seed: int = 0
    """Decides the orders and the sampling seeds."""
    concurrency: int | None = None
    """Calls in flight at once (of several servers: at each)."""
    timeout: float = 600.0
    """Seconds for one attempt of a call."""
    retry_for: float = 600.0
    """Seconds over which a call is tried again."""
    requests_per_minute: float | None = None
    """Most requests to each server in a minute."""
    tokens_per_minute: float | None = None
    """Most tokens, read and written, at each server in a minute."""
    samples_per_request: int = 1
    """Votes that go out as one request with n samples (HTTP; the server then chooses their seeds)."""
    extra: str | None = None
    """JSON object put into the body of each HTTP request (a null takes a field out); for the engine vllm, its
    engine arguments."""
    cache: Path | None = None
    """Folder on this machine's disk that keeps completions across runs: no command pays the same question to
    the same model again."""
    give_up_after: int = 100
    """Stop after so many failed calls in a row (0: never)."""

    def __post_init__(self) -> None:
        """Join several servers to one text, make paths of texts; refuse numbers that mean nothing."""
        if not isinstance(self.engine, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            object.__setattr__(self, "engine", ",".join(self.engine))
        for name in ("protocol_file", "first", "cache"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, Path(value).expanduser())
        legal = {
            "temperature": (0.0, 10.0),
            "top_p": (1e-9, 1.0),
            "max_tokens": (1, 10**7),
            "thinking_budget": (0, 10**7),
            "answer_tokens": (1, 10**7),
            "concurrency": (1, 10**5),
            "timeout": (0.001, 10**6),
            "retry_for": (0.0, 10**7),
            "samples_per_request": (1, 1024),
            "requests_per_minute": (0.1, 10**9),
            "tokens_per_minute": (10, 10**12),
            "give_up_after": (0, 10**9),
        }
        for name, (low, high) in legal.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} = {value} is out of range", hint=f"legal: {low:g} to {high:g}")


DEFAULTS = JudgeConfig()


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds; raises ``ConfigError`` where it is none."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def read_options(path: Path) -> dict[str, Any]:
    """The options of a TOML file, names with underscores; raises ``ConfigError`` where it is none."""
    return {name.replace("-", "_"): value for name, value in read_toml(path).items()}


def config_of(path: Path, legal: Collection[str], **defaults: Any) -> JudgeConfig:
    """The judge whose options a TOML file tells; raises ``ConfigError`` for names that are not legal."""
    import msgspec

    options = read_options(path)
    if wrong := next((name for name in options if name not in legal), None):
        raise unknown(f"option in {path}", wrong, legal)
    values = defaults | options
    # Not by the field's annotation: the command line reads this option as a list.
    engine: Any = values.pop("engine", DEFAULTS.engine)
    if isinstance(engine, list):
        engine = ",".join(map(str, cast("list[object]", engine)))
    if not isinstance(engine, str):
        raise ConfigError(f"{path}: Expected `str`, got `{type(engine).__name__}` - at `$.engine`")
    try:
        config = msgspec.convert(values, JudgeConfig, dec_hook=lambda _, value: Path(value))
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None
    return replace(config, engine=engine)


def as_dict(config: Any) -> dict[str, Any]:
    """The options of a config dataclass, paths as text."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}
