"""Which number does a token have?"""

from __future__ import annotations

import collections
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.data.sequences import Sequences

UNKNOWN = '[UNK]'


class Vocabulary(tf.Module):
    """Numbers tokens: 0 is any unknown token, then 1, 2, ... in the order given.

    It wraps a `tf.keras.layers.StringLookup`, which becomes part of an exported model.

    Args:
      tokens: Strings, all different. UNKNOWN, '[UNK]', must not be among them.

    Attributes:
      tokens: NumPy array of strings: the unknown token, then the others.

    Raises:
      ValueError: If a token occurs twice or is the unknown token.
      TypeError: If a token is no string.

    >>> vocabulary = seqmask.data.Vocabulary.fit(['the', 'end', 'of', 'the', 'end'], min_count=2)
    >>> vocabulary(tf.constant([['the', 'start'], ['end', '']])).numpy()
    array([[2, 0],
           [1, 0]], dtype=int32)
    >>> len(vocabulary), vocabulary.tokens.tolist()
    (3, ['[UNK]', 'end', 'the'])
    """

    def __init__(self, tokens: Iterable[str], name: str | None = None):
        super().__init__(name=name)
        tokens = [str(token) if isinstance(token, (str, np.str_)) else _no_string(token)
                  for token in tokens]
        for token, count in collections.Counter([UNKNOWN, *tokens]).items():
            if count > 1:
                raise ValueError(f'tokens must be different, and none be {UNKNOWN!r}; {token!r} '
                                 f'occurs {count - (token == UNKNOWN)} times.')
        layer = tf.keras.layers.StringLookup(
            vocabulary=tokens, mask_token=None, num_oov_indices=1, oov_token=UNKNOWN)
        # TensorFlow notes every table for sessions, which would make it warn in each SavedModel.
        noted = tf.compat.v1.get_default_graph().get_collection_ref('table_initializer')
        noted[:] = [operation for operation in noted if operation is not None]
        # The table is what a SavedModel must find; the layer itself has no variables.
        self._lookup, self._table = layer.call, layer.lookup_table
        self.tokens = np.array([UNKNOWN, *tokens])

    @classmethod
    def fit(cls, tokens: TensorLike | Sequences, *, min_count: int = 1,
            max_tokens: int | None = None) -> Vocabulary:
        """The vocabulary of the training tokens, the most frequent first, then by the alphabet.

        Args:
          tokens: Strings of any shape; or `Sequences` of tokens, of the training part only.
          min_count: int. Rarer tokens are unknown.
          max_tokens: int. At most so many of them; None for all.

        Returns:
          `Vocabulary`.

        Raises:
          TypeError: If tokens are no strings.
          ValueError: If a number does not fit.
        """
        checks.size('min_count', min_count)
        tokens = np.asarray(tokens.frames if isinstance(tokens, Sequences) else tokens).ravel()
        if tokens.size and tokens.dtype.kind != 'U':
            raise TypeError(f'tokens must be strings, got {tokens.dtype}. Whole numbers need no '
                            f'vocabulary.')
        names, counts = np.unique(tokens, return_counts=True)
        known = (counts >= min_count) & (names != UNKNOWN)
        order = np.lexsort([names[known], -counts[known]])
        most = None if max_tokens is None else checks.size('max_tokens', max_tokens)
        return cls(names[known][order][:most].tolist())

    @classmethod
    def fit_characters(cls, tokens: TensorLike | Sequences, *, min_count: int = 1) -> Vocabulary:
        """The vocabulary of the characters in the training tokens; arguments as of `fit`."""
        tokens = np.asarray(tokens.frames if isinstance(tokens, Sequences) else tokens).ravel()
        return cls.fit(list(''.join(map(str, tokens.tolist()))) or np.zeros(0, str),
                       min_count=min_count)

    def __len__(self) -> int:
        """Number of tokens, the unknown one included: `num_tokens` of an `Embedding`."""
        return len(self.tokens)

    def __call__(self, tokens: TensorLike) -> tf.Tensor:
        """Looks up strings of any shape: int32 of the same shape, 0 where a token is unknown.

        Raises:
          TypeError: If tokens are no strings.
        """
        tokens = checks.dense('tokens', tokens)
        if tokens.dtype != tf.string:
            raise TypeError(f'tokens must be strings, got {tokens.dtype.name}. Whole numbers need '
                            f'no vocabulary.')
        found = tf.cast(self._lookup(tokens), tf.int32)
        return tf.ensure_shape(found, tokens.shape)

    def names(self, numbers: TensorLike) -> np.ndarray:
        """The tokens of numbers of any shape, as a NumPy array of strings.

        Raises:
          ValueError: If a number is not in [0, len(vocabulary)).
        """
        numbers = np.asarray(numbers)
        for wrong in numbers[(numbers < 0) | (numbers >= len(self))].ravel()[:1]:
            raise ValueError(f'numbers of tokens must be in [0, {len(self)}), got {wrong}.')
        return self.tokens[numbers]


def _no_string(token):
    raise TypeError(f'tokens must be strings, got {token!r}.')
