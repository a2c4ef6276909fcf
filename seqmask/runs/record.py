"""Records a run's model and held-out data, and loads them again.

  workdir/model.json      `Blueprint` of the model, what its outputs mean, headings of the table
  workdir/held_out.npz    the validation and test parts for `data.read_npz`; 'split' is 1 and 2
"""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from seqmask import data, models
from seqmask.data.files.whole import whole_file, write_whole
from seqmask.runs import outputs
from seqmask.runs.app import UserError, user_errors
from seqmask.runs.blueprint import Blueprint
from seqmask.runs.flags import FLAGS_FILE
from seqmask.runs.task import Task
from seqmask.training.trainer import Trainer
from seqmask.training.workdir import restore_best

MUST_BE_WORKDIR = ('--workdir must be the --workdir of a training script; it holds model.json and '
                   'best/')
OF_RATINGS = ('which takes lists of ratings, not sequences of features: its predictions are in '
              'predictions.csv and recommendations.csv beside the folder')
MODEL, HELD_OUT = 'model.json', 'held_out.npz'


class Run(typing.NamedTuple):
    """A finished or stopped run, ready to predict.

    Attributes:
      trainer: `Trainer` whose model is that of the best epoch; measures what the run measured.
      output: What its outputs mean, one of `outputs`.
      columns: dict of metric name -> heading, as in `table`.
      input_size: D; None for tokens.
      masked: False if the run treated padding as data (--nomasked).
      held_out: Path of its held-out data.
      table: Arguments of `data.open_csv` that read the table; None if the data was not a table.
      conll: Arguments of `data.open_conll`; None if the data was no file of columns.
    """

    trainer: Trainer
    output: outputs.Output
    columns: dict[str, str]
    input_size: int | None
    masked: bool
    held_out: str
    table: dict[str, typing.Any] | None = None
    conll: dict[str, typing.Any] | None = None


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file atomically.

    Args:
      path: Of the file; no extension is added.
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


def record_run(workdir: str, task: Task, *, masked: bool = True) -> None:
    """Writes model.json and held_out.npz, each atomically.

    Args:
      workdir: Folder of the run.
      task: `Task`.
      masked: As in `Run`.
    """
    values = {**dataclasses.asdict(task.blueprint), 'standardize': task.standardize,
              'columns': task.columns, 'masked': masked, 'table': task.features.columns,
              'conll': task.features.conll}
    if task.output is not None:
        values['output'] = outputs.to_record(task.output)
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
    """Rebuilds a run's model with the weights of its best epoch.

    Args:
      workdir: --workdir of a training script.

    Raises:
      UserError: If the folder is missing, holds no run, or was written by another version.
      FileNotFoundError: If it holds no checkpoint.
    """
    if not os.path.isdir(workdir):
        raise UserError(f'there is no folder {workdir!r}: {MUST_BE_WORKDIR}.')
    path = os.path.join(workdir, MODEL)
    if not os.path.exists(path):
        raise _without_model(workdir)
    values = _read(path)
    if values.get('model') == models.RatingAutoencoder.__name__:
        raise UserError(f'{workdir!r} holds a {values["model"]}, {OF_RATINGS}.')
    try:
        blueprint = Blueprint(**{field.name: values[field.name]
                                 for field in dataclasses.fields(Blueprint)
                                 if field.name in values})      # older runs lack 'embedding'
        size, standardizer = blueprint.input_size, None
        if values['standardize'] == 'sequence':
            standardizer = data.standardize_sequences
        elif values['standardize'] not in (None, 'none'):
            standardizer = data.Standardizer(np.zeros(size), np.ones(size))     # loaded below
        model = blueprint.build(standardizer)
        described = {name: values[name] for name in ('columns', 'masked')}
        described['output'] = outputs.from_record(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path!r} does not describe the model in {workdir!r}, or was written by '
                        f'another version of seqmask ({error}).') from error
    with user_errors():
        restore_best(model, workdir)
    trainer = Trainer(model, type(model).loss, tf.keras.optimizers.SGD(),
                      measure=described['output'].measure, progress=False)
    return Run(trainer, input_size=size, held_out=os.path.join(workdir, HELD_OUT),
               table=values.get('table'), conll=values.get('conll'), **described)


def _read(path):
    try:
        with open(path, encoding='utf-8') as file:
            return dict(json.load(file))
    except (ValueError, TypeError) as error:
        raise UserError(f'{path!r} is not readable: {error}. Run the training script again with '
                        f'the same flags to rewrite it.') from error


def _without_model(workdir):
    """The error for a folder without model.json; its subfolders may have one."""
    inside = [os.path.join(workdir, name) for name in sorted(os.listdir(workdir))
              if os.path.exists(os.path.join(workdir, name, MODEL))]
    if inside:
        advice = 'pass one of them as --workdir'
        if _read(os.path.join(inside[0], MODEL)).get('model') == models.RatingAutoencoder.__name__:
            advice = f'each holds a RatingAutoencoder, {OF_RATINGS}'
        return UserError(f'{workdir!r} holds no model itself, but the folders of models '
                         f'{", ".join(map(repr, inside))}: {advice}.')
    if os.path.exists(os.path.join(workdir, FLAGS_FILE)):
        return UserError(f'{os.path.join(workdir, MODEL)!r} is missing. Run the training script '
                         f'again with the flags in {FLAGS_FILE} to write it and resume the run.')
    return UserError(f'{workdir!r} is not the workdir of a training script: it holds no {MODEL}. '
                     f'{MUST_BE_WORKDIR}.')
