"""The generated log: its layout, its causes, and what nobody can know."""

import importlib

import numpy as np
import pytest

from seqmask import datasets, metrics

# Its name in the package is that of the function.
generator = importlib.import_module('seqmask.datasets.system_log')


@pytest.fixture(scope='module')
def log():
    return datasets.system_log()


def test_layout(log):
    steps = log['lengths'].sum()
    assert {name: (array.dtype.name, array.shape) for name, array in log.items()
            if array.dtype.kind != 'U'} == {
        'frames': ('float32', (steps, 6)), 'lengths': ('int32', (260,)),
        'labels': ('int32', (steps,)), 'probability': ('float32', (steps,)),
        'split': ('int32', (260,))}
    assert np.bincount(log['split']).tolist() == [160, 40, 60]
    assert 200 <= log['lengths'].min() and log['lengths'].max() <= 2000
    assert set(log['labels']) == {0, 1} and len(log['feature_names']) == 6
    assert np.isfinite(log['frames']).all()


def test_a_seed_is_a_log(log):
    again, other = datasets.system_log(0), datasets.system_log(1)
    assert all(np.array_equal(again[name], log[name]) for name in log)
    assert not np.array_equal(other['lengths'], log['lengths'])


def test_events_come_as_often_as_their_probability_says(log):
    labels, p = log['labels'], np.float64(log['probability'])
    assert 0.008 < labels.mean() < 0.012
    for low, high in [(0, 0.01), (0.01, 0.1), (0.1, 0.3), (0.3, 1)]:
        some = (p >= low) & (p < high)
        deviation = np.sqrt(np.sum(p[some] * (1 - p[some]))) / np.sum(some)
        # Steps of a request are two at a time.
        assert abs(labels[some].mean() - p[some].mean()) < 2 * 4 * deviation
    assert p.max() < 1 / 2


def test_no_one_step_tells_but_the_causes_do(log):
    """Ranked by any feature of the step itself, events are no easier to find than by chance."""
    labels = log['labels']

    def found(scores):
        metric = metrics.AveragePrecision()
        metric.update(logits=np.float32(scores)[None], labels=labels[None], mask=None)
        return float(metric.result())

    for feature in log['frames'].T:
        assert max(found(feature), found(-feature)) < 2 * labels.mean()
    assert found(log['probability']) > 20 * labels.mean()


def test_a_request_follows_a_ramp_and_then_a_pulse():
    rng = np.random.default_rng(0)
    counts = np.zeros(2)
    for _ in range(20):
        ramps, pulses, causes = generator._episodes(rng, 2000)
        after_a_ramp = [pulse for pulse in pulses
                        if any(1 <= pulse - (ramp + generator.RAMP - 1) <= 5 for ramp in ramps)]
        assert after_a_ramp == causes
        # A request has ended before the next pulse comes.
        assert np.all(np.diff(pulses) > max(generator.DELAYS) + generator.DURATION)
        counts += len(causes), len(pulses)
    assert 0.4 < counts[0] / counts[1] < 0.6        # 4 of 8 pulses are causes
