"""Numbers for each step: the frame that follows."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence

import numpy as np

from seqmask import data, models
from seqmask.data.sequences import place_of
from seqmask.runs.app import UserError
from seqmask.runs.outputs.output import Output, steps_of
from seqmask.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Frames(Output):
    """Later frames, predicted at each step by a `models.FramePredictor`.

    Attributes:
      names: Names of the D features.
      horizon: Steps from a step to the frame that is predicted there.
      binary: Whether features are 0 or 1, and outputs logits of 1.
    """

    names: Sequence[str]
    horizon: int = 1
    binary: bool = False

    @property
    def loss_unit(self) -> str:
        return 'nats' if self.binary else ''

    def check(self, sequences: data.Sequences, path: str) -> None:
        """Checks that a sequence is longer than the horizon, and binary frames are 0 or 1."""
        if not np.any(sequences.lengths > self.horizon):
            raise UserError(f'there must be a sequence of more than {self.horizon} steps, the '
                            f'horizon; the longest of {path!r} has '
                            f'{sequences.lengths.max(initial=0)}.')
        if self.binary:
            wrong = (sequences.frames != 0) & (sequences.frames != 1)
            for frame in np.flatnonzero(wrong.any(axis=1))[:1]:
                sequence, step = place_of(frame, sequences.lengths)
                raise UserError(
                    f'binary features must be 0 or 1; sequence {sequence} of {path!r} has '
                    f'{sequences.frames[frame][wrong[frame]][0]} at step {step}.')

    def labelled(self, sequences: data.Sequences) -> data.Sequences:
        """With the frame `horizon` steps later as 'labels' [N, D] of each step that has one."""
        names = {name: values for name, values in sequences.sequences.items()
                 if name == 'sequence'}
        return data.next_step(data.Sequences(sequences.frames, sequences.lengths, sequences=names),
                              self.horizon)

    def predict(self, trainer: Trainer, batches: data.Batches) -> data.Sequences:
        """`data.Sequences` whose frames are the predictions, float32 [N, D]: numbers in the units
        of the data, or probabilities of 1."""
        predicted = data.Sequences.from_list(trainer.predict(batches))
        return data.Sequences(self.numbers(predicted.frames), predicted.lengths)

    def numbers(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions, float32, from outputs of any shape."""
        outputs = np.float64(outputs)
        return np.float32(np.exp(-np.logaddexp(0, -outputs)) if self.binary else outputs)

    def rows(self, predictions: data.Sequences, sequences: data.Sequences | None = None,
             **first: typing.Any) -> Iterator[dict[str, typing.Any]]:
        """A row per step: 'sequence'; 'step', at which is predicted; of each feature 'label_...',
        if there are labels, and 'predicted_...', the true and the predicted number later."""
        for k, (sequence, step) in enumerate(steps_of(predictions.lengths)):
            row = {**first, 'sequence': sequence, 'step': step}
            if sequences is not None:
                row.update((f'label_{name}', f'{value:.6g}')
                           for name, value in zip(self.names, sequences.steps['labels'][k]))
            row.update(zip(self.step_header(), _texts(predictions.frames[k])))
            yield row

    def step_header(self) -> list[str]:
        return [f'predicted_{name}' for name in self.names]

    def step_values(self, model: models.StreamingModel, outputs: np.ndarray) -> list[str]:
        return _texts(self.numbers(outputs))


def _texts(numbers):
    return [f'{number:.6g}' for number in numbers]
