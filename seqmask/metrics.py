"""How well does it do, over many batches? A real step counts alike in whatever batch it came.

Each metric is a `tf.Module`: `update(...)` adds a batch, `result()` is the value so far, `reset()`
forgets all batches. The state is float64, because float32 cannot count beyond 2^24; results are
float32 scalars, and that of no step at all is 0 (the perplexity 1).

`tally(...)` takes the arguments of `update` and gives the batch's `seqmask.Tally` without touching
any state: a traced step can return it, and `metric.add(tally)` takes their sum. All arguments go by
keyword. These are the same everywhere:

  logits: float [B, T, K]. The class is the largest; of equals, the first.
  labels: int [B, T] for logits, 0 <= labels < K at real steps.
  mask: bool, True = real: [B, T], or of another shape that begins with B; None says that every step
    is real. What stands at masked places, NaN and labels out of range included, changes nothing.
  weights: number, of the shape of mask or [B], or None. They multiply the sum and the count.
  per: 'step' averages over steps; 'sequence' over sequences, each averaged over its steps first.

Each raises TypeError or ValueError if a dtype, a shape or an option does not fit, and
tf.errors.InvalidArgumentError if a class label at a real step is not in [0, K).
"""

import tensorflow as tf

from seqmask import checks
from seqmask.masking import apply_mask
from seqmask.tally import Tally, real_steps, tally_up, widen

__all__ = [
    'Accuracy', 'ConfusionMatrix', 'ErrorRate', 'KerasMetric', 'MAE', 'Mean', 'Perplexity', 'RMSE',
    'SequenceAccuracy',
]


class _Average(tf.Module):
    """The mean of all tallies added so far, through `_finish`."""

    _finish = staticmethod(tf.identity)

    def __init__(self, per='step', name=None):
        super().__init__(name=name)
        self.per = checks.choice('per', per, ['step', 'sequence'])
        self.total = tf.Variable(0, trainable=False, dtype=tf.float64, name='total')
        self.count = tf.Variable(0, trainable=False, dtype=tf.float64, name='count')

    def add(self, tally):
        """Adds a `seqmask.Tally`, as `tally(...)` or the sum of several gave it."""
        self.total.assign_add(tf.cast(tally.total, tf.float64))
        self.count.assign_add(tf.cast(tally.count, tf.float64))

    def result(self):
        return tf.cast(self._finish(Tally(self.total, self.count).mean()), tf.float32)

    def reset(self):
        self.total.assign(0)
        self.count.assign(0)


class Mean(_Average):
    """Average of a value [B, T], or [B, T, D], which is averaged over D first.

    >>> mean = seqmask.metrics.Mean()
    >>> mean.update(values=tf.constant([[0.]]), mask=None)
    >>> mean.update(values=tf.ones([1, 9]), mask=None)
    >>> round(float(mean.result()), 5)
    0.9
    """

    def update(self, *, values, mask, weights=None):
        self.add(self.tally(values=values, mask=mask, weights=weights, per=self.per))

    @staticmethod
    def tally(*, values, mask, weights=None, per='step'):
        """`Tally` of values."""
        values = widen(checks.floating('values', values, 'B, ...'))
        return tally_up(values, real_steps(mask, 'values', values), weights, per)


class _OfClasses(_Average):
    """A metric of logits and class labels, `_of_steps` of them."""

    def update(self, *, logits, labels, mask, weights=None):
        self.add(self.tally(logits=logits, labels=labels, mask=mask, weights=weights, per=self.per))

    @classmethod
    def tally(cls, *, logits, labels, mask, weights=None, per='step'):
        logits, labels, mask = _classes(logits, labels, mask)
        return tally_up(cls._of_steps(logits, labels), mask, weights, per)


class Accuracy(_OfClasses):
    """Part of the real steps whose largest logit is that of the label.

    >>> accuracy = seqmask.metrics.Accuracy()
    >>> accuracy.update(logits=tf.constant([[[0., 1.], [1., 0.], [1., 0.]]]),
    ...                 labels=tf.constant([[1, 1, -9]]), mask=tf.constant([[True, True, False]]))
    >>> float(accuracy.result())
    0.5
    """

    @staticmethod
    def _of_steps(logits, labels):
        return tf.cast(_largest(logits) == labels, logits.dtype)


