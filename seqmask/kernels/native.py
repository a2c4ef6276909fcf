"""The recurrence in C++: its library, its two operations, and the gradient between them."""

from __future__ import annotations

import ctypes
import functools
import types
import warnings

import tensorflow as tf

from seqmask.kernels import build


class Unusable(RuntimeError):
    """Why the C++ kernels cannot run here."""


def load() -> types.ModuleType:
    """The compiled operations, built first if necessary. Raises `Unusable` with the reason."""
    operations, _, reason = _loaded()
    if operations is None:
        raise Unusable(f"implementation='kernel' cannot run here; choose 'graph'. {reason}")
    return operations


def usable() -> bool:
    """Whether implementation='auto' takes the kernels; warns once if they cannot be loaded."""
    # With a GPU, TensorFlow's own operations run on it; these would run on the CPU.
    return wanted() and not tf.config.list_logical_devices('GPU') and _works()


def wanted() -> bool:
    """False if the environment switches the kernels off."""
    try:
        return not build.disabled()
    except build.BuildError as error:
        raise ValueError(str(error)) from None


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled library, for what is called without TensorFlow. `Unusable` says why not."""
    load()
    library = ctypes.CDLL(_loaded()[1])
    library.seqmask_targets.restype = ctypes.c_char_p
    library.seqmask_use_target.restype = ctypes.c_bool
    library.seqmask_use_target.argtypes = [ctypes.c_char_p]
    return library


def targets() -> list[str]:
    """The instruction sets that this processor can run: the one in use, then the others."""
    *names, in_use = library().seqmask_targets().decode().split()
    return sorted(names, key=lambda name: name != in_use)


def use_target(name: str) -> None:
    """Switches to another instruction set, for tests. Never call it while a recurrence runs."""
    if not library().seqmask_use_target(name.encode()):
        raise ValueError(f'this processor runs {", ".join(targets())}, not {name}.')


def recur(cell, inputs, lengths, weights, initial_state, m=None, reverse=False):
    """Runs a cell over the real steps of a padded batch.

    Args:
      cell: `Cell`.
      inputs: float32 [B, T, D].
      lengths: int32 [B].
      weights: kernel, recurrent_kernel and bias, laid out as in Keras.
      initial_state: Tuple of float32 [B, H].
      m: Dropout mask of the state [B, H], without a gradient; or None.
      reverse: Whether each sequence runs from its own last step to its first.

    Returns:
      (outputs [B, T, H], final state: tuple of [B, H]).
    """
    # TensorFlow shows this name in its error when it cannot compile or export the operation.
    results = load().seqmask_recurrence(
        inputs, lengths, *weights, initial_state, [] if m is None else [m], cell=cell.name,
        reverse=reverse, name='set_implementation_graph_to_compile_or_export')
    return results.outputs, tuple(results.final_state)


def step(cell, x_t, weights, state):
    """One step of a cell, as one operation.

    Args:
      cell: `Cell`.
      x_t: float32 [B, D].
      weights: As of `recur`.
      state: Tuple of float32 [B, H].

    Returns:
      The new state, a tuple of [B, H]; its first part is the output.
    """
    results = load().seqmask_step(x_t, *weights, state, cell=cell.name,
                                  name='set_implementation_graph_to_compile_or_export')
    return tuple(results.new_state)


@functools.cache
def _loaded():
    """(operations, path, reason why there are none); cached, so tried once per process."""
    try:
        if build.disabled():
            return None, None, 'SEQMASK_KERNELS=off'
        path = build.library()
        try:
            return _operations(path), path, None
        except (tf.errors.OpError, OSError) as error:
            # The file is damaged, for instance by a crash of the machine.
            path = _rebuilt(error)
            return _operations(path), path, None
    except (build.BuildError, tf.errors.OpError, OSError) as error:
        return None, None, str(error)


def _operations(path):
    build.require_whole(path)
    return tf.load_op_library(path)


def _rebuilt(damage):
    try:
        return build.build(force=True)
    except build.BuildError as error:
        raise build.BuildError(f'{damage}, and it cannot be rebuilt: {error}') from None


@functools.cache
def _works():
    operations, _, reason = _loaded()
    if operations is None:
        warnings.warn("seqmask's CPU kernels cannot be used, so recurrent layers use "
                      f"implementation='graph', which is slower: {reason}\n"
                      'Set SEQMASK_KERNELS=off to choose that without this warning.', stacklevel=2)
    return operations is not None


@tf.RegisterGradient('Seqmask>Recurrence')
def _gradient(op, d_outputs, *d_rest):
    num_states, num_dropout = op.get_attr('num_states'), op.get_attr('num_dropout')
    flat = list(op.inputs)
    arguments, states, dropout = flat[:5], flat[5:5 + num_states], flat[5 + num_states:]
    outputs, *final_state, gates, extra = op.outputs
    d_inputs, *d_weights, d_states = load().seqmask_recurrence_grad(
        *arguments, states, dropout, outputs, gates, extra, d_outputs, d_rest[:num_states],
        cell=op.get_attr('cell'), reverse=op.get_attr('reverse'))
    return [d_inputs, None, *d_weights, *d_states, *[None] * num_dropout]


@tf.RegisterGradient('Seqmask>Step')
def _step_gradient(op, *d_results):
    num_states = op.get_attr('num_states')
    flat = list(op.inputs)
    *_, gates, extra = op.outputs
    d_x_t, *d_weights, d_states = load().seqmask_step_grad(
        *flat[:4], flat[4:], gates, extra, d_results[:num_states], cell=op.get_attr('cell'))
    return [d_x_t, *d_weights, *d_states]


@tf.RegisterGradient('Seqmask>StepGrad')
@tf.RegisterGradient('Seqmask>RecurrenceGrad')
def _second_gradient(op, *_):
    """Fails when it is computed, not when it is traced: TensorFlow traces it ahead of need."""
    refused = tf.debugging.Assert(False, [
        'a gradient of a gradient, or a derivative in forward mode (ForwardAccumulator), needs the '
        "recurrent layer's implementation='graph': implementation='kernel' has first derivatives "
        'in reverse mode only.'])
    with tf.control_dependencies([] if refused is None else [refused]):
        return [None if x.dtype == tf.int32 else tf.zeros_like(x) for x in op.inputs]
