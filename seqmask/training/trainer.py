"""The loop around the gradient step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.masking import crop
from seqmask.models.protocol import inputs_of
from seqmask.operands import outputs_and_lengths
from seqmask.tally import Tally, widen
from seqmask.training.averages import RunningStatistics
from seqmask.training.best import Best
from seqmask.training.replicas import (all_agree, check_scope, first_result, is_chief, own_rows,
                                       run_on_rows, sum_over_replicas, wait_for_all)
from seqmask.training.progress import EpochProgress
from seqmask.training.skipped import Skipped, require_applied
from seqmask.training.step import (Loss, Measure, MeasureAll, Optimizer, in_one_tensor, tally_of,
                                   train_step)
from seqmask.training.totals import Totals, as_metrics, mean_of
from seqmask.training.traced import BatchIterable, EpochBatches, Traced, groups, number_of
from seqmask.training.workdir import InMemory, Workdir
from seqmask.variables import model_variables, trainable_variables


class Trainer:
    """Trains and evaluates a model; a run that was killed resumes where it stopped.

    Args:
      model: `tf.Module`.
      loss: (model, batch, training) -> `Tally`.
      optimizer: Keras optimizer, with a fixed learning rate or a schedule; wrapped in
        `MixedPrecision` for a model in half precision.
      measure: (model, batch) -> dict of name to `Tally`: the metrics of validation data.
      measure_all: (outputs, batches) -> dict of name to float: metrics that need all data at once,
        or plain Python. outputs are a list of arrays, as from `predict`, cropped to each sequence;
        batches are those evaluated, which can be iterated for their labels.
      clip_norm: Largest global norm of the gradient; None for no clipping.
      monitor: Metric that chooses the best epoch: 'loss' or a name from measure, of the validation
        data; the training loss if there is none. NaN is never better.
      mode: 'min' or 'max': which is better.
      patience: Epochs without improvement before training stops early; None to train on.
      max_skipped: Non-finite steps in a row, all of them skipped, that end training.
      accumulate: Micro-batches per step, for gradient accumulation; see `train_step`.
      progress: Whether to print.
      on_epoch: Functions of a dict, called with each epoch's row of the history once it is saved.
        An exception from one of them ends training.
      keep: Checkpoints kept in workdir: how many damaged ones a resumed run can step back over.
      strategy: `tf.distribute.Strategy` under whose scope model and optimizer were made; by default
        the current one. Each replica takes its own rows of every batch; weights, running statistics
        and metrics equal those of one device. All workers must make the same calls; only the chief
        writes and prints.

    Raises:
      ValueError: If an argument is out of range, or model or optimizer was made in another scope.

    A batch is a dict; `train` and `valid` are iterables of batches. If `train` has
    `at_epoch(epoch)`, as `data.Batches` does, each epoch from 0 iterates over that, so a resumed
    run sees the data in the order of an uninterrupted one. After each epoch the running statistics
    of `BatchNorm` layers are recomputed from its first 32 batches.

    >>> sequences = seqmask.data.Sequences.from_list(
    ...     [np.ones([2, 3], 'f'), np.zeros([1, 3], 'f')], steps={'labels': [[1, 1], [0]]})
    >>> batches = seqmask.data.Batches(sequences, batch_size=2)
    >>> def loss(model, batch, training):
    ...     logits = model(batch['inputs'], batch['lengths'], training=training)
    ...     mask = seqmask.sequence_mask(batch['lengths'], tf.shape(logits)[1])
    ...     return seqmask.losses.sparse_softmax_cross_entropy(
    ...         logits=logits, labels=batch['labels'], mask=mask)
    >>> model = seqmask.models.SequenceLabeller(
    ...     seqmask.models.Encoder(3, hidden_size=4, seed=0), num_classes=2, seed=0)
    >>> trainer = seqmask.training.Trainer(model, loss, tf.keras.optimizers.Adam(0.1),
    ...                                    progress=False)
    >>> history = trainer.fit(batches, epochs=20)
    >>> history[-1]['loss'] < history[0]['loss'], trainer.evaluate(batches)['loss'] < 0.1
    (True, True)
    >>> [logits.shape for logits in trainer.predict(batches)]
    [(2, 2), (1, 2)]
    """

    def __init__(self, model: tf.Module, loss: Loss, optimizer: Optimizer, *,
                 measure: Measure | None = None, measure_all: MeasureAll | None = None,
                 clip_norm: float | None = None, monitor: str = 'loss', mode: str = 'min',
                 patience: int | None = None, max_skipped: int = 10, accumulate: int = 1,
                 progress: bool = True, keep: int = 2,
                 on_epoch: Sequence[Callable[[dict[str, float]], object]] = (),
                 strategy: tf.distribute.Strategy | None = None):
        self.model, self.optimizer = model, optimizer
        self._loss, self._measure, self._measure_all = loss, measure, measure_all
        self._clip_norm = None if clip_norm is None else checks.positive('clip_norm', clip_norm)
        self._best = Best(monitor, mode)
        self._patience = None if patience is None else checks.size('patience', patience)
        self._skipped = Skipped(max_skipped)
        self._accumulate = checks.size('accumulate', accumulate)
        self.strategy = strategy or tf.distribute.get_strategy()
        self._shown = progress and is_chief(self.strategy)
        self._on_epoch = tuple(on_epoch)
        self._keep = checks.size('keep', keep)
        check_scope(self.strategy, model=model_variables(model), optimizer=[optimizer.iterations])
        with self.strategy.scope():
            optimizer.build(trainable_variables(model))
        self._history, self._traced = [], Traced(self.strategy)
        self._statistics = RunningStatistics(model, loss, self.strategy)
        self._finished = tf.Variable(0, dtype=tf.int64, trainable=False)    # epochs
        self._files = InMemory(model)       # until a workdir is given

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far, from 1; 0 before the first."""
        return int(self._best.epoch.numpy())

    def fit(self, train: BatchIterable, valid: BatchIterable | None = None, *, epochs: int,
            workdir: str | None = None) -> list[dict[str, float]]:
        """Trains until `epochs` epochs are finished, including those of earlier calls.

        The model keeps the last epoch's weights; `restore_best` loads the best epoch's.

        Args:
          train: Batches to train on.
          valid: Batches to evaluate after each epoch; or None.
          epochs: int.
          workdir: Folder for `history.csv`, `checkpoints/` and `best/`, also used by later calls;
            None writes nothing. An unfinished run in it resumes after its last finished epoch, and
            ends with the same weights, bit for bit, as if uninterrupted.

        Returns:
          The history: a list of one dict per epoch.

        Raises:
          ValueError: If workdir holds the state of another model, only damaged checkpoints, or is
            new after the first epoch; if train or valid holds no batch, or valid no real step; if
            monitor is not a metric (before the first epoch, unless valid is a mere iterator).
          BlockingIOError: If another process trains in workdir.
          FloatingPointError: If `max_skipped` steps in a row were not finite, or the loss of every
            epoch is NaN, as it is without a finite step or without a real one.
        """
        checks.size('epochs', epochs)
        if valid is None and self._best.monitor != 'loss':
            raise ValueError(f"monitor must be 'loss' where there is no validation data, got "
                             f'{self._best.monitor!r}. Pass valid.')
        if valid is not None:
            names = self._traced.result_names(self._tallies, valid)
            if names and self._measure_all is not None and self._best.monitor not in names:
                names += self._whole_metrics(valid, names)      # before hours of training
            self._best.require_monitored(names)
        if workdir is not None:
            self._open(workdir)
        while int(self._finished.numpy()) < epochs and not self._stops_early():
            self._finish_epoch(self._train_epoch(train, valid, int(self._finished.numpy()), epochs))
        require_applied(self._history)
        return list(self._history)

    def evaluate(self, batches: BatchIterable) -> dict[str, float]:
        """Computes the loss and the metrics over all batches.

        Returns:
          dict of name to float: 'loss' and the names from measure, each the mean of the summed
          tallies. So every step weighs the same, whatever batch it is in. NaN if its count is 0.
          And the names from measure_all.

        Raises:
          ValueError: If there is no batch, or no real step.
        """
        measure, totals = self._traced(self._tallies, batches), Totals()
        for batch in batches:
            with self.strategy.scope():
                totals.add(measure(batch))
        means = totals.means()
        if self._measure_all is not None:
            means.update(self._whole_metrics(batches, means))
        return means

    def predict(self, batches: BatchIterable, *, per: str = 'step') -> Iterator[np.ndarray]:
        """Yields the model's outputs, one array per sequence.

        Args:
          batches: Batches; only 'lengths' and what the model reads are used. A model that changes
            the number of steps returns (outputs, lengths), and its outputs are cropped to those.
          per: 'step' for outputs [B, T, ...], cropped to [length, ...]; 'sequence' for [B, ...].
        """
        checks.choice('per', per, ('step', 'sequence'))
        forward = self._traced(self._forward, batches)
        for batch in batches:
            with self.strategy.scope():
                outputs, lengths = forward(batch)
            yield from crop(outputs, lengths) if per == 'step' else outputs.numpy()

    def _whole_metrics(self, batches, others):
        outputs = list(self.predict(batches, per=getattr(self.model, 'per', 'step')))
        return as_metrics(self._measure_all(outputs, batches), others)

    def restore_best(self) -> None:
        """Restores the model's variables from the best epoch.

        Raises:
          ValueError: If no epoch was finished yet.
        """
        self._best.require_finished()
        wait_for_all(self.strategy)         # the chief may still be writing it
        self._files.restore_best()

    def keep_best(self) -> None:
        """Saves the current variables as the best epoch's, after setting a threshold for example.

        Raises: As `restore_best`.
        """
        self._best.require_finished()
        self._files.replace_best()

    def _open(self, workdir):
        files = Workdir(workdir, self.model, keep=self._keep, writes=is_chief(self.strategy),
                        optimizer=self.optimizer, finished=self._finished,
                        best_epoch=self._best.epoch, best_value=self._best.value,
                        skipped=self._skipped.in_a_row)
        restored, finished = files.restore(), int(self._finished.numpy())
        if not all_agree(self.strategy, f'{finished} {self.best_epoch}'):
            raise ValueError(f'workdir {workdir!r} must be one folder shared by all workers; this '
                             f'one found {finished} finished epochs, another did not.')
        if restored:
            self._history = files.history(finished)
            if self._shown:
                print(f'resuming after epoch {finished} of {workdir}', flush=True)
        elif finished:
            raise ValueError(f'workdir must be given from the first epoch on: {workdir!r} is new, '
                             f'and {finished} epochs are finished.')
        self._files = files

    def _train_epoch(self, train, valid, epoch, epochs):
        batches = train.at_epoch(epoch) if isinstance(train, EpochBatches) else train
        progress = EpochProgress(epoch + 1, epochs, number_of(train, self._accumulate), self._shown)
        start, total, steps, skipped, count = time.monotonic(), Tally(0.0, 0.0), 0, 0, 0
        traced = {}         # number of micro-batches -> step
        for count, micro_batches in enumerate(groups(batches, self._accumulate), 1):
            number = len(micro_batches)
            traced[number] = traced.get(number) or self._traced(self._step, batches, number)
            with self.strategy.scope():
                loss, weight, applied, num_steps = traced[number](*micro_batches).numpy()
            if applied:
                total += Tally(loss, weight)
            else:
                skipped += 1
            steps += int(num_steps)
            # A float16 overflow may be finite at the next, smaller scale.
            self._skipped.count(applied or getattr(self.optimizer, 'may_recover', False))
            progress.update(count, total)
        if not count:
            raise ValueError('train must hold at least one batch, got none. A generator is empty '
                             'after its first epoch: pass something that can be iterated again.')
        self._statistics.recompute(batches)
        seconds = time.monotonic() - start
        row = {'epoch': epoch + 1, 'loss': mean_of(total),
               'learning_rate': float(tf.convert_to_tensor(self.optimizer.learning_rate)),
               'skipped': skipped, 'seconds': round(seconds, 3),
               'steps_per_second': round(steps / seconds)}
        if valid is not None:
            row.update({f'valid_{name}': value for name, value in self.evaluate(valid).items()})
        progress.close(row)
        return row

    def _finish_epoch(self, row):
        is_best = self._best.update(row)
        self._history.append(row)
        self._finished.assign(row['epoch'])
        self._files.save(row['epoch'], is_best, self._history)
        for call in self._on_epoch:
            call(row)

    def _stops_early(self):
        since = int(self._finished.numpy()) - self.best_epoch
        if self._patience is None or since < self._patience:
            return False
        if self._shown:
            print(f'no better {self._best.monitor} for {since} epochs: stopping', flush=True)
        return True

    def _step(self, *batches):
        return in_one_tensor(train_step(self.model, self._loss, self.optimizer, *batches,
                                        clip_norm=self._clip_norm), batches)

    def _tallies(self, batch):
        def on_replica():
            rows = own_rows(batch)
            tallies = {} if self._measure is None else dict(self._measure(self.model, rows))
            if 'loss' not in tallies:
                tallies['loss'] = self._loss(self.model, rows, training=False)
            return sum_over_replicas({name: tally_of(tally) for name, tally in tallies.items()})

        return first_result(self.strategy.run(on_replica))

    def _forward(self, batch):
        inputs = inputs_of(self.model, batch)
        outputs, lengths = run_on_rows(lambda rows: outputs_and_lengths(self.model(*rows), rows[1]),
                                       (inputs, batch['lengths']))
        return widen(outputs), lengths          # NumPy has no bfloat16
