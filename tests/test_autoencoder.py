"""The autoencoder: beside the three known ways of Keras; its decoders, its units, its errors."""

import numpy as np
import pytest
import tensorflow as tf

import reference
import some_models
import seqmask
from seqmask import data

layers = tf.keras.layers
LENGTHS = [3, 5, 1, 3]
T, D, H = 6, 3, 4       # T is wider than the longest
SMALL = {'input_size': D, 'hidden_size': H, 'seed': 0}

both_cells = pytest.mark.parametrize('cell', ['lstm', 'gru'])


def a_batch(rng, lengths=LENGTHS, fill=0.0):
    inputs = rng.normal(size=[len(lengths), T, D]).astype('float32')
    for b, length in enumerate(lengths):
        inputs[b, length:] = fill
    return tf.constant(inputs), tf.constant(lengths, tf.int32)


def shaken(model):
    """The model, no variable as it was initialised: zeros would hide what a bias does."""
    for k, variable in enumerate(model.trainable_variables):
        variable.assign_add(tf.random.stateless_normal(variable.shape, seed=[0, k], stddev=0.5,
                                                       dtype=variable.dtype))
    return model


# The three known ways of masking it in Keras, with live layers


class Published:
    """The model of the question: the encoder's last output, repeated, decoded, through a Dense."""

    def __init__(self, cell, both_ways=False):
        layer = {'lstm': layers.LSTM, 'gru': layers.GRU}[cell]
        self.encoder, self.to_frame = layer(H), layers.Dense(D)
        self.decoder = layer(H, return_sequences=True)
        if both_ways:
            self.decoder = layers.Bidirectional(self.decoder)
        self(tf.zeros([1, T, D]))
        for part in (self.encoder, self.decoder, self.to_frame):
            part.set_weights([np.random.default_rng(k).normal(size=weight.shape)
                              for k, weight in enumerate(part.get_weights())])

    def __call__(self, inputs, mask=None, decoder_mask=None):
        codes = self.encoder(inputs, mask=mask)
        repeated = layers.RepeatVector(inputs.shape[1])(codes)
        return self.to_frame(self.decoder(repeated, mask=decoder_mask)).numpy()

    def copied(self, cell, both_ways=False):
        """A seqmask model with the same weights."""
        model = some_models.autoencoder(cell=cell, bidirectional_decoder=both_ways, **SMALL)
        decoder = model.decoder.recurrent.layers[0]
        directions = [decoder.forward, decoder.backward] if both_ways else [decoder]
        ours = [weight for layer in [model.encoder.recurrent.layers[0], *directions] for weight in (
            layer.kernel, layer.recurrent_kernel, layer.bias)]
        theirs = [weight for part in (self.encoder, self.decoder, self.to_frame)
                  for weight in part.get_weights()]
        for variable, weight in zip([*ours, model.to_frame.kernel, model.to_frame.bias], theirs,
                                    strict=True):
            variable.assign(weight)
        return model


def in_batches_of_equal_lengths(published, inputs, lengths):
    """The first way: no padding, so no mask; the outputs of each sequence."""
    sequences = data.Sequences.from_list(
        [x[:n] for x, n in zip(inputs.numpy(), lengths.numpy())],
        sequences={'number': np.arange(len(lengths))})
    batches = data.Batches(sequences, batch_size=2, bucket_boundaries='exact')
    assert batches.padding_share() == 0
    outputs = {int(number): output for batch in batches
               for number, output in zip(batch['number'], published(batch['inputs']))}
    return [outputs[number] for number in sorted(outputs)]


@both_cells
def test_equal_lengths_and_cropping_agree_step_for_step(cell, rng):
    published = Published(cell)
    inputs, lengths = a_batch(rng)
    mask = seqmask.sequence_mask(lengths, T)
    exact = in_batches_of_equal_lengths(published, inputs, lengths)
    ours = published.copied(cell)(inputs, lengths)
    for outputs in [published(inputs, mask), published(inputs, mask, mask), ours]:
        for wanted, cropped in zip(exact, seqmask.crop(outputs, lengths), strict=True):
            np.testing.assert_allclose(cropped, wanted, rtol=1e-4, atol=1e-5)
    assert not np.any(ours[~mask])


