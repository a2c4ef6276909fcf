"""Matrices of ratings, sparse or dense, as lists of unequal length."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike


def rows_from_matrix(ratings: TensorLike, mask: TensorLike) -> dict[str, tf.Tensor]:
    """The ratings of each row of a matrix as a list.

    inputs[b] = ratings[b, c] of the columns c where mask[b, c],   columns[b] = those c, ascending

    Args:
      ratings: float [B, columns]. Values where mask is False are ignored, NaN included.
      mask: bool [B, columns]. True = rated, also where the rating is 0.

    Returns:
      dict: 'inputs' float [B, T, 1], 'lengths' int32 [B], 'columns' int32 [B, T], padded with
      zeros; T is the largest number of ratings in a row.

    Raises:
      TypeError: If mask is not bool, or ratings not floating-point.
      ValueError: If the shapes do not fit.

    >>> rows = seqmask.data.rows_from_matrix(tf.constant([[0., 3., 0.]]),
    ...                                      mask=tf.constant([[True, False, True]]))
    >>> rows['inputs'][:, :, 0].numpy().tolist(), rows['columns'].numpy().tolist()
    ([[0.0, 0.0]], [[0, 2]])
    """
    ratings = checks.floating('ratings', ratings, 'B, columns')
    mask = checks.same_shape('mask', checks.mask_tensor(mask), 'ratings', ratings)
    indices = tf.where(mask)
    return _rows(tf.boolean_mask(ratings, mask), indices, tf.shape(ratings, tf.int64)[0])


def rows_from_sparse(ratings: tf.SparseTensor) -> dict[str, tf.Tensor]:
    """The ratings of each row of a sparse matrix as a list.

    Args:
      ratings: float `tf.SparseTensor` [B, columns], in row-major order, as `tf.sparse.reorder`
        returns it. All its values are ratings, also zeros.

    Returns:
      As `rows_from_matrix`.

    Raises:
      TypeError: If ratings is not sparse, or not floating-point.
      ValueError: If it is not a matrix.
      tf.errors.InvalidArgumentError: If the indices do not ascend, or one is repeated.

    >>> ratings = tf.SparseTensor(indices=[[0, 1], [2, 0]], values=[3., 5.], dense_shape=[3, 2])
    >>> rows = seqmask.data.rows_from_sparse(ratings)
    >>> rows['columns'].numpy().tolist(), rows['lengths'].numpy().tolist()
    ([[1], [0], [0]], [1, 0, 1])
    """
    if not isinstance(ratings, tf.SparseTensor):
        raise TypeError(f'ratings must be a tf.SparseTensor, got {type(ratings).__name__}. A '
                        f'matrix goes to rows_from_matrix, with its mask.')
    values, indices = checks.floating('ratings', ratings.values, 'N'), ratings.indices
    if ratings.shape.rank not in (2, None):
        raise ValueError(f'ratings must have rank 2 [B, columns], got shape '
                         f'{checks.shown(ratings.shape)}.')
    later, earlier = indices[1:], indices[:-1]
    ascending = (later[:, 0] > earlier[:, 0]) | (
        (later[:, 0] == earlier[:, 0]) & (later[:, 1] > earlier[:, 1]))
    wrong = tf.where(~ascending)[:1, 0]
    indices = checks.after([checks.require(
        tf.reduce_all(ascending), 'the indices of ratings must ascend without repetition, as '
        'tf.sparse.reorder returns them; an index and the next one are',
        tf.gather(earlier, wrong), tf.gather(later, wrong))], indices)
    return _rows(values, indices, ratings.dense_shape[0])


def _rows(values, indices, batch):
    def padded(flat):
        return tf.RaggedTensor.from_value_rowids(flat, indices[:, 0], batch,
                                                 validate=False).to_tensor()

    lengths = tf.math.bincount(tf.cast(indices[:, 0], tf.int32),
                               minlength=tf.cast(batch, tf.int32))
    return {'inputs': padded(values)[:, :, None], 'lengths': lengths,
            'columns': padded(tf.cast(indices[:, 1], tf.int32))}
