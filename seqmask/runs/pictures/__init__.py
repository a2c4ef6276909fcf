"""A finished run in pictures. Needs matplotlib."""

from seqmask.runs.pictures.codes import draw_codes
from seqmask.runs.pictures.events import draw_events
from seqmask.runs.pictures.figures import require_matplotlib

__all__ = ['draw_codes', 'draw_events', 'require_matplotlib']
