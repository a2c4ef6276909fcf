"""The chain of labels: against all labellings, in probabilities and in logarithms."""

import re

import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask
from seqmask.kernels import chain

LENGTHS = [3, 0, 5, 1, 5]
BIO = seqmask.bio_constraints(['O', 'B', 'I'])
FREE = seqmask.Constraints(*(np.ones(shape, bool) for shape in ([3, 3], [3], [3])))


@pytest.fixture(params=['probabilities', 'logarithms'])
def way(request, monkeypatch):
    """How sums are taken: as the numbers ask for, or in logarithms in any case."""
    if request.param == 'logarithms':
        monkeypatch.setattr(chain, 'TINY', np.inf)
    return request.param


def a_crf(rng, num_classes=3, constraints=None, dtype='float64'):
    crf = seqmask.CRF(num_classes, constraints=constraints, dtype=dtype)
    for variable in crf.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return crf


def weights_of(crf, constraints=None):
    weights = {name: getattr(crf, name).numpy() for name in ('transitions', 'start', 'end')}
    if constraints is not None:
        weights = {name: np.where(getattr(constraints, name), weight, -np.inf)
                   for name, weight in weights.items()}
    return weights


def a_batch(rng, scale=1.0, lengths=LENGTHS, maxlen=5, padding=np.nan):
    logits = scale * rng.normal(size=[len(lengths), maxlen, 3])
    labels = rng.integers(0, 2, size=[len(lengths), maxlen])
    for b, length in enumerate(lengths):
        logits[b, length:], labels[b, length:] = padding, -100
    return logits, labels


def alone(logits, labels, lengths=LENGTHS):
    return [(x[:n], y[:n]) for x, y, n in zip(logits, labels, lengths)]


# Against all labellings

@pytest.mark.parametrize('constraints', [None, BIO], ids=['free', 'bio'])
@pytest.mark.parametrize('scale', [0.0, 1.0, 30.0, 3000.0])
def test_loss_labels_and_marginals_are_those_of_all_labellings(scale, constraints, way, rng):
    crf = a_crf(rng, constraints=constraints)
    weights = weights_of(crf, constraints)
    logits, labels = a_batch(rng, scale)
    rows = alone(logits, labels)
    nats = [reference.crf_nats(x, y, weights) for x, y in rows]
    tally = crf.loss(logits=logits, labels=labels, lengths=LENGTHS)
    np.testing.assert_allclose(tally, [sum(nats), 4], rtol=1e-12)
    per_step = crf.loss(logits=logits, labels=labels, lengths=LENGTHS, per='step')
    np.testing.assert_allclose(per_step, [sum(nats), sum(LENGTHS)], rtol=1e-12)
    decoded, scores = crf.decode(logits, LENGTHS)
    found = crf.marginals(logits, LENGTHS)
    for b, (x, _) in enumerate(rows):
        best, score = reference.crf_decode(x, weights)
        np.testing.assert_array_equal(decoded[b], np.pad(best, [0, 5 - len(best)]))
        np.testing.assert_allclose(scores[b], score, rtol=1e-12)
        np.testing.assert_allclose(found[b, :len(x)], reference.crf_marginals(x, weights),
                                   atol=1e-12)
        assert not found[b, len(x):].numpy().any()


@pytest.mark.parametrize('scale', [1.0, 3000.0])
def test_the_gradient_to_the_logits_is_the_marginals_less_one_at_each_label(scale, way, rng):
    crf = a_crf(rng, constraints=BIO)
    logits, labels = a_batch(rng, scale)
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = crf.loss(logits=x, labels=labels, lengths=LENGTHS).total
    wanted = np.array(crf.marginals(x, LENGTHS))
    for b, length in enumerate(LENGTHS):
        wanted[b, np.arange(length), labels[b, :length]] -= 1
    np.testing.assert_allclose(tape.gradient(total, x), wanted, atol=1e-12)


def gradients(crf, logits, labels, lengths=LENGTHS):
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = crf.loss(logits=x, labels=labels, lengths=lengths).total
    return [tf.convert_to_tensor(g).numpy()
            for g in tape.gradient(total, [x, *crf.trainable_variables])]


