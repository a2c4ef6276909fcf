import numpy as np
import pytest
import tensorflow as tf

import reference
from seqmask import windows

PADDINGS = ['same', 'valid', 'causal']


@pytest.mark.parametrize('padding, stride, wanted', [
    ('same', 1, [0, 1, 2, 3, 4, 5, 6]), ('same', 2, [0, 1, 1, 2, 2, 3, 3]),
    ('causal', 3, [0, 1, 1, 1, 2, 2, 2]),
    ('valid', 1, [0, 0, 0, 1, 2, 3, 4]), ('valid', 2, [0, 0, 0, 1, 1, 2, 2]),
    ('valid', 3, [0, 0, 0, 1, 1, 1, 2])])
def test_windows_of_three_steps(padding, stride, wanted):
    counted = windows.window_lengths(tf.range(7), 3, stride=stride, padding=padding)
    assert counted.numpy().tolist() == wanted
    assert counted.dtype == tf.int32


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('size, dilation', [(1, 1), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize('stride', [1, 2, 3, 4])
def test_windows_hold_the_steps_that_they_see(size, stride, dilation, padding):
    for maxlen in range(8):
        values = np.arange(1, maxlen + 1)
        seen = windows.windows(tf.constant(values[None], tf.float32), size, stride=stride,
                               dilation=dilation, padding=padding, fill=-1)
        steps = [[start + j * dilation for j in range(size)] for start in
                 reference.window_starts(maxlen, size, stride, dilation, padding)]
        wanted = [[values[t] if 0 <= t < maxlen else -1 for t in row] for row in steps]
        np.testing.assert_array_equal(seen, np.reshape(wanted, [1, len(wanted), size]))
        assert len(wanted) == windows.window_lengths(
            maxlen, size, stride=stride, dilation=dilation, padding=padding)


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('maxlen', [0, 1, 4])
def test_there_is_room_for_one_window_at_least(maxlen, padding):
    for stride in [1, 2, 5]:
        values, _ = windows.surround(tf.zeros([2, maxlen, 3]), 3, stride=stride, dilation=2,
                                     padding=padding)
        assert values.shape[1] >= (3 - 1) * 2 + 1
