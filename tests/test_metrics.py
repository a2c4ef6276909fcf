"""Metrics: every real step counts alike, over batches of any shape; the rest is never seen."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import Tally, metrics, sequence_mask

BATCHES = [([3, 0, 5], 5), ([1], 4), ([0, 0], 2), ([7, 2, 1, 7], 9), ([], 3)]
OF_CLASSES = (metrics.Accuracy, metrics.ErrorRate, metrics.SequenceAccuracy, metrics.Perplexity)
OF_ERRORS = (metrics.RMSE, metrics.MAE)
SCALARS = (metrics.Mean, *OF_CLASSES, *OF_ERRORS)

every_scalar = pytest.mark.parametrize('kind', SCALARS)


def class_batch(rng, lengths, maxlen):
    shape = [len(lengths), maxlen]
    return {'logits': rng.normal(size=[*shape, 4]).astype('float32'),
            'labels': rng.integers(0, 4, size=shape).astype('int32'),
            'mask': sequence_mask(np.array(lengths, 'int32'), maxlen).numpy()}


def error_batch(rng, lengths, maxlen):
    shape = [len(lengths), maxlen, 2]
    return {'predictions': rng.normal(size=shape).astype('float32'),
            'labels': rng.normal(size=shape).astype('float32'),
            'mask': sequence_mask(np.array(lengths, 'int32'), maxlen).numpy()}


def batch_of(kind, rng, lengths, maxlen):
    if kind in OF_CLASSES:
        return class_batch(rng, lengths, maxlen)
    batch = error_batch(rng, lengths, maxlen)
    if kind is metrics.Mean:
        return {'values': batch['predictions'], 'mask': batch['mask']}
    return batch


def batches_of(kind, rng):
    return [batch_of(kind, rng, *batch) for batch in BATCHES]


def with_garbage(batch):
    """The same batch, with the worst in its padding."""
    bad = {}
    for name, array in batch.items():
        array = array.copy()
        if name != 'mask':
            array[~batch['mask']] = np.nan if array.dtype.kind == 'f' else -77
        bad[name] = array
    return bad


# Against live Keras metrics on the real steps

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('kind, peer, finish', [
    (metrics.Accuracy, keras.metrics.SparseCategoricalAccuracy, lambda x: x),
    (metrics.ErrorRate, keras.metrics.SparseCategoricalAccuracy, lambda x: 1 - x),
    (metrics.Perplexity, lambda: keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
     np.exp),
    (metrics.RMSE, keras.metrics.MeanSquaredError, np.sqrt),
    (metrics.MAE, keras.metrics.MeanAbsoluteError, lambda x: x)])
def test_equals_keras_on_the_real_steps(kind, peer, finish, weighted, rng):
    metric, peer = kind(), peer()
    for batch in batches_of(kind, rng):
        mask = batch['mask']
        weights = rng.uniform(size=mask.shape).astype('float32') if weighted else None
        metric.update(**with_garbage(batch), weights=weights)
        outputs = batch['logits' if kind in OF_CLASSES else 'predictions']
        peer.update_state(batch['labels'][mask], outputs[mask],
                          sample_weight=weights[mask] if weighted else None)
        np.testing.assert_allclose(metric.result(), finish(peer.result().numpy()), rtol=1e-5)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('make', [
    keras.metrics.SparseCategoricalAccuracy, keras.metrics.MeanSquaredError,
    keras.metrics.RootMeanSquaredError, keras.metrics.CosineSimilarity])
def test_a_keras_metric_sees_the_real_steps(make, weighted, rng):
    metric, peer = metrics.KerasMetric(make()), make()
    classes = make is keras.metrics.SparseCategoricalAccuracy
    for lengths, maxlen in BATCHES[:2] + BATCHES[3:4]:
        batch = (class_batch if classes else error_batch)(rng, lengths, maxlen)
        mask = batch['mask']
        weights = rng.uniform(size=mask.shape).astype('float32') if weighted else None
        bad = with_garbage(batch)
        predictions = bad['logits' if classes else 'predictions']
        metric.update(predictions=predictions, labels=bad['labels'], mask=mask, weights=weights)
        peer.update_state(batch['labels'][mask], predictions[mask],
                          sample_weight=weights[mask] if weighted else None)
        np.testing.assert_allclose(metric.result(), peer.result(), rtol=1e-6)


def test_a_keras_metric_weighs_steps_and_not_batches():
    metric = metrics.KerasMetric(keras.metrics.MeanAbsoluteError())
    for steps, error in [(1, 0.), (9, 1.)]:
        metric.update(predictions=tf.fill([1, steps], error), labels=tf.zeros([1, steps]),
                      mask=tf.ones([1, steps], tf.bool))
    np.testing.assert_allclose(metric.result(), (1 * 0 + 9 * 1) / (1 + 9), rtol=1e-6)


def test_a_keras_metric_with_weights_of_sequences():
    metric = metrics.KerasMetric(keras.metrics.MeanAbsoluteError())
    metric.update(predictions=tf.constant([[1., 2.], [5., 9.], [9., 9.]]), labels=tf.zeros([3, 2]),
                  mask=sequence_mask([2, 1, 0], 2), weights=[3., 7., np.nan])
    np.testing.assert_allclose(metric.result(), (3 * (1 + 2) + 7 * 5) / (3 * 2 + 7), rtol=1e-6)


def test_a_keras_metric_without_steps():
    metric = metrics.KerasMetric(keras.metrics.MeanSquaredError())
    metric.update(predictions=np.full([2, 3, 1], np.nan), labels=np.zeros([2, 3, 1]),
                  mask=np.zeros([2, 3], bool))
    assert metric.result() == 0


def test_a_keras_metric_without_a_mask():
    metric = metrics.KerasMetric(keras.metrics.SparseCategoricalAccuracy())
    metric.update(predictions=[[0., 1.], [1., 0.]], labels=[1, 1], mask=None)
    metric.update(predictions=[[[0., 1.], [1., 0.]]], labels=[[1, 0]], mask=None)
    assert metric.result() == (1 + 2) / (2 + 2)


# By hand

@every_scalar
def test_one_step_and_nine_steps(kind):
    right, wrong = np.array([[[0., 50.]]], 'float32'), np.array([[[50., 0.]]], 'float32')
    metric = kind()
    for steps, off in [(1, False), (9, True)]:
        mask = np.arange(steps + 1)[None] < steps
        if kind is metrics.Mean:
            metric.update(values=np.full([1, steps + 1], float(off), 'float32'), mask=mask)
        elif kind in OF_ERRORS:
            metric.update(predictions=np.full([1, steps + 1], float(off), 'float32'),
                          labels=np.zeros([1, steps + 1]), mask=mask)
        else:
            metric.update(logits=np.repeat(wrong if off else right, steps + 1, axis=1),
                          labels=np.ones([1, steps + 1], 'int32'), mask=mask)
    mean = (1 * 0 + 9 * 1) / (1 + 9)
    expected = {metrics.Accuracy: 1 - mean, metrics.RMSE: mean ** 0.5,
                metrics.SequenceAccuracy: 1 / 2, metrics.Perplexity: np.exp(50 * mean)}
    np.testing.assert_allclose(metric.result(), expected.get(kind, mean), rtol=1e-6)


LOGITS = np.eye(3, dtype='float32')[[[0, 1, 2], [0, 0, 0], [2, 1, 2]]]
LABELS = np.array([[0, 2, 9], [9, 9, 9], [2, 1, -1]])
MASK = sequence_mask([2, 0, 2], 3)


def value(metric, weights=None):
    metric.update(logits=LOGITS, labels=LABELS, mask=MASK, weights=weights)
    return float(metric.result())


def test_errors_per_step_and_per_sequence():
    assert value(metrics.Accuracy()) == 3 / 4
    assert value(metrics.ErrorRate()) == 1 / 4
    assert value(metrics.ErrorRate(per='sequence')) == (1 / 2 + 0 / 2) / 2
    assert value(metrics.ErrorRate(per='sequence'), [3., np.nan, 1.]) == (3 * 1 / 2) / (3 + 1)


def test_a_sequence_is_right_when_all_its_steps_are():
    assert value(metrics.SequenceAccuracy()) == 1 / 2
    assert value(metrics.SequenceAccuracy(), [3., np.nan, 1.]) == 1 / (3 + 1)


def test_of_equal_logits_the_first_counts():
    metric = metrics.Accuracy()
    metric.update(logits=tf.zeros([1, 2, 3]), labels=[[0, 1]], mask=None)
    assert metric.result() == 1 / 2


def test_confusion_matrix_by_hand():
    confusion = metrics.ConfusionMatrix(3)
    confusion.update(logits=LOGITS, labels=LABELS, mask=MASK)
    assert confusion.result().dtype == tf.int64
    assert confusion.result().numpy().tolist() == [[1, 0, 0],
                                                   [0, 1, 0],
                                                   [0, 1, 1]]       # one 2 was taken for a 1


def test_confusion_matrix_over_batches(rng):
    confusion = metrics.ConfusionMatrix(4)
    expected = np.zeros([4, 4])
    for batch in [class_batch(rng, *batch) for batch in BATCHES]:
        confusion.update(**with_garbage(batch))
        mask = batch['mask']
        expected += tf.math.confusion_matrix(
            batch['labels'][mask], batch['logits'][mask].argmax(-1), num_classes=4).numpy()
    np.testing.assert_array_equal(confusion.result(), expected)
    assert confusion.result().numpy().sum() == sum(sum(lengths) for lengths, _ in BATCHES)
    confusion.reset()
    assert not confusion.result().numpy().any()


# What every metric promises

@every_scalar
def test_nothing_gives_zero(kind, rng):
    metric = kind()
    empty = 1 if kind is metrics.Perplexity else 0
    assert metric.result() == empty
    metric.update(**with_garbage(batch_of(kind, rng, [0, 0], 3)))
    metric.update(**batch_of(kind, rng, [], 3))
    assert metric.result() == empty
    assert metric.result().dtype == tf.float32 and metric.result().shape == []


@every_scalar
def test_the_order_and_the_size_of_batches_change_nothing(kind, rng):
    batch = batch_of(kind, rng, [3, 0, 5, 1], 5)
    whole, parts = kind(), kind()
    whole.update(**batch)
    for rows in [slice(2, 4), slice(0, 2)]:
        parts.update(**{name: array[rows] for name, array in batch.items()})
    np.testing.assert_allclose(parts.result(), whole.result(), rtol=1e-6)


@every_scalar
def test_tallies_add_up_to_the_same(kind, rng):
    batches = batches_of(kind, rng)
    one, other = kind(), kind()
    for batch in batches:
        one.update(**batch)
    step = tf.function(kind.tally, reduce_retracing=True)
    tally = sum(step(**batch) for batch in batches)
    assert isinstance(tally, Tally)
    other.add(tally)
    np.testing.assert_allclose(other.result(), one.result(), rtol=1e-6)


@every_scalar
def test_reset(kind, rng):
    metric = kind()
    metric.update(**batch_of(kind, rng, [3, 2], 4))
    metric.reset()
    batch = batch_of(kind, rng, [2, 1], 4)
    metric.update(**batch)
    alone = kind()
    alone.update(**batch)
    assert metric.result() == alone.result()


def small_batch(kind, rng):
    if kind is metrics.ConfusionMatrix:
        return class_batch(rng, [2, 3], 4)
    return batch_of(kind, rng, [2, 3], 4)


STATEFUL = {
    **{kind.__name__: (kind, kind) for kind in SCALARS},
    'ConfusionMatrix': (lambda: metrics.ConfusionMatrix(4), metrics.ConfusionMatrix),
    'KerasMetric': (lambda: metrics.KerasMetric(keras.metrics.MeanSquaredError()), metrics.MAE),
    'KerasMetric, late': (lambda: metrics.KerasMetric(keras.metrics.R2Score()), metrics.MAE)}
every_stateful = pytest.mark.parametrize('make, like', STATEFUL.values(), ids=STATEFUL)


@every_stateful
def test_in_a_graph(make, like, rng):
    eager, metric = make(), make()
    batches = [small_batch(like, rng) for _ in range(3)]
    if like is metrics.MAE:     # some Keras metrics make their variables late
        metric.update(**batches[0])
        metric.reset()

    @tf.function
    def run(batch):
        metric.update(**batch)
        return metric.result()

    for batch in batches:
        eager.update(**batch)
        found = run({name: tf.constant(array) for name, array in batch.items()})
        np.testing.assert_allclose(found, eager.result(), rtol=1e-6)
    assert run.experimental_get_tracing_count() == 1


@every_stateful
def test_checkpoint(make, like, rng, tmp_path):
    metric, restored = make(), make()
    metric.update(**small_batch(like, rng))
    path = tf.train.Checkpoint(metric=metric).save(str(tmp_path / 'metric'))
    restored.update(**small_batch(like, rng))       # another state, to be overwritten
    tf.train.Checkpoint(metric=restored).restore(path).assert_consumed()
    np.testing.assert_array_equal(restored.result(), metric.result())
    batch = small_batch(like, rng)
    metric.update(**batch)
    restored.update(**batch)
    np.testing.assert_array_equal(restored.result(), metric.result())


def test_counts_beyond_what_float32_can_hold():
    metric = metrics.Mean()
    metric.add(Tally(tf.constant(2.0 ** 25), tf.constant(2.0 ** 25)))
    for _ in range(3):
        metric.update(values=tf.ones([1, 1]), mask=None)
    assert metric.count == 2.0 ** 25 + 3      # float32 would stay at 2^25


@pytest.mark.parametrize('dtype', [tf.float16, tf.bfloat16])
def test_half_precision(dtype):
    many = 70_000
    metric = metrics.RMSE()
    metric.update(predictions=tf.fill([1, many], tf.cast(300, dtype)), labels=tf.zeros([1, many]),
                  mask=None)
    assert metric.count == many
    np.testing.assert_allclose(metric.result(), float(tf.cast(300, dtype)), rtol=1e-6)


# Illegal arguments

@pytest.mark.parametrize('make', [*OF_CLASSES, lambda: metrics.ConfusionMatrix(3)])
def test_class_labels_are_checked(make):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'labels must be in \[0, K\)'):
        make().update(logits=LOGITS, labels=LABELS, mask=None)
    with pytest.raises(TypeError, match='labels must be integers'):
        make().update(logits=LOGITS, labels=LABELS.astype('float32'), mask=MASK)
    with pytest.raises(ValueError, match=r'got mask \(3, 4\) for logits \(3, 3, 3\)'):
        make().update(logits=LOGITS, labels=LABELS, mask=np.ones([3, 4], bool))


@pytest.mark.parametrize('kind', OF_ERRORS)
def test_errors_are_checked(kind):
    with pytest.raises(ValueError, match='labels must have the shape of predictions'):
        kind().update(predictions=np.zeros([2, 3, 1]), labels=np.zeros([2, 3]), mask=None)
    with pytest.raises(TypeError, match='predictions must be floating-point'):
        kind().update(predictions=np.zeros([2, 3], int), labels=np.zeros([2, 3]), mask=None)
    with pytest.raises(TypeError, match='mask must be bool'):
        kind().update(predictions=np.zeros([2, 3]), labels=np.zeros([2, 3]), mask=np.ones([2, 3]))


@every_scalar
def test_arguments_go_by_keyword_and_the_mask_must_be_given(kind, rng):
    batch = batch_of(kind, rng, [1], 2)
    with pytest.raises(TypeError, match='positional'):
        kind().update(*batch.values())
    del batch['mask']
    with pytest.raises(TypeError, match="'mask'"):
        kind().update(**batch)


def test_weights_of_sequence_accuracy_are_those_of_sequences():
    with pytest.raises(ValueError, match=r'weights must have the shape of mask, got .*\(3, 3\)'):
        value(metrics.SequenceAccuracy(), np.ones([3, 3]))


def test_per_is_checked():
    with pytest.raises(ValueError, match="per must be one of 'step', 'sequence', got 'word'"):
        metrics.ErrorRate(per='word')


def test_confusion_matrix_is_checked():
    with pytest.raises(ValueError, match='logits must have K = 4 on axis -1'):
        metrics.ConfusionMatrix(4).update(logits=LOGITS, labels=LABELS, mask=MASK)
    with pytest.raises(ValueError, match='num_classes must be at least 1'):
        metrics.ConfusionMatrix(0)


def test_a_keras_metric_is_checked():
    with pytest.raises(TypeError, match='keras_metric must be a Keras metric'):
        metrics.KerasMetric(keras.metrics.MeanSquaredError)
    metric = metrics.KerasMetric(keras.metrics.MeanSquaredError())
    with pytest.raises(ValueError, match=r'got mask \(2, 4\) for labels \(2, 3\)'):
        metric.update(predictions=np.zeros([2, 3]), labels=np.zeros([2, 3]),
                      mask=np.ones([2, 4], bool))


def test_every_metric_is_public_with_update_result_and_reset():
    for name in seqmask.metrics.__all__:
        kind = getattr(seqmask.metrics, name)
        assert issubclass(kind, tf.Module)
        assert all(callable(getattr(kind, method)) for method in ('update', 'result', 'reset'))
