"""The peers that scripts/benchmark.py measures, each in a separate process.

`processes` starts `worker` in a peer's interpreter, which imports the peer's module. A module that
runs in another framework's environment imports neither TensorFlow nor seqmask.
"""

import typing


class Peer(typing.NamedTuple):
    """A candidate: its name in the tables, its framework, the module that runs it."""
    name: str
    framework: str
    module: str

    @property
    def key(self):
        """The name in --peers."""
        return self.name.lower().replace(' ', '_')


LAYERS = [
    Peer('seqmask kernel', 'tensorflow', 'tensorflow_layers'),
    Peer('seqmask graph', 'tensorflow', 'tensorflow_layers'),
    Peer('Keras', 'tensorflow', 'tensorflow_layers'),
    Peer('Keras XLA', 'tensorflow', 'tensorflow_layers'),
    Peer('PyTorch packed', 'pytorch', 'pytorch_layers'),
    Peer('PyTorch padded', 'pytorch', 'pytorch_layers'),
    Peer('Flax', 'flax', 'flax_layers'),
]
FLOOR = Peer('GEMM floor', 'tensorflow', 'tensorflow_layers')
EPOCHS = [
    Peer('seqmask buckets', 'tensorflow', 'epochs'),
    Peer('seqmask mixed', 'tensorflow', 'epochs'),
    Peer('seqmask in Keras fit', 'tensorflow', 'epochs'),
    Peer('Keras fit', 'tensorflow', 'epochs'),
]
STEPS = [
    Peer('seqmask runner', 'tensorflow', 'tensorflow_steps'),
    Peer('seqmask layer', 'tensorflow', 'tensorflow_steps'),
    Peer('TensorFlow Lite', 'tensorflow', 'tensorflow_steps'),
    Peer('Keras cell', 'tensorflow', 'tensorflow_steps'),
    Peer('PyTorch cell', 'pytorch', 'pytorch_steps'),
    Peer('NumPy product', 'tensorflow', 'tensorflow_steps'),
]
FRAMEWORKS = ('tensorflow', 'pytorch', 'flax')
ON_REQUEST = {'keras_xla'}      # compiles for minutes
