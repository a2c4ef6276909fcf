"""Draws a finished run. Needs matplotlib."""

from seqmask.runs.pictures.codes import draw_codes
from seqmask.runs.pictures.events import draw_events

__all__ = ['draw_codes', 'draw_events']
