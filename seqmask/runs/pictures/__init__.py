"""Draws a finished run. Needs matplotlib."""

from seqmask.runs.pictures.classes import draw_classes
from seqmask.runs.pictures.codes import draw_codes
from seqmask.runs.pictures.events import draw_events
from seqmask.runs.pictures.frames import draw_frames
from seqmask.runs.pictures.transcriptions import draw_transcriptions
from seqmask.runs.pictures.translations import draw_translations

__all__ = ['draw_classes', 'draw_codes', 'draw_events', 'draw_frames', 'draw_transcriptions',
           'draw_translations']
