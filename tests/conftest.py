"""Before any test: quiet TensorFlow, two logical CPU devices, fixed seeds."""

import gc
import os

import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')


def pytest_xdist_auto_num_workers(config):
    """One file needs no processes beside this one, in which it can be debugged."""
    files = {arg.split('::')[0] for arg in config.args}
    return 0 if len(files) == 1 and files.pop().endswith('.py') else None


def pytest_configure(config):
    if config.getoption('numprocesses', None):
        return          # this process only hands the tests out, and need not wait for TensorFlow
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def fixed_seeds():
    import tensorflow as tf
    tf.random.set_seed(0)


@pytest.fixture(autouse=True, scope='module')
def nothing_left_behind():
    """Frees a file's graphs; and what it has left open is an error here, not of a later test."""
    yield
    import tensorflow as tf
    tf.keras.backend.clear_session()
    gc.collect()


@pytest.fixture
def rng():
    import numpy as np
    return np.random.default_rng(0)


@pytest.fixture(scope='session')
def strategy():
    """Two replicas. One strategy for all tests: TensorFlow numbers the collectives of each from the
    same number on, and a second one's clash with those of the first."""
    import tensorflow as tf
    return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
