"""Missing ratings, predicted from the ratings given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from seqmask import checks, data, losses, noise
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.metrics import MAE
from seqmask.models.rating_baselines import rating_biases
from seqmask.models.rating_encoder import RatingEncoder
from seqmask.models.rating_shares import given_steps, seen_and_scored, shares, sum_of_squares
from seqmask.operands import real_only
from seqmask.tally import Tally


class RatingAutoencoder(tf.Module):
    """Predicts the ratings of a row, such as a user, in any column from the ratings given.

    above   = sum over given j of (r[j] - mean - column[j]) / (n + shrinkage)
    e[j]    = r[j] - mean - column[j] - above
    code    = encoder of e, a `RatingEncoder`
    out[c]  = mean + column[c] + above + code . decoder[c],   within rating_range

    where n is the number of ratings given. A row is the list of its ratings, not a vector with
    zeros for missing ones, which take no part in the computation: gradients of the tables are
    sparse, and the cost is proportional to the number of ratings. A row without a given rating has
    the code 0, and a column without training data the decoder 0: both fall back to the means.

    In training each rating is hidden from the encoder with probability `dropout`, and only hidden
    ratings are scored, so that the model learns to predict missing ones. With dropout 0 every
    rating is both given and scored.

    Variables: those of the encoder; `decoder` [columns, H]; and, not trained but set by
    `fit_means`, `mean` [] and `column` [columns].

    Args:
      encoder: `RatingEncoder`.
      dropout: Share of the ratings hidden in training.
      decay: Weight decay of the table rows that occur in a step, as a term of its loss.
      shrinkage: As of `rating_biases`.
      rating_range: (lowest, highest) rating, to which predictions are clipped; None for no limits.
      seed: int; the same seed gives the same dropout.

    Source: Sedhain, Menon, Sanner, Xie. AutoRec: autoencoders meet collaborative filtering. WWW
      2015.

    >>> model = seqmask.models.RatingAutoencoder(
    ...     seqmask.models.RatingEncoder(num_columns=4, seed=0), rating_range=(1, 5), seed=0)
    >>> people = seqmask.data.rows_from_matrix(
    ...     tf.constant([[5., 0., 4., 0.], [0., 0., 0., 0.]]),
    ...     mask=tf.constant([[True, False, True, False], [False] * 4]))
    >>> model.mean.assign(3.0).shape, model(**people).shape
    (TensorShape([]), TensorShape([2, 2]))
    >>> code, base = model.encode(**people)         # 3 + ((5 - 3) + (4 - 3)) / (2 + 5), and 3
    >>> model.decode(code, base)[:, 3].numpy().round(2)
    array([3.43, 3.  ], dtype=float32)
    """

    def __init__(self, encoder: RatingEncoder, *, dropout: float = 0.25, decay: float = 0.25,
                 shrinkage: float = 5.0, rating_range: tuple[float, float] | None = None,
                 seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.encoder, self.dtype = encoder, encoder.dtype
        self.num_columns = encoder.num_columns
        self.rating_range = None
        if rating_range is not None:
            self.rating_range = low, high = tuple(float(bound) for bound in rating_range)
            if not low < high:
                raise ValueError(f'rating_range must be (lowest, highest), got {rating_range}.')
        self.dropout = checks.fraction('dropout', dropout)
        self.decay = checks.positive('decay', decay, or_zero=True)
        self.shrinkage = checks.positive('shrinkage', shrinkage, or_zero=True)
        self.decoder = tf.Variable(tf.zeros([self.num_columns, encoder.output_size], self.dtype),
                                   name='decoder')
        self.mean = tf.Variable(tf.zeros([], self.dtype), trainable=False, name='mean')
        self.column = tf.Variable(tf.zeros([self.num_columns], self.dtype), trainable=False,
                                  name='column')
        self._noise = noise.generator(noise.seeds(seed, 1)[0])

    def fit_means(self, rows: data.Sequences) -> RatingAutoencoder:
        """Sets the mean and the column biases to those of the training data.

        Args:
          rows: `data.Sequences` of ratings, with 'columns' per step.

        Returns:
          The model.
        """
        numbers = np.repeat(np.arange(len(rows)), rows.lengths)
        mean, _, column = rating_biases(numbers, rows.steps['columns'], rows.frames[:, 0],
                                        (len(rows), self.num_columns), shrinkage=self.shrinkage)
        self.mean.assign(mean)
        self.column.assign(column)
        return self

    def __call__(self, inputs: TensorLike, lengths: TensorLike, columns: TensorLike,
                 given: TensorLike | None = None) -> tf.Tensor:
        """Predicts a rating at every step, from the ratings given.

        Args:
          inputs: float [B, T, 1]. Ratings; values at padded steps, or steps that are not given, are
            ignored, NaN included.
          lengths: int32 [B]. Ratings of each row, 0 <= lengths <= T.
          columns: int32 [B, T]. The column of each rating.
          given: bool [B, T]. False where the rating is hidden; None if all are given.

        Returns:
          float [B, T], 0 at padded steps.

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length or a column is out of range.
        """
        inputs, mask, columns = self._checked(inputs, lengths, columns)
        code, base, _ = self._encode(inputs, columns, given_steps(given, mask))
        outputs, _ = self._decode(code, base, columns, mask)
        return apply_mask(self._clipped(outputs), mask)

    def encode(self, inputs: TensorLike, lengths: TensorLike,
               columns: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
        """Encodes rows of ratings; the result is all that `decode` needs.

        Args:
          inputs, lengths, columns: As of a call.

        Returns:
          (code, float [B, H]; base, float [B], mean + above).
        """
        inputs, mask, columns = self._checked(inputs, lengths, columns)
        code, base, _ = self._encode(inputs, columns, mask)
        return code, base

    def decode(self, code: TensorLike, base: TensorLike,
               columns: TensorLike | None = None) -> tf.Tensor:
        """Predicts a rating of each row in each column.

        Args:
          code, base: As returned by `encode`.
          columns: int [C]. None for all, which takes memory for each of them.

        Returns:
          float [B, C].
        """
        column, decoder = self.column, self.decoder
        if columns is not None:
            column, decoder = tf.gather(column, columns), tf.gather(decoder, columns)
        return self._clipped(base[:, None] + column + tf.matmul(code, decoder, transpose_b=True))

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """Squared error of the scored ratings, before clipping, for `training.Trainer`.

        total = sum of (r - out)^2 + decay * sum over the tables' rows that occur of their squares

        in training; without the second term otherwise.

        Args:
          batch: dict with 'inputs' [B, T, 1], 'lengths' [B], 'columns' [B, T]; optionally 'given'
            [B, T]: then only the ratings that are not given are scored.
          training: Whether ratings are hidden at random if the batch lacks 'given'.

        Returns:
          `seqmask.Tally`.
        """
        inputs, mask, columns = self._checked(batch['inputs'], batch['lengths'], batch['columns'])
        batch = self._hide(batch, mask) if training else batch
        given, scored = seen_and_scored(batch, mask)
        code, base, rows = self._encode(inputs, columns, given)
        outputs, more_rows = self._decode(code, base, columns, scored)
        tally = losses.squared_error(predictions=outputs, labels=inputs[:, :, 0], mask=scored)
        if not training or not self.decay:
            return tally
        squares = tf.add_n([
            sum_of_squares(tables, columns, steps, batch.get(name))
            for tables, steps, name in ((rows, given, 'given_share'),
                                        (more_rows, scored, 'scored_share'))])
        return tally + Tally(tf.cast(self.decay * squares, tally.total.dtype), 0.0)

    def prepare_step(self, batches: Sequence[dict[str, tf.Tensor]]) -> list[dict[str, tf.Tensor]]:
        """Adds shares to the micro-batches of one step, so that each row decays only once.

        A row that occurs in several micro-batches or on several replicas decays in each by the
        share of its occurrences there. `training.train_step` calls this.

        Args:
          batches: list of batches as of `loss`.

        Returns:
          The same with 'given_share' and 'scored_share', float [B, T]; and with 'given' where
          ratings are hidden at random.
        """
        prepared, steps = [], []
        for batch in batches:
            _, mask, columns = self._checked(batch['inputs'], batch['lengths'], batch['columns'])
            prepared.append(self._hide(batch, mask))
            steps.append((columns, *seen_and_scored(prepared[-1], mask)))
        columns, given, scored = zip(*steps)
        given_shares, scored_shares = (shares(columns, steps, self.num_columns, self.dtype)
                                       for steps in (given, scored))
        return [{**batch, 'given_share': g, 'scored_share': s}
                for batch, g, s in zip(prepared, given_shares, scored_shares)]

    def _hide(self, batch, mask):
        """The batch with ratings hidden at random, unless it has 'given'."""
        if 'given' in batch or not self.dropout:
            return batch
        kept = noise.dropout_mask(self._noise, tf.shape(mask), self.dropout, self.dtype) > 0
        return {**batch, 'given': kept}

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """Metrics of a batch as of `loss`, for `Trainer(measure=RatingAutoencoder.measure)`.

        Returns:
          dict of `seqmask.Tally` of the clipped predictions: 'loss', the squared error, whose root
          is the RMSE; 'absolute_error', the MAE.
        """
        names = ('inputs', 'lengths', 'columns', 'given')
        predictions = self(**{name: batch[name] for name in names if name in batch})
        inputs, _, mask = real_only(batch['inputs'], batch['lengths'], 1, self.dtype)
        _, scored = seen_and_scored(batch, mask)
        compared = {'predictions': predictions, 'labels': inputs[:, :, 0], 'mask': scored}
        return {'loss': losses.squared_error(**compared), 'absolute_error': MAE.tally(**compared)}

    def _checked(self, inputs, lengths, columns):
        inputs, _, mask = real_only(inputs, lengths, 1, self.dtype)
        columns = checks.same_shape('columns', checks.tensor('columns', columns, 'B, T'),
                                    'inputs[:, :, 0]', inputs[:, :, 0])
        if not columns.dtype.is_integer:
            raise TypeError(f'columns must be integers, got {columns.dtype.name}.')
        columns = tf.where(mask, columns, 0)
        return inputs, mask, checks.after([checks.require(
            tf.reduce_all((columns >= 0) & (columns < self.num_columns)),
            f'columns must be in [0, {self.num_columns}) at real steps; the lowest and the highest '
            f'are', tf.reduce_min(columns), tf.reduce_max(columns))], columns)

    def _encode(self, inputs, columns, given):
        """Code [B, H] and base [B] of each row, and the gathered rows of the tables."""
        batch = tf.shape(given, tf.int64)[0]
        count = tf.reduce_sum(tf.cast(given, self.dtype), axis=1)                    # [B]
        # A list of the given ratings alone, which the cost of the rest is proportional to.
        row = tf.where(given)[:, 0]                                                  # [N]
        column = tf.boolean_mask(columns, given)
        rating = tf.boolean_mask(inputs[:, :, 0], given)
        above_mean = rating - self.mean - tf.gather(self.column, column)
        above = tf.math.divide_no_nan(tf.math.unsorted_segment_sum(above_mean, row, batch),
                                      count + self.shrinkage)
        residual = above_mean - tf.gather(above, row)
        code, rows = self.encoder.encode(residual, row, column, count)
        return code, self.mean + above, rows

    def _decode(self, code, base, columns, scored):
        """Predictions [B, T] where scored, and the gathered rows of the table."""
        row = tf.where(scored)[:, 0]
        column = tf.boolean_mask(columns, scored)
        occurring, place = tf.unique(column)
        decoder = tf.gather(self.decoder, occurring)
        outputs = (tf.gather(base, row) + tf.gather(self.column, column)
                   + tf.reduce_sum(tf.gather(code, row) * tf.gather(decoder, place), axis=1))
        return tf.scatter_nd(tf.where(scored), outputs, tf.shape(scored, tf.int64)), [decoder]

    def _clipped(self, outputs):
        return outputs if self.rating_range is None else tf.clip_by_value(
            outputs, *self.rating_range)
