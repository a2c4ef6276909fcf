"""Whether a rare event happens, at every step."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, data, known, losses, noise
from seqmask.layers import GRU, LSTM, Bidirectional, Conv1D, Dense, Dropout, Stacked
from seqmask.lengths import sequence_mask
from seqmask.masking import apply_mask
from seqmask.metrics import F1, Mean, Precision, Recall
from seqmask.operands import rounded
from seqmask.tally import Tally

CELLS = {'gru': GRU, 'lstm': LSTM}
NETWORKS = (*CELLS, 'conv')


class EventDetector(tf.Module):
    """A network over time and a linear map to one logit a step, for events at few of the steps.

    loss = -w y log p - (1 - y) log(1 - p),   p = sigmoid(logit),  w = pos_weight

    with the focal factor (1 - p)^gamma, or p^gamma, in front of each term if focal_gamma > 0. It is
    computed from logits, so that no log sees a 0. The bias of the linear map begins where this loss
    is lowest for a model that knows the events' rate alone,

    bias = log(event_rate / (1 - event_rate)) + log w   (gamma aside)

    so that training need not first learn that events are rare; 'balanced', w = (1 - event_rate) /
    event_rate, makes it 0. The weight moves all logits up by about log w; `probabilities` takes
    that off again. An event is detected where the logit reaches `threshold`. Rare events seldom
    reach the probability 1/2, where the threshold stands at first: choose it on validation data,
    with `metrics.AveragePrecision`, and it is saved with the model.

    Convolutions are a stack of `Conv1D` with relu, each but the first added to its inputs, with
    dilations 1, 2, 4, ...: of L layers with windows of k steps a step sees 1 + (k - 1) (2^L - 1).

    Args:
      input_size: D.
      event_rate: Share of the training steps that are events, in (0, 1).
      network: 'gru', 'lstm' or 'conv'.
      causal: Whether a step sees only itself and what came before, as a stream demands; else
        recurrent layers run in both directions, and windows of convolutions reach to both sides.
      hidden_size: H of each recurrent layer and direction, or of each convolution.
      num_layers: Recurrent layers, or convolutions; by default 1 or 5.
      kernel_size: Steps in the window of each convolution.
      pos_weight: What a step of an event weighs against another; or 'balanced'.
      focal_gamma: number >= 0. How much less what is predicted well counts; 0 is cross-entropy.
      dropout: Share of the features dropped in training, the same at all steps of a sequence, below
        the linear map and below each recurrent layer but the first.
      implementation: As of `GRU` and `LSTM`.
      standardizer: Called first, as (inputs, lengths), such as a `data.Standardizer`; None for
        none. What it holds is saved with the model.
      dtype: Of weights, inputs and logits; float32 inputs are rounded to bfloat16 or float16.
      seed: int; the same seed gives the same weights and the same dropout.

    Attributes:
      threshold: float32 variable, not trained. A logit, not a probability: in float32 these reach 1
        long before logits cease to differ.

    Raises:
      ValueError: If an option does not fit, or a causal model has a standardizer that sees each
        sequence whole.

    Source of the bias and of the focal loss: T. Lin, P. Goyal, R. Girshick, K. He, P. Dollár, Focal
      Loss for Dense Object Detection, 2017. Of the convolutions: A. van den Oord et al., WaveNet,
      2016.

    >>> model = seqmask.models.EventDetector(input_size=4, event_rate=0.01, hidden_size=5, seed=0)
    >>> inputs, lengths = tf.ones([2, 6, 4]), tf.constant([6, 2])
    >>> model(inputs, lengths).shape, int(tf.math.count_nonzero(model.detect(inputs, lengths)))
    (TensorShape([2, 6]), 0)
    >>> model.threshold.assign(-9.).shape
    TensorShape([])
    >>> int(tf.math.count_nonzero(model.detect(inputs, lengths)))       # the real steps
    8
    """

    def __init__(self, input_size: int, *, event_rate: float, network: str = 'gru',
                 causal: bool = True, hidden_size: int = 64, num_layers: int | None = None,
                 kernel_size: int = 3, pos_weight: float | str = 1.0, focal_gamma: float = 0.0,
                 dropout: float = 0.0, implementation: str = 'auto',
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.size('input_size', input_size)
        if not 0 < event_rate < 1:
            raise ValueError(f'event_rate must be in (0, 1), got {event_rate}: with only one kind '
                             f'of step there is nothing to tell apart.')
        if causal and standardizer is data.standardize_sequences:
            raise ValueError('a causal model sees no steps to come, and standardize_sequences '
                             'takes the mean of whole sequences: use a data.Standardizer, or '
                             'causal=False.')
        checks.choice('network', network, NETWORKS)
        odds = event_rate / (1 - event_rate)
        self.pos_weight = checks.positive(
            'pos_weight', 1 / odds if pos_weight == 'balanced' else pos_weight)
        self.focal_gamma = checks.positive('focal_gamma', focal_gamma, or_zero=True)
        num_layers = checks.size(
            'num_layers', (5 if network == 'conv' else 1) if num_layers is None else num_layers)
        seeds = iter(noise.seeds(seed, 2 * num_layers + 2))
        self.causal, self.standardizer = causal, standardizer
        self.dtype = checks.float_dtype('dtype', dtype)
        self.recurrent, self.convolutions = None, []
        width = hidden_size
        if network == 'conv':
            self.convolutions = [
                Conv1D(hidden_size if index else input_size, hidden_size, kernel_size,
                       dilation=2 ** index, padding='causal' if causal else 'same', dtype=dtype,
                       seed=next(seeds)) for index in range(num_layers)]
        else:
            width = hidden_size * (1 if causal else 2)

            def one_direction(index):
                return CELLS[network](width if index else input_size, hidden_size,
                                      dropout=dropout if index else 0.0, dtype=dtype,
                                      implementation=implementation, seed=next(seeds))

            self.recurrent = Stacked([
                one_direction(index) if causal
                else Bidirectional(one_direction(index), one_direction(index))
                for index in range(num_layers)])
        self.dropout = Dropout(dropout, per='sequence', seed=next(seeds))
        self.to_logit = Dense(width, 1, dtype=dtype, seed=next(seeds))
        self.to_logit.bias.assign(tf.fill([1], tf.cast(math.log(odds * self.pos_weight),
                                                       self.dtype)))
        self.threshold = tf.Variable(math.log(self.pos_weight), trainable=False, dtype=tf.float32,
                                     name='threshold')

    def __call__(self, inputs: checks.TensorLike, lengths: checks.TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """A logit for each real step.

        Args:
          inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          training: Whether dropout applies.

        Returns:
          Logits, float [B, T], 0 at padded steps.

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T.
        """
        return self._run(inputs, lengths, None, training)[0]

    def _run(self, inputs, lengths, state, training):
        if self.standardizer is not None:
            inputs = self.standardizer(inputs, lengths)
        outputs = rounded(inputs, self.dtype)
        for index, convolution in enumerate(self.convolutions):
            added, _ = convolution(outputs, lengths)
            outputs = tf.nn.relu(added) + (outputs if index else 0)
        if self.recurrent is not None:
            outputs, state = self.recurrent(outputs, lengths, state, training=training)
        outputs = self.dropout(outputs, lengths, training=training)
        return self.to_logit(outputs, lengths)[:, :, 0], state

    def detect(self, inputs: checks.TensorLike, lengths: checks.TensorLike) -> tf.Tensor:
        """Where there is an event, bool [B, T]: logit >= threshold; False at padded steps."""
        return self.detected(self(inputs, lengths), lengths)

    def detected(self, logits: tf.Tensor, lengths: checks.TensorLike) -> tf.Tensor:
        """`detect`, of the logits [B, T] that a call gave: the network runs no second time."""
        reached = tf.cast(logits, tf.float32) >= self.threshold
        return reached & sequence_mask(lengths, tf.shape(logits)[1])

    def probabilities(self, inputs: checks.TensorLike, lengths: checks.TensorLike) -> tf.Tensor:
        """Probability of an event at each real step, as far as the model has learnt it.

        p = sigmoid(logit - log w): what the loss with its weight w > 1 made too likely is taken
        back. A focal loss leaves them nearer to 1/2 than they should be.

        Args:
          inputs, lengths: As of a call.

        Returns:
          float32 [B, T], 0 at padded steps.
        """
        logits = tf.cast(self(inputs, lengths), tf.float32)
        return apply_mask(tf.sigmoid(logits - math.log(self.pos_weight)),
                          sequence_mask(lengths, tf.shape(logits)[1]))

    def initial_state(self, batch: int | tf.Tensor) -> tuple:
        """The state before the first step of `batch` sequences, for `step` and `chunk_loss`: zeros.

        Raises:
          ValueError: If the model is not causal, so that no state holds all it knows.
        """
        if not self.causal:
            raise ValueError('a model that goes through a sequence step by step or chunk by chunk '
                             'sees no steps to come: causal must be True.')
        if self.recurrent is not None:
            return self.recurrent.initial_state(batch)
        return tuple(convolution.initial_state(batch) for convolution in self.convolutions)

    def step(self, x_t: checks.TensorLike, state: tuple) -> tuple[tf.Tensor, tuple]:
        """One step of a stream; step by step equals the whole call.

        Args:
          x_t: float [B, D].
          state: `initial_state(batch)`, or as the last step returned it.

        Returns:
          (logit float [B], state). There is an event where logit >= threshold.

        Raises:
          ValueError: If the model is not causal, or a size does not fit.
          TypeError: If a dtype does not fit.
        """
        x_t = checks.floating('x_t', x_t, 'B, D')
        self.initial_state(1)           # refuses what is not causal
        if self.standardizer is not None:
            x_t = self.standardizer(x_t, None)
        output, new = rounded(x_t, self.dtype), []
        if self.recurrent is not None:
            output, new = self.recurrent.step(output, state)
        for index, convolution in enumerate(self.convolutions):
            added, seen = convolution.step(output, state[index])
            output = tf.nn.relu(added) + (output if index else 0)
            new.append(seen)
        return self.to_logit(output)[:, 0], tuple(new)

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """The loss per real step, as `training.Trainer` takes it: `EventDetector.loss`.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B], 'labels' number [B, T], 1 at the steps
            of events, 0 elsewhere.
          training: Whether dropout applies.

        Returns:
          `seqmask.Tally`, in nats.
        """
        return self._loss(self(batch['inputs'], batch['lengths'], training=training), batch)

    def chunk_loss(self, batch: dict[str, tf.Tensor], state: tuple,
                   training: bool) -> tuple[Tally, tuple]:
        """`loss` of the next chunk of each sequence, as `training.ChunkLoss` takes it.

        Args:
          batch: As `loss` takes it.
          state: As `initial_state`, or as the chunk before returned it.
          training: Whether dropout applies.

        Returns:
          (`seqmask.Tally`, in nats; the state after the chunk).

        Raises:
          ValueError: If the network is one of convolutions.
        """
        if self.recurrent is None:
            raise ValueError("only a recurrent network goes on from chunk to chunk: network must "
                             "be 'gru' or 'lstm'.")
        logits, state = self._run(batch['inputs'], batch['lengths'], state, training)
        return self._loss(logits, batch), state

    def _loss(self, logits, batch):
        w, scored = self.pos_weight, _scored(logits, batch)
        if not self.focal_gamma:
            return losses.sigmoid_cross_entropy(**scored, pos_weight=w)
        total, count = losses.focal(**scored, gamma=self.focal_gamma, alpha=w / (1 + w))
        return Tally((1 + w) * total, count)        # at gamma = 0 the cross-entropy above

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """What `training.Trainer` measures: `EventDetector.measure`.

        Args:
          batch: As `loss` takes it.

        Returns:
          dict of `seqmask.Tally`: 'loss', and of steps at the threshold 'accuracy', 'precision',
          'recall' and 'f1'.
        """
        logits = self(batch['inputs'], batch['lengths'])
        scored = _scored(tf.cast(logits, tf.float32), batch)
        events = tf.cast(scored['labels'], tf.float32) > 0.5
        right = tf.cast((scored['logits'] >= self.threshold) == events, tf.float32)
        return {'loss': self._loss(logits, batch),
                'accuracy': Mean.tally(values=right, mask=scored['mask']),
                'precision': Precision.tally(**scored, threshold=self.threshold),
                'recall': Recall.tally(**scored, threshold=self.threshold),
                'f1': F1.tally(**scored, threshold=self.threshold)}


def _scored(logits, batch):
    mask = sequence_mask(batch['lengths'], known.sizes(logits)[1])
    return {'logits': logits, 'labels': batch['labels'], 'mask': mask}
