"""Pictures of an autoencoder: reconstructions and codes of the test data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from seqmask import models
from seqmask.masking import crop
from seqmask.runs.pictures import figures
from seqmask.runs.task import Fitted


def draw_codes(workdir: str, fitted: Fitted, codes: np.ndarray, labels: np.ndarray | None = None,
               *, batch_size: int) -> None:
    """Draws a run into workdir/pictures: curves, lengths, reconstructions, codes.

    Args:
      workdir: Folder.
      fitted: `Fitted`, of a `models.SequenceAutoencoder`.
      codes: float [B, C], codes of the test part.
      labels: [B], labels of the test part; or None.
      batch_size: int; named in a title.
    """
    # The baseline is the same in all epochs.
    history = [{name: value for name, value in row.items() if name != 'valid_baseline'}
               for row in fitted.history]
    examples = select(fitted.trainer.model, fitted.held_out['test'])
    figures.save_run(workdir, fitted, batch_size, {
        'reconstructions': reconstructions(*examples), 'codes': projection(codes, labels)},
        history=history, unit='squared error of a feature')


def select(model: models.SequenceAutoencoder, batches: Iterable[dict[str, tf.Tensor]],
           number: int = 3) -> tuple[list[dict], list[dict]]:
    """Selects sequences to draw, as `figures.select_examples` does by their error.

    Args:
      model: `models.SequenceAutoencoder`.
      batches: Batches in the order of the sequences.
      number: int. How many of each kind at most.

    Returns:
      (typical, worst), as `reconstructions` takes them.
    """
    found = []
    for batch in batches:
        inputs, lengths = batch['inputs'], batch['lengths']
        # NumPy has no bfloat16.
        for target, output in zip(*(crop(values, lengths) for values in (
                model.targets(inputs, lengths), model(inputs, lengths)))):
            target, output = np.float32(target), np.float32(output)
            found.append({'number': len(found), 'inputs': target, 'outputs': output,
                          'error': np.mean((target - output) ** 2) if len(target) else 0.0})
    typical, worst = figures.select_examples(
        np.array([example['error'] for example in found]),
        np.array([len(example['inputs']) for example in found]), number)
    return [found[i] for i in typical], [found[i] for i in worst]


def reconstructions(typical: list[dict], worst: list[dict]) -> figures.Figure:
    """A few sequences, each up to its own end, beside their reconstructions.

    Args:
      typical: List of dicts, one per sequence: 'number'; 'inputs' and 'outputs' [length, D];
        'error'.
      worst: The same for sequences with large errors, for a second column; or [].

    Returns:
      Figure with two diagrams per sequence: the features over time, as lines if there are at most
      4, else as images on one scale.
    """
    columns = [column for column in (typical, worst) if column]
    rows = max(map(len, columns))
    figure, axes = figures.grid(rows, 2 * len(columns), width=3.6, height=2.5)
    inputs = [example['inputs'] for column in columns for example in column]
    longest, values = max(map(len, inputs)), np.concatenate(inputs)
    low, high = values.min(), max(values.max(), values.min() + 1e-6)
    image = None
    for k, column in enumerate(columns):
        for axis in axes[len(column):, 2 * k:2 * k + 2].flat:
            axis.set_axis_off()
        for row, example in enumerate(column):
            for axis, values in zip(axes[row, 2 * k:2 * k + 2],
                                    [example['inputs'], example['outputs']]):
                image = _features(axis, values, low, high) or image
                axis.set_xlim(-0.5, longest - 0.5)
                axis.axvline(len(values) - 0.5, color='grey', linestyle=':')
                axis.xaxis.get_major_locator().set_params(integer=True)
                axis.set_xlabel('time step')
            original, reconstructed = axes[row, 2 * k:2 * k + 2]
            original.set_ylabel('feature number' if image else 'features')
            original.set_title(f'sequence {example["number"]}', fontsize=10, loc='left')
            reconstructed.set_title(f'reconstructed, error {example["error"]:.3g}', fontsize=10,
                                    loc='left', color=figures.WRONG if k else 'black')
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.6, label='feature, as the model sees it')
    figure.suptitle('Test sequences: left evenly spaced, right with the largest errors (red)'
                    if worst else 'Test sequences, evenly spaced')
    return figure


def _features(axis, values, low, high):
    if values.shape[1] > 4:
        return axis.imshow(values.T, aspect='auto', cmap='viridis', interpolation='nearest',
                           vmin=low, vmax=high)
    axis.set_prop_cycle(color=['black', 'tab:blue', 'tab:orange', 'darkgrey'])
    axis.plot(values, marker='.' if len(values) < 40 else None)
    margin = 0.05 * (high - low)
    axis.set_ylim(low - margin, high + margin)
    return None


def projection(codes: np.ndarray, labels: np.ndarray | None = None) -> figures.Figure:
    """Codes in the plane of their first two principal components.

    Args:
      codes: float [B, C].
      labels: [B], shown as colours if there are at most 20 different ones; or None.
    """
    figure, ((axis,),) = figures.grid(1, 1, width=7, height=5.5)
    points, shares = principal_components(codes)
    names = np.unique(labels) if np.ndim(labels) == 1 else []
    if 0 < len(names) <= 20:
        for k, name in enumerate(names):
            axis.scatter(*points[labels == name].T, s=18, color=figures.palette(len(names))(k),
                         label=str(name))
        figure.legend(loc='outside right center', title='label', frameon=False)
    else:
        axis.scatter(*points.T, s=18, color=figures.TRAIN)
    axis.set_xlabel(f'first principal component, {shares[0]:.0%} of the variance')
    axis.set_ylabel(f'second principal component, {shares[1]:.0%} of the variance')
    axis.set_aspect('equal', adjustable='datalim')
    axis.grid(alpha=0.3)
    axis.set_title(f'Test part: the codes of {len(codes)} sequences, {codes.shape[1]} numbers each')
    return figure


def principal_components(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components of codes [B, C].

    u s v^T = codes - mean (singular value decomposition);   points = (codes - mean) v[:, :2]

    Returns:
      (points [B, 2], shares of the variance [2]); 0 where C or B is too small for a component.
    """
    centred = codes - np.mean(codes, axis=0)
    _, scales, directions = np.linalg.svd(centred, full_matrices=False)
    points, shares = np.zeros([len(codes), 2]), np.zeros(2)
    count = min(2, len(scales))
    points[:, :count] = centred @ directions[:count].T
    if scales.any():
        shares[:count] = (scales ** 2 / np.sum(scales ** 2))[:count]
    return points, shares