@both_cells
def test_masking_the_code_repeats_the_last_output_which_an_unmasked_loss_counts(cell, rng):
    published = Published(cell)
    inputs, lengths = a_batch(rng)
    mask = seqmask.sequence_mask(lengths, T)
    outputs = published(inputs, mask, mask)
    for output, length in zip(outputs, LENGTHS):
        assert np.all(output[length - 1] != 0)
        np.testing.assert_array_equal(output[length:], np.tile(output[length - 1],
                                                               [T - length, 1]))
    tally = published.copied(cell).loss({'inputs': inputs, 'lengths': lengths}, training=False)
    assert float(tally.count) == sum(LENGTHS)
    unmasked = float(tf.keras.losses.MeanSquaredError()(inputs, outputs))
    repeated = sum((T - length) * np.mean(output[length - 1] ** 2)
                   for output, length in zip(outputs, LENGTHS))
    np.testing.assert_allclose(unmasked, (float(tally.total) + repeated) / (len(LENGTHS) * T),
                               rtol=1e-5)
    assert abs(unmasked / float(tally.mean()) - 1) > 0.01


def test_a_decoder_in_both_directions_needs_the_mask_and_cropping(rng):
    published = Published('lstm', both_ways=True)
    inputs, lengths = a_batch(rng)
    mask = seqmask.sequence_mask(lengths, T)
    exact = np.concatenate(in_batches_of_equal_lengths(published, inputs, lengths))
    ours = published.copied('lstm', both_ways=True)(inputs, lengths)
    np.testing.assert_allclose(ours[mask], exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(published(inputs, mask, mask)[mask], exact, rtol=1e-4, atol=1e-5)
    assert not np.allclose(published(inputs, mask)[mask], exact, atol=0.01)


# Codes and decoders


@pytest.mark.parametrize('options, width', [
    ({}, H), ({'bidirectional': True}, 2 * H), ({'code_size': 2}, 2),
    ({'bidirectional': True, 'code_size': 3, 'num_layers': 2}, 3)])
def test_a_code_decodes_to_any_length(options, width, rng):
    model = shaken(some_models.autoencoder(**SMALL, **options))
    inputs, lengths = a_batch(rng)
    codes = model.encode(inputs, lengths)
    assert codes.shape == (len(LENGTHS), width) and model.code_size == width
    np.testing.assert_allclose(model.decode(codes, lengths, T), model(inputs, lengths), rtol=1e-6)
    longer = model.decode(codes, tf.constant([9, 0, 9, 2]), maxlen=tf.constant(9))
    assert longer.shape == (4, 9, D) and not np.any(longer[1])
    np.testing.assert_allclose(longer[0, :3], model(inputs, lengths)[0, :3], rtol=1e-5)


def test_the_code_of_no_steps_is_that_of_the_initial_state():
    inputs, lengths = tf.fill([2, T, D], np.nan), tf.constant([0, 0])
    model = some_models.autoencoder(bidirectional=True, **SMALL)
    np.testing.assert_array_equal(model.encode(inputs, lengths), np.zeros([2, 2 * H]))
    model = shaken(some_models.autoencoder(code_size=2, **SMALL))
    np.testing.assert_array_equal(model.encode(inputs, lengths), [model.to_code.bias] * 2)
    np.testing.assert_array_equal(model(inputs, lengths), np.zeros([2, T, D]))
    measured = model.measure({'inputs': inputs, 'lengths': lengths})
    assert {name: float(tally.mean()) for name, tally in measured.items()} == {
        'loss': 0, 'baseline': 0, 'explained': 0}


@both_cells
@pytest.mark.parametrize('reverse_target', [False, True])
def test_an_autoregressive_decoder_reads_its_own_outputs(cell, reverse_target, rng):
    model = shaken(some_models.autoencoder(cell=cell, autoregressive=True, num_layers=2,
                                           reverse_target=reverse_target, **SMALL))
    inputs, lengths = a_batch(rng)
    codes = model.encode(inputs, lengths)
    state, frame = model.decoder.initial_state(len(LENGTHS)), tf.zeros([len(LENGTHS), D])
    frames = []
    for _ in range(max(LENGTHS)):       # as a stream: it stops nowhere
        output, state = model.decoder.step(tf.concat([codes, frame], axis=1), state)
        frame = output @ model.to_frame.kernel + model.to_frame.bias
        frames.append(frame.numpy())
    outputs = model(inputs, lengths)
    for b, length in enumerate(LENGTHS):
        alone = np.array(frames)[:length, b]
        np.testing.assert_allclose(outputs[b, :length], alone[::-1] if reverse_target else alone,
                                   rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('reverse_target', [False, True])
def test_training_is_teacher_forcing(reverse_target, rng):
    model = shaken(some_models.autoencoder(cell='gru', autoregressive=True, code_size=2,
                                           reverse_target=reverse_target, **SMALL))
    inputs, lengths = a_batch(rng, fill=np.nan)
    trained = model(inputs, lengths, training=True)
    codes = model.encode(inputs, lengths)
    np.testing.assert_array_equal(trained, model.decode(codes, lengths, T, targets=inputs))
    weights = {'/'.join(map(str, path)): variable.numpy() for path, variable in model._flatten(
        with_path=True, predicate=lambda part: isinstance(part, tf.Variable) and part.trainable)}
    for b, length in enumerate(LENGTHS):
        wanted = reference.autoencoder(inputs[b, :length].numpy(), weights, reference.gru,
                                       reverse_target, autoregressive=True, teacher=True)
        np.testing.assert_allclose(trained[b, :length], wanted, rtol=1e-4, atol=1e-5)
    batch = {'inputs': inputs, 'lengths': lengths}
    free, forced = (float(model.loss(batch, training=training).mean())
                    for training in [False, True])
    assert free != forced and float(model.measure(batch)['loss'].mean()) == free


# Its units


def test_it_works_in_standardised_units_and_reconstructs_in_those_of_the_data(rng):
    standardizer = data.Standardizer(mean=[5., -3., 0.], scale=[2., 0.5, 1.])
    model = shaken(some_models.autoencoder(standardizer=standardizer, **SMALL))
    inputs, lengths = a_batch(rng)
    outputs = model(inputs, lengths)
    mask = seqmask.sequence_mask(lengths, T)
    frames = (inputs - standardizer.mean) / standardizer.scale
    tally = model.loss({'inputs': inputs, 'lengths': lengths}, training=False)
    np.testing.assert_allclose(tally.mean(), np.mean((outputs - frames)[mask] ** 2), rtol=1e-5)
    wanted = np.where(mask[..., None], outputs * standardizer.scale + standardizer.mean, 0)
    np.testing.assert_allclose(model.reconstruct(inputs, lengths), wanted, rtol=1e-5)
    plain = some_models.autoencoder(**SMALL)
    poisoned = tf.where(mask[..., None], inputs, np.nan)
    np.testing.assert_array_equal(plain.targets(poisoned, lengths), inputs)
    np.testing.assert_array_equal(plain.reconstruct(inputs, lengths), plain(inputs, lengths))


def test_untrained_weights_of_zero_predict_the_mean(rng):
    inputs, lengths = a_batch(rng)
    real = inputs[seqmask.sequence_mask(lengths, T)].numpy()
    model = some_models.autoencoder(mean=real.mean(axis=0), **SMALL)
    batch = {'inputs': inputs, 'lengths': lengths}
    baseline = model.measure(batch)['baseline']
    np.testing.assert_allclose(baseline.mean(), real.var(axis=0).mean(), rtol=1e-5)
    model.to_frame.kernel.assign(tf.zeros([H, D]))
    measured = model.measure(batch)
    assert float(measured['loss'].mean()) == float(baseline.mean())
    assert float(measured['explained'].mean()) == 0


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_half_precision_takes_float32(dtype, rng):
    inputs, lengths = a_batch(rng, fill=np.nan)
    for options in [{'code_size': 2}, {'autoregressive': True}]:
        model = some_models.autoencoder(standardizer=data.Standardizer([0.] * D, [1.] * D),
                                        dtype=dtype, **SMALL, **options)
        assert model(inputs, lengths).dtype == model.encode(inputs, lengths).dtype == dtype
        assert model.reconstruct(inputs, lengths).dtype == tf.float32
        loss = model.loss({'inputs': inputs, 'lengths': lengths}, training=True)
        assert loss.total.dtype == tf.float32 and np.isfinite(loss.mean())


# Its random numbers


@pytest.mark.parametrize('autoregressive', [False, True])
def test_in_training_padding_changes_nothing(autoregressive):
    options = {'dropout': 0.5, 'step_dropout': 0.5, 'num_layers': 2, **SMALL}
    outputs, gradients = [], []
    for fill in [0.0, np.nan]:
        model = some_models.autoencoder(autoregressive=autoregressive, **options)
        inputs, lengths = a_batch(np.random.default_rng(1), fill=fill)
        with tf.GradientTape() as tape:
            outputs.append(model(inputs, lengths, training=True))
            loss = tf.reduce_sum(outputs[-1] ** 2)
        gradients.append(tape.gradient(loss, model.trainable_variables))
    np.testing.assert_array_equal(*outputs)
    for clean, poisoned in zip(*gradients, strict=True):
        np.testing.assert_array_equal(clean, poisoned)


@pytest.mark.parametrize('options', [{'dropout': 0.5}, {'step_dropout': 0.5}])
def test_dropout_is_of_training_alone_and_of_its_seed(options, rng):
    inputs, lengths = a_batch(rng)
    first, same, other = (some_models.autoencoder(**{**SMALL, 'seed': seed}, **options)
                          for seed in [7, 7, 8])
    np.testing.assert_array_equal(first(inputs, lengths, training=True),
                                  same(inputs, lengths, training=True))
    np.testing.assert_array_equal(first(inputs, lengths), first(inputs, lengths))
    assert not np.allclose(first(inputs, lengths), first(inputs, lengths, training=True))
    assert not np.allclose(first(inputs, lengths), other(inputs, lengths))


def test_step_dropout_is_of_what_an_autoregressive_decoder_reads_too(rng):
    inputs, lengths = a_batch(rng)
    model = some_models.autoencoder(autoregressive=True, step_dropout=0.5, **SMALL)
    model.encoder.recurrent.layers[0].kernel.assign(tf.zeros([D, 4 * H]))   # it is blind
    first, second = (model(inputs, lengths, training=True) for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first[2], second[2])      # one step: nothing before it is read


# Bad arguments


@pytest.mark.parametrize('error, message, options', [
    (ValueError, "cell must be one of 'gru', 'lstm', 'mgu', got 'rnn'", {'cell': 'rnn'}),
    (ValueError, 'code_size must be at least 1, got 0', {'code_size': 0}),
    (ValueError, 'num_layers must be at least 1', {'num_layers': 0}),
    (ValueError, r'step_dropout must be in \[0, 1\)', {'step_dropout': 1.0}),
    (ValueError, "autoregressive or the decoder's bidirectional must be",
     {'autoregressive': True, 'bidirectional_decoder': True}),
    (ValueError, r'mean must have shape \[3\], one number per feature, got shape \(2,\)',
     {'mean': [0., 1.]}),
])
def test_errors_of_options(error, message, options):
    with pytest.raises(error, match=message):
        some_models.autoencoder(**SMALL, **options)


def test_errors_of_calls(rng):
    inputs, lengths = a_batch(rng)
    model = some_models.autoencoder(standardizer=data.standardize_sequences, **SMALL)
    codes = model.encode(inputs, lengths)
    with pytest.raises(ValueError, match='targets are read by an autoregressive decoder only'):
        model.decode(codes, lengths, T, targets=inputs)
    with pytest.raises(ValueError, match='codes must have code_size = 4 on axis -1'):
        model.decode(codes[:, 1:], lengths, T)
    with pytest.raises(ValueError, match='the standardizer cannot be inverted'):
        model.reconstruct(inputs, lengths)
    with pytest.raises(ValueError, match='inputs must have input_size = 3 on axis -1'):
        model(inputs[..., 1:], lengths)
    with pytest.raises(tf.errors.InvalidArgumentError, match='must not exceed the number of time'):
        model.decode(codes, lengths, 4)
