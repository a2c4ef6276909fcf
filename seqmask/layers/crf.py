"""A linear-chain conditional random field over logits."""

from __future__ import annotations

import typing
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from seqmask import checks, known, tags
from seqmask.checks import TensorLike
from seqmask.kernels import chain, viterbi
from seqmask.lengths import sequence_mask
from seqmask.masking import apply_mask
from seqmask.tally import Tally, widen


class Constraints(typing.NamedTuple):
    """Which labellings are allowed.

    Attributes:
      transitions: bool [K, K]. [i, j]: whether label i may be followed by label j.
      start: bool [K]. Whether a sequence may begin with a label.
      end: bool [K]. Whether a sequence may end with a label.
    """
    transitions: TensorLike
    start: TensorLike
    end: TensorLike


def bio_constraints(names: Sequence[str]) -> Constraints:
    """Constraints of BIO tags: I-KIND only follows B-KIND or I-KIND, and starts no sequence.

    Args:
      names: Names of the K classes: 'O', 'B-KIND', 'I-KIND'.

    Returns:
      `Constraints`.

    Raises:
      ValueError: If a name is not of this form.

    >>> seqmask.bio_constraints(['O', 'B-X', 'I-X']).transitions
    array([[ True,  True, False],
           [ True,  True,  True],
           [ True,  True,  True]])
    """
    read = tags.read_bio(names)
    same_kind = read.kinds[:, None] == read.kinds
    return Constraints(~read.inside | same_kind, ~read.inside, np.ones(len(names), bool))


