"""How many tokens a prompt has: by the judge's own tokenizer where it is here, else an estimate."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

from jurist.core.errors import EngineError, MissingExtraError
from jurist.core.types import Conversation, Decision
from jurist.engines.chat_template import ChatError, ChatIds
from jurist.engines.pretrained import libraries, load
from jurist.judging.config import JudgeConfig

PER_TOKEN = 4.0
"""Characters of a token where nothing better is known: English text with tokenizers of 2024 and later."""

Count = Callable[[Conversation, str | None], int]
"""``count(messages, beginning)``: the tokens of a prompt, and of the answer's given beginning."""


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """``how`` says in words what counts, ``exact`` whether that is the judge's own tokenizer."""

    count: Count
    how: str
    exact: bool


def token_counter(
    config: JudgeConfig, tokenizer: str | None = None, *, per_token: float | None = None
) -> TokenCounter:
    """The best counter that this machine has for a judge; no server and no hub is asked.

    ``tokenizer``: a folder, or a hub id in the local cache; it has to be there. ``per_token``: characters of
    a token, measured in an earlier run. Raises ``EngineError``, ``MissingExtraError`` for ``tokenizer``.
    """
    if tokenizer is not None:
        return _pretrained(tokenizer)
    try:
        if config.engine == "embedded":
            return _embedded(config.model)
        if config.model and _here(config.model):
            return _pretrained(config.model)
    except (EngineError, MissingExtraError):
        pass
    if per_token is not None:
        return TokenCounter(_estimate(per_token), f"characters / {per_token:.2f}, as measured", exact=False)
    return TokenCounter(_estimate(PER_TOKEN), f"an estimate: characters / {PER_TOKEN:g}", exact=False)


def characters_per_token(decisions: Iterable[Decision]) -> float | None:
    """Characters of the prompts of judgments for each token that their servers counted; None without any."""
    characters = tokens = 0
    for decision in decisions:
        for judgment in decision.judgments:
            # The second call of a forced verdict reads the prompt again, and is left out.
            read = judgment.completion.usage.prompt_tokens
            if read and judgment.query.messages and judgment.query.sampling.thinking_budget is None:
                characters += sum(len(message.content) for message in judgment.query.messages)
                tokens += read
    return characters / tokens if tokens and characters else None


def _embedded(model: str | None) -> TokenCounter:
    from jurist.engines.embedded import embedded_chat

    chat = embedded_chat(model)
    return TokenCounter(lambda messages, begun: len(chat.ids(messages, begun)), "the judge's tokenizer", True)


def _pretrained(name: str) -> TokenCounter:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _, transformers = libraries("--tokenizer")
    chat = ChatIds(load(transformers, "AutoTokenizer", name, local_files_only=True), name)
    rough = _estimate(PER_TOKEN)

    def count(messages: Conversation, begun: str | None) -> int:
        try:
            return len(chat.prompt(messages, begun))
        except ChatError:
            return rough(messages, begun)

    return TokenCounter(count, f"the tokenizer of {name}", exact=True)


def _here(model: str) -> bool:
    """Whether a model's files are on this machine: a folder, or in the hub's cache."""
    home = os.environ.get("HF_HUB_CACHE") or os.path.join(
        os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface"), "hub"
    )
    return isdir(model) or isdir(os.path.join(home, "models--" + model.replace("/", "--")))


def _estimate(per_token: float) -> Count:
    def count(messages: Conversation, begun: str | None) -> int:
        return round((sum(len(message.content) for message in messages) + len(begun or "")) / per_token)

    return count
