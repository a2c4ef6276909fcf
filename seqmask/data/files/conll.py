"""Tokens and their labels in columns: a line per token, a blank line between sentences."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.checks import PathLike
from seqmask.data import chunk as chunking
from seqmask.data.files.whole import write_whole
from seqmask.data.schema import Field, Schema
from seqmask.data.sequences import Sequences
from seqmask.data.stream import Stream, as_stream

DOCUMENT = b'-DOCSTART-'        # a sentence of its own, between documents


def open_conll(path: PathLike, *, tokens: int = 0, labels: int | None = -1,
               fields: Mapping[str, int] | None = None, separator: str | None = None,
               comment: str | None = None) -> Stream:
    """Opens a file of columns, as CoNLL's shared tasks use them, for reading chunk by chunk.

        EU      NNP  B-ORG
        rejects VBZ  O

        Peter   NNP  B-PER

    UTF-8; a line per token, at least one blank line between sentences. Sentences of one token
    '-DOCSTART-', which mark documents, are skipped, and so are lines that begin with `comment`.

    Args:
      path: Of the file.
      tokens: int. Column of the tokens, from 0; from -1 backwards.
      labels: int. Column of the labels; None if there are none.
      fields: dict of name -> column, read as further strings per step.
      separator: What separates columns; None for any spaces and tabs.
      comment: Such as '#' in CoNLL-U; None if no line is a comment.

    Returns:
      `Stream` with 'inputs' and 'labels', strings per step, and the fields.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: While iterating, if a line lacks a column, or is not UTF-8; the message names it.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'train.conll')
    ...     with open(path, 'w') as file:
    ...         _ = file.write('EU NNP B-ORG\\nrejects VBZ O\\n\\nPeter NNP B-PER\\n')
    ...     sentences = seqmask.data.open_conll(path, fields={'pos': 1}).to_sequences()
    >>> sentences.lengths, sentences.steps['labels']
    (array([2, 1], dtype=int32), array(['B-ORG', 'O', 'B-PER'], dtype='<U5'))
    """
    path = os.fsdecode(path)
    columns = {'inputs': tokens, **({} if labels is None else {'labels': labels}),
               **dict(fields or {})}
    for name, column in columns.items():
        checks.size(f'column of {name!r}', column, minimum=-1_000_000)
    with open(path, 'rb'):
        pass                # a missing file is noticed here
    schema = Schema({name: Field(tf.string, (), 'step') for name in columns})
    return Stream(schema, lambda: _chunks(path, columns, separator, comment), source=path)


def write_conll(path: PathLike, sequences: Sequences | Stream, columns: Iterable[str] | None = None,
                *, separator: str = ' ') -> None:
    """Writes tokens and labels in columns, atomically; `open_conll` reads them.

    Args:
      path: Of the file.
      sequences: `Sequences` or `Stream` of tokens. One without steps is left out: the format cannot
        express it.
      columns: Names of fields per step, 'inputs' for the tokens, in the order of the columns; None
        for the tokens first, 'labels' last, and all others between.
      separator: One of ' ', tab or whatever `open_conll` is told.

    Raises:
      ValueError: If a field is missing, or a value is empty or contains the separator or a line
        break; the message names the sequence.
      OSError: If the file cannot be written.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'predicted.conll')
    ...     seqmask.data.write_conll(path, seqmask.data.Sequences(
    ...         ['Rome', 'fell'], [2], steps={'labels': ['B-LOC', 'O']}))
    ...     with open(path) as file:
    ...         print(file.readlines())
    ['Rome B-LOC\\n', 'fell O\\n', '\\n']
    """
    stream = as_stream(sequences)
    names = stream.schema.steps
    if columns is None:
        columns = sorted(names, key=lambda name: (name == 'labels', name != 'inputs'))
    columns = list(columns)
    for name in columns:
        if name not in names or stream.schema.fields[name].shape:
            raise ValueError(f'columns must name fields with one value per step, got {name!r}; '
                             f'there are {", ".join(map(repr, names))}.')

    def write(file):
        before = 0
        for chunk in stream.chunks():
            lines = [_texts(chunk[name], stream.source) for name in columns]
            ends = np.cumsum(chunk['lengths'])
            for i, (end, length) in enumerate(zip(ends.tolist(), chunk['lengths'].tolist())):
                for row in zip(*(line[end - length:end] for line in lines)):
                    for name, value in zip(columns, row):
                        _require_writable(value, name, separator, before + i)
                    file.write(separator.join(row) + '\n')
                if length:
                    file.write('\n')
            before += len(chunk['lengths'])

    write_whole(os.fsdecode(path), write)


def _texts(values, source):
    return [str(value) for value in chunking.readable('values', values, source).tolist()]


def _require_writable(value, name, separator, sequence):
    if not value.strip(' \t\r') or re.search('[\r\n]', value) or separator in value:
        raise ValueError(f'{name!r} of sequence {sequence} holds {value!r}, which a column cannot: '
                         f'it must not be empty, and hold neither {separator!r} nor line breaks.')


def _chunks(path, columns, separator, comment):
    sentences, steps = [], 0
    for sentence in _sentences(path, columns, separator, comment):
        if not sentence or len(sentence) == 1 and sentence[0][0] == DOCUMENT:
            continue
        sentences.append(sentence)
        steps += len(sentence)
        if len(sentences) == chunking.MOST_SEQUENCES or steps > 10_000:
            yield _chunk(sentences, columns)
            sentences, steps = [], 0
    if sentences:
        yield _chunk(sentences, columns)


def _chunk(sentences, columns):
    rows = np.array([row for sentence in sentences for row in sentence], dtype=object)
    return {'lengths': np.array(list(map(len, sentences)), np.int32),
            **{name: rows[:, k] for k, name in enumerate(columns)}}


def _sentences(path, columns, separator, comment) -> Iterator[list[list[bytes]]]:
    """Lists of rows, each the chosen columns, as bytes."""
    sentence = []
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode('utf-8-sig' if number == 1 else 'utf-8').strip(' \t\r\n')
            except UnicodeDecodeError as error:
                raise ValueError(f'{path}: line {number} must be UTF-8.') from error
            if not text:
                yield sentence
                sentence = []
            elif not (comment and text.startswith(comment)):
                # Not str.split(), which would split tokens at spaces that do not break.
                parts = text.split(separator) if separator else re.split('[ \t]+', text)
                try:
                    sentence.append([parts[column].encode() for column in columns.values()])
                except IndexError as error:
                    raise ValueError(
                        f'{path}: line {number} must have columns '
                        f'{", ".join(f"{c} ({name})" for name, c in columns.items())}, from 0; it '
                        f'has {len(parts)} columns: {text[:60]!r}.') from error
    yield sentence
