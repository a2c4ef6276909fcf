"""Every operation that takes lengths or a mask, with its NumPy reference.

A `Contract` defines how to call the operation on a padded batch, and the expected result for one
unpadded sequence alone. `tests/test_contracts.py` runs all of them through the same checks. To add
an operation, add its equation to `reference.py` and a `Contract` here; a test fails until both are
done.
"""

import dataclasses
import typing

import numpy as np
import tensorflow as tf

import reference
import some_models
import seqmask
from seqmask import models


def features(rng, batch, maxlen, dtype):
    """The usual operand: `inputs` [B, T, 3]."""
    return {'inputs': rng.normal(size=[batch, maxlen, 3]).astype(dtype)}


def vectors(rng, batch, maxlen, dtype):
    """An operand without time axis: `vectors` [B, 3]."""
    return {'vectors': rng.normal(size=[batch, 3]).astype(dtype)}


@dataclasses.dataclass(frozen=True)
class Contract:
    """One operation under the contract.

    Attributes:
      name: Public name in `seqmask`, with a variant in brackets: 'GRU[reset_before]'.
      call: (module, arrays, lengths) -> list of tensors.
      reference: (weights, arrays) -> list of NumPy arrays, for one unpadded sequence alone, whose
        arrays are cropped and have no batch axis.
      kinds: For each result: 'steps' [B, T, ...], zero at padded steps; 'sequence' [B, ...]; or
        'sum', a scalar that is a sum over the sequences.
      make: dtype name -> `tf.Module` whose trainable variables are the `weights`, by name; or None.
      arrays: (rng, B, T, dtype name) -> dict of operands. Those named in `per_sequence` are
        [B, ...], all others [B, T, ...].
      per_sequence: Names of the operands without time axis.
      differentiable: False for operations without gradients.
      dtype: The dtype in which the operation is compared with the reference.
    """
    name: str
    call: typing.Callable
    reference: typing.Callable
    kinds: tuple
    make: typing.Callable = lambda dtype: None
    arrays: typing.Callable = features
    per_sequence: tuple = ()
    differentiable: bool = True
    dtype: str = 'float64'


def _name(name, variant):
    return f'{name}[{variant}]' if variant else name


def mask_of(values, lengths):
    return seqmask.sequence_mask(lengths, tf.shape(values)[1])


def _concat_time(module, arrays, lengths):
    # The second part is the first again, so that the same lengths apply.
    return seqmask.concat_time(arrays['inputs'], lengths, arrays['inputs'], lengths)[:1]


MASKING = [
    Contract('apply_mask',
             call=lambda _, a, n: [seqmask.apply_mask(a['inputs'], mask_of(a['inputs'], n))],
             reference=lambda _, a: [a['inputs']], kinds=('steps',)),
    Contract('mask_gradient',
             # Its values are not masked, by definition; only the gradient is.
             call=lambda _, a, n: [tf.reduce_sum(seqmask.apply_mask(
                 seqmask.mask_gradient(a['inputs'], mask_of(a['inputs'], n)),
                 mask_of(a['inputs'], n)))],
             reference=lambda _, a: [np.sum(a['inputs'])], kinds=('sum',)),
    Contract('last_relevant',
             call=lambda _, a, n: [seqmask.last_relevant(a['inputs'], n)],
             reference=lambda _, a: [reference.last_relevant(a['inputs'])], kinds=('sequence',)),
    Contract('reverse',
             call=lambda _, a, n: [seqmask.reverse(a['inputs'], n)],
             reference=lambda _, a: [reference.reverse(a['inputs'])], kinds=('steps',)),
    Contract('to_ragged',
             call=lambda _, a, n: [seqmask.from_ragged(
                 seqmask.to_ragged(a['inputs'], n), tf.shape(a['inputs'])[1])[0]],
             reference=lambda _, a: [a['inputs']], kinds=('steps',)),
    Contract('repeat',
             call=lambda _, a, n: [seqmask.repeat(
                 a['vectors'], n, tf.shape(a['inputs'])[1])],
             reference=lambda _, a: [np.tile(a['vectors'], [len(a['inputs']), 1])],
             kinds=('steps',), per_sequence=('vectors',),
             arrays=lambda *sizes: {**features(*sizes), **vectors(*sizes)}),
    Contract('concat_time', call=_concat_time,
             reference=lambda _, a: [np.concatenate([a['inputs'], a['inputs']])],
             kinds=('steps',)),
    Contract('move_padding_right',
             call=lambda _, a, n: [seqmask.move_padding_right(
                 a['inputs'], mask_of(a['inputs'], n))[0]],
             reference=lambda _, a: [a['inputs']], kinds=('steps',)),
    Contract('pack',
             call=lambda _, a, n: [seqmask.unpack(seqmask.pack(a['inputs'], n))],
             reference=lambda _, a: [a['inputs']], kinds=('steps',)),
    Contract('pack[reverse]',
             call=lambda _, a, n: [tf.reduce_sum(tf.square(
                 seqmask.pack(a['inputs'], n, reverse=True).values))],
             reference=lambda _, a: [np.sum(np.square(a['inputs']))], kinds=('sum',)),
]


def _labelled(draw):
    """`features` and `labels`, which draw(rng, [B, T], dtype) makes."""
    return lambda rng, batch, maxlen, dtype: {**features(rng, batch, maxlen, dtype),
                                              'labels': draw(rng, [batch, maxlen], dtype)}


_classes = _labelled(lambda rng, shape, _: rng.integers(0, 3, size=shape).astype('int32'))
_distributions = _labelled(
    lambda rng, shape, dtype: rng.dirichlet([1, 1, 1], size=shape).astype(dtype))
_probabilities = _labelled(lambda rng, shape, dtype: rng.uniform(size=[*shape, 3]).astype(dtype))
_targets = _labelled(lambda rng, shape, dtype: rng.normal(size=[*shape, 3]).astype(dtype))


def _binary_elements(rng, batch, maxlen, dtype):
    return {'inputs': rng.uniform(size=[batch, maxlen, 3]).astype(dtype),
            'labels': rng.integers(0, 2, size=[batch, maxlen, 3]).astype('int32')}


def _tally(module, name, function, arrays, oracle, *, variant='', outputs='logits', weights=None,
           elements=False, **options):
    """A contract of a loss, or of a metric's `tally`.

    Args:
      module: 'losses' or 'metrics'.
      function: () -> the function to call.
      oracle: (outputs, labels, **loss_options) -> losses of one sequence.
      outputs: Name of the argument that takes the inputs.
      weights: None, 'step' or 'sequence'.
      elements: Whether the mask has the feature axis, too.
    """
    tally_options = {k: v for k, v in options.items() if k in ('per', 'features')}
    loss_options = {k: v for k, v in options.items() if k not in tally_options}

    def operands(rng, batch, maxlen, dtype):
        drawn = arrays(rng, batch, maxlen, dtype)
        if weights is not None:
            shape = [batch, maxlen] if weights == 'step' else [batch]
            drawn['weights'] = rng.uniform(0.5, 2, size=shape).astype(dtype)
        return drawn

    def call(_, a, n):
        mask = mask_of(a['inputs'], n)
        if elements:
            mask = tf.broadcast_to(mask[..., None], tf.shape(a['inputs']))
        others = {k: a[k] for k in ('labels', 'weights') if k in a}
        return list(function()(**{outputs: a['inputs']}, **others, mask=mask, **options))

    def alone(_, a):
        losses = oracle(a['inputs'], a['labels'], **loss_options)
        return reference.tally(losses.ravel() if elements else losses, a.get('weights', 1.0),
                               **tally_options)

    return Contract(_name(f'{module}.{name}', variant), call=call, reference=alone,
                    kinds=('sum', 'sum'), arrays=operands,
                    per_sequence=('weights',) if weights == 'sequence' else (),
                    differentiable=module == 'losses')


def _loss(name, arrays, variant='', **options):
    outputs = 'predictions' if arrays is _targets else 'logits'
    return _tally('losses', name, lambda: getattr(seqmask.losses, name), arrays,
                  getattr(reference, name), variant=variant, outputs=outputs, **options)


