"""Which functions does AutoGraph leave as they are?

So that `if` and `while` may depend on tensors, a `tf.function` rewrites the Python source of all
that it calls, and that takes most of the time of a first trace. Nothing here depends on it, so it
is told to pass these modules by, as it does TensorFlow's and Keras's own. Those that call a
function of the user's are rewritten for its sake.
"""

from __future__ import annotations

PASSED_BY = ('checks', 'kernels', 'layers', 'lengths', 'losses', 'masking', 'metrics', 'noise',
             'operands', 'packing', 'tally', 'windows')
REWRITTEN = ('layers.activation', 'layers.sequential', 'layers.stacked', 'layers.unroll',
             'losses.keras_objectives', 'metrics.keras_metric')


def pass_by() -> None:
    """Puts rules for these modules before AutoGraph's own. Without them tracing is only slower."""
    try:
        from tensorflow.python.autograph.core import config
        config.CONVERSION_RULES = (
            *(config.Convert(f'seqmask.{name}') for name in REWRITTEN),
            *(config.DoNotConvert(f'seqmask.{name}') for name in PASSED_BY),
            *config.CONVERSION_RULES)
    except (ImportError, AttributeError):       # it is no public name of TensorFlow's
        pass
