"""The one contract, run over every operation in `contracts.py`.

Every operation equals running each sequence alone, without padding, and padding with zeros; so do
its gradients.
"""

import functools
import importlib
import inspect

import numpy as np
import pytest
import tensorflow as tf

import contracts
import seqmask

LENGTHS = [3, 0, 5, 1, 5]      # 0, 1 and T among them, not sorted
MAXLEN = 5
POISONS = [np.nan, np.inf, -1e38, 1e9, 3.0]     # each in the padding of sequences of its own
EDGES = {'all 0': ([0, 0], 4), 'all 1': ([1, 1], 4), 'all T': ([4, 4], 4), 'B=1': ([3], 4),
         'T=1': ([1, 0], 1), 'T=0': ([0, 0], 0), 'B=0': ([], 4), 'B=0 T=0': ([], 0)}
NOT_IN_XLA = ['data.rows_from_matrix',      # tf.where gives as many numbers as there are
              'decode.ctc_beam_search',     # TensorFlow's own, on the CPU
              'metrics.EditDistance']       # the same

every = pytest.mark.parametrize('contract', contracts.CONTRACTS, ids=lambda c: c.name)
every_differentiable = pytest.mark.parametrize(
    'contract', [c for c in contracts.CONTRACTS if c.differentiable], ids=lambda c: c.name)


@functools.cache
def made(contract, dtype):
    """One module for all tests of an operation: its variables are only read."""
    return contract.make(dtype)


@functools.cache
def clean(contract):
    """(arrays, results, gradients) in float32 with zeros in the padding, computed once.

    LENGTHS once for each poison: one run then tells of all of them.
    """
    arrays = operands(contract, np.random.default_rng(0), LENGTHS * len(POISONS), MAXLEN, 'float32')
    return arrays, *run(contract, made(contract, 'float32'), arrays, LENGTHS * len(POISONS))


class Traced:
    """An operation in one `tf.function` for all sizes, in float32."""

    def __init__(self, contract):
        example = contract.arrays(np.random.default_rng(0), 2, 2, 'float32')
        signature = {name: tf.TensorSpec(
            [None, *array.shape[1:]] if name in contract.per_sequence
            else [None, None, *array.shape[2:]], array.dtype) for name, array in example.items()}
        module, self.traces = made(contract, 'float32'), 0

        def call(tensors, lengths):
            self.traces += 1
            return list(contract.call(module, tensors, lengths))

        # Without AutoGraph, which passes the library by (test_tracing.py) and here would rewrite
        # the calls of `contracts.py` only, slowly.
        self._call = tf.function(call, autograph=False, input_signature=[
            signature, tf.TensorSpec([None], tf.int32)])

    def __call__(self, arrays, lengths):
        results = self._call({name: tf.constant(array) for name, array in arrays.items()},
                             tf.constant(lengths, tf.int32))
        return [result.numpy() for result in results]


@functools.cache
def traced(contract):
    """One trace for all tests of an operation."""
    return Traced(contract)


def operands(contract, rng, lengths, maxlen, dtype, fill=0.0):
    """Random operands whose padding holds `fill`; whole numbers hold the worst that fits."""
    arrays = contract.arrays(rng, len(lengths), maxlen, dtype)
    return refill(contract, arrays, lengths, fill)


def refill(contract, arrays, lengths, fill):
    filled = {}
    for name, array in arrays.items():
        array = array.copy()
        if name not in contract.per_sequence:
            padded = np.arange(array.shape[1]) >= np.asarray(lengths, int)[:, None]
            if array.dtype == bool:
                array[padded] = bool(fill)
            elif array.dtype.kind == 'f':
                array[padded] = fill
            else:
                array[padded] = 0 if fill == 0 else -77
        filled[name] = array
    return filled


def one_sequence(contract, arrays, b, length):
    return {name: array[b] if name in contract.per_sequence else array[b, :length]
            for name, array in arrays.items()}


def floats(arrays):
    return [name for name, array in arrays.items() if array.dtype.kind == 'f']


def cotangent(contract, results, lengths):
    """A fixed weight for every element of every result, the same one whatever T."""
    weights = []
    for kind, result in zip(contract.kinds, results):
        shape = np.shape(result)
        if kind == 'steps':         # [B, T, ...]: drawn for a T far beyond any in these tests
            drawn = np.random.default_rng(7).normal(size=(shape[0], 64) + shape[2:])
            weights.append(drawn[:, :shape[1]])
        else:
            weights.append(np.random.default_rng(7).normal(size=shape))
    return weights


