"""Recurrent layers combined: in both directions, or stacked.

Both accept any layer that is called as `layer(inputs, lengths, initial_state, reverse=, training=)`
and returns `(outputs, final_state)`, as `GRU`, `LSTM`, `Bidirectional` and `Stacked` do.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable

import tensorflow as tf

from seqmask import kernels, known
from seqmask.checks import TensorLike


class Bidirectional(tf.Module):
    """Two layers over the same sequences, one forward and one backward in time.

    out[b, t] = [forward(inputs)[b, t], backward(inputs)[b, t]]

    The backward layer starts at each sequence's own last step. The state is the pair of states.

    Args:
      forward: Recurrent layer.
      backward: Recurrent layer; the same one shares weights.

    Raises:
      TypeError: If one of them is not a recurrent layer.

    Source: Schuster, Paliwal. Bidirectional Recurrent Neural Networks. 1997.

    >>> both = seqmask.Bidirectional(seqmask.GRU(2, 3, seed=0), seqmask.GRU(2, 3, seed=1))
    >>> outputs, (forward_state, backward_state) = both(tf.ones([1, 4, 2]), tf.constant([2]))
    >>> outputs.shape, bool(tf.reduce_all(outputs[0, 0, 3:] == backward_state[0]))
    (TensorShape([1, 4, 6]), True)
    """

    def __init__(self, forward: Callable[..., typing.Any], backward: Callable[..., typing.Any],
                 name: str | None = None):
        super().__init__(name=name)
        _require_recurrent('Bidirectional', forward, backward)
        self.forward = forward
        self.backward = backward

    def __call__(self, inputs: TensorLike, lengths: TensorLike, initial_state: typing.Any = None,
                 *, reverse: bool = False,
                 training: bool = False) -> tuple[tf.Tensor, tuple[typing.Any, typing.Any]]:
        """As the call of `GRU`; outputs are float [B, T, 2 H]."""
        forward_state, backward_state = _states('Bidirectional', initial_state, 2)
        forward_outputs, forward_state = self.forward(
            inputs, lengths, forward_state, reverse=reverse, training=training)
        backward_outputs, backward_state = self.backward(
            inputs, lengths, backward_state, reverse=not reverse, training=training)
        outputs = tf.concat([forward_outputs, backward_outputs], axis=-1)
        return known.with_sizes_of(outputs, forward_outputs), (forward_state, backward_state)


class Stacked(tf.Module):
    """A stack of layers: each takes the outputs of the one below.

    The state is the tuple of the layers' states, from the bottom up.

    Args:
      layers: Recurrent layers, from the bottom up.

    Raises:
      ValueError: If there are no layers.
      TypeError: If one of them is not a recurrent layer.

    >>> deep = seqmask.Stacked([seqmask.GRU(2, 3, seed=0), seqmask.GRU(3, 5, seed=1)])
    >>> outputs, states = deep(tf.ones([1, 4, 2]), tf.constant([2]))
    >>> outputs.shape, [state.shape[-1] for state in states]
    (TensorShape([1, 4, 5]), [3, 5])
    """

    def __init__(self, layers: Iterable[Callable[..., typing.Any]], name: str | None = None):
        super().__init__(name=name)
        self.layers = list(layers)
        if not self.layers:
            raise ValueError('layers must hold at least one layer, got none.')
        _require_recurrent('Stacked', *self.layers)

    def __call__(self, inputs: TensorLike, lengths: TensorLike, initial_state: typing.Any = None,
                 *, reverse: bool = False,
                 training: bool = False) -> tuple[tf.Tensor, tuple[typing.Any, ...]]:
        """As the call of `GRU`."""
        states = _states('Stacked', initial_state, len(self.layers))
        outputs, final = inputs, []
        for layer, state in zip(self.layers, states):
            outputs, state = layer(outputs, lengths, state, reverse=reverse, training=training)
            final.append(state)
        return outputs, tuple(final)

    def step(self, x_t: TensorLike,
             state: typing.Any) -> tuple[tf.Tensor, tuple[typing.Any, ...]]:
        """One step through all layers, for streams; each layer must have a `step`."""
        output, new = x_t, []
        for layer, layer_state in zip(self.layers, _states('Stacked', state, len(self.layers))):
            output, layer_state = layer.step(output, layer_state)
            new.append(layer_state)
        return output, tuple(new)

    def initial_state(self, batch: int | tf.Tensor) -> tuple[typing.Any, ...]:
        """The state before the first step of `batch` sequences: zeros."""
        for layer in self.layers:
            if not hasattr(layer, 'initial_state'):
                raise TypeError(f'Stacked runs step by step only if each of its layers does; '
                                f'{type(layer).__name__} does not.')
        return tuple(layer.initial_state(batch) for layer in self.layers)

    def stages(self) -> list[kernels.Stage] | None:
        """What `StepRunner` runs in C++; None if the core does not know one of the layers."""
        return kernels.stages_of(*self.layers)

    @property
    def input_size(self) -> int | None:
        """D; None if the first layer does not tell it."""
        return getattr(self.layers[0], 'input_size', None)


def _require_recurrent(name, *layers):
    for layer in layers:
        accepted = inspect.signature(layer).parameters if callable(layer) else {}
        if 'reverse' not in accepted and not any(p.kind == p.VAR_KEYWORD
                                                 for p in accepted.values()):
            raise TypeError(f'{name} takes recurrent layers, called as (inputs, lengths, '
                            f'initial_state, reverse=, training=), got {type(layer).__name__}. Put '
                            f'other layers between recurrent ones with Sequential; GRU and LSTM '
                            f'have dropout= of their own.')


def _states(name, state, count):
    if state is None:
        return (None,) * count
    if not isinstance(state, (tuple, list)) or len(state) != count:
        raise ValueError(f'the state of {name} must be a tuple of {count}, one for each layer.')
    return state
