"""A code for every sequence, and the sequence from its code."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, known, losses, noise
from seqmask.checks import TensorLike
from seqmask.data import Standardizer
from seqmask.layers import Dense, Dropout, unroll
from seqmask.lengths import sequence_mask
from seqmask.masking import repeat, reverse
from seqmask.models.encoder import Encoder
from seqmask.models.protocol import SequenceModel
from seqmask.operands import real_only
from seqmask.tally import Tally


class SequenceAutoencoder(SequenceModel):
    """An encoder makes one vector of each sequence, a decoder the whole sequence of that vector.

    code[b] = encoder's output after the last step of inputs[b], through a linear map if code_size
    outputs[b, t] = decoder(code[b] at each step)[t] W + b      for t < lengths[b];   0 after it

    The decoder gets the code at each of the sequence's own steps, as many as it has. One with
    `autoregressive` gets the frame before, too: the true one in training, its own otherwise.

    Args:
      encoder: `Encoder`. Its standardizer is also what outputs are compared with, and its
        dropout of steps applies to the true frames that an autoregressive decoder reads.
      decoder: `Encoder` whose input_size is the width of the code, plus D if autoregressive.
      code_size: Width of the code: a linear map makes it of the encoder's last outputs. None for
        these outputs themselves: those of the top layer, each direction's after its own last step.
      reverse_target: Whether the decoder runs from each sequence's own last step to its first. What
        it returns is in the order of the inputs all the same.
      autoregressive: Whether the decoder reads the frame that comes before in its order, zeros at
        the first step, beside the code.
      dropout: Share of the decoder's outputs dropped in training, the same at all steps of a
        sequence.
      seed: int; the same seed gives the same weights and the same dropout.

    Variables beside those of the parts: `mean` [D], not trainable: the mean step of the training
    data, in the units of the outputs, which training starts from and `measure` compares with; zeros
    by default, as a `data.Standardizer` of kind 'standard' makes it, and set by `start_at`.

    Raises:
      ValueError: If a size does not fit, or an autoregressive decoder shall run in both directions.

    Source: Srivastava, Mansimov, Salakhutdinov. Unsupervised Learning of Video Representations
      using LSTMs. ICML 2015. Dropping what the decoder reads: Bowman et al. Generating Sentences
      from a Continuous Space. CoNLL 2016.

    >>> model = seqmask.models.SequenceAutoencoder(
    ...     seqmask.models.Encoder(input_size=4, hidden_size=5, seed=0),
    ...     seqmask.models.Encoder(input_size=3, hidden_size=5, seed=1), code_size=3, seed=0)
    >>> inputs, lengths = tf.ones([2, 6, 4]), tf.constant([6, 2])
    >>> codes = model.encode(inputs, lengths)
    >>> outputs = model.decode(codes, lengths, maxlen=6)
    >>> codes.shape, outputs.shape, bool(tf.reduce_all(outputs[1, 2:] == 0))
    (TensorShape([2, 3]), TensorShape([2, 6, 4]), True)
    """

    def __init__(self, encoder: Encoder, decoder: Encoder, *, code_size: int | None = None,
                 reverse_target: bool = False, autoregressive: bool = False, dropout: float = 0.0,
                 seed: int | None = None, name: str | None = None):
        super().__init__(encoder, None, name)
        self.decoder, width = decoder, encoder.output_size
        if autoregressive and not decoder.streams():
            raise ValueError('an autoregressive decoder reads the frame before, so it runs in one '
                             'direction: autoregressive or the decoder\'s bidirectional must be '
                             'False.')
        self.reverse_target, self.autoregressive = bool(reverse_target), bool(autoregressive)
        code_seed, dropout_seed, frame_seed = noise.seeds(seed, 3)
        self.code_size = width if code_size is None else checks.size('code_size', code_size)
        reads = self.code_size + (self.input_size if autoregressive else 0)
        if decoder.input_size != reads:
            raise ValueError(f'the decoder reads the code{" and a frame" * autoregressive}: its '
                             f'input_size must be {reads}, got {decoder.input_size}.')
        self.to_code = None if code_size is None else Dense(width, code_size, dtype=self.dtype,
                                                            seed=code_seed)
        self.dropout = Dropout(dropout, per='sequence', seed=dropout_seed)
        self.to_frame = Dense(decoder.output_size, self.input_size, dtype=self.dtype,
                              seed=frame_seed)
        self.mean = tf.Variable(tf.zeros([self.input_size], self.dtype), trainable=False,
                                name='mean')

    def start_at(self, mean: TensorLike) -> SequenceAutoencoder:
        """Sets `mean`, and the bias of the outputs to it.

        Args:
          mean: [D]. The mean step of the training data, in the units of the outputs.

        Returns:
          The model.

        Raises:
          ValueError: If it does not have one number a feature.
        """
        mean = tf.convert_to_tensor(mean)
        if mean.shape != (self.input_size,):
            raise ValueError(f'mean must have shape [{self.input_size}], one number a feature, got '
                             f'shape {checks.shown(mean.shape)}.')
        self.mean.assign(tf.cast(mean, self.dtype))
        self.to_frame.bias.assign(self.mean)
        return self

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Encodes and decodes the real steps.

        Args:
          inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          training: Whether dropout applies, and an autoregressive decoder reads the true frames.

        Returns:
          float [B, T, D], in the units of the standardised inputs, 0 at padded steps.

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
        """
        return self._run(self.targets(inputs, lengths), lengths, training)

    def targets(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """What the outputs are compared with: the standardised inputs.

        Args, returns and raises: As a call.
        """
        return real_only(self.encoder.standardize(inputs, lengths), lengths, self.input_size,
                         self.dtype)[0]

    def encode(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """The code of each sequence; of one without steps that of the initial state.

        Args and raises: As a call.

        Returns:
          float [B, code_size].
        """
        return self._encode(self.targets(inputs, lengths), lengths, False)

    def decode(self, codes: TensorLike, lengths: TensorLike, maxlen: int | tf.Tensor, *,
               targets: TensorLike | None = None) -> tf.Tensor:
        """Sequences from their codes, of any lengths.

        Args:
          codes: float [B, code_size].
          lengths: int32 [B]. Time steps to make of each, 0 <= lengths <= maxlen.
          maxlen: int or int scalar. T, the padded width.
          targets: float [B, T, D], in the units of the outputs: what an autoregressive decoder
            reads instead of its own outputs, each at the step after; or None.

        Returns:
          float [B, T, D], in the units of the standardised inputs, 0 at padded steps.

        Raises:
          ValueError: If a rank or a static size does not fit, or there are targets for a decoder
            that reads none.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds maxlen.
        """
        if targets is not None and not self.autoregressive:
            raise ValueError('targets are read by an autoregressive decoder only; this one has '
                             'autoregressive=False. Leave targets out.')
        codes = checks.floating('codes', codes, 'B, code_size', dtype=self.dtype)
        checks.axis_size('codes', codes, -1, self.code_size, 'code_size')
        return self._decode(codes, lengths, maxlen, targets, False)

    def reconstruct(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """A call in the units of the inputs: it undoes the standardizer.

        Args and raises: As a call, and
          ValueError: If the standardizer cannot be undone.

        Returns:
          float [B, T, D], 0 at padded steps.
        """
        outputs = self(inputs, lengths)
        standardizer = self.encoder.standardizer
        if standardizer is None:
            return outputs
        if not self.is_invertible():
            raise ValueError('what the standardizer did cannot be undone: it is no '
                             'data.Standardizer. Call the model for standardised outputs.')
        return standardizer.inverse(tf.cast(outputs, standardizer.dtype), lengths)

    def is_invertible(self) -> bool:
        """Whether `reconstruct` can give outputs in the units of the inputs."""
        return self.encoder.standardizer is None or isinstance(self.encoder.standardizer,
                                                               Standardizer)

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """Squared error of a feature per real step, as `training.Trainer` takes it.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B].
          training: As of a call.

        Returns:
          `seqmask.Tally`, in squared units of the standardised inputs.
        """
        return losses.squared_error(**self._scored(batch, training))

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """What `training.Trainer` measures: `SequenceAutoencoder.measure`.

        An autoregressive decoder reads its own outputs here: what it is worth without the sequence.

        Args:
          batch: As `loss` takes it.

        Returns:
          dict of `seqmask.Tally`: 'loss'; 'baseline', the squared error of `mean` at every step;
          'explained', the share of it that the model does away with, 1 - loss / baseline.
        """
        scored = self._scored(batch, False)
        error = losses.squared_error(**scored)
        scored['predictions'] = tf.broadcast_to(self.mean, tf.shape(scored['labels']))
        baseline = losses.squared_error(**scored)
        return {'loss': error, 'baseline': baseline,
                'explained': Tally(baseline.total - error.total, baseline.total)}

    def _scored(self, batch, training):
        frames, lengths = self.targets(batch['inputs'], batch['lengths']), batch['lengths']
        return {'predictions': self._run(frames, lengths, training), 'labels': frames,
                'mask': sequence_mask(lengths, known.sizes(frames)[1])}

    def _run(self, frames, lengths, training):
        codes = self._encode(frames, lengths, training)
        targets = frames if training and self.autoregressive else None
        return self._decode(codes, lengths, tf.shape(frames)[1], targets, training)

    def _encode(self, frames, lengths, training):
        outputs, state = self.encoder.run(frames, lengths, training=training, standardized=True)
        codes = self.encoder.last(outputs, lengths, state)
        return codes if self.to_code is None else self.to_code(codes)

    def _decode(self, codes, lengths, maxlen, targets, training):
        inputs = repeat(codes, lengths, maxlen)
        if self.autoregressive and targets is None:
            outputs = self._free_run(inputs, lengths)
        else:
            if self.autoregressive:
                inputs = tf.concat([inputs, self._before(targets, lengths, training)], axis=-1)
            outputs = self.decoder(inputs, lengths, training=training)
            outputs = self.to_frame(self.dropout(outputs, lengths, training=training), lengths)
        return reverse(outputs, lengths) if self.reverse_target else outputs

    def _before(self, targets, lengths, training):
        """What the decoder reads under teacher forcing: in its order, one step late."""
        targets = self.encoder.step_dropout(targets, lengths, training=training)
        if self.reverse_target:
            targets = reverse(targets, lengths)
        return tf.pad(targets, [[0, 0], [1, 0], [0, 0]])[:, :-1]

    def _free_run(self, inputs, lengths):
        """What the decoder makes of codes at every step when it reads its own outputs."""
        def cell(code, state):
            frame, state = state
            output, state = self.decoder.step(tf.concat([code, frame], axis=-1), state)
            frame = self.to_frame(output)
            return frame, (frame, state)

        batch = tf.shape(inputs)[0]
        nothing = tf.zeros([batch, self.input_size], self.dtype)
        return unroll(cell, inputs, lengths, (nothing, self.decoder.initial_state(batch)))[0]
