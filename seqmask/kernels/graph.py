"""A cell over time, in TensorFlow operations.

The loop is written once; where the rows of a step stand is a question of its own. `Packing` visits
real steps only. `Padding` visits all and selects: XLA wants every shape fixed and takes no other.
"""

import tensorflow as tf


class Packing:
    """Values [N, ...]: step t holds the rows that are still alive, longest sequence first."""

    def __init__(self, batch_sizes):
        self.count = tf.size(batch_sizes)
        self._sizes = tf.concat([batch_sizes, [0]], axis=0)
        self._starts = tf.cumsum(self._sizes, exclusive=True)

    def rows(self, t, values):
        return values[self._starts[t]:self._starts[t + 1]]

    def array(self, like):
        array = tf.TensorArray(like.dtype, self.count + 1, element_shape=[None, *like.shape[1:]],
                               infer_shape=False, clear_after_read=False)
        # No rows, but something to concatenate where no step is real.
        return array.write(self.count, like[:0])

    def gather(self, array):
        return array.concat()

    def keep(self, array):
        return array

    def kept(self, t, kept):
        return kept.read(t)

    def gather_kept(self, kept):
        return kept.concat()

    def loop_shape(self, state):
        return tf.TensorShape([None, *state.shape[1:]])

    # Forward: the state shrinks with the rows alive; what falls off is final.
    def enter(self, t, state):
        return state[:self._sizes[t]]

    def leave(self, t, new, old):
        return new

    def start_ended(self, state):
        return tuple(self.array(s) for s in state)

    def write_ended(self, t, ended, state):
        # Those that end last stand first.
        return tuple(array.write(self.count - 1 - t, s[self._sizes[t + 1]:])
                     for array, s in zip(ended, state))

    def final(self, ended, state, initial):
        # A sequence of length 0 keeps its initial state.
        return [tf.concat([e.concat(), i[self._sizes[0]:]], axis=0)
                for e, i in zip(ended, initial)]

    # Backward: the gradient's rows grow, each from its final state's gradient.
    def start_backward(self, d_final):
        return d_final[:0]

    def enter_backward(self, t, d_state, d_final):
        return tf.concat([d_state, d_final[self._sizes[t + 1]:self._sizes[t]]], axis=0)

    def leave_backward(self, t, d_old, d_state):
        return d_old

    def end_backward(self, d_state, d_final):
        return tf.concat([d_state, d_final[self._sizes[0]:]], axis=0)


class Padding:
    """Values [T, B, ...]: every step holds every row; those that have ended keep their state."""

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

    def keep(self, array):
        # As a tensor: between forward and backward, XLA hands over no arrays.
        return array.stack()

    def kept(self, t, kept):
        return kept[t]

    def gather_kept(self, kept):
        return kept

    def loop_shape(self, state):
        return state.shape

    def enter(self, t, state):
        return state

    def leave(self, t, new, old):
        return tf.where(self._alive[t], new, old)

    def start_ended(self, state):
        return ()

    def write_ended(self, t, ended, state):
        return ()

    def final(self, ended, state, initial):
        return state

    def start_backward(self, d_final):
        return d_final

    def enter_backward(self, t, d_state, d_final):
        return tf.where(self._alive[t], d_state, tf.zeros([], d_state.dtype))

    def leave_backward(self, t, d_old, d_state):
        return tf.where(self._alive[t], d_old, d_state)

    def end_backward(self, d_state, d_final):
        return d_state


def recur(cell, steps, x, U, initial_state, m=None):
    """Runs a cell over time; the gradient to each weight is one product over all real steps.

    Args:
      cell: `Cell`.
      steps: `Packing` or `Padding`.
      x: The inputs' share of each gate, list of [N, H] (or [T, B, H]).
      U: The recurrent weights, as the cell takes them.
      initial_state: Tuple of [B, H], in the order of the rows of `steps`.
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
            flat_rows = [_rows_of_all_steps(d) for d in d_gates]
            d_U = cell.weight_gradients(
                lambda k: _rows_of_all_steps(steps.gather_kept(saved[k])), flat_rows)
            return (*d_gates[:num_x], *d_U, *d_initial)

        return (outputs, *final), gradient

    outputs, *final = run(*x, *U, *initial_state)
    return outputs, tuple(final)


def _forward(cell, steps, x, U, initial, m):
    def body(t, state, outputs, ended, saved):
        x_t = [steps.rows(t, x_k) for x_k in x]
        old = tuple(steps.enter(t, s) for s in state)
        m_t = None if m is None else steps.enter(t, m)
        new, keep = cell.forward(x_t, old, U, m_t)
        state = tuple(steps.leave(t, n, o) for n, o in zip(new, old))
        outputs = outputs.write(t, new[0])
        ended = steps.write_ended(t, ended, state)
        saved = tuple(array.write(t, k) for array, k in zip(saved, keep))
        return t + 1, state, outputs, ended, saved

    like = initial[0]
    start = (tf.constant(0), tuple(initial), steps.array(like),
             steps.start_ended(initial),
             tuple(steps.array(like) for _ in range(cell.num_saved)))
    _, state, outputs, ended, saved = _loop(steps, body, start, lambda t: t < steps.count)
    saved = [steps.keep(array) for array in saved]
    return steps.gather(outputs), steps.final(ended, state, initial), saved


def _backward(cell, steps, saved, U, d_outputs, d_final, m):
    def body(t, d_state, d_gates):
        d_h, *d_rest = (steps.enter_backward(t, d, f) for d, f in zip(d_state, d_final))
        d_h += steps.rows(t, d_outputs)
        m_t = None if m is None else steps.enter(t, m)
        d_gates_t, d_old = cell.backward([steps.kept(t, k) for k in saved], (d_h, *d_rest), U, m_t)
        d_state = tuple(steps.leave_backward(t, o, d) for o, d in zip(d_old, d_state))
        return t - 1, d_state, tuple(a.write(t, d) for a, d in zip(d_gates, d_gates_t))

    start = (tf.convert_to_tensor(steps.count - 1), tuple(steps.start_backward(f) for f in d_final),
             tuple(steps.array(d_final[0]) for _ in range(cell.num_d_gates)))
    _, d_state, d_gates = _loop(steps, body, start, lambda t: t >= 0)
    d_initial = [steps.end_backward(d, f) for d, f in zip(d_state, d_final)]
    return [steps.gather(d) for d in d_gates], d_initial


def _loop(steps, body, start, alive):
    def shape(value):
        if isinstance(value, tf.TensorArray):
            return tf.TensorShape(None)
        return steps.loop_shape(value) if value.shape.rank else value.shape

    return tf.while_loop(lambda t, *_: alive(t), body, start,
                         shape_invariants=tf.nest.map_structure(shape, start),
                         maximum_iterations=steps.count)


def _rows_of_all_steps(values):
    return tf.reshape(values, [-1, values.shape[-1]])


def inside_xla():
    """Whether the graph being traced is compiled by `tf.function(jit_compile=True)`."""
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, 'outer_graph', None)
    return False
