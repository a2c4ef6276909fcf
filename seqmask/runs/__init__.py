"""Shared by training scripts: flags, data files, the task, the report, the record of a run.

The only room that knows absl or prints tables. A script defines its own flags, calls
`define_flags`, makes a `Task`, and passes it to `train_and_report`, or to `fit` and `finish` if it
prints a report of its own, all inside `run(main)`.
"""

from seqmask.data.files.whole import whole_file
from seqmask.runs.app import UserError, run, user_errors
from seqmask.runs.blueprint import Blueprint
from seqmask.runs.files import (divided, limited, read_part, read_parts, read_sequences,
                                refuse_existing)
from seqmask.runs.fitting import Fitted, finish, fit
from seqmask.runs.flags import (asked_columns, claim_workdir, define_flags, define_run_flags,
                                define_sequence_flags, make_optimizer)
from seqmask.runs.labelled import train_and_report
from seqmask.runs.labels import labels_of, transcripts_of
from seqmask.runs.outputs import (Classes, Codes, Events, Frames, Output, Tags, Transcriptions,
                                  Translations, named)
from seqmask.runs.pictures import (draw_classes, draw_codes, draw_events, draw_frames,
                                   draw_transcriptions, draw_translations)
from seqmask.runs.pairs import names_of
from seqmask.runs.record import Run, load_run, write_arrays
from seqmask.runs.report import table
from seqmask.runs.task import Features, Task, inputs_of, make_standardizer
from seqmask.runs.workers import make_strategy
from seqmask.training import is_chief
from seqmask.training.workdir import write_rows

__all__ = ['Blueprint', 'Classes', 'Codes', 'Events', 'Features', 'Fitted', 'Frames', 'Output',
           'Run', 'Tags', 'Task', 'Transcriptions', 'Translations', 'UserError', 'asked_columns',
           'claim_workdir', 'define_flags', 'define_run_flags', 'define_sequence_flags', 'divided',
           'draw_classes', 'draw_codes', 'draw_events', 'draw_frames', 'draw_transcriptions',
           'draw_translations', 'finish', 'fit', 'inputs_of', 'is_chief', 'labels_of', 'limited',
           'load_run', 'make_optimizer', 'make_standardizer', 'make_strategy', 'named', 'names_of',
           'read_part', 'read_parts', 'read_sequences', 'refuse_existing', 'run', 'table',
           'train_and_report', 'transcripts_of', 'user_errors', 'whole_file', 'write_arrays',
           'write_rows']
