"""Reads pairs of texts, a line each: an input, a tab, and what is to be written for it."""

from __future__ import annotations

import numpy as np

from seqmask import data
from seqmask.runs.app import UserError


def read_pairs(path: str) -> data.Sequences:
    """Reads a .tsv of one or two columns.

    The parts of a column are what stands between spaces, if one of its lines has a space, else
    single characters. Blank lines are skipped.

    Args:
      path: Of the file, in UTF-8.

    Returns:
      `data.Sequences` of tokens, strings; with two columns also 'labels', str [B], the texts.

    Raises:
      UserError: If the lines do not have the same number of columns, one or two.
      FileNotFoundError: If there is no such file.
    """
    try:
        with open(path, encoding='utf-8') as file:
            lines = [(number, line.rstrip('\r\n').split('\t'))
                     for number, line in enumerate(file, 1) if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f'{path!r} is not text in UTF-8: {error}.') from error
    if not lines:
        raise UserError(f'{path!r} is empty: it must hold a pair in each line, with a tab between.')
    wanted = len(lines[0][1])
    for number, columns in lines:
        if len(columns) != wanted or wanted > 2:
            raise UserError(f'{path!r} must have two columns, with a tab between, in each line (or '
                            f'one, to predict); line {number} has {len(columns)}.')
    inputs = [columns[0] for _, columns in lines]
    split = separator_of(inputs)
    tokens = [text.split() if split else list(text) for text in inputs]
    texts = {'labels': np.array([columns[1] for _, columns in lines])} if wanted == 2 else {}
    return data.Sequences(np.array([token for row in tokens for token in row], str),
                          [len(row) for row in tokens], sequences=texts)


def separator_of(texts: list[str]) -> str:
    """' ' if one of the texts has a space, else ''."""
    return ' ' if any(' ' in text.strip() for text in texts) else ''


def names_of(sequences: data.Sequences) -> tuple[list[str], str] | None:
    """(Names of the labels, sorted; their separator) of labels that are texts; else None."""
    texts = sequences.sequences.get('labels')
    if texts is None or texts.dtype.kind != 'U' or texts.ndim != 1:
        return None
    separator = separator_of(texts.tolist())
    return sorted({name for text in texts.tolist()
                   for name in (text.split() if separator else text)}), separator