def run(contract, module, arrays, lengths, with_gradient=True):
    """Results, and the gradients of their weighted sum to operands and variables, in NumPy."""
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    lengths = tf.constant(lengths, tf.int32)
    variables = list(module.trainable_variables) if module is not None else []
    watched = [tensors[name] for name in floats(arrays)]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        results = list(contract.call(module, tensors, lengths))
        loss = tf.add_n([tf.reduce_sum(result * tf.cast(weight, result.dtype)) for result, weight
                         in zip(results, cotangent(contract, results, lengths))])
    gradients = []
    if with_gradient and contract.differentiable:
        gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(
            loss, watched + variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)]
    return [result.numpy() for result in results], gradients


def expected(contract, weights, arrays, lengths, like):
    """What `reference.py` gives for each sequence alone, zero-padded to the shape of `like`."""
    padded = [np.zeros(result.shape) for result in like]
    for b, length in enumerate(lengths):
        alone = contract.reference(weights, one_sequence(contract, arrays, b, length))
        assert len(alone) == len(contract.kinds)
        for kind, whole, part in zip(contract.kinds, padded, alone):
            if kind == 'steps':
                whole[b, :len(part)] = part
            elif kind == 'sequence':
                whole[b] = part
            else:
                whole += part
    return padded


def weights_of(module):
    if module is None:
        return {}
    found = module._flatten(with_path=True, predicate=lambda part: isinstance(
        part, tf.Variable) and part.trainable)      # what trainable_variables is made of
    return {'/'.join(map(str, path)): variable.numpy() for path, variable in found}


def assert_same(actual, wanted, **how):
    for a, w in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(a, w, **how)


def tolerance(contract, float64):
    return dict(rtol=1e-5, atol=1e-5) if contract.dtype == 'float32' else float64


def in_float64(arrays):
    return {name: array.astype('float64') if array.dtype.kind == 'f' else array
            for name, array in arrays.items()}


@every
def test_oracle(contract, rng):
    module = made(contract, contract.dtype)
    arrays = operands(contract, rng, LENGTHS, MAXLEN, contract.dtype)
    results, _ = run(contract, module, arrays, LENGTHS, with_gradient=False)
    wanted = expected(contract, weights_of(module), arrays, LENGTHS, results)
    assert_same(results, wanted, **tolerance(contract, dict(rtol=1e-10, atol=1e-10)))


@every_differentiable
def test_gradient_is_that_of_finite_differences_of_the_oracle(contract, rng):
    module = made(contract, contract.dtype)
    lengths = [2, 0, 3]
    arrays = operands(contract, rng, lengths, 3, contract.dtype)
    results, gradients = run(contract, module, arrays, lengths)
    arrays, weights = in_float64(arrays), in_float64(weights_of(module))
    cotangents = cotangent(contract, results, lengths)

    def loss():
        wanted = expected(contract, weights, arrays, lengths, results)
        return sum(np.sum(w * c) for w, c in zip(wanted, cotangents))

    step = 1e-6
    points = [arrays[name] for name in floats(arrays)] + list(weights.values())
    assert len(points) == len(gradients)
    for point, gradient in zip(points, gradients):
        numeric = np.zeros_like(point)
        for index in np.ndindex(*point.shape):
            kept = point[index]
            point[index] = kept + step
            above = loss()
            point[index] = kept - step
            below = loss()
            point[index] = kept
            numeric[index] = (above - below) / (2 * step)
        np.testing.assert_allclose(gradient, numeric,
                                   **tolerance(contract, dict(rtol=1e-5, atol=1e-7)))


@every
def test_poison_in_the_padding_changes_nothing(contract):
    arrays, wanted, wanted_gradients = clean(contract)
    module, lengths = made(contract, 'float32'), LENGTHS * len(POISONS)
    # Each poison in sequences of its own, the same operands but for the padding.
    parts = [refill(contract, {name: array[k:k + len(LENGTHS)] for name, array in arrays.items()},
                    LENGTHS, poison)
             for k, poison in zip(range(0, len(lengths), len(LENGTHS)), POISONS, strict=True)]
    poisoned = {name: np.concatenate([part[name] for part in parts]) for name in arrays}
    results, gradients = run(contract, module, poisoned, lengths)
    assert_same(results, wanted, rtol=0, atol=0)
    assert_same(gradients, wanted_gradients, rtol=0, atol=0)
    assert_silence_at_padded_steps(contract, weights_of(module), poisoned, lengths, results,
                                   gradients)


