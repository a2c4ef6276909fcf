"""A description of a model that JSON can hold and that can be built again."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import data, models, noise

STANDARDIZED = ('encoder', 'branch')    # they read the inputs; a decoder reads codes


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """A model's class, its arguments and its encoders.

    Attributes:
      model: Name of a class in `seqmask.models`.
      options: JSON-serializable dict of the class's arguments, without its encoders.
      encoders: dict of argument name -> (name of a class in `seqmask.models`, dict of its
        arguments without `standardizer` and `seed`).
      seed: int from which the seeds of the model and of each encoder are derived.
      embedding: None; or, for tokens, the arguments of `models.TokenEmbedding` without `seed`:
        'tokens' is the list of the vocabulary's tokens, or their number, 'characters' None or a
        dict of the arguments of `models.CharacterEmbedding`, 'tokens' instead of the vocabulary.
    """

    model: str
    options: dict[str, typing.Any]
    encoders: dict[str, tuple[str, dict[str, typing.Any]]]
    seed: int
    embedding: dict[str, typing.Any] | None = None

    @property
    def model_class(self) -> type[tf.Module]:
        return getattr(models, self.model)

    @property
    def input_size(self) -> int | None:
        """D of the model's inputs; None for tokens."""
        return None if self.embedding else self.encoders['encoder'][1]['input_size']

    def build(self, standardizer: Callable[..., tf.Tensor] | None = None) -> tf.Module:
        """Builds the model.

        Args:
          standardizer: Applied to the inputs by each encoder that reads them.

        Raises:
          AttributeError, TypeError, ValueError: If there is no such model.
        """
        model_seed, *seeds = noise.seeds(self.seed, 2 + len(self.encoders))
        first = {} if standardizer is None else {'standardizer': standardizer}
        if self.embedding is not None:
            first['embedding'] = build_embedding(self.embedding, seeds[-1])
        encoders = {}
        for (name, (kind, arguments)), seed in zip(self.encoders.items(), seeds):
            if name in STANDARDIZED:
                arguments = {**arguments, **first}
            encoders[name] = getattr(models, kind)(**arguments, seed=seed)
        return self.model_class(**encoders, **self.options, seed=model_seed)


def build_embedding(described: dict[str, typing.Any], seed: int) -> models.TokenEmbedding:
    """The `models.TokenEmbedding` that `Blueprint.embedding` describes."""
    first, second = noise.seeds(seed, 2)
    characters = described.get('characters')
    if characters is not None:
        characters = models.CharacterEmbedding(
            data.Vocabulary(characters['tokens']),
            **{name: value for name, value in characters.items() if name != 'tokens'}, seed=second)
    tokens = described['tokens']
    return models.TokenEmbedding(
        tokens if isinstance(tokens, int) else data.Vocabulary(tokens), characters=characters,
        **{name: value for name, value in described.items()
           if name not in ('tokens', 'characters')}, seed=first)
