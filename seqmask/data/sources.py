"""Lists, ragged tensors and `tf.data.Dataset`s as streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.data import chunk as chunking
from seqmask.data.pipeline import untuned
from seqmask.data.schema import Field, Schema
from seqmask.data.sequences import Sequences
from seqmask.data.stream import Stream

TOGETHER = 64       # elements of a dataset in a chunk; their sizes are unknown


def from_lists(frames: Iterable[TensorLike],
               steps: Mapping[str, Iterable[TensorLike]] | None = None,
               sequences: Mapping[str, TensorLike] | None = None) -> Stream:
    """A stream of Python lists or arrays, one for each sequence.

    Args:
      frames: List of B arrays or nested lists [length, D]; or of tokens, whole numbers or strings
        [length].
      steps: Dict of lists of B arrays [length, ...].
      sequences: Dict of arrays or lists [B, ...].

    Returns:
      `Stream`.

    Raises:
      TypeError: If a dtype does not fit.
      ValueError: If a shape does not fit; the message names the sequence.

    >>> print(seqmask.data.from_lists([[[1.], [2.]], [[3.]]], sequences={'labels': [0, 1]}))
    memory: 2 sequences
    inputs  float64  [1]  per step
    labels  int64    []   per sequence
    """
    return Stream.from_sequences(Sequences.from_list(frames, steps, sequences))


def from_ragged(ragged: tf.RaggedTensor, steps: Mapping[str, tf.RaggedTensor] | None = None,
                sequences: Mapping[str, TensorLike] | None = None) -> Stream:
    """A stream of ragged tensors.

    Args:
      ragged: Numbers, `tf.RaggedTensor` [B, (T), D], of which whole numbers become float32; or
        tokens [B, (T)], whole numbers or strings.
      steps: Dict of `tf.RaggedTensor` [B, (T), ...] with the same row lengths.
      sequences: Dict of tensors or arrays [B, ...].

    Returns:
      `Stream`.

    Raises:
      TypeError: If one is not ragged, or a dtype does not fit.
      ValueError: If a shape or the row lengths do not fit.

    >>> ragged = tf.ragged.constant([[[1., 2.]], [], [[3., 4.], [5., 6.]]], inner_shape=(2,))
    >>> seqmask.data.from_ragged(ragged).to_sequences().lengths
    array([1, 0, 2], dtype=int32)
    """
    frames, lengths = _flat('ragged', ragged)
    if frames.ndim != 2 and not (frames.ndim == 1 and frames.dtype.kind in 'iuU'):
        raise ValueError(f'ragged must have shape [B, (T), D], or [B, (T)] of whole numbers or '
                         f'strings, got {ragged.dtype.name} of shape {ragged.shape}.')
    joined = {}
    for name, values in (steps or {}).items():
        joined[name], found = _flat(f'steps[{name!r}]', values)
        if not np.array_equal(found, lengths):
            raise ValueError(f'steps[{name!r}] must have the row lengths of ragged.')
    whole = {name: chunking.readable(name, values, 'sequences')
             for name, values in (sequences or {}).items()}
    return Stream.from_sequences(Sequences(frames, lengths, joined, whole))


def from_dataset(dataset: tf.data.Dataset, steps: list[str] | None = None) -> Stream:
    """A stream of any `tf.data.Dataset` of dicts, one sequence each.

    Args:
      dataset: `tf.data.Dataset` of dicts of tensors: 'inputs' [T, D], or tokens [T], integers or
        strings; optionally 'lengths', an int scalar, 0 <= lengths <= T, without which every frame
        is real; and fields. 'inputs' and fields per step are cropped to the length.
      steps: Names of the fields per step. If None, those whose first size is that of 'inputs', or
        unknown; every other field is per sequence.

    Returns:
      `Stream` that iterates the dataset each time. Whole numbers in 'inputs' become float32.

    Raises:
      TypeError: If it is no such dataset.
      ValueError: If shapes do not fit; batches need `unbatch()` first. While iterating, if a length
        or a field per step does not fit the frames, which names the element, or the dataset fails.

    >>> dataset = tf.data.Dataset.from_tensor_slices(
    ...     {'inputs': [[[1.], [2.]], [[3.], [9.]]], 'lengths': [2, 1]})
    >>> seqmask.data.from_dataset(dataset).to_sequences().frames.ravel()
    array([1., 2., 3.], dtype=float32)
    """
    return _DatasetStream(dataset, _schema_of(dataset, steps))


class _DatasetStream(Stream):

    def __init__(self, dataset, schema):
        number = int(tf.data.experimental.cardinality(dataset))
        super().__init__(schema, lambda: _chunks(dataset, schema), source='tf.data.Dataset',
                         num_sequences=number if number >= 0 else None)
        self._dataset = dataset

    def direct_examples(self) -> tf.data.Dataset:
        return untuned(self._dataset.map(self._cropped))

    @tf.autograph.experimental.do_not_convert
    def _cropped(self, example):
        """The checks are those of `_chunk`, which names the element."""
        inputs = example['inputs']
        frames = tf.shape(inputs, tf.int64)[0]
        lengths = tf.cast(example.get('lengths', frames), tf.int64)
        fits = [tf.debugging.Assert((lengths >= 0) & (lengths <= frames),
                                    ['lengths must be in 0..T'])]
        fits += [tf.debugging.Assert(tf.shape(example[name], tf.int64)[0] == frames,
                                     [f'{name!r} must have an entry for each frame'])
                 for name in self.schema.steps[1:]]
        lengths = checks.after(fits, lengths)
        inputs = tf.cast(inputs, self.schema.fields['inputs'].dtype)
        return {'inputs': inputs[:lengths], 'lengths': tf.cast(lengths, tf.int32),
                **{name: example[name][:lengths] for name in self.schema.steps[1:]},
                **{name: example[name] for name in self.schema.sequences}}


def _chunks(dataset, schema):
    before = 0
    try:
        batches = dataset.ragged_batch(TOGETHER).map(lambda batch: _flattened(batch, schema.steps))
        for batch, sizes in untuned(batches).as_numpy_iterator():
            yield _chunk(batch, sizes, schema, before)
            before += TOGETHER
    except tf.errors.OpError as error:
        raise ValueError(f'tf.data.Dataset: {" ".join(error.message.split())}') from error


def _chunk(batch, sizes, schema, before):
    """What `_flattened` returned as a chunk, cropped; `before` elements came before it."""
    frames, found = batch['inputs'], sizes['inputs']
    lengths = batch.get('lengths', found)
    for i in np.flatnonzero((lengths < 0) | (lengths > found)):
        raise ValueError(f'tf.data.Dataset: lengths must be in 0..T; that of element {before + i} '
                         f'is {lengths[i]}, and T is {found[i]}.')
    starts = np.cumsum(found) - found
    real = np.arange(len(frames)) - np.repeat(starts, found) < np.repeat(lengths, found)
    chunk = {'inputs': frames[real], 'lengths': lengths.astype(np.int32)}
    for name in schema.steps[1:]:
        for i in np.flatnonzero(sizes[name] != found):
            raise ValueError(f'tf.data.Dataset: {name!r} must have an entry for each frame; '
                             f'element {before + i} has {sizes[name][i]}, and {found[i]} frames.')
        chunk[name] = batch[name][real]
    return chunking.fitted({**chunk, **{name: batch[name] for name in schema.sequences}}, schema)


@tf.autograph.experimental.do_not_convert
def _flattened(batch, steps):
    """A ragged batch with fields per step flattened [N, ...]; the size of each element [b]."""
    sizes = {}
    for name in steps:
        values = batch[name]
        if not isinstance(values, tf.RaggedTensor):         # of a static size
            values = tf.RaggedTensor.from_tensor(values)
        batch[name], sizes[name] = values.values, values.row_lengths()
    return batch, sizes


def _schema_of(dataset, steps):
    spec = getattr(dataset, 'element_spec', None)
    if not isinstance(spec, dict) or 'inputs' not in spec:
        raise TypeError(f"dataset must be a tf.data.Dataset of dicts with 'inputs', got "
                        f'{type(dataset).__name__}{"" if spec is None else f" of {spec}"}.')
    for name, part in spec.items():
        if not isinstance(part, tf.TensorSpec) or part.shape.rank is None:
            raise TypeError(f'{name!r} must be a tensor of known rank, got {part}.')
    inputs = spec['inputs']
    is_text = inputs.dtype == tf.string
    are_tokens = inputs.shape.rank == 1 and (is_text or inputs.dtype.is_integer)
    if not are_tokens and (inputs.shape.rank != 2 or inputs.shape[1] is None):
        raise ValueError(f"'inputs' must have shape [T, D], D known, one sequence an element, got "
                         f'{inputs.shape}. Split batches with unbatch().')
    if 'lengths' in spec and (spec['lengths'].shape.rank or not spec['lengths'].dtype.is_integer):
        raise ValueError(f"'lengths' must be an int scalar for each element, got "
                         f"{spec['lengths']}.")
    for name in steps or []:
        if name not in spec or not spec[name].shape.rank:
            raise ValueError(f'steps names {name!r}, which has no axis of steps.')
    others = tf.string if is_text else tf.int32 if are_tokens else tf.float32
    fields = {'inputs': Field(inputs.dtype if inputs.dtype.is_floating else others,
                              tuple(inputs.shape[1:]), 'step')}
    for name, part in spec.items():
        if name in ('inputs', 'lengths'):
            continue
        per_step = (name in steps if steps is not None else
                    part.shape.rank > 0 and part.shape[0] in (None, inputs.shape[0]))
        shape = part.shape[1:] if per_step else part.shape
        if not shape.is_fully_defined():
            raise ValueError(f'{name!r} must have one shape for every '
                             f'{"step" if per_step else "sequence"}, got {shape}.')
        fields[name] = Field(part.dtype, tuple(shape), 'step' if per_step else 'sequence')
    return Schema(fields)


def _flat(name, ragged):
    """(values [N, ...], row lengths [B])."""
    if not isinstance(ragged, tf.RaggedTensor):
        raise TypeError(f'{name} must be a tf.RaggedTensor, got {type(ragged).__name__}.')
    lengths, values = ragged.row_lengths().numpy(), ragged.values
    if isinstance(values, tf.RaggedTensor):         # of nested lists, where D is ragged, too
        sizes = np.unique(values.row_lengths())
        if values.ragged_rank > 1 or len(sizes) > 1:
            raise ValueError(f'{name} must have the same size at every step, got {sizes.tolist()}.')
        values = tf.reshape(values.flat_values, [values.nrows(), sizes[0] if len(sizes) else 0])
    return chunking.readable(name, values.numpy(), name), lengths
