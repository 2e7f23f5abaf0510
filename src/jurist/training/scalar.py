"""A scalar reward model on pairs, the baseline without reasoning, by TRL's ``RewardTrainer``.

    jurist train scalar pairs.jsonl --model MODEL --out RUN [--held-out pairs.jsonl]

The model reads a whole conversation, tokenised as the scalar engine does, and has one output, the score.
Loss: -log sigmoid(score of the preferred response - score of the other one), Bradley-Terry, the mean over
the pairs of a batch; gradients are clipped at ``max_grad_norm``. Ties and pairs without gold are left out.
RM-R1 and RRM compare with such models, and do not publish how theirs were trained.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from jurist.core.errors import InputError
from jurist.core.types import Case, Completion, Query, Usage, response_text, winner
from jurist.deliberation.views import each
from jurist.engines.base import failed
from jurist.engines.chat_template import ChatError, overflow
from jurist.engines.scalar import WholeChat
from jurist.inputs import load_cases
from jurist.judging.judge import Judge
from jurist.judging.pool import spread
from jurist.protocols.scalar import scalar
from jurist.training.config import ScalarOptions, TooLong, chosen
from jurist.training.distributed import all_gather, package, rank, world
from jurist.training.evaluation import (
    EvalResult,
    PrecomputedEngine,
    decided,
    eval_result,
    keep,
    read_eval,
    written_by,
)
from jurist.training.model import PolicyModel, load
from jurist.training.presets import with_preset
from jurist.training.prompts import PromptCounts, cut, prompt_ids, usable
from jurist.training.session import HELD_OUT, Result, Say, Session
from jurist.training.types import Module, Tensor, Trainer

Score = Callable[[list[list[int]]], list[float]]
"""Conversations as ids -> the raw score of each."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Two whole conversations as ids; the first one is preferred."""

    chosen: list[int]
    rejected: list[int]


def train_scalar(options: ScalarOptions, source: str, out: Path, say: Say) -> Result:
    """Train on the pairs of ``source`` in the folder ``out``; the same call goes on where it stopped."""
    options = replace(with_preset(options, "scalar"), protocol="scalar")
    session = Session("scalar", options, out, source, say)
    with session.open() as checkpoint:
        if ended := session.ended():
            return ended
        policy = load_scalar(options)
        limit = min(options.max_length, policy.context)
        pairs, count = preferences(load_cases(source), policy, limit=limit, too_long=options.too_long)
        for line in count_lines(count, len(pairs)):
            say(line)
        held_out = _held_out(options, policy, out)
        trainer = _trainer(session, options, policy, pairs)
        return session.train(
            trainer, checkpoint, policy, held_out, open_model=partial(scoring, width=options.micro_batch)
        )


def load_scalar(options: ScalarOptions) -> PolicyModel:
    """The model with a head of one output; a model that has none gets one drawn by the seed."""
    package("transformers").set_seed(options.seed)
    # The head that is missing is what is trained here, so its absence is nothing to warn of.
    with package("trl.trainer.reward_trainer").suppress_seqcls_warning():
        policy = load(options, kind="AutoModelForSequenceClassification", num_labels=1)
    policy.chat = WholeChat(policy.tokenizer, options.model)
    if policy.peft:
        policy.peft.task_type = "SEQ_CLS"
        policy.peft.modules_to_save = ["score"]
    return policy


def preferences(
    cases: Iterable[Case], policy: PolicyModel, *, limit: int, too_long: TooLong = "drop"
) -> tuple[list[Preference], PromptCounts]:
    """Labelled pairs as the scalar engine would read them. Raises ``InputError`` where there are none."""
    pairs: list[Preference] = []
    count = PromptCounts()
    for case in cases:
        count.read += 1
        if len(case.responses) != 2:
            raise InputError(
                f"case {case.id!r} has {len(case.responses)} responses; a scalar model learns from two",
                hint="rows with chosen and rejected, or two responses with gold",
            )
        if usable(case, count) and (pair := _preference(case, policy, limit, too_long, count)):
            pairs.append(pair)
            count.longest = max(count.longest, len(pair.chosen), len(pair.rejected))
    if not pairs:
        reasons = ", ".join(list(count_lines(count, 0))[1:]) or "the file has no rows"
        raise InputError(
            f"no pair to train on: {reasons}",
            hint="rows need a label: chosen and rejected, or responses with gold",
        )
    return pairs, count


def count_lines(count: PromptCounts, kept: int) -> Iterator[str]:
    """What a person should know of the rows that were read, a line each."""
    yield f"{kept:,} of {count.read:,} pairs, at most {count.longest:,} tokens in a conversation"
    for number, what in (
        (count.ties, "ties left out"),
        (count.unlabelled, "pairs without a label left out"),
        (count.equal, "pairs of equal responses left out"),
        (count.dropped, "pairs over the limit left out (--max-length, --too-long truncate)"),
        (count.truncated, "pairs over the limit cut"),
    ):
        if number:
            yield f"{number:,} {what}"


def _preference(
    case: Case, policy: PolicyModel, limit: int, too_long: TooLong, count: PromptCounts
) -> Preference | None:
    pair = _conversations(case, policy)
    longest = max(len(pair.chosen), len(pair.rejected))
    if longest <= limit:
        return pair
    if too_long == "stop":
        raise InputError(
            f"case {case.id!r}: a conversation has {longest:,} tokens, the limit is {limit:,}",
            hint="--too-long drop leaves such pairs out, --too-long truncate cuts their responses",
        )
    if too_long == "truncate" and (shorter := _truncated(case, policy, limit)):
        count.truncated += 1
        return shorter
    count.dropped += 1
    return None


