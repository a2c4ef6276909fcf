"""Truncated back-propagation through time: state is carried across chunks, gradients are not."""

from __future__ import annotations

import tensorflow as tf

from seqmask.layers import reset_rows
from seqmask.tally import Tally


class ChunkLoss(tf.Module):
    """A model's loss over the chunks of long sequences, as `data.Lanes` cuts them.

    Each lane's state at the end of a chunk is carried into its next chunk as a constant, so the
    gradient stops at the chunk's start and only its activations are kept in memory. The state is
    reset to zero where a sequence starts ('starts'). With one chunk per sequence this is the
    model's own loss, and so it is for a batch without 'starts', such as whole sequences to validate
    on.

    Args:
      model: `tf.Module` with `initial_state(batch)`, `chunk_loss(batch, state, training)` ->
        (`Tally`, state), and `loss(batch, training)` -> `Tally`.
      num_lanes: int. B.

    Raises:
      ValueError: If the model cannot start from a given state.

    Source: Williams, Peng. An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories. Neural Computation, 1990.

    >>> model = seqmask.models.SequenceLabeller(
    ...     seqmask.models.Encoder(3, hidden_size=4, seed=0), num_classes=2, seed=0)
    >>> long = seqmask.data.Sequences(
    ...     np.ones([50, 3], 'f'), [40, 10], steps={'labels': np.ones([50], np.int32)})
    >>> lanes = seqmask.data.Lanes(long, num_lanes=2, chunk_size=20)
    >>> trainer = seqmask.training.Trainer(
    ...     model, seqmask.training.ChunkLoss(model, num_lanes=2), tf.keras.optimizers.Adam(0.1),
    ...     progress=False)
    >>> history = trainer.fit(lanes, epochs=5)
    >>> history[-1]['loss'] < history[0]['loss']
    True
    """

    def __init__(self, model: tf.Module, num_lanes: int):
        super().__init__(name='chunk_loss')
        self._carried = [tf.Variable(part, trainable=False)
                         for part in tf.nest.flatten(model.initial_state(num_lanes))]

    def __call__(self, model: tf.Module, batch: dict[str, tf.Tensor],
                 training: bool) -> Tally:
        if 'starts' not in batch:
            return model.loss(batch, training)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError('chunks carry their state on one device: strategy must be none.')
        state = tf.nest.pack_sequence_as(
            model.initial_state(1), [tf.convert_to_tensor(part) for part in self._carried])
        tally, state = model.chunk_loss(batch, reset_rows(state, batch['starts']), training)
        parts = [tf.stop_gradient(part) for part in tf.nest.flatten(state)]
        # A non-finite step is skipped: its state must not spoil later ones.
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in parts])
        for carried, part in zip(self._carried, parts):
            carried.assign(tf.where(finite, part, tf.zeros_like(part)))
        return tally
