"""Every `tf.data` pipeline that the library gives away runs without the autotuner."""

import inspect
import typing

import numpy as np
import pytest
import tensorflow as tf

from seqmask import data
from test_annotations import NAMES, functions_of


def collection():
    return data.Sequences.from_list([np.ones([n, 1]) for n in [3, 1, 2]])


def a_dataset():
    return tf.data.Dataset.from_tensor_slices({'inputs': np.ones([3, 2, 1])})


STREAMS = {'memory': lambda: data.Stream.from_sequences(collection()),
           'dataset': lambda: data.from_dataset(a_dataset())}
MADE = {'Batches': [lambda: data.Batches(collection(), 2)],
        'Lanes': [lambda: data.Lanes(collection(), 2, 2)],
        'Stream': [*STREAMS.values()],
        'StreamBatches': [lambda options=options: data.StreamBatches(STREAMS['memory'](), **options)
                          for options in ({'batch_size': 2},
                                          {'batch_size': 2, 'shuffle_buffer': 2, 'shard': (0, 2)},
                                          {'max_steps': 4, 'bucket_boundaries': 2})]}


def of_datasets(thing):
    """Names of the methods, or of the function, that return a `tf.data.Dataset`."""
    return sorted({function.__name__ for function in functions_of(thing)
                   if typing.get_type_hints(function).get('return') is tf.data.Dataset})


FOUND = {name: of_datasets(thing) for name, thing in NAMES.items()}
FOUND = {name: methods for name, methods in FOUND.items() if methods}


def test_all_that_give_datasets_are_known():
    assert {name.rpartition('.')[2] for name in FOUND} == set(MADE)
    assert all(inspect.isclass(NAMES[name]) for name in FOUND)


@pytest.mark.parametrize('name', FOUND)
def test_no_dataset_is_tuned_and_all_buffers_are_fixed(name):
    for make in MADE[name.rpartition('.')[2]]:
        for method in FOUND[name]:
            value = getattr(make(), method)
            dataset = value if isinstance(value, tf.data.Dataset) else (
                value(0) if inspect.signature(value).parameters else value())
            assert dataset.options().autotune.enabled is False, method
            for _ in dataset:       # it runs
                pass
            while True:             # back to the source, as far as it is a chain
                assert _fixed(dataset), dataset
                inputs = dataset._inputs()
                if len(inputs) != 1:
                    break
                dataset, = inputs


def _fixed(dataset):
    """Whether it leaves no number for the autotuner to choose."""
    numbers = [getattr(dataset, attribute, None)
               for attribute in ('_buffer_size', '_num_parallel_calls')]
    return not any(number is not None and int(number) == tf.data.AUTOTUNE for number in numbers)


def test_a_number_that_is_left_to_the_autotuner_is_found():
    dataset = a_dataset()
    assert _fixed(dataset.prefetch(2)) and _fixed(dataset.map(lambda x: x, 2))
    assert not _fixed(dataset.prefetch(tf.data.AUTOTUNE))
    assert not _fixed(dataset.map(lambda x: x, tf.data.AUTOTUNE))
