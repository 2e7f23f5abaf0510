"""Held-out pairs measured while a training runs, by its model as it stands."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from jurist.learning.held_out import Generate, Standing
from jurist.learning.metrics import Watcher
from jurist.learning.models import Learner
from jurist.learning.packages import package
from jurist.learning.rollouts import generate
from jurist.types import Case

BEFORE, AFTER = "before", "after"


class Pairs(Protocol):
    """Held-out pairs, and how they measure a model that is opened for them."""

    @property
    def cases(self) -> Sequence[Case]:
        """What is measured on."""
        ...

    def measure(self, name: str, how: Any, /) -> Standing:
        """Measure by ``how``, which is what was opened; keep it under a name. Every process calls."""
        ...

    def read(self, name: str) -> Standing | None:
        """What an earlier measurement came to."""
        ...


Opening = Callable[[Any], AbstractContextManager[Any]]
"""Opens the model of a trainer for ``Pairs.measure``."""


class Held(Watcher):
    """Measures held-out pairs before, every so many steps, and after."""

    def __init__(self, trainer: Any, pairs: Pairs, opening: Opening, every: int | None) -> None:
        self._measured: dict[str, Standing] = {}
        self._trainer, self._pairs, self._opening, self._every = trainer, pairs, opening, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the model before its first step; a resumed training reads what it was."""
        del args, control
        if not state.global_step:
            self._measure(BEFORE)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure at every so many steps, and after the last, before its checkpoint is written."""
        # The trainer's steps are updates, of which a step of rollouts may have several.
        step, updates = state.global_step, args.logging_steps
        every = (self._every or max(1, state.max_steps // updates // 10)) * updates
        # A log says that nothing is left to be logged; the step's own is still to come.
        due = control.should_log
        if step >= state.max_steps:
            self._measure(AFTER)
        elif step % every == 0:
            self._measure(f"step-{step // updates:06d}")
        control.should_log = due

    @property
    def count(self) -> int:
        """How many pairs are measured on."""
        return len(self._pairs.cases)

    def standing(self, name: str) -> Standing | None:
        """What was measured under a name, in this session or an earlier one."""
        return self._measured.get(name) or self._pairs.read(name)

    def _measure(self, name: str) -> None:
        with self._opening(self._trainer) as how:
            standing = self._measured[name] = self._pairs.measure(name, how)
        # Not by the trainer's own log: that one empties what it gathered during the step.
        package("transformers").Trainer.log(self._trainer, standing.metrics())


@contextmanager
def generating(trainer: Any, learner: Learner) -> Generator[Generate]:
    """The model of a trainer as it stands, writing greedily."""
    with written_by(trainer) as model:

        def write(prompts: list[list[int]], most: int) -> list[list[int]]:
            with trainer.accelerator.autocast():
                rows = generate(
                    model, prompts, 1, max_new_tokens=most, temperature=0.0, top_p=1.0,
                    eos=learner.eos, pad=learner.tokenizer.pad_token_id, seed=0,
                )  # fmt: skip
            return [ids for ids, _ in rows]

        yield write


@contextmanager
def written_by(trainer: Any) -> Generator[Any]:
    """The model of a trainer, gathered and in the mood to write; as it was, afterwards."""
    unwrapped: Any = package("trl.models.utils").unwrap_model_for_generation
    wrapped = getattr(trainer, "model_wrapped", None) or trainer.model
    with unwrapped(wrapped, trainer.accelerator) as model, package("torch").no_grad():
        training, cached = model.training, model.config.use_cache
        model.eval()
        try:
            yield model
        finally:
            model.train(training)
            model.config.use_cache = cached