LOSSES = [
    _loss('sparse_softmax_cross_entropy', _classes),
    _loss('sparse_softmax_cross_entropy', _classes, 'smoothed', label_smoothing=0.1, per='sequence',
          weights='sequence'),
    _loss('sparse_softmax_cross_entropy', _classes, 'weights', weights='step'),
    _loss('softmax_cross_entropy', _distributions),
    _loss('softmax_cross_entropy', _distributions, 'smoothed', label_smoothing=0.2, per='sequence'),
    _loss('sigmoid_cross_entropy', _probabilities),
    _loss('sigmoid_cross_entropy', _probabilities, 'elements', elements=True),
    _loss('sigmoid_cross_entropy', _probabilities, 'sum', features='sum', label_smoothing=0.1,
          pos_weight=3.0, weights='sequence'),
    _loss('focal', _probabilities),
    _loss('focal', _probabilities, 'alpha', alpha=0.25, gamma=0.5, features='sum', per='sequence'),
    _loss('squared_error', _targets),
    _loss('squared_error', _targets, 'sequence', per='sequence', weights='step'),
    _loss('squared_error', _targets, 'elements', elements=True, per='sequence'),
    _loss('absolute_error', _targets, features='sum'),
    _loss('huber', _targets, delta=0.5, weights='step'),
    Contract('losses.keras_mean', kinds=('sum', 'sum'),
             arrays=lambda rng, batch, maxlen, dtype: {
                 **features(rng, batch, maxlen, dtype),
                 'weights': rng.uniform(0.5, 2, size=[batch, maxlen]).astype(dtype)},
             call=lambda _, a, n: list(seqmask.losses.keras_mean(
                 values=a['inputs'][..., 0], mask=mask_of(a['inputs'], n), weights=a['weights'])),
             reference=lambda _, a: [np.sum(a['inputs'][:, 0] * a['weights']), len(a['inputs'])]),
    Contract('losses.weighted_masked_objective', kinds=('sum', 'sum'), arrays=_targets,
             call=lambda _, a, n: list(
                 seqmask.losses.weighted_masked_objective(tf.keras.losses.mse)(
                     a['labels'], a['inputs'], mask=mask_of(a['inputs'], n))),
             reference=lambda _, a: reference.tally(
                 reference.squared_error(a['inputs'], a['labels']))),
]


def _metric(name, arrays, oracle, variant='', **options):
    outputs = 'predictions' if arrays is _targets else 'logits'
    return _tally('metrics', name, lambda: getattr(seqmask.metrics, name).tally, arrays, oracle,
                  variant=variant, outputs=outputs, **options)


def _binary_steps(rng, batch, maxlen, dtype):
    return {'inputs': rng.normal(size=[batch, maxlen]).astype(dtype),
            'labels': rng.integers(0, 2, size=[batch, maxlen]).astype('int32')}


def _run_metric(outputs):
    def call(module, a, n):
        module.reset()
        module.update(**{outputs: a['inputs']}, labels=a['labels'], mask=mask_of(a['inputs'], n))
        return [module.result()]
    return call


METRICS = [
    Contract('metrics.Mean',
             call=lambda _, a, n: list(seqmask.metrics.Mean.tally(
                 values=a['inputs'], mask=mask_of(a['inputs'], n))),
             reference=lambda _, a: reference.tally(a['inputs']), kinds=('sum', 'sum'),
             differentiable=False),
    _metric('Accuracy', _classes, reference.right, weights='step'),
    _metric('ErrorRate', _classes, lambda x, y: 1 - reference.right(x, y), per='sequence'),
    _metric('SequenceAccuracy', _classes,
            lambda x, y: reference.right(x, y).min(keepdims=True) if len(x) else np.zeros(0),
            weights='sequence'),
    _metric('Perplexity', _classes, reference.sparse_softmax_cross_entropy),
    _metric('RMSE', _targets, reference.squared_error, weights='sequence'),
    _metric('MAE', _targets, reference.absolute_error, per='sequence'),
    *(Contract(f'metrics.{name}', arrays=_binary_steps, differentiable=False, kinds=('sum', 'sum'),
               call=lambda _, a, n, name=name: list(getattr(seqmask.metrics, name).tally(
                   logits=a['inputs'], labels=a['labels'], mask=mask_of(a['inputs'], n),
                   threshold=-0.5)),
               reference=lambda _, a, of=of: of(*reference.decisions(
                   a['inputs'], a['labels'], -0.5)))
      for name, of in [('Precision', lambda hits, detected, events: [hits, detected]),
                       ('Recall', lambda hits, detected, events: [hits, events]),
                       ('F1', lambda hits, detected, events: [2 * hits, detected + events])]),
    Contract('metrics.matching.find_peaks', arrays=_binary_steps, differentiable=False,
             kinds=('steps',),
             call=lambda _, a, n: [tf.cast(seqmask.metrics.matching.find_peaks(
                 a['inputs'], mask_of(a['inputs'], n), 1), a['inputs'].dtype)],
             reference=lambda _, a: [reference.peaks(a['inputs'], 1)]),
    Contract('metrics.ConfusionMatrix', arrays=_classes,
             make=lambda dtype: seqmask.metrics.ConfusionMatrix(3), call=_run_metric('logits'),
             reference=lambda _, a: [reference.confusion_matrix(a['inputs'], a['labels'])],
             kinds=('sum',), differentiable=False),
    Contract('metrics.KerasMetric', arrays=_binary_elements, call=_run_metric('predictions'),
             make=lambda dtype: seqmask.metrics.KerasMetric(tf.keras.metrics.TruePositives()),
             reference=lambda _, a: [np.sum((a['inputs'] > 0.5) & (a['labels'] == 1))],
             kinds=('sum',), differentiable=False),
]


def _with_biases(module):
    """The module with random biases: zeros would hide how they are used."""
    rng = np.random.default_rng(1)
    for variable in module.trainable_variables:
        if variable.name.startswith('bias'):
            variable.assign_add(tf.constant(rng.normal(size=variable.shape), variable.dtype))
    return module


def _recurrent(name, make, oracle, variant='', sizes=(2,), with_state=False,
               implementation='graph', **options):
    """A contract of a recurrent layer: its outputs, then each tensor of its final state.

    Args:
      make: (dtype, implementation) -> layer.
      oracle: (x, weights, initial state, **options) -> (outputs, final state).
      sizes: Widths of the tensors of its state.
      with_state: Whether the initial state is an operand; otherwise it is zero.
    """
    names = tuple(f'state_{k}' for k in range(len(sizes))) if with_state else ()

    def operands(rng, batch, maxlen, dtype):
        return {**features(rng, batch, maxlen, dtype),
                **{state: rng.normal(size=[batch, size]).astype(dtype)
                   for state, size in zip(names, sizes)}}

    def initial(a):
        states = [a[state] for state in names]
        return None if not states else states[0] if len(states) == 1 else states

    def call(layer, a, n):
        return tf.nest.flatten(layer(a['inputs'], n, initial(a), **options))

    def alone(weights, a):
        return tf.nest.flatten(oracle(a['inputs'], weights, initial(a), **options))

    return Contract(_name(name, variant), call=call, reference=alone, arrays=operands,
                    kinds=('steps',) + ('sequence',) * len(sizes), per_sequence=names,
                    make=lambda dtype: _with_biases(make(dtype, implementation)),
                    dtype='float32' if implementation == 'kernel' else 'float64')


def _maker(layer, **options):
    return lambda dtype, implementation: layer(
        3, 2, dtype=dtype, implementation=implementation, seed=0, **options)


_gru, _lstm, _mgu = map(_maker, [seqmask.GRU, seqmask.LSTM, seqmask.MGU])
_gru_before = _maker(seqmask.GRU, reset_after=False)


def _reference_gru_before(x, weights, state, **options):
    return reference.gru(x, weights, state, reset_after=False, **options)


def _bidirectional(dtype, how):
    return seqmask.Bidirectional(_lstm(dtype, how), _gru(dtype, how))


