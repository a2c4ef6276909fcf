"""The measurements as tables to read and as rows of a CSV file."""

import math

from peers.rounds import Spread

SEQMASK, FLOOR, PYTORCH = 'seqmask', 'GEMM floor', 'PyTorch'
BEST_PYTORCH = 'better PyTorch'


def layer_tables(measured, calls):
    """Times and memory of each peer, then the ratios of seqmask's times to the others'."""
    heading = ['']
    for call in calls:
        heading += [f'{call} ms', 'min - max']
    rows = [heading + ['memory MB'] * bool(measured.memory)]
    for name in measured.times[calls[0]]:
        row = [name]
        for call in calls:
            row += cells(measured.spread(call, name), 1e3)
        memory = measured.memory.get(name)
        if measured.memory:
            row.append('-' if memory is None else number(memory))
        rows.append(row)
    return [table(rows), *ratio_tables(measured, calls)]


def ratio_tables(measured, calls):
    tables = []
    for ours in numerators(measured, calls):
        rows = [[f'{ours} /'] + [cell for call in calls for cell in (call, 'min - max')]]
        for theirs, ratios in ratios_of(measured, calls, ours).items():
            rows.append([theirs] + [cell for ratio in ratios.values() for cell in cells(ratio)])
        tables.append(table(rows))
    return [text for text in tables if '\n' in text]


def numerators(measured, calls):
    """The peers whose ratios to others are shown: seqmask's, or else the first one."""
    names = list(measured.times[calls[0]])
    return [name for name in names if name.startswith(SEQMASK)] or names[:1]


def ratios_of(measured, calls, ours):
    """{other peer: {call: `Spread` of ours / theirs}}, and that to the better PyTorch peer."""
    others = [name for name in measured.times[calls[0]] if name != ours]
    found = {theirs: {call: measured.ratio(call, ours, theirs) for call in calls}
             for theirs in others if theirs != FLOOR}
    pytorch = [name for name in others if name.startswith(PYTORCH)]
    if len(pytorch) > 1:
        best = {call: min(pytorch, key=lambda name: measured.spread(call, name).median)
                for call in calls}
        found[BEST_PYTORCH] = {call: measured.ratio(call, ours, best[call]) for call in calls}
    if FLOOR in others:
        found[FLOOR] = {call: measured.ratio(call, ours, FLOOR) for call in calls}
    return found


def scaling_table(axis, measured, call):
    """Milliseconds of a call: a row per peer, a column per value of a size.

    Args:
      axis: Name of the size.
      measured: dict of its value, formatted, -> `Measured`.
      call: 'forward' or 'train'.
    """
    names = list(dict.fromkeys(name for m in measured.values() for name in m.times[call]))
    return table([[f'{call} ms, {axis} ='] + list(measured)] + [
        [name] + [number(1e3 * m.spread(call, name).median) for m in measured.values()]
        for name in names])


def step_tables(measured, steps):
    """Microseconds of a step, a repeat being `steps` of them, and the ratios."""
    rows = [['', 'step us', 'min - max']]
    for name in measured.times['step']:
        rows.append([name, *cells(measured.spread('step', name), 1e6 / steps)])
    return [table(rows), *ratio_tables(measured, ['step'])]


def epoch_tables(measured, steps):
    """Seconds and steps per second of an epoch, share of padding, memory; then the ratios."""
    rows = [['', 'epoch s', 'min - max', 'steps/s', 'padding', 'memory MB']]
    for name, facts in measured.facts.items():
        seconds, memory = measured.spread('epoch', name), measured.memory.get(name)
        rows.append([name, *cells(seconds), f'{speed(measured, name, steps).median:,.0f}',
                     f'{facts["padding"]:.0%}', '-' if memory is None else number(memory)])
    return [table(rows), *ratio_tables(measured, ['epoch'])]


def speed(measured, name, steps):
    """Real steps per second of each epoch."""
    return Spread.of([steps / seconds for seconds in measured.times['epoch'][name]])


def csv_rows(measured, calls, sizes, steps=None):
    """A row for each peer and quantity; a ratio is time of the peer `of` / time of this one.

    Args:
      measured: `Measured`.
      calls: Names.
      sizes: dict; the first columns of each row.
      steps: int. Real steps of an epoch, if epochs were measured.
    """
    def row(name, quantity, spread, repeats, of=''):
        numbers = zip(('median', 'min', 'max'), (f'{value:.6g}' for value in spread))
        return {**sizes, 'peer': name, 'quantity': quantity, 'of': of, **dict(numbers),
                'repeats': repeats}

    rows = []
    for call in calls:
        for name, times in measured.times[call].items():
            rows.append(row(name, f'{call}_seconds', Spread.of(times), len(times)))
            if steps is not None:
                rows.append(row(name, 'steps_per_second', speed(measured, name, steps),
                                len(times)))
    for name, memory in measured.memory.items():
        if memory is not None:
            rows.append(row(name, f'{calls[-1]}_memory_mb', Spread(memory, memory, memory), 1))
    for ours in numerators(measured, calls):
        for theirs, ratios in ratios_of(measured, calls, ours).items():
            for call, ratio in ratios.items():
                rows.append(row(theirs, f'{call}_ratio', ratio,
                                len(measured.times[call][ours]), ours))
    return rows


def cells(spread, factor=1):
    return [number(factor * spread.median),
            f'{number(factor * spread.low)} - {number(factor * spread.high)}']


def number(value):
    """Three significant digits, without an exponent."""
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return f'{value:.{min(3, max(0, 2 - magnitude))}f}'


def table(rows):
    """Aligned columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join([row[0].ljust(widths[0])] + [
        cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip() for row in rows)
