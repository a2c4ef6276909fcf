"""What the pictures of a run show; read from the figures, and drawn once by a script."""

import json
import struct

import numpy as np
import pytest

from seqmask import data, runs
from seqmask.runs.pictures import classes, figures as pictures
from test_predict import predictions_of
from test_scripts import SMALL, own_lines, start

HISTORY = [{'epoch': epoch, 'loss': 3 / epoch, 'learning_rate': 0.1, 'valid_loss': 4 / epoch,
            'valid_accuracy': 1 - 1 / epoch, 'valid_rmse': 10 * epoch} for epoch in range(1, 6)]
NAMES = ['left', 'right', 'nothing at all']


@pytest.fixture(autouse=True)
def matplotlib():
    return pytest.importorskip('matplotlib', reason='matplotlib is not installed')


def lines_of(axis):
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


def axes_of(figure):
    """The diagrams; what is inside one, such as a band of labels, or beside it, is its child."""
    return [axis for axis in figure.axes if axis.get_xlabel()]


def texts_of(axis):
    return [(text.get_text(), text.get_color()) for text in axis.texts]


def test_curves_show_the_history_and_the_best_epoch():
    loss, accuracy, rmse = axes_of(pictures.curves(HISTORY, best_epoch=4))
    lines = lines_of(loss)
    assert lines['training'] == [[row['epoch'], row['loss']] for row in HISTORY]
    assert lines['validation'] == [[row['epoch'], row['valid_loss']] for row in HISTORY]
    for axis in (loss, accuracy, rmse):
        assert lines_of(axis)['best epoch, 4'] == [[4, 0], [4, 1]]
        assert axis.get_xlabel() == 'epoch'
    assert lines_of(accuracy)['validation'] == [[row['epoch'], row['valid_accuracy']]
                                                for row in HISTORY]
    assert loss.get_ylabel() == 'loss [nats]' and loss.get_ylim()[0] == 0
    assert accuracy.get_ylabel() == 'accuracy [%]'
    assert accuracy.yaxis.get_major_formatter()(0.25, 0) == '25'
    assert rmse.get_ylabel() == 'rmse'


def test_a_single_epoch_can_be_seen():
    axis, = axes_of(pictures.curves([{'epoch': 1, 'loss': -2.0}], best_epoch=1))
    line = [line for line in axis.lines if line.get_label() == 'training'][0]
    assert line.get_marker() == 'o' and axis.get_ylim()[0] <= -2


