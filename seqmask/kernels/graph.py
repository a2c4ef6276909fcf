"""A cell over time, in TensorFlow operations.

One loop serves two layouts of the steps. `Packing` visits real steps only. `Padding` visits all
steps and selects, for XLA, which needs fixed shapes.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import forwardprop_util
from tensorflow.python.saved_model import save_context

_FIXED = contextvars.ContextVar('fixed_shapes', default=False)


class Packing:
    """Values [N, ...]: step t holds the sequences still alive, longest first."""

    def __init__(self, batch_sizes):
        self.count = tf.size(batch_sizes)
        self._sizes = batch_sizes
        self._starts = tf.cumsum(tf.concat([[0], batch_sizes], axis=0))

    def rows(self, t, values):
        return values[self._starts[t]:self._starts[t + 1]]

    def array(self, like):
        array = tf.TensorArray(like.dtype, self.count + 1, element_shape=[None, *like.shape[1:]],
                               infer_shape=False, clear_after_read=False)
        # An element without rows, so that there is something to concatenate if no step is real.
        return array.write(self.count, like[:0])

    def gather(self, array):
        # TensorFlow shows this name in its error when it vectorizes a function traced before.
        return array.concat(name='set_implementation_kernel_to_vectorize')

    def enter(self, t, state):
        return state[:self._sizes[t]]

    def leave(self, t, new, state):
        # All rows, alive or not: TensorFlow's graph optimizer assumes that a loop variable keeps
        # its number of rows, and otherwise gets second derivatives wrong.
        return tf.ensure_shape(tf.concat([new, state[self._sizes[t]:]], axis=0), state.shape)

    def padded(self, batch):
        """(`Padding` of the same rows in the same order, a function to it, a function back)."""
        # One extra step and row, because TensorFlow cannot stack an empty array.
        sizes = tf.concat([self._sizes, [0]], axis=0)
        alive = tf.sequence_mask(sizes, batch)                          # [L + 1, B]
        places = tf.where(tf.reshape(alive, [-1]))[:, 0]                # [N]
        number = tf.cumsum(tf.cast(tf.reshape(alive, [-1]), tf.int32), exclusive=True)
        source = tf.where(alive, tf.reshape(number, tf.shape(alive)), 0)

        def to_padding(values):
            return tf.gather(tf.pad(values, [[0, 1], [0, 0]]), source)

        def from_padding(values):
            return tf.gather(_merge_steps(values), places)

        return Padding(alive), to_padding, from_padding


class Padding:
    """Values [T, B, ...]: every step holds every sequence; one that has ended keeps its state."""

    def __init__(self, alive):
        self.count = tf.shape(alive)[0] if alive.shape[0] is None else alive.shape[0]
        self._alive = alive[:, :, None]     # [T, B, 1]
        self._batch = alive.shape[1]

    def rows(self, t, values):
        return values[t]

    def array(self, like):
        return tf.TensorArray(like.dtype, self.count, clear_after_read=False,
                              element_shape=[self._batch, *like.shape[1:]])

    def gather(self, array):
        return array.stack()

    def enter(self, t, state):
        return tf.where(self._alive[t], state, tf.zeros([], state.dtype))

    def leave(self, t, new, state):
        return tf.where(self._alive[t], new, state)


def recur(cell, steps, x, U, initial_state, m=None):
    """Runs a cell over time. The gradient to each weight is one product over all real steps.

    Args:
      cell: `Cell`.
      steps: `Packing` or `Padding`.
      x: The input projection of each gate, list of [N, H] (or [T, B, H]).
      U: The recurrent weights, as the cell takes them.
      initial_state: Tuple of [B, H], in the row order of `steps`.
      m: Dropout mask of the state [B, H], without a gradient; or None.

    Returns:
      (outputs [N, H] or [T, B, H], final state: tuple of [B, H]).
    """
    num_x, num_U = len(x), len(U)

    @tf.custom_gradient
    def run(*flat):
        x, U, initial = flat[:num_x], flat[num_x:num_x + num_U], flat[num_x + num_U:]
        outputs, final, saved = _forward(cell, steps, x, U, initial, m)

        def gradient(d_outputs, *d_final):
            d_gates, d_initial = _backward(cell, steps, saved, U, d_outputs, d_final, m)
            d_U = cell.weight_gradients(lambda k: _merge_steps(saved[k]),
                                        [_merge_steps(d) for d in d_gates])
            return (*d_gates[:num_x], *d_U, *d_initial)

        return (outputs, *final), gradient

    outputs, *final = run(*x, *U, *initial_state)
    return outputs, tuple(final)


def _forward(cell, steps, x, U, initial, m):
    def body(t, state, outputs, saved):
        x_t = [steps.rows(t, x_k) for x_k in x]
        m_t = None if m is None else steps.enter(t, m)
        new, kept = cell.forward(x_t, tuple(steps.enter(t, s) for s in state), U, m_t)
        state = tuple(steps.leave(t, n, s) for n, s in zip(new, state))
        saved = tuple(array.write(t, k) for array, k in zip(saved, kept))
        return t + 1, state, outputs.write(t, new[0]), saved

    like = initial[0]
    _, final, outputs, saved = tf.while_loop(
        lambda t, *_: t < steps.count, body,
        (tf.constant(0), tuple(initial), steps.array(like),
         tuple(steps.array(like) for _ in range(cell.num_saved))),
        maximum_iterations=steps.count)
    # As tensors: neither XLA nor a SavedModel passes TensorArrays from forward to backward.
    return steps.gather(outputs), final, [steps.gather(array) for array in saved]


def _backward(cell, steps, saved, U, d_outputs, d_final, m):
    if isinstance(steps, Packing) and inside_pfor():
        # `tape.jacobian` vectorizes this loop, which has to run over all steps for that.
        padding, to_padding, from_padding = steps.padded(tf.shape(d_final[0])[0])
        d_gates, d_initial = _backward(cell, padding, [to_padding(k) for k in saved], U,
                                       to_padding(d_outputs), d_final, m)
        return [from_padding(d) for d in d_gates], d_initial

    def body(t, d_state, d_gates):
        d_h, *d_rest = (steps.enter(t, d) for d in d_state)
        d_h += steps.rows(t, d_outputs)
        m_t = None if m is None else steps.enter(t, m)
        d_gates_t, d_old = cell.backward([steps.rows(t, k) for k in saved], (d_h, *d_rest), U, m_t)
        d_state = tuple(steps.leave(t, o, d) for o, d in zip(d_old, d_state))
        return t - 1, d_state, tuple(a.write(t, d) for a, d in zip(d_gates, d_gates_t))

    _, d_initial, d_gates = tf.while_loop(
        lambda t, *_: t >= 0, body,
        (tf.convert_to_tensor(steps.count - 1), tuple(d_final),
         tuple(steps.array(d_final[0]) for _ in range(cell.num_d_gates))),
        maximum_iterations=steps.count)
    return [steps.gather(d) for d in d_gates], d_initial


def _merge_steps(values):
    return tf.reshape(values, [-1, values.shape[-1]])


@contextlib.contextmanager
def fixed_shapes() -> Iterator[None]:
    """A context in which graphs are traced for a converter that needs fixed shapes, as XLA does."""
    token = _FIXED.set(True)
    try:
        yield
    finally:
        _FIXED.reset(token)


def inside_xla() -> bool:
    """Whether the graph being traced needs fixed shapes: `jit_compile=True`, `fixed_shapes()`."""
    if _FIXED.get():
        return True
    for graph in _graphs():
        context = graph._get_control_flow_context()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
    return False


def inside_pfor() -> bool:
    """Whether the graph being traced is vectorized: `tf.vectorized_map`, `tape.jacobian`.

    TensorFlow traces in a scope named `loop_body` for that. It can vectorize a loop, but not the
    concatenation of step results that differ in size.
    """
    return any(scope.startswith('loop_body') for graph in _graphs()
               for scope in graph.get_name_scope().split('/'))


def inside_forward_mode(values) -> bool:
    """Whether a `tf.autodiff.ForwardAccumulator` watches any of the tensors and variables."""
    watched = forwardprop_util.pack_tangents(
        [getattr(value, 'handle', value) for value in values]).tangents
    if watched and not tf.executing_eagerly():
        # Forward mode cannot differentiate a loop that collects step results; Keras's fails, too.
        raise ValueError(
            'TensorFlow has no forward mode for a recurrent layer where the ForwardAccumulator '
            "stands inside a tf.function: put it around the function (implementation='graph'), or "
            'run eagerly.')
    return bool(watched)


def _graphs():
    """The graph being traced, then the graphs around it."""
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        yield graph
        graph = getattr(graph, 'outer_graph', None)


def inside_export() -> bool:
    """Whether the graph being traced is for `tf.saved_model.save`."""
    return save_context.in_save_context()