class CRF(tf.Module):
    """A conditional random field: a linear chain of labels over logits.

    s(y) = start[y_0] + sum over t of logits[t, y_t] + sum over t > 0 of transitions[y_t-1, y_t]
           + end[y_n-1]
    log p(y) = s(y) - log of the sum over all labellings z of exp(s(z)),   n = lengths[b]

    Variables: `transitions` [K, K] (from, to), `start` [K], `end` [K] (zeros).

    Computed in float64 for logits of any floating-point dtype. Values at padded steps, NaN and
    labels out of range included, change nothing.

    Args:
      num_classes: K.
      constraints: `Constraints`, as from `bio_constraints`, or a list of the three arrays. A
        labelling that violates them has probability 0. None allows all labellings.
      dtype: Of the variables.

    Raises:
      ValueError: If the constraints do not fit, or one of them allows nothing.

    Source: J. Lafferty, A. McCallum, F. Pereira. Conditional Random Fields: Probabilistic Models
      for Segmenting and Labeling Sequence Data. ICML 2001.

    >>> crf = seqmask.CRF(num_classes=2)
    >>> crf.transitions.assign([[0., -9.], [-9., 0.]]).shape                # labels rarely change
    TensorShape([2, 2])
    >>> logits, lengths = tf.constant([[[3., 0.], [0., 1.], [2., 0.]]]), tf.constant([3])
    >>> labels, score = crf.decode(logits, lengths)
    >>> labels.numpy(), float(score[0])
    (array([[0, 0, 0]], dtype=int32), 5.0)
    >>> crf.loss(logits=logits, labels=labels, lengths=lengths).mean().numpy().round(3)
    np.float32(0.018)
    """

    def __init__(self, num_classes: int, *, constraints: Constraints | None = None,
                 dtype: str | tf.DType = 'float32', name: str | None = None):
        super().__init__(name=name)
        self.num_classes = checks.size('num_classes', num_classes)
        self.dtype = checks.float_dtype('dtype', dtype)
        self._allowed = None if constraints is None else _allowed(constraints, self.num_classes)
        shapes = {'transitions': [num_classes, num_classes], 'start': [num_classes],
                  'end': [num_classes]}
        self.transitions, self.start, self.end = (
            tf.Variable(tf.zeros(shape, self.dtype), name=name) for name, shape in shapes.items())

    def loss(self, *, logits: TensorLike, labels: TensorLike, lengths: TensorLike,
             per: str = 'sequence') -> Tally:
        """-log p(labels), in nats.

        Its gradient with respect to the logits is the marginals minus the one-hot labels.

        Args:
          logits: float [B, T, K].
          labels: int [B, T]. 0 <= labels < K at real steps; anything in the padding, such as -100.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          per: 'sequence' counts the sequences with any step, 'step' the real steps.

        Returns:
          `seqmask.Tally`, float32; float64 for logits of float64.

        Raises:
          ValueError: If a rank, a static size or an option does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA),
            a label at a real step is not in [0, K), or labels violate the constraints; the message
            names the sequences (under XLA, which drops checks of values, the total is inf).
        """
        checks.choice('per', per, ['step', 'sequence'])
        logits, lengths, mask = self._operands(logits, lengths)
        labels = tf.cast(checks.class_labels(labels, logits, mask), tf.int32)
        scores = self._scores(tf.float64)
        score = self._score(logits, labels, lengths, mask, scores)
        if self._allowed is not None:
            broken = score == float('-inf')
            score = checks.after([checks.require(
                ~tf.reduce_any(broken), 'labels must not violate the constraints; sequences '
                'that do:', tf.where(broken)[:, 0])], score)
        nats = tf.reduce_sum(chain.log_partition(logits, lengths, scores) - score)
        count = tf.reduce_sum(lengths) if per == 'step' else tf.math.count_nonzero(
            lengths, dtype=tf.int32)
        return Tally(tf.cast(nats, logits.dtype), tf.cast(count, logits.dtype))

    def decode(self, logits: TensorLike, lengths: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
        """The labelling with the highest score (Viterbi algorithm).

        Args:
          logits: float [B, T, K].
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.

        Returns:
          (labels int32 [B, T], 0 at padded steps; score [B], s(labels), 0 at length 0, float32 or
          float64 as widened from the logits). Ties go to the lower label. The score is -inf, and
          the labels are arbitrary, if the constraints allow no labelling of that length.

        Raises:
          ValueError, TypeError, tf.errors.InvalidArgumentError: As `loss`, but for the labels.
        """
        logits, lengths, mask = self._operands(logits, lengths)
        return viterbi.best_labelling(logits, lengths, mask, self._scores(logits.dtype))

    def marginals(self, logits: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """Probability of each label at each step.

        Args:
          logits, lengths: As of `decode`.

        Returns:
          [B, T, K] in the dtype of logits, 0 at padded steps; all 0 if the constraints allow no
          labelling of that length.

        Raises:
          ValueError, TypeError, tf.errors.InvalidArgumentError: As `decode`.

        >>> crf = seqmask.CRF(2)
        >>> crf.marginals(tf.zeros([1, 2, 2]), tf.constant([1])).numpy()
        array([[[0.5, 0.5],
                [0. , 0. ]]], dtype=float32)
        """
        given = checks.floating('logits', logits, 'B, T, K')
        logits, lengths, _ = self._operands(given, lengths)
        return tf.cast(chain.marginals(logits, lengths, self._scores(tf.float64)), given.dtype)

    def _operands(self, logits, lengths):
        """Checked operands: logits, widened and 0 at padded steps, lengths and mask."""
        logits = checks.floating('logits', logits, 'B, T, K')
        checks.axis_size('logits', logits, -1, self.num_classes, 'num_classes')
        batch, maxlen = known.sizes(logits)
        lengths = checks.lengths(lengths, batch=batch, maxlen=maxlen)
        mask = sequence_mask(lengths, maxlen)
        logits = widen(apply_mask(logits, mask))
        return tf.ensure_shape(logits, [None, None, self.num_classes]), lengths, mask

    def _scores(self, dtype):
        scores = [tf.cast(score, dtype) for score in (self.transitions, self.start, self.end)]
        if self._allowed is not None:
            scores = [tf.where(allowed, score, tf.constant(float('-inf'), dtype))
                      for allowed, score in zip(self._allowed, scores)]
        return chain.Scores(*scores)

    def _score(self, logits, labels, lengths, mask, scores):
        """s(labels) [B]."""
        steps = tf.range(tf.shape(labels)[1])
        of_labels = tf.cast(tf.gather(logits, labels, batch_dims=2), tf.float64)      # [B, T]
        pairs = labels[:, :-1] * self.num_classes + labels[:, 1:]
        terms = [(mask, of_labels),
                 (mask[:, 1:], tf.gather(tf.reshape(scores.transitions, [-1]), pairs)),
                 (mask & (steps == 0), tf.gather(scores.start, labels)),
                 (mask & (steps == lengths[:, None] - 1), tf.gather(scores.end, labels))]
        return tf.add_n([tf.reduce_sum(tf.where(real, term, 0.0), axis=1) for real, term in terms])


def _allowed(constraints, num_classes):
    """Checked bool arrays."""
    shapes = [[num_classes] * 2, [num_classes], [num_classes]]
    if not isinstance(constraints, (tuple, list)) or len(constraints) != 3:
        raise TypeError(f'constraints must be seqmask.Constraints(transitions, start, end), got '
                        f'{constraints!r}.')
    arrays = [np.asarray(array) for array in constraints]
    for name, array, shape in zip(Constraints._fields, arrays, shapes):
        if array.dtype != bool or list(array.shape) != shape:
            raise ValueError(f'the {name} of constraints must be bool {shape}, got {array.dtype} '
                             f'{list(array.shape)}.')
        if not array.any():
            raise ValueError(f'the {name} of constraints allow nothing.')
    return arrays
