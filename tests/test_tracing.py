"""AutoGraph passes the library by, and still rewrites what users write."""

import inspect
import pkgutil

import pytest
import tensorflow as tf
from tensorflow.python.autograph.impl import conversion

import seqmask
from seqmask import tracing, training


def functions_of(room):
    """Every function of the modules of a room, however deep."""
    names = [name for _, name, _ in pkgutil.walk_packages(seqmask.__path__, 'seqmask.')
             if f'{name}.'.startswith(f'seqmask.{room}.') and not name.endswith('__main__')]
    for name in names or [f'seqmask.{room}']:
        module = __import__(name, fromlist=['_'])
        yield from (value for value in vars(module).values()
                    if inspect.isfunction(value) and value.__module__ == name)


@pytest.mark.parametrize('room', tracing.SKIPPED)
def test_nothing_of_the_library_is_rewritten(room):
    functions = [function for function in functions_of(room)
                 if not function.__module__.endswith(tracing.REWRITTEN)]
    assert functions
    for function in functions:
        assert conversion.is_allowlisted(function), function


@pytest.mark.parametrize('room', tracing.REWRITTEN)
def test_what_calls_a_users_function_is_rewritten(room):
    for function in functions_of(room):
        assert not conversion.is_allowlisted(function), function


def doubled_if_positive(x):
    """What only AutoGraph can trace: a Python condition on a tensor."""
    if tf.reduce_sum(x) > 0:
        x = 2 * x
    return x


class Doubling(tf.Module):
    """A user's own layer, and model."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(1.0)

    def __call__(self, inputs, lengths, training=False):
        return doubled_if_positive(self.weight * inputs)


class DoublingLayer(Doubling):
    """As a layer of `Stacked` is called."""

    def __call__(self, inputs, lengths, state, reverse=False, training=False):
        return super().__call__(inputs, lengths), state


def first(layer):
    return lambda inputs, lengths: layer(inputs, lengths)[0]


USES = {
    'Activation': lambda: seqmask.Activation(doubled_if_positive),
    'a layer of Sequential': lambda: first(seqmask.Sequential([Doubling()])),
    'a function of Sequential': lambda: first(seqmask.Sequential(
        [lambda inputs, lengths: (doubled_if_positive(inputs), lengths)])),
    'Residual': lambda: lambda inputs, lengths: (
        seqmask.Residual(lambda x, lengths: doubled_if_positive(x))(inputs, lengths)[0] - inputs),
    'Stacked': lambda: first(seqmask.Stacked([DoublingLayer()])),
    'unroll': lambda: lambda inputs, lengths: seqmask.unroll(
        lambda x_t, state: (doubled_if_positive(x_t), state), inputs, lengths, tf.zeros([2, 1]))[0],
}


@pytest.mark.parametrize('name', USES)
def test_a_users_function_may_branch_on_tensors(name):
    inputs, lengths = tf.ones([2, 3, 3]), tf.constant([3, 3])
    graph = tf.function(USES[name]())
    for sign, factor in [(1, 2), (-1, 1)]:
        assert (graph(sign * inputs, lengths).numpy() == sign * factor).all()


def test_a_users_objective_may_branch_on_tensors():
    objective = seqmask.losses.weighted_masked_objective(lambda wanted, x: doubled_if_positive(x))
    mean = tf.function(lambda x: objective(x, x, mask=tf.ones([2, 3], tf.bool)).mean())
    assert mean(tf.ones([2, 3])).numpy() == 2 and mean(-tf.ones([2, 3])).numpy() == -1


def test_a_users_model_and_loss_may_branch_on_tensors():
    def loss(model, batch, training):
        outputs = model(batch['inputs'], batch['lengths'], training=training)
        if tf.size(outputs) > 2:
            outputs = doubled_if_positive(outputs)
        return seqmask.Tally(tf.reduce_sum(outputs), tf.constant(1.0))

    model = Doubling()
    trainer = training.Trainer(model, loss, tf.keras.optimizers.SGD(1.0), progress=False)
    batch = {'inputs': tf.ones([1, 3, 1]), 'lengths': tf.constant([3])}
    trainer.fit([batch], epochs=1)
    assert model.weight.numpy() == 1 - 2 * 2 * 3


def test_the_step_of_a_search_may_branch_on_tensors():
    def step(tokens, state):
        logits = tf.one_hot(tokens + 1, 3)
        if tf.reduce_max(tokens) > 0:           # only AutoGraph can trace it
            logits = 9 * logits
        return logits, state

    @tf.function
    def search(most):
        return seqmask.decode.greedy(step, tf.zeros([2, 0]), max_length=most, end=2)

    labels, lengths, _ = search(tf.constant([4, 4]))
    assert labels.numpy()[:, :2].tolist() == [[0, 1], [0, 1]] and lengths.numpy().tolist() == [2, 2]
