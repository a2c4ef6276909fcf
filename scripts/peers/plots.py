"""Draws the measurements."""

from seqmask.runs import UserError

BAR = 0.8


def require():
    """Raises `UserError` without matplotlib: before an hour of measuring, not after it."""
    try:
        import matplotlib       # noqa: F401
    except ImportError as error:
        raise UserError(f"--plot needs matplotlib ({error}): pip install '.[plots]'") from error


def bars(path, title, panels):
    """Draws a bar per peer, with an error bar from the minimum to the maximum of the repeats.

    Args:
      path: Of the picture; its extension selects the format.
      title: Of the whole picture.
      panels: dict of label -> dict of peer's name -> `Spread`; a diagram each.
    """
    figure, axes = new(len(panels), 1)
    for axis, (label, spreads) in zip(axes[0], panels.items()):
        errors = [[s.median - s.low for s in spreads.values()],
                  [s.high - s.median for s in spreads.values()]]
        axis.barh(list(spreads), [s.median for s in spreads.values()], BAR, xerr=errors)
        axis.invert_yaxis()
        axis.set_xlabel(label)
    save(figure, title, path)


def lines(path, title, sweeps, calls):
    """Draws a line per peer: time over a size, a column for each size, a row for each call.

    Args:
      path, title: As in `bars`.
      sweeps: dict of size's name -> dict of its value -> `Measured`.
      calls: Names.
    """
    figure, axes = new(len(sweeps), len(calls))
    for column, (varies, points) in enumerate(sweeps.items()):
        for axes_of_call, call in zip(axes, calls):
            axis = axes_of_call[column]
            for name in next(iter(points.values())).times[call]:
                axis.plot(list(points), [1e3 * m.spread(call, name).median
                                         for m in points.values()], marker='.', label=name)
            axis.set_xlabel(varies)
            axis.set_ylabel(f'{call}, ms')
            axis.set_ylim(bottom=0)
    axes[0][0].legend(fontsize='small')
    save(figure, title, path)


def new(columns, rows):
    # Without pyplot, which would look for a display.
    from matplotlib.figure import Figure
    figure = Figure(figsize=(5.5 * columns, 4 * rows), layout='constrained')
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure, title, path):
    figure.suptitle(title, fontsize='medium')
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:     # unknown extension
        raise UserError(f'--plot={path}: {error}') from error
