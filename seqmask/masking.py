"""What stands at a padded step?"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask import checks, known
from seqmask.checks import TensorLike
from seqmask.lengths import move_padding_right, sequence_mask


def apply_mask(values: TensorLike, mask: TensorLike, fill: TensorLike = 0) -> tf.Tensor:
    """Selects: values where the mask is True, `fill` elsewhere.

    out = values where mask else fill

    The gradient is selected, too: values where the mask is False, NaN included, neither show in the
    result nor receive a gradient.

    Args:
      values: [B, T, ...], or any shape that begins with that of the mask.
      mask: bool [B, T]. True = keep.
      fill: Scalar.

    Returns:
      The shape and dtype of values.

    Raises:
      TypeError: If mask is not bool.
      ValueError: If the mask's shape is not that of the leading axes of values.

    >>> seqmask.apply_mask(tf.constant([[1., float('nan')]]), tf.constant([[True, False]])).numpy()
    array([[1., 0.]], dtype=float32)
    """
    values = checks.dense('values', values)
    mask = checks.mask(mask, values)
    selected = tf.where(_expand(mask, values), values, tf.cast(fill, values.dtype))
    return known.with_sizes_of(known.with_sizes_of(selected, values), mask)


def mask_gradient(values: TensorLike, mask: TensorLike) -> tf.Tensor:
    """The identity, without a gradient where the mask is False.

    out = values;   d out / d values = mask

    Args:
      values: float [B, T, ...], or any shape that begins with that of the mask.
      mask: bool [B, T]. True = let the gradient through.

    Returns:
      values.

    Raises:
      As `apply_mask`.

    >>> x = tf.Variable([3., 4.])
    >>> with tf.GradientTape() as tape:
    ...     y = tf.reduce_sum(seqmask.mask_gradient(x ** 2, tf.constant([True, False])))
    >>> tape.gradient(y, x).numpy()
    array([6., 0.], dtype=float32)
    """
    values = checks.dense('values', values)
    mask = _expand(checks.mask(mask, values), values)
    return tf.where(mask, values, tf.stop_gradient(values))


def masked_softmax(logits: TensorLike, mask: TensorLike) -> tf.Tensor:
    """Softmax over the last axis, among the entries where the mask is True.

    out = exp(logits) / sum over real entries of exp(logits);   0 where the mask is False

    A row without real entries is all 0, and so is its gradient.

    Args:
      logits: float [..., T]. Values where the mask is False are ignored, NaN included.
      mask: bool, of the rank of logits; axes of size 1 are broadcast. True = real.

    Returns:
      The shape and dtype of logits. float16 and bfloat16 are summed in float32.

    Raises:
      TypeError: If mask is not bool, or logits are not floating-point.
      ValueError: If the shapes do not fit.

    >>> seqmask.masked_softmax(tf.constant([[5., 5., 9.], [1., 2., 3.]]),
    ...                        tf.constant([[True, True, False], [False, False, False]])).numpy()
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]], dtype=float32)
    """
    logits = checks.floating('logits', logits, 'T, ...')
    mask = checks.broadcast_mask(mask, logits, 'logits')
    wide = tf.cast(logits, tf.float32) if logits.dtype.size < 4 else logits
    wide = tf.where(mask, wide, float('-inf'))
    # Relative to the largest, so that nothing overflows; the shift has no gradient.
    largest = tf.stop_gradient(tf.reduce_max(wide, axis=-1, keepdims=True))
    odds = tf.exp(wide - largest)
    total = tf.reduce_sum(odds, axis=-1, keepdims=True)
    # Masked again: a row without real entries is NaN here.
    return tf.cast(tf.where(mask, odds / total, 0), logits.dtype)


def last_relevant(outputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
    """Output of each sequence's own last step.

    out[b] = outputs[b, lengths[b] - 1];   0 where lengths[b] = 0

    Args:
      outputs: number [B, T, ...]. Values at padded steps are ignored, NaN included.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.

    Returns:
      [B, ...].

    Raises:
      TypeError: If lengths is not int32 or int64.
      ValueError: If a rank or a static size does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).

    >>> seqmask.last_relevant(tf.constant([[[1.], [2.], [9.]]]), tf.constant([2])).numpy()
    array([[2.]], dtype=float32)
    """
    outputs, lengths, maxlen = _sequences('outputs', outputs, lengths)
    is_last = tf.range(1, maxlen + 1) == lengths[:, None]    # [B, T]
    # A sum over one selected step: unlike a gather, legal at T = 0 and at length 0.
    return tf.reduce_sum(apply_mask(outputs, is_last), axis=1)


def reverse(inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
    """Each sequence from its own last step to its first; the padding stays on the right.

    out[b, t] = inputs[b, lengths[b] - 1 - t] for t < lengths[b];   0 after it

    Args:
      inputs: [B, T, ...]. Values at padded steps are ignored, NaN included.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.

    Returns:
      The shape of inputs.

    Raises:
      As `last_relevant`.

    >>> seqmask.reverse(tf.constant([[[1.], [2.], [9.]]]), tf.constant([2])).numpy().ravel()
    array([2., 1., 0.], dtype=float32)
    """
    inputs, lengths, maxlen = _sequences('inputs', inputs, lengths)
    mirrored = tf.reverse_sequence(inputs, lengths, seq_axis=1, batch_axis=0)
    return apply_mask(known.with_sizes_of(mirrored, inputs), sequence_mask(lengths, maxlen))


def crop(outputs: TensorLike, lengths: TensorLike) -> list[np.ndarray]:
    """Each sequence's real steps as an array of its own. Eager only.

    Args:
      outputs: [B, T, ...].
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.

    Returns:
      List of B NumPy arrays [length, ...].

    Raises:
      As `last_relevant`.

    >>> seqmask.crop(tf.constant([[[1.], [9.]], [[2.], [3.]]]), tf.constant([1, 2]))[0]
    array([[1.]], dtype=float32)
    """
    outputs, lengths, _ = _sequences('outputs', outputs, lengths)
    return [row[:length] for row, length in zip(outputs.numpy(), lengths.numpy())]


def to_ragged(inputs: TensorLike, lengths: TensorLike) -> tf.RaggedTensor:
    """The real steps as a `tf.RaggedTensor`.

    Args:
      inputs: [B, T, ...].
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.

    Returns:
      `tf.RaggedTensor` [B, (length), ...].

    Raises:
      As `last_relevant`.

    >>> seqmask.to_ragged(tf.constant([[1., 9.], [2., 3.]]), tf.constant([1, 2])).to_list()
    [[1.0], [2.0, 3.0]]
    """
    inputs, lengths, maxlen = _sequences('inputs', inputs, lengths)
    # Unlike that of boolean_mask, the gradient of gather_nd is dense, and causes no warning.
    real = tf.gather_nd(inputs, tf.where(sequence_mask(lengths, maxlen)))
    return tf.RaggedTensor.from_row_lengths(real, lengths)


def from_ragged(ragged: tf.RaggedTensor,
                maxlen: TensorLike | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Pads a ragged batch with zeros.

    Args:
      ragged: `tf.RaggedTensor` [B, (length), ...], ragged in its second axis only.
      maxlen: int or int scalar. T, the padded width; by default the longest length.

    Returns:
      (inputs [B, T, ...], lengths int32 [B]).

    Raises:
      TypeError: If ragged is not a `tf.RaggedTensor`.
      ValueError: If more than its second axis is ragged.
      tf.errors.InvalidArgumentError: If a sequence is longer than maxlen.

    >>> inputs, lengths = seqmask.from_ragged(tf.ragged.constant([[1.], [2., 3.]]))
    >>> inputs.numpy().tolist(), lengths.numpy().tolist()
    ([[1.0, 0.0], [2.0, 3.0]], [1, 2])
    """
    if not isinstance(ragged, tf.RaggedTensor):
        raise TypeError(f'ragged must be a tf.RaggedTensor, got {type(ragged).__name__}.')
    if ragged.ragged_rank != 1:
        raise ValueError(f'ragged must be ragged in its second axis only, got '
                         f'{ragged.ragged_rank} ragged axes.')
    lengths = tf.cast(ragged.row_lengths(), tf.int32)
    if maxlen is None:
        maxlen = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    mask = sequence_mask(lengths, maxlen)
    shape = tf.concat([tf.shape(mask), tf.shape(ragged.values)[1:]], axis=0)
    inputs = tf.scatter_nd(tf.where(mask), ragged.values, tf.cast(shape, tf.int64))
    return tf.ensure_shape(inputs, mask.shape.concatenate(ragged.values.shape[1:])), lengths


