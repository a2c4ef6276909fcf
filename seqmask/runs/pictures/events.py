"""Pictures of an event detector: precision over recall, and detections in test sequences."""

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
      fitted: `Fitted`, of a `models.EventDetector` whose threshold is set.
      curves: dict of model name -> `metrics.events.PrecisionRecall` on the test part.
      chosen: `metrics.events.Scores` of the detector there, at its threshold.
      found: List of dicts, one per test sequence, as `detections` takes them.
      batch_size: int; named in a title.
    """
    # The metrics of the epochs are of another threshold.
    history = [{name: value for name, value in row.items()
                if name in ('epoch', 'loss', 'valid_loss')} for row in fitted.history]
    figures.save_run(workdir, fitted, batch_size, {
        'thresholds': thresholds(curves, chosen), 'detections': detections(select(found))},
        history=history)


def select(found: list[dict], number: int = 2) -> list[dict]:
    """Selects sequences to draw, at most `number` of each kind, as `figures.select_examples`."""
    indices = figures.select_examples(np.array([mistakes(sequence) for sequence in found]),
                                      np.array([len(sequence['probability'])
                                                for sequence in found]), number)
    return [found[i] for i in np.concatenate(indices)]


def mistakes(sequence: dict) -> int:
    """The number of false alarms and missed events in a sequence."""
    hits = np.count_nonzero(sequence['matched'] >= 0)
    return len(sequence['matched']) + len(sequence['events']) - 2 * hits


def thresholds(curves: dict[str, PrecisionRecall], chosen: Scores) -> figures.Figure:
    """Precision over recall, the chosen point marked.

    Args:
      curves, chosen: As in `draw_events`. Curves without events are left out: recall is undefined.
    """
    figure, ((axis,),) = figures.grid(1, 1, width=6.5, height=5)
    for name, curve in curves.items():
        if curve.events and len(curve.thresholds):
            # The area under these steps is the average precision.
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
    axis.set_title('Test part: precision and recall of events, over all thresholds')
    return figure


def detections(found: list[dict]) -> figures.Figure:
    """A few sequences: the probability over time, the threshold, events and detections.

    Args:
      found: List of dicts, one per sequence: 'number'; 'probability', float [length]; 'threshold',
        a probability; 'events', int [E, 2], first and last steps; 'steps', int [P], of the
        detections; 'matched', int [P], the event of each, -1 for a false alarm.

    Returns:
      Figure with a diagram per sequence, up to its own end. Events are shaded, missed ones red;
      detections are points, false alarms red crosses.
    """
    figure, axes = figures.grid(max(1, len(found)), 1, width=11, height=2.1)
    for axis, sequence in zip(axes[:, 0], found):
        probability, events = sequence['probability'], sequence['events']
        steps, matched = sequence['steps'], sequence['matched']
        for number, (first, last) in enumerate(events):
            axis.axvspan(first - 0.5, last + 0.5, alpha=0.5,
                         color=EVENT if number in matched else figures.WRONG)
        axis.plot(probability, color=figures.TRAIN, linewidth=1,
                  marker='.' if len(probability) < 3 else None)
        axis.axhline(sequence['threshold'], color='grey', linestyle=':')
        for selected, marker, color in [(steps[matched >= 0], 'o', 'black'),
                                        (steps[matched < 0], 'x', figures.WRONG)]:
            axis.plot(selected, probability[selected], color=color, marker=marker, markersize=5,
                      linestyle='')
        axis.set_xlim(-0.5, len(probability) - 0.5)
        axis.set_ylim(0, 1.15 * max(probability.max(), sequence['threshold']))
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.set_ylabel('probability')
        axis.set_title(f'sequence {sequence["number"]}: {len(events)} events, {len(matched)} '
                       f'detections, {np.count_nonzero(matched >= 0)} of them right', fontsize=10,
                       loc='left', color=figures.WRONG if mistakes(sequence) else 'black')
    axes[-1, 0].set_xlabel('time step')
    figure.suptitle('Test sequences: first evenly spaced, then with the most mistakes')
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    figure.legend(handles=[
        Patch(color=EVENT, alpha=0.5, label='event, found'),
        Patch(color=figures.WRONG, alpha=0.5, label='event, missed'),
        Line2D([], [], marker='o', linestyle='', color='black', label='detection'),
        Line2D([], [], marker='x', linestyle='', color=figures.WRONG, label='false alarm'),
        Line2D([], [], linestyle=':', color='grey', label='threshold')],
        loc='outside lower center', ncols=5, fontsize=9)
    return figure
