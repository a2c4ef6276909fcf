"""The loop around the gradient step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.masking import crop
from seqmask.operands import outputs_and_lengths
from seqmask.tally import Tally, precise, widen
from seqmask.training.averages import Averages
from seqmask.training.best import Best
from seqmask.training.replicas import (all_agree, check_scope, first_result, is_chief, own_rows,
                                       run_on_rows, sum_over_replicas, wait_for_all)
from seqmask.training.progress import EpochProgress
from seqmask.training.skipped import Skipped, require_applied
from seqmask.training.step import Loss, Measure, Optimizer, tally_of, train_step
from seqmask.training.traced import BatchIterable, Traced, groups, number_of
from seqmask.training.workdir import Workdir
from seqmask.variables import model_variables, trainable_variables


class Trainer:
    """Trains a model, measures it, and goes on where it was killed.

    Args:
      model: `tf.Module`.
      loss: (model, batch, training) -> `Tally`.
      optimizer: Keras optimizer; its learning rate may be a schedule. `MixedPrecision` of one for a
        model in half precision.
      measure: (model, batch) -> dict of name to `Tally`: what is measured on validation data beside
        the loss.
      clip_norm: Largest global norm of the gradient; None to leave it as it is.
      monitor: What makes an epoch the best: 'loss' or a name from measure, on the validation data,
        or on the training data's 'loss' where there is none. NaN is never better.
      mode: 'min' or 'max': which is better.
      patience: Epochs without a better one after which training ends; None for never.
      max_skipped: Steps in a row that may be skipped because they were not finite.
      accumulate: Batches of one step, as `train_step` takes them.
      progress: Whether to print.
      on_epoch: Functions of a dict, called with each epoch's row of the history once it is kept.
        What one raises ends training.
      keep: Checkpoints kept in workdir: more of them, the further back a damaged one can be mended.
      strategy: `tf.distribute.Strategy` under whose scope model and optimizer were made; by default
        the one in whose scope the trainer is made, if any. Each of its replicas takes its rows of
        every batch; weights, running averages and what is measured are those of one device. Of
        several workers all make the same calls, and the chief alone writes and prints.

    Raises:
      ValueError: If an argument's value does not fit, or model or optimizer was made elsewhere.

    A batch is a dict; `train` and `valid` are iterables of batches. If they have `at_epoch(epoch)`,
    as `data.Batches` has, that is what an epoch iterates over, from epoch 0; so a resumed run sees
    the data in the order of an undisturbed one. After an epoch the averages of `BatchNorm` layers
    are taken anew from its first 32 batches.

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
                 measure: Measure | None = None, clip_norm: float | None = None,
                 monitor: str = 'loss', mode: str = 'min', patience: int | None = None,
                 max_skipped: int = 10, accumulate: int = 1, progress: bool = True,
                 on_epoch: Sequence[Callable[[dict[str, float]], object]] = (), keep: int = 2,
                 strategy: tf.distribute.Strategy | None = None):
        self.model, self.optimizer = model, optimizer
        self._loss, self._measure = loss, measure
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
        self._averages = Averages(model, loss, self.strategy)
        self._finished = tf.Variable(0, dtype=tf.int64, trainable=False)    # epochs
        self._files = self._best_weights = None     # the weights, where no workdir keeps them

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far, from 1; 0 before the first."""
        return int(self._best.epoch)

    def fit(self, train: BatchIterable, valid: BatchIterable | None = None, *, epochs: int,
            workdir: str | None = None) -> list[dict[str, float]]:
        """Trains until `epochs` epochs are finished, those of earlier calls counted in.

        Afterwards the model is as the last epoch left it; `restore_best` puts the best one back.

        Args:
          train: Batches to train on.
          valid: Batches to measure after each epoch; or None.
          epochs: int.
          workdir: Folder for `history.csv`, `checkpoints/` and `best/`. If it holds an unfinished
            run, that goes on from its last finished epoch, and ends with the same weights, bit for
            bit, as if it had never stopped. Without one nothing stays on disk. A folder given
            once stays in use in later calls.

        Returns:
          The history: a list with a dict an epoch.

        Raises:
          ValueError: If workdir holds another model's state, or none that is not damaged, or is new
            after the first epoch; if train or valid holds no batch; if monitor is none of what is
            measured, before the first epoch unless valid can be iterated only once.
          BlockingIOError: If another process trains in workdir.
          FloatingPointError: If `max_skipped` steps in a row were not finite, or all steps of all
            epochs; the loss of an epoch of such steps alone is NaN.
        """
        checks.size('epochs', epochs)
        if valid is None and self._best.monitor != 'loss':
            raise ValueError(f"monitor must be 'loss' where there is no validation data, got "
                             f'{self._best.monitor!r}. Pass valid.')
        if valid is not None:
            self._best.require_monitored(self._traced.results(self._measured, valid))
        if workdir is not None:
            self._open(workdir)
        while int(self._finished) < epochs and not self._out_of_patience():
            self._finish_epoch(self._train_epoch(train, valid, int(self._finished), epochs))
        require_applied(self._history)
        return list(self._history)

    def evaluate(self, batches: BatchIterable) -> dict[str, float]:
        """Measures the model on batches.

        Returns:
          dict of name to float: 'loss', and what measure returns, each a mean over all batches'
          terms; a metric over two batches weighs steps, not batches.

        Raises:
          ValueError: If there is no batch.
        """
        measure, totals = self._traced(self._measured, batches), {}
        for batch in batches:
            totals = {name: precise(tally) + totals.get(name, Tally(0.0, 0.0))
                      for name, tally in measure(batch).items()}
        if not totals:
            raise ValueError('there must be at least one batch to evaluate, got none. A generator '
                             'is empty after one pass: pass something that can be iterated again.')
        return {name: float(tally.mean()) for name, tally in totals.items()}

    def predict(self, batches: BatchIterable, *, per: str = 'step') -> Iterator[np.ndarray]:
        """Yields the model's outputs, an array for each sequence.

        Args:
          batches: Batches; only 'inputs' and 'lengths' are used. If the model returns (outputs,
            lengths), these lengths are those of its outputs.
          per: 'step' for outputs [B, T, ...], cropped to [length, ...]; 'sequence' for [B, ...].
        """
        checks.choice('per', per, ('step', 'sequence'))
        forward = self._traced(self._outputs, batches)
        for batch in batches:
            outputs, lengths = forward(batch)
            yield from crop(outputs, lengths) if per == 'step' else outputs.numpy()

    def restore_best(self) -> None:
        """Puts the best epoch's variables back into the model.

        Raises:
          ValueError: If no epoch was finished yet.
        """
        self._require_best()
        if self._files is not None:
            wait_for_all(self.strategy)         # the chief may still be writing it
            self._files.restore_best()
        else:
            for variable, value in zip(model_variables(self.model), self._best_weights):
                variable.assign(value)

    def keep_best(self) -> None:
        """Keeps the variables as they are now as the best epoch's: with a threshold set, say.

        Raises:
          ValueError: If no epoch was finished yet.
        """
        self._require_best()
        if self._files is not None:
            self._files.replace_best()
        else:
            self._best_weights = _values(self.model)

    def _open(self, workdir):
        files = Workdir(workdir, self.model, keep=self._keep, writes=is_chief(self.strategy),
                        optimizer=self.optimizer, finished=self._finished,
                        best_epoch=self._best.epoch, best_value=self._best.value,
                        skipped=self._skipped.in_a_row)
        restored = files.restore()
        if not all_agree(self.strategy, f'{int(self._finished)} {self.best_epoch}'):
            raise ValueError(f'workdir {workdir!r} must be one folder that all workers see; this '
                             f'one found {int(self._finished)} finished epochs, another did not.')
        if restored:
            self._history = files.history(int(self._finished))
            if self._shown:
                print(f'going on after epoch {int(self._finished)} of {workdir}', flush=True)
        elif int(self._finished):
            raise ValueError(f'workdir must be given from the first epoch on: {workdir!r} is new, '
                             f'and {int(self._finished)} epochs are finished.')
        self._files = files

    def _train_epoch(self, train, valid, epoch, epochs):
        batches = train.at_epoch(epoch) if hasattr(train, 'at_epoch') else train
        progress = EpochProgress(epoch + 1, epochs, number_of(train, self._accumulate), self._shown)
        start, total, steps, skipped, count = time.monotonic(), Tally(0.0, 0.0), 0, 0, 0
        for count, several in enumerate(groups(batches, self._accumulate), 1):
            done, real_steps = self._traced(self._stepped, batches, len(several))(*several)
            if done.applied:
                total += precise(done.tally)
            else:
                skipped += 1
            steps += int(real_steps)
            # What overflows in float16 may be finite on the next, smaller scale.
            self._skipped.count(bool(done.applied) or getattr(self.optimizer, 'may_mend', False))
            progress.update(count, total)
        if not count:
            raise ValueError('train must hold at least one batch, got none. A generator is empty '
                             'after its first epoch: pass something that can be iterated again.')
        self._averages.take(batches)
        seconds = time.monotonic() - start
        row = {'epoch': epoch + 1, 'loss': float(total.mean()) if skipped < count else float('nan'),
               'learning_rate': float(tf.convert_to_tensor(self.optimizer.learning_rate)),
               'skipped': skipped, 'seconds': round(seconds, 3),
               'steps_per_second': round(steps / seconds)}
        if valid is not None:
            row.update({f'valid_{name}': value for name, value in self.evaluate(valid).items()})
        progress.close(row)
        return row

    def _finish_epoch(self, row):
        epoch, is_best = row['epoch'], self._best.update(row)
        self._history.append(row)
        self._finished.assign(epoch)
        if self._files is not None:
            self._files.save(epoch, is_best, self._history)
        elif is_best:
            self._best_weights = _values(self.model)
        for call in self._on_epoch:
            call(row)

    def _require_best(self):
        if not self.best_epoch:
            raise ValueError('there is no best epoch yet: call fit first.')

    def _out_of_patience(self):
        since = int(self._finished) - self.best_epoch
        out = self._patience is not None and since >= self._patience
        if out and self._shown:
            print(f'no better {self._best.monitor} for {since} epochs: stopping', flush=True)
        return out

    def _stepped(self, *batches):
        done = train_step(self.model, self._loss, self.optimizer, *batches,
                          clip_norm=self._clip_norm)
        return done, tf.add_n([tf.reduce_sum(tf.cast(batch['lengths'], tf.int64))
                               for batch in batches])

    def _measured(self, batch):
        def measured(batch):
            tallies = dict(self._measure(self.model, batch)) if self._measure is not None else {}
            if 'loss' not in tallies:
                tallies['loss'] = self._loss(self.model, batch, training=False)
            return {name: tally_of(tally) for name, tally in tallies.items()}

        return first_result(self.strategy.run(lambda: sum_over_replicas(measured(own_rows(batch)))))

    def _outputs(self, batch):
        outputs, lengths = run_on_rows(
            lambda part: outputs_and_lengths(self.model(*part), part[1]),
            (batch['inputs'], batch['lengths']))
        return widen(outputs), lengths          # NumPy has no bfloat16


def _values(model):
    return [variable.numpy() for variable in model_variables(model)]
