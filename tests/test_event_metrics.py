"""Precision, recall and thresholds: against enumeration, and against every possible matching."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from seqmask import metrics, sequence_mask
from seqmask.metrics.events import Scores

CASES = range(40)


def a_log(case, number=4, longest=14):
    """Lists of scores, many of them equal, and of labels; a sequence of length 0 among them."""
    rng = np.random.default_rng(case)
    lengths = [0, 1, *rng.integers(2, longest, size=number - 2)]
    return ([rng.integers(0, 6, size=n).astype('float32') / 2 for n in lengths],
            [rng.integers(0, 2, size=n) for n in lengths])


def collected(tolerance, scores, labels):
    """One sequence after the other, unpadded."""
    metric = metrics.AveragePrecision(tolerance)
    for s, y in zip(scores, labels):
        metric.update(logits=s[None], labels=y[None], mask=None)
    return metric


def padded(parts, maxlen, fill):
    whole = np.full([len(parts), maxlen], fill)
    for row, part in zip(whole, parts):
        row[:len(part)] = part
    return whole


def peaks_of(scores, tolerance):
    """Steps that beat all before them, and are no worse than all after them, within reach."""
    return [t for t, s in enumerate(scores)
            if all(s > other for other in scores[max(0, t - tolerance):t])
            and all(s >= other for other in scores[t + 1:t + 1 + tolerance])]


def runs_of(labels):
    runs, start = [], None
    for t, label in enumerate([*labels, 0]):
        if label and start is None:
            start = t
        if not label and start is not None:
            runs.append((start, t - 1))
            start = None
    return runs


def most_pairs(steps, events, tolerance):
    """The largest number of pairs, by trying everything: each step takes some event, or none."""
    if not steps:
        return 0
    best = most_pairs(steps[1:], events, tolerance)
    for k, (first, last) in enumerate(events):
        if first - tolerance <= steps[0] <= last + tolerance:
            best = max(best, 1 + most_pairs(steps[1:], events[:k] + events[k + 1:], tolerance))
    return best


def enumerated(scores, labels, tolerance):
    """(threshold, hits, detections) at each threshold, and the number of events."""
    points = []
    for threshold in sorted({s for part in scores for s in part}, reverse=True):
        hits = detections = 0
        for s, y in zip(scores, labels):
            if tolerance is None:
                hits += np.sum((s >= threshold) & (y == 1))
                detections += np.sum(s >= threshold)
            else:
                steps = [t for t in peaks_of(s, tolerance) if s[t] >= threshold]
                hits += most_pairs(steps, runs_of(y), tolerance)
                detections += len(steps)
        if detections and (not points or (hits, detections) != points[-1][1:]):
            points.append((threshold, hits, detections))
    events = sum(np.sum(y) if tolerance is None else len(runs_of(y)) for y in labels)
    return points, events


@pytest.mark.parametrize('tolerance', [None, 0, 1, 3])
def test_the_curve_is_that_of_every_threshold_and_every_matching(tolerance):
    for case in CASES:
        scores, labels = a_log(case)
        curve = collected(tolerance, scores, labels).curve()
        points, events = enumerated(scores, labels, tolerance)
        assert curve.events == events
        assert list(zip(curve.thresholds, curve.hits, curve.detections)) == points
        area = before = 0
        for _, hits, detections in points:
            area += (hits - before) / events * hits / detections
            before = hits
        assert curve.average_precision == pytest.approx(area)
        best = max(2 * hits / (detections + events) for _, hits, detections in points)
        assert curve.at(curve.best_f1()).f1 == pytest.approx(best)


def test_pairs_are_one_to_one_and_within_the_tolerance():
    rng = np.random.default_rng(0)
    for _ in range(100):
        events = np.sort(rng.choice(30, size=6, replace=False)).reshape([-1, 2])
        steps = np.sort(rng.choice(30, size=rng.integers(0, 9), replace=False))
        scores = rng.integers(0, 4, size=len(steps))
        matched = metrics.matching.match_events(steps, scores, events, tolerance=2)
        pairs = [(step, event) for step, event in zip(steps, matched) if event >= 0]
        assert len({event for _, event in pairs}) == len(pairs)
        assert all(events[e][0] - 2 <= step <= events[e][1] + 2 for step, e in pairs)
        assert len(pairs) == most_pairs(list(steps), list(map(tuple, events)), 2)


def test_a_detection_moves_on_to_another_event_if_need_be():
    # Step 2 is nearer to the event at 3, which is the only one that step 5 can stand for.
    matched = metrics.matching.match_events([2, 5], [0.9, 0.8], [[0, 0], [3, 3]], tolerance=2)
    assert matched.tolist() == [0, 1]
    assert metrics.matching.match_events([2], [0.9], [[0, 0], [3, 3]], tolerance=2).tolist() == [1]


def test_a_long_chain_of_moves_needs_no_recursion():
    steps = np.arange(0, 8000, 4)           # each may stand for two events, the last one for one
    events = np.stack([steps - 2, steps - 2], axis=1)
    scores = np.arange(len(steps))[::-1]
    matched = metrics.matching.match_events(steps, scores, events, tolerance=2)
    assert matched.tolist() == list(range(len(steps)))


def test_an_event_is_counted_once_and_a_lower_score_is_a_false_alarm():
    labels = np.array([0, 0, 1, 1, 1, 0, 0, 0, 0, 1])
    scores = np.array([0, 0, 3, 0, 2, 0, 0, 1, 0, 0], 'float32')
    curve = collected(1, [scores], [labels]).curve()
    assert (curve.events, curve.at(0.5)) == (2, Scores(1 / 3, 1 / 2, 2 * 1 / (3 + 2)))
    curve = collected(2, [scores], [labels]).curve()    # 2 is no peak; 1 is near enough to step 9
    assert curve.at(0.5) == Scores(2 / 2, 2 / 2, 2 * 2 / (2 + 2))


def test_peaks():
    def peaks(scores, tolerance, mask=None):
        found = metrics.matching.find_peaks(np.array([scores], 'float32'), mask, tolerance)
        return np.flatnonzero(found[0]).tolist()

    assert peaks([1, 1, 1, 1, 1, 1, 1], 2) == [0]       # the others are no higher than one before
    assert peaks([0, 2, 1, 2, 0], 1) == [1, 3]
    assert peaks([0, 2, 1, 2, 0], 2) == [1]
    assert peaks([5, np.nan], 0, np.array([[True, False]])) == [0]
    assert peaks([1, 2, 3], 0) == [0, 1, 2]
    assert peaks([-1, -2], 1, np.array([[True, True]])) == [0]


@pytest.mark.parametrize('tolerance', [None, 2])
def test_batches_their_order_and_their_padding_change_nothing(tolerance):
    scores, labels = a_log(case=3, number=9)
    wanted = collected(tolerance, scores, labels).curve()
    lengths = np.array([len(s) for s in scores])
    metric = metrics.AveragePrecision(tolerance)
    order = np.random.default_rng(1).permutation(len(scores))
    for rows in np.array_split(order, [2, 5]):
        maxlen = 14 + len(rows)
        metric.update(logits=padded([scores[b] for b in rows], maxlen, np.nan).astype('float32'),
                      labels=padded([labels[b] for b in rows], maxlen, np.nan),
                      mask=sequence_mask(lengths[rows], maxlen))
    for found, want in zip(metric.curve(), wanted):
        np.testing.assert_array_equal(found, want)
    metric.reset()
    assert np.isnan(metric.result()) and metric.curve().events == 0


def test_without_events_nothing_is_claimed():
    curve = collected(2, [np.array([1., 2.], 'float32')], [np.array([0, 0])]).curve()
    assert np.isnan(curve.average_precision) and np.isnan(curve.recall).all()
    scores = curve.at(0.0)
    assert (scores.precision, scores.f1) == (0, 0) and np.isnan(scores.recall)
    with pytest.raises(ValueError, match='there must be events and scores .*, got 0 events and 1'):
        curve.best_f1()
    empty = metrics.AveragePrecision().curve()
    assert np.isnan(empty.average_precision) and np.isnan(empty.at(0.0)).all()


def test_above_all_scores_there_is_no_precision():
    scores = collected(None, [np.array([1., 2.], 'float32')], [np.array([0, 1])]).curve().at(np.inf)
    assert np.isnan(scores.precision) and (scores.recall, scores.f1) == (0, 0)


def test_the_threshold_of_a_precision_finds_as_much_as_can_be():
    # From the highest score down: hit, hit, alarm, hit, alarm, alarm, hit, and one alarm.
    labels = np.array([1, 1, 0, 1, 0, 0, 1, 0])
    curve = collected(None, [np.arange(8, 0, -1).astype('float32')], [labels]).curve()
    assert curve.at(curve.for_precision(1.0)) == Scores(1, 2 / 4, 2 * 2 / (2 + 4))
    assert curve.at(curve.for_precision(0.7)).recall == 3 / 4       # 3 of 4 are right
    assert curve.at(curve.for_precision(0.5)).recall == 4 / 4       # 4 of 7, not 4 of 8
    assert curve.at(curve.for_precision(0.5)).precision == 4 / 7
    assert curve.for_precision(1.0) == (7 + 6) / 2      # half-way to the first that is too many
    for wrong in [0, 1.5]:
        with pytest.raises(ValueError, match=r'precision must be in \(0, 1\]'):
            curve.for_precision(wrong)
    upside_down = collected(None, [np.arange(8).astype('float32')], [labels]).curve()
    with pytest.raises(ValueError, match='no threshold has a precision of 0.9: the highest is 0.5'):
        upside_down.for_precision(0.9)


def test_scores_may_be_infinite():
    scores = np.array([np.inf, np.inf, 0, -np.inf], 'float32')
    curve = collected(None, [scores], [np.array([1, 0, 1, 0])]).curve()
    assert curve.thresholds.tolist() == [np.inf, 0, -np.inf]
    assert curve.detections.tolist() == [2, 3, 4]
    assert curve.best_f1() == 0


@pytest.mark.parametrize('message, changes', [
    ('logits must not be NaN at real steps; rows with NaN: .*1', {'logits': [[0.], [np.nan]]}),
    ('labels must be 0 or 1 at real steps, got .*2.0', {'labels': [[2], [1]]}),
    ('labels must be 0 or 1', {'labels': [[np.nan], [1.]]}),
])
def test_values_that_do_not_fit(message, changes):
    arguments = {'logits': [[0.], [1.]], 'labels': [[0], [1]], 'mask': None, **changes}
    arguments['logits'] = np.array(arguments['logits'], 'float32')
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        metrics.AveragePrecision(1).update(**arguments)


def test_arguments_that_do_not_fit():
    ones = tf.ones([1, 3])
    with pytest.raises(ValueError, match='tolerance must be at least 0, got -1'):
        metrics.AveragePrecision(-1)
    with pytest.raises(ValueError, match='labels must have the leading axes of logits'):
        metrics.AveragePrecision().update(logits=ones, labels=[[1, 0]], mask=None)
    with pytest.raises(tf.errors.InvalidArgumentError, match='row'):
        metrics.AveragePrecision(1).update(logits=ones, labels=ones,
                                           mask=np.array([[True, False, True]]))
    with pytest.raises(TypeError, match='call update outside of tf.function'):
        tf.function(metrics.AveragePrecision().update)(logits=ones, labels=ones, mask=None)
    for metric in (metrics.Precision(), metrics.Recall(), metrics.F1()):
        with pytest.raises(ValueError, match='logits must have rank 2'):
            metric.update(logits=ones[..., None], labels=ones, mask=None)
    with pytest.raises(ValueError, match="per must be one of 'step'"):
        metrics.F1.tally(logits=ones, labels=ones, mask=None, per='sequence')


@pytest.mark.parametrize('kind', [metrics.Precision, metrics.Recall, metrics.F1])
def test_counters_in_a_graph_are_the_curve_at_a_threshold(kind):
    threshold = tf.Variable(1.0)
    metric, name = kind(threshold), kind.__name__.lower()

    @tf.function(reduce_retracing=True)
    def update(logits, labels, mask):
        metric.update(logits=logits, labels=labels, mask=mask)

    scores, labels = a_log(case=5, number=8)
    lengths = np.array([len(s) for s in scores])
    for rows, maxlen in [(slice(0, 3), 15), (slice(3, 8), 17)]:
        update(tf.constant(padded(scores[rows], maxlen, np.nan), tf.float32),
               tf.constant(padded(labels[rows], maxlen, -7)),
               sequence_mask(lengths[rows], maxlen))
    wanted = getattr(collected(None, scores, labels).curve().at(1.0), name)
    assert float(metric.result()) == np.float32(wanted)
    threshold.assign(1e9)
    metric.reset()
    update(tf.ones([1, 1]), tf.ones([1, 1], tf.int64), tf.ones([1, 1], tf.bool))
    assert float(metric.result()) == 0              # nothing is detected: no NaN


def test_precision_per_sequence_is_over_those_with_a_detection():
    logits = tf.constant([[1., 1., -1.], [1., -1., -1.], [-1., -1., -1.]])
    labels = [[1, 0, 1], [1, 1, 0], [1, 1, 1]]

    def value(kind):
        metric = kind(per='sequence')
        metric.update(logits=logits, labels=labels, mask=None)
        return float(metric.result())

    assert value(metrics.Precision) == (1 / 2 + 1 / 1) / 2
    assert value(metrics.Recall) == np.float32((1 / 2 + 1 / 2 + 0 / 3) / 3)


def test_events_are_runs():
    for labels in itertools.product([0, 1], repeat=6):
        found = metrics.matching.find_events(labels)
        assert found.tolist() == [list(run) for run in runs_of(labels)]
