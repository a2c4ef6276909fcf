"""What a training script trains, on which data, and the result."""

from __future__ import annotations

import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import flags

from seqmask import data
from seqmask.runs.blueprint import Blueprint
from seqmask.runs.flags import make_optimizer
from seqmask.runs.outputs import Output
from seqmask.tally import Tally
from seqmask.training import Trainer
from seqmask.training.step import Optimizer


class Features(typing.NamedTuple):
    """What was read of a person's file.

    Attributes:
      columns: Of a table: the arguments of `data.open_csv` that read it again; None for a file that
        is not a table.
      path: The file.
      left_out: Columns of the table that are not used: dict of name -> why.
      conll: Arguments of `data.open_conll`, if the file has columns of tokens and labels.
    """

    columns: dict[str, typing.Any] | None = None
    path: str = ''
    left_out: dict[str, str] = {}
    conll: dict[str, typing.Any] | None = None

    def print(self, file: typing.TextIO | None = None) -> None:
        """Prints what each column of a table is, by default to stdout. With several workers, only
        the chief calls it."""
        if self.columns is None:
            return
        show = functools.partial(print, file=file or sys.stdout, flush=True)
        read = {role: self.columns.get(role) for role in ('sequence', 'time', 'tokens', 'labels')}
        read['features'] = ', '.join(self.columns.get('features') or [])
        if read['labels']:
            read['labels'] += f', per {self.columns["labels_per"]}'
        read['left out'] = ', '.join(f'{name} ({why})' for name, why in self.left_out.items())
        show(self.path)
        for role, names in read.items():
            if names:
                show(f'  {role:10}{names}')


@dataclasses.dataclass(frozen=True)
class Task:
    """What a training script trains, on which data, and how to describe it.

    Attributes:
      script: Module whose flags define the run.
      blueprint: `Blueprint` of the model.
      parts: [train, valid, test] of `data.Sequences`.
      standardize: `kind` of `make_standardizer`.
      features: `Features` of the file of the parts.
      prepare: Called with the new model, to set what depends on the data.
      described: Appended to the description of the data, such as '9 classes'.
      units: Words for sequences and steps in that description, such as ('users', 'ratings').
      output: What the model's outputs mean, one of `outputs`; None if nothing reads the run.
      columns: dict of metric name -> heading, as in `table`.
      monitor, mode: As in `training.Trainer`.
      make_optimizer: (steps per epoch) -> Keras optimizer; by default, Adam as the flags say.
      strategy: As returned by `make_strategy`. Only the chief worker writes and prints.
      folder: Subfolder of the workdir for this model's files, if a script trains several.
    """

    script: types.ModuleType
    blueprint: Blueprint
    parts: Sequence[data.Sequences]
    standardize: str | None = None
    features: Features = Features()
    prepare: Callable[[tf.Module], object] = lambda model: None
    described: str = ''
    units: tuple[str, str] = ('sequences', 'steps')
    output: Output | None = None
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    monitor: str = 'loss'
    mode: str = 'min'
    make_optimizer: Callable[[int], Optimizer] = make_optimizer
    strategy: tf.distribute.Strategy = dataclasses.field(
        default_factory=tf.distribute.get_strategy)
    folder: str = ''

    def measure(self, model: tf.Module, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """What is measured of a batch, for `Trainer(measure=)`."""
        measure = type(model).measure if self.output is None else self.output.measure
        return measure(model, batch)

    def labelled(self) -> Sequence[data.Sequences]:
        """The parts, with the fields that loss and metrics take."""
        return (self.parts if self.output is None else
                [self.output.labelled(part) for part in self.parts])

    def make_model(self) -> tf.Module:
        """Builds the untrained model."""
        model = self.blueprint.build(make_standardizer(self.standardize, self.parts[0]))
        self.prepare(model)
        return model


class Fitted(typing.NamedTuple):
    """The result of `fit`.

    Attributes:
      task: `Task`.
      trainer: `training.Trainer`, its model restored to the best epoch.
      batches: The training batches.
      held_out: dict of 'validation' and 'test' -> `data.Batches`, not shuffled.
      history: List of dicts, as returned by `Trainer.fit`.
      measured: dict of 'validation' and 'test' -> result of `Trainer.evaluate`.
    """

    task: Task
    trainer: Trainer
    batches: data.Batches | data.Lanes
    held_out: dict[str, data.Batches]
    history: list[dict[str, float]]
    measured: dict[str, dict[str, float]]


def inputs_of(parts: Sequence[data.Sequences]) -> tuple[int | None, dict[str, typing.Any] | None]:
    """What the encoder of a `Blueprint` reads.

    Args:
      parts: [train, valid, test] of `data.Sequences`.

    Returns:
      (D, None) for features; (None, its `embedding`) for tokens: a vector of --embedding_size for
      each string of the training part, or each whole number up to the highest of all parts.
    """
    train, values = parts[0], flags.FLAGS
    if not train.are_tokens:
        return train.frames.shape[1], None
    tokens = (data.Vocabulary.fit(train).tokens[1:].tolist() if train.frames.dtype.kind == 'U' else
              1 + max(int(part.frames.max(initial=0)) for part in parts))
    return None, dict(tokens=tokens, size=values.embedding_size, dtype=values.precision)


def make_standardizer(kind: str | None,
                      train: data.Sequences) -> Callable[..., tf.Tensor] | None:
    """Makes the function that standardizes a model's inputs.

    Args:
      kind: None or 'none'; 'standard' or 'minmax', as in `data.Standardizer.fit`; or 'sequence'
        for `data.standardize_sequences`.
      train: `data.Sequences` to fit to: the training part only.

    Returns:
      (inputs, lengths) -> inputs, or None.
    """
    if kind in (None, 'none'):
        return None
    return data.standardize_sequences if kind == 'sequence' else data.Standardizer.fit(train, kind)
