"""Which functions does AutoGraph leave unconverted?

So that `if` and `while` may depend on tensors, a `tf.function` converts the Python source of every
function that it calls, which takes most of the time of a first trace. Nothing in seqmask depends on
it, so AutoGraph is told to skip these modules, as it skips TensorFlow and Keras. Modules that call
the user's functions are still converted.
"""

from __future__ import annotations

SKIPPED = ('alignment', 'checks', 'data.vocabulary', 'decode', 'kernels', 'layers', 'lengths',
           'losses', 'masking', 'metrics', 'models.tokens', 'noise', 'operands', 'packing', 'tags',
           'tally', 'windows')
REWRITTEN = ('decode.search', 'layers.activation', 'layers.sequential', 'layers.stacked',
             'layers.unroll', 'losses.keras_objectives', 'metrics.keras_metric')


def skip_seqmask() -> None:
    """Puts rules for these modules before AutoGraph's own. Without them tracing is just slower."""
    try:
        from tensorflow.python.autograph.core import config
        config.CONVERSION_RULES = (
            *(config.Convert(f'seqmask.{name}') for name in REWRITTEN),
            *(config.DoNotConvert(f'seqmask.{name}') for name in SKIPPED),
            *config.CONVERSION_RULES)
    except (ImportError, AttributeError):       # not a public TensorFlow API
        pass