class ErrorRate(_OfClasses):
    """Part of the real steps whose largest logit is not that of the label.

    ErrorRate(per='sequence') is the mean error per sequence: of the letters of a word, say.

    >>> error = seqmask.metrics.ErrorRate(per='sequence')
    >>> error.update(logits=tf.constant([[[0., 1.], [1., 0.]], [[1., 0.], [0., 0.]]]),
    ...              labels=tf.constant([[1, 1], [1, 0]]),
    ...              mask=tf.constant([[True, True], [True, False]]))
    >>> float(error.result()) == (1 / 2 + 1) / 2
    True
    """

    @staticmethod
    def _of_steps(logits, labels):
        return tf.cast(_largest(logits) != labels, logits.dtype)


class SequenceAccuracy(_OfClasses):
    """Part of the sequences all of whose real steps are right; those without steps do not count.

    >>> accuracy = seqmask.metrics.SequenceAccuracy()
    >>> accuracy.update(logits=tf.constant([[[0., 1.], [1., 0.]], [[1., 0.], [0., 0.]]]),
    ...                 labels=tf.constant([[1, 0], [1, 0]]),
    ...                 mask=tf.constant([[True, True], [True, False]]))
    >>> float(accuracy.result())
    0.5
    """

    def __init__(self, name=None):
        super().__init__('sequence', name)

    @staticmethod
    def tally(*, logits, labels, mask, weights=None, per='sequence'):
        """`Tally` of right sequences; weights [B]."""
        checks.choice('per', per, ['sequence'])
        logits, labels, mask = _classes(logits, labels, mask)
        inner = list(range(1, mask.shape.rank))
        right = tf.reduce_all((_largest(logits) == labels) | ~mask, axis=inner)
        return tally_up(tf.cast(right, logits.dtype), tf.reduce_any(mask, axis=inner), weights)


class Perplexity(_OfClasses):
    """exp of the mean cross-entropy; K for a guess at random. Its tally is in nats.

    >>> perplexity = seqmask.metrics.Perplexity()
    >>> perplexity.update(logits=tf.zeros([1, 2, 4]), labels=tf.constant([[3, 1]]), mask=None)
    >>> round(float(perplexity.result()), 5)
    4.0
    """

    _finish = staticmethod(tf.exp)

    @staticmethod
    def _of_steps(logits, labels):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


class _OfErrors(_Average):
    """A metric of predictions and labels of one shape, [B, T] or [B, T, D]: `_of_errors`."""

    def update(self, *, predictions, labels, mask, weights=None):
        self.add(self.tally(predictions=predictions, labels=labels, mask=mask, weights=weights,
                            per=self.per))

    @classmethod
    def tally(cls, *, predictions, labels, mask, weights=None, per='step'):
        predictions = widen(checks.floating('predictions', predictions, 'B, ...'))
        labels = checks.tensor('labels', tf.cast(labels, predictions.dtype), 'B, ...')
        labels = checks.same_shape('labels', labels, 'predictions', predictions)
        mask = real_steps(mask, 'predictions', predictions)
        return tally_up(cls._of_errors(predictions - labels), mask, weights, per)


class RMSE(_OfErrors):
    """Square root of the mean squared error. Its tally is of squares.

    >>> rmse = seqmask.metrics.RMSE()
    >>> rmse.update(predictions=tf.constant([[1., 7.]]), labels=tf.constant([[0., 0.]]), mask=None)
    >>> float(rmse.result()) == ((1 ** 2 + 7 ** 2) / 2) ** 0.5
    True
    """

    _of_errors = staticmethod(tf.square)
    _finish = staticmethod(tf.sqrt)


class MAE(_OfErrors):
    """Mean absolute error.

    >>> mae = seqmask.metrics.MAE()
    >>> mae.update(predictions=tf.constant([[1., 7.]]), labels=tf.constant([[0., 0.]]), mask=None)
    >>> float(mae.result())
    4.0
    """

    _of_errors = staticmethod(tf.abs)


