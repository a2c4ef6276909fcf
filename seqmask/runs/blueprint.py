"""A description of a model that JSON can hold and that can be built again."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import models, noise

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
        """D of the model's inputs."""
        return self.encoders['encoder'][1]['input_size']

    def build(self, standardizer: Callable[..., tf.Tensor] | None = None) -> tf.Module:
        """Builds the model.

        Args:
          standardizer: Applied to the inputs by each encoder that reads them.

        Raises:
          AttributeError, TypeError, ValueError: If there is no such model.
        """
        model_seed, *seeds = noise.seeds(self.seed, 1 + len(self.encoders))
        encoders = {}
        for (name, (kind, arguments)), seed in zip(self.encoders.items(), seeds):
            if standardizer is not None and name in STANDARDIZED:
                arguments = {**arguments, 'standardizer': standardizer}
            encoders[name] = getattr(models, kind)(**arguments, seed=seed)
        return self.model_class(**encoders, **self.options, seed=model_seed)
