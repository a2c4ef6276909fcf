"""Labels without steps: against all alignments, and against PyTorch."""

import numpy as np
import pytest
import tensorflow as tf

import reference
from seqmask.decode import ctc_beam_search, ctc_best_path
from seqmask.losses import ctc, ctc_possible

LENGTHS = [6, 5, 4, 0, 2, 1]
LABEL_LENGTHS = [2, 0, 2, 0, 1, 1]


def a_batch(rng, blank=0, scale=2.0, num_classes=3):
    """Logits, NaN in the padding, and labels, -100 in the padding; the third has equal ones."""
    logits = scale * rng.normal(size=[6, 6, num_classes])
    others = [k for k in range(num_classes) if k != blank]
    labels = rng.choice(others, size=[6, 4])
    labels[2, :2] = others[-1]
    for b, (n, length) in enumerate(zip(LENGTHS, LABEL_LENGTHS)):
        logits[b, n:], labels[b, length:] = np.nan, -100
    return logits, labels


def rows(logits, labels):
    return [(x[:n], y[:length]) for x, y, n, length in zip(logits, labels, LENGTHS, LABEL_LENGTHS)]


@pytest.mark.parametrize('blank', [0, 1, 2])
def test_the_loss_is_that_of_all_alignments(blank, rng):
    logits, labels = a_batch(rng, blank)
    nats = sum(reference.ctc(x, y, blank) for x, y in rows(logits, labels))
    of = dict(logits=logits, lengths=LENGTHS, labels=labels, label_lengths=LABEL_LENGTHS,
              blank=blank)
    np.testing.assert_allclose(ctc(**of), [nats, 5], rtol=1e-7)
    np.testing.assert_allclose(ctc(**of, per='label'), [nats, 6], rtol=1e-7)
    compiled = tf.function(lambda logits, lengths, label_lengths: ctc(**{
        **of, 'logits': logits, 'lengths': lengths, 'label_lengths': label_lengths}),
        jit_compile=True)
    found = compiled(*map(tf.constant, (logits, LENGTHS, LABEL_LENGTHS)))
    np.testing.assert_allclose(found, [nats, 5], rtol=1e-5)


@pytest.mark.parametrize('compiled', [False, True], ids=['graph', 'xla'])
@pytest.mark.parametrize('blank', [0, 2])
def test_the_gradient_is_that_of_finite_differences(blank, compiled, rng):
    logits, labels = a_batch(rng, blank)

    @tf.function(jit_compile=compiled)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = ctc(logits=x, lengths=tf.constant(LENGTHS), labels=labels,
                        label_lengths=tf.constant(LABEL_LENGTHS), blank=blank).total
        return tape.gradient(total, x)

    found = gradient(tf.constant(logits)).numpy()
    for b, (x, y) in enumerate(rows(logits, labels)):
        assert not found[b, len(x):].any()
        for index in np.ndindex(*x.shape):
            step = np.zeros_like(x)
            step[index] = 1e-5
            wanted = (reference.ctc(x + step, y, blank) - reference.ctc(x - step, y, blank)) / 2e-5
            np.testing.assert_allclose(found[b][index], wanted, atol=1e-5)


def test_it_is_that_of_pytorch(rng):
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    lengths, label_lengths = [40, 25, 33], [10, 0, 7]
    logits = rng.normal(size=[3, 40, 12])
    labels = rng.integers(1, 12, size=[3, 10])
    x = torch.tensor(logits, requires_grad=True)
    nats = torch.nn.functional.ctc_loss(
        x.log_softmax(-1).transpose(0, 1), torch.tensor(labels), torch.tensor(lengths),
        torch.tensor(label_lengths), reduction='sum')
    nats.backward()
    ours = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(ours)
        total = ctc(logits=ours, lengths=lengths, labels=labels, label_lengths=label_lengths).total
    np.testing.assert_allclose(total, nats.item(), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(total, ours), x.grad, atol=1e-5)


@pytest.mark.parametrize('dtype, of_results', [
    ('float16', 'float32'), ('bfloat16', 'float32'), ('float32', 'float32'),
    ('float64', 'float64')])
def test_logits_of_every_dtype(dtype, of_results, rng):
    logits, labels = a_batch(rng)
    x = tf.cast(tf.constant(logits), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        tally = ctc(logits=x, lengths=LENGTHS, labels=labels, label_lengths=LABEL_LENGTHS)
    assert tally.total.dtype == tally.count.dtype == of_results
    assert tape.gradient(tally.total, x).dtype == dtype
    for decode in (ctc_best_path, lambda x, n: ctc_beam_search(x, n, width=4)):
        assert [part.dtype for part in decode(x, LENGTHS)] == ['int32', 'int32', of_results]


# Too few steps

def test_a_sequence_with_too_few_steps_is_an_error_that_names_it(rng):
    logits = rng.normal(size=[3, 3, 3])
    labels = [[1, 2, 0], [1, 1, 0], [2, 1, 2]]
    of = dict(logits=logits, labels=labels, label_lengths=[2, 2, 3], lengths=[2, 2, 2])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"'skip' leaves out: \[1, 2\]"):
        ctc(**of)
    with pytest.raises(tf.errors.InvalidArgumentError, match='sequences with fewer'):
        tf.function(lambda x: ctc(**{**of, 'logits': x}))(tf.constant(logits))
    assert ctc_possible(lengths=[2, 2, 2], labels=labels, label_lengths=[2, 2, 3]).numpy().tolist(
        ) == [True, False, False]
    skipped = ctc(**of, impossible='skip')
    np.testing.assert_allclose(skipped, [reference.ctc(logits[0, :2], [1, 2]), 1], rtol=1e-6)
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = ctc(**{**of, 'logits': x}, impossible='skip').total
    gradient = tape.gradient(total, x).numpy()
    assert np.isfinite(gradient).all() and not gradient[1:].any() and gradient[0, :2].all()


