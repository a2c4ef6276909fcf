"""Spans, edit distances and ranks, counted over batches as over all at once."""

import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask
from seqmask.metrics import ROCAUC, EditDistance, SpanF1
from seqmask.metrics.spans import SpanScores

NAMES = ['O', 'B-X', 'I-X', 'B-Y', 'I-Y']


def numbers(*rows):
    return [[NAMES.index(tag) for tag in row.split()] for row in rows]


# Spans

@pytest.mark.parametrize('tags, found', [
    ('B-X I-X O', [(0, 2, 'X')]),
    ('I-X I-X O', [(0, 2, 'X')]),                       # I without B begins one
    ('B-X I-Y', [(0, 1, 'X'), (1, 2, 'Y')]),            # and so does another kind
    ('B-X B-X', [(0, 1, 'X'), (1, 2, 'X')]),
    ('I-X B-X', [(0, 1, 'X'), (1, 2, 'X')]),            # IOB1: B only between two
    ('O O', [])])
def test_what_a_span_is(tags, found):
    assert reference.spans(tags.split()) == found
    metric = SpanF1(NAMES)
    metric.update(labels=numbers(tags), predictions=numbers(tags), mask=None)
    assert metric.scores()['all'] == SpanScores(len(found), len(found), len(found))


@pytest.mark.parametrize('labels, predictions, scores', [
    ('B-X I-X O', 'B-X I-X I-X', (0, 1, 1)),            # too long
    ('B-X I-X I-X', 'B-X I-X O', (0, 1, 1)),            # too short
    ('B-X I-X I-X', 'B-X B-X I-X', (0, 2, 1)),          # cut in two
    ('B-X I-X', 'B-Y I-Y', (0, 1, 1)),                  # another kind
    ('O B-X', 'I-X I-X', (0, 1, 1)),
    ('B-X I-X', 'I-X I-X', (1, 1, 1))])
def test_a_span_is_right_if_ends_and_kind_are(labels, predictions, scores):
    metric = SpanF1(NAMES)
    metric.update(labels=numbers(labels), predictions=numbers(predictions), mask=None)
    assert metric.scores()['all'] == SpanScores(*scores)


def test_spans_of_random_tags_over_batches(rng):
    metric, wanted = SpanF1(NAMES), {'X': np.zeros(3, int), 'Y': np.zeros(3, int)}
    for _ in range(5):
        lengths = rng.integers(0, 13, size=8)
        labels = rng.integers(0, 5, size=[8, 12])
        predictions = np.where(rng.random(labels.shape) < 0.7, labels,
                               rng.integers(0, 5, size=labels.shape))
        for b, n in enumerate(lengths):
            labels[b, n:], predictions[b, n:] = -100, 99
            one, other = (set(reference.spans([NAMES[k] for k in row[b, :n]]))
                          for row in (labels, predictions))
            for kind, counts in wanted.items():
                counts += [sum(span[2] == kind for span in spans)
                           for spans in (one & other, other, one)]
        mask = seqmask.sequence_mask(tf.constant(lengths), 12)
        metric.update(labels=labels, predictions=predictions, mask=mask)
    wanted['all'] = sum(wanted.values())
    assert metric.scores() == {kind: SpanScores(*counts) for kind, counts in wanted.items()}
    right, predicted, labelled = wanted['all']
    assert right and right < predicted
    precision, recall = right / predicted, right / labelled
    np.testing.assert_allclose(metric.result(), 2 * precision * recall / (precision + recall),
                               rtol=1e-6)
    scores = metric.scores()['all']
    np.testing.assert_allclose([scores.precision, scores.recall, scores.f1],
                               [precision, recall, float(metric.result())], rtol=1e-6)
    metric.reset()
    assert float(metric.result()) == 0 and metric.scores()['all'].f1 == 0


@pytest.mark.parametrize('change, error, words', [
    ({'labels': [[5]]}, tf.errors.InvalidArgumentError, r'labels must be in \[0, 5\)'),
    ({'predictions': [[-1]]}, tf.errors.InvalidArgumentError, r'predictions must be in \[0, 5\)'),
    ({'predictions': [[0, 0]]}, ValueError, 'predictions must have|mask must'),
    ({'labels': [[0.0]]}, TypeError, 'labels must be the numbers of tags')])
def test_tags_that_do_not_fit_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        SpanF1(NAMES).update(**{'labels': [[0]], 'predictions': [[0]], 'mask': None, **change})


def test_names_and_schemes_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="scheme must be one of 'bio'"):
        SpanF1(NAMES, scheme='bioes')
    with pytest.raises(ValueError, match="got 'E-X'"):
        SpanF1(['O', 'E-X'])


# Edit distance