def assert_silence_at_padded_steps(contract, weights, arrays, lengths, results, gradients):
    """Nothing but zeros there, in the results and in the gradients, whatever the padding holds."""
    if 'steps' in contract.kinds:
        for b, length in enumerate(lengths):
            alone = contract.reference(weights, one_sequence(contract, arrays, b, length))
            real = len(alone[contract.kinds.index('steps')])
            for kind, result in zip(contract.kinds, results):
                assert kind != 'steps' or np.all(result[b, real:] == 0)
    for name, gradient in zip(floats(arrays), gradients):
        if name not in contract.per_sequence:
            for b, length in enumerate(lengths):
                assert np.all(gradient[b, length:] == 0)


@every
def test_more_padding_changes_nothing(contract):
    arrays, wanted, wanted_gradients = clean(contract)
    lengths = LENGTHS * len(POISONS)
    longer = {name: array if name in contract.per_sequence else np.concatenate(
        [array, np.zeros([len(lengths), 3, *array.shape[2:]], array.dtype)], axis=1)
        for name, array in arrays.items()}
    results, gradients = run(contract, made(contract, 'float32'), longer, lengths)
    for kind, result, want in zip(contract.kinds, results, wanted):
        if kind == 'steps':
            assert not result[:, want.shape[1]:].any()
            result = result[:, :want.shape[1]]
        np.testing.assert_allclose(result, want, rtol=1e-5, atol=1e-6)
    names = floats(arrays) if gradients else []
    for name, gradient, want in zip(names, gradients, wanted_gradients):
        if name not in contract.per_sequence:
            assert not gradient[:, want.shape[1]:].any()
            gradient = gradient[:, :want.shape[1]]
        np.testing.assert_allclose(gradient, want, rtol=1e-4, atol=1e-5)
    assert_same(gradients[len(names):], wanted_gradients[len(names):], rtol=1e-4, atol=1e-5)


@every
def test_edges(contract):
    module = made(contract, contract.dtype)
    for edge, (lengths, maxlen) in EDGES.items():
        arrays = operands(contract, np.random.default_rng(0), lengths, maxlen, contract.dtype)
        results, gradients = run(contract, module, arrays, lengths)
        wanted = expected(contract, weights_of(module), arrays, lengths, results)
        assert_same(results, wanted, err_msg=edge,
                    **tolerance(contract, dict(rtol=1e-10, atol=1e-10)))
        for gradient in gradients:
            assert np.all(np.isfinite(gradient)), edge


@every
def test_batch_mates_change_nothing(contract):
    arrays, together, _ = clean(contract)
    alone = [traced(contract)({n: a[b:b + 1] for n, a in arrays.items()}, [length])
             for b, length in enumerate(LENGTHS * len(POISONS))]
    for k, kind in enumerate(contract.kinds):
        parts = [results[k] for results in alone]
        joined = sum(parts) if kind == 'sum' else np.concatenate(parts)
        np.testing.assert_allclose(together[k], joined, rtol=1e-5, atol=1e-6)


@every
def test_graph_equals_eager_with_one_trace(contract, rng):
    call = traced(contract)
    for lengths, maxlen in [(LENGTHS, MAXLEN), ([2, 7], 7), ([0], 1), ([1, 2, 3, 4], 9), ([], 3)]:
        arrays = operands(contract, rng, lengths, maxlen, 'float32')
        eager, _ = run(contract, made(contract, 'float32'), arrays, lengths, with_gradient=False)
        assert_same(call(arrays, lengths), eager, rtol=1e-5, atol=1e-6)
    assert call.traces == 1


def first_of_each():
    """The first contract of each operation, the others marked slow: they clip alike."""
    seen, params = set(), []
    for contract in contracts.CONTRACTS:
        if contract.name not in NOT_IN_XLA:
            operation = contract.name.split('[')[0]
            params.append(pytest.param(
                contract, marks=[pytest.mark.slow] * (operation in seen), id=contract.name))
            seen.add(operation)
    return params


@pytest.mark.parametrize('contract', first_of_each())
def test_compiled_a_length_out_of_range_is_clipped(contract, rng):
    module = made(contract, 'float32')
    arrays = operands(contract, rng, LENGTHS, MAXLEN, 'float32')
    compiled = tf.function(lambda arrays, lengths: list(contract.call(module, arrays, lengths)),
                           jit_compile=True, autograph=False)
    wanted = compiled(arrays, tf.constant(LENGTHS))
    assert 0 in LENGTHS and MAXLEN in LENGTHS
    wrong = [{0: -2, MAXLEN: MAXLEN + 4}.get(length, length) for length in LENGTHS]
    assert_same(compiled(arrays, tf.constant(wrong)), wanted, rtol=0, atol=0)