def _truncated(case: Case, policy: PolicyModel, limit: int) -> Preference | None:
    """The pair with its responses cut at equal lengths until both fit; None where they would be the same."""
    low, high = 0, max(len(response_text(r)) for r in case.responses)
    best: Preference | None = None
    while low <= high:
        keep = (low + high) // 2
        shorter = msgspec.structs.replace(case, responses=tuple(cut(r, keep) for r in case.responses))
        pair = _conversations(shorter, policy)
        if max(len(pair.chosen), len(pair.rejected)) <= limit:
            best, low = pair, keep + 1
        else:
            high = keep - 1
    return best if best and best.chosen != best.rejected else None


def _conversations(case: Case, policy: PolicyModel) -> Preference:
    better = winner(case.gold)
    assert better is not None
    first, second = (prompt_ids(policy.chat, query) for query in _queries(case))
    return Preference(first, second) if better == 0 else Preference(second, first)


def _queries(case: Case) -> list[Query]:
    """What the scalar engine is asked about each response."""
    judge = Judge(scalar(), PrecomputedEngine({}))
    return [judge.query(case, (i,), 0) for i in range(len(case.responses))]


def _trainer(
    session: Session, options: ScalarOptions, policy: PolicyModel, pairs: Sequence[Preference]
) -> Trainer:
    trl, datasets = package("trl"), package("datasets")
    batch = chosen(options.batch)
    rows = [{"chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in pairs]
    return trl.RewardTrainer(
        model=policy.model,
        args=trl.RewardConfig(
            **session.arguments(policy, batch, session.micro(batch)),
            max_length=None,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=policy.tokenizer,
        peft_config=policy.peft,
    )


class ScoredPairs:
    """Held-out pairs and the run folders with their scores, in the format of ``held_out.HeldOut``."""

    def __init__(
        self, cases: Iterable[Case], policy: PolicyModel, *, out: Path, limit: int, facts: dict[str, str]
    ) -> None:
        labelled = [case for case in cases if case.gold is not None and winner(case.gold) is not None]
        self.cases = list(spread(labelled, limit))
        self.out = out
        self._learner, self._facts = policy, facts

    def measure(self, name: str, score: Score, /) -> EvalResult:
        """Score both responses of every pair, keep the run in ``out / name``; every process has to call.

        A score knows no order, so all pairs are consistent.
        """
        queries = {query.key: query for case in self.cases for query in _queries(case)}
        scored = self._scored(list(queries.values())[rank() :: world()], score)
        answers = {key: completion for part in all_gather(scored) for key, completion in part.items()}
        judge, folder = Judge(scalar(), PrecomputedEngine(answers)), self.out / name
        decisions = asyncio.run(decided(self.cases, judge, each(), folder, self._facts))
        return keep(folder, msgspec.structs.replace(eval_result(decisions), consistent=1.0))

    def read(self, name: str) -> EvalResult | None:
        """What an earlier measurement came to."""
        return read_eval(self.out / name)

    def _scored(self, queries: Sequence[Query], score: Score) -> dict[str, Completion]:
        scored: dict[str, Completion] = {}
        fitting: list[tuple[Query, list[int]]] = []
        for query in queries:
            try:
                ids = self._learner.chat.prompt(query.messages, None)
            except ChatError as error:
                scored[query.key] = failed(str(error))
                continue
            if len(ids) > self._learner.context:
                scored[query.key] = overflow(len(ids), self._learner.context)
            else:
                fitting.append((query, ids))
        values = score([ids for _, ids in fitting])
        for (query, ids), value in zip(fitting, values, strict=True):
            scored[query.key] = Completion(repr(value), usage=Usage(len(ids), 0))
        return scored


def _held_out(options: ScalarOptions, policy: PolicyModel, out: Path) -> ScoredPairs | None:
    if options.held_out is None:
        return None
    facts = {"engine": "training", "model": options.model, "protocol": "scalar", "deliberation": "each",
             "input": str(options.held_out)}  # fmt: skip
    cases = load_cases(str(options.held_out))
    return ScoredPairs(cases, policy, out=out / HELD_OUT, limit=options.eval_limit, facts=facts)


@contextmanager
def scoring(trainer: Trainer, width: int) -> Generator[Score]:
    """The model of a trainer as it stands, scoring ``width`` conversations at a time in float32."""
    with written_by(trainer) as model, _in_float32(model):
        pad: int = model.config.get_text_config().pad_token_id
        yield lambda prompts: scores(model, prompts, pad, width)


def scores(model: Module, prompts: Sequence[list[int]], pad: int, width: int) -> list[float]:
    """The raw score of each conversation, of like lengths at a time, padded on the right."""
    torch = package("torch")
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    values = [0.0] * len(prompts)
    for at in range(0, len(order), width):
        part = order[at : at + width]
        longest = max(len(prompts[i]) for i in part)
        ids = [prompts[i] + [pad] * (longest - len(prompts[i])) for i in part]
        mask = [[1] * len(prompts[i]) + [0] * (longest - len(prompts[i])) for i in part]
        batch = {"input_ids": ids, "attention_mask": mask}
        rows = {name: torch.tensor(table, device=model.device) for name, table in batch.items()}
        logits: Tensor = model(**rows).logits
        for i, value in zip(part, logits[:, 0].double().tolist(), strict=True):
            values[i] = value
    return values


@contextmanager
def _in_float32(model: Module) -> Generator[None]:
    """As the engine computes: without the autocast that training in bfloat16 puts around the model."""
    wrapped = model.__dict__.get("forward")
    original = model.__dict__.get("_original_forward")
    if original is not None:
        model.forward = original
    try:
        yield
    finally:
        if original is not None:
            model.forward = wrapped
