"""When was a step? Numbers, dates and texts as seconds."""

from __future__ import annotations

import datetime
import typing

import numpy as np


def seconds_of(name: str, values: typing.Any) -> np.ndarray:
    """A column of times as float64: numbers as they are; dates as seconds since 1970, in UTC.

    Raises:
      ValueError: If a value is neither; the message names the row, from 0.
    """
    values = np.asarray(values)
    if values.dtype.kind == 'M':
        wrong = np.isnat(values)
        seconds = values.astype('datetime64[ns]').astype(np.int64) / 1e9
    elif values.dtype.kind in 'iuf':
        seconds = values.astype(np.float64)
        wrong = ~np.isfinite(seconds)
    else:
        seconds = np.array([seconds_in(str(value)) for value in values.tolist()], np.float64)
        wrong = np.isnan(seconds)
    for row in np.flatnonzero(wrong)[:1]:
        raise ValueError(f'{name} must be a number or a date as 2026-01-31 or '
                         f'2026-01-31T08:15:00+01:00; that of row {row} is '
                         f'{str(values[row])!r}.')
    return seconds


def is_iso(text: str) -> bool:
    """Whether a text is a date, or a date and a time, in ISO 8601."""
    return not np.isnan(seconds_in(text))


def seconds_in(text: str) -> float:
    """Seconds since 1970 of a text in ISO 8601, in UTC where it names no zone; NaN of any other."""
    try:
        # Python before 3.11 knows no Z.
        found = datetime.datetime.fromisoformat(text.strip().replace('Z', '+00:00'))
    except ValueError:
        return np.nan
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.timezone.utc)
    return found.timestamp()
