"""What a source holds, as it is said, stored and compared."""

import numpy as np
import pytest
import tensorflow as tf

from seqmask.data import Field, Schema, Sequences

FIELDS = {'labels': ('int32', [], 'step'), 'pose': ('float64', [3, 2], 'step'),
          'word': ('string', [], 'sequence'), 'inputs': ('float32', [63], 'step')}


def test_it_reads_as_a_table():
    assert str(Schema(FIELDS)).splitlines() == [
        'inputs  float32  [63]    per step',
        'labels  int32    []      per step',
        'pose    float64  [3, 2]  per step',
        'word    string   []      per sequence']


def test_the_element_is_unpadded():
    spec = Schema(FIELDS).element_spec
    assert list(spec) == ['inputs', 'lengths', 'labels', 'pose', 'word']
    assert spec['inputs'] == tf.TensorSpec([None, 63], tf.float32)
    assert spec['lengths'] == tf.TensorSpec([], tf.int32)
    assert spec['labels'] == tf.TensorSpec([None], tf.int32)
    assert spec['pose'] == tf.TensorSpec([None, 3, 2], tf.float64)
    assert spec['word'] == tf.TensorSpec([], tf.string)


def test_json_gives_it_back_and_any_change_makes_another():
    schema = Schema(FIELDS)
    again = Schema.from_json(schema.to_json())
    assert again == schema and hash(again) == hash(schema)
    assert again.fields['pose'] == Field(tf.float64, (3, 2), 'step')
    assert '\n' not in schema.to_json()
    for name, change in [('labels', ('int64', [], 'step')), ('labels', ('int32', [1], 'step')),
                         ('labels', ('int32', [], 'sequence')), ('more', ('int32', [], 'step'))]:
        assert Schema({**FIELDS, name: change}) != schema
    assert schema != 3


@pytest.mark.parametrize('text', ['', '3', '[]', '{}', '{"inputs": 3}', '{"inputs": {}}',
                                  '{"inputs": {"dtype": "float3", "shape": [1], "per": "step"}}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match='not the JSON of a schema: ') as caught:
        Schema.from_json(text)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('error, message, fields', [
    (ValueError, "must have 'inputs', .* got no fields", {}),
    (ValueError, "must have 'inputs', .* got 'x'", {'x': ('int32', [], 'step')}),
    (TypeError, "'inputs' must be floating-point, or tokens.*int32",
     {'inputs': ('int32', [1], 'step')}),
    (ValueError, r"'inputs' must have shape \[D\] per step, got \[\] per step",
     {'inputs': ('float32', [], 'step')}),
    (ValueError, r'got \[3\] per sequence', {'inputs': ('float32', [3], 'sequence')}),
    (ValueError, "named by strings other than .*; got 'lengths'",
     {**FIELDS, 'lengths': ('int32', [], 'sequence')}),
    (ValueError, "got ''", {**FIELDS, '': ('int32', [], 'sequence')}),
    (TypeError, "'x' must be of a dtype that TensorFlow has, got 'number'",
     {**FIELDS, 'x': ('number', [], 'step')}),
    (TypeError, "'x' must be numbers, bool or strings, got complex64",
     {**FIELDS, 'x': ('complex64', [], 'step')}),
    (ValueError, "per of 'x' must be one of 'step', 'sequence', got 'row'",
     {**FIELDS, 'x': ('int32', [], 'row')}),
    (ValueError, "a size of 'x' must be at least 0", {**FIELDS, 'x': ('int32', [-1], 'step')}),
])
def test_what_does_not_fit_is_refused(error, message, fields):
    with pytest.raises(error, match=message):
        Schema(fields)


def test_of_a_collection():
    schema = Schema.of(Sequences(
        np.zeros([2, 3], np.float16), [2], {'labels': np.zeros([2, 4], np.int8)},
        {'word': np.array(['a']), 'code': np.array([b'b']), 'ok': np.array([True])}))
    assert {name: (field.dtype.name, field.shape, field.per)
            for name, field in schema.fields.items()} == {
        'inputs': ('float16', (3,), 'step'), 'labels': ('int8', (4,), 'step'),
        'word': ('string', (), 'sequence'), 'code': ('string', (), 'sequence'),
        'ok': ('bool', (), 'sequence')}
