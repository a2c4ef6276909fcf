"""Steps that are tokens: in memory, in files, in batches; their vocabulary; as inputs of models."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import data, export, models, runs, training

WORDS = ['the', 'end', 'of', 'the', 'day', 'ñandú']
LENGTHS = [3, 0, 2, 1]


def words(**fields):
    return data.Sequences(WORDS, LENGTHS, steps={'labels': np.int32([0, 1, 2, 0, 1, 2]), **fields})


def numbers():
    return data.Sequences(np.array([3, 0, 70_000, -2, 3, 1]), LENGTHS)


def whole(stream):
    return stream.to_sequences()


def same(first, second):
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.lengths, second.lengths)
    assert first.frames.dtype.kind == second.frames.dtype.kind
    assert first.steps.keys() == second.steps.keys()
    for name, values in first.steps.items():
        np.testing.assert_array_equal(values, second.steps[name])


@pytest.mark.parametrize('collection', [words(), numbers()], ids=['words', 'numbers'])
@pytest.mark.parametrize('write, read', [
    (data.write_npz, data.read_npz), (data.write_npz, lambda path: whole(data.open_npz(path))),
    (data.write_tfrecord, lambda path: whole(data.open_tfrecord(path)))],
    ids=['npz', 'npz stream', 'tfrecord'])
def test_a_file_gives_back_tokens(tmp_path, collection, write, read):
    for source in (collection, data.Stream.from_sequences(collection)):
        write(tmp_path / 'tokens', source)
        same(read(tmp_path / 'tokens'), collection)


def test_whole_numbers_of_any_kind_become_int32():
    assert numbers().frames.dtype == np.int32
    assert data.Sequences(np.uint8([1, 2]), [2]).frames.dtype == np.int32
    assert data.Sequences([b'a', b'\xc3\xb1'], [2]).frames.tolist() == ['a', 'ñ']
    assert data.Sequences.from_list([['a', 'b'], [], ['c']]).lengths.tolist() == [2, 0, 1]
    assert numbers().cast('float64').frames.dtype == np.int32       # they stay as they are


@pytest.mark.parametrize('frames, message', [
    ([1.5, 2.5], 'rank 2.*tokens; got float64'), ([True, False], 'got bool'),
    ([2 ** 31, 0], 'int32, got the token 2147483648'),
    ([[['a']]], 'rank 2')])
def test_what_is_neither_tokens_nor_features(frames, message):
    with pytest.raises(ValueError, match=message):
        data.Sequences(frames, [len(frames)])


def test_a_padded_npz_may_hold_tokens(tmp_path):
    np.savez(tmp_path / 'a.npz', inputs=[['a', 'b'], ['c', '?']], lengths=[2, 1])
    assert data.read_npz(tmp_path / 'a.npz').frames.tolist() == ['a', 'b', 'c']
    np.savez(tmp_path / 'b.npz', tokens=[1., 2.], lengths=[2])
    with pytest.raises(ValueError, match="b.npz: record 'tokens' must be whole numbers or strings"):
        data.read_npz(tmp_path / 'b.npz')


def test_a_foreign_tfrecord_may_hold_tokens(tmp_path):
    example = tf.train.SequenceExample()
    for number in (5, 7):
        example.feature_lists.feature_list['inputs'].feature.add().int64_list.value.append(number)
    with tf.io.TFRecordWriter(str(tmp_path / 'a.tfrecord')) as writer:
        writer.write(example.SerializeToString())
    assert whole(data.open_tfrecord(tmp_path / 'a.tfrecord')).frames.tolist() == [5, 7]


def test_a_column_of_tokens(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('sequence,word,number,x\na,the,4,.5\na,end,5,1\nb,so,6,2\n')
    table = whole(data.open_csv(path, tokens='word', labels='number', features=['x']))
    assert table.frames.tolist() == ['the', 'end', 'so'] and table.lengths.tolist() == [2, 1]
    np.testing.assert_array_equal(table.steps['features'], [[.5], [1], [2]])
    stream = data.open_csv(path, tokens='number')
    assert stream.unused == ['word', 'x'] and whole(stream).frames.tolist() == [4, 5, 6]
    assert whole(data.open_csv(path)).frames.tolist() == [[4, .5], [5, 1], [6, 2]]


def test_other_sources_of_tokens():
    same(whole(data.from_lists([WORDS[:3], [], WORDS[3:5], WORDS[5:]])),
         data.Sequences(WORDS, LENGTHS))
    ragged = tf.RaggedTensor.from_row_lengths(WORDS, LENGTHS)
    same(whole(data.from_ragged(ragged)), data.Sequences(WORDS, LENGTHS))
    dataset = tf.data.Dataset.from_tensor_slices({'inputs': [[1, 2], [3, 9]], 'lengths': [2, 1]})
    assert whole(data.from_dataset(dataset)).frames.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r'\[B, \(T\)\] of whole numbers or strings, got float32'):
        data.from_ragged(tf.ragged.constant([[1., 2.], [3.]]))


def test_batches_pad_with_nothing():
    batch, = data.Batches(words(), 4)
    streamed, = data.StreamBatches(data.Stream.from_sequences(words()), 4)
    for found in (batch, streamed):
        assert found['inputs'].numpy().tolist() == [
            [b'the', b'end', b'of'], [b''] * 3, [b'the', b'day', b''],
            ['ñandú'.encode(), b'', b'']]
    chunks = [lane['inputs'].numpy().tolist() for lane in data.Lanes(numbers(), 1, 2)]
    assert chunks == [[[3, 0]], [[70_000]], [[-2, 3]], [[1]]]


def test_the_next_token_is_a_label():
    ahead = data.next_step(numbers())
    assert ahead.frames.tolist() == [3, 0, -2] and ahead.steps['labels'].tolist() == [0, 70_000, 3]


def test_tokens_have_no_scale():
    with pytest.raises(ValueError, match='tokens have no scale'):
        data.Standardizer.fit(words())
    embedding = models.TokenEmbedding(3, 2)
    with pytest.raises(ValueError, match='either an embedding or a standardizer'):
        models.Encoder(embedding=embedding, standardizer=data.standardize_sequences)


def test_a_vocabulary_counts_and_sorts():
    vocabulary = data.Vocabulary.fit(words())
    assert vocabulary.tokens.tolist() == ['[UNK]', 'the', 'day', 'end', 'of', 'ñandú']
    assert data.Vocabulary.fit(words(), min_count=2).tokens.tolist() == ['[UNK]', 'the']
    assert len(data.Vocabulary.fit(words(), max_tokens=3)) == 4
    assert data.Vocabulary.fit_characters(['añ', 'a']).tokens.tolist() == ['[UNK]', 'a', 'ñ']
    found = vocabulary(tf.constant([['the', 'nandu'], ['ñandú', '']]))
    assert found.dtype == tf.int32 and found.numpy().tolist() == [[1, 0], [5, 0]]
    assert vocabulary.names([[1, 0]]).tolist() == [['the', '[UNK]']]


@pytest.mark.parametrize('make, error, message', [
    (lambda: data.Vocabulary(['a', 'a']), ValueError, "'a' occurs 2 times"),
    (lambda: data.Vocabulary(['[UNK]']), ValueError, r"none be '\[UNK\]'"),
    (lambda: data.Vocabulary([1]), TypeError, 'must be strings, got 1'),
    (lambda: data.Vocabulary.fit([1, 2]), TypeError, 'must be strings, got int64'),
    (lambda: data.Vocabulary(['a'])(tf.constant([1])), TypeError, 'must be strings, got int32'),
    (lambda: data.Vocabulary(['a']).names([2]), ValueError, r'in \[0, 2\), got 2'),
    (lambda: models.TokenEmbedding(3, 2, token_dropout=0.5), ValueError, 'data.Vocabulary, got 3'),
    (lambda: models.Encoder(), ValueError, 'input_size must be given'),
    (lambda: models.Encoder(3, embedding=models.TokenEmbedding(3, 2)), ValueError,
     'width of the embedding, 2'),
    (lambda: models.TokenEmbedding(3, 2, features=1)(tf.constant([[1]]), tf.constant([1])),
     ValueError, "a dict of 'inputs'"),
    (lambda: seqmask.Embedding(3, 2)(tf.constant([[1., 2.]]), tf.constant([2])), TypeError,
     'tokens must be integers, got float32'),
    (lambda: seqmask.Embedding(3, 2)(tf.constant([[1, 2]])), ValueError, 'need lengths'),
    (lambda: seqmask.Embedding(3, 2)(tf.constant([[1, 3]]), tf.constant([2])),
     tf.errors.InvalidArgumentError, 'lowest and the highest token are 3, 1, 3')])
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_padding_adds_no_row_to_the_gradient():
    """With row 0 in the gradient, LazyAdam would keep moving it by its momentum."""
    embedding = seqmask.Embedding(5, 2, seed=0)
    optimizer = training.LazyAdam(0.1)
    optimizer.build(embedding.trainable_variables)
    rows = []
    for tokens, lengths in [([[0, 1]], [2]), ([[3, 0]], [1]), ([[2, 3], [0, 0]], [2, 0])]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(embedding(tf.constant(tokens), tf.constant(lengths)))
        gradient = tape.gradient(loss, embedding.embeddings)
        before = embedding.embeddings.numpy()
        optimizer.apply([gradient], [embedding.embeddings])
        rows.append(np.flatnonzero((embedding.embeddings.numpy() != before).any(axis=1)).tolist())
    assert rows == [[0, 1], [3], [2, 3]]


def test_weights_go_to_keras_and_back():
    ours = seqmask.Embedding(5, 2, seed=0)
    theirs = seqmask.keras.to_keras(ours)
    back = seqmask.keras.from_keras(theirs)
    tokens = tf.constant([[4, 0, 2]])
    np.testing.assert_array_equal(ours(tokens, tf.constant([3])), theirs(tokens))
    np.testing.assert_array_equal(back.embeddings, ours.embeddings)


@pytest.fixture(scope='module', params=['conv', 'gru'])
def tagger(request):
    vocabulary, letters = data.Vocabulary.fit(words(), min_count=2), data.Vocabulary(list('ehtnd'))
    embedding = models.TokenEmbedding(
        vocabulary, 3, characters=models.CharacterEmbedding(letters, 2, 4, kind=request.param,
                                                            seed=0),
        token_dropout=0.5, seed=0)
    return models.SequenceLabeller(models.Encoder(embedding=embedding, hidden_size=4, seed=0), 3,
                                   seed=0)


def test_a_word_is_spelled_alone_as_in_any_batch(tagger):
    batch, = data.Batches(words(), 4)
    together = tagger(batch['inputs'], batch['lengths']).numpy()
    for b, length in enumerate(LENGTHS):
        alone = tagger(batch['inputs'][b:b + 1, :length], tf.constant([length]))
        np.testing.assert_allclose(together[b, :length], alone[0], atol=1e-6)
        assert not together[b, length:].any()
    # Unknown words are told apart by their letters.
    spelled = tagger.encoder.embedding(tf.constant(['hen', 'ten', 'q', 'z']))
    assert not np.allclose(spelled[0], spelled[1]) and np.allclose(spelled[2], spelled[3])
    assert spelled.shape == (4, 7)


def test_dropped_tokens_are_the_unknown_one(tagger):
    embedding = tagger.encoder.embedding
    inputs, lengths = tf.constant([['the'] * 400]), tf.constant([400])
    vectors = embedding(inputs, lengths, training=True)[0, :, :3].numpy()
    unknown = (vectors == embedding.embedding.embeddings[0].numpy()).all(axis=1)
    known = (vectors == embedding.embedding.embeddings[1].numpy()).all(axis=1)
    assert (unknown | known).all() and 0.4 < unknown.mean() < 0.6


def test_a_tagger_of_words_trains_streams_and_is_exported(tagger, tmp_path):
    trainer = training.Trainer(tagger, type(tagger).loss, training.LazyAdam(0.05),
                               measure=type(tagger).measure, progress=False)
    batches = data.Batches(words(), 2, shuffle=True)
    history = trainer.fit(batches, data.Batches(words(), 4), epochs=15, workdir=tmp_path / 'run')
    assert history[-1]['valid_loss'] < 0.5 * history[0]['valid_loss']
    batch, = data.Batches(words(), 4)
    wanted = tagger(batch['inputs'], batch['lengths'])
    state = tagger.initial_state(4)
    for t in range(3):
        logits, state = tagger.step(batch['inputs'][:, t], state)
        real = t < batch['lengths'].numpy()
        np.testing.assert_allclose(logits.numpy()[real], wanted.numpy()[real, t], atol=1e-5)
    assert export.save(tagger, tmp_path / 'saved') == ['serving_default', 'step', 'initial_state']
    serve = tf.saved_model.load(str(tmp_path / 'saved')).signatures['serving_default']
    results = serve(inputs=batch['inputs'], lengths=batch['lengths'])
    np.testing.assert_allclose(results['outputs'], wanted, atol=1e-6)
    with pytest.raises(ValueError, match='no vocabularies'):
        export.to_tflite(tagger, maxlen=3)
    with pytest.raises(ValueError, match='reads strings'):
        seqmask.StepRunner(tagger)


def test_features_beside_tokens(tmp_path):
    rng = np.random.default_rng(0)
    collection = data.Sequences(numbers().frames % 4, LENGTHS, steps={
        'labels': np.int32([0, 1, 2, 0, 1, 2]),
        'features': rng.normal(size=[6, 2]).astype(np.float32)})
    embedding = models.TokenEmbedding(4, 3, features=2, seed=0)
    model = models.SequenceLabeller(models.Encoder(embedding=embedding, hidden_size=4, seed=0), 3,
                                    seed=0)
    trainer = training.Trainer(model, type(model).loss, tf.keras.optimizers.Adam(0.05),
                               progress=False)
    trainer.fit(data.Batches(collection, 2), epochs=2)
    batch, = data.Batches(collection, 4)
    inputs = model.inputs_of(batch)
    assert set(inputs) == {'inputs', 'features'}
    outputs = model(inputs, batch['lengths'])
    for own, cropped in zip(seqmask.crop(outputs, batch['lengths']),
                            trainer.predict(data.Batches(collection, 4))):
        np.testing.assert_allclose(own, cropped, atol=1e-6)
    changed = {**inputs, 'features': inputs['features'] + 1}
    assert not np.allclose(outputs[0], model(changed, batch['lengths'])[0])
    export.save(model, tmp_path / 'saved')
    serve = tf.saved_model.load(str(tmp_path / 'saved')).signatures['serving_default']
    np.testing.assert_allclose(serve(lengths=batch['lengths'], **inputs)['outputs'], outputs,
                               atol=1e-6)
    with pytest.raises(ValueError, match="reads 'inputs', 'features'"):
        seqmask.StepRunner(model)


def test_numbers_stream_and_run_in_tensorflow_lite():
    embedding = models.TokenEmbedding(6, 3, seed=0)
    model = models.SequenceLabeller(models.Encoder(embedding=embedding, hidden_size=4, seed=0), 3,
                                    seed=0)
    tokens = tf.constant([[1, 5, 2, 77]])
    wanted = model(tokens, tf.constant([3]))
    runner = seqmask.StepRunner(model, implementation='graph')
    outputs = [runner.step(tokens[:, t].numpy()) for t in range(3)]
    np.testing.assert_allclose(np.stack(outputs, axis=1), wanted[:, :3], atol=1e-6)
    with pytest.raises(TypeError):
        runner.step(np.float32([1.]))
    content = export.to_tflite(model, maxlen=4)
    with pytest.warns(UserWarning, match='LiteRT'):
        lite = tf.lite.Interpreter(model_content=content).get_signature_runner('serving_default')
    np.testing.assert_allclose(lite(inputs=tokens.numpy(), lengths=np.int32([3]))['outputs'],
                               wanted, atol=1e-6)


def columns(tmp_path, text):
    path = tmp_path / 'a.conll'
    path.write_text(text, encoding='utf-8')
    return path


def test_conll_columns(tmp_path):
    path = columns(tmp_path, '\ufeff-DOCSTART- -X- O\n\nEU NNP B-ORG\r\nrejects\tVBZ  O\n \t\n\n'
                             '# NN O\na\u00a0b NN O')
    read = whole(data.open_conll(path, fields={'pos': 1}))
    assert read.lengths.tolist() == [2, 2]
    assert read.frames.tolist() == ['EU', 'rejects', '#', 'a\u00a0b']
    assert read.steps['labels'].tolist() == ['B-ORG', 'O', 'O', 'O']
    assert read.steps['pos'].tolist() == ['NNP', 'VBZ', 'NN', 'NN']
    assert whole(data.open_conll(path, comment='#')).lengths.tolist() == [2, 1]
    assert list(whole(data.open_conll(path, labels=None)).steps) == []
    data.write_conll(tmp_path / 'b.conll', read)
    same(whole(data.open_conll(tmp_path / 'b.conll', fields={'pos': 1})), read)


@pytest.mark.parametrize('text, message', [
    ('a O\nb\n', r'a.conll: line 2 must have columns 0 \(inputs\), 1 \(labels\).*has 1 columns'),
])
def test_conll_lines_that_do_not_fit(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        whole(data.open_conll(columns(tmp_path, text), labels=1))
    (tmp_path / 'c.conll').write_bytes(b'a O\n\xff O\n')
    with pytest.raises(ValueError, match='c.conll: line 2 must be UTF-8'):
        whole(data.open_conll(tmp_path / 'c.conll'))
    with pytest.raises(FileNotFoundError):
        data.open_conll(tmp_path / 'd.conll')


@pytest.mark.parametrize('word', ['', 'a b', 'a\nb'])
def test_conll_refuses_what_a_column_cannot_hold(tmp_path, word):
    with pytest.raises(ValueError, match="'inputs' of sequence 1 holds"):
        data.write_conll(tmp_path / 'a.conll', data.Sequences(['x', word], [1, 1]))
    assert not (tmp_path / 'a.conll').exists()
    with pytest.raises(ValueError, match="columns must name fields.*got 'pos'"):
        data.write_conll(tmp_path / 'a.conll', words(), ['inputs', 'pos'])


def test_a_blueprint_of_tokens_builds_the_same_model_again():
    described = dict(tokens=['the', 'end'], size=3, token_dropout=0.1,
                     characters=dict(tokens=list('hend'), size=2, output_size=4))
    blueprint = runs.Blueprint('SequenceLabeller', dict(num_classes=3), {
        'encoder': ('Encoder', dict(hidden_size=4))}, 7, described)
    again = runs.Blueprint(**json.loads(json.dumps(dataclasses.asdict(blueprint))))
    batch, = data.Batches(words(), 4)
    outputs = [model(batch['inputs'], batch['lengths'])
               for model in (blueprint.build(), again.build())]
    np.testing.assert_array_equal(*outputs)
    assert blueprint.input_size is None
    numbered = runs.Blueprint('SequenceLabeller', dict(num_classes=3), {
        'encoder': ('ConvEncoder', dict(filters=[4], kernel_sizes=[3]))}, 7, dict(tokens=5, size=3))
    assert numbered.build()(tf.constant([[4, 0]]), tf.constant([2])).shape == (1, 2, 3)