def _reference_bidirectional(x, weights, states=None, reverse=False):
    *lstm_state, gru_state = states or (None, None)
    lstm_state = lstm_state if states else None
    return reference.bidirectional(
        x, lambda x, reverse: reference.lstm(
            x, reference.part(weights, 'forward'), lstm_state, reverse),
        lambda x, reverse: reference.gru(
            x, reference.part(weights, 'backward'), gru_state, reverse), reverse)


def _mgu_bidirectional(dtype, how):
    return seqmask.Bidirectional(_mgu(dtype, how), _mgu(dtype, how))


def _reference_mgu_bidirectional(x, weights, states=None, reverse=False):
    forward, backward = (lambda x, reverse, way=way: reference.mgu(
        x, reference.part(weights, way), reverse=reverse) for way in ('forward', 'backward'))
    return reference.bidirectional(x, forward, backward, reverse)


def _mgu_stack(dtype, how):
    return seqmask.Stacked([_mgu_bidirectional(dtype, how), seqmask.MGU(
        2 + 2, 2, dtype=dtype, implementation=how, seed=1)])


def _reference_mgu_stack(x, weights, states=None):
    outputs, below = _reference_mgu_bidirectional(x, reference.part(weights, 'layers/0'))
    outputs, above = reference.mgu(outputs, reference.part(weights, 'layers/1'))
    return outputs, (below, above)


def _stack(dtype, how):
    return seqmask.Stacked([_bidirectional(dtype, how), seqmask.GRU(
        2 + 2, 3, reset_after=False, dtype=dtype, implementation=how, seed=1)])


def _reference_stack(x, weights, states=None, reverse=False):
    outputs, below = _reference_bidirectional(
        x, reference.part(weights, 'layers/0'), reverse=reverse)
    outputs, above = reference.gru(
        outputs, reference.part(weights, 'layers/1'), reverse=reverse, reset_after=False)
    return outputs, (below, above)


def _unroll(name, cell, oracle, width, arrays, **options):
    """A contract of `unroll`; the cell and its oracle are (x_t, state) -> (output, state)."""
    return Contract(name, arrays=arrays, per_sequence=('state',), kinds=('steps', 'sequence'),
                    call=lambda _, a, n: list(seqmask.unroll(
                        cell, a['inputs'], n, a['state'], **options)),
                    reference=lambda _, a: list(reference.unroll(
                        oracle, a['inputs'], a['state'], width, **options)))


def _features_and_state(rng, batch, maxlen, dtype):
    return {**features(rng, batch, maxlen, dtype),
            'state': rng.uniform(0.5, 2, size=[batch, 3]).astype(dtype)}


def _decay(x_t, state):
    state = 0.5 * state + x_t
    return state[..., :2], state


def _poles(x_t, state):
    """A cell whose gradients have poles at x_t = 0 and at state = 0."""
    return tf.math.log(tf.abs(x_t)) / state, tf.sqrt(tf.abs(x_t)) * state


def _reference_poles(x_t, state):
    return np.log(np.abs(x_t)) / state, np.sqrt(np.abs(x_t)) * state


IMPLEMENTATIONS = ['graph'] + ['kernel'] * seqmask.kernels.native.usable()

RECURRENT = [
    *(_recurrent(name, make, oracle, variant=', '.join(
        [first] * bool(first) + ['reverse'] * reverse + ['with state'] * with_state
        + ['kernel'] * (how == 'kernel')),
                 sizes=sizes, with_state=with_state, implementation=how,
                 **({'reverse': True} if reverse else {}))
      for name, first, make, oracle, sizes in [
          ('GRU', '', _gru, reference.gru, (2,)),
          ('GRU', 'reset before', _gru_before, _reference_gru_before, (2,)),
          ('LSTM', '', _lstm, reference.lstm, (2, 2)),
          ('MGU', '', _mgu, reference.mgu, (2,))]
      for reverse, with_state in [(False, False), (True, False), (False, True)]
      for how in (['graph'] if make is _mgu else IMPLEMENTATIONS)),
    _recurrent('Bidirectional', _bidirectional, _reference_bidirectional, sizes=(2, 2, 2)),
    _recurrent('Bidirectional', _mgu_bidirectional, _reference_mgu_bidirectional, 'mgu',
               sizes=(2, 2)),
    _recurrent('Stacked', _mgu_stack, _reference_mgu_stack, 'mgu', sizes=(2, 2, 2)),
    _recurrent('Stacked', _stack, _reference_stack, sizes=(2, 2, 2, 3)),
    *(_recurrent('Stacked', _stack, _reference_stack, f'reverse, {how}', sizes=(2, 2, 2, 3),
                 implementation=how, reverse=True) for how in IMPLEMENTATIONS),
    _unroll('unroll', _decay, _decay, 2, _features_and_state),
    _unroll('unroll[reverse]', _decay, _decay, 2, _features_and_state, reverse=True),
    _unroll('unroll[poles]', _poles, _reference_poles, 3, _features_and_state),
]


def _perturbed(module):
    """The module with noise added to all variables: ones and zeros would hide how they are used."""
    rng = np.random.default_rng(1)
    for variable in module.trainable_variables:
        variable.assign_add(tf.constant(rng.normal(size=variable.shape), variable.dtype))
    return module


MEAN, SCALE = np.array([0.5, -2.0, 0.0]), np.array([0.25, 4.0, 1.0])


def _standardizer(dtype):
    return seqmask.data.Standardizer(MEAN, SCALE, dtype=dtype)


def _batch_norm(dtype):
    norm = seqmask.BatchNorm(3, dtype=dtype)
    norm.moving_mean.assign(MEAN)
    norm.moving_variance.assign(SCALE)
    return norm


def _layer(name, make, oracle, variant='', kind='steps'):
    """A contract of a layer that returns one tensor; the oracle is (x, weights) -> outputs."""
    return Contract(_name(name, variant), make=lambda dtype: _perturbed(make(dtype)),
                    call=lambda layer, a, n: [layer(a['inputs'], n)],
                    reference=lambda weights, a: [oracle(a['inputs'], weights)], kinds=(kind,))


def _activation(variant, function, oracle):
    return _layer('Activation', lambda dtype: seqmask.Activation(function),
                  lambda x, _: oracle(x), variant)


def _self_attention(variant='', **options):
    options = {'num_heads': 2, **options}
    return _layer('SelfAttention',
                  lambda dtype: seqmask.SelfAttention(3, head_size=2, dtype=dtype, seed=0,
                                                      **options),
                  lambda x, weights: reference.self_attention(x, weights, **options), variant)


def _sequential(dtype):
    return seqmask.Sequential([
        seqmask.Dense(3, 2, dtype=dtype, seed=0), lambda x, n: seqmask.max_pool1d(x, n, 2),
        seqmask.Activation('tanh'), seqmask.GRU(2, 2, dtype=dtype, seed=0)])


