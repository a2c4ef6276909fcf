"""A model at one step at a time, NumPy in, NumPy out."""

from __future__ import annotations

import typing
import warnings

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from seqmask import checks, kernels, models
from seqmask.checks import TensorLike


class StepRunner:
    """Runs a layer or a model step by step, for streams, without what TensorFlow costs a call.

    outputs_t, state_t = model.step(x_t, state_tm1)      within float32's rounding

    The runner holds the state, zeros at first, and a copy of the weights; training that goes on
    changes nothing until `update`. All layers run in one call of the C++ core, on the calling
    thread, while other threads of Python go on: each thread may have a runner of its own, but no
    two share one. NaN in a row stays in that row, and in its state until `reset`.

    What the core does not know (an encoder or a `step` of your own, another dtype than float32),
    and all where it cannot be built, runs on TensorFlow Lite, or else in TensorFlow's graph, with a
    warning; `implementation` says which.

    Args:
      model: Whatever has `step(x_t, state)` and `initial_state(batch)`: `GRU`, `LSTM`, `MGU`,
        `Stacked`, a causal `Conv1D`, a model that `streams()`, or its encoder.
      batch: B, sequences side by side.
      implementation: 'kernel': C++. 'lite': TensorFlow Lite. 'graph': TensorFlow. 'auto': the first
        of these that can run the model here.

    Attributes:
      batch: B.
      implementation: 'kernel', 'lite' or 'graph'; what runs.

    Raises:
      TypeError: If model has no `step`.
      ValueError: If it sees steps to come, if a size or a choice does not fit, or if the
        implementation does not know it.
      seqmask.kernels.native.Unusable: If implementation is 'kernel' and it cannot run here.

    >>> encoder = seqmask.models.Encoder(input_size=2, hidden_size=4, seed=0)
    >>> model = seqmask.models.SequenceLabeller(encoder, num_classes=3, seed=0)
    >>> runner = seqmask.StepRunner(model)
    >>> for x_t in np.ones([5, 1, 2], np.float32):
    ...     logits = runner.step(x_t)
    >>> whole = model(tf.ones([1, 5, 2]), tf.constant([5]))
    >>> logits.shape, np.allclose(logits, whole[:, -1], atol=1e-6)
    ((1, 3), True)
    """

    def __init__(self, model: typing.Any, batch: int = 1, *, implementation: str = 'auto'):
        if not (hasattr(model, 'step') and hasattr(model, 'initial_state')):
            raise TypeError(f'StepRunner takes a layer or a model with step and initial_state, got '
                            f'{type(model).__name__}: it does not run step by step.')
        self.batch = checks.size('batch', batch)
        self._model = model
        self._chosen = checks.choice('implementation', implementation,
                                     ('auto', *MAKERS))
        self._dtype = _dtype_of_inputs(model)
        self._start()

    def step(self, x_t: TensorLike) -> np.ndarray:
        """Takes a step of every sequence.

        Args:
          x_t: float [B, D], NumPy, of the model's dtype; or tokens [B], int32.

        Returns:
          Outputs, NumPy float [B, K], or as the model's `step` gives them; the caller's to keep.

        Raises:
          ValueError: If the shape does not fit.
          TypeError: If the dtype does not fit.
        """
        if not (type(x_t) is np.ndarray and x_t.shape == self._shape
                and x_t.dtype == self._dtype):
            x_t = self._checked(x_t)
        network = self._network
        network.inputs[...] = x_t
        network.step()
        return network.outputs.copy()

    @property
    def state(self) -> typing.Any:
        """The state after the last step, as the model's `initial_state` lays it out, in NumPy: a
        copy, which may be kept, and set again, here or in another runner of the model."""
        return self._structured([part.reshape(like.shape).copy() for part, like in
                                 zip(self._network.states, self._initial)])

    @state.setter
    def state(self, state: typing.Any) -> None:
        parts = [np.asarray(part) for part in tf.nest.flatten(state)]
        if len(parts) != len(self._initial):
            raise ValueError(f'the state of {type(self._model).__name__} has {len(self._initial)} '
                             f'arrays, got {len(parts)}.')
        for part, like in zip(parts, self._initial):
            if part.shape != like.shape:
                raise ValueError(f'a state must have shape {like.shape}, got {part.shape}.')
            if part.dtype != like.dtype:
                raise TypeError(f'a state must be {like.dtype.name}, got {part.dtype.name}.')
        for held, part in zip(self._network.states, parts):
            held[...] = part.reshape(held.shape)

    def reset(self, rows: TensorLike | None = None) -> None:
        """Puts the state back to the model's initial one, for sequences that begin.

        Args:
          rows: bool [B], True = reset; None for all.

        Raises:
          TypeError: If rows are not bool.
          ValueError: If there is not one for each sequence.
        """
        if rows is not None:
            rows = np.asarray(rows)
            if rows.dtype != bool:
                raise TypeError(f'rows must be bool [B], True = reset, got {rows.dtype.name}.')
            if rows.shape != (self.batch,):
                raise ValueError(f'rows must have shape {(self.batch,)}, one for each sequence, '
                                 f'got {rows.shape}.')
        chosen = slice(None) if rows is None else rows
        for held, part in zip(self._network.states, self._initial):
            held[chosen] = part.reshape(held.shape)[chosen]

    def update(self) -> None:
        """Copies the model's weights again, after they have changed. The state stays."""
        state = self.state
        self._start()
        self.state = state

    def _start(self):
        initial = self._model.initial_state(self.batch)     # refuses what sees steps to come
        self._structured = lambda parts: tf.nest.pack_sequence_as(initial, parts)
        self._initial = [tf.convert_to_tensor(part).numpy() for part in tf.nest.flatten(initial)]
        self.implementation, self._network = self._built(initial)
        self._shape = self._network.inputs.shape
        self.reset()

    def _built(self, initial):
        chosen = self._chosen
        if chosen != 'auto':
            return chosen, MAKERS[chosen](self._model, self.batch, self._dtype, initial)
        wanted = kernels.native.wanted()
        reasons = []
        for name in list(MAKERS)[0 if wanted else 1:]:
            try:
                network = MAKERS[name](self._model, self.batch, self._dtype, initial)
                break
            except (kernels.native.Unusable, ValueError) as error:
                if name == 'graph':
                    raise
                reasons.append(str(error))
        if wanted and reasons:
            warnings.warn(f'StepRunner runs on implementation={name!r}, which is slower: '
                          f'{reasons[0]}', stacklevel=4)
        return name, network

    def _checked(self, x_t):
        if self._dtype.kind == 'i':
            value = checks.tensor('x_t', x_t, 'B')
            if value.dtype != self._dtype:
                raise TypeError(f'x_t must be tokens, int32 [B], got {value.dtype.name}.')
        else:
            value = checks.floating('x_t', x_t, 'B, D', dtype=tf.as_dtype(self._dtype))
            checks.axis_size('x_t', value, -1, self._shape[1], 'input_size')
        if not hasattr(value, 'numpy'):
            raise TypeError('a StepRunner takes NumPy, outside of a tf.function: inside, call '
                            "the model's own step.")
        if value.shape[0] != self.batch:
            raise ValueError(f'x_t must have one row for each of batch = {self.batch} sequences, '
                             f'got shape {checks.shown(value.shape)}.')
        return value.numpy()


