"""Which model a run trains, in words that json keeps, so that it can be built again."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import models, noise

READ_INPUTS = ('encoder', 'branch')     # a decoder reads codes, which nobody standardizes


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """A model's class and what it is made of.

    Attributes:
      model: Name of a class in `seqmask.models`.
      options: dict that json can write: what the class is called with, but encoders.
      encoders: dict of the names of its arguments to (name of a class in `seqmask.models`, dict of
        what that is called with, but `standardizer` and `seed`).
      seed: int, of which the model and each encoder get one of their own.
    """

    model: str
    options: dict[str, typing.Any]
    encoders: dict[str, tuple[str, dict[str, typing.Any]]]
    seed: int

    @property
    def model_class(self) -> type[tf.Module]:
        return getattr(models, self.model)

    @property
    def input_size(self) -> int:
        """D of what the model reads."""
        return self.encoders['encoder'][1]['input_size']

    def build(self, standardizer: Callable[..., tf.Tensor] | None = None) -> tf.Module:
        """Makes the model.

        Args:
          standardizer: What each encoder that reads the inputs calls on them first.

        Raises:
          AttributeError, TypeError, ValueError: If there is no such model.
        """
        own_seed, *seeds = noise.seeds(self.seed, 1 + len(self.encoders))
        parts = {}
        for (name, (kind, arguments)), seed in zip(self.encoders.items(), seeds):
            if standardizer is not None and name in READ_INPUTS:
                arguments = {**arguments, 'standardizer': standardizer}
            parts[name] = getattr(models, kind)(**arguments, seed=seed)
        return self.model_class(**parts, **self.options, seed=own_seed)
