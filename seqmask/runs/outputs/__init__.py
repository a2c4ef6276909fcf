"""What the outputs of a run's model mean: one class for each kind of output.

A kind says what a file must hold to be compared with (`check`), what loss and metrics compare with
(`labelled`), what is predicted (`predict`), how predictions are written (`rows`), and what one step
of a stream says (`step_header`, `step_values`). Scripts and the record of a run know no more.
"""

from __future__ import annotations

import dataclasses
import typing

from seqmask.runs.outputs.classes import Classes, Events
from seqmask.runs.outputs.codes import Codes
from seqmask.runs.outputs.frames import Frames
from seqmask.runs.outputs.output import Output, named
from seqmask.runs.outputs.tags import Tags
from seqmask.runs.outputs.transcriptions import Transcriptions
from seqmask.runs.outputs.translations import Translations

__all__ = ['Classes', 'Codes', 'Events', 'Frames', 'Output', 'Tags', 'Transcriptions',
           'Translations', 'from_record', 'named', 'to_record']

KINDS = {kind.__name__: kind for kind in (
    Classes, Codes, Events, Frames, Tags, Transcriptions, Translations)}


def to_record(output: Output) -> dict[str, typing.Any]:
    """A kind of output as a dict that JSON can hold."""
    return {'kind': type(output).__name__, **dataclasses.asdict(output)}


def from_record(values: dict[str, typing.Any]) -> Output:
    """The kind of output of a run, from its model.json.

    Raises:
      KeyError, TypeError: If the values describe none.
    """
    if 'output' in values:
        described = dict(values['output'])
        return KINDS[described.pop('kind')](**described)
    # Runs of version 0.2 name only what a label belongs to.
    if not values['labels_per']:
        return Codes()
    kind = Events if values['model'] == 'EventDetector' else Classes
    return kind(values['names'], values['labels_per'])
