"""The code of a row of ratings, from the list of those that there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from seqmask import checks, noise
from seqmask.layers import Dense


class RatingEncoder(tf.Module):
    """Tables of vectors, one a column, summed over the columns that were rated.

    code = activation(sum over given j of (e[j] table[j] + rated[j]) / sqrt(n + 1) + bias)

    e[j] being what the rating differs from what was expected, n the number of ratings given;
    further layers of hidden_sizes stand on the code. A row without a given rating has the code 0.

    Variables: `table`, `rated` (if implicit) [columns, H], `bias` [H], and those of `hidden`, a
    list of Dense layers.

    Args:
      num_columns: int. Columns that may occur: items, where rows are users.
      hidden_sizes: Widths of the code and of further layers on it.
      activation: Name, or function that tf.keras.activations.get knows.
      implicit: Whether it also counts what was rated, however: the table `rated`.
      dtype: Of weights and codes.
      seed: int; the same seed gives the same weights.

    Source: Sedhain, Menon, Sanner, Xie. AutoRec: autoencoders meet collaborative filtering. WWW
      2015; which columns were rated, as in Koren. Factorization meets the neighborhood. KDD 2008.
    """

    def __init__(self, num_columns: int, *, hidden_sizes: Sequence[int] = (64,),
                 activation: str | Callable[..., tf.Tensor] = 'tanh', implicit: bool = True,
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        self.num_columns = checks.size('num_columns', num_columns)
        sizes = [checks.size('each of hidden_sizes', size) for size in hidden_sizes]
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
        """Codes from a list of ratings: it costs what these cost.

        Args:
          residuals: float [N]. What each rating differs from what was expected.
          row: int [N]. Which row it stands in, below B.
          column: int [N]. What was rated.
          count: float [B]. Ratings of each row.

        Returns:
          (code float [B, H]; the rows of each table that occurred, as a list).
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
