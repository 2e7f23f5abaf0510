"""Supervised fine-tuning on written judgments, by TRL's ``SFTTrainer``.

    jurist train sft rows.jsonl --model MODEL --out RUN [--held-out pairs.jsonl]

Rows have `prompt` and `completion` (as `jurist distill` writes them) or `messages`. Loss: cross-entropy of
the completion's tokens, the mean over the tokens of a batch, each times its weight where rows or
``verdict_weight`` give one (token_weights.py); gradients are clipped at ``max_grad_norm``. The prompt's
tokens are not learned. This is RM-R1's first stage (distillation of reasoning chains), which has no weights.
With ``target`` answer the rows are pairs and the completion is the bare verdict: RM-R1's baseline "SFT".
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NotRequired, TypedDict

from jurist.core.errors import ConfigError, InputError
from jurist.core.types import Conversation, Message
from jurist.engines.chat_template import ChatError, ChatIds
from jurist.inputs import load_cases, read_rows
from jurist.inputs.lines import Fields, Row, seen
from jurist.inputs.turns import messages_of
from jurist.judging.judge import Judge
from jurist.protocols.base import Protocol, VerdictSlot
from jurist.training.config import SftOptions, chosen
from jurist.training.distributed import package
from jurist.training.evaluation import held_out_pairs, judge_of
from jurist.training.model import PolicyModel, load
from jurist.training.presets import with_preset
from jurist.training.prompts import PromptExample, prompt_examples
from jurist.training.session import Result, Say, Session
from jurist.training.token_weights import spans_of, token_weights, verdict_span, weighted_trainer
from jurist.training.types import Tokenizer, Trainer


class SftRow(TypedDict):
    """A row as the trainer reads it, all lists of one length: a number for each token."""

    input_ids: list[int]
    completion_mask: list[int]
    loss_weights: NotRequired[list[float]]


def train_sft(options: SftOptions, source: str, out: Path, say: Say) -> Result:
    """Train on the rows of ``source`` in the folder ``out``; the same call goes on where it stopped."""
    options = with_preset(options, "sft")
    session = Session("sft", options, out, source, say)
    with session.open() as checkpoint:
        if ended := session.ended():
            return ended
        policy = load(options)
        rows = _rows(options, source, judge_of(options), policy, say)
        held_out = held_out_pairs(options, policy, out, options.eval_tokens or 512)
        return session.train(_trainer(session, options, policy, rows), checkpoint, policy, held_out)


def _rows(options: SftOptions, source: str, judge: Judge, policy: PolicyModel, say: Say) -> list[SftRow]:
    longest = min(options.max_length, policy.context)
    if options.target == "chain":
        examples, lengths = chain_examples(
            source, policy.chat, longest, judge.protocol.name,
            weigh=partial(_weigh, policy.tokenizer, judge.protocol.slot, options.verdict_weight),
        )  # fmt: skip
    else:
        prompts, count = prompt_examples(
            load_cases(source), judge, policy.chat,
            orders=options.orders, max_prompt=options.max_prompt, too_long=options.too_long,
        )  # fmt: skip
        for line in count.lines():
            say(line)
        examples, lengths = verdict_examples(prompts, judge.protocol, policy.chat, longest)
    for line in lengths.lines():
        say(line)
    weighted = any(weight != 1.0 for example in examples for weight in example.weights)
    if weighted and options.packing:
        raise ConfigError("packing knows no weights of tokens", hint="leave --packing or the weights out")
    return [_row(example, weighted=weighted) for example in examples]


def _row(example: "SftExample", *, weighted: bool) -> SftRow:
    """The tokens of the prompt and of the completion, of which the completion's alone are learned."""
    row: SftRow = {
        "input_ids": example.prompt + example.completion,
        "completion_mask": [0] * len(example.prompt) + [1] * len(example.completion),
    }
    if weighted:
        row["loss_weights"] = [1.0] * len(example.prompt) + example.weights
    return row


def _weigh(
    tokenizer: Tokenizer, slot: VerdictSlot, verdict_weight: float, fields: Fields, text: str, ids: list[int]
) -> list[float]:
    """The weights of a completion's tokens: the row's own spans, and the verdict's."""
    spans = spans_of(fields["weights"]) if "weights" in fields else []
    return token_weights(tokenizer, text, ids, [*spans, *verdict_span(text, slot, verdict_weight)])


def _trainer(session: Session, options: SftOptions, policy: PolicyModel, rows: list[SftRow]) -> Trainer:
    trl, datasets = package("trl"), package("datasets")
    attention = getattr(policy.model.config, "_attn_implementation", "")
    if options.packing and not attention.startswith("flash_attention"):
        raise ConfigError(
            f"packing would let rows in one sequence see one another with the attention {attention!r}",
            hint="leave --packing out, or train with flash attention",
        )
    batch = chosen(options.batch)
    config = trl.SFTConfig(
        **session.arguments(policy, batch, session.micro(batch)),
        max_length=None,
        packing=options.packing,
        completion_only_loss=True,
    )
    trainer = weighted_trainer(trl) if rows and "loss_weights" in rows[0] else trl.SFTTrainer
    return trainer(
        model=policy.model,
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=policy.tokenizer,
        peft_config=policy.peft,
    )


