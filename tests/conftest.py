"""Before any test: quiet TensorFlow, two logical CPU devices, a fixed seed."""

import gc
import os
import signal

import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# XLA's operations are the same, their code is not optimized: compiling takes a quarter less.
os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')

LONGEST = ['contracts', 'train_tagger', 'export', 'workdir', 'trainer', 'recurrent_gradients',
           'scripts', 'distribute', 'vectorized', 'train_seq2seq', 'train_transcriber',
           'keras_models', 'precision', 'keras_fit', 'kernels', 'stream_batches', 'ratings',
           'reading', 'variables', 'averages', 'keep_best', 'tfrecord', 'crf', 'train_frames',
           'targets', 'token_scripts', 'lanes', 'train_autoencoder', 'standardizer', 'recurrent',
           'sequence_to_sequence', 'train_events', 'train_classifier', 'keras_replace',
           'train_ratings', 'keras_masked_loss', 'accumulation', 'keras_export', 'tokens',
           'step_runner', 'convolution', 'kernel_build', 'training_flags', 'convert', 'long_csv']


def pytest_xdist_auto_num_workers(config):
    """One file needs no processes beside this one, in which it can be debugged."""
    files = {arg.split('::')[0] for arg in config.args}
    return 0 if len(files) == 1 and files.pop().endswith('.py') else None


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts jobs in the background so; scripts under test would ignore interrupts, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption('numprocesses', None):
        return          # this process only hands the tests out, and need not wait for TensorFlow
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items):
    """What takes longest comes first, or it would run alone at the end, the other cores idle."""
    ranks = {f'test_{name}': rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish():
    """The garbage collector passes over what imports have made, and comes less often: a trace makes
    objects by the hundred thousand that stay, and it took 5% to 19% of the time of a trace."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(autouse=True, scope='module')
def nothing_left_behind(request):
    """Frees a file's graphs; and what it has left open is an error here, not of a later test.

    TensorFlow never forgets the gradient of a function that was traced, nor with it the graph: it
    registers them by names of their own, so that a process grew to 6 GB, and each collection of
    its garbage to 2 seconds.

    Nor does a file take its random numbers from where another left them. That is for each file and
    not for each test: with the seed TensorFlow throws away the kernels of all eager operations.
    """
    import tensorflow as tf
    from tensorflow.python.framework import ops
    gradients = ops.gradient_registry._registry
    before = set(gradients)
    tf.random.set_seed(0)
    yield
    for value in vars(request.module).values():     # layers and traces that its tests shared
        if getattr(value, '__module__', None) == request.module.__name__:
            getattr(value, 'cache_clear', lambda: None)()
    for name in set(gradients) - before:
        if name.startswith(('CustomGradient-', 'PartitionedCall-')):
            del gradients[name]
    tf.keras.backend.clear_session()        # and collects garbage


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
