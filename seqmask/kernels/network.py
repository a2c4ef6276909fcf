"""A network of stages that runs step by step in C++: NumPy in, NumPy out, without TensorFlow."""

from __future__ import annotations

import ctypes
import functools
import typing
import weakref
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from seqmask.kernels import native

# As StageKind counts them in cpp/network.h.
KINDS = ('standardize', 'dense', 'convolution', 'lstm', 'gru', 'gru_reset_before', 'mgu')
STATES = {'convolution': 1, 'lstm': 2, 'gru': 1, 'gru_reset_before': 1, 'mgu': 1}
# What a step may be made of: who changes one of these has to tell the stages anew.
PARTS = {'step', 'head', 'standardize', '__call__'}


class Stage(typing.NamedTuple):
    """What a step goes through, as the C++ core knows it.

    Attributes:
      kind: One of `KINDS`.
      input_size: D.
      output_size: K; of a cell H.
      weights: float32 variables, laid out as in the layer; None for a bias that there is not.
      kernel_size, dilation: Of a convolution, which is causal.
      relu, residual: Of a convolution: whether relu follows, and then the inputs are added.
      squeeze: Of the last stage, if K = 1: whether outputs are [B] instead of [B, 1].
    """
    kind: str
    input_size: int
    output_size: int
    weights: tuple[tf.Variable | tf.Tensor | None, ...]
    kernel_size: int = 1
    dilation: int = 1
    relu: bool = False
    residual: bool = False
    squeeze: bool = False


def stages_of(*layers: typing.Any) -> list[Stage] | None:
    """The stages of layers, one after the other; None if the C++ core does not know one of them.

    A layer tells them by its `stages()`. Where a class below the one that has this method changes
    what a step is made of, they are not believed.
    """
    found: list[Stage] = []
    for layer in layers:
        for cls in type(layer).__mro__:
            if 'stages' in vars(cls):
                told = layer.stages()
                break
            if vars(cls).keys() & PARTS:
                return None
        else:
            return None
        if told is None:
            return None
        found += told
    return found


class Network:
    """Stages one after the other, for `batch` sequences. The weights are copied.

    Attributes:
      inputs: float32 [B, D], to be written before a step.
      outputs: float32 [B, K], [B] if the last stage says so; what the last step left.
      states: List of float32 [B, ...]: the state, part by part, to be read and written between
        steps.
      step: Function without arguments: one step. It lets other threads of Python run.

    These arrays stand in the network's own memory: they go when it goes.
    """

    step: Callable[[], None]

    def __init__(self, stages: list[Stage], batch: int):
        library = _library()
        weights = [[None if w is None else np.ascontiguousarray(w, np.float32)
                    for w in stage.weights] for stage in stages]      # held until they are copied
        made = (_Stage * len(stages))(*(
            _Stage(KINDS.index(stage.kind), stage.input_size, stage.output_size,
                   _Pointers(*(None if w is None else w.ctypes.data for w in arrays)),
                   stage.kernel_size, stage.dilation, stage.relu, stage.residual)
            for stage, arrays in zip(stages, weights)))
        network = library.seqmask_network_new(batch, len(stages), made)
        if not network:
            raise MemoryError('no memory for a network that runs step by step.')
        self._network = ctypes.c_void_p(network)
        # Not at the end of the process, when threads may still be in a step.
        weakref.finalize(self, library.seqmask_network_delete, self._network).atexit = False
        self.step = functools.partial(library.seqmask_network_step, self._network)
        self.inputs = self._rows(batch, library.seqmask_network_inputs)
        self.outputs = self._rows(batch, library.seqmask_network_outputs)
        if stages[-1].squeeze:
            self.outputs = self.outputs[:, 0]
        self.states = [self._rows(batch, library.seqmask_network_state, k, part)
                       for k, stage in enumerate(stages)
                       for part in range(STATES.get(stage.kind, 0))]

    def _rows(self, batch, function, *place):
        rows = _Rows()
        function(self._network, *place, ctypes.byref(rows))
        whole = np.ctypeslib.as_array(rows.at, (batch, rows.stride))
        return whole[:, :rows.size]


class _Stage(ctypes.Structure):
    pass


class _Rows(ctypes.Structure):
    _fields_ = [('at', ctypes.POINTER(ctypes.c_float)), ('stride', ctypes.c_int64),
                ('size', ctypes.c_int64)]


_Pointers = ctypes.c_void_p * 3
_Stage._fields_ = [('kind', ctypes.c_int64), ('input_size', ctypes.c_int64),
                   ('output_size', ctypes.c_int64), ('weights', _Pointers),
                   ('kernel_size', ctypes.c_int64), ('dilation', ctypes.c_int64),
                   ('relu', ctypes.c_int64), ('residual', ctypes.c_int64)]


@functools.cache
def _library():
    library = native.library()
    network, rows = ctypes.c_void_p, ctypes.POINTER(_Rows)
    for name, result, arguments in (
            ('new', network, [ctypes.c_int64, ctypes.c_int64, ctypes.POINTER(_Stage)]),
            ('delete', None, [network]), ('step', None, [network]),
            ('inputs', None, [network, rows]), ('outputs', None, [network, rows]),
            ('state', None, [network, ctypes.c_int64, ctypes.c_int64, rows])):
        function = getattr(library, f'seqmask_network_{name}')
        function.restype, function.argtypes = result, arguments
    return library
