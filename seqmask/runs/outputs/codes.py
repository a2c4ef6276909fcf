"""A vector for each sequence: the codes of an autoencoder."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator

import numpy as np

from seqmask import data
from seqmask.masking import crop
from seqmask.runs.outputs.output import Output
from seqmask.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Codes(Output):
    """Codes and reconstructions of a `models.SequenceAutoencoder`."""

    loss_unit: typing.ClassVar[str] = ''

    def predict(self, trainer: Trainer, batches: data.Batches) -> data.Sequences:
        """An autoencoder's reconstructions as one collection, in the order of the batches.

        Returns:
          `data.Sequences`. Its frames are the reconstructions, float32 [N, D], in the units of the
          data if the standardizer is invertible, else standardized. Per sequence it holds 'codes',
          float32 [B, C], and 'error', float32 [B], the mean squared error in standardized units.
        """
        model = trainer.model
        invertible = model.is_invertible()
        outputs, codes, errors = [], [], []
        for batch in batches:
            inputs, lengths = batch['inputs'], batch['lengths']
            standardized = crop(model(inputs, lengths), lengths)
            for frames, target in zip(standardized, crop(model.targets(inputs, lengths), lengths)):
                squares = np.square(np.float32(frames) - np.float32(target))    # no bfloat16
                errors.append(squares.mean() if len(squares) else 0.0)
            outputs += (crop(model.reconstruct(inputs, lengths), lengths) if invertible
                        else standardized)
            codes.append(np.float32(model.encode(inputs, lengths)))
        return data.Sequences(
            np.concatenate(outputs).astype(np.float32), [len(frames) for frames in outputs],
            sequences={'codes': np.concatenate(codes), 'error': np.array(errors, np.float32)})

    def rows(self, predictions: data.Sequences, sequences: data.Sequences | None = None,
             **first: typing.Any) -> Iterator[dict[str, typing.Any]]:
        """A row per sequence: 'sequence', 'steps', 'error', 'code_0', 'code_1', ..."""
        for k, (code, error) in enumerate(zip(*(predictions.sequences[name]
                                                for name in ('codes', 'error')))):
            yield {**first, 'sequence': k, 'steps': predictions.lengths[k], 'error': f'{error:.6g}',
                   **{f'code_{c}': f'{value:.6g}' for c, value in enumerate(code)}}