class _Traced:
    """A model's step in TensorFlow, the weights copied into it; attributes as of `Network`."""

    def __init__(self, model, batch, dtype, initial):
        shape = [batch] if dtype.kind == 'i' else [batch, getattr(model, 'input_size', None)]
        if None in shape:
            raise ValueError(f'StepRunner takes {type(model).__name__} only if it has input_size, '
                             'D, as an attribute.')
        parts = [tf.convert_to_tensor(part) for part in tf.nest.flatten(initial)]
        self.inputs = np.zeros(shape, dtype)
        self.states = [part.numpy().copy() for part in parts]

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.as_dtype(dtype), 'x_t'), *(
            tf.TensorSpec(part.shape, part.dtype, f'state_{k}') for k, part in enumerate(parts))])
        def step(x_t, *parts):
            outputs, state = model.step(x_t, tf.nest.pack_sequence_as(initial, parts))
            return {'outputs': outputs, **{
                f'state_{k}': part for k, part in enumerate(tf.nest.flatten(state))}}

        # As for a compiler: nothing of this process's own.
        with kernels.fixed_shapes():
            self._load(step.get_concrete_function(), model)
        self.outputs = None

    def step(self):
        results = self._run(x_t=self.inputs, **{
            f'state_{k}': part for k, part in enumerate(self.states)})
        self.outputs = results['outputs']
        for k, part in enumerate(self.states):
            part[...] = results[f'state_{k}']


class _Graph(_Traced):
    """The step in TensorFlow's graph."""

    def _load(self, traced, model):
        names = sorted(traced.structured_outputs)       # as TensorFlow lays out a dict
        frozen = convert_variables_to_constants_v2(traced)

        def run(**inputs):
            results = frozen(*(tf.constant(value) for value in inputs.values()))
            return {name: result.numpy() for name, result in zip(names, results)}

        self._run = run


class _Lite(_Traced):
    """The step in TensorFlow Lite."""

    def _load(self, traced, model):
        unknown = (f'TensorFlow Lite does not know the step of {type(model).__name__}, or has it '
                   'in float32 only.')
        if {array.dtype for array in (self.inputs, *self.states)} != {np.dtype('float32')}:
            raise ValueError(unknown)
        try:
            content = tf.lite.TFLiteConverter.from_concrete_functions([traced], model).convert()
        except Exception as error:      # of its own kinds, for whatever it does not know
            raise ValueError(unknown) from error
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')     # that it moves to a package of its own
            self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
        self._run = self._interpreter.get_signature_runner()


def _on_kernel(model, batch, dtype, initial):
    stages = kernels.stages_of(model)
    if stages is None:
        raise ValueError(f'the C++ core does not know the step of {type(model).__name__}.')
    return kernels.Network(stages, batch)


def _dtype_of_inputs(model):
    """float32, too, where a model rounds its inputs to half precision; int32 for tokens."""
    dtype = tf.as_dtype(getattr(model, 'dtype', tf.float32))
    if not isinstance(model, (models.SequenceModel, models.SequenceEncoder)):
        return np.dtype(dtype.as_numpy_dtype)
    if len(model.fields) > 1:
        raise ValueError(f'StepRunner takes one array per step; {type(model).__name__} reads '
                         f'{", ".join(map(repr, model.fields))}. Call its own step.')
    (of_inputs, _), = model.fields.values()
    if of_inputs == tf.string:
        raise ValueError(f'StepRunner takes numbers, and {type(model).__name__} reads strings: its '
                         f'vocabulary is a table of TensorFlow. Call its own step.')
    if not of_inputs.is_floating:
        return np.dtype(of_inputs.as_numpy_dtype)
    return np.dtype('float32' if dtype.size < 4 else dtype.as_numpy_dtype)


MAKERS = {'kernel': _on_kernel, 'lite': _Lite, 'graph': _Graph}