@pytest.mark.parametrize('longest', [7, 95, 4000])
def test_lengths_count_every_sequence_in_whole_steps(longest):
    lengths = np.array([0, 1, 1, 5, 7, longest])
    axis, = axes_of(pictures.lengths(lengths, padding_share=1 / 8, batch_size=3))
    bars = axis.patches
    assert sum(bar.get_height() for bar in bars) == len(lengths) and len(bars) <= 41
    widths = {round(bar.get_width(), 6) for bar in bars}
    assert len(widths) == 1 and widths.pop() == -(-(longest + 1) // 40)
    assert bars[0].get_x() == -0.5
    assert axis.get_title() == (f'6 sequences to train on, 0 to {longest} steps\n'
                                f'{1 / 8:.1%} of the steps in batches of 3 are padding')


def test_confusion_names_the_classes_and_counts_the_cases():
    counts = np.array([[5, 0, 1], [0, 12345, 0], [0, 0, 0]])
    axis = axes_of(classes.confusion(counts, NAMES))[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == NAMES
    assert [label.get_text() for label in axis.get_yticklabels()] == NAMES
    assert {(text.get_position(), text.get_text()) for text in axis.texts} == {
        ((0, 0), '5'), ((2, 0), '1'), ((1, 1), '12k')}
    colors = {text.get_position(): text.get_color() for text in axis.texts}
    assert colors[2, 0] == pictures.WRONG and colors[0, 0] == 'white'
    assert axis.get_title() == f'Test part: 12350 of 12351 right, {12350 / 12351:.2%}'
    shares = axis.images[0].get_array()
    np.testing.assert_allclose(shares, [[5 / 6, 0, 1 / 6], [0, 1, 0], [0, 0, 0]])


def test_confusion_of_many_classes_is_colours_alone():
    axis = axes_of(classes.confusion(np.eye(50, dtype=int), [str(k) for k in range(50)]))[0]
    assert not axis.texts
    assert len(axes_of(classes.confusion(np.zeros([2, 2], int), ['a', 'b']))[0].texts) == 0


def example(length, width, **fields):
    return {'title': f'{length} steps', 'inputs': np.zeros([length, width]), 'right': True,
            **fields}


def test_predictions_end_where_the_sequence_ends():
    figure = classes.predictions([example(3, 9), example(8, 9)], [example(5, 9, right=False)],
                                 NAMES)
    axes = axes_of(figure)
    shown = {axis.get_title(loc='left'): axis for axis in axes}
    for length in (3, 8, 5):
        axis = shown[f'{length} steps']
        assert axis.images[0].get_extent()[:2] == [-0.5, length - 0.5]
        assert axis.get_xlim() == (-0.5, 8 - 0.5)
        title, = axis.findobj(lambda artist: getattr(artist, 'get_text', str)() == f'{length} '
                              'steps')
        assert title.get_color() == ('black' if length != 5 else pictures.WRONG)
    assert shown['5 steps'].get_position().x0 > shown['3 steps'].get_position().x0


def test_few_features_are_lines():
    axis, = axes_of(classes.predictions([example(3, 2)], [], NAMES))
    assert len([line for line in axis.lines if len(line.get_xdata()) == 3]) == 2


def test_wrong_steps_are_red_letters():
    labels, predicted = np.array([0, 1, 1]), np.array([0, 2, 1])
    axis, = axes_of(classes.predictions(
        [example(3, 2, labels=labels, predicted=predicted)], [], ['a', 'b', 'c']))
    band, = axis.child_axes
    letters = {text.get_position(): (text.get_text(), text.get_color()) for text in band.texts}
    assert letters == {(0, 1): ('a', 'black'), (1, 1): ('b', 'black'), (2, 1): ('b', 'black'),
                       (0, 0): ('a', 'black'), (1, 0): ('c', pictures.WRONG),
                       (2, 0): ('b', 'black')}
    red, = axis.patches
    assert (red.get_x(), red.get_width()) == (1 - 0.5, 1)


def test_long_sequences_are_bands_of_colour():
    labels = np.arange(200) % 3
    figure = classes.predictions(
        [example(200, 2, labels=labels, predicted=labels[::-1])], [], NAMES)
    band, = axes_of(figure)[0].child_axes
    assert not band.texts
    np.testing.assert_array_equal(band.images[0].get_array(), [labels[::-1], labels])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == NAMES


def test_examples_are_some_as_they_come_and_then_the_worst():
    sequences = data.Sequences(np.zeros([3, 1]), [2, 0, 1], {'labels': [0, 1, 1]})
    usual, mistaken = classes.select(predictions_of([1, 2, 1]), sequences, runs.Classes(NAMES),
                                     number=1)
    assert [one['title'] for one in usual] == ['sequence 0: 2 of 2 steps wrong']
    assert mistaken == [] and usual[0]['labels'].tolist() == [0, 1]


def test_the_second_column_has_those_with_the_most_mistakes():
    sequences = data.Sequences(np.zeros([8, 1]), [2, 1, 3, 0, 2], {'labels': [0] * 8})
    predictions = data.Sequences(np.zeros([8, 3]), [2, 1, 3, 0, 2], {
        'predicted': np.array([0, 0, 1, 1, 2, 0, 1, 0])})       # mistakes: 0, 1, 2, 0, 1
    usual, mistaken = classes.select(predictions, sequences, runs.Classes(NAMES), number=2)
    assert [one['title'] for one in usual] == ['sequence 0: 0 of 2 steps wrong',
                                               'sequence 4: 1 of 2 steps wrong']
    assert [one['right'] for one in usual] == [True, False]
    assert [one['title'] for one in mistaken] == ['sequence 2: 2 of 3 steps wrong',
                                                  'sequence 1: 1 of 1 steps wrong']


def size_of(png):
    signature, width, height = struct.unpack('>8s8x2I', png.read_bytes()[:24])
    assert signature == b'\x89PNG\r\n\x1a\n'
    return width, height


def test_a_script_draws_all_of_them_also_of_a_run_that_knew_no_such_flag(tmp_path):
    run = start(tmp_path, '--limit=6', '--workdir=run', *SMALL)
    assert (run.returncode, own_lines(run.stderr)) == (0, [])
    assert not (tmp_path / 'run' / 'pictures').exists()
    path = tmp_path / 'run' / 'flags.json'
    flags = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in flags.items()
                                if name not in ('plots', 'tensorboard', 'patience')}))
    run = start(tmp_path, '--plots', '--limit=6', '--workdir=run', *SMALL)
    assert (run.returncode, own_lines(run.stderr)) == (0, [])
    assert 'resuming after epoch 2 of run' in run.stdout
    assert 'pictures/' in run.stdout.splitlines()[-1]
    drawn = tmp_path / 'run' / 'pictures'
    assert {path.name for path in drawn.iterdir()} == {
        'confusion.png', 'curves.png', 'lengths.png', 'predictions.png'}
    for path in drawn.iterdir():
        width, height = size_of(path)
        assert width > 400 and height > 300
