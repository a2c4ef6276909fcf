"""A code for each sequence, and reconstruction from codes."""

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
    """Encodes each sequence as one vector, and decodes the sequence from it.

    code[b] = encoder's output after the last step of inputs[b], through a linear map if code_size
    outputs[b, t] = decoder(code[b] at each step)[t] W + b      for t < lengths[b];   0 after it

    The decoder reads the code at each real step. With `autoregressive` it also reads the previous
    frame: the true one in training (teacher forcing), its own output otherwise.

    Args:
      encoder: `Encoder`. Outputs are compared with its standardized inputs, and its dropout of
        steps also applies to the true frames that an autoregressive decoder reads.
      decoder: `Encoder` whose input_size is the width of the code, plus D if autoregressive.
      code_size: Width of the code, a linear map of the encoder's last outputs. None for the outputs
        themselves: those of the top layer, in each direction after its own last step.
      reverse_target: Whether the decoder runs from each sequence's own last step to its first.
        Outputs are returned in the order of the inputs in either case.
      autoregressive: Whether the decoder also reads the frame before in its own order; zeros at the
        first step.
      dropout: Share of the decoder's outputs dropped in training, with one mask per sequence.
      seed: int; the same seed gives the same weights and the same dropout.

    Variables besides those of its parts: `mean` [D], not trainable, set by `start_at`: the mean
    step of the training data in the units of the outputs, the baseline of `measure`. It is zero by
    default, which fits a `data.Standardizer` of kind 'standard'.

    Raises:
      ValueError: If a size does not fit, or an autoregressive decoder is bidirectional.

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
            raise ValueError('an autoregressive decoder runs in one direction: autoregressive or '
                             'the decoder\'s bidirectional must be False.')
        self.reverse_target, self.autoregressive = bool(reverse_target), bool(autoregressive)
        code_seed, dropout_seed, frame_seed = noise.seeds(seed, 3)
        self.code_size = width if code_size is None else checks.width('code_size', code_size)
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
        """Sets `mean`, and initializes the bias of the outputs to it.

        Args:
          mean: [D]. The mean step of the training data, in the units of the outputs.

        Returns:
          The model.

        Raises:
          ValueError: If its shape does not fit.
        """
        mean = tf.convert_to_tensor(mean)
        if mean.shape != (self.input_size,):
            raise ValueError(f'mean must have shape [{self.input_size}], one number per feature, '
                             f'got shape {checks.shown(mean.shape)}.')
        self.mean.assign(tf.cast(mean, self.dtype))
        self.to_frame.bias.assign(self.mean)
        return self

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Encodes and decodes the real steps.

        Args and raises: As a call of `SequenceEncoder`, and
          training: Whether an autoregressive decoder reads the true frames, too.

        Returns:
          float [B, T, D], in the units of the standardized inputs, 0 at padded steps.
        """
        return self._run(self.targets(inputs, lengths), lengths, training)

    def targets(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """The targets of the outputs: the standardized inputs.

        Args, returns and raises: As a call.
        """
        return real_only(self.encoder.standardize(inputs, lengths), lengths, self.input_size,
                         self.dtype)[0]

    def encode(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """The code of each sequence; an empty sequence has that of the initial state.

        Args and raises: As a call.

        Returns:
          float [B, code_size].
        """
        return self._encode(self.targets(inputs, lengths), lengths, False)

    def decode(self, codes: TensorLike, lengths: TensorLike, maxlen: int | tf.Tensor, *,
               targets: TensorLike | None = None) -> tf.Tensor:
        """Decodes sequences of any lengths from their codes.

        Args:
          codes: float [B, code_size].
          lengths: int32 [B]. Time steps to generate, 0 <= lengths <= maxlen.
          maxlen: int or int scalar. T, the padded width.
          targets: float [B, T, D], in the units of the outputs, for teacher forcing: an
            autoregressive decoder reads them instead of its own outputs. Or None.

        Returns:
          float [B, T, D], in the units of the standardized inputs, 0 at padded steps.

        Raises:
          ValueError: If a rank or a static size does not fit, or targets are given to a decoder
            that is not autoregressive.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds maxlen.
        """
        if targets is not None and not self.autoregressive:
            raise ValueError('targets are read by an autoregressive decoder only; this one has '
                             'autoregressive=False. Omit targets.')
        codes = checks.floating('codes', codes, 'B, code_size', dtype=self.dtype)
        checks.axis_size('codes', codes, -1, self.code_size, 'code_size')
        return self._decode(codes, lengths, maxlen, targets, False)

    def reconstruct(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """A call with outputs in the units of the inputs: inverts the standardizer.

        Args and raises: As a call, and
          ValueError: If the standardizer cannot be inverted.

        Returns:
          float [B, T, D], 0 at padded steps.
        """
        outputs = self(inputs, lengths)
        standardizer = self.encoder.standardizer
        if standardizer is None:
            return outputs
        if not self.is_invertible():
            raise ValueError('the standardizer cannot be inverted: it is not a data.Standardizer. '
                             'Call the model for standardized outputs.')
        return standardizer.inverse(tf.cast(outputs, standardizer.dtype), lengths)

    def is_invertible(self) -> bool:
        """Whether `reconstruct` can invert the standardizer."""
        return self.encoder.standardizer is None or isinstance(self.encoder.standardizer,
                                                               Standardizer)

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """Squared error per real step, averaged over features, for `training.Trainer`.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B].
          training: As of a call.

        Returns:
          `seqmask.Tally`, in squared units of the standardized inputs.
        """
        return losses.squared_error(**self._scored(batch, training))

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """Metrics of a batch as of `loss`, for `Trainer(measure=SequenceAutoencoder.measure)`.

        An autoregressive decoder reads its own outputs here, not the true frames.

        Returns:
          dict of `seqmask.Tally`: 'loss'; 'baseline', the squared error of `mean` at every step;
          'explained', the share of the baseline that the model explains, 1 - loss / baseline.
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
                previous = self._previous_frames(targets, lengths, training)
                inputs = tf.concat([inputs, previous], axis=-1)
            outputs = self.decoder(inputs, lengths, training=training)
            outputs = self.to_frame(self.dropout(outputs, lengths, training=training), lengths)
        return reverse(outputs, lengths) if self.reverse_target else outputs

    def _previous_frames(self, targets, lengths, training):
        """Inputs for teacher forcing: targets in the decoder's order, one step late."""
        targets = self.encoder.step_dropout(targets, lengths, training=training)
        if self.reverse_target:
            targets = reverse(targets, lengths)
        return tf.pad(targets, [[0, 0], [1, 0], [0, 0]])[:, :-1]

    def _free_run(self, inputs, lengths):
        """Outputs of an autoregressive decoder that reads its own outputs, from codes per step."""
        def cell(code, state):
            frame, state = state
            output, state = self.decoder.step(tf.concat([code, frame], axis=-1), state)
            frame = self.to_frame(output)
            return frame, (frame, state)

        batch = tf.shape(inputs)[0]
        zeros = tf.zeros([batch, self.input_size], self.dtype)
        return unroll(cell, inputs, lengths, (zeros, self.decoder.initial_state(batch)))[0]