def test_edit_distances_of_random_labels_over_batches(rng):
    metric, errors, count, wrong = EditDistance(), 0, 0, []
    update = tf.function(lambda batch: metric.update(**batch), reduce_retracing=True)
    for maxlen in (4, 7):
        labels, predictions = (rng.integers(0, 3, size=[20, maxlen]) for _ in range(2))
        label_lengths, prediction_lengths = (rng.integers(0, maxlen + 1, size=20)
                                             for _ in range(2))
        predictions[:3], prediction_lengths[:3] = labels[:3], label_lengths[:3]
        for b in range(20):
            distance = reference.edit_distance(labels[b, :label_lengths[b]],
                                               predictions[b, :prediction_lengths[b]])
            errors, count = errors + distance, count + label_lengths[b]
            wrong.append(distance > 0)
            labels[b, label_lengths[b]:], predictions[b, prediction_lengths[b]:] = -100, 77
        update({'labels': tf.constant(labels), 'label_lengths': tf.constant(label_lengths),
                'predictions': tf.constant(predictions),
                'prediction_lengths': tf.constant(prediction_lengths)})
    np.testing.assert_allclose(metric.result(), errors / count, rtol=1e-6)
    np.testing.assert_allclose(metric.sequences_wrong(), np.mean(wrong), rtol=1e-6)
    metric.reset()
    assert float(metric.result()) == float(metric.sequences_wrong()) == 0


def test_edit_distances_where_there_is_nothing():
    empty = dict(labels=np.zeros([0, 3], int), predictions=np.zeros([0, 0], int),
                 label_lengths=[], prediction_lengths=[])
    assert [float(part) for part in EditDistance.tally(**empty)] == [0, 0]
    of_nothing = EditDistance.tally(labels=[[1]], label_lengths=[0], predictions=[[1, 2]],
                                    prediction_lengths=[2])
    assert [float(part) for part in of_nothing] == [2, 0]


@pytest.mark.parametrize('change, error, words', [
    ({'labels': [[1.0]]}, TypeError, 'labels must be integers'),
    ({'prediction_lengths': [2]}, tf.errors.InvalidArgumentError, 'prediction_lengths must not'),
    ({'label_lengths': [-1]}, tf.errors.InvalidArgumentError, 'label_lengths must not be negative'),
    ({'predictions': [[1], [1]], 'prediction_lengths': [1, 1]}, ValueError, 'prediction_lengths')])
def test_labels_that_do_not_fit_are_refused(change, error, words):
    good = {'labels': [[1]], 'label_lengths': [1], 'predictions': [[1]], 'prediction_lengths': [1]}
    with pytest.raises(error, match=words):
        EditDistance.tally(**{**good, **change})


# Ranks

def test_the_area_is_the_share_of_pairs_in_order(rng):
    metric, scores, labels = ROCAUC(), [], []
    for _ in range(3):
        lengths = rng.integers(0, 9, size=5)
        logits = np.round(rng.normal(size=[5, 8]), 1)       # some of them equal
        right = rng.integers(0, 2, size=[5, 8])
        logits += 0.5 * right
        for b, n in enumerate(lengths):
            scores += logits[b, :n].tolist()
            labels += right[b, :n].tolist()
            logits[b, n:], right[b, n:] = np.nan, -1
        metric.update(logits=tf.constant(logits), labels=right,
                      mask=seqmask.sequence_mask(tf.constant(lengths), 8))
    pairs = [(a > b) + (a == b) / 2 for a, one in zip(scores, labels) if one
             for b, other in zip(scores, labels) if not other]
    np.testing.assert_allclose(metric.result(), np.mean(pairs), rtol=1e-6)
    metric.reset()
    assert np.isnan(metric.result())


def test_without_both_kinds_there_is_no_area():
    metric = ROCAUC()
    metric.update(logits=tf.constant([[1.0, 2.0]]), labels=[[1, 1]], mask=None)
    assert np.isnan(metric.result())
    metric.update(logits=tf.constant([[0.0]]), labels=[[0]], mask=None)
    assert float(metric.result()) == 1


@pytest.mark.parametrize('change, error, words', [
    ({'logits': [[np.nan]]}, tf.errors.InvalidArgumentError, 'must not be NaN'),
    ({'labels': [[2]]}, tf.errors.InvalidArgumentError, 'labels must be 0 or 1')])
def test_scores_that_do_not_fit_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        ROCAUC().update(**{'logits': np.zeros([1, 1]), 'labels': [[0]], 'mask': None, **change})


def test_the_area_is_not_counted_inside_of_a_graph():
    with pytest.raises(TypeError, match='ROCAUC keeps scores in NumPy'):
        tf.function(ROCAUC().update)(logits=tf.zeros([1, 1]), labels=tf.zeros([1, 1]), mask=None)
