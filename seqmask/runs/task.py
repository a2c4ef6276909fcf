"""What a training script trains, on what, and what came of it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Sequence

import tensorflow as tf

from seqmask import data
from seqmask.runs.blueprint import Blueprint
from seqmask.runs.flags import make_optimizer
from seqmask.training import Trainer
from seqmask.training.step import Optimizer


@dataclasses.dataclass(frozen=True)
class Task:
    """What a training script trains, on what, and how it speaks of it.

    Attributes:
      script: Module whose flags make the run.
      blueprint: `Blueprint` of the model.
      parts: [train, valid, test] of `data.Sequences`.
      standardize: As of `make_standardizer`.
      prepare: Function of the model, called once it is made: sets what is taken from the data.
      described: What else the first line says of the data, such as '9 classes'.
      units: What sequences and steps are called there: ('users', 'ratings').
      labels_per: 'step' or 'sequence': what each label is of; None where there are no classes.
      names: Of the K classes.
      columns: dict of the names that `measure` gives to the headings of a table.
      monitor, mode: As of `training.Trainer`.
      make_optimizer: Steps per epoch -> Keras optimizer; by default as the flags say.
      strategy: As `make_strategy` gives it. Of several workers the chief alone writes and prints.
      folder: Where in the workdir this model's files go, for a script that trains several.
    """

    script: types.ModuleType
    blueprint: Blueprint
    parts: Sequence[data.Sequences]
    standardize: str | None = None
    prepare: Callable[[tf.Module], object] = lambda model: None
    described: str = ''
    units: tuple[str, str] = ('sequences', 'steps')
    labels_per: str | None = None
    names: Sequence[str] = ()
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    monitor: str = 'loss'
    mode: str = 'min'
    make_optimizer: Callable[[int], Optimizer] = make_optimizer
    strategy: tf.distribute.Strategy = dataclasses.field(
        default_factory=tf.distribute.get_strategy)
    folder: str = ''

    def make_model(self) -> tf.Module:
        """The model before its first step."""
        model = self.blueprint.build(make_standardizer(self.standardize, self.parts[0]))
        self.prepare(model)
        return model


class Fitted(typing.NamedTuple):
    """What `fit` makes of a task.

    Attributes:
      task: `Task`.
      trainer: `training.Trainer`, whose model is that of the best epoch.
      batches: What it was trained on.
      held_out: dict of 'validation' and 'test' to `data.Batches` in the order of the sequences.
      history: List of dicts, as `Trainer.fit` returns it.
      measured: dict of 'validation' and 'test' to what `Trainer.evaluate` returns.
    """

    task: Task
    trainer: Trainer
    batches: data.Batches | data.Lanes
    held_out: dict[str, data.Batches]
    history: list[dict[str, float]]
    measured: dict[str, dict[str, float]]


def make_standardizer(kind: str | None,
                      train: data.Sequences) -> Callable[..., tf.Tensor] | None:
    """What a model calls on its inputs first.

    Args:
      kind: None or 'none' for nothing; 'standard' or 'minmax', as `data.Standardizer.fit` takes
        them; or 'sequence' for `data.standardize_sequences`.
      train: `data.Sequences` to fit to: the training part alone.

    Returns:
      (inputs, lengths) -> inputs, or None.
    """
    if kind in (None, 'none'):
        return None
    return data.standardize_sequences if kind == 'sequence' else data.Standardizer.fit(train, kind)
