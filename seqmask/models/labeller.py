"""A label for every step."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, kernels, noise
from seqmask.checks import TensorLike
from seqmask.layers import CRF, Constraints, Dense, Dropout
from seqmask.lengths import sequence_mask
from seqmask.models.protocol import StreamingModel
from seqmask.models.sequence_encoder import SequenceEncoder
from seqmask.models.targets import Binary, Chain, Classes, Numbers
from seqmask.tally import Tally

TARGETS = ('classes', 'binary', 'squared', 'absolute', 'huber')


class SequenceLabeller(StreamingModel):
    """An encoder, and a linear head with one output per class, or per target, at every step.

    `targets` is the kind of the labels, with its loss:

      'classes'    one of K classes, int [B, T]: softmax cross-entropy, in nats
      'binary'     K labels of 0 or 1, number [B, T, K]: sigmoid cross-entropy, in nats
      'squared', 'absolute', 'huber'     K numbers, [B, T, K]: that error

    With crf=True the classes of a sequence are modelled jointly, by a `CRF` over the logits: its
    loss, in nats per step, and its best labelling. Such a model has no `step`, because a label
    depends on later steps.

    Args:
      encoder: `Encoder`, or as of `SequenceModel`.
      num_classes: K.
      dropout: Share of the encoder's outputs dropped in training, the same at all steps of a
        sequence.
      encoder_size: As of `SequenceModel`.
      targets: As above.
      features: 'sum' or 'mean': how the losses of a step's K targets are reduced; not for classes.
      crf: Whether to use a CRF; for targets='classes' only.
      constraints: `Constraints` of the CRF, or None.
      seed: int; the same seed gives the same weights and the same dropout.

    Raises:
      ValueError: If an option does not fit.

    >>> encoder = seqmask.models.Encoder(input_size=4, hidden_size=5, seed=0)
    >>> model = seqmask.models.SequenceLabeller(encoder, num_classes=3, crf=True, seed=0)
    >>> logits = model(tf.ones([2, 6, 4]), tf.constant([6, 2]))
    >>> logits.shape, bool(tf.reduce_all(logits[1, 2:] == 0))
    (TensorShape([2, 6, 3]), True)
    >>> model.label(tf.ones([2, 6, 4]), tf.constant([6, 2])).shape
    TensorShape([2, 6])
    """

    def __init__(self, encoder: SequenceEncoder | Callable[..., typing.Any], num_classes: int, *,
                 dropout: float = 0.0, encoder_size: int | None = None, targets: str = 'classes',
                 features: str = 'sum', crf: bool = False, constraints: Constraints | None = None,
                 seed: int | None = None, name: str | None = None):
        super().__init__(encoder, encoder_size, name)
        checks.width('num_classes', num_classes)
        checks.choice('targets', targets, TARGETS)
        checks.choice('features', features, ['sum', 'mean'])
        if crf and targets != 'classes':
            raise ValueError(f"crf=True is for targets='classes', got {targets!r}.")
        if constraints is not None and not crf:
            raise ValueError('constraints are those of a CRF: give crf=True, too.')
        dropout_seed, dense_seed = noise.seeds(seed, 2)
        self.dropout = Dropout(dropout, per='sequence', seed=dropout_seed)
        self.to_logits = Dense(self.encoder.output_size, num_classes, dtype=self.dtype,
                               seed=dense_seed)
        # Half precision would hold neither its scores nor their sum.
        self.crf = CRF(num_classes, constraints=constraints, dtype=(
            'float64' if self.dtype == tf.float64 else 'float32')) if crf else None
        self.targets, self.features = targets, features

    @property
    def _kind(self) -> Classes | Chain | Binary | Numbers:
        # Not an attribute, in which tf.Module would find the CRF's variables a second time.
        if self.crf is not None:
            return Chain(self.crf)
        if self.targets == 'classes':
            return Classes()
        if self.targets == 'binary':
            return Binary(self.features)
        return Numbers(self.targets, self.features)

    def head(self, outputs: tf.Tensor, lengths: TensorLike | None, *,
             training: bool = False) -> tf.Tensor:
        """Logits [B, T, K] from the encoder's outputs; [B, K] from those of one step."""
        return self.to_logits(self.dropout(outputs, lengths, training=training), lengths)

    def streams(self) -> bool:
        """Whether `initial_state`, `step` and `chunk_loss` can be used: not with a CRF."""
        return self.crf is None and super().streams()

    def stages(self) -> list[kernels.Stage] | None:
        """What a step consists of, as `StepRunner` runs it in C++; None if it cannot."""
        return kernels.stages_of(self.encoder, self.to_logits) if self.streams() else None

    def initial_state(self, batch: int | tf.Tensor) -> typing.Any:
        if self.crf is not None:
            raise ValueError('a model with crf=True needs whole sequences: it has neither `step` '
                             'nor `chunk_loss`.')
        return super().initial_state(batch)

    def label(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """The class of each step, for targets='classes'.

        Args:
          inputs, lengths: As of a call.

        Returns:
          int32 [B, T], 0 at padded steps: the class of the largest logit, or the best labelling of
          the CRF.

        Raises:
          ValueError: If the targets are not classes.
        """
        if self.targets != 'classes':
            raise ValueError("labels are for targets='classes': of others the outputs are what is "
                             'predicted.')
        return self.label_of(self(inputs, lengths), lengths)

    def label_of(self, logits: tf.Tensor, lengths: TensorLike) -> tf.Tensor:
        """`label`, from the logits of a call."""
        if self.crf is not None:
            return self.crf.decode(logits, lengths)[0]
        largest = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return tf.where(sequence_mask(lengths, tf.shape(logits)[1]), largest, 0)

    def results(self, outputs: tf.Tensor, lengths: TensorLike | None) -> dict[str, tf.Tensor]:
        """The outputs; with a CRF also its 'labels', int32 [B, T]."""
        if self.crf is None:
            return {'outputs': outputs}
        return {'outputs': outputs, 'labels': self.label_of(outputs, lengths)}

    def loss_of(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Tally:
        """The loss per real step."""
        return self._kind.loss(logits, batch)

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """What `training.Trainer` measures: `SequenceLabeller.measure`.

        Args:
          batch: As `loss` takes it.

        Returns:
          dict of `seqmask.Tally`: 'loss', and
          classes    'accuracy', of steps; 'sequence_error', the share of wrong steps per sequence,
                     averaged over sequences; 'sequence_accuracy', the share of sequences without
                     a wrong step
          binary     'accuracy', 'precision', 'recall', 'f1', of single logits at threshold 0
          numbers    'squared_error', 'absolute_error', means over steps and targets
        """
        return self.measure_of(self(self.inputs_of(batch), batch['lengths']), batch)

    def measure_of(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """`measure`, from the logits of a call."""
        return self._kind.measure(logits, batch)
