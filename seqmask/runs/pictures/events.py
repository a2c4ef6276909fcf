"""Rare events in pictures: what each threshold gives, and what is detected. Needs matplotlib."""

from __future__ import annotations

import numpy as np

from seqmask.metrics.events import PrecisionRecall, Scores
from seqmask.runs.pictures import figures
from seqmask.runs.task import Fitted

EVENT = 'tab:green'


def draw_events(workdir: str, fitted: Fitted, curves: dict[str, PrecisionRecall], chosen: Scores,
                found: list[dict], *, batch_size: int) -> None:
    """Draws a run into workdir/pictures: curves, lengths, thresholds, detections.

    Args:
      workdir: Folder.
      fitted: `Fitted`, of a `models.EventDetector`, its threshold chosen.
      curves: dict of what they are of to `metrics.events.PrecisionRecall` on the test part.
      chosen: `metrics.events.Scores` of the model there, at its threshold.
      found: List of dicts, one a test sequence, as `detections` takes them.
      batch_size: int; named in a title.
    """
    # Beside the loss there is only what was found before the threshold was chosen.
    history = [{name: value for name, value in row.items()
                if name in ('epoch', 'loss', 'valid_loss')} for row in fitted.history]
    drawn = {
        'curves': figures.curves(history, fitted.trainer.best_epoch),
        'lengths': figures.lengths(fitted.task.parts[0].lengths, fitted.batches.padding_share(),
                                   batch_size),
        'thresholds': thresholds(curves, chosen),
        'detections': detections(examples(found))}
    for name, figure in drawn.items():
        figures.save(figure, workdir, name)


def examples(found: list[dict], number: int = 2) -> list[dict]:
    """Sequences to look at: some as they come, then those with the most mistakes.

    Args:
      found: As of `draw_events`.
      number: int. How many of each kind at most; sequences without steps are not shown.
    """
    filled = [one for one in found if len(one['probability'])]
    usual = [filled[i] for i in np.unique(np.linspace(0, len(filled) - 1, number).astype(int))]
    shown = {one['number'] for one in usual}
    worst = sorted((one for one in filled if one['number'] not in shown and mistakes(one)),
                   key=lambda one: -mistakes(one))
    return usual + worst[:number]


def mistakes(one: dict) -> int:
    """False alarms and missed events of a sequence."""
    hits = np.count_nonzero(one['matched'] >= 0)
    return len(one['matched']) + len(one['events']) - 2 * hits


def thresholds(curves: dict[str, PrecisionRecall], chosen: Scores) -> figures.Figure:
    """Precision over recall, the chosen point marked.

    Args:
      curves, chosen: As of `draw_events`. A curve without any event has no recall and is left out.

    Returns:
      Figure.
    """
    figure, ((axis,),) = figures.grid(1, 1, width=6.5, height=5)
    for name, curve in curves.items():
        if curve.events and len(curve.thresholds):
            # The steps that average precision adds up: a precision holds back to the last recall.
            axis.step(np.append(0, curve.recall), np.append(curve.precision[0], curve.precision),
                      where='pre', label=f'{name}: average precision '
                                         f'{curve.average_precision:.1%}')
    axis.plot([chosen.recall], [chosen.precision], 'o', color='black', zorder=3,
              label=f'chosen threshold: F1 {chosen.f1:.1%}')
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel('recall [%]')
    axis.set_ylabel('precision [%]')
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(lambda value, _: f'{100 * value:.0f}')
    axis.grid(alpha=0.3)
    axis.legend(loc='lower left')
    axis.set_title('Test part: what each threshold gives, event by event')
    return figure


def detections(found: list[dict]) -> figures.Figure:
    """A few sequences: the probability over time, the threshold, events and detections.

    Args:
      found: List of dicts, one a sequence: 'number'; 'probability', float [length]; 'threshold', a
        probability; 'events', int [E, 2], first and last steps; 'steps', int [P], of the
        detections; 'matched', int [P], the event of each, -1 for a false alarm.

    Returns:
      Figure with a diagram for each sequence, up to its own end. Events are shaded, missed ones
      red; a detection is a point, a false alarm a red cross.
    """
    figure, axes = figures.grid(max(1, len(found)), 1, width=11, height=2.1)
    for axis, one in zip(axes[:, 0], found):
        steps, matched = one['steps'], one['matched']
        for number, (first, last) in enumerate(one['events']):
            axis.axvspan(first - 0.5, last + 0.5, alpha=0.5,
                         color=EVENT if number in matched else figures.WRONG)
        axis.plot(one['probability'], color=figures.TRAIN, linewidth=1,
                  marker='.' if len(one['probability']) < 3 else None)
        axis.axhline(one['threshold'], color='grey', linestyle=':')
        for of_kind, marker, color in [(matched >= 0, 'o', 'black'),
                                       (matched < 0, 'x', figures.WRONG)]:
            axis.plot(steps[of_kind], one['probability'][steps[of_kind]], color=color,
                      marker=marker, markersize=5, linestyle='')
        axis.set_xlim(-0.5, len(one['probability']) - 0.5)
        axis.set_ylim(0, 1.15 * max(one['probability'].max(), one['threshold']))
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.set_ylabel('probability')
        axis.set_title(f'sequence {one["number"]}: {len(one["events"])} events, {len(matched)} '
                       f'detections, {np.count_nonzero(matched >= 0)} of them right',
                       fontsize=10, loc='left', color=figures.WRONG if mistakes(one) else 'black')
    axes[-1, 0].set_xlabel('time step')
    _legend(figure)
    figure.suptitle('Test sequences: first as they come, then with the most mistakes')
    return figure


def _legend(figure):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    figure.legend(handles=[
        Patch(color=EVENT, alpha=0.5, label='event, found'),
        Patch(color=figures.WRONG, alpha=0.5, label='event, missed'),
        Line2D([], [], marker='o', linestyle='', color='black', label='detection'),
        Line2D([], [], marker='x', linestyle='', color=figures.WRONG, label='false alarm'),
        Line2D([], [], linestyle=':', color='grey', label='threshold')],
        loc='outside lower center', ncols=5, fontsize=9)
