"""From files and arrays to batches.

A `Sequences` holds a collection in memory, without padding; `read_npz` and `write_npz` keep one in
a file; `split` divides one at random; `Batches` pads it, batch by batch, in an order that is a
function of seed and epoch alone. Lengths are those that the data came with, never guessed again.
"""

from seqmask.data.batching import Batches
from seqmask.data.lanes import Lanes
from seqmask.data.npz import read_npz, write_npz
from seqmask.data.sequences import Sequences
from seqmask.data.split import split

__all__ = ['Batches', 'Lanes', 'Sequences', 'read_npz', 'split', 'write_npz']