@dataclass(frozen=True, slots=True)
class SftExample:
    """What is read and what is to be written, in tokens."""

    prompt: list[int]
    completion: list[int]
    weights: list[float] = field(default_factory=list[float])
    """What the loss of each of the completion's tokens counts; empty: 1 each."""


@dataclass(slots=True)
class LengthCounts:
    """What became of the rows."""

    rows: int = 0
    dropped: int = 0
    longest: int = 0
    written: int = 0

    def lines(self) -> Iterator[str]:
        """What a person should know, a line each."""
        kept = self.rows - self.dropped
        mean = self.written / kept if kept else 0.0
        yield f"{kept:,} rows, at most {self.longest:,} tokens; {mean:,.0f} tokens to learn in each"
        if self.dropped:
            yield f"{self.dropped:,} longer rows left out (--max-length)"


Weigh = Callable[[Fields, str, list[int]], list[float]]
"""The weights of a completion's tokens, from its row, its text and its tokens."""


def chain_examples(
    source: str, chat: ChatIds, max_length: int, protocol: str = "", weigh: Weigh | None = None
) -> tuple[list[SftExample], LengthCounts]:
    """The rows of a file: `prompt` and `completion`, or `messages` whose last turn is learned.

    Raises ``InputError`` naming file, line and field; also for a row that was written for another
    ``protocol`` ("": any), which `jurist distill` notes in each row.
    """
    return kept(_chain_examples(source, chat, protocol, weigh), max_length)


def verdict_examples(
    questions: Iterable[PromptExample], protocol: Protocol, chat: ChatIds, max_length: int
) -> tuple[list[SftExample], LengthCounts]:
    """Examples that teach the bare verdict of each prompt, with no reasons before it."""
    return kept((_answer(example, protocol, chat) for example in questions), max_length)


def kept(examples: Iterable[SftExample], max_length: int) -> tuple[list[SftExample], LengthCounts]:
    """The examples that are not too long, and the count."""
    fitting: list[SftExample] = []
    lengths = LengthCounts()
    for example in examples:
        lengths.rows += 1
        length = len(example.prompt) + len(example.completion)
        if length > max_length:
            lengths.dropped += 1
            continue
        lengths.longest = max(lengths.longest, length)
        lengths.written += len(example.completion)
        fitting.append(example)
    if not fitting:
        why = "all are longer than --max-length" if lengths.rows else "the file has no rows"
        raise InputError(f"no row to learn from: {why}")
    return fitting, lengths


def _chain_examples(source: str, chat: ChatIds, protocol: str, weigh: Weigh | None) -> Iterator[SftExample]:
    def example(row: Row) -> SftExample:
        written_for = row.fields.get("protocol")
        if protocol and written_for is not None and written_for != protocol:
            raise InputError(
                f"protocol: the row was written for {seen(written_for)}, the training is for {protocol!r}",
                "give --protocol (and --family) as `jurist distill` had them; the model card names it",
            )
        prompt, completion = _parts(row.fields)
        try:
            ids = chat.reply(completion)
            weights = weigh(row.fields, completion, ids) if weigh else []
            return SftExample(chat.prompt(prompt, None), ids, weights)
        except ChatError as error:
            raise InputError(str(error)) from error

    return read_rows(source, example)


def _parts(fields: Fields) -> tuple[Conversation, str]:
    """(what is read, what is to be written)."""
    if "messages" in fields and "completion" not in fields:
        turns = messages_of(fields["messages"], "messages")
        if len(turns) < 2 or turns[-1].role != "assistant":
            raise InputError("messages: the last turn is not the assistant's", "it is what would be learned")
        return turns[:-1], _written(turns[-1].content, "messages")
    if "prompt" not in fields or "completion" not in fields:
        raise InputError(
            f"completion: is missing; fields of the row: {seen(list(fields))}",
            hint="rows of `jurist distill` have prompt and completion; pairs need --target answer",
        )
    prompt, completion = fields["prompt"], fields["completion"]
    read = (Message("user", prompt),) if isinstance(prompt, str) else messages_of(prompt, "prompt")
    if isinstance(completion, str):
        return read, _written(completion, "completion")
    turns = messages_of(completion, "completion")
    if len(turns) != 1 or turns[0].role != "assistant":
        raise InputError(f"completion: one turn of the assistant was expected, saw {seen(completion)}")
    return read, _written(turns[0].content, "completion")


def _written(text: str, field: str) -> str:
    if not text.strip():
        raise InputError(f"{field}: what is to be written is empty", "nothing could be learned from it")
    return text


def _answer(example: PromptExample, protocol: Protocol, chat: ChatIds) -> SftExample:
    slot = protocol.slot
    label = slot.labels_of(len(example.query.order))[example.slot]
    opened = "<think>\n\n</think>\n\n" if protocol.opens_thinking or chat.opened else ""
    return SftExample(example.ids, chat.reply(f"{opened}{slot.before}{label}{slot.after}"))
