"""From one sequence to another, each of its own length: letters to phonemes, text to text."""

from __future__ import annotations

import typing

import tensorflow as tf

from seqmask import checks, decode, known, losses, noise
from seqmask.checks import TensorLike
from seqmask.layers import (Attention, AttentionMemory, Dense, Dropout, Embedding, mean_pool,
                            unroll)
from seqmask.lengths import sequence_mask
from seqmask.metrics import EditDistance
from seqmask.models.encoder import Encoder
from seqmask.models.protocol import SequenceModel
from seqmask.models.sequence_encoder import SequenceEncoder
from seqmask.models.teaching import Lesson, lesson
from seqmask.tally import Tally

Batch = typing.Dict[str, tf.Tensor]
# A decoder's state: that of its layers, and what it is fed, or ().
State = typing.Tuple[typing.Any, typing.Any]


class SequenceToSequence(SequenceModel):
    """An encoder, and a decoder that attends to its outputs and writes labels until their end.

    s_0 = tanh(mean of the encoder's outputs Ws + bs)
    s_t = decoder(embedding of y_t-1, s_t-1)          with input_feeding also reads a_t-1
    a_t = tanh([s_t, context of s_t] Wa + ba)
    p(y_t) = softmax(a_t W + b)                       with tied, W is the transposed embedding

    A call returns the encoder's outputs. Labels are 0 to K - 1; the symbol that ends them, and
    begins them for the decoder, is the model's own.

    Args:
      encoder: `Encoder`, or another `SequenceEncoder`.
      num_classes: K.
      decoder: `Encoder` in one direction, without an embedding. Its input_size is the width of the
        embedding of labels; with input_feeding that plus the width of a_t, its output_size. With
        `tied`, a_t is as wide as the embedding.
      attention: `kind` of an `Attention`; or an `Attention` from decoder.output_size to
        encoder.output_size.
      input_feeding: Whether the decoder also reads what it attended to at the step before. Its
        steps then run one by one in training, too, and its own dropout does not apply.
      tied: Whether the embedding of labels also maps to their logits.
      dropout: Share of a_t dropped in training, with one mask per sequence.
      label_smoothing: As of `losses.sparse_softmax_cross_entropy`, in training only.
      scheduled_sampling: Share of the labels that the decoder reads in training that are its own
        best guesses, from a first pass over the true ones.
      seed: int; the same seed gives the same weights and the same dropout.

    Variables besides those of its parts: `limit` float32 [2], not trainable, set by
    `limit_outputs`: outputs have at most limit[0] * length + limit[1] labels.

    Raises:
      ValueError: If a size or an option does not fit.

    Source: Bahdanau, Cho, Bengio. Neural Machine Translation by Jointly Learning to Align and
      Translate. ICLR 2015; Luong, Pham, Manning. Effective Approaches to Attention-based Neural
      Machine Translation. EMNLP 2015. Sampling in a second pass: Duckworth et al. Parallel
      Scheduled Sampling. 2019.

    >>> encoder = seqmask.models.Encoder(input_size=4, hidden_size=5, bidirectional=True, seed=0)
    >>> model = seqmask.models.SequenceToSequence(
    ...     encoder, num_classes=3, decoder=seqmask.models.Encoder(2, hidden_size=6), seed=0)
    >>> batch = {'inputs': tf.ones([2, 6, 4]), 'lengths': tf.constant([6, 3]),
    ...          'labels': tf.constant([[1, 0, 2], [2, 0, 0]]),
    ...          'label_lengths': tf.constant([3, 1])}
    >>> float(model.loss(batch, training=False).count)      # labels, and an end of each sequence
    6.0
    >>> labels, label_lengths = model.transcribe(batch['inputs'], batch['lengths'], width=4)
    >>> labels.shape[0], label_lengths.shape
    (2, TensorShape([2]))
    """

    def __init__(self, encoder: SequenceEncoder, num_classes: int, *, decoder: Encoder,
                 attention: str | Attention = 'general', input_feeding: bool = False,
                 tied: bool = False, dropout: float = 0.0, label_smoothing: float = 0.0,
                 scheduled_sampling: float = 0.0, seed: int | None = None,
                 name: str | None = None):
        super().__init__(encoder, None, name)
        self.num_classes = self.end = checks.width('num_classes', num_classes)
        self.decoder, self.input_feeding = decoder, bool(input_feeding)
        if not decoder.streams() or decoder.embedding is not None:
            raise ValueError('a decoder must have bidirectional=False and embedding=None: it runs '
                             'in one direction, on an embedding of the model\'s own.')
        self.label_smoothing = checks.fraction('label_smoothing', label_smoothing)
        self.scheduled_sampling = checks.fraction('scheduled_sampling', scheduled_sampling)
        seeds = noise.seeds(seed, 7)
        memory, width, embedded = encoder.output_size, decoder.output_size, decoder.input_size
        if input_feeding:
            embedded = embedded // 2 if tied else embedded - width
            if embedded < 1 or tied and decoder.input_size % 2:
                raise ValueError(
                    'with input_feeding the decoder reads an embedding and what it attended to: '
                    f'its input_size must be {"even" if tied else f"more than {width}"}, got '
                    f'{decoder.input_size}.')
        attended = embedded if tied else width
        self.embedding = Embedding(num_classes + 1, embedded, dtype=self.dtype, seed=seeds[0])
        self.attention = attention if isinstance(attention, Attention) else Attention(
            width, memory, kind=attention, hidden_size=min(width, memory), dtype=self.dtype,
            seed=seeds[1])
        self._state = decoder.initial_state(0)          # for its structure
        self._widths = [part.shape[-1] for part in tf.nest.flatten(self._state)]
        self.to_state = Dense(memory, sum(self._widths), dtype=self.dtype, seed=seeds[2])
        self.to_attended = Dense(width + memory, attended, dtype=self.dtype, seed=seeds[3])
        self.dropout = Dropout(dropout, per='sequence', seed=seeds[4])
        self.to_logits = None if tied else Dense(attended, num_classes + 1, dtype=self.dtype,
                                                 seed=seeds[5])
        if tied:
            self.bias = tf.Variable(tf.zeros([num_classes + 1], self.dtype), name='bias')
        if scheduled_sampling:
            self._noise = noise.generator(seeds[6])
        self.limit = tf.Variable([2.0, 10.0], trainable=False, name='limit')

    def limit_outputs(self, per_step: float, more: float) -> SequenceToSequence:
        """Sets the most labels of an output, per_step * length + more; by default 2 length + 10.

        Returns the model. Raises ValueError if a number is negative.
        """
        self.limit.assign([checks.positive('per_step', per_step, or_zero=True),
                           checks.positive('more', more, or_zero=True)])
        return self

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Computes the encoder's outputs, float [B, T, output_size], 0 at padded steps.

        Args and raises: As a call of `SequenceEncoder`.
        """
        return self.encoder(inputs, lengths, training=training)

    def initial_state(self, inputs: TensorLike,
                      lengths: TensorLike) -> tuple[State, AttentionMemory]:
        """(The state before the first label, the memory of the inputs), both for `step`.

        Args and raises: As a call.
        """
        return self._start(self(inputs, lengths), lengths)

    def step(self, tokens: TensorLike, state: State,
             memory: AttentionMemory) -> tuple[tf.Tensor, State]:
        """One step of the decoder, as `decode.beam_search` takes it.

        Args:
          tokens: int [N], the label before of each row; K, `end`, before the first. N is B, or a
            multiple of it: the same number of rows for each sequence.
          state: As returned by `initial_state`, or by the step before.
          memory: As returned by `initial_state`.

        Returns:
          (logits float [N, K + 1], the last one of the end; state).
        """
        (attended, _), state = self._cell(self.embedding(tokens), state, memory)
        return self._logits(attended, None), state

    def search(self, inputs: TensorLike, lengths: TensorLike, *, width: int,
               max_length: TensorLike | None = None, maxlen: TensorLike | None = None,
               length_penalty: float = 0.0) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The best outputs of each sequence: `decode.beam_search` on this model.

        Args:
          inputs, lengths: As of a call.
          width, length_penalty, maxlen: As of `decode.beam_search`.
          max_length: int or int32 [B], the most labels; by default as of `limit_outputs`.

        Returns:
          (labels int32 [B, W, L], label_lengths int32 [B, W], scores float32 [B, W]).

        Raises:
          As a call, and `decode.beam_search`.
        """
        return self._search(self(inputs, lengths), lengths, width=width, max_length=max_length,
                            maxlen=maxlen, length_penalty=length_penalty)

    def transcribe(self, inputs: TensorLike, lengths: TensorLike, *, width: int = 1,
                   **options: typing.Any) -> tuple[tf.Tensor, tf.Tensor]:
        """The best output of each sequence; greedily by default. Options are those of `search`.

        Args and raises: As of `search`.

        Returns:
          (labels int32 [B, L], 0 in the padding; label_lengths int32 [B]).
        """
        labels, label_lengths, _ = self.search(inputs, lengths, width=width, **options)
        return labels[:, 0], label_lengths[:, 0]

    def results(self, outputs: tf.Tensor, lengths: TensorLike) -> dict[str, tf.Tensor]:
        """Of the greedy output: 'labels' int32 [B, L], 'label_lengths' int32 [B],
        'log_probability' float32 [B]."""
        parts = self._search(outputs, lengths)
        return dict(zip(['labels', 'label_lengths', 'log_probability'],
                        (part[:, 0] for part in parts)))

    def alignment(self, batch: Batch) -> tf.Tensor:
        """The attention of each label, and of the end, to each step of a batch as of `loss`: float
        [B, L + 1, T], 0 at padded labels and steps."""
        taught = self._lesson(batch)
        state, memory = self.initial_state(self.inputs_of(batch), batch['lengths'])
        _, queries = self._teach(taught.previous, taught.lengths, state, memory, False)
        return self.attention.weights(queries, memory, taught.lengths)

    def loss(self, batch: Batch, training: bool) -> Tally:
        """Cross-entropy per label, the end among them, for `training.Trainer`.

        Args:
          batch: dict with 'inputs' [B, T, D] (or tokens [B, T]), 'lengths' [B], 'labels' int
            [B, L], 'label_lengths' int [B].
          training: Whether dropout, smoothing and sampling apply.

        Returns:
          `seqmask.Tally`, in nats.
        """
        taught = self._lesson(batch)
        outputs = self(self.inputs_of(batch), batch['lengths'], training=training)
        return self._loss(taught, *self._start(outputs, batch['lengths']), training)

    def measure(self, batch: Batch) -> dict[str, Tally]:
        """Metrics of a batch as of `loss`, for `Trainer(measure=SequenceToSequence.measure)`.

        Returns:
          dict of `seqmask.Tally`: 'loss'; of the greedy output 'label_error', edits per label, and
          'sequence_accuracy', the share of sequences without an error.
        """
        outputs, lengths = self(self.inputs_of(batch), batch['lengths']), batch['lengths']
        loss = self._loss(self._lesson(batch), *self._start(outputs, lengths), False)
        found, found_lengths, _ = (part[:, 0] for part in self._search(outputs, lengths))
        compared = dict(labels=batch['labels'], label_lengths=batch['label_lengths'],
                        predictions=found, prediction_lengths=found_lengths)
        wrong = EditDistance.wrong_tally(**compared)
        return {'loss': loss, 'label_error': EditDistance.tally(**compared),
                'sequence_accuracy': Tally(wrong.count - wrong.total, wrong.count)}

    def _lesson(self, batch):
        return lesson(batch['labels'], batch['label_lengths'], self.end)

    def _loss(self, taught: Lesson, state, memory, training):
        previous, lengths = taught.previous, taught.lengths
        if training and self.scheduled_sampling:
            guessed = tf.argmax(self._logits(self._teach(previous, lengths, state, memory, True)[0],
                                             lengths), axis=-1, output_type=tf.int32)
            previous = taught.sampled(guessed, self._noise, self.scheduled_sampling)
        attended, _ = self._teach(previous, lengths, state, memory, training)
        logits = self._logits(self.dropout(attended, lengths, training=training), lengths)
        return losses.sparse_softmax_cross_entropy(
            logits=logits, labels=taught.targets,
            mask=sequence_mask(lengths, known.sizes(logits)[1]),
            label_smoothing=self.label_smoothing if training else 0.0)

    def _start(self, outputs, lengths):
        """(The decoder's first state, its memory), from the encoder's outputs."""
        parts = tf.split(tf.tanh(self.to_state(mean_pool(outputs, lengths))), self._widths, axis=-1)
        fed = tf.zeros([tf.shape(outputs)[0], self.to_attended.output_size], self.dtype)
        return ((tf.nest.pack_sequence_as(self._state, parts), fed if self.input_feeding else ()),
                self.attention.project(outputs, lengths))

    def _cell(self, vectors, state, memory):
        """One step of the decoder on vectors [N, E]: ((a_t, s_t), state)."""
        state, fed = state
        if self.input_feeding:
            vectors = tf.concat([vectors, fed], axis=-1)
        output, state = self.decoder.step(vectors, state)
        rows, batch = tf.shape(output)[0], tf.shape(memory.mask)[0]
        queries = tf.reshape(output, [batch, rows // tf.maximum(batch, 1), output.shape[-1]])
        context = tf.reshape(self.attention(queries, memory), [rows, self.attention.output_size])
        attended = tf.tanh(self.to_attended(tf.concat([output, context], axis=-1)))
        return (attended, output), (state, attended if self.input_feeding else fed)

    def _teach(self, previous, lengths, state, memory, training):
        """(a [B, L + 1, A], s [B, L + 1, H]) of all steps, from the labels before them."""
        vectors = self.embedding(previous, lengths)
        if self.input_feeding:
            return unroll(lambda x_t, state: self._cell(x_t, state, memory), vectors, lengths,
                          state)[0]
        outputs, _ = self.decoder.run(vectors, lengths, state[0], training=training)
        context = self.attention(outputs, memory, lengths)
        both = known.with_sizes_of(tf.concat([outputs, context], axis=-1), outputs)
        attended = tf.tanh(self.to_attended(both, lengths))
        return known.with_sizes_of(attended, outputs), outputs

    def _logits(self, attended, lengths):
        if self.to_logits is not None:
            return self.to_logits(attended, lengths)
        logits = tf.tensordot(attended, self.embedding.embeddings, [[-1], [1]]) + self.bias
        return known.with_sizes_of(logits, attended)

    def _search(self, outputs, lengths, *, width=1, max_length=None, **options):
        state, memory = self._start(outputs, lengths)
        if max_length is None:
            per_step, more = tf.unstack(self.limit)
            max_length = tf.cast(tf.cast(lengths, tf.float32) * per_step + more, tf.int32)
        return decode.beam_search(self.step, state, memory=memory, width=width, end=self.end,
                                  max_length=max_length, **options)