@pytest.mark.parametrize('constraints', [None, BIO], ids=['free', 'bio'])
def test_both_ways_have_the_same_gradients(constraints, rng, monkeypatch):
    crf = a_crf(rng, constraints=constraints)
    logits, labels = a_batch(rng, 5.0)
    wanted = gradients(crf, logits, labels)
    monkeypatch.setattr(chain, 'TINY', np.inf)
    for found, want in zip(gradients(crf, logits, labels), wanted):
        np.testing.assert_allclose(found, want, atol=1e-12)


def test_the_variables_gradients_are_those_of_finite_differences(way, rng):
    crf = a_crf(rng)
    logits, labels = a_batch(rng)
    total = tf.function(lambda: crf.loss(logits=logits, labels=labels, lengths=LENGTHS).total)
    for variable, gradient in zip(crf.trainable_variables, gradients(crf, logits, labels)[1:]):
        value = variable.numpy()
        for index in np.ndindex(*value.shape):
            sums = []
            for step in (1e-6, -1e-6):
                moved = value.copy()
                moved[index] += step
                variable.assign(moved)
                sums.append(float(total()))
            variable.assign(value)
            np.testing.assert_allclose(gradient[index], (sums[0] - sums[1]) / 2e-6, atol=1e-7)


def test_second_derivatives_are_those_of_finite_differences(way, rng):
    crf = a_crf(rng)
    lengths = [3, 0, 2]
    logits, labels = a_batch(rng, lengths=lengths, maxlen=3, padding=0.0)
    weight = rng.normal(size=logits.shape)

    def first(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = crf.loss(logits=x, labels=labels, lengths=lengths).total
        return tf.reduce_sum(weight * tape.gradient(total, x))

    def second(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = first(x)
        return tape.gradient(value, x)

    numeric = np.zeros_like(logits)
    traced = tf.function(first)
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        numeric[index] = (traced(tf.constant(logits + step))
                          - traced(tf.constant(logits - step))) / 2e-5
    for of in (second, tf.function(second)):
        np.testing.assert_allclose(of(tf.constant(logits)), numeric, atol=1e-8)


# Numbers at their limits

def in_logarithms(x, weights):
    """The log of the sum over all labellings, step by step."""
    best = weights['start'] + x[0]
    for x_t in x[1:]:
        best = np.logaddexp.reduce(best[:, None] + weights['transitions'], axis=0) + x_t
    return np.logaddexp.reduce(best + weights['end'])


def test_what_falls_behind_by_thousands_of_nats_may_still_win(rng):
    # Two groups of labels that no transition joins: the first leads for 50 steps, the second wins.
    same = np.arange(4)[:, None] // 2 == np.arange(4) // 2
    constraints = seqmask.Constraints(same, np.ones(4, bool), np.ones(4, bool))
    crf = a_crf(rng, 4, constraints)
    x = rng.normal(size=[100, 4])
    x[:50, :2] += 50
    x[50:, 2:] += 75
    labels = rng.integers(2, 4, size=[1, 100])
    tally = crf.loss(logits=x[None], labels=labels, lengths=[100])
    weights = weights_of(crf, constraints)
    wanted = in_logarithms(x, weights) - reference.crf_score(x, labels[0], weights)
    np.testing.assert_allclose(tally.total, wanted, rtol=1e-12)
    assert not crf.marginals(x[None], [100])[0, :, :2].numpy().any()


def test_long_sequences_do_not_overflow(way, rng):
    crf = a_crf(rng)
    x = rng.normal(size=[2000, 3]) * 20
    labels = rng.integers(0, 3, size=[1, 2000])
    tally = tf.function(crf.loss)(logits=tf.constant(x[None]), labels=tf.constant(labels),
                                  lengths=tf.constant([2000]))
    weights = weights_of(crf)
    wanted = in_logarithms(x, weights) - reference.crf_score(x, labels[0], weights)
    np.testing.assert_allclose(tally.total, wanted, rtol=1e-12)


def test_a_logit_of_minus_infinity_is_a_label_ruled_out(rng):
    crf = a_crf(rng)
    logits, labels = a_batch(rng)
    logits[2, 1] = [0.0, -np.inf, -np.inf]
    labels[2, 1] = 0
    np.testing.assert_allclose(crf.marginals(logits, LENGTHS)[2, 1], [1, 0, 0])
    found = gradients(crf, logits, labels)
    assert all(np.isfinite(gradient).all() for gradient in found)
    np.testing.assert_allclose(found[0][2, 1], 0, atol=1e-12)


@pytest.mark.parametrize('dtype, of_results', [
    ('float16', 'float32'), ('bfloat16', 'float32'), ('float32', 'float32'),
    ('float64', 'float64')])
def test_logits_of_every_dtype(dtype, of_results, rng):
    crf = a_crf(rng, dtype='float32')
    logits, labels = a_batch(rng, padding=0.0)
    x = tf.cast(tf.constant(logits), dtype)
    exact = tf.cast(x, 'float64')
    tally = crf.loss(logits=x, labels=labels, lengths=LENGTHS)
    assert tally.total.dtype == tally.count.dtype == of_results
    assert crf.decode(x, LENGTHS)[1].dtype == of_results
    assert crf.marginals(x, LENGTHS).dtype == dtype
    wanted = crf.loss(logits=exact, labels=labels, lengths=LENGTHS)
    np.testing.assert_allclose(tally, wanted, rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = crf.loss(logits=x, labels=labels, lengths=LENGTHS).total
    assert tape.gradient(total, x).dtype == dtype


def test_no_gradient_where_nothing_is_real(way, rng):
    crf = a_crf(rng)
    logits, labels = a_batch(rng, lengths=[0, 0])
    tally = crf.loss(logits=logits, labels=labels, lengths=[0, 0])
    assert float(tally.total) == float(tally.count) == float(tally.mean()) == 0
    for gradient in gradients(crf, logits, labels, lengths=[0, 0]):
        assert not gradient.any()


# Constraints

def test_labels_that_break_the_constraints_are_an_error_that_names_the_sequence(rng):
    crf = a_crf(rng, constraints=BIO)
    logits, labels = a_batch(rng)
    labels[2, :3] = [1, 0, 2]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'violate the constraints.* \[2\]'):
        crf.loss(logits=logits, labels=labels, lengths=LENGTHS)
    compiled = tf.function(crf.loss, jit_compile=True)
    assert np.isinf(compiled(logits=tf.constant(logits), labels=tf.constant(labels),
                             lengths=tf.constant(LENGTHS)).total)


def test_where_the_constraints_allow_no_labelling(way, rng):
    # 0 is followed by 1, and 1 by nothing: two steps at most.
    follows = np.zeros([3, 3], bool)
    follows[0, 1] = True
    start = np.array([True, False, False])
    crf = a_crf(rng, constraints=seqmask.Constraints(follows, start, np.ones(3, bool)))
    logits, _ = a_batch(rng, lengths=[2, 3], maxlen=3)
    labels, score = crf.decode(logits, [2, 3])
    assert labels[0].numpy().tolist() == [0, 1, 0] and np.isfinite(score[0]) and score[1] == -np.inf
    found = crf.marginals(logits, [2, 3]).numpy()
    np.testing.assert_allclose(found[0], [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert not found[1].any()


def test_no_gradient_to_what_is_forbidden(way, rng):
    crf = a_crf(rng, constraints=BIO)
    logits, labels = a_batch(rng)
    by_name = {v.name.split(':')[0]: g for v, g in zip(
        crf.trainable_variables, gradients(crf, logits, labels)[1:])}
    assert not by_name['transitions'][~BIO.transitions].any()
    assert not by_name['start'][~BIO.start].any()
    assert by_name['transitions'][BIO.transitions].all()


def test_bio_constraints_of_several_kinds():
    names = ['I-X', 'O', 'B-Y', 'B-X', 'I-Y']
    allowed = seqmask.bio_constraints(names)
    for i, before in enumerate(names):
        for j, name in enumerate(names):
            kind = name[2:]
            assert allowed.transitions[i, j] == (
                not name.startswith('I') or before in (f'B-{kind}', f'I-{kind}'))
    np.testing.assert_array_equal(allowed.start, [False, True, True, True, False])
    assert allowed.end.all()


@pytest.mark.parametrize('names', [['O', 'X'], ['O-X'], ['B-'], ['E-X'], ['O', 'B-X', 'B-X']])
def test_names_that_are_no_tags_are_refused(names):
    with pytest.raises(ValueError, match='names of tags must'):
        seqmask.bio_constraints(names)


@pytest.mark.parametrize('constraints, error, words', [
    ('bio', TypeError, 'seqmask.Constraints(transitions, start, end)'),
    (FREE._replace(start=[1, 0, 0]), ValueError, 'the start of constraints must be bool [3]'),
    (FREE._replace(transitions=np.ones([3, 2], bool)), ValueError, 'bool [3, 3], got bool [3, 2]'),
    (FREE._replace(end=np.zeros(3, bool)), ValueError, 'the end of constraints allow nothing')])
def test_constraints_that_do_not_fit_are_refused(constraints, error, words):
    with pytest.raises(error, match=re.escape(words)):
        seqmask.CRF(3, constraints=constraints)


@pytest.mark.parametrize('change, error, words', [
    ({'logits': np.zeros([1, 2, 4], 'f')}, ValueError, 'num_classes = 3'),
    ({'logits': np.zeros([1, 2, 3], int)}, TypeError, 'logits must be floating-point'),
    ({'labels': [[0, 3]]}, tf.errors.InvalidArgumentError, 'labels must be in'),
    ({'labels': [0, 1]}, ValueError, 'labels must have'),
    ({'lengths': [3]}, tf.errors.InvalidArgumentError, 'must not exceed'),
    ({'per': 'label'}, ValueError, "per must be one of 'step', 'sequence'")])
def test_arguments_that_do_not_fit_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        seqmask.CRF(3).loss(**{'logits': np.zeros([1, 2, 3], 'f'), 'labels': [[0, 1]],
                               'lengths': [2], **change})


# Compiled, exported

def test_compiled_and_eager_are_equal(way, rng):
    crf = a_crf(rng, constraints=BIO)
    logits, labels = a_batch(rng)

    def everything(x, labels, lengths):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = crf.loss(logits=x, labels=labels, lengths=lengths).total
        return (total, *tape.gradient(total, [x, *crf.trainable_variables]),
                *crf.decode(x, lengths), crf.marginals(x, lengths))

    arguments = [tf.constant(logits), tf.constant(labels), tf.constant(LENGTHS)]
    wanted = everything(*arguments)
    for compiled in (False, True):
        found = tf.function(everything, jit_compile=compiled)(*arguments)
        for one, other in zip(found, wanted):
            np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other),
                                       atol=1e-12)


def test_a_saved_model_decodes_and_has_marginals(tmp_path, rng):
    crf = a_crf(rng, constraints=BIO)
    logits, _ = a_batch(rng)
    module = tf.Module()
    module.crf = crf
    signature = [tf.TensorSpec([None, None, 3], tf.float64), tf.TensorSpec([None], tf.int32)]
    module.decode = tf.function(crf.decode, input_signature=signature)
    module.marginals = tf.function(crf.marginals, input_signature=signature)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    lengths = tf.constant(LENGTHS)
    for one, other in zip(loaded.decode(logits, lengths), crf.decode(logits, LENGTHS)):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(loaded.marginals(logits, lengths), crf.marginals(logits, LENGTHS))


@pytest.mark.filterwarnings('ignore:.*tf.lite.Interpreter is deprecated')
def test_tensorflow_lite_decodes(rng):
    crf = a_crf(rng, constraints=BIO, dtype='float32')
    logits = a_batch(rng)[0].astype('f')
    decode = tf.function(crf.decode, input_signature=[
        tf.TensorSpec([5, 5, 3], tf.float32, 'logits'), tf.TensorSpec([5], tf.int32, 'lengths')])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [decode.get_concrete_function()], crf)
    runner = tf.lite.Interpreter(model_content=converter.convert()).get_signature_runner()
    found = runner(logits=logits, lengths=np.array(LENGTHS, np.int32))
    for one, other in zip(found.values(), crf.decode(logits, LENGTHS)):
        np.testing.assert_allclose(one, other, rtol=1e-6)
