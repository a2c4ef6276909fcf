"""From files and arrays to batches.

A `Sequences` holds a collection in memory, without padding; `read_npz` and `write_npz` keep one in
a file. A `Stream` reads one that need not fit into memory, from `open_npz`, `open_tfrecord`,
`open_csv`, `open_conll` and others; its `Schema` says what it holds. Steps are features or tokens;
a `Vocabulary` numbers tokens that are strings. `split` divides a collection at random, `next_step`
makes later frames the labels;
`Batches` pads it, batch by batch, in an order that is a function of seed and epoch alone, and
`StreamBatches` does so with a stream. Lengths are those that the data came with, never guessed
again.
"""

from seqmask.data.batching import Batches
from seqmask.data.dataframe import from_dataframe
from seqmask.data.files.conll import open_conll, write_conll
from seqmask.data.files.csv_rows import csv_columns
from seqmask.data.files.long_csv import open_csv
from seqmask.data.files.npz import open_npz, read_npz
from seqmask.data.files.npz_writer import write_npz
from seqmask.data.files.parquet import parquet_columns, read_parquet
from seqmask.data.files.rating_table import read_ratings
from seqmask.data.files.tfrecord import open_tfrecord, write_tfrecord
from seqmask.data.lanes import Lanes
from seqmask.data.next_step import next_step
from seqmask.data.rating_rows import rows_from_matrix, rows_from_sparse
from seqmask.data.ratings import Ratings, rating_rows, split_ratings
from seqmask.data.schema import Field, Schema
from seqmask.data.sequences import Sequences
from seqmask.data.sources import from_dataset, from_lists, from_ragged
from seqmask.data.split import split
from seqmask.data.standardizer import Standardizer, standardize_sequences
from seqmask.data.stream import Stream
from seqmask.data.stream_batches import StreamBatches
from seqmask.data.vocabulary import Vocabulary

__all__ = ['Batches', 'Field', 'Lanes', 'Ratings', 'Schema', 'Sequences', 'Standardizer', 'Stream',
           'StreamBatches', 'Vocabulary', 'csv_columns', 'from_dataframe', 'from_dataset',
           'from_lists', 'from_ragged', 'next_step', 'open_conll', 'open_csv', 'open_npz',
           'open_tfrecord', 'parquet_columns', 'rating_rows', 'read_npz', 'read_parquet',
           'read_ratings', 'rows_from_matrix', 'rows_from_sparse', 'split', 'split_ratings',
           'standardize_sequences', 'write_conll', 'write_npz', 'write_tfrecord']
