"""Models that leave: they give the same numbers where there is no seqmask."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import seqmask
import tiny_runs
from seqmask import export, models
import some_models
from sources import full_disk
from test_scripts import own_lines, start

LENGTHS = np.array([5, 0, 3, 1], np.int32)
SCALE = {'mean': [1.0, 2.0, 3.0], 'scale': [0.5, 1.0, 2.0]}


@pytest.fixture(scope='module')
def inputs():
    padding = np.arange(5) >= LENGTHS[:, None]
    drawn = np.random.default_rng(0).normal(size=[4, 5, 3])
    return np.where(padding[..., None], 0, drawn).astype('f')


MODELS = {
    'labeller': lambda **o: some_models.labeller(3, 2, hidden_size=4, num_layers=1, filters=2,
                                                 **o),
    'stream': lambda **o: some_models.labeller(3, 2, hidden_size=4, cell='lstm', num_layers=2,
                                               bidirectional=False, **o),
    'classifier': lambda **o: some_models.classifier(3, 2, hidden_size=4, filters=(2,),
                                                     kernel_sizes=(3,), pool='attention', **o),
    'autoencoder': lambda **o: some_models.autoencoder(3, hidden_size=4, reverse_target=True,
                                                       autoregressive=True, **o),
    'events': lambda **o: some_models.detector(3, event_rate=0.5, hidden_size=4, **o),
    'events, convolutions': lambda **o: some_models.detector(
        3, event_rate=0.5, hidden_size=4, network='conv', num_layers=2, **o),
}
STREAMS = {'stream', 'events', 'events, convolutions'}
every_model = pytest.mark.parametrize('name', MODELS)


def made(name):
    return MODELS[name](seed=0, standardizer=seqmask.data.Standardizer(**SCALE))


@pytest.fixture(scope='module')
def saved(inputs, tmp_path_factory):
    """A folder that holds each model, saved under its name; and the models."""
    folder = tmp_path_factory.mktemp('saved')
    everything = {name: made(name) for name in MODELS}
    for name, model in everything.items():
        if hasattr(model, 'threshold'):
            model.threshold.assign(np.mean(model(inputs, LENGTHS)[0]))
        signatures = export.save(model, folder / name)
        assert signatures == ['serving_default', 'without_lengths'] + (
            ['step', 'initial_state'] if name in STREAMS else [])
    return folder, everything


@functools.cache
def loaded(path):
    """What a saved model holds, loaded once for all tests."""
    return tf.saved_model.load(str(path))


ELSEWHERE = '''
import sys
sys.modules['seqmask'] = None       # importing it is an error
import numpy as np, tensorflow as tf
arrays = dict(np.load('arrays.npz'))
results = {}
for name in sys.argv[1:]:
    model = tf.saved_model.load(name)
    signatures = model.signatures
    for signature, run in signatures.items():
        wanted = {'serving_default': ['inputs', 'lengths'], 'without_lengths': ['inputs']}
        if signature in wanted:
            given = {key: tf.constant(arrays[key]) for key in wanted[signature]}
            for key, value in run(**given).items():
                results[f'{name} {signature} {key}'] = value
    if 'step' in signatures:
        state = signatures['initial_state'](batch=tf.constant(4))
        for t in range(5):
            result = signatures['step'](x_t=tf.constant(arrays['inputs'][:, t]), **state)
            state = {key: value for key, value in result.items() if key.startswith('state_')}
            results[f'{name} step {t}'] = result['outputs']
np.savez('results.npz', **results)
'''


def test_in_a_process_without_seqmask_the_numbers_are_the_same(saved, inputs):
    folder, everything = saved
    np.savez(folder / 'arrays.npz', inputs=inputs, lengths=LENGTHS)
    subprocess.run([sys.executable, '-c', ELSEWHERE, *MODELS], cwd=folder, check=True,
                   timeout=300, capture_output=True)
    results = np.load(folder / 'results.npz')
    for name, model in everything.items():
        wanted = model(inputs, LENGTHS).numpy()
        for signature in ('serving_default', 'without_lengths'):
            np.testing.assert_allclose(results[f'{name} {signature} outputs'], wanted, atol=1e-6)
        np.testing.assert_array_equal(results[f'{name} without_lengths lengths'], LENGTHS)
        if name in STREAMS:
            for t in range(5):
                alive = LENGTHS > t
                np.testing.assert_allclose(results[f'{name} step {t}'][alive], wanted[alive, t],
                                           atol=1e-5)
        if hasattr(model, 'detect'):
            detected = results[f'{name} serving_default detected']
            np.testing.assert_array_equal(detected, model.detect(inputs, LENGTHS))
            assert 0 < detected.sum() < LENGTHS.sum()


def loops(graph):
    """The recurrences in a graph and the functions that it calls, which hold copies of a node."""
    nodes = [*graph.node, *(node for function in graph.library.function
                            for node in function.node_def)]
    return len({node.name for node in nodes if node.op in ('While', 'StatelessWhile')})


@pytest.mark.parametrize('name, count', [('events', 1), ('labeller', 2), ('stream', 2),
                                         ('classifier', 1), ('autoencoder', 2)])
def test_the_network_runs_once(name, count, saved):
    """One loop for each recurrent layer and direction."""
    signatures = loaded(saved[0] / name).signatures
    assert {loops(signatures[called].graph.as_graph_def())
            for called in ('serving_default', 'without_lengths')} == {count}


def test_malformed_inputs_are_tensorflow_s_to_refuse(inputs, saved):
    run = loaded(saved[0] / 'stream').signatures['serving_default']
    with pytest.raises(tf.errors.InvalidArgumentError, match='must not exceed|exceed'):
        run(inputs=tf.constant(inputs), lengths=tf.constant([9, 0, 0, 0]))
    with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
        run(inputs=tf.constant(inputs[..., :2]), lengths=tf.constant(LENGTHS))
    with pytest.raises((TypeError, ValueError), match='lengths'):
        run(inputs=tf.constant(inputs))


# Of TensorFlow: the interpreter that it ships is also a package of its own.
deprecated = pytest.mark.filterwarnings('ignore:.*tf.lite.Interpreter is deprecated')


@deprecated
@every_model
def test_tensorflow_lite_runs_the_whole_call_and_the_step(name, inputs):
    model = made(name)
    content = export.to_tflite(model, maxlen=5, batch=4)
    interpreter = tf.lite.Interpreter(model_content=content)
    signatures = interpreter.get_signature_list()
    assert set(signatures) == {'serving_default'} | ({'step'} if name in STREAMS else set())
    run = interpreter.get_signature_runner('serving_default')
    for lengths in (LENGTHS, LENGTHS[::-1].copy()):
        wanted = run(inputs=inputs, lengths=lengths)['outputs']
        np.testing.assert_allclose(wanted, model(inputs, lengths), atol=1e-5)
        wrong = np.select([lengths == 0, lengths == 5], [-3, 9], lengths).astype(np.int32)
        np.testing.assert_array_equal(run(inputs=inputs, lengths=wrong)['outputs'], wanted)
    if name in STREAMS:
        step, state = interpreter.get_signature_runner('step'), model.initial_state(4)
        given = {f'state_{k}': np.array(part) for k, part in enumerate(tf.nest.flatten(state))}
        for t in range(3):
            results = step(x_t=inputs[:, t], **given)
            given = {key: value for key, value in results.items() if key.startswith('state_')}
            wanted, state = model.step(inputs[:, t], state)
            np.testing.assert_allclose(results['outputs'], wanted, atol=1e-5)


def test_what_cannot_be_exported_is_told(tmp_path):
    for call in (lambda model: export.save(model, str(tmp_path / 'new')),
                 lambda model: export.to_tflite(model, maxlen=3)):
        with pytest.raises(TypeError, match=r'tf.Module with input_size .*, got Sequential'):
            call(seqmask.Sequential([seqmask.Dense(2, 2)]))
    with pytest.raises(FileExistsError, match='exists. Choose another path.'):
        export.save(made('labeller'), str(tmp_path))
    with pytest.raises(ValueError, match='maxlen must be'):
        export.to_tflite(made('labeller'), maxlen=0)


@deprecated
def test_the_script_exports_a_run(tmp_path_factory, tmp_path):
    folder = tiny_runs.trained(tmp_path_factory)
    done = start(tmp_path, f'--workdir={folder / "labels"}', '--output=model', script='export.py',
                 afresh=True)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    first, *signatures = done.stdout.splitlines()
    assert first == 'written: model, a SequenceLabeller with the signatures'
    assert sorted(line.split()[0] for line in signatures) == [
        'initial_state', 'serving_default', 'step', 'without_lengths']
    of_batches, = (line for line in signatures if 'serving_default' in line)
    assert 'inputs float32 [?, ?, 3], lengths int32 [?] -> outputs float32 [?, ?, 3]' in of_batches
    assert tf.saved_model.load(str(tmp_path / 'model')).signatures
    done = start(tmp_path, f'--workdir={folder / "classifier"}', '--output=model.tflite',
                 '--maxlen=7', script='export.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert 'inputs float32 [1, 7, 3], lengths int32 [1] -> outputs float32 [1, 3]' in done.stdout
    assert tf.lite.Interpreter(model_path=str(tmp_path / 'model.tflite')).get_signature_list()


@pytest.mark.parametrize('flags, error', {
    '--output=a.tflite': '--maxlen is needed for an --output that ends in .tflite, and only there; '
                         'got --output=a.tflite --maxlen=0.',
    '--output=there': "'there' exists. Choose another --output, or pass --overwrite.",
    '--output=new': "there is no folder 'none': --workdir must be the --workdir of a training "
                    'script; it holds model.json and best/.',
}.items())
def test_bad_input_is_told_in_one_line(flags, error, tmp_path):
    (tmp_path / 'there').mkdir()
    done = start(tmp_path, '--workdir=none', flags, script='export.py')
    assert own_lines(done.stderr) == [f'error: {error}']
    assert done.returncode == 1


@pytest.mark.slow
@deprecated
def test_a_full_disk_leaves_the_earlier_file(tmp_path_factory, tmp_path):
    folder = tiny_runs.trained(tmp_path_factory)
    (tmp_path / 'model.tflite').write_bytes(b'earlier')
    with full_disk():
        done = start(tmp_path, f'--workdir={folder / "classifier"}', '--output=model.tflite',
                     '--maxlen=7', '--overwrite', script='export.py', afresh=True)
    # TensorFlow, too, says of its temporary files that they are cut.
    assert own_lines(done.stderr)[-1] == "error: [Errno 27] File too large: 'model.tflite'"
    assert done.returncode == 1
    assert (tmp_path / 'model.tflite').read_bytes() == b'earlier'
    assert os.listdir(tmp_path) == ['model.tflite']


@pytest.mark.parametrize('maxlen', [1, 6])
def test_tensorflow_lite_takes_no_bound_of_lengths_for_an_activation(maxlen):
    """It has relu6 and the like for floats, and none for the whole numbers of lengths."""
    model = made('stream')
    assert seqmask.export.to_tflite(model, maxlen=maxlen)


@deprecated
@pytest.mark.parametrize('num_layers', [1, 2])
def test_a_window_of_one_step_holds_no_state(num_layers, inputs, tmp_path):
    model = models.EventDetector(models.DilatedEncoder(
        3, hidden_size=2, num_layers=num_layers, kernel_size=1, seed=0), event_rate=0.3, seed=0)
    names = export.save(model, str(tmp_path / 'saved'))
    assert names == ['serving_default', 'without_lengths', 'step']
    saved = tf.saved_model.load(str(tmp_path / 'saved')).signatures['step']
    content = export.to_tflite(model, maxlen=5, batch=4)
    lite = tf.lite.Interpreter(model_content=content).get_signature_runner('step')
    for step in (saved, lite):
        np.testing.assert_allclose(
            step(x_t=tf.constant(inputs[:, 0]))['outputs'],
            model.step(inputs[:, 0], model.initial_state(4))[0], atol=1e-5)