@pytest.mark.parametrize('compiled', [False, True], ids=['graph', 'xla'])
@pytest.mark.parametrize('contract', contracts.LAYERS, ids=lambda c: c.name)
def test_gradients_in_a_graph_equal_eager_ones(contract, compiled, rng):
    module, traces = made(contract, 'float64'), []
    variables = list(module.trainable_variables) if module is not None else []

    def call(tensors, lengths):
        traces.append(1)
        with tf.GradientTape() as tape:
            tape.watch(tensors['inputs'])
            results = list(contract.call(module, tensors, lengths))
            loss = tf.add_n([tf.reduce_sum(result ** 2) for result in results])
        return results, tape.gradient(loss, [tensors['inputs'], *variables])

    signature = [{'inputs': tf.TensorSpec([None, None, 3], tf.float64)},
                 tf.TensorSpec([None], tf.int32)]
    graph = tf.function(call, jit_compile=compiled, autograph=False,
                        input_signature=None if compiled else signature)
    widths = [MAXLEN] if compiled else [MAXLEN, 7, 9]       # XLA wants to know all sizes
    for maxlen in widths:
        arrays = operands(contract, rng, LENGTHS, maxlen, 'float64', fill=np.nan)
        arguments = {'inputs': tf.constant(arrays['inputs'])}, tf.constant(LENGTHS)
        for found, wanted in zip(graph(*arguments), call(*arguments)):
            assert_same(found, wanted, rtol=1e-9, atol=1e-12)
    assert len(traces) == 1 + len(widths)       # eager calls among them


def public_operations():
    """Every public callable that takes lengths or a mask, by its name below `seqmask`."""
    found = {}
    for prefix in ['', 'losses.', 'metrics.', 'decode.', 'data.', 'models.']:
        try:
            room = importlib.import_module(f'seqmask.{prefix}'.rstrip('.'))
        except ModuleNotFoundError:
            continue
        for name in room.__all__:
            thing = getattr(room, name)
            if inspect.isclass(thing):
                calls = [vars(c)['__call__'] for c in thing.__mro__ if '__call__' in vars(c)]
                method = getattr(thing, 'update', None) or (calls[0] if calls else None)
            else:
                method = thing if inspect.isfunction(thing) else None
            if method is None:
                continue
            parameters = inspect.signature(method).parameters
            if any('lengths' in p or p == 'mask' for p in parameters):
                found[prefix + name] = thing
    return found


# Calls that look into the operands themselves, before the operation gets to see them.
LOOKS_INSIDE = {'repeat', 'losses.sigmoid_cross_entropy[elements]',
                'losses.squared_error[elements]',
                'masked_softmax[broadcast]', 'data.rows_from_matrix',
                'losses.ctc_possible'}      # sees no inputs


@pytest.mark.parametrize('contract', [
    c for c in contracts.CONTRACTS if c.name not in LOOKS_INSIDE and c not in contracts.VECTORS],
    ids=lambda c: c.name)
def test_ragged_inputs_are_told_how_they_are_padded(contract, rng, monkeypatch):
    monkeypatch.setattr(contracts, 'mask_of',
                        lambda values, lengths: seqmask.sequence_mask(lengths, MAXLEN))
    arrays = operands(contract, rng, LENGTHS, MAXLEN, contract.dtype)
    arrays['inputs'] = tf.RaggedTensor.from_tensor(arrays['inputs'], LENGTHS)
    with pytest.raises(TypeError, match=r'got a tf.RaggedTensor. .*seqmask\.from_ragged\('):
        contract.call(contract.make(contract.dtype), arrays, tf.constant(LENGTHS))


def test_every_operation_is_listed():
    listed = {contract.name.split('[')[0] for contract in contracts.CONTRACTS}
    public = set(public_operations())
    assert public, 'nothing found: the search itself is broken'
    missing = sorted(public - listed - set(contracts.EXEMPT))
    assert not missing, f'without a Contract in tests/contracts.py: {", ".join(missing)}'
    assert not set(contracts.EXEMPT) & listed
    assert all(hasattr(seqmask, name.split('.')[0]) for name in listed)
