import numpy as np
import pytest
import tensorflow as tf

from seqmask import noise


def test_seeds_of_one_seed_are_the_same_each_time_and_all_different():
    found = noise.seeds(0, 100)
    assert found == noise.seeds(0, 100)
    assert len(set(found)) == 100
    assert found[:3] == noise.seeds(0, 3)
    assert not set(found) & set(noise.seeds(1, 100))


def test_seeds_without_a_seed_are_new_each_time():
    assert noise.seeds(None, 3) != noise.seeds(None, 3)


def test_seeds_are_what_takes_a_seed_in_tensorflow_takes():
    for seed in noise.seeds(0, 100):
        assert type(seed) is int
        assert 0 <= seed < 2 ** 31


@pytest.mark.parametrize('seed, error', [(-1, ValueError), ('one', TypeError)])
def test_seeds_refuses(seed, error):
    with pytest.raises(error):
        noise.seeds(seed, 1)


def test_a_generator_does_not_heed_the_global_seed():
    tf.random.set_seed(1)
    first = noise.generator(7).uniform([5]).numpy()
    tf.random.set_seed(2)
    np.testing.assert_array_equal(noise.generator(7).uniform([5]), first)
    assert (noise.generator(8).uniform([5]).numpy() != first).any()


@pytest.mark.parametrize('rate', [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', 'float64'])
def test_a_dropout_mask_has_mean_1(rate, dtype):
    mask = noise.dropout_mask(noise.generator(0), [10000], rate, tf.as_dtype(dtype))
    assert mask.dtype == dtype
    mask = tf.cast(mask, tf.float64).numpy()
    assert set(mask) <= {0, float(tf.cast(1 / (1 - rate), dtype))}
    # Within 4 standard deviations, and the rounding of half precision.
    assert abs(mask.mean() - 1) < 4 * (rate / (1 - rate) / 10000) ** 0.5 + 0.01