class ConfusionMatrix(tf.Module):
    """How many real steps of each class were taken for each class.

    >>> confusion = seqmask.metrics.ConfusionMatrix(num_classes=2)
    >>> confusion.update(logits=tf.constant([[[0., 1.], [1., 0.], [0., 1.]]]),
    ...                  labels=tf.constant([[1, 1, 0]]), mask=tf.constant([[True, True, False]]))
    >>> confusion.result().numpy()
    array([[0, 0],
           [1, 1]])
    """

    def __init__(self, num_classes, name=None):
        super().__init__(name=name)
        self.num_classes = checks.size('num_classes', num_classes)
        self.counts = tf.Variable(tf.zeros([num_classes, num_classes], tf.int64), trainable=False,
                                  name='counts')

    def update(self, *, logits, labels, mask):
        logits, labels, mask = _classes(logits, labels, mask)
        checks.axis_size('logits', logits, -1, self.num_classes, 'K')
        of_classes = labels * self.num_classes + _largest(logits)
        # Masked places count 0, for label 0; a gather would not have a static shape for XLA.
        counts = tf.math.unsorted_segment_sum(
            tf.cast(mask, tf.int64), of_classes, self.num_classes ** 2)
        self.counts.assign_add(tf.reshape(counts, self.counts.shape))

    def result(self):
        """int64 [K, K]. Rows are the labels, columns what was taken for them."""
        return tf.identity(self.counts)

    def reset(self):
        self.counts.assign(tf.zeros_like(self.counts))


class KerasMetric(tf.Module):
    """Any Keras metric, shown the real steps only.

    keras_metric.update_state(labels[mask], predictions[mask], sample_weight=weights[mask])

    >>> metric = seqmask.metrics.KerasMetric(tf.keras.metrics.MeanAbsoluteError())
    >>> metric.update(predictions=tf.constant([[[1.], [float('nan')]]]),
    ...               labels=tf.zeros([1, 2, 1]), mask=tf.constant([[True, False]]))
    >>> float(metric.result())
    1.0
    """

    def __init__(self, keras_metric, name=None):
        super().__init__(name=name)
        if not isinstance(keras_metric, tf.keras.metrics.Metric):
            raise TypeError(f'keras_metric must be a Keras metric, got {keras_metric!r}.')
        self.keras_metric = keras_metric
        self._track()

    def update(self, *, predictions, labels, mask, weights=None):
        """Adds a batch; predictions and labels [B, T, ...] as the Keras metric wants them."""
        predictions = checks.tensor('predictions', predictions, 'B, ...')
        labels = checks.tensor('labels', labels, 'B, ...')
        rank = labels.shape.rank
        mask = real_steps(mask, 'labels', labels, [min(2, rank), *range(1, rank + 1)])
        mask = checks.prefix('mask', mask, 'predictions', predictions)
        places = tf.where(mask)
        if weights is not None:
            weights = checks.prefix('weights', checks.tensor('weights', weights, 'B, ...'),
                                    'mask', mask)
            weights = tf.gather_nd(weights, places[:, :weights.shape.rank])
        if predictions.shape.rank == mask.shape.rank:
            # Keras averages over the last axis, and would take all steps for one.
            predictions, labels = predictions[..., None], labels[..., None]
        self.keras_metric.update_state(tf.gather_nd(labels, places),
                                       tf.gather_nd(predictions, places), sample_weight=weights)
        self._track()

    def result(self):
        return self.keras_metric.result()

    def reset(self):
        self.keras_metric.reset_state()

    def _track(self):
        # Keras metrics are no tf.Modules, and some make their variables at the first update.
        self.state = [variable.value for variable in self.keras_metric.variables]


def _classes(logits, labels, mask):
    """Logits, wide and selected, class labels and the mask of their steps."""
    logits = widen(checks.floating('logits', logits, 'B, K, ...'))
    mask = real_steps(mask, 'logits', logits, [logits.shape.rank - 1])
    return apply_mask(logits, mask), checks.class_labels(labels, logits, mask), mask


def _largest(logits):
    return tf.argmax(logits, axis=-1, output_type=tf.int64)
