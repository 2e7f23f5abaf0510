"""The rule by which two texts overlap: its thresholds, and their meaning in words."""

from jurist.core.errors import ConfigError
from jurist.core.types import Record

SHORT = 3
"""Words from which an equal prompt counts; shorter ones, such as "thank you", stand in every data set."""


class Rule(Record, frozen=True, omit_defaults=False):
    """What counts as overlap.

    Two texts are *the same* if their words are (``jurist.data.overlap.words``), and *near* if at least
    ``threshold`` of the shorter one's distinct ``ngram``-word sequences stand in the other. Sequences in
    more than ``common`` distinct texts of a benchmark are its boilerplate and not counted; the shorter text
    must have as many counted ones as a text of ``words`` words. So shorter texts are never near, and a last
    turn or a response, which is the same without its prompt, counts from ``words`` words on; a whole prompt
    from ``SHORT`` words on.

    With the defaults one changed word leaves a text of 17 words near, two leave one of 29; what is reworded
    throughout is not found. ``Rule(ngram=13, threshold=0)`` is GPT-3's measure (arXiv 2005.14165): any 13
    words in a row.
    """

    ngram: int = 5
    threshold: float = 0.6
    words: int = 13
    common: int = 10
    responses: bool = True

    def __post_init__(self) -> None:
        if self.ngram < 2:
            raise ConfigError(f"ngram: {self.ngram} is too short", "sequences of 2 or more words; 5 is usual")
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold: {self.threshold:g} is no share", "a number between 0 and 1")
        if self.words < self.ngram:
            hint = f"give --words {self.ngram} or more"
            raise ConfigError(f"words: {self.words} is less than one sequence of {self.ngram} words", hint)

    @property
    def least(self) -> int:
        """How many counted n-grams the shorter of two near texts has at least."""
        return self.words - self.ngram + 1

    def near(self, shared: int, shorter: int) -> bool:
        """Whether ``shared`` n-grams are enough for a text of ``shorter`` counted ones."""
        return shorter >= self.least and shared > 0 and shared / shorter >= self.threshold

    def __str__(self) -> str:
        share = f"{self.threshold:.0%} of" if self.threshold else "any of"
        return (
            f"near is {share} the shorter text's {self.ngram}-word sequences, from {self.words} words on; "
            f"a prompt can be the same from {SHORT}"
        )
