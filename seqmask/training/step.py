"""How weights move: one gradient step, short enough to copy into your own loop."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.tally import Tally, widen
from seqmask.training.gradients import add, global_norm, map_values, sum_rows
from seqmask.training.replicas import first_result, own_rows, sum_over_replicas
from seqmask.training.precision import MixedPrecision
from seqmask.variables import model_variables, trainable_variables

Loss = Callable[..., Tally]                     # (model, batch, training)
Measure = Callable[..., dict[str, Tally]]       # (model, batch)
MeasureAll = Callable[..., dict[str, float]]    # (outputs, batches)
Optimizer = typing.Union[tf.keras.optimizers.Optimizer, MixedPrecision]


@typing.runtime_checkable
class PreparesSteps(typing.Protocol):
    """A model whose loss is not a sum over sequences."""

    def prepare_step(self, batches: list[dict[str, tf.Tensor]]) -> list[dict[str, tf.Tensor]]:
        """Maps a replica's micro-batches of one step to those that the loss gets."""


class Step(typing.NamedTuple):
    """The outcome of a gradient step.

    Attributes:
      tally: `Tally` of the loss over the real steps of all its batches.
      norm: float scalar. Global norm of the gradient before clipping, in its widest dtype.
      applied: bool scalar. False if the step was not finite and was skipped.
    """
    tally: Tally
    norm: tf.Tensor
    applied: tf.Tensor


def sum_gradients(model: tf.Module, loss: Loss, batch: dict[str, tf.Tensor],
                  scale: TensorLike | None = None) -> tuple[Tally, list]:
    """The loss summed over real steps, and the gradient of that sum.

    Neither is divided yet, so those of micro-batches or replicas add up to those of the batch.

    Args:
      model: `tf.Module`.
      loss: (model, batch, training) -> `Tally`.
      batch: What loss takes.
      scale: Loss scale for float16 weights, as of `MixedPrecision`: multiplies the total before
        differentiation and divides the gradient, in float32. None for no scaling.

    Returns:
      (`Tally`, list of the gradients of its total, one for each of `trainable_variables(model)`;
      zeros where the loss does not depend on a variable).

    Raises:
      TypeError: If the loss returns anything but a `Tally`.
      ValueError: If the loss depends on variables that would not be trained.
    """
    variables, known = trainable_variables(model), model_variables(model)
    with tf.GradientTape() as tape:
        tally = tally_of(loss(model, batch, training=True))
        total = tally.total if scale is None else tally.total * tf.cast(scale, tally.total.dtype)
    foreign = _foreign_variables(tape, known)
    gradients = tape.gradient(total, variables + foreign)
    _require_held([v for v, g in zip(foreign, gradients[len(variables):]) if g is not None])
    gradients = [tf.zeros_like(v) if g is None else g for v, g in zip(variables, gradients)]
    if scale is not None:
        gradients = [map_values(lambda g: _unscale(g, scale), gradient) for gradient in gradients]
    return tally, gradients


def tally_of(result: Tally) -> Tally:
    """Returns the result of a loss or a measure, or raises TypeError if it is not a `Tally`."""
    if isinstance(result, Tally):
        return result
    got = f'a tensor {tuple(result.shape)}' if tf.is_tensor(result) else type(result).__name__
    raise TypeError(f'a loss or a measure must return a seqmask.Tally, got {got}. The losses of '
                    f'seqmask.losses do; in your own loss return Tally(total, count): the sum over '
                    f'the real steps, and their number.')


