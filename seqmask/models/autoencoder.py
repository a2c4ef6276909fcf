"""A code for every sequence, and the sequence from its code."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, known, losses, noise
from seqmask.checks import TensorLike
from seqmask.layers import GRU, LSTM, Bidirectional, Dense, Dropout, Stacked, unroll
from seqmask.lengths import sequence_mask
from seqmask.masking import repeat, reverse
from seqmask.operands import real_only, rounded
from seqmask.tally import Tally

CELLS = {'gru': GRU, 'lstm': LSTM}


class SequenceAutoencoder(tf.Module):
    """An encoder makes one vector of each sequence, a decoder the whole sequence of that vector.

    code[b] = encoder's output after the last step of inputs[b], through a linear map if code_size
    outputs[b, t] = decoder(code[b] at each step)[t] W + b      for t < lengths[b];   0 after it

    The decoder gets the code at each of the sequence's own steps, as many as it has. One with
    `autoregressive` gets the frame before, too: the true one in training, its own otherwise.

    Args:
      input_size: D.
      cell: 'lstm' or 'gru'.
      hidden_size: H of each layer and direction.
      code_size: Width of the code: a linear map makes it of the encoder's last outputs. None for
        these outputs themselves: those of the top layer, H, or 2 H in both directions, each after
        its own last step.
      num_layers: Recurrent layers of the encoder, and of the decoder.
      bidirectional: Whether the encoder reads in both directions.
      bidirectional_decoder: Whether the decoder runs in both directions.
      reverse_target: Whether the decoder runs from each sequence's own last step to its first. What
        it returns is in the order of the inputs all the same.
      autoregressive: Whether the decoder reads the frame that comes before in its order, zeros at
        the first step, beside the code.
      mean: [D]. The mean step of the training data, in the units of the outputs, which training
        starts from and `measure` compares with; zeros by default, as a `data.Standardizer` of kind
        'standard' makes it.
      dropout: Share of the features dropped in training, the same at all steps of a sequence, below
        the last linear map and below each recurrent layer but the first.
      step_dropout: Share of the steps that are dropped in training as a whole, from what the
        encoder reads, and drawn anew, from the frames an autoregressive decoder reads.
      implementation: As of `GRU` and `LSTM`.
      standardizer: Called first, as (inputs, lengths), such as a `data.Standardizer` or
        `data.standardize_sequences`; None for none. What it returns is also what the outputs are
        compared with. What it holds is saved with the model.
      dtype: Of weights, inputs, codes and outputs; float32 inputs are rounded to bfloat16 or
        float16.
      seed: int; the same seed gives the same weights and the same dropout.

    Variables beside those of the layers: `mean` [D], not trainable.

    Raises:
      ValueError: If an option does not fit, or an autoregressive decoder shall run in both
        directions.

    Source: Srivastava, Mansimov, Salakhutdinov. Unsupervised Learning of Video Representations
      using LSTMs. ICML 2015. Dropping what the decoder reads: Bowman et al. Generating Sentences
      from a Continuous Space. CoNLL 2016.

    >>> model = seqmask.models.SequenceAutoencoder(input_size=4, hidden_size=5, code_size=3, seed=0)
    >>> inputs, lengths = tf.ones([2, 6, 4]), tf.constant([6, 2])
    >>> codes = model.encode(inputs, lengths)
    >>> outputs = model.decode(codes, lengths, maxlen=6)
    >>> codes.shape, outputs.shape, bool(tf.reduce_all(outputs[1, 2:] == 0))
    (TensorShape([2, 3]), TensorShape([2, 6, 4]), True)
    """

    def __init__(self, input_size: int, *, cell: str = 'lstm', hidden_size: int = 64,
                 code_size: int | None = None, num_layers: int = 1, bidirectional: bool = False,
                 bidirectional_decoder: bool = False, reverse_target: bool = False,
                 autoregressive: bool = False, mean: TensorLike | None = None,
                 dropout: float = 0.0, step_dropout: float = 0.0, implementation: str = 'auto',
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        layer = CELLS[checks.choice('cell', cell, tuple(CELLS))]
        self.input_size = checks.size('input_size', input_size)
        checks.size('num_layers', num_layers)
        checks.fraction('step_dropout', step_dropout)
        if autoregressive and bidirectional_decoder:
            raise ValueError('an autoregressive decoder reads the frame before, so it runs in one '
                             'direction: autoregressive or bidirectional_decoder must be False.')
        self.reverse_target, self.autoregressive = bool(reverse_target), bool(autoregressive)
        self.standardizer = standardizer
        self.dtype = checks.float_dtype('dtype', dtype)
        seeds = iter(noise.seeds(seed, 4 * num_layers + 4))

        def recurrent(below, both_ways):
            width = hidden_size * (2 if both_ways else 1)

            def one_direction(index):
                return layer(width if index else below, hidden_size,
                             dropout=dropout if index else 0.0, implementation=implementation,
                             dtype=dtype, seed=next(seeds))

            return Stacked([
                Bidirectional(one_direction(index), one_direction(index)) if both_ways
                else one_direction(index) for index in range(num_layers)]), width

        self.encoder, width = recurrent(input_size, bidirectional)
        self.code_size = width if code_size is None else checks.size('code_size', code_size)
        self.to_code = None if code_size is None else Dense(width, code_size, dtype=dtype,
                                                            seed=next(seeds))
        self.decoder, width = recurrent(
            self.code_size + (input_size if autoregressive else 0), bidirectional_decoder)
        self.step_dropout = Dropout(step_dropout, per='step', seed=next(seeds))
        self.dropout = Dropout(dropout, per='sequence', seed=next(seeds))
        self.to_frame = Dense(width, input_size, dtype=dtype, seed=next(seeds))
        mean = tf.zeros([input_size]) if mean is None else tf.convert_to_tensor(mean)
        if mean.shape != (input_size,):
            raise ValueError(f'mean must have shape [{input_size}], one number a feature, got '
                             f'shape {checks.shown(mean.shape)}.')
        self.mean = tf.Variable(tf.cast(mean, self.dtype), trainable=False, name='mean')
        self.to_frame.bias.assign(self.mean)

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
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T.
        """
        return self._run(self.targets(inputs, lengths), lengths, training)

    def targets(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """What the outputs are compared with: the standardised inputs.

        Args, returns and raises: As a call.
        """
        if self.standardizer is not None:
            inputs = self.standardizer(inputs, lengths)
        return real_only(rounded(inputs, self.dtype), lengths, self.input_size, self.dtype)[0]

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
          ValueError: If the standardizer cannot be undone: it has no `inverse`.

        Returns:
          float [B, T, D], 0 at padded steps.
        """
        outputs = self(inputs, lengths)
        if self.standardizer is None:
            return outputs
        if not hasattr(self.standardizer, 'inverse'):
            raise ValueError('what the standardizer did cannot be undone: it has no `inverse`. Use '
                             'a data.Standardizer, or call the model for standardised outputs.')
        return self.standardizer.inverse(tf.cast(outputs, self.standardizer.dtype), lengths)

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
        frames = self.step_dropout(frames, lengths, training=training)
        _, states = self.encoder(frames, lengths, training=training)
        top = states[-1]
        directions = top if isinstance(self.encoder.layers[-1], Bidirectional) else (top,)
        # An LSTM's output is the hidden part of its state, a GRU's the whole of it.
        codes = tf.concat([getattr(state, 'hidden', state) for state in directions], axis=-1)
        return codes if self.to_code is None else self.to_code(codes)

    def _decode(self, codes, lengths, maxlen, targets, training):
        inputs = repeat(codes, lengths, maxlen)
        if self.autoregressive and targets is None:
            outputs = self._free_run(inputs, lengths)
        else:
            if self.autoregressive:
                inputs = tf.concat([inputs, self._before(targets, lengths, training)], axis=-1)
            outputs, _ = self.decoder(inputs, lengths, training=training)
            outputs = self.to_frame(self.dropout(outputs, lengths, training=training), lengths)
        return reverse(outputs, lengths) if self.reverse_target else outputs

    def _before(self, targets, lengths, training):
        """What the decoder reads under teacher forcing: in its order, one step late."""
        targets = self.step_dropout(targets, lengths, training=training)
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
