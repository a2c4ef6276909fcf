"""How many spans are found, with the right boundaries and kind?"""

from __future__ import annotations

import typing
from collections.abc import Sequence

import tensorflow as tf

from seqmask import checks, tags
from seqmask.checks import TensorLike
from seqmask.tally import Tally, step_mask


class SpanScores(typing.NamedTuple):
    """Counts of spans, and their ratios, which are 0 where the denominator is.

    Attributes:
      correct: Predicted spans that equal a labelled one, boundaries and kind.
      predicted: All predicted spans.
      labelled: All labelled spans.
    """
    correct: int
    predicted: int
    labelled: int

    @property
    def precision(self) -> float:
        """correct / predicted"""
        return self.correct / max(self.predicted, 1)

    @property
    def recall(self) -> float:
        """correct / labelled"""
        return self.correct / max(self.labelled, 1)

    @property
    def f1(self) -> float:
        """2 correct / (predicted + labelled)"""
        return 2 * self.correct / max(self.predicted + self.labelled, 1)


class SpanF1(tf.Module):
    """F1 of spans, counted over all batches as the script conlleval does.

    F1 = 2 correct / (predicted + labelled)

    A predicted span is correct if its boundaries and its kind are. A span begins at B, or at an I
    after O, after another kind or at the start of a sequence. It ends before the next B, O or other
    kind, or with the sequence. So IOB1 tags, with B only between adjacent spans, count the same.

    Args:
      names: Names of the K classes: 'O', 'B-KIND', 'I-KIND'.
      scheme: 'bio'.

    Raises:
      ValueError: If a name is not of this form.

    Source: E. Tjong Kim Sang, S. Buchholz. Introduction to the CoNLL-2000 Shared Task: Chunking.
      CoNLL 2000.

    >>> f1 = seqmask.metrics.SpanF1(['O', 'B-X', 'I-X', 'B-Y', 'I-Y'])
    >>> f1.update(labels=[[1, 2, 0, 3, 4]], predictions=[[1, 2, 0, 3, 0]], mask=None)
    >>> float(f1.result()), f1.scores()['X'].f1, f1.scores()['Y'].f1
    (0.5, 1.0, 0.0)
    """

    def __init__(self, names: Sequence[str], scheme: str = 'bio', name: str | None = None):
        super().__init__(name=name)
        checks.choice('scheme', scheme, ['bio'])
        self._tags = tags.read_bio(names)
        # Correct, predicted and labelled spans of each kind.
        self.counts = tf.Variable(tf.zeros([len(self._tags.kind_names), 3], tf.int64),
                                  trainable=False, name='counts')

    def update(self, *, labels: TensorLike, predictions: TensorLike,
               mask: TensorLike | None) -> None:
        """Adds a batch; labels and predictions int [B, T]."""
        self.counts.assign_add(self._count(labels, predictions, mask))

    def tally(self, *, labels: TensorLike, predictions: TensorLike,
              mask: TensorLike | None) -> Tally:
        """`Tally` of a batch, whose mean is the F1 over all kinds."""
        correct, predicted, labelled = tf.unstack(
            tf.cast(tf.reduce_sum(self._count(labels, predictions, mask), axis=0), tf.float32))
        return Tally(2 * correct, predicted + labelled)

    def result(self) -> tf.Tensor:
        """F1 over all kinds, float32 scalar; 0 where there are no spans."""
        correct, predicted, labelled = tf.unstack(tf.reduce_sum(self.counts, axis=0))
        return tf.cast(tf.math.divide_no_nan(tf.cast(2 * correct, tf.float64),
                                             tf.cast(predicted + labelled, tf.float64)), tf.float32)

    def scores(self) -> dict[str, SpanScores]:
        """`SpanScores` of each kind, by its name, and of 'all'. Eager only."""
        counts = self.counts.numpy()
        of_kinds = {name: SpanScores(*map(int, row))
                    for name, row in zip(self._tags.kind_names, counts)}
        return {**of_kinds, 'all': SpanScores(*map(int, counts.sum(axis=0)))}

    def reset(self) -> None:
        self.counts.assign(tf.zeros_like(self.counts))

    def _count(self, labels, predictions, mask):
        labels, mask = self._steps('labels', labels, mask)
        predictions, mask = self._steps('predictions', predictions, mask)
        predictions = checks.same_shape('predictions', predictions, 'labels', labels)
        first, second = self._spans(labels, mask), self._spans(predictions, mask)
        # Two spans are equal if they begin and end at the same steps and have one kind.
        correct = first.ends & second.ends & (first.kinds == second.kinds) & (
            first.began == second.began)
        counts = [self._of_kinds(first.kinds, correct), self._of_kinds(second.kinds, second.ends),
                  self._of_kinds(first.kinds, first.ends)]
        return tf.stack(counts, axis=1)

    def _steps(self, name, classes, mask):
        classes = checks.tensor(name, classes, 'B, T')
        if not classes.dtype.is_integer:
            raise TypeError(f'{name} must be the numbers of tags, got {classes.dtype.name}.')
        mask = step_mask(mask, name, classes, [2])
        classes = tf.where(mask, tf.cast(classes, tf.int32), 0)
        count = len(self._tags.kinds)
        return checks.after([checks.require(
            tf.reduce_all((classes >= 0) & (classes < count)),
            f'{name} must be in [0, {count}) at real steps; the lowest and the highest are',
            tf.reduce_min(classes), tf.reduce_max(classes))], classes), mask

    def _spans(self, classes, mask):
        kinds = tf.where(mask, tf.gather(tf.constant(self._tags.kinds, tf.int32), classes), -1)
        before = tf.pad(kinds, [[0, 0], [1, 0]], constant_values=-1)[:, :-1]
        begins = (kinds >= 0) & (tf.gather(self._tags.begins, classes) | (kinds != before))
        after = tf.pad(kinds, [[0, 0], [0, 1]], constant_values=-1)[:, 1:]
        next_begins = tf.pad(begins, [[0, 0], [0, 1]])[:, 1:]
        ends = (kinds >= 0) & ((after != kinds) | next_begins)
        return _Spans(kinds, ends, _last_begin(begins))

    def _of_kinds(self, kinds, chosen):
        """Number of chosen steps of each kind, int64."""
        count = len(self._tags.kind_names)
        return tf.math.unsorted_segment_sum(
            tf.cast(chosen, tf.int64), tf.where(chosen, kinds, count), count + 1)[:count]


class _Spans(typing.NamedTuple):
    """Of each step [B, T]: its kind, whether a span ends there, and where that span began."""
    kinds: tf.Tensor
    ends: tf.Tensor
    began: tf.Tensor


def _last_begin(begins):
    """The latest step, up to each step, at which a span begins: int32 [B, T]."""
    shape = tf.shape(begins)
    numbers = tf.cumsum(tf.cast(begins, tf.int32), axis=1) + (
        tf.range(shape[0])[:, None] * (shape[1] + 1))
    steps = tf.where(begins, tf.range(shape[1]), -1)
    return tf.gather(tf.math.unsorted_segment_max(
        steps, numbers, shape[0] * (shape[1] + 1)), numbers)
