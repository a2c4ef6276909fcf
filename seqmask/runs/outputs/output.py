"""What every kind of output says."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from seqmask import data, models
from seqmask.tally import Tally
from seqmask.training.trainer import Trainer


class Output:
    """Base of the kinds of output, which are frozen dataclasses of values that JSON can hold.

    Attributes:
      loss_unit: Unit of the loss; empty if it is among the errors in the table.
    """

    loss_unit: typing.ClassVar[str] = 'nats'

    def check(self, sequences: data.Sequences, path: str) -> None:
        """Checks that a file holds what predictions are compared with.

        Raises:
          UserError: If it does not; the message names the file and, where it can, the sequence.
        """

    def labelled(self, sequences: data.Sequences) -> data.Sequences:
        """The sequences with the fields that loss and metrics take; `check` found them right."""
        return sequences

    def measure(self, model: models.SequenceModel,
                batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """What is measured of a batch with the fields of `labelled`, for `Trainer(measure=)`."""
        return type(model).measure(model, batch)

    def predict(self, trainer: Trainer, batches: data.Batches) -> data.Sequences:
        """The model's predictions as one collection, in the order of the batches.

        Args:
          trainer: `Trainer`.
          batches: `data.Batches`, not shuffled.
        """
        raise NotImplementedError

    def rows(self, predictions: data.Sequences, sequences: data.Sequences | None = None,
             **first: typing.Any) -> Iterator[dict[str, typing.Any]]:
        """Predictions as rows of a table.

        Args:
          predictions: As returned by `predict`.
          sequences: What they are compared with, as returned by `labelled`; or None.
          **first: Leading columns, the same in every row.

        Yields:
          dict, which begins with 'sequence', counted from 0.
        """
        raise NotImplementedError

    def step_header(self) -> list[str]:
        """Names of `step_values`."""
        raise NotImplementedError

    def step_values(self, model: models.StreamingModel, outputs: np.ndarray) -> list[str]:
        """What one step of a stream says, as texts.

        Args:
          model: The model whose outputs they are.
          outputs: float [K].
        """
        raise NotImplementedError


def named(rows: Iterable[dict[str, typing.Any]],
          sequences: data.Sequences) -> Iterator[dict[str, typing.Any]]:
    """Rows of `Output.rows` with the 'name' of each sequence after its number, if a table gave one,
    so that they can be joined with it."""
    names = sequences.sequences.get('sequence')
    for row in rows:
        if names is not None:
            cells = list(row.items())
            place = list(row).index('sequence') + 1
            row = dict([*cells[:place], ('name', names[row['sequence']]), *cells[place:]])
        yield row


def steps_of(lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """(sequence, step in it) of every frame of a collection."""
    return ((sequence, step) for sequence, length in enumerate(lengths) for step in range(length))
