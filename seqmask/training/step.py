"""How weights move: one gradient step, short enough to copy into a loop of your own."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.tally import Tally, widen
from seqmask.training.replicas import first_result, own_rows, sum_over_replicas
from seqmask.training.precision import MixedPrecision
from seqmask.variables import model_variables, trainable_variables

# Called as (model, batch, training) and as (model, batch); and what moves weights.
Loss = Callable[..., Tally]
Measure = Callable[..., dict[str, Tally]]
Optimizer = typing.Union[tf.keras.optimizers.Optimizer, MixedPrecision]


class Step(typing.NamedTuple):
    """What a gradient step did.

    Attributes:
      tally: `Tally` of the loss over the real steps of all its batches.
      norm: float scalar. Global norm of the gradient, before clipping; of the widest dtype.
      applied: bool scalar. False if the step was not finite and was skipped.
    """
    tally: Tally
    norm: tf.Tensor
    applied: tf.Tensor


def sum_gradients(model: tf.Module, loss: Loss, batch: dict[str, tf.Tensor],
                  scale: TensorLike | None = None) -> tuple[Tally, list]:
    """The loss summed over real steps, and its gradient; not divided yet.

    Sums of micro-batches or replicas add up to those of the whole batch.

    Args:
      model: `tf.Module`.
      loss: (model, batch, training) -> `Tally`.
      batch: What loss takes.
      scale: What the total is multiplied by before it is differentiated, and the gradient divided
        by, as float32: float16 weights need it (`MixedPrecision`). None for neither.

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
    strangers = _strangers(tape, known)
    gradients = tape.gradient(total, variables + strangers)
    _refuse([v for v, g in zip(strangers, gradients[len(variables):]) if g is not None])
    gradients = [tf.zeros_like(v) if g is None else g for v, g in zip(variables, gradients)]
    return tally, gradients if scale is None else [_unscaled(g, scale) for g in gradients]


def tally_of(result: Tally) -> Tally:
    """What a loss or a measure returned, if it is a `Tally`.

    Raises:
      TypeError: If it is not.
    """
    if isinstance(result, Tally):
        return result
    got = f'a tensor {tuple(result.shape)}' if tf.is_tensor(result) else type(result).__name__
    raise TypeError(f'a loss or a measure must return a seqmask.Tally, got {got}. Those of '
                    f'seqmask.losses return it; of a loss of your own it is Tally(total, count): '
                    f'the sum over the real steps, and their number.')


def train_step(model: tf.Module, loss: Loss, optimizer: Optimizer,
               *batches: dict[str, tf.Tensor], clip_norm: float | None = None) -> Step:
    """One step down the gradient of the mean loss over the real steps of all batches.

    gradient = sum over batches of d total / sum over batches of count;   0 where no step is real

    With several batches, micro-batches of one large batch, the result is that of the large batch,
    but for batch norm and dropout: each micro-batch is normalised by statistics of its own, where
    replicas share theirs, and has draws of its own. A loss that is no sum over sequences, as that
    of `RatingAutoencoder` with its decay, adds up if the model has `prepare_step(batches)`: it gets
    the micro-batches of a replica, and returns those that the loss is to see.

    A step whose loss or gradient is not finite is skipped whole: trainable variables, the
    optimizer's slots and its count of iterations, and running averages stay as they were.

    Args:
      model: `tf.Module`.
      loss: (model, batch, training) -> `Tally`.
      optimizer: Keras optimizer, or `MixedPrecision`, built:
        `optimizer.build(trainable_variables(model))`.
      *batches: What loss takes, one or more.
      clip_norm: Largest global norm of the gradient; None to leave it as it is.

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
    moved = {id(variable) for variable in trained}
    before = [(part, tf.identity(part)) for variable in model_variables(model)
              if id(variable) not in moved
              for part in strategy.experimental_local_results(variable)]

    mixed = isinstance(optimizer, MixedPrecision)

    def descend():
        scale = optimizer.scale if mixed else None
        first, *rest = _told_of_each_other(model, [own_rows(batch) for batch in batches])
        tally, gradients = sum_gradients(model, loss, first, scale)
        for batch in rest:
            more_tally, more = sum_gradients(model, loss, batch, scale)
            tally += more_tally
            gradients = [_add(g, m) for g, m in zip(gradients, more)]
        tally, gradients = sum_over_replicas((tally, gradients))
        gradients = [_divide(_sum_rows(g), tally.count) for g in gradients]
        norm = _global_norm(gradients)
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

    # Decided outside the replicas: TensorFlow refuses to update their variables inside a condition.
    applied = tf.cond(tf.math.is_finite(norm) & tf.math.is_finite(tally.total), apply, skip)
    if mixed:
        optimizer.update_scale(applied)
    return Step(tally, norm, applied)


def _strangers(tape, known):
    """Trainable variables that the loss read, and the model does not hold."""
    strategy = tf.distribute.get_strategy()
    ids = {id(part) for variable in known
           for part in (variable, *strategy.experimental_local_results(variable))}
    return [variable for variable in tape.watched_variables() if id(variable) not in ids]


def _refuse(strangers):
    if strangers:
        raise ValueError(
            f'the loss depends on variables that the model does not hold, so they would not be '
            f'trained: {", ".join(variable.name for variable in strangers)}. Make what they belong '
            f'to an attribute of the model before training, with its variables there already, or '
            f'make them with trainable=False.')


def _told_of_each_other(model, batches):
    """The parts of a step, as a model whose loss is no sum over sequences wants to see them."""
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    if len(batches) * replicas > 1 and hasattr(model, 'prepare_step'):
        return model.prepare_step(batches)
    return batches


def _apply(optimizer, gradients, variables):
    """Applies gradients that all replicas have; Keras's optimizers sum them over the replicas."""
    count = tf.distribute.get_replica_context().num_replicas_in_sync
    if count > 1:
        gradients = [g / count for g in gradients]
    optimizer.apply(gradients, variables)


def _add(gradient, more):
    if isinstance(gradient, tf.IndexedSlices) and isinstance(more, tf.IndexedSlices):
        return tf.IndexedSlices(tf.concat([gradient.values, more.values], axis=0),
                                tf.concat([gradient.indices, more.indices], axis=0),
                                gradient.dense_shape)
    return tf.convert_to_tensor(gradient) + more


def _sum_rows(gradient):
    """Each row once: Adam, and the norm, would square the parts of a row instead of their sum."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, places = tf.unique(gradient.indices)
    values = tf.cond(
        tf.size(rows) == tf.size(places), lambda: gradient.values,
        lambda: tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows)))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _unscaled(gradient, scale):
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_unscaled(gradient.values, scale), gradient.indices,
                                gradient.dense_shape)
    wide = widen(gradient)
    return wide / tf.cast(scale, wide.dtype)


def _divide(gradient, count):
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_divide(gradient.values, count), gradient.indices,
                                gradient.dense_shape)
    wide = widen(gradient)      # float16 has no count above 65504
    return tf.cast(tf.math.divide_no_nan(wide, tf.cast(count, wide.dtype)), gradient.dtype)


def _global_norm(gradients):
    values = [widen(g.values if isinstance(g, tf.IndexedSlices) else g) for g in gradients]
    widest = max((v.dtype for v in values), key=lambda dtype: dtype.size, default=tf.float32)
    return tf.linalg.global_norm([tf.cast(v, widest) for v in values])
