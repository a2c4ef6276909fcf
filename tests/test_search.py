"""Searches for the outputs of a decoder: what contracts.py does not ask of them."""

import numpy as np
import pytest
import tensorflow as tf

import reference
from seqmask import decode

END = 3
LIMITS = [5, 0, 2, 4, 1, 5]


class Decoder:
    """A random decoder of each sequence: 3 labels and the end, a nested state that keeps all."""

    def __init__(self, batch=len(LIMITS), seed=0):
        rng = np.random.default_rng(seed)
        self.tables = rng.normal(size=[batch, 4, 4]).astype('f')
        self.offsets = rng.normal(size=[batch, 1]).astype('f')
        self.rows = []          # that each eager step was given

    def step(self, tokens, state, tables):
        if tf.executing_eagerly():
            self.rows.append(len(tokens))
        hidden, (offset,) = state['hidden'], state['more']
        each = tf.shape(tokens)[0] // tf.maximum(tf.shape(tables)[0], 1)
        moved = tf.gather(tf.repeat(tables, each, axis=0), tokens, batch_dims=1)
        hidden = tf.tanh(0.7 * hidden + moved + offset)
        return 3 * hidden, {'hidden': hidden, 'more': (0.9 * offset,)}

    def search(self, name='beam_search', rows=slice(None), limits=LIMITS, **options):
        tables, offsets = self.tables[rows], tf.constant(self.offsets[rows])
        return getattr(decode, name)(
            self.step, {'hidden': tf.zeros([len(tables), 4]), 'more': (offsets,)},
            memory=tf.constant(tables), max_length=np.array(limits, np.int32)[rows], end=END,
            **options)

    def alone(self, b):
        """The arguments of an oracle."""
        def step(token, state):
            hidden, offset = state
            hidden = np.tanh(0.7 * hidden + self.tables[b, token] + offset)
            return 3 * hidden, (hidden, 0.9 * offset)
        return step, (np.zeros(4), self.offsets[b].astype(float)), LIMITS[b], END


def outputs(results, b):
    """[(labels, score)] of one sequence, without free places."""
    labels, lengths, scores = (part.numpy()[b] for part in results)
    assert not any(row[length:].any() for row, length in zip(labels, lengths))
    return [(tuple(row[:length].tolist()), score)
            for row, length, score in zip(labels, lengths, scores) if np.isfinite(score)]


@pytest.mark.parametrize('length_penalty', [0.0, 0.8])
def test_a_wide_beam_finds_all_outputs_in_order(length_penalty):
    decoder = Decoder()
    results = decoder.search(width=400, length_penalty=length_penalty)
    assert results[0].shape == (len(LIMITS), 400, max(LIMITS))
    for b in range(len(LIMITS)):
        wanted = {labels: log_p / ((5 + len(labels)) / 6) ** length_penalty
                  for labels, log_p in reference.outputs_of(*decoder.alone(b)).items()}
        found = outputs(results, b)
        assert len(found) == len(wanted) == sum(3 ** n for n in range(LIMITS[b] + 1))
        np.testing.assert_allclose([score for _, score in found],
                                   sorted(wanted.values(), reverse=True), atol=1e-4)
        np.testing.assert_allclose([score for _, score in found],
                                   [wanted[labels] for labels, _ in found], atol=1e-4)
        if not length_penalty:
            np.testing.assert_allclose(np.exp([score for _, score in found]).sum(), 1, rtol=1e-4)


def test_places_without_an_output_are_empty_and_last():
    labels, lengths, scores = Decoder().search(width=50)
    number = 1 + 3          # up to one label
    assert np.isneginf(scores[4, number:]).all() and np.isfinite(scores[4, :number]).all()
    assert not labels[4, number:].numpy().any() and not lengths[4, number:].numpy().any()


def test_a_beam_of_one_is_greedy():
    decoder = Decoder()
    wide = decoder.search(width=1)
    for b in range(len(LIMITS)):
        labels, log_p = reference.greedy(*decoder.alone(b))
        (found, score), = outputs(wide, b)
        assert found == labels
        np.testing.assert_allclose(score, log_p, atol=1e-5)
    for one, part in zip(decoder.search('greedy'), wide):
        np.testing.assert_array_equal(one, part[:, 0])


@pytest.mark.parametrize('width', [1, 3])
def test_batch_mates_change_nothing(width):
    decoder = Decoder()
    together = decoder.search(width=width, length_penalty=0.5)
    for b in range(len(LIMITS)):
        alone = decoder.search(rows=slice(b, b + 1), width=width, length_penalty=0.5)
        for (labels, score), (wanted, of) in zip(outputs(together, b), outputs(alone, 0)):
            assert labels == wanted
            np.testing.assert_allclose(score, of, atol=1e-5)


