"""The code of a row of ratings, computed from the ratings given alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from seqmask import checks, noise
from seqmask.layers import Dense


class RatingEncoder(tf.Module):
    """Tables with one vector per column, summed over the columns that were rated.

    code = activation(sum over given j of (e[j] table[j] + rated[j]) / sqrt(n + 1) + bias)

    where e[j] is the rating's residual and n the number of ratings given; hidden_sizes beyond the
    first add dense layers on the code. A row without a given rating has the code 0.

    Variables: `table`, `rated` (if implicit) [columns, H], `bias` [H], and those of `hidden`, a
    list of Dense layers.

    Args:
      num_columns: int. Number of columns: of items, if rows are users.
      hidden_sizes: Widths of the first layer and of the dense layers on it.
      activation: Name or function, for tf.keras.activations.get.
      implicit: Whether to use implicit feedback, which columns were rated: the table `rated`.
      dtype: Of weights and codes.
      seed: int; the same seed gives the same weights.

    Source: Sedhain, Menon, Sanner, Xie. AutoRec: autoencoders meet collaborative filtering. WWW
      2015; implicit feedback as in Koren. Factorization meets the neighborhood. KDD 2008.
    """

    def __init__(self, num_columns: int, *, hidden_sizes: Sequence[int] = (64,),
                 activation: str | Callable[..., tf.Tensor] = 'tanh', implicit: bool = True,
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        self.num_columns = checks.width('num_columns', num_columns)
        sizes = [checks.width('each of hidden_sizes', size) for size in hidden_sizes]
        if not sizes:
            raise ValueError('hidden_sizes must hold at least one width, got none.')
        self.output_size = sizes[-1]
        self.activation = tf.keras.activations.get(activation)
        self.dtype = checks.float_dtype('dtype', dtype)
        table_seed, *seeds = noise.seeds(seed, len(sizes))
        rng = np.random.default_rng(table_seed)

        def table(name):
            drawn = rng.normal(0, 0.05, [num_columns, sizes[0]])
            return tf.Variable(tf.cast(drawn, self.dtype), name=name)

        self.table = table('table')
        self.rated = table('rated') if implicit else None
        self.bias = tf.Variable(tf.zeros([sizes[0]], self.dtype), name='bias')
        self.hidden = [Dense(below, size, dtype=dtype, seed=layer_seed)
                       for below, size, layer_seed in zip(sizes, sizes[1:], seeds)]

    def encode(self, residuals: tf.Tensor, row: tf.Tensor, column: tf.Tensor,
               count: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Codes from a list of ratings, at a cost proportional to their number.

        Args:
          residuals: float [N]. Each rating less its expectation.
          row: int [N]. The row of each rating, below B.
          column: int [N]. Its column.
          count: float [B]. Ratings of each row.

        Returns:
          (code float [B, H]; list of the gathered rows of each table).
        """
        occurring, place = tf.unique(column)
        rows = [tf.gather(self.table, occurring)]
        terms = tf.gather(rows[0], place) * residuals[:, None]                       # [N, H]
        if self.rated is not None:
            rows.append(tf.gather(self.rated, occurring))
            terms += tf.gather(rows[1], place)
        total = tf.math.unsorted_segment_sum(terms, row, tf.shape(count)[0])         # [B, H]
        code = self.activation(total / tf.sqrt(count + 1)[:, None] + self.bias)
        for layer in self.hidden:
            code = self.activation(layer(code))
        return tf.where(count[:, None] > 0, code, tf.zeros([], code.dtype)), rows