def _reference_sequential(x, weights):
    x = reference.dense(x, reference.part(weights, 'layers/0'))
    x = np.tanh(x[:len(x) // 2 * 2].reshape([-1, 2, x.shape[-1]]).max(axis=1))
    return reference.gru(x, reference.part(weights, 'layers/3'))[0]


def _residual(dtype):
    return seqmask.Residual(seqmask.Sequential([
        seqmask.Dense(3, 3, dtype=dtype, seed=0), seqmask.Activation(tf.exp)]))


def _residual_shortcut(dtype):
    return seqmask.Residual(seqmask.Dense(3, 2, dtype=dtype, seed=0),
                            shortcut=seqmask.Dense(3, 2, dtype=dtype, seed=1))


def _on_vectors(name, make, oracle):
    """A contract of a layer on vectors without lengths: each row depends on itself only."""
    return Contract(f'{name}[vectors]', make=lambda dtype: _perturbed(make(dtype)),
                    call=lambda layer, a, _: [layer(a['vectors'])],
                    reference=lambda weights, a: [oracle(a['vectors'][None], weights)[0]],
                    kinds=('sequence',), arrays=vectors, per_sequence=('vectors',))


def _layer_with_lengths(name, make, oracle, variant=''):
    """A contract of a layer that returns (outputs, lengths)."""
    return dataclasses.replace(_layer(name, make, oracle, variant),
                               call=lambda layer, a, n: [layer(a['inputs'], n)[0]])


LAYERS = [
    _layer('Dense', lambda dtype: seqmask.Dense(3, 2, dtype=dtype, seed=0), reference.dense),
    _layer('Dropout', lambda dtype: seqmask.Dropout(0.5, seed=0), lambda x, _: x),
    _layer('BatchNorm', _batch_norm,
           lambda x, weights: reference.batch_norm(x, weights, MEAN, SCALE)),
    _layer('LayerNorm', lambda dtype: seqmask.LayerNorm(3, dtype=dtype), reference.layer_norm),
    _layer('LayerNorm', lambda dtype: seqmask.LayerNorm(3, epsilon=0.0, dtype=dtype),
           lambda x, weights: reference.layer_norm(x, weights, epsilon=0), 'no epsilon'),
    _activation('exp', tf.exp, np.exp),
    _activation('sigmoid', 'sigmoid', reference.sigmoid),
    _activation('softmax', tf.nn.softmax, reference.softmax),
    _activation('log', lambda x: tf.math.log(tf.abs(x)), lambda x: np.log(np.abs(x))),
    _activation('sqrt', lambda x: tf.sqrt(tf.abs(x)), lambda x: np.sqrt(np.abs(x))),
    _activation('reciprocal', lambda x: 1 / x, lambda x: 1 / x),
    _layer('SqueezeExcite', lambda dtype: seqmask.SqueezeExcite(3, ratio=2, dtype=dtype, seed=0),
           reference.squeeze_excite),
    Contract('masked_softmax',
             call=lambda _, a, n: [seqmask.masked_softmax(
                 a['inputs'][..., 0], mask_of(a['inputs'], n))],
             reference=lambda _, a: [reference.softmax(a['inputs'][:, 0])], kinds=('steps',)),
    Contract('masked_softmax[broadcast]',
             call=lambda _, a, n: [tf.transpose(seqmask.masked_softmax(
                 tf.transpose(a['inputs'], [0, 2, 1]), mask_of(a['inputs'], n)[:, None]),
                 [0, 2, 1])],
             reference=lambda _, a: [reference.softmax(a['inputs'], axis=0)], kinds=('steps',)),
    _layer('AttentionPool', lambda dtype: seqmask.AttentionPool(3, 2, dtype=dtype, seed=0),
           reference.attention_pool, kind='sequence'),
    _self_attention(),
    _self_attention('causal', num_heads=1, causal=True),
    _layer_with_lengths('Sequential', _sequential, _reference_sequential),
    _layer_with_lengths('Residual', _residual, lambda x, weights: x + np.exp(
        reference.dense(x, reference.part(weights, 'layer/layers/0')))),
    _layer_with_lengths('Residual', _residual_shortcut, lambda x, weights: sum(
        reference.dense(x, reference.part(weights, way)) for way in ['layer', 'shortcut']),
        'shortcut'),
]


def _attention(kind, sizes=(3, 3), **options):
    """Contracts of `Attention`: lengths of the queries, and lengths of the memories."""
    def make(dtype):
        return _perturbed(seqmask.Attention(*sizes, kind=kind, dtype=dtype, seed=0, **options))

    def oracle(queries, memory, weights):
        return reference.attention(queries, memory, weights, kind, options.get('num_heads', 1))

    def queries_of(rng, batch, maxlen, dtype):
        return {'inputs': rng.normal(size=[batch, maxlen, sizes[0]]).astype(dtype),
                'memory': rng.normal(size=[batch, 4, sizes[1]]).astype(dtype),
                'memory_lengths': rng.integers(0, 5, size=[batch]).astype('int32')}

    def memories_of(rng, batch, maxlen, dtype):
        return {'inputs': rng.normal(size=[batch, maxlen, sizes[1]]).astype(dtype),
                'query': rng.normal(size=[batch, sizes[0]]).astype(dtype)}

    def with_memory(attention, a, n):
        memory = attention.project(a['inputs'], n)
        return [attention(a['query'], memory), attention.weights(a['query'], memory)]

    return [
        Contract(f'Attention[{kind}, queries]', make=make, kinds=('steps',), arrays=queries_of,
                 per_sequence=('memory', 'memory_lengths'),
                 call=lambda attention, a, n: [attention(
                     a['inputs'], attention.project(a['memory'], a['memory_lengths']), n)],
                 reference=lambda weights, a: oracle(
                     a['inputs'], a['memory'][:a['memory_lengths']], weights)[:1]),
        Contract(f'Attention[{kind}, memories]', make=make, kinds=('sequence', 'steps'),
                 arrays=memories_of, per_sequence=('query',), call=with_memory,
                 reference=lambda weights, a: [part[0] for part in oracle(
                     a['query'][None], a['inputs'], weights)])]


ATTENTION = [
    *_attention('dot'),
    *_attention('general', (2, 3)),
    *_attention('additive', (2, 3), hidden_size=4),
    *_attention('multihead', (2, 3), hidden_size=4, num_heads=2),
]


VECTORS = [
    _on_vectors('Dense', lambda dtype: seqmask.Dense(3, 2, dtype=dtype, seed=0), reference.dense),
    _on_vectors('LayerNorm', lambda dtype: seqmask.LayerNorm(3, dtype=dtype), reference.layer_norm),
    _on_vectors('Activation', lambda dtype: seqmask.Activation(tf.nn.softmax),
                lambda x, _: reference.softmax(x)),
    _on_vectors('Dropout', lambda dtype: seqmask.Dropout(0.5, seed=0), lambda x, _: x),
    _on_vectors('data.Standardizer', _standardizer, lambda x, _: (x - MEAN) / SCALE),
    Contract('Embedding[single tokens]',
             make=lambda dtype: seqmask.Embedding(4, 2, dtype=dtype, seed=0),
             arrays=lambda rng, batch, maxlen, dtype: {
                 'inputs': rng.integers(0, 4, size=[batch]).astype('int32')},
             per_sequence=('inputs',), call=lambda layer, a, _: [layer(a['inputs'])],
             reference=lambda weights, a: [weights['embeddings'][a['inputs']]],
             kinds=('sequence',)),
]


def _with_lengths(results):
    outputs, lengths = results
    return [outputs, tf.cast(lengths, outputs.dtype)]


def _conv(variant, *, filters=2, kernel_size=3, use_bias=True, **options):
    """A contract of `Conv1D`: its outputs, then its lengths."""
    def alone(weights, a):
        outputs = reference.conv1d(a['inputs'], weights, **options)
        return [outputs, len(outputs)]

    return Contract(f'Conv1D[{variant}]', kinds=('steps', 'sequence'), reference=alone,
                    make=lambda dtype: _with_biases(seqmask.Conv1D(
                        3, filters, kernel_size, use_bias=use_bias, dtype=dtype, seed=0,
                        **options)),
                    call=lambda conv, a, n: _with_lengths(conv(a['inputs'], n)))


def _pool1d(name, reduce, *, pool_size=3, **options):
    """A contract of a pooling over windows: its outputs, then its lengths."""
    def alone(_, a):
        outputs = reference.pool1d(reduce, a['inputs'], pool_size, **options)
        return [outputs, len(outputs)]

    variant = ', '.join(map(str, options.values()))
    return Contract(f'{name}[{variant}]', kinds=('steps', 'sequence'), reference=alone,
                    call=lambda _, a, n: _with_lengths(
                        getattr(seqmask, name)(a['inputs'], n, pool_size, **options)))


WINDOWED = [
    _conv('same', kernel_size=4),
    _conv('valid', padding='valid'),
    _conv('causal', padding='causal'),
    _conv('strides', strides=2),
    _conv('dilation', dilation=2, padding='causal'),
    _conv('strides, dilation', strides=2, dilation=2, kernel_size=2),
    _conv('groups', filters=6, groups=3),
    _conv('without bias', use_bias=False),
    *(Contract(name, call=lambda _, a, n, name=name: [getattr(seqmask, name)(a['inputs'], n)],
               reference=lambda _, a, reduce=reduce: [reference.pool(reduce, a['inputs'])],
               kinds=('sequence',))
      for name, reduce in [('mean_pool', np.mean), ('max_pool', np.max)]),
    *(_pool1d(name, reduce, **options)
      for name, reduce in [('average_pool1d', np.mean), ('max_pool1d', np.max)]
      for options in [{'padding': 'same', 'strides': 2}, {'padding': 'valid'},
                      {'padding': 'valid', 'strides': 1}, {'padding': 'causal', 'strides': 2}]),
]


DATA = [
    Contract('data.rows_from_matrix', kinds=('steps', 'sequence'),
             call=lambda _, a, n: _matrix_rows(a['inputs'][:, :, 0], n, a['inputs'][:, :, 1] > 0),
             reference=lambda _, a: reference.matrix_rows(
                 a['inputs'][:, 0], a['inputs'][:, 1] > 0)),
    _layer('data.Standardizer', _standardizer, lambda x, _: (x - MEAN) / SCALE),
    Contract('data.Standardizer[inverse]', make=_standardizer,
             call=lambda standardizer, a, n: [standardizer.inverse(a['inputs'], n)],
             reference=lambda _, a: [a['inputs'] * SCALE + MEAN], kinds=('steps',)),
    Contract('data.standardize_sequences',
             call=lambda _, a, n: [seqmask.data.standardize_sequences(a['inputs'], n)],
             reference=lambda _, a: [reference.standardize(a['inputs'])], kinds=('steps',)),
]


def _matrix_rows(ratings, lengths, rated):
    mask = mask_of(ratings, lengths) & rated
    rows = seqmask.data.rows_from_matrix(ratings, mask)
    unused = tf.shape(ratings)[1] - tf.shape(rows['inputs'])[1]
    return [tf.pad(rows['inputs'], [[0, 0], [0, unused], [0, 0]]),
            tf.cast(rows['lengths'], ratings.dtype)]


def _encoder(name, make, oracle, variant=''):
    """A contract of an encoder: its outputs."""
    return Contract(f'models.{name}{variant}', make=lambda dtype: _with_biases(make(dtype)),
                    call=lambda encoder, a, n: [encoder(a['inputs'], n)],
                    reference=lambda weights, a: [oracle(a['inputs'], weights)], kinds=('steps',))


ENCODERS = [
    _encoder('Encoder', lambda dtype: models.Encoder(
        3, hidden_size=2, num_layers=2, dropout=0.5, input_dropout=0.5, step_dropout=0.5,
        dtype=dtype, seed=0), lambda x, weights: reference.encoder(x, weights, reference.gru)),
    _encoder('Encoder', lambda dtype: models.Encoder(
        3, cell='lstm', hidden_size=2, bidirectional=True, normalize=True, filters=2, dtype=dtype,
        seed=0), lambda x, weights: reference.encoder(x, weights, reference.lstm), '[all]'),
    _encoder('Encoder', lambda dtype: models.Encoder(
        3, cell='mgu', hidden_size=2, dtype=dtype, seed=0),
        lambda x, weights: reference.encoder(x, weights, reference.mgu), '[mgu]'),
    _encoder('ConvEncoder', lambda dtype: models.ConvEncoder(
        3, filters=(2, 3, 2), kernel_sizes=(3, 2, 1), step_dropout=0.5, dtype=dtype, seed=0),
        reference.conv_encoder),
    _encoder('DilatedEncoder', lambda dtype: models.DilatedEncoder(
        3, hidden_size=2, num_layers=3, dtype=dtype, seed=0), reference.dilated_encoder),
    _encoder('OwnEncoder', lambda dtype: models.OwnEncoder(
        seqmask.GRU(3, 2, dtype=dtype, seed=0), 2, dtype=dtype),
        lambda x, weights: reference.gru(x, reference.part(weights, 'function'))[0])]


def _call_model(loss):
    """Calls a model for its logits, or for its loss as [total, count]."""
    def call(model, a, n):
        if not loss:
            return [model(a['inputs'], n)]
        batch = {'inputs': a['inputs'], 'lengths': n, 'labels': a['labels']}
        return list(model.loss(batch, training=False))
    return call


def _labeller(variant, cell, loss=False, **options):
    """A contract of `models.SequenceLabeller`: its logits or its loss."""
    oracle = getattr(reference, cell)

    def make(dtype):
        return _with_biases(some_models.labeller(
            3, 3, cell=cell, hidden_size=2, dropout=0.5, step_dropout=0.5, dtype=dtype, seed=0,
            **options))

    def alone(weights, a):
        logits = reference.labeller(a['inputs'], weights, oracle)
        if not loss:
            return [logits]
        return reference.tally(reference.sparse_softmax_cross_entropy(logits, a['labels']))

    return Contract(f'models.SequenceLabeller[{variant}]', make=make, call=_call_model(loss),
                    reference=alone, arrays=_classes if loss else features,
                    kinds=('sum', 'sum') if loss else ('steps',))


def _frame_predictor(variant, loss=None, **options):
    """A contract of `models.FramePredictor`: its outputs or its loss; the scale is 1, 2, 4."""
    scale = np.array([1.0, 2.0, 4.0])
    binary = options.get('targets') == 'binary'

    def make(dtype):
        standardizer = seqmask.data.Standardizer(np.zeros(3), scale, dtype=dtype)
        model = _with_biases(models.FramePredictor(
            models.Encoder(3, hidden_size=2, standardizer=standardizer, dtype=dtype, seed=0),
            dropout=0.5, seed=0, **options))
        drawn = np.random.default_rng(2).normal(size=model.to_logits.kernel.shape)
        model.to_logits.kernel.assign(tf.constant(drawn, dtype))
        return model

    def alone(weights, a):
        changes = reference.labeller(a['inputs'] / scale, weights, reference.gru)
        outputs = changes if binary else a['inputs'] + scale * changes
        if loss is None:
            return [outputs]
        of = 1.0 if binary else scale
        return reference.tally(loss(outputs / of, a['labels'] / of))

    return Contract(f'models.FramePredictor[{variant}]', make=make, reference=alone,
                    call=_call_model(loss is not None),
                    arrays=features if loss is None else _binary_elements if binary else _targets,
                    kinds=('steps',) if loss is None else ('sum', 'sum'))


def _classifier(variant, pool_recurrent, **options):
    """A contract of `models.SequenceClassifier`: its logits, one row per sequence."""
    def make(dtype):
        return _with_biases(some_models.classifier(
            3, 2, hidden_size=2, kernel_sizes=(3, 2, 1), dropout=0.5, step_dropout=0.5, dtype=dtype,
            seed=0, **{'filters': (2, 3, 2), **options}))

    return Contract(f'models.SequenceClassifier[{variant}]', make=make,
                    call=lambda model, a, n: [model(a['inputs'], n)],
                    reference=lambda weights, a: [
                        reference.classifier(a['inputs'], weights, pool_recurrent)],
                    kinds=('sequence',))


def _autoencoder(variant, cell='lstm', of='outputs', teacher=False, **options):
    """A contract of `models.SequenceAutoencoder`: its outputs, its codes or its measures."""
    mean = [0.5, -2.0, 0.0]

    def make(dtype):
        return _with_biases(some_models.autoencoder(
            3, cell=cell, mean=mean, dropout=0.5, step_dropout=0.5, dtype=dtype, seed=0,
            **{'hidden_size': 2, **options}))

    def call(model, a, n):
        if of == 'codes':
            return [model.encode(a['inputs'], n)]
        if teacher:
            return [model.decode(model.encode(a['inputs'], n), n, tf.shape(a['inputs'])[1],
                                 targets=a['inputs'])]
        if of == 'outputs':
            return [model(a['inputs'], n)]
        batch = {'inputs': a['inputs'], 'lengths': n}
        measured = model.measure(batch)
        return [*model.loss(batch, training=False), *measured['loss'], *measured['baseline'],
                *measured['explained']]

    def alone(weights, a):
        x, oracle = a['inputs'], getattr(reference, cell)
        if of == 'codes':
            return [reference.sequence_code(x, weights, oracle)]
        outputs = reference.autoencoder(
            x, weights, oracle, options.get('reverse_target', False),
            options.get('autoregressive', False), teacher)
        if of == 'outputs':
            return [outputs]
        error, baseline = (reference.tally(reference.squared_error(x, predicted))
                           for predicted in [outputs, mean])
        return [*error, *error, *baseline, baseline[0] - error[0], baseline[0]]

    return Contract(f'models.SequenceAutoencoder[{variant}]', make=make, call=call, reference=alone,
                    kinds={'outputs': ('steps',), 'codes': ('sequence',),
                           'measure': ('sum',) * 8}[of])


def _event_detector(variant, network, loss=None, **options):
    """A contract of `models.EventDetector`: its logits, or its loss if that has an oracle."""
    def make(dtype):
        return _with_biases(some_models.detector(
            3, event_rate=0.25, network=network, hidden_size=2, num_layers=2, dropout=0.5,
            dtype=dtype, seed=0, **options))

    def alone(weights, a):
        logits = reference.event_detector(
            a['inputs'], weights, getattr(reference, network, None),
            'causal' if options.get('causal', True) else 'same')
        return [logits] if loss is None else reference.tally(loss(logits, a['labels']))

    return Contract(f'models.EventDetector[{variant}]', make=make, call=_call_model(loss),
                    reference=alone,
                    arrays=lambda *sizes: {**_binary_steps(*sizes), **features(*sizes)},
                    kinds=('steps',) if loss is None else ('sum', 'sum'))


def _ratings(rng, batch, maxlen, dtype):
    return {'inputs': rng.normal(3, 1, size=[batch, maxlen, 1]).astype(dtype),
            'columns': rng.integers(0, 4, size=[batch, maxlen]).astype('int32'),
            'given': rng.random([batch, maxlen]) < 0.7}


def _rating_autoencoder(variant, of='outputs', **options):
    """A contract of `models.RatingAutoencoder`: outputs, outputs of all columns, or losses."""
    means = {'mean': 3.1, 'column': [0.5, -0.25, 0.0, 1.0]}

    def make(dtype):
        model = _with_biases(some_models.rating_autoencoder(
            4, dropout=0.0, dtype=dtype, seed=0, **{'hidden_sizes': (2,), **options}))
        model.decoder.assign(np.random.default_rng(3).normal(size=model.decoder.shape))
        model.mean.assign(means['mean'])
        model.column.assign(means['column'])
        return model

    def call(model, a, n):
        if of == 'outputs':
            return [model(lengths=n, **a)]
        if of == 'all':
            return [model.decode(*model.encode(a['inputs'], n, a['columns']))]
        batch = {'lengths': n, **a}
        measured = model.measure(batch)
        return [*model.loss(batch, training=False), *measured['loss'], *measured['absolute_error']]

    def alone(weights, a):
        ratings, given = a['inputs'][:, 0], a['given']
        if of == 'all':
            return [reference.rating_autoencoder(
                ratings, a['columns'], np.ones(len(ratings), bool), np.arange(4), weights, **means)]
        outputs = reference.rating_autoencoder(
            ratings, a['columns'], given, a['columns'], weights, **means)
        if of == 'outputs':
            return [outputs]
        squares, errors = (f(outputs, ratings)[~given] for f in [
            reference.squared_error, reference.absolute_error])
        return [*reference.tally(squares), *reference.tally(squares), *reference.tally(errors)]

    return Contract(f'models.RatingAutoencoder[{variant}]', make=make, call=call, reference=alone,
                    arrays=_ratings, kinds={'outputs': ('steps',), 'all': ('sequence',),
                                            'losses': ('sum',) * 6}[of])


MODELS = [
    _rating_autoencoder('given'),
    _rating_autoencoder('deep', hidden_sizes=(2, 3)),
    _rating_autoencoder('all', of='all'),
    _rating_autoencoder('losses', of='losses'),
    _autoencoder('deep, reversed, code', num_layers=2, reverse_target=True, code_size=3),
    _autoencoder('both directions', 'gru', bidirectional=True, bidirectional_decoder=True),
    _autoencoder('autoregressive, reversed', autoregressive=True, bidirectional=True,
                 reverse_target=True),
    _autoencoder('teacher', 'gru', teacher=True, autoregressive=True, num_layers=2),
    _autoencoder('codes', of='codes', num_layers=2, bidirectional=True, code_size=3),
    _autoencoder('measure', of='measure'),
    _classifier('last', lambda outputs, hidden, _: hidden),
    _classifier('mean', lambda outputs, *_: reference.pool(np.mean, outputs), pool='mean'),
    _classifier('max', lambda outputs, *_: reference.pool(np.max, outputs), pool='max'),
    _classifier('attention, recurrent alone', lambda outputs, _, weights: reference.attention_pool(
        outputs, reference.part(weights, 'attention')), pool='attention', filters=()),
    _labeller('gru', 'gru'),
    _labeller('lstm, one direction', 'lstm', num_layers=1, bidirectional=False),
    _labeller('convolution', 'gru', num_layers=1, bidirectional=False, filters=2),
    _labeller('loss', 'gru', loss=True, bidirectional=False),
    _frame_predictor('numbers'),
    _frame_predictor('binary', targets='binary'),
    _frame_predictor('loss', loss=lambda outputs, labels: np.mean(
        np.square(outputs - labels), axis=-1)),
    _frame_predictor('binary loss', targets='binary', loss=lambda logits, labels: np.sum(
        reference.sigmoid_cross_entropy(logits, labels), axis=-1)),
    _event_detector('gru', 'gru'),
    _event_detector('lstm, both directions', 'lstm', causal=False),
    _event_detector('conv', 'conv'),
    _event_detector('conv, both sides', 'conv', causal=False, kernel_size=4),
    _event_detector('weighted', 'gru', pos_weight='balanced', loss=lambda logits, labels:
                    reference.sigmoid_cross_entropy(logits, labels, pos_weight=0.75 / 0.25)),
    _event_detector('focal', 'conv', pos_weight=3.0, focal_gamma=1.5, loss=lambda logits, labels:
                    (1 + 3) * reference.focal(logits, labels, gamma=1.5, alpha=3 / (1 + 3))),
]


def _crf(variant, call, alone, kinds, arrays=_classes, constraints=None, **options):
    """A contract of `CRF`; its variables are drawn, zeros would hide much."""
    def make(dtype):
        crf = seqmask.CRF(3, constraints=constraints, dtype=dtype)
        rng = np.random.default_rng(4)
        for variable in crf.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
        return crf

    def constrained(weights):
        allowed = {} if constraints is None else constraints._asdict()
        return {name: np.where(allowed.get(name, True), weight, -np.inf)
                for name, weight in weights.items()}

    return Contract(f'CRF[{variant}]', make=make, call=call, kinds=kinds, arrays=arrays,
                    reference=lambda weights, a: alone(constrained(weights), a), **options)


def _crf_loss(variant, per, constraints=None, labels=lambda drawn: drawn):
    """A contract of `CRF.loss`; `labels` makes those drawn keep to the constraints."""
    def operands(*sizes):
        drawn = _classes(*sizes)
        return {**drawn, 'labels': labels(drawn['labels'])}

    return _crf(variant, lambda crf, a, n: list(crf.loss(
        logits=a['inputs'], labels=a['labels'], lengths=n, per=per)),
        lambda weights, a: [reference.crf_nats(a['inputs'], a['labels'], weights),
                            len(a['labels']) if per == 'step' else len(a['labels']) > 0],
        ('sum', 'sum'), operands, constraints)


# Label 2 follows 1 or 2 alone.
BIO = seqmask.bio_constraints(['O', 'B', 'I'])
CHAINS = [
    _crf_loss('loss', 'sequence'),
    _crf_loss('loss, steps', 'step'),
    _crf_loss('loss, constraints', 'step', BIO, lambda labels: np.where(labels == 2, 1, labels)),
    _crf('decode', lambda crf, a, n: [tf.cast(crf.decode(a['inputs'], n)[0], a['inputs'].dtype),
                                      crf.decode(a['inputs'], n)[1]],
         lambda weights, a: list(reference.crf_decode(a['inputs'], weights)),
         ('steps', 'sequence'), features, BIO, differentiable=False),
    _crf('marginals', lambda crf, a, n: [crf.marginals(a['inputs'], n)],
         lambda weights, a: [reference.crf_marginals(a['inputs'], weights)], ('steps',), features),
    _crf('marginals, constraints', lambda crf, a, n: [crf.marginals(a['inputs'], n)],
         lambda weights, a: [reference.crf_marginals(a['inputs'], weights)], ('steps',), features,
         BIO),
]


def _transcribed(rng, batch, maxlen, dtype):
    return {**features(rng, batch, maxlen, dtype),
            'labels': rng.integers(1, 3, size=[batch, 2]).astype('int32'),
            'label_lengths': rng.integers(0, 3, size=[batch]).astype('int32')}


def _ctc(per):
    """A contract of `losses.ctc`, in the precision of TensorFlow's operation."""
    def alone(_, a):
        labels = a['labels'][:a['label_lengths']]
        nats = reference.ctc(a['inputs'], labels)
        if nats is None or not len(a['inputs']):
            return [0, 0]
        return [nats, len(labels) if per == 'label' else 1]

    return Contract(f'losses.ctc[{per}]', kinds=('sum', 'sum'), reference=alone,
                    arrays=_transcribed, per_sequence=('labels', 'label_lengths'), dtype='float32',
                    call=lambda _, a, n: list(seqmask.losses.ctc(
                        logits=a['inputs'], lengths=n, labels=a['labels'],
                        label_lengths=a['label_lengths'], impossible='skip', per=per)))


def _decoded(name, alone, **options):
    """A contract of a decoder: its labels, their number, their log probability."""
    def call(_, a, n):
        labels, label_lengths, log_p = getattr(seqmask.decode, name)(a['inputs'], n, **options)
        return [tf.cast(labels, log_p.dtype), tf.cast(label_lengths, log_p.dtype), log_p]

    def padded(_, a):
        labels, log_p = alone(a['inputs'])
        return [np.pad(labels, [0, len(a['inputs']) - len(labels)]), len(labels), log_p]

    return Contract(f'decode.{name}', kinds=('steps', 'sequence', 'sequence'), call=call,
                    reference=padded, differentiable=False, dtype='float32')


TRANSCRIPTIONS = [
    _ctc('sequence'),
    _ctc('label'),
    Contract('losses.ctc_possible', kinds=('sequence',), arrays=_transcribed,
             per_sequence=('labels', 'label_lengths'), differentiable=False,
             call=lambda _, a, n: [tf.cast(seqmask.losses.ctc_possible(
                 lengths=n, labels=a['labels'], label_lengths=a['label_lengths']), tf.float32)],
             reference=lambda _, a: [reference.ctc(
                 a['inputs'], a['labels'][:a['label_lengths']]) is not None]),
    _decoded('ctc_best_path', reference.ctc_best_path),
    _decoded('ctc_beam_search', reference.ctc_best_labels, width=1000),
]

SEARCHED = [np.random.default_rng(5).normal(size=[3, 3]).astype('f') for _ in range(2)]


def searched_step(xp, token, state, summary):
    """One step, in TensorFlow or NumPy, of a state that remembers all tokens, as one-hot rows."""
    state = xp.tanh(0.5 * state + token @ SEARCHED[0] + summary)
    return 3 * state @ SEARCHED[1], state


def _greedy(summary, **options):
    def step(tokens, state, summary):
        return searched_step(tf, tf.one_hot(tokens, 3), state, summary)
    return seqmask.decode.greedy(step, tf.zeros_like(summary), memory=summary, **options)


def _beam_search(summary, **options):
    def step(tokens, state):
        logits, after = searched_step(tf, tf.one_hot(tokens, 3), **state)
        return logits, {**state, 'state': after}
    return [part[:, 0] for part in seqmask.decode.beam_search(
        step, {'state': tf.zeros_like(summary), 'summary': summary}, width=2 ** 6,
        length_penalty=0.5, **options)]     # as wide as there are outputs of up to 5 labels


def _searched(name, search, pick):
    """A contract of a search: at most as many labels, 0 and 1, as there are steps; 2 ends."""
    def call(_, a, n):
        labels, label_lengths, scores = search(
            seqmask.mean_pool(a['inputs'], n), max_length=n, maxlen=tf.shape(a['inputs'])[1], end=2)
        return [tf.cast(labels, tf.float32), tf.cast(label_lengths, tf.float32), scores]

    def alone(_, a):
        x = a['inputs'].astype(float)
        summary = reference.pool(np.mean, x)
        labels, score = pick(lambda token, state: searched_step(
            np, np.eye(3)[token], state, summary), np.zeros(3), len(x), 2)
        return [np.pad(labels, [0, len(x) - len(labels)]), len(labels), score]

    return Contract(f'decode.{name}', kinds=('steps', 'sequence', 'sequence'), call=call,
                    reference=alone, differentiable=False, dtype='float32')


def _best_output(*decoder):
    scored = {labels: log_p / ((5 + len(labels)) / 6) ** 0.5
              for labels, log_p in reference.outputs_of(*decoder).items()}
    return max(scored.items(), key=lambda item: item[1])


SEARCHES = [_searched('greedy', _greedy, reference.greedy),
            _searched('beam_search', _beam_search, _best_output)]

TAGS = ['O', 'B-X', 'I-X', 'B-Y', 'I-Y']


def _tags(rng, batch, maxlen, dtype):
    return {name: rng.integers(0, 5, size=[batch, maxlen]).astype('int32')
            for name in ('labels', 'inputs')}


def _spans(a):
    """Counts of right, predicted and labelled spans."""
    labelled, predicted = (reference.spans([TAGS[k] for k in a[name]])
                           for name in ('labels', 'inputs'))
    return len(set(labelled) & set(predicted)), len(predicted), len(labelled)


STRUCTURES = [
    Contract('metrics.SpanF1', kinds=('sum', 'sum'), arrays=_tags, differentiable=False,
             make=lambda dtype: seqmask.metrics.SpanF1(TAGS),
             call=lambda metric, a, n: list(metric.tally(
                 labels=a['labels'], predictions=a['inputs'], mask=mask_of(a['labels'], n))),
             reference=lambda _, a: [2 * _spans(a)[0], sum(_spans(a)[1:])]),
    Contract('metrics.EditDistance', kinds=('sum', 'sum', 'sum', 'sum'), arrays=_tags,
             differentiable=False,
             call=lambda _, a, n: [part for tally in (
                 seqmask.metrics.EditDistance.tally, seqmask.metrics.EditDistance.wrong_tally)
                 for part in tally(labels=a['labels'], label_lengths=n, predictions=a['inputs'],
                                   prediction_lengths=n)],
             reference=lambda _, a: [
                 reference.edit_distance(a['labels'], a['inputs']), len(a['labels']),
                 (a['labels'] != a['inputs']).any(), 1]),
]


def _of_steps(variant, arrays, loss, **options):
    """A contract of a labeller's loss: of classes together, of several targets a step."""
    def make(dtype):
        return _with_biases(some_models.labeller(
            3, 3, hidden_size=2, num_layers=1, dtype=dtype, seed=0, **options))

    return Contract(f'models.SequenceLabeller[{variant}]', make=make, arrays=arrays,
                    kinds=('sum', 'sum'), call=lambda model, a, n: list(model.loss(
                        {'inputs': a['inputs'], 'lengths': n, 'labels': a['labels']}, False)),
                    reference=lambda weights, a: loss(reference.labeller(
                        a['inputs'], weights, reference.gru), a['labels'], weights))


def _transcriber(of, slots=1):
    """A contract of `models.SequenceTranscriber`: its logits, or its loss."""
    def make(dtype):
        return _with_biases(models.SequenceTranscriber(
            models.Encoder(3, hidden_size=2, dtype=dtype, seed=0), 3, slots=slots,
            impossible='skip', seed=0))

    def call(model, a, n):
        if of == 'logits':
            return [model(a['inputs'], n)]
        return list(model.loss({**a, 'lengths': n}, training=False))

    def alone(weights, a):
        logits = reference.labeller(a['inputs'], weights, reference.gru)
        if of == 'logits':
            return [logits]
        nats = reference.ctc(logits.reshape([-1, 3]), a['labels'][:a['label_lengths']])
        return [0, 0] if nats is None or not len(logits) else [nats, 1]

    variant = of if slots == 1 else f'{of}, {slots} slots'
    return Contract(f'models.SequenceTranscriber[{variant}]', make=make, call=call, reference=alone,
                    arrays=features if of == 'logits' else _transcribed,
                    per_sequence=('labels', 'label_lengths'),
                    kinds=('steps',) if of == 'logits' else ('sum', 'sum'),
                    dtype='float64' if of == 'logits' else 'float32')


def _paired(rng, batch, maxlen, dtype):
    return {**features(rng, batch, maxlen, dtype),
            'labels': rng.integers(0, 2, size=[batch, 2]).astype('int32'),
            'label_lengths': rng.integers(0, 3, size=[batch]).astype('int32')}


def _to_sequence(variant, of='loss', attention='general', **options):
    """A contract of `models.SequenceToSequence`: its outputs, its loss, or its best outputs."""
    tied, input_feeding = (options.get(name, False) for name in ('tied', 'input_feeding'))
    width = (4 if tied else 2 + 3) if input_feeding else 2
    like = dict(kind=attention, tied=tied, input_feeding=input_feeding)

    def make(dtype):
        # Of any two weights, so that a search has no ties.
        return _perturbed(models.SequenceToSequence(
            models.Encoder(3, hidden_size=2, dropout=0.5, dtype=dtype, seed=0), 2,
            decoder=models.Encoder(width, hidden_size=3, dtype=dtype, seed=1), attention=attention,
            dropout=0.5, label_smoothing=0.5, scheduled_sampling=0.5, seed=0, **options))

    def call(model, a, n):
        if of == 'outputs':
            return [model(a['inputs'], n)]
        if of == 'loss':
            return list(model.loss({**a, 'lengths': n}, training=False))
        labels, label_lengths, scores = model.search(
            a['inputs'], n, width=1 if of == 'greedy' else 2 ** 4, max_length=3, maxlen=3)
        return [part[:, 0] for part in (tf.cast(labels, tf.float32),
                                        tf.cast(label_lengths, tf.float32), scores)]

    def alone(weights, a):
        if of == 'outputs':
            return [reference.encoder(a['inputs'], reference.part(weights, 'encoder'),
                                      reference.gru)]
        weights = {name: weight.astype('float64') for name, weight in weights.items()}
        x = a['inputs'].astype('float64')
        if of == 'loss':
            labels = a['labels'][:a['label_lengths']]
            return [reference.sequence_to_sequence_nats(x, labels, weights, **like),
                    len(labels) + 1]
        step, state, end = reference.sequence_to_sequence(x, weights, **like)
        labels, score = (reference.greedy(step, state, 3, end) if of == 'greedy' else max(
            reference.outputs_of(step, state, 3, end).items(), key=lambda item: item[1]))
        return [np.pad(labels, [0, 3 - len(labels)]), len(labels), score]

    searches = of not in ('outputs', 'loss')
    return Contract(f'models.SequenceToSequence[{variant}]', make=make, call=call, reference=alone,
                    arrays=_paired if of == 'loss' else features,
                    per_sequence=('labels', 'label_lengths'),
                    kinds={'outputs': ('steps',), 'loss': ('sum', 'sum')}.get(
                        of, ('sequence',) * 3),
                    differentiable=not searches, dtype='float32' if searches else 'float64')


TO_SEQUENCES = [
    _to_sequence('outputs', of='outputs'),
    _to_sequence('general'),
    _to_sequence('additive, tied', attention='additive', tied=True),
    _to_sequence('multihead', attention='multihead'),
    _to_sequence('input feeding', input_feeding=True),
    _to_sequence('input feeding, tied', input_feeding=True, tied=True),
    _to_sequence('greedy', of='greedy'),
    _to_sequence('beam search', of='beam', input_feeding=True, attention='additive'),
]

STRUCTURED_MODELS = [
    _of_steps('crf', _classes, lambda logits, labels, weights: [
        reference.crf_nats(logits, labels, reference.part(weights, 'crf')), len(labels)],
        crf=True),
    _of_steps('binary', _binary_elements, lambda logits, labels, _: reference.tally(
        reference.sigmoid_cross_entropy(logits, labels), features='sum'), targets='binary'),
    _of_steps('huber', _targets, lambda outputs, labels, _: reference.tally(
        reference.huber(outputs, labels), features='mean'), targets='huber', features='mean'),
    _transcriber('logits'),
    _transcriber('loss'),
    _transcriber('logits', slots=2),
    _transcriber('loss', slots=2),
]


def _tokens(rng, batch, maxlen, dtype, features=0):
    drawn = {'inputs': rng.integers(0, 4, size=[batch, maxlen]).astype('int32')}
    if features:
        drawn['features'] = rng.normal(size=[batch, maxlen, features]).astype(dtype)
    return drawn


def _embedded(weights, arrays):
    return np.concatenate([weights['embedding/embeddings'][arrays['inputs']],
                           arrays['features']], axis=-1)


def _token_embedding(dtype):
    return models.TokenEmbedding(4, 2, features=1, dtype=dtype, seed=0)


TOKENS = [
    Contract('Embedding', make=lambda dtype: seqmask.Embedding(4, 2, dtype=dtype, seed=0),
             arrays=_tokens, call=lambda layer, a, n: [layer(a['inputs'], n)],
             reference=lambda weights, a: [weights['embeddings'][a['inputs']]], kinds=('steps',)),
    Contract('Sequential[tokens]',
             make=lambda dtype: seqmask.Sequential([
                 seqmask.Embedding(4, 2, dtype=dtype, seed=0),
                 seqmask.Dense(2, 3, dtype=dtype, seed=0)]),
             arrays=_tokens, call=lambda layer, a, n: [layer(a['inputs'], n)[0]],
             reference=lambda weights, a: [reference.dense(
                 weights['layers/0/embeddings'][a['inputs']],
                 reference.part(weights, 'layers/1'))], kinds=('steps',)),
    Contract('models.TokenEmbedding', make=_token_embedding,
             arrays=lambda *sizes: _tokens(*sizes, features=1),
             call=lambda layer, a, n: [layer(a, n)],
             reference=lambda weights, a: [_embedded(weights, a)], kinds=('steps',)),
    Contract('models.Encoder[tokens]',
             make=lambda dtype: _with_biases(models.Encoder(
                 embedding=_token_embedding(dtype), hidden_size=2, dtype=dtype, seed=0)),
             arrays=lambda *sizes: _tokens(*sizes, features=1),
             call=lambda encoder, a, n: [encoder(a, n)],
             reference=lambda weights, a: [reference.gru(
                 _embedded(reference.part(weights, 'embedding'), a),
                 reference.part(weights, 'recurrent/layers/0'))[0]], kinds=('steps',)),
]

CONTRACTS = [*MASKING, *LOSSES, *METRICS, *RECURRENT, *LAYERS, *ATTENTION, *VECTORS, *WINDOWED,
             *DATA, *ENCODERS, *MODELS, *CHAINS, *TRANSCRIPTIONS, *SEARCHES, *TOKENS,
             *STRUCTURES, *TO_SEQUENCES, *STRUCTURED_MODELS]

# Public names that take lengths or a mask but are not operations on [B, T, ...] values.
EXEMPT = {
    'models.SequenceEncoder': 'a base class; the encoders have contracts',
    'models.StreamingModel': 'a base class; SequenceLabeller and EventDetector have contracts',
    'sequence_mask': 'makes the mask; tests/test_lengths.py',
    'lengths_from_mask': 'makes the lengths; tests/test_lengths.py',
    'metrics.AveragePrecision': 'keeps all scores, not a sum; tests/test_event_metrics.py',
    'metrics.ROCAUC': 'keeps all scores, not a sum; tests/test_structure_metrics.py',
    'crop': 'returns a list of NumPy arrays without padding; tests/test_masking.py',
}
