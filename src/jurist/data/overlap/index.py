"""An index of the texts of benchmarks, by all their words and by their n-grams."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal, NamedTuple

from jurist.core.types import Case, response_text
from jurist.data.overlap.postings import Postings
from jurist.data.overlap.rule import Rule
from jurist.data.overlap.words import digest, grams, words

Part = Literal["prompt", "last turn", "response"]
"""Which text of a case: the whole prompt, its last user turn, or a response."""


class ComparedText(NamedTuple):
    """A text as it is compared; ``number`` counts the responses of a case from 1 (0: no response)."""

    part: Part
    number: int
    words: list[str]
    digest: bytes


class Holder(NamedTuple):
    """A case that holds a text, by its number in the benchmark, and as what."""

    case: int
    part: Part


@dataclass(slots=True)
class Text:
    """One distinct text of a benchmark; ``prompts`` are the digests of the prompts that it stands under."""

    benchmark: int
    words: int
    holders: list[Holder] = field(default_factory=list[Holder])
    prompts: set[bytes] = field(default_factory=set[bytes])


class Index:
    """Benchmark texts, filled by ``add``, then frozen. Prompts and responses lie apart.

    Memory: about 10 bytes per distinct n-gram of a text and some hundred per text, whatever is looked up.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.names: list[str] = []
        self.cases: list[list[str]] = []
        self.texts: list[Text] = []
        self._postings = {False: Postings(), True: Postings()}
        self._same: dict[tuple[bool, bytes], dict[int, int]] = {}
        self._frozen = False

    def add(self, name: str, cases: Iterable[Case]) -> None:
        """The cases of a benchmark, all at once."""
        assert not self._frozen
        benchmark = len(self.names)
        self.names.append(name)
        ids: list[str] = []
        self.cases.append(ids)
        for number, case in enumerate(cases):
            ids.append(case.id)
            prompt = b""
            for sample in compared_texts(case, self.rule):
                prompt = sample.digest if sample.part == "prompt" else prompt
                self._add(benchmark, number, sample, prompt)

    def freeze(self) -> None:
        """Make ready for look-ups; nothing can be added any more."""
        if not self._frozen:
            self._frozen = True
            owner = [text.benchmark for text in self.texts]
            for postings in self._postings.values():
                postings.freeze(owner, self.rule.common)

    @property
    def ngrams(self) -> int:
        """How many n-grams are held, those of several texts as often; less boilerplate once frozen."""
        return sum(len(postings) for postings in self._postings.values())

    def stock(self, text: int) -> bool:
        """Whether a text is a stock phrase of its benchmark: a response to more than ``common`` prompts."""
        known = self.texts[text]
        return known.holders[0].part == "response" and len(known.prompts) > self.rule.common

    def digest(self, benchmark: int) -> str:
        """Hash of all distinct texts of a benchmark, whatever their order; 16 hex digits."""
        keys = sorted(bytes([side]) + key for (side, key), texts in self._same.items() if benchmark in texts)
        return sha256(b"".join(keys)).hexdigest()[:16]

    def same(self, sample: ComparedText) -> list[int]:
        """The texts with the same words, of any benchmark."""
        return list(self._same.get((sample.part == "response", sample.digest), {}).values())

    def near(self, sample: ComparedText) -> Iterator[tuple[int, float]]:
        """The texts near to a text, each with the share of the shorter one's n-grams that both have."""
        if len(sample.words) < self.rule.words:
            return
        postings = self._postings[sample.part == "response"]
        sequences = grams(sample.words, self.rule.ngram)
        sizes: dict[int, int] = {}
        for text, shared in postings.count(sequences).items():
            if shared < self.rule.least * self.rule.threshold:
                continue
            benchmark = self.texts[text].benchmark
            if benchmark not in sizes:
                sizes[benchmark] = postings.counted(sequences, benchmark)
            shorter = min(sizes[benchmark], postings.sizes[text])
            if self.rule.near(shared, shorter) and not self.stock(text):
                yield text, shared / shorter

    def _add(self, benchmark: int, case: int, sample: ComparedText, prompt: bytes) -> None:
        side = sample.part == "response"
        texts = self._same.setdefault((side, sample.digest), {})
        if benchmark not in texts:
            texts[benchmark] = len(self.texts)
            self.texts.append(Text(benchmark, len(sample.words)))
            if len(sample.words) >= self.rule.words:
                self._postings[side].add(texts[benchmark], grams(sample.words, self.rule.ngram))
        text = self.texts[texts[benchmark]]
        text.holders.append(Holder(case, sample.part))
        if len(text.prompts) <= self.rule.common:
            text.prompts.add(prompt)


def compared_texts(case: Case, rule: Rule) -> Iterator[ComparedText]:
    """The texts of a case that are compared, each once; those without words are left out.

    System turns are left out where there are others: they are the frame of a data set, not its content.
    """
    turns = [turn for turn in case.prompt if turn.role != "system"] or list(case.prompt)
    asked = [turn.content for turn in turns if turn.role == "user"]
    named_texts: list[tuple[Part, int, str]] = [("prompt", 0, "\n".join(turn.content for turn in turns))]
    if len(turns) > 1 and asked:
        named_texts.append(("last turn", 0, asked[-1]))
    if rule.responses:
        named_texts.extend(("response", i, response_text(r)) for i, r in enumerate(case.responses, 1))
    seen: set[tuple[bool, bytes]] = set()
    for part, number, text in named_texts:
        listed = words(text)
        key = digest(listed)
        if listed and (number > 0, key) not in seen:
            seen.add((number > 0, key))
            yield ComparedText(part, number, listed, key)
