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
