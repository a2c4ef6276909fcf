"""What a run records of its model and its held-out data, so that both can be had again later.

  workdir/model.json      `Blueprint` of the model, what its labels are of, their names
  workdir/held_out.npz    the validation and test part, as `data.read_npz` takes them: 'split' is 1
                          for validation, 2 for test
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seqmask import data, models
from seqmask.data.files.whole import whole_file, write_whole
from seqmask.runs.app import UserError, user_errors
from seqmask.runs.blueprint import Blueprint
from seqmask.runs.flags import FLAGS_FILE
from seqmask.runs.task import Task
from seqmask.training.trainer import Trainer
from seqmask.training.workdir import restore_best

EXPECTED = ('--workdir must be the folder that a training script was given as its --workdir; it '
            'holds model.json and best/')
OF_RATINGS = ('which takes lists of ratings, not sequences of features: its predictions are in '
              'predictions.csv and recommendations.csv beside the folder')
MODEL, HELD_OUT = 'model.json', 'held_out.npz'


class Run(NamedTuple):
    """A finished or stopped run, ready to predict.

    Attributes:
      trainer: `Trainer` whose model is that of the best epoch; it measures what the run measured.
      labels_per: 'step' or 'sequence': what each label is of.
      names: Of the K classes.
      columns: dict of what `Trainer.evaluate` returns to headings, as `table` takes them.
      input_size: D.
      masked: False if the run took padding for data (--nomasked).
      held_out: Path of its held-out data.
      features: Columns of a table that it was told to take as features; None if it was not told.
    """

    trainer: Trainer
    labels_per: str
    names: list[str]
    columns: dict[str, str]
    input_size: int
    masked: bool
    held_out: str
    features: list[str] | None = None


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as an .npz file that appears whole or not at all.

    Args:
      path: Of the file; it is used as it is, no ending is added.
      arrays: Mapping of name -> array.

    Raises:
      OSError: If the file cannot be written.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'codes.npz')
    ...     seqmask.runs.write_arrays(path, {'codes': np.ones([3, 2])})
    ...     with np.load(path) as arrays:
    ...         print(os.listdir(folder), arrays['codes'].shape)
    ['codes.npz'] (3, 2)
    """
    with whole_file(path) as unfinished, open(unfinished, 'wb') as file:
        np.savez(file, **arrays)


def record_run(workdir: str, task: Task, *, masked: bool = True,
               features: list[str] | None = None) -> None:
    """Writes model.json and held_out.npz, each whole or not at all.

    Args:
      workdir: Folder of the run.
      task: `Task`.
      masked, features: As of `Run`.
    """
    values = {**dataclasses.asdict(task.blueprint), 'standardize': task.standardize,
              'labels_per': task.labels_per, 'names': list(task.names), 'columns': task.columns,
              'masked': masked, 'features': features}
    write_whole(os.path.join(workdir, MODEL), lambda file: json.dump(values, file, indent=2))
    held_out = task.parts[1:]
    data.write_npz(os.path.join(workdir, HELD_OUT), data.Sequences(
        np.concatenate([part.frames for part in held_out]),
        np.concatenate([part.lengths for part in held_out]),
        {name: np.concatenate([part.steps[name] for part in held_out])
         for name in held_out[0].steps},
        {**{name: np.concatenate([part.sequences[name] for part in held_out])
            for name in held_out[0].sequences},
         'split': np.repeat([1, 2], [len(part) for part in held_out]).astype(np.int32)}))


def load_run(workdir: str) -> Run:
    """Builds a run's model again, with the weights of its best epoch.

    Args:
      workdir: Folder of a training script.

    Returns:
      `Run`.

    Raises:
      UserError: If the folder is missing, is not that of a run, or was written by another version.
      FileNotFoundError: If it holds no checkpoint.
    """
    if not os.path.isdir(workdir):
        raise UserError(f'there is no folder {workdir!r}: {EXPECTED}.')
    path = os.path.join(workdir, MODEL)
    if not os.path.exists(path):
        raise _without_model(workdir)
    values = _read(path)
    if values.get('model') == models.RatingAutoencoder.__name__:
        raise UserError(f'{workdir!r} holds a {values["model"]}, {OF_RATINGS}.')
    try:
        blueprint = Blueprint(*(values[field.name] for field in dataclasses.fields(Blueprint)))
        size, standardizer = blueprint.input_size, None
        if values['standardize'] == 'sequence':
            standardizer = data.standardize_sequences
        elif values['standardize'] not in (None, 'none'):
            standardizer = data.Standardizer(np.zeros(size), np.ones(size))     # restored below
        model = blueprint.build(standardizer)
        described = {name: values[name] for name in ('labels_per', 'names', 'columns', 'masked')}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path!r} does not describe the model in {workdir!r}, or is of another '
                        f'version of seqmask ({error}).') from error
    with user_errors():
        restore_best(model, workdir)
    trainer = Trainer(model, type(model).loss, tf.keras.optimizers.SGD(),
                      measure=type(model).measure, progress=False)
    return Run(trainer, input_size=size, held_out=os.path.join(workdir, HELD_OUT),
               features=values.get('features'), **described)     # which older runs do not have


def _read(path):
    try:
        with open(path, encoding='utf-8') as file:
            return dict(json.load(file))
    except (ValueError, TypeError) as error:
        raise UserError(f'{path!r} is not readable: {error}. Start the training script again with '
                        f'the same flags: it writes it anew.') from error


def _without_model(workdir):
    """What to say of a folder without model.json; it may hold folders that have one."""
    inside = [os.path.join(workdir, name) for name in sorted(os.listdir(workdir))
              if os.path.exists(os.path.join(workdir, name, MODEL))]
    if inside:
        way_out = 'pass one of them as --workdir'
        if _read(os.path.join(inside[0], MODEL)).get('model') == models.RatingAutoencoder.__name__:
            way_out = f'each holds a RatingAutoencoder, {OF_RATINGS}'
        return UserError(f'{workdir!r} holds no model itself, but the folders of models '
                         f'{", ".join(map(repr, inside))}: {way_out}.')
    if os.path.exists(os.path.join(workdir, FLAGS_FILE)):
        return UserError(f'{os.path.join(workdir, MODEL)!r} is missing. Start the training script '
                         f'again with the flags in {FLAGS_FILE}: it writes it, and goes on where '
                         f'it was.')
    return UserError(f'{workdir!r} is not the workdir of a training script: it holds no {MODEL}. '
                     f'{EXPECTED}.')