def repeat(vectors: TensorLike, lengths: TensorLike, maxlen: TensorLike) -> tf.Tensor:
    """Each vector at every step of its sequence: the `RepeatVector` of unequal lengths.

    out[b, t] = vectors[b] for t < lengths[b];   0 after it

    Args:
      vectors: [B, ...].
      lengths: int32 [B]. Time steps, 0 <= lengths <= maxlen.
      maxlen: int or int scalar. T, the padded width.

    Returns:
      [B, T, ...].

    Raises:
      TypeError: If lengths is not int32 or int64.
      ValueError: If a rank or a static size does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds maxlen.

    >>> seqmask.repeat(tf.constant([[1.], [2.]]), tf.constant([1, 2]), 2).numpy().tolist()
    [[[1.0], [0.0]], [[2.0], [2.0]]]
    """
    vectors = checks.tensor('vectors', vectors, 'B, ...')
    lengths = checks.lengths(lengths, batch=tf.shape(vectors)[0], maxlen=maxlen)
    mask = _expand(sequence_mask(lengths, maxlen), vectors[:, None])
    return tf.where(mask, vectors[:, None], tf.zeros([], vectors.dtype))


def concat_time(first: TensorLike, first_lengths: TensorLike, second: TensorLike,
                second_lengths: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
    """Joins two batches in time: each sequence's second part follows its own first part.

    out[b] = first[b, :first_lengths[b]], then second[b, :second_lengths[b]], then zeros

    Args:
      first: [B, T1, ...].
      first_lengths: int32 [B]. Time steps, 0 <= first_lengths <= T1.
      second: [B, T2, ...].
      second_lengths: int32 [B]. Time steps, 0 <= second_lengths <= T2.

    Returns:
      (outputs [B, T1 + T2, ...], lengths int32 [B]).

    Raises:
      TypeError: If lengths are not int32 or int64.
      ValueError: If a rank or a static size does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds its T.

    >>> outputs, lengths = seqmask.concat_time(tf.constant([[[1.], [9.]]]), tf.constant([1]),
    ...                                        tf.constant([[[2.]]]), tf.constant([1]))
    >>> outputs.numpy().ravel(), lengths.numpy()
    (array([1., 2., 0.], dtype=float32), array([2], dtype=int32))
    """
    first, first_lengths, first_maxlen = _sequences('first', first, first_lengths)
    second, second_lengths, second_maxlen = _sequences('second', second, second_lengths)
    # Without their steps, because only T may differ.
    checks.same_shape('second', second[:, :0], 'first', first[:, :0])
    mask = tf.concat([sequence_mask(first_lengths, first_maxlen),
                      sequence_mask(second_lengths, second_maxlen)], axis=1)
    return move_padding_right(tf.concat([first, second], axis=1), mask)


def _sequences(name, values, lengths):
    values = checks.tensor(name, values, 'B, T, ...')
    batch, maxlen = known.sizes(values)
    return values, checks.lengths(lengths, batch=batch, maxlen=maxlen), maxlen


def _expand(mask, values):
    """Expands a mask to the rank of its values: [B, T] -> [B, T, 1, ...]."""
    for _ in range(values.shape.rank - mask.shape.rank):
        mask = mask[..., None]
    return mask