def test_possible_is_what_has_an_alignment(rng):
    for length in range(5):
        has = reference.ctc_table(np.zeros([length, 3]))
        for number in range(4):
            labels = 1 + reference.labellings(number, 2)
            found = ctc_possible(lengths=[length] * len(labels), labels=labels,
                                 label_lengths=[number] * len(labels))
            assert found.numpy().tolist() == [tuple(row.tolist()) in has for row in labels]


def test_nothing_at_all():
    x = tf.zeros([2, 0, 3])
    for per in ('sequence', 'label'):
        tally = ctc(logits=x, lengths=[0, 0], labels=np.zeros([2, 0], int), label_lengths=[0, 0],
                    per=per)
        assert float(tally.total) == float(tally.count) == 0
    labels, label_lengths, log_p = ctc_beam_search(x, [0, 0], width=3)
    assert labels.shape == (2, 0) and not label_lengths.numpy().any() and not log_p.numpy().any()


GOOD = {'logits': np.zeros([1, 3, 3], 'f'), 'lengths': [3], 'labels': [[1, 2]],
        'label_lengths': [2]}


@pytest.mark.parametrize('change, error, words', [
    ({'labels': [[1, 0]]}, tf.errors.InvalidArgumentError, r'not the blank, 0; .* \[0\]'),
    ({'labels': [[1, 3]]}, tf.errors.InvalidArgumentError, r'labels must be in \[0, 3\)'),
    ({'labels': [[1, -1]]}, tf.errors.InvalidArgumentError, r'labels must be in \[0, 3\)'),
    ({'labels': [[1.0, 2.0]]}, TypeError, 'labels must be integers'),
    ({'labels': [1, 2]}, ValueError, 'labels must have rank 2'),
    ({'label_lengths': [3]}, tf.errors.InvalidArgumentError, 'label_lengths must not exceed'),
    ({'label_lengths': [-1]}, tf.errors.InvalidArgumentError, 'label_lengths must not be negative'),
    ({'label_lengths': [1, 1]}, ValueError, 'label_lengths must have one entry'),
    ({'lengths': [4]}, tf.errors.InvalidArgumentError, 'lengths must not exceed'),
    ({'lengths': [3, 3]}, ValueError, 'lengths must have one entry'),
    ({'blank': 3}, ValueError, 'K and blank are 3 and 3'),
    ({'blank': -1}, ValueError, 'blank must be at least 0'),
    ({'logits': np.zeros([1, 3, 1], 'f')}, ValueError, 'a class besides the blank'),
    ({'logits': np.zeros([1, 3], 'f')}, ValueError, 'logits must have rank 3'),
    ({'per': 'step'}, ValueError, "per must be one of 'sequence', 'label'"),
    ({'impossible': 'inf'}, ValueError, "impossible must be one of 'error', 'skip'")])
def test_arguments_that_do_not_fit_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        ctc(**{**GOOD, **change})


# Decoding

@pytest.mark.parametrize('blank', [0, 1, 2])
def test_best_path_and_a_wide_beam_against_all_alignments(blank, rng):
    logits, _ = a_batch(rng, blank)
    paths, beams = ctc_best_path(logits, LENGTHS, blank), ctc_beam_search(
        logits, LENGTHS, width=1000, blank=blank)
    for b, n in enumerate(LENGTHS):
        for (labels, label_lengths, log_p), wanted in [
                (paths, reference.ctc_best_path(logits[b, :n], blank)),
                (beams, reference.ctc_best_labels(logits[b, :n], blank))]:
            best, nats = wanted
            assert labels[b].numpy().tolist() == [*best, *[0] * (6 - len(best))]
            assert int(label_lengths[b]) == len(best)
            np.testing.assert_allclose(log_p[b], nats, atol=1e-6)


def test_a_beam_finds_what_the_best_path_does_not(rng):
    logits = rng.normal(size=[200, 5, 3])
    lengths = np.full(200, 5)
    path, beam = ctc_best_path(logits, lengths), ctc_beam_search(logits, lengths, width=50)
    assert (path[0] != beam[0]).numpy().any()
    assert (beam[2] >= path[2] - 1e-6).numpy().all()


@pytest.mark.parametrize('width', [1, 2, 3, 8])
def test_a_row_alone_equals_it_in_any_batch(width, rng):
    logits, _ = a_batch(rng)
    together = ctc_beam_search(logits, LENGTHS, width=width)
    for b, n in enumerate(LENGTHS):
        alone = ctc_beam_search(logits[b:b + 1, :max(n, 1)], [n], width=width)
        np.testing.assert_array_equal(alone[0][0, :n], together[0][b, :n])
        np.testing.assert_array_equal(alone[1][0], together[1][b])
        np.testing.assert_allclose(alone[2][0], together[2][b], rtol=1e-12)


@pytest.mark.parametrize('change, words', [
    ({'width': 0}, 'width must be at least 1'), ({'blank': 3}, 'K and blank are 3 and 3')])
def test_arguments_of_the_search_that_do_not_fit_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        ctc_beam_search(np.zeros([1, 2, 3], 'f'), [2], **{'width': 2, **change})
