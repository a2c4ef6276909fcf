"""Vectors of tokens, as inputs of an encoder: looked up, spelled out, features beside them."""

from __future__ import annotations

import typing

import tensorflow as tf

from seqmask import checks, known, noise
from seqmask.checks import TensorLike
from seqmask.data import Vocabulary
from seqmask.layers import GRU, Activation, Bidirectional, Conv1D, Embedding, Sequential, max_pool
from seqmask.masking import apply_mask
from seqmask.operands import real_tokens, rounded

FEATURES = 'features'


class TokenEmbedding(tf.Module):
    """Turns tokens into vectors, for the argument `embedding` of an encoder.

    out[b, t] = [embedding of the token, embedding of its characters, features]

    Its inputs are tokens [B, T]: strings with a `Vocabulary`, else integers; with `features` a dict
    of 'inputs', the tokens, and 'features', float [B, T, features], which a model takes from the
    batch's fields of these names.

    Args:
      tokens: `data.Vocabulary`; or an int, the number of different tokens.
      size: Width of a token's vector.
      characters: `CharacterEmbedding`, for strings only; or None.
      features: int. Number of features beside each token; they are passed on as they are.
      token_dropout: Share of the tokens that training replaces by the unknown token, so that its
        vector is trained, too; needs a `Vocabulary`. An encoder's `step_dropout` drops whole steps.
      dtype: Of the vectors.
      seed: int; the same seed gives the same weights and the same dropout.

    Attributes:
      output_size: Width of the outputs, an encoder's `input_size`.

    Raises:
      ValueError: If an option does not fit.

    >>> vocabulary = seqmask.data.Vocabulary(['the', 'end'])
    >>> embedding = seqmask.models.TokenEmbedding(vocabulary, 4, seed=0)
    >>> encoder = seqmask.models.Encoder(embedding=embedding, hidden_size=5, seed=0)
    >>> words = tf.constant([['the', 'end', 'is'], ['end', '', '']])
    >>> encoder(words, tf.constant([3, 1])).shape
    TensorShape([2, 3, 5])
    """

    def __init__(self, tokens: Vocabulary | int, size: int, *,
                 characters: CharacterEmbedding | None = None, features: int = 0,
                 token_dropout: float = 0.0, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.vocabulary = tokens if isinstance(tokens, Vocabulary) else None
        if self.vocabulary is None and (characters is not None or token_dropout):
            raise ValueError('characters and token_dropout need tokens that are a data.Vocabulary, '
                             f'got {tokens!r}.')
        self.features = checks.width('features', features, minimum=0)
        self.token_dropout = checks.fraction('token_dropout', token_dropout)
        first, second = noise.seeds(seed, 2)
        self.embedding = Embedding(tokens if self.vocabulary is None else len(tokens), size,
                                   dtype=dtype, seed=first)
        self.characters = characters
        self.dtype = self.embedding.dtype
        self.output_size = size + features + (0 if characters is None else characters.output_size)
        if token_dropout:
            self._noise = noise.generator(second)

    @property
    def fields(self) -> dict[str, tuple[tf.DType, tuple[int, ...]]]:
        """What it reads of a batch: dict of name -> (dtype, shape of a step)."""
        tokens = {'inputs': (tf.int32 if self.vocabulary is None else tf.string, ())}
        return {**tokens, FEATURES: (tf.float32, (self.features,))} if self.features else tokens

    def __call__(self, inputs: TensorLike | dict[str, TensorLike],
                 lengths: TensorLike | None = None, *, training: bool = False) -> tf.Tensor:
        """Computes the vectors of the real steps, or of single tokens.

        Args:
          inputs: Tokens [B, T], any at padded steps; or [B], single tokens; or a dict, as above.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T; None for single tokens.
          training: Whether tokens are dropped.

        Returns:
          float [B, T, output_size], 0 at padded steps; or float [B, output_size].

        Raises:
          As a call of `Embedding`; ValueError if 'features' are missing or their shape does not
          fit.
        """
        tokens, features = self._parts(inputs)
        mask = None
        if lengths is not None:
            tokens, lengths, mask = real_tokens(tokens, lengths)
        vectors = [] if self.characters is None else [self.characters(tokens)]
        if self.vocabulary is not None:
            tokens = known.with_sizes_of(self.vocabulary(tokens), tokens)
        if training and self.token_dropout:
            kept = noise.dropout_mask(self._noise, tf.shape(tokens), self.token_dropout, tf.float32)
            tokens = known.with_sizes_of(tf.where(kept > 0, tokens, 0), tokens)
        vectors.insert(0, self.embedding(tokens, lengths))
        if self.features:
            vectors.append(tf.cast(rounded(features, self.dtype, lengths), self.dtype))
        outputs = vectors[0] if len(vectors) == 1 else tf.concat(vectors, axis=-1)
        if mask is None:
            return outputs
        return apply_mask(known.with_sizes_of(outputs, tokens), mask)

    def _parts(self, inputs):
        """(tokens, features or None), checked."""
        if not self.features:
            return checks.dense('tokens', inputs), None
        if not isinstance(inputs, dict) or not {'inputs', FEATURES} <= set(inputs):
            got = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
            raise ValueError(f"inputs must be a dict of 'inputs', the tokens, and {FEATURES!r}, "
                             f'got {got}.')
        tokens = checks.dense('tokens', inputs['inputs'])
        features = checks.floating(FEATURES, inputs[FEATURES], 'B, ...')
        checks.axis_size(FEATURES, features, -1, self.features, 'features')
        return checks.prefix('tokens', tokens, FEATURES, features), features


class CharacterEmbedding(tf.Module):
    """Turns a word into a vector by its characters, whatever its length.

    out = max over the characters of relu(convolution(embedding of each character)), or, for
    kind='gru', the last outputs of a GRU in each direction

    Each different word of a batch is computed once. Unknown words are spelled as known ones are, so
    endings and capitals tell something about them.

    Args:
      vocabulary: `data.Vocabulary` of characters; see `Vocabulary.fit_characters`.
      size: Width of a character's vector.
      output_size: Width of the outputs; for 'gru' an even number.
      kind: 'conv' or 'gru'.
      kernel_size: Window of the convolution, in characters.
      dtype, seed: As of `TokenEmbedding`.

    Source: Ma, Hovy. End-to-end sequence labeling via bi-directional LSTM-CNNs-CRF. ACL 2016;
      Lample et al. Neural architectures for named entity recognition. NAACL 2016.

    >>> letters = seqmask.data.Vocabulary.fit_characters(['the', 'end'])
    >>> spelled = seqmask.models.CharacterEmbedding(letters, 4, 6, seed=0)
    >>> spelled(tf.constant([['the', 'end'], ['then', '']])).shape
    TensorShape([2, 2, 6])
    """

    def __init__(self, vocabulary: Vocabulary, size: int = 16, output_size: int = 32, *,
                 kind: str = 'conv', kernel_size: int = 3, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.vocabulary = vocabulary
        self.output_size = checks.width('output_size', output_size)
        self.kind = checks.choice('kind', kind, ('conv', 'gru'))
        if kind == 'gru' and output_size % 2:
            raise ValueError(f"output_size must be even for kind='gru', which has two directions, "
                             f'got {output_size}.')
        seeds = noise.seeds(seed, 3)
        self.embedding = Embedding(len(vocabulary), size, dtype=dtype, seed=seeds[0])
        self.layer: typing.Any = Sequential([
            Conv1D(size, output_size, kernel_size, dtype=dtype, seed=seeds[1]),
            Activation('relu')]) if kind == 'conv' else Bidirectional(*(
                GRU(size, output_size // 2, dtype=dtype, seed=s) for s in seeds[1:]))

    def __call__(self, words: TensorLike) -> tf.Tensor:
        """Computes the vectors of words, strings of any shape: float [..., output_size].

        The vector of an empty string is 0.
        """
        words = checks.dense('words', words)
        different, places = tf.unique(tf.reshape(words, [-1]))
        characters = tf.strings.unicode_split(different, 'UTF-8')
        lengths = tf.cast(characters.row_lengths(), tf.int32)
        inputs = self.embedding(self.vocabulary(characters.to_tensor('')), lengths)
        outputs, other = self.layer(inputs, lengths)
        vectors = (max_pool(outputs, lengths) if self.kind == 'conv' else
                   tf.concat(list(other), axis=-1))
        vectors = tf.reshape(tf.gather(vectors, places),
                             tf.concat([tf.shape(words), [self.output_size]], axis=0))
        return tf.ensure_shape(vectors, [*words.shape, self.output_size])


def width_of(embedding: TokenEmbedding | None, input_size: int | None) -> int:
    """D of an encoder's layers: `input_size`, or the width of its embedding.

    Raises:
      ValueError: If neither is given, or the two differ.
    """
    if embedding is None and input_size is None:
        raise ValueError('input_size must be given, the number of features; only with an embedding '
                         'it need not.')
    if embedding is not None and input_size not in (None, embedding.output_size):
        raise ValueError(f'input_size must be the width of the embedding, '
                         f'{embedding.output_size}, or left out, got {input_size}.')
    return input_size if embedding is None else embedding.output_size
