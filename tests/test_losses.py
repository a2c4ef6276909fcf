"""Losses: selection, not multiplication; float32 sums; gradients that survive large logits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import reference
from seqmask import Tally, losses, sequence_mask

LENGTHS = [3, 0, 5, 1]
MAXLEN = 5
MASK = np.arange(MAXLEN) < np.array(LENGTHS)[:, None]
CLASSES = ('sparse_softmax_cross_entropy', 'softmax_cross_entropy')
ERRORS = ('squared_error', 'absolute_error', 'huber')
ALL = (*CLASSES, 'sigmoid_cross_entropy', 'focal', *ERRORS)

every_loss = pytest.mark.parametrize('name', ALL)
either_per = pytest.mark.parametrize('per', ['step', 'sequence'])


def operands(name, rng, shape=(len(LENGTHS), MAXLEN), dtype='float32'):
    """(outputs [..., 3], labels) of a loss."""
    outputs = rng.normal(size=[*shape, 3]).astype(dtype)
    if name == 'sparse_softmax_cross_entropy':
        return outputs, rng.integers(0, 3, size=shape).astype('int32')
    if name == 'softmax_cross_entropy':
        return outputs, rng.dirichlet([1, 1, 1], size=shape).astype(dtype)
    if name in ERRORS:
        return outputs, rng.normal(size=[*shape, 3]).astype(dtype)
    return outputs, rng.integers(0, 2, size=[*shape, 3]).astype('int32')


def call(name, outputs, labels, mask, **options):
    argument = 'predictions' if name in ERRORS else 'logits'
    return getattr(losses, name)(**{argument: outputs}, labels=labels, mask=mask, **options)


def numbers(tally):
    assert isinstance(tally, Tally)
    return [float(tally.total), float(tally.count)]


def gradient(name, outputs, labels, mask, **options):
    outputs = tf.convert_to_tensor(outputs)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = call(name, outputs, labels, mask, **options).mean()
    return tape.gradient(loss, outputs).numpy()


# Against Keras, on the real steps and with its own masks

KERAS = [
    ('sparse_softmax_cross_entropy', {},
     keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
    ('softmax_cross_entropy', {}, keras.losses.CategoricalCrossentropy(from_logits=True)),
    ('softmax_cross_entropy', {'label_smoothing': 0.3},
     keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3)),
    ('sigmoid_cross_entropy', {}, keras.losses.BinaryCrossentropy(from_logits=True)),
    ('sigmoid_cross_entropy', {'label_smoothing': 0.3},
     keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.3)),
    ('focal', {}, keras.losses.BinaryFocalCrossentropy(from_logits=True)),
    ('focal', {'gamma': 1.5, 'alpha': 0.25}, keras.losses.BinaryFocalCrossentropy(
        from_logits=True, gamma=1.5, alpha=0.25, apply_class_balancing=True)),
    ('squared_error', {}, keras.losses.MeanSquaredError()),
    ('absolute_error', {}, keras.losses.MeanAbsoluteError()),
    ('huber', {'delta': 0.7}, keras.losses.Huber(delta=0.7)),
]
every_keras_loss = pytest.mark.parametrize('name, options, peer', KERAS)


@every_keras_loss
def test_equals_keras_on_the_real_steps(name, options, peer, rng):
    outputs, labels = operands(name, rng)
    tally = call(name, outputs, labels, MASK, **options)
    expected = float(peer(labels[MASK].astype('float32'), outputs[MASK]))
    np.testing.assert_allclose(tally.mean(), expected, rtol=1e-5)
    assert tally.count == sum(LENGTHS)


@every_keras_loss
def test_equals_keras_with_a_mask_of_its_own(name, options, peer, rng):
    _, labels = operands(name, rng)
    features = rng.normal(size=[len(LENGTHS), MAXLEN, 3]) * MASK[..., None]
    model = keras.Sequential([keras.layers.Masking(), keras.layers.Dense(3, use_bias=False)])
    outputs = model(features)       # carries the mask of the frames that are not 0
    expected = peer(labels.astype('float32'), outputs)
    tally = call(name, tf.identity(outputs), labels, MASK, **options)
    np.testing.assert_allclose(tally.mean(), expected, rtol=1e-5)


@every_keras_loss
def test_equals_keras_with_weights(name, options, peer, rng):
    outputs, labels = operands(name, rng)
    weights = rng.uniform(size=MASK.shape).astype('float32')
    tally = call(name, outputs, labels, MASK, weights=weights, **options)
    # With this reduction Keras divides by B T, whatever is masked.
    over_all = peer(labels.astype('float32'), outputs, sample_weight=weights * MASK)
    np.testing.assert_allclose(tally.total, over_all * MASK.size, rtol=1e-5)
    np.testing.assert_allclose(tally.count, weights[MASK].sum(), rtol=1e-6)


@every_loss
def test_equals_the_equation_on_the_real_steps(name, rng):
    outputs, labels = operands(name, rng, dtype='float64')
    tally = call(name, outputs, labels, MASK)
    expected = getattr(reference, name)(outputs[MASK], labels[MASK]).reshape(sum(LENGTHS), -1)
    np.testing.assert_allclose(tally.total, expected.mean(axis=1).sum(), rtol=1e-12)


# What stands in the padding

@every_loss
@either_per
@pytest.mark.parametrize('garbage', [np.nan, np.inf, -1e38, 1e30])
def test_garbage_in_the_padding_changes_nothing(name, per, garbage, rng):
    outputs, labels = operands(name, rng)
    weights = rng.uniform(size=MASK.shape).astype('float32')
    wanted = numbers(call(name, outputs, labels, MASK, weights=weights, per=per))
    wanted_gradient = gradient(name, outputs, labels, MASK, weights=weights, per=per)
    bad = []
    for array in (outputs, labels, weights):
        array = array.copy()
        array[~MASK] = garbage if array.dtype.kind == 'f' else -77
        bad.append(array)
    outputs, labels, weights = bad
    assert numbers(call(name, outputs, labels, MASK, weights=weights, per=per)) == wanted
    np.testing.assert_array_equal(
        gradient(name, outputs, labels, MASK, weights=weights, per=per), wanted_gradient)


@pytest.mark.parametrize('name', ERRORS)
def test_labels_that_are_predicted_themselves_get_no_gradient_in_the_padding(name, rng):
    outputs, labels = operands(name, rng)
    labels[~MASK] = np.nan
    labels = tf.constant(labels)
    with tf.GradientTape() as tape:
        tape.watch(labels)
        loss = call(name, outputs, labels, MASK).mean()
    found = tape.gradient(loss, labels).numpy()
    np.testing.assert_array_equal(found[~MASK], np.zeros_like(outputs)[~MASK])
    np.testing.assert_allclose(found[MASK], -gradient(name, outputs, labels, MASK)[MASK])


@either_per
def test_weights_of_empty_sequences_are_ignored(per):
    tally = losses.squared_error(predictions=tf.ones([2, 2]), labels=tf.zeros([2, 2]),
                                 mask=sequence_mask([2, 0], 2), weights=[3., np.nan], per=per)
    assert numbers(tally) == ([3 * 2, 3 * 2] if per == 'step' else [3, 3])


def test_labels_that_are_all_zero_are_data():
    logits = tf.zeros([1, 4, 2])
    tally = losses.sparse_softmax_cross_entropy(
        logits=logits, labels=tf.zeros([1, 4], tf.int32), mask=sequence_mask([3], 4))
    np.testing.assert_allclose(numbers(tally), [3 * np.log(2), 3], rtol=1e-6)
    tally = losses.softmax_cross_entropy(
        logits=logits, labels=tf.zeros([1, 4, 2]), mask=sequence_mask([3], 4))
    assert tally.count == 3


@every_loss
@either_per
@pytest.mark.parametrize('weighted', [None, 'step', 'sequence'])
def test_without_a_real_step_loss_and_gradient_are_zero(name, per, weighted, rng):
    outputs, labels = operands(name, rng)
    weights = {None: None, 'step': np.ones(MASK.shape), 'sequence': np.ones(len(MASK))}[weighted]
    options = {'weights': weights, 'per': per}
    tally = call(name, outputs, labels, np.zeros_like(MASK), **options)
    assert numbers(tally) == [0, 0]
    assert tally.mean() == 0
    found = gradient(name, outputs, labels, np.zeros_like(MASK), **options)
    np.testing.assert_array_equal(found, np.zeros_like(outputs))


@every_loss
def test_an_empty_batch(name, rng):
    for shape in [(0, 5), (3, 0), (0, 0)]:
        outputs, labels = operands(name, rng, shape)
        assert numbers(call(name, outputs, labels, None)) == [0, 0]
        assert gradient(name, outputs, labels, np.ones(shape, bool)).shape == (*shape, 3)


# Sums

@pytest.mark.parametrize('dtype', [tf.float16, tf.bfloat16, tf.float32])
def test_sums_of_half_precision_are_float32(dtype):
    many = 70_000       # float16 ends at 65,504; bfloat16 counts to 256
    tally = losses.squared_error(predictions=tf.fill([7, many // 7], tf.cast(2, dtype)),
                                 labels=tf.zeros([7, many // 7], dtype), mask=None)
    assert tally.total.dtype == tally.count.dtype == tf.float32
    assert numbers(tally) == [many * 2 ** 2, many]


def test_one_term_beyond_float16():
    tally = losses.squared_error(predictions=tf.constant([[300]], tf.float16),
                                 labels=tf.constant([[0]], tf.float16), mask=None)
    assert tally.total == 300 ** 2


@every_loss
def test_float64_stays(name, rng):
    outputs, labels = operands(name, rng, dtype='float64')
    tally = call(name, outputs, labels, MASK, weights=np.ones(MASK.shape, 'float32'))
    assert tally.total.dtype == tally.count.dtype == tf.float64


@either_per
def test_micro_batches_give_the_gradient_of_the_whole(per, rng):
    inputs = rng.normal(size=[2, 9, 4])
    labels = rng.integers(0, 3, size=[2, 9])
    mask = sequence_mask([1, 9], 9)
    kernel = tf.Variable(rng.normal(size=[4, 3]))

    def loss(rows):
        return losses.sparse_softmax_cross_entropy(
            logits=inputs[rows] @ kernel, labels=labels[rows], mask=mask[rows], per=per)

    with tf.GradientTape() as tape:
        whole = loss(slice(0, 2)).mean()
    wanted = tape.gradient(whole, kernel)
    with tf.GradientTape() as tape:
        parts = (loss(slice(0, 1)) + loss(slice(1, 2))).mean()
    np.testing.assert_allclose(tape.gradient(parts, kernel), wanted, rtol=1e-12)


# Logits

@pytest.mark.parametrize('logit, label, expected', [
    (-50., 1, -1), (50., 0, 1), (-100., 1, -1), (100., 0, 1), (0., 0, 1 / 2), (0., 1, -1 / 2)])
def test_gradient_of_sigmoid_cross_entropy(logit, label, expected):
    found = gradient('sigmoid_cross_entropy', [[logit]], [[label]], None)
    np.testing.assert_allclose(found, [[expected]], rtol=1e-6)
    found = gradient('sigmoid_cross_entropy', [[logit]], [[label]], None, pos_weight=3.0)
    np.testing.assert_allclose(found, [[expected * (3 if label else 1)]], rtol=1e-6)


@pytest.mark.parametrize('logit', [-100., -50., 50., 100.])
def test_gradient_of_softmax_cross_entropy(logit):
    found = gradient('sparse_softmax_cross_entropy', [[[logit, 0.]]], [[0]], None)
    np.testing.assert_allclose(found, [[[-1, 1] if logit < 0 else [0, 0]]], atol=1e-6)


@pytest.mark.parametrize('gamma', [0., 0.5, 1., 2., 5.])
@pytest.mark.parametrize('alpha', [None, 0.25])
@pytest.mark.parametrize('logit', [-100., 100.])
@pytest.mark.parametrize('label', [0, 1])
def test_focal_has_finite_gradients_at_large_logits(gamma, alpha, logit, label):
    found = gradient('focal', [[logit]], [[label]], None, gamma=gamma, alpha=alpha)
    of_label = 1 if alpha is None else (alpha if label else 1 - alpha)
    wrong = (logit > 0) != bool(label)
    expected = of_label * (1 - 2 * label) if wrong else 0     # that of plain cross-entropy
    np.testing.assert_allclose(found, [[expected]], atol=1e-6)


def test_focal_without_focus_is_cross_entropy(rng):
    outputs, labels = operands('focal', rng)
    np.testing.assert_allclose(
        call('focal', outputs, labels, MASK, gamma=0)[0],
        call('sigmoid_cross_entropy', outputs, labels, MASK)[0], rtol=1e-6)
    np.testing.assert_allclose(
        call('focal', outputs, labels, MASK, gamma=0, alpha=0.75)[0],
        call('sigmoid_cross_entropy', outputs, labels, MASK, pos_weight=3.0)[0] / 4, rtol=1e-6)


def test_focal_weighs_a_probability_of_nine_tenths():
    tally = losses.focal(logits=np.log([[0.9 / 0.1]]), labels=[[1]], mask=None, alpha=0.25)
    np.testing.assert_allclose(tally.total, 0.25 * (1 - 0.9) ** 2 * -np.log(0.9))


@pytest.mark.parametrize('smoothing', [0.0, 0.3])
def test_sparse_labels_equal_one_hot_labels(smoothing, rng):
    outputs, labels = operands('sparse_softmax_cross_entropy', rng)
    np.testing.assert_allclose(
        numbers(call(CLASSES[0], outputs, labels, MASK, label_smoothing=smoothing)),
        numbers(call(CLASSES[1], outputs, np.eye(3)[labels], MASK, label_smoothing=smoothing)),
        rtol=1e-6)


@pytest.mark.parametrize('error, loss, slope', [
    (0., 0, 0), (0.5, 0.5 ** 2 / 2, 0.5), (-0.5, 0.5 ** 2 / 2, -0.5), (2., 2 ** 2 / 2, 2),
    (5., 2 * (5 - 2 / 2), 2), (-5., 2 * (5 - 2 / 2), -2), (1e30, 2 * 1e30, 2)])
def test_huber_on_both_sides_of_delta(error, loss, slope):
    tally = losses.huber(predictions=[[error]], labels=[[0.]], mask=None, delta=2)
    np.testing.assert_allclose(tally.total, loss, rtol=1e-6)
    np.testing.assert_allclose(gradient('huber', [[error]], [[0.]], None, delta=2), [[slope]])


# Steps, sequences, features, weights

PREDICTIONS = tf.constant([[1., 2., 9.], [9., 9., 9.], [3., 9., 9.]])
ROWS = sequence_mask([2, 0, 1], 3)


def absolute(**options):
    return numbers(losses.absolute_error(predictions=PREDICTIONS, labels=tf.zeros([3, 3]),
                                         mask=ROWS, **options))


def test_per_step_and_per_sequence():
    assert absolute() == [1 + 2 + 3, 3]
    assert absolute(per='sequence') == [(1 + 2) / 2 + 3, 2]


def test_weights_of_sequences():
    weights = tf.constant([5., 7., 11.])        # B == T: the rank says whose they are
    assert absolute(weights=weights) == [5 * (1 + 2) + 11 * 3, 5 * 2 + 11]
    assert absolute(weights=weights, per='sequence') == [5 * (1 + 2) / 2 + 11 * 3, 5 + 11]


def test_weights_of_steps():
    weights = tf.constant([[1., 3., 100.], [100., 100., 100.], [5., 100., 100.]])
    assert absolute(weights=weights) == [1 * 1 + 3 * 2 + 5 * 3, 1 + 3 + 5]
    assert absolute(weights=weights, per='sequence') == [(1 * 1 + 3 * 2) / (1 + 3) + 3, 2]


def test_a_sequence_whose_steps_weigh_nothing_does_not_count():
    weights = tf.constant([[1., 1., 1.], [1., 1., 1.], [0., 1., 1.]])
    assert absolute(weights=weights, per='sequence') == [(1 + 2) / 2, 1]


@pytest.mark.parametrize('weights', [[2, 1, 1], np.array([2, 1, 1]), np.array([2., 1., 1.])])
def test_weights_of_any_number_type(weights):
    assert absolute(weights=weights) == [2 * (1 + 2) + 3, 2 * 2 + 1]


@either_per
def test_a_loss_for_each_sequence(per):
    tally = losses.sparse_softmax_cross_entropy(
        logits=tf.zeros([3, 4]), labels=tf.constant([1, 2, -9]), per=per,
        mask=tf.constant([True, True, False]), weights=[2., 3., np.nan])
    np.testing.assert_allclose(numbers(tally), [(2 + 3) * np.log(4), 2 + 3], rtol=1e-6)


def test_features_are_averaged_or_added():
    predictions = tf.constant([[[1., 3.], [9., 9.]]])
    options = {'predictions': predictions, 'labels': tf.zeros([1, 2, 2]),
               'mask': tf.constant([[True, False]])}
    assert numbers(losses.absolute_error(**options)) == [(1 + 3) / 2, 1]
    assert numbers(losses.absolute_error(**options, features='sum')) == [1 + 3, 1]


def test_a_mask_of_elements():
    tally = losses.absolute_error(predictions=[[[1., 3.], [5., 9.]]], labels=np.zeros([1, 2, 2]),
                                  mask=tf.constant([[[True, True], [True, False]]]))
    assert numbers(tally) == [1 + 3 + 5, 3]


def test_users_and_items():
    ratings = tf.constant([[5., 0., 0.], [0., 0., 3.], [0., 0., 0.]])
    seen = tf.constant([[True, True, False], [False, False, True], [False, False, False]])
    predictions = tf.constant([[4., 1., np.nan], [np.nan, np.nan, 5.], [7., 7., 7.]])
    options = {'predictions': predictions, 'labels': ratings, 'mask': seen}
    assert numbers(losses.squared_error(**options)) == [1 + 1 + 2 ** 2, 3]    # a rating of 0 is one
    assert numbers(losses.squared_error(**options, per='sequence')) == [(1 + 1) / 2 + 2 ** 2, 2]
    assert gradient('squared_error', predictions, ratings, seen)[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize('shape, count', [([4], 4), ([4, 5], 20), ([4, 5, 2], 20)])
def test_no_mask_means_that_every_step_is_real(shape, count):
    tally = losses.squared_error(predictions=tf.fill(shape, 2.), labels=tf.zeros(shape), mask=None)
    assert numbers(tally) == [count * 2 ** 2, count]


# Graphs

@every_loss
def test_a_graph_of_unknown_sizes(name, rng):
    traces = []
    outputs, labels = operands(name, rng)

    @tf.function(input_signature=[
        tf.TensorSpec([None, None, None]), tf.TensorSpec([None] * labels.ndim, labels.dtype),
        tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([None])])
    def run(outputs, labels, mask, weights):
        traces.append(1)
        return call(name, outputs, labels, mask, weights=weights, per='sequence')

    for shape in [(4, 5), (1, 9), (0, 2)]:
        outputs, labels = operands(name, rng, shape)
        mask = rng.uniform(size=shape) < 0.5
        weights = np.ones(shape[0], 'float32')
        np.testing.assert_allclose(
            numbers(run(outputs, labels, mask, weights)),
            numbers(call(name, outputs, labels, mask, weights=weights, per='sequence')), rtol=1e-6)
    assert len(traces) == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match='mask must have the leading axes'):
        run(*operands(name, rng, (4, 5)), np.ones([4, 6], bool), np.ones(4))
    with pytest.raises(tf.errors.InvalidArgumentError, match='weights must have the leading axes'):
        run(*operands(name, rng, (4, 5)), np.ones([4, 5], bool), np.ones(3))


def test_xla():
    compiled = tf.function(losses.sparse_softmax_cross_entropy, jit_compile=True)
    tally = compiled(logits=tf.zeros([2, 3, 4]), labels=tf.zeros([2, 3], tf.int32),
                     mask=sequence_mask([3, 1], 3), per='sequence')
    np.testing.assert_allclose(numbers(tally), [2 * np.log(4), 2], rtol=1e-6)


@pytest.mark.parametrize('wrong', [-1, 3, 1000])
@pytest.mark.parametrize('graph', [False, True])
def test_a_real_label_out_of_range(wrong, graph):
    loss = losses.sparse_softmax_cross_entropy
    loss = tf.function(loss) if graph else loss
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'labels must be in \[0, K\)') as info:
        loss(logits=tf.zeros([1, 2, 3]), labels=tf.constant([[1, wrong]]), mask=None)
    assert str(wrong) in str(info.value)


# Illegal arguments

VALUES = np.zeros([4, 5, 3], 'float32')
IDS = np.zeros([4, 5], 'int32')


@pytest.mark.parametrize('mask, message', [
    (np.ones([4, 6], bool), r'got mask \(4, 6\) for (logits|predictions) \(4, 5, 3\)'),
    (np.ones([5, 4], bool), r'got mask \(5, 4\)'),
    (np.ones([4, 5, 3, 1], bool), r'got mask \(4, 5, 3, 1\)'),
    (np.ones([4], bool), r'mask must have rank 2.*got mask \(4,\)'),
    (np.ones([], bool), r'mask must have rank 2.*got mask \(\)')])
@every_loss
def test_a_mask_of_the_wrong_shape(name, mask, message, rng):
    with pytest.raises(ValueError, match=message):
        call(name, *operands(name, rng), mask)


@pytest.mark.parametrize('batch', [3, 4])
def test_a_mask_with_more_axes_than_the_loss(batch):
    with pytest.raises(ValueError, match=rf'got mask \({batch}, 4\) for predictions \({batch},\)'):
        losses.squared_error(predictions=np.zeros(batch, 'float32'), labels=np.zeros(batch),
                             mask=np.ones([batch, 4], bool))


def test_classes_have_no_mask_of_elements():
    with pytest.raises(ValueError, match=r'mask must have rank 2.*\(4, 5, 3\)'):
        losses.sparse_softmax_cross_entropy(logits=VALUES, labels=IDS,
                                            mask=np.ones([4, 5, 3], bool))


@every_loss
def test_a_mask_that_is_not_bool(name, rng):
    with pytest.raises(TypeError, match='mask must be bool'):
        call(name, *operands(name, rng), MASK.astype('float32'))


@every_loss
def test_labels_of_another_shape(name, rng):
    outputs, labels = operands(name, rng)
    with pytest.raises(ValueError, match='labels must have the (shape|leading axes) of'):
        call(name, outputs, labels[:, :3], MASK)
    with pytest.raises(ValueError, match='labels must have the shape of'):
        call(name, outputs, labels[..., None], MASK)


@every_loss
def test_outputs_that_are_not_floating(name, rng):
    outputs, labels = operands(name, rng)
    with pytest.raises(TypeError, match='(logits|predictions) must be floating-point'):
        call(name, outputs.astype('int32'), labels, MASK)


@every_loss
@pytest.mark.parametrize('shape', [[5], [4, 6], [4, 5, 3], [4, 1]])
def test_weights_of_the_wrong_shape(name, shape, rng):
    with pytest.raises(ValueError, match='weights must have the (shape|leading axes) of mask'):
        call(name, *operands(name, rng), MASK, weights=np.ones(shape))


@every_loss
def test_arguments_go_by_keyword_and_the_mask_must_be_given(name, rng):
    with pytest.raises(TypeError, match='positional'):
        getattr(losses, name)(*operands(name, rng), MASK)
    outputs, labels = operands(name, rng)
    with pytest.raises(TypeError, match="'mask'"):
        getattr(losses, name)(**{'predictions' if name in ERRORS else 'logits': outputs},
                              labels=labels)


def test_float_class_labels():
    with pytest.raises(TypeError, match='labels must be integers'):
        losses.sparse_softmax_cross_entropy(logits=VALUES, labels=IDS.astype('float32'), mask=None)


def test_logits_without_classes():
    with pytest.raises(ValueError, match='logits must have rank at least 2'):
        losses.sparse_softmax_cross_entropy(logits=VALUES[0, 0], labels=IDS[0, 0], mask=None)


@pytest.mark.parametrize('name, option, value, error, message', [
    *[(name, 'per', 'batch', ValueError, "per must be one of 'step', 'sequence'") for name in ALL],
    *[(name, 'features', 'max', ValueError, "features must be one of 'mean', 'sum'")
      for name in ALL if name not in CLASSES],
    *[(name, 'label_smoothing', value, ValueError, r'label_smoothing must be in \[0, 1\)')
      for name in (*CLASSES, 'sigmoid_cross_entropy') for value in (-0.1, 1.0)],
    *[('sigmoid_cross_entropy', 'pos_weight', value, ValueError, 'pos_weight must be finite')
      for value in (0, -1, np.nan, np.inf)],
    ('focal', 'gamma', -1, ValueError, 'gamma must be finite and not negative'),
    ('focal', 'gamma', np.nan, ValueError, 'gamma must be finite and not negative'),
    ('focal', 'gamma', '2', TypeError, 'gamma must be a number'),
    ('focal', 'alpha', 0.0, ValueError, 'alpha must be finite and positive'),
    ('focal', 'alpha', 1.0, ValueError, r'alpha must be in \[0, 1\)'),
    ('huber', 'delta', 0, ValueError, 'delta must be finite and positive'),
    ('huber', 'delta', True, TypeError, 'delta must be a number')])
def test_options_out_of_range(name, option, value, error, message, rng):
    with pytest.raises(error, match=message):
        call(name, *operands(name, rng), MASK, **{option: value})