@pytest.mark.parametrize('width', [1, 3])
def test_what_has_ended_leaves_the_loop(width):
    decoder = Decoder(batch=64)
    # The end is out of the question, so that all outputs are as long as they may be.
    decoder.tables[:, :, END], limits = -9, np.repeat([1, 2, 3, 7], [32, 16, 15, 1])
    results = decoder.search(width=width, limits=limits)
    np.testing.assert_array_equal(results[1][:, 0], limits)
    assert decoder.rows == [width * rows for rows in [64, 32, 16] + 4 * [1]]
    decoder.rows = []
    decoder.tables[:, :, END] = 9
    results = decoder.search(width=1, limits=limits)
    assert decoder.rows == [64] and not results[1].numpy().any()


def test_one_trace_for_all_sizes_and_a_saved_model(tmp_path):
    decoder, traces = Decoder(), []

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4, 4]), tf.TensorSpec([None, 1]),
                                      tf.TensorSpec([None], tf.int32)])
        def search(self, tables, offsets, limits):
            traces.append(1)
            return decode.beam_search(
                decoder.step, {'hidden': tf.zeros([tf.shape(tables)[0], 4]), 'more': (offsets,)},
                memory=tables, max_length=limits, width=3, end=END)

    module = Module()
    tf.saved_model.save(module, str(tmp_path / 'model'))
    for search in [module.search, tf.saved_model.load(str(tmp_path / 'model')).search]:
        for rows in [slice(None), slice(2), slice(1, 2), slice(0, 0)]:
            found = search(decoder.tables[rows], decoder.offsets[rows], LIMITS[rows])
            for part, wanted in zip(found, decoder.search(rows=rows, width=3)):
                np.testing.assert_allclose(part, wanted, atol=1e-5)
    assert len(traces) <= 2         # one to run, one to save


def a_coin(tokens, state):
    return tf.math.log([[0.5, 0.2, 0.3]] * len(tokens)), state


def test_symbols_may_have_any_numbers():
    seen = []

    def step(tokens, state):
        seen.append(tokens.numpy().tolist())
        return tf.one_hot(state, 4) * 9, state + 1

    labels, lengths, _ = decode.greedy(step, tf.constant([1, 2]), max_length=9, end=3, start=7)
    assert seen == [[7, 7], [1, 2], [2]]        # the second sequence has ended, and left
    assert labels[:, :2].numpy().tolist() == [[1, 2], [2, 0]] and lengths.numpy().tolist() == [2, 1]
    labels, lengths, _ = decode.greedy(a_coin, tf.zeros([1, 0]), max_length=[4], end=0, maxlen=6)
    assert labels.shape == (1, 6) and lengths.numpy().tolist() == [0]


def test_a_forbidden_label_is_never_found():
    def step(tokens, state):
        return tf.constant([[0.0, -np.inf, 0.0]] * len(tokens)), state
    labels, lengths, scores = decode.beam_search(step, tf.zeros([1, 0]), width=9, max_length=2,
                                                 end=2)
    assert sorted(n for n in lengths[0].numpy()[np.isfinite(scores[0])]) == [0, 1, 2]
    assert not labels.numpy().any()


@pytest.mark.parametrize('options, error, words', [
    ({'width': 0}, ValueError, 'width must be at least 1'),
    ({'end': 3}, ValueError, r'end must be in \[0, K\), got 3; .* logits of 3 classes'),
    ({'length_penalty': -1.0}, ValueError, 'length_penalty must be finite and not negative'),
    ({'max_length': [1, 2]}, ValueError, 'max_length must have one entry for each of the 3'),
    ({'max_length': 1.5}, TypeError, 'max_length must be an int'),
    ({'max_length': -1}, ValueError, 'max_length must be at least 0'),
    ({'max_length': [1, 2, -3]}, tf.errors.InvalidArgumentError, 'max_length must not be negative'),
    ({'max_length': [1, 2, 3], 'maxlen': 2}, tf.errors.InvalidArgumentError,
     'max_length must not exceed the padded width L'),
    ({'state': ()}, ValueError, r'max_length must be int32 \[B\]'),
    ({'memory': tf.zeros([2])}, tf.errors.InvalidArgumentError, 'one row for each sequence'),
    ({'state': tf.constant(1)}, ValueError, 'a state must have rank at least 1')])
def test_options_that_do_not_fit_are_refused(options, error, words):
    options = {'state': tf.zeros([3, 1]), 'width': 2, 'max_length': 2, 'end': 2, **options}
    with pytest.raises(error, match=words):
        decode.beam_search(a_coin, options.pop('state'), **options)


def test_a_step_that_changes_its_state_is_refused():
    with pytest.raises(ValueError, match='must return a state of the shapes and dtypes'):
        decode.greedy(lambda tokens, state: (tf.zeros([3, 3]), tf.zeros([3, 2])), tf.zeros([3, 1]),
                      max_length=2, end=2)