def train_step(model: tf.Module, loss: Loss, optimizer: Optimizer,
               *batches: dict[str, tf.Tensor], clip_norm: float | None = None) -> Step:
    """One step down the gradient of the mean loss over the real steps of all batches.

    gradient = sum over batches of d total / sum over batches of count;   0 where no step is real

    Several batches are micro-batches of one large batch (gradient accumulation). The result is that
    of the large batch except for batch norm and dropout: each micro-batch is normalized by its own
    statistics, which replicas share, and draws its own dropout masks. A loss that is not a sum over
    sequences, such as that of `RatingAutoencoder` with its decay, adds up if the model is one of
    `PreparesSteps`.

    A step with a non-finite loss or gradient is skipped: trainable variables, the optimizer's slots
    and iteration count, and running statistics keep their values.

    Args:
      model: `tf.Module`.
      loss: (model, batch, training) -> `Tally`.
      optimizer: Keras optimizer, or `MixedPrecision`, built:
        `optimizer.build(trainable_variables(model))`.
      *batches: What loss takes, one or more.
      clip_norm: Largest global norm of the gradient; None for no clipping.

    Returns:
      `Step`.

    Source of the clipping: Pascanu, Mikolov, Bengio. On the difficulty of training recurrent neural
    networks. ICML 2013.

    >>> def loss(model, batch, training):
    ...     return seqmask.losses.squared_error(
    ...         predictions=model.slope * batch['x'], labels=batch['y'], mask=batch['mask'])
    >>> model, optimizer = tf.Module(), tf.keras.optimizers.SGD(0.1)
    >>> model.slope = tf.Variable(1.0)
    >>> optimizer.build(model.trainable_variables)
    >>> batch = {'x': tf.constant([[1., 9.]]), 'y': tf.constant([[3., 9.]]),
    ...          'mask': tf.constant([[True, False]])}
    >>> step = seqmask.training.train_step(model, loss, optimizer, batch)
    >>> round(float(model.slope), 4), float(step.tally.mean())     # 1 - 0.1 * 2 * (1 - 3) = 1.4
    (1.4, 4.0)
    """
    strategy = tf.distribute.get_strategy()
    trained = trainable_variables(model)
    trained_ids = {id(variable) for variable in trained}
    before = [(part, tf.identity(part)) for variable in model_variables(model)
              if id(variable) not in trained_ids
              for part in strategy.experimental_local_results(variable)]
    mixed = isinstance(optimizer, MixedPrecision)

    def descend():
        scale = optimizer.scale if mixed else None
        first, *rest = _prepared(model, [own_rows(batch) for batch in batches])
        tally, gradients = sum_gradients(model, loss, first, scale)
        for batch in rest:
            more_tally, more = sum_gradients(model, loss, batch, scale)
            tally += more_tally
            gradients = [add(g, m) for g, m in zip(gradients, more)]
        tally, gradients = sum_over_replicas((tally, gradients))
        gradients = [map_values(lambda values: _divide(values, tally.count), sum_rows(gradient))
                     for gradient in gradients]
        norm = global_norm(gradients)
        if clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        return tally, norm, gradients

    tally, norm, gradients = strategy.run(descend)
    tally, norm = first_result((tally, norm))

    def apply():
        strategy.run(_apply, args=(optimizer, gradients, trained))
        if mixed:
            optimizer.round_masters(trained)
        return tf.constant(True)

    def skip():
        for part, value in before:
            part.assign(value)
        return tf.constant(False)

    # Outside the replicas: TensorFlow cannot update their variables inside a condition.
    applied = tf.cond(tf.math.is_finite(norm) & tf.math.is_finite(tally.total), apply, skip)
    if mixed:
        optimizer.update_scale(applied)
    return Step(tally, norm, applied)


def _foreign_variables(tape, known):
    """Trainable variables that the loss read but the model does not hold."""
    strategy = tf.distribute.get_strategy()
    ids = {id(part) for variable in known
           for part in (variable, *strategy.experimental_local_results(variable))}
    return [variable for variable in tape.watched_variables() if id(variable) not in ids]


def _require_held(foreign):
    if foreign:
        raise ValueError(
            f'the loss depends on variables that the model does not hold, so they would not be '
            f'trained: {", ".join(variable.name for variable in foreign)}. Make their owner an '
            f'attribute of the model, with its variables built, before training, or create them '
            f'with trainable=False.')


def _prepared(model, batches):
    """The micro-batches of a step, prepared by a model whose loss is not a sum over sequences."""
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    if len(batches) * replicas > 1 and isinstance(model, PreparesSteps):
        return model.prepare_step(batches)
    return batches


def _apply(optimizer, gradients, variables):
    """Applies gradients that are the same on all replicas, over which Keras's optimizers sum."""
    count = tf.distribute.get_replica_context().num_replicas_in_sync
    if count > 1:
        gradients = [g / count for g in gradients]
    optimizer.apply(gradients, variables)


def _unscale(gradient, scale):
    wide = widen(gradient)
    return wide / tf.cast(scale, wide.dtype)


def _divide(gradient, count):
    wide = widen(gradient)      # the largest float16 is 65504
    return tf.cast(tf.math.divide_no_nan(wide, tf.cast(count, wide.dtype)), gradient.dtype)


def in_one_tensor(step: Step, batches: Sequence[dict[str, tf.Tensor]]) -> tf.Tensor:
    """What a loop reads of a step, at once: each tensor that is read back costs a wait.

    Returns:
      float64 [4]: total and count of its tally; 1 if it was applied; the real steps of its batches.
    """
    num_steps = tf.add_n([tf.reduce_sum(tf.cast(b['lengths'], tf.int64)) for b in batches])
    return tf.stack([tf.cast(part, tf.float64) for part in (*step.tally, step.applied, num_steps)])
