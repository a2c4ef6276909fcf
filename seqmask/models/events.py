"""Detection of rare events, at every step."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, kernels, losses, noise
from seqmask.layers import Dense, Dropout
from seqmask.lengths import sequence_mask
from seqmask.masking import apply_mask
from seqmask.metrics import F1, Mean, Precision, Recall
from seqmask.models.protocol import StreamingModel, scored_steps
from seqmask.models.sequence_encoder import SequenceEncoder
from seqmask.tally import Tally


class EventDetector(StreamingModel):
    """An encoder and a linear head with one logit per step, for events at few of the steps.

    loss = -w y log p - (1 - y) log(1 - p),   p = sigmoid(logit),  w = pos_weight

    with the focal factor (1 - p)^gamma, or p^gamma, on each term if focal_gamma > 0; computed from
    logits, so that no logarithm of 0 occurs. The bias of the head is initialized to the minimum of
    this loss for a model that knows only the event rate,

    bias = log(event_rate / (1 - event_rate)) + log w   (for gamma = 0)

    so that training need not first learn that events are rare. pos_weight='balanced' is
    w = (1 - event_rate) / event_rate, with which the bias is 0. The weight raises all logits by
    about log w; `probabilities` subtracts that. An event is detected where the logit reaches
    `threshold`. It starts at the probability 1/2, which rare events seldom reach: choose it on
    validation data with `metrics.AveragePrecision`. It is saved with the model.

    Args:
      encoder: `Encoder`, `DilatedEncoder`, or as of `SequenceModel`.
      event_rate: Share of the training steps that are events, in (0, 1).
      pos_weight: Weight of an event's step relative to any other; or 'balanced'.
      focal_gamma: number >= 0. How strongly easy steps are down-weighted; 0 is cross-entropy.
      dropout: Share of the encoder's outputs dropped in training, with one mask per sequence.
      encoder_size: As of `SequenceModel`.
      seed: int; the same seed gives the same weights and the same dropout.

    Attributes:
      threshold: float32 variable, not trained. A logit: a float32 probability would saturate at 1
        while logits still differ.

    Raises:
      ValueError: If an option does not fit.

    Source: T. Lin, P. Goyal, R. Girshick, K. He, P. Dollár. Focal Loss for Dense Object Detection.
      2017.

    >>> model = seqmask.models.EventDetector(
    ...     seqmask.models.Encoder(4, hidden_size=5, seed=0), event_rate=0.01, seed=0)
    >>> inputs, lengths = tf.ones([2, 6, 4]), tf.constant([6, 2])
    >>> model(inputs, lengths).shape, int(tf.math.count_nonzero(model.detect(inputs, lengths)))
    (TensorShape([2, 6]), 0)
    >>> model.threshold.assign(-9.).shape
    TensorShape([])
    >>> int(tf.math.count_nonzero(model.detect(inputs, lengths)))       # the real steps
    8
    """

    def __init__(self, encoder: SequenceEncoder | Callable[..., typing.Any], *, event_rate: float,
                 pos_weight: float | str = 1.0, focal_gamma: float = 0.0, dropout: float = 0.0,
                 encoder_size: int | None = None, seed: int | None = None,
                 name: str | None = None):
        super().__init__(encoder, encoder_size, name)
        if not 0 < event_rate < 1:
            raise ValueError(f'event_rate must be in (0, 1), got {event_rate}. A detector needs '
                             f'steps with events and steps without.')
        odds = event_rate / (1 - event_rate)
        self.pos_weight = checks.positive(
            'pos_weight', 1 / odds if pos_weight == 'balanced' else pos_weight)
        self.focal_gamma = checks.positive('focal_gamma', focal_gamma, or_zero=True)
        dropout_seed, dense_seed = noise.seeds(seed, 2)
        self.dropout = Dropout(dropout, per='sequence', seed=dropout_seed)
        self.to_logit = Dense(self.encoder.output_size, 1, dtype=self.dtype, seed=dense_seed)
        self.to_logit.bias.assign(tf.fill([1], tf.cast(math.log(odds * self.pos_weight),
                                                       self.dtype)))
        self.threshold = tf.Variable(math.log(self.pos_weight), trainable=False, dtype=tf.float32,
                                     name='threshold')

    def head(self, outputs: tf.Tensor, lengths: checks.TensorLike | None, *,
             training: bool = False) -> tf.Tensor:
        """Logits [B, T] from the encoder's outputs; [B] from those of one step."""
        outputs = self.dropout(outputs, lengths, training=training)
        return self.to_logit(outputs, lengths)[..., 0]

    def stages(self) -> list[kernels.Stage] | None:
        """What a step consists of, as `StepRunner` runs it in C++; None if it cannot."""
        found = kernels.stages_of(self.encoder, self.to_logit)
        return found and [*found[:-1], found[-1]._replace(squeeze=True)]

    def detect(self, inputs: checks.TensorLike, lengths: checks.TensorLike) -> tf.Tensor:
        """Detected steps, bool [B, T]: logit >= threshold; False at padded steps."""
        return self.results(self(inputs, lengths), lengths)['detected']

    def probabilities(self, inputs: checks.TensorLike, lengths: checks.TensorLike) -> tf.Tensor:
        """Estimated probability of an event at each real step.

        p = sigmoid(logit - log w), which corrects the bias from the weight w of the loss. A focal
        loss leaves probabilities too close to 1/2. Arguments are those of a call.

        Returns:
          float32 [B, T], 0 at padded steps.
        """
        logits = tf.cast(self(inputs, lengths), tf.float32)
        return apply_mask(tf.sigmoid(logits - math.log(self.pos_weight)),
                          sequence_mask(lengths, tf.shape(logits)[1]))

    def results(self, outputs: tf.Tensor,
                lengths: checks.TensorLike | None) -> dict[str, tf.Tensor]:
        """The logits and the detected steps: 'outputs' and 'detected'."""
        detected = tf.cast(outputs, tf.float32) >= self.threshold
        if lengths is not None:
            detected &= sequence_mask(lengths, tf.shape(outputs)[1])
        return {'outputs': outputs, 'detected': detected}

    def loss_of(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Tally:
        """The loss of logits per real step, in nats; labels are 1 at steps of events, else 0."""
        w, scored = self.pos_weight, scored_steps(logits, batch)
        if not self.focal_gamma:
            return losses.sigmoid_cross_entropy(**scored, pos_weight=w)
        total, count = losses.focal(**scored, gamma=self.focal_gamma, alpha=w / (1 + w))
        return Tally((1 + w) * total, count)        # equals the cross-entropy at gamma = 0

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """Metrics of a batch as of `loss`, for `Trainer(measure=EventDetector.measure)`.

        Returns:
          dict of `seqmask.Tally`: 'loss'; 'accuracy', 'precision', 'recall' and 'f1' of steps, at
          the threshold.
        """
        logits = self(self.inputs_of(batch), batch['lengths'])
        scored = scored_steps(tf.cast(logits, tf.float32), batch)
        events = tf.cast(scored['labels'], tf.float32) > 0.5
        right = tf.cast((scored['logits'] >= self.threshold) == events, tf.float32)
        return {'loss': self.loss_of(logits, batch),
                'accuracy': Mean.tally(values=right, mask=scored['mask']),
                'precision': Precision.tally(**scored, threshold=self.threshold),
                'recall': Recall.tally(**scored, threshold=self.threshold),
                'f1': F1.tally(**scored, threshold=self.threshold)}
