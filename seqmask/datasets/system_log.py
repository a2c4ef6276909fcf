"""A generated log of a mostly idle system: rare events with causes hidden in the features."""

from __future__ import annotations

import numpy as np

FEATURES = ('cpu', 'queue', 'memory', 'network', 'temperature', 'jitter')
SEQUENCES = (160, 40, 60)           # to train, validate and test on
SHORTEST, LONGEST = 200, 2000       # steps
KINDS, KIND_SHARES = ('cause', 'ramp', 'pulse', 'reversed'), (0.4, 0.2, 0.2, 0.2)
EPISODE, PAUSE = 24, 50             # steps reserved for an episode; mean number of idle ones after
RAMP = 8                            # steps
DELAYS, DELAY_SHARES = range(2, 9), np.array([1, 2, 3, 4, 3, 2, 1]) / 16
DURATION = 2                        # steps of a request
FOLLOWED, SPONTANEOUS = 0.9, 0.0001     # share of causes with a request; other requests per step


def system_log(seed: int = 0) -> dict[str, np.ndarray]:
    """Steps of an idle system, about 1% of them busy with a request: a label per step.

    260 sequences of 200 to 2,000 steps. The label is 1 while the system serves a request. Requests
    are caused by two patterns in a certain order:

      cause      cpu climbs for 8 steps; 1 to 5 steps later there is a pulse in the queue. In 9 of
                 10 cases a request comes 2 to 8 steps after the pulse, most often 5, and takes 2
                 steps.
      ramp       cpu climbs, without a pulse.
      pulse      The pulse alone.
      reversed   First the pulse, then cpu climbs.

    Two fifths of these episodes are causes. They never overlap; 50 idle steps on average lie
    between them. One step in 10,000 starts a request without a cause. All other features are
    unrelated to requests: memory drifts, network has bursts, temperature follows cpu, jitter is
    noise. A single step is not informative, nor are the steps of a request itself.

    'probability' is that of a request at each step given all causes, but not the outcomes. It never
    reaches 1/2, because the delay is uncertain, although nearly all requests can be predicted to
    within a few steps. No detector ranks the steps better in expectation, so the best possible
    score can be computed.

    Args:
      seed: int >= 0. Another seed gives another log of the same system.

    Returns:
      Dict of NumPy arrays, B = 260 sequences, N steps:
        'frames': float32 [N, 6]. cpu [%], queue [jobs], memory [MB], network [kB/s], temperature
          [degrees C], jitter [ms].
        'lengths': int32 [B].
        'labels': int32 [N]. 1 during a request, else 0.
        'label_names': str [2]. 'idle' and 'request'.
        'feature_names': str [6].
        'probability': float32 [N].
        'split': int32 [B]. 0 = train (160), 1 = validation (40), 2 = test (60).

    >>> log = seqmask.datasets.system_log()
    >>> log['frames'].shape[1], log['lengths'].shape, round(float(log['labels'].mean()), 2)
    (6, (260,), 0.01)
    """
    rng = np.random.default_rng([seed, 6])
    sizes = rng.uniform(np.log(SHORTEST), np.log(LONGEST), size=sum(SEQUENCES))
    lengths = np.exp(sizes).astype(np.int32)
    frames, labels, probability = zip(*(_sequence(rng, length) for length in lengths))
    return {
        'frames': np.concatenate(frames).astype(np.float32),
        'lengths': lengths,
        'labels': np.concatenate(labels).astype(np.int32),
        'label_names': np.array(['idle', 'request']),
        'feature_names': np.array(FEATURES),
        'probability': np.concatenate(probability).astype(np.float32),
        'split': np.repeat([0, 1, 2], SEQUENCES).astype(np.int32),
    }


def _sequence(rng, length):
    """(frames [length, 6], labels [length], probability [length])."""
    ramps, pulses, causes = _episodes(rng, length)
    labels = np.zeros(length, bool)
    caused = np.zeros(length)           # probability that a caused request is being served
    for pulse in causes:
        for delay, share in zip(DELAYS, DELAY_SHARES):
            caused[pulse + delay:pulse + delay + DURATION] += FOLLOWED * share
        if rng.random() < FOLLOWED:
            start = pulse + rng.choice(DELAYS, p=DELAY_SHARES)
            labels[start:start + DURATION] = True
    for start in np.flatnonzero(rng.random(length) < SPONTANEOUS):
        labels[start:start + DURATION] = True
    silent = (1 - SPONTANEOUS) ** np.minimum(np.arange(length) + 1, DURATION)
    return _features(rng, length, ramps, pulses), labels, 1 - (1 - caused) * silent


def _episodes(rng, length):
    """First steps of all ramps; steps of all pulses; steps of the pulses that are causes."""
    ramps, pulses, causes = [], [], []
    start = rng.geometric(1 / PAUSE)
    while start < length:
        kind = rng.choice(KINDS, p=KIND_SHARES)
        gap = rng.integers(1, 6)
        pulse, ramp = start, start
        if kind == 'cause':
            pulse = start + RAMP + gap - 1          # the ramp's last step is start + RAMP - 1
            causes.append(pulse)
        elif kind == 'reversed':
            ramp = start + gap
        if kind != 'pulse':
            ramps.append(ramp)
        if kind != 'ramp':
            pulses.append(pulse)
        start += EPISODE + rng.geometric(1 / PAUSE)
    return ([step for step in steps if step < length] for steps in (ramps, pulses, causes))


def _features(rng, length, ramps, pulses):
    climbing = np.zeros(length)
    for ramp in ramps:
        shape = np.append(np.arange(1, RAMP + 1) / RAMP, [0.5, 0.2])        # and down again
        climbing[ramp:ramp + len(shape)] = shape[:length - ramp]
    bursting = np.zeros(length)
    for burst in np.flatnonzero(rng.random(length) < 0.005):
        bursting[burst:burst + rng.integers(3, 30)] = 1
    cpu = 20 + 5 * _slow(rng, length, 100) + 25 * climbing + rng.normal(0, 2, length)
    queue = rng.poisson(2, length).astype(float)
    for pulse in pulses:
        queue[pulse] += 6 + rng.poisson(6)
    memory = 4000 + 400 * _slow(rng, length, 300) + rng.normal(0, 20, length)
    network = np.exp(5 + 2 * bursting + 0.8 * rng.normal(size=length))
    temperature = 45 + 3 * _slow(rng, length, 200) + _trailing(cpu - 20, 20) / 4
    jitter = rng.normal(1, 0.3, length)
    return np.stack([cpu, queue, memory, network, temperature, jitter], axis=1)


def _slow(rng, length, steps):
    """Noise of mean 0 and deviation 1 that is correlated over about so many steps."""
    weights = np.exp(-np.arange(5 * steps) / steps)
    noise = rng.normal(size=length + len(weights) - 1)
    return np.convolve(noise, weights / np.sqrt(np.sum(weights ** 2)), 'valid')


def _trailing(values, steps):
    """Average of the steps so far, with exponentially decaying weights."""
    weights = np.exp(-np.arange(5 * steps) / steps)
    return np.convolve(values, weights / weights.sum())[:len(values)]
