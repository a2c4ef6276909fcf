"""Every operation that takes lengths or a mask, with its NumPy reference.

A `Contract` says how to call the operation on a padded batch and what one sequence alone, unpadded,
must give. `tests/test_contracts.py` runs all of them through the same checks. To add an operation:
add its equation to `reference.py` and a `Contract` here; a test fails until both are done.
"""

import dataclasses
import typing

import numpy as np
import tensorflow as tf

import reference
import seqmask


def features(rng, batch, maxlen, dtype):
    """The usual operand: `inputs` [B, T, 3]."""
    return {'inputs': rng.normal(size=[batch, maxlen, 3]).astype(dtype)}


@dataclasses.dataclass(frozen=True)
class Contract:
    """One operation under the contract.

    Attributes:
      name: Public name below `seqmask`, with a variant in brackets: 'GRU[reset_before]'.
      call: (module, arrays, lengths) -> list of tensors. `arrays` as `arrays` made them.
      reference: (weights, arrays) -> list of NumPy arrays, for one unpadded sequence alone; `arrays`
        are the same, cropped to the sequence, without the batch axis.
      kinds: For each result: 'steps' [B, T, ...], zero at padded steps; 'sequence' [B, ...]; or
        'sum', a scalar to which each sequence adds its own part.
      make: dtype name -> `tf.Module` whose trainable variables are the `weights`, by name; or None.
      arrays: (rng, B, T, dtype name) -> dict of operands. Those named in `per_sequence` are [B, ...],
        all others [B, T, ...].
      per_sequence: Names of the operands that have no time axis.
      differentiable: False for operations without gradients.
    """
    name: str
    call: typing.Callable
    reference: typing.Callable
    kinds: tuple
    make: typing.Callable = lambda dtype: None
    arrays: typing.Callable = features
    per_sequence: tuple = ()
    differentiable: bool = True


def mask_of(values, lengths):
    return seqmask.sequence_mask(lengths, tf.shape(values)[1])


def _concat_time(module, arrays, lengths):
    # The second part is the first again, so that its lengths are those of the batch too.
    return seqmask.concat_time(arrays['inputs'], lengths, arrays['inputs'], lengths)[:1]


MASKING = [
    Contract('apply_mask',
             call=lambda _, a, n: [seqmask.apply_mask(a['inputs'], mask_of(a['inputs'], n))],
             reference=lambda _, a: [a['inputs']], kinds=('steps',)),
    Contract('mask_gradient',
             # Its values pass whole, by definition; what it promises is the gradient.
             call=lambda _, a, n: [tf.reduce_sum(seqmask.apply_mask(
                 seqmask.mask_gradient(a['inputs'], mask_of(a['inputs'], n)),
                 mask_of(a['inputs'], n)))],
             reference=lambda _, a: [np.sum(a['inputs'])], kinds=('sum',)),
    Contract('last_relevant',
             call=lambda _, a, n: [seqmask.last_relevant(a['inputs'], n)],
             reference=lambda _, a: [reference.last_relevant(a['inputs'])], kinds=('sequence',)),
    Contract('reverse',
             call=lambda _, a, n: [seqmask.reverse(a['inputs'], n)],
             reference=lambda _, a: [reference.reverse(a['inputs'])], kinds=('steps',)),
    Contract('to_ragged',
             call=lambda _, a, n: [seqmask.from_ragged(
                 seqmask.to_ragged(a['inputs'], n), tf.shape(a['inputs'])[1])[0]],
             reference=lambda _, a: [a['inputs']], kinds=('steps',)),
    Contract('repeat',
             call=lambda _, a, n: [seqmask.repeat(
                 a['vectors'], n, tf.shape(a['inputs'])[1])],
             reference=lambda _, a: [np.tile(a['vectors'], [len(a['inputs']), 1])],
             kinds=('steps',), per_sequence=('vectors',),
             arrays=lambda rng, batch, maxlen, dtype: {
                 **features(rng, batch, maxlen, dtype),
                 'vectors': rng.normal(size=[batch, 3]).astype(dtype)}),
    Contract('concat_time', call=_concat_time,
             reference=lambda _, a: [np.concatenate([a['inputs'], a['inputs']])],
             kinds=('steps',)),
    Contract('move_padding_right',
             call=lambda _, a, n: [seqmask.move_padding_right(
                 a['inputs'], mask_of(a['inputs'], n))[0]],
             reference=lambda _, a: [a['inputs']], kinds=('steps',)),
    Contract('pack',
             call=lambda _, a, n: [seqmask.unpack(seqmask.pack(a['inputs'], n))],
             reference=lambda _, a: [a['inputs']], kinds=('steps',)),
    Contract('pack[reverse]',
             call=lambda _, a, n: [tf.reduce_sum(tf.square(
                 seqmask.pack(a['inputs'], n, reverse=True).values))],
             reference=lambda _, a: [np.sum(np.square(a['inputs']))], kinds=('sum',)),
]

CONTRACTS = [*MASKING]

# Public names that take lengths or a mask and are not operations on [B, T, ...] values.
EXEMPT = {
    'sequence_mask': 'makes the mask; tests/test_lengths.py',
    'lengths_from_mask': 'makes the lengths; tests/test_lengths.py',
    'crop': 'returns a list of NumPy arrays, has no padding; tests/test_masking.py',
}
