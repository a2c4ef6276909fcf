"""Before any test: quiet TensorFlow, two logical CPU devices, fixed seeds."""

import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import numpy as np
import pytest
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def fixed_seeds():
    tf.random.set_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope='session')
def strategy():
    """Two replicas. One strategy for all tests: TensorFlow numbers the collectives of each from the
    same number on, and a second one's clash with those of the first."""
    return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
