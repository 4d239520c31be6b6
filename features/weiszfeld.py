"""The geometric median of many pixels at once: one kernel, pixels side by side in lanes.

Lanes are structures of arrays, so that every inner loop runs over pixels and is vectorised. The loops are
inlined into one function, where the compiler knows that their arrays are distinct.
"""

from __future__ import annotations

import numpy as np
from numba import njit

F32 = np.float32
NAN = np.float32(np.nan)
#: Pixels side by side: with 20 dates of 6 bands they fill a level 1 cache.
LANES = 64
#: How a lane came to where it stands. Weiszfeld's step needs no judging: it never makes the sum larger.
WEISZFELD, NEWTON, DATE, ARRIVED = F32(0), F32(1), F32(2), F32(3)


@njit(nogil=True, cache=True, error_model="numpy")
def geomedian(part, out, count, tolerance, iterations):  # type: ignore[no-untyped-def]
    """Fill ``out`` (band, pixel) and ``count`` (pixel) from ``part``, uint16 (band, time, pixel), 0 = unseen.

    See ``composites.geomedian``; a pixel's bits depend on its own dates alone.
    """
    bands, dates, pixels = part.shape
    values, seen = np.zeros((dates, bands, LANES), F32), np.zeros((dates, LANES), F32)
    mean, centre = np.zeros((bands, LANES), F32), np.zeros((bands, LANES), F32)
    target, pull = np.zeros((bands, LANES), F32), np.empty((bands, LANES), F32)
    step, apart = np.empty((bands, LANES), F32), np.empty((bands, LANES), F32)
    bend, state = np.empty((bands, bands, LANES), F32), np.zeros((5, LANES), F32)
    total, weight, meets = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    nearest, closest, square = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
    firm, share, force, length = (
        np.empty(LANES, F32),
        np.empty(LANES, F32),
        np.empty(LANES, F32),
        np.empty(LANES, F32),
    )
    who, passes, have = np.full(LANES, -1), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    one = np.zeros((dates + 1, bands), np.int64)
    near = (F32(0.01) * tolerance) ** 2
    state[0] = ARRIVED
    following, busy = 0, 1
    while busy:
        busy = 0
        # A lane that has arrived takes the next pixel at once, so that few slow pixels keep no others waiting.
        for i in range(LANES):
            if state[0, i] == ARRIVED or passes[i] >= iterations:
                if who[i] >= 0:
                    for p in range(bands):
                        out[p, who[i]] = mean[p, i] + centre[p, i]
                who[i], state[0, i], have[i] = -1, ARRIVED, 0
                while following < pixels and have[i] == 0:
                    have[i] = _load(part, following, i, one, values, seen, mean)
                    count[following] = have[i]
                    if have[i] == 0:
                        for p in range(bands):
                            out[p, following] = NAN
                    else:
                        who[i], passes[i] = following, 0
                        state[0, i], state[2, i], state[3, i], state[4, i] = (
                            WEISZFELD,
                            F32(0),
                            F32(0.3),
                            F32(-1),
                        )
                        for p in range(bands):
                            centre[p, i] = F32(0)
                    following += 1
            passes[i] += 1
            busy += 1 if who[i] >= 0 else 0
        most = have.max()
        _sums(
            most,
            values,
            seen,
            centre,
            near,
            total,
            weight,
            meets,
            nearest,
            pull,
            bend,
            apart,
            square,
            closest,
            state[3],
        )
        _newton(bend, pull, weight, meets, step, firm)
        _judge(
            tolerance, pull, step, total, weight, meets, firm, nearest, closest, state, share, force, length
        )
        _go(values, centre, target, pull, step, state[0], share, length, nearest)


@njit(nogil=True, inline="always")
def _load(part, x, i, one, values, seen, mean):  # type: ignore[no-untyped-def]
    """Put pixel ``x`` into lane ``i``: its seen dates first, with their mean as origin, where float32 is fine."""
    bands, dates, _ = part.shape
    n = 0
    for t in range(dates):
        whole = True
        for p in range(bands):
            number = part[p, t, x]
            one[n, p] = number
            whole = whole and number != 0
        n += 1 if whole else 0
        seen[t, i] = F32(0)
    for p in range(bands):
        total = np.int64(0)
        for t in range(n):
            total += one[t, p]
        mean[p, i] = F32(total / max(n, 1))
    for t in range(n):
        seen[t, i] = F32(1)
        for p in range(bands):
            values[t, p, i] = F32(one[t, p]) - mean[p, i]
    return n


@njit(nogil=True, inline="always")
def _sums(  # type: ignore[no-untyped-def]
    most,
    values,
    seen,
    centre,
    near,
    total,
    weight,
    meets,
    nearest,
    pull,
    bend,
    apart,
    square,
    closest,
    damping,
):
    """At each lane's centre: the summed distance, its slope (-``pull``) and curvature (``bend``).

    Dates that the centre meets have no slope there: they are counted in ``meets`` and left out of
    ``weight``, the sum of 1 / distance, and of both derivatives.
    """
    bands = values.shape[1]
    for i in range(LANES):
        total[i] = weight[i] = meets[i] = nearest[i] = F32(0)
        closest[i] = F32(np.inf)
    for p in range(bands):
        for i in range(LANES):
            pull[p, i] = F32(0)
        for r in range(p + 1):
            for i in range(LANES):
                bend[p, r, i] = F32(0)
    for t in range(most):
        for i in range(LANES):
            square[i] = F32(0)
        for p in range(bands):
            for i in range(LANES):
                d = values[t, p, i] - centre[p, i]
                apart[p, i] = d
                square[i] += d * d
        for i in range(LANES):
            away = square[i] if seen[t, i] > F32(0) else F32(np.inf)
            nearest[i] = F32(t) if away < closest[i] else nearest[i]
            closest[i] = away if away < closest[i] else closest[i]
        for i in range(LANES):
            far = seen[t, i] if square[i] > near else F32(0)
            distance = np.sqrt(square[i] if square[i] > near else F32(1))
            total[i] += far * distance
            weight[i] += far / distance
            meets[i] += seen[t, i] - far
            square[i] = far / distance
        for p in range(bands):
            for i in range(LANES):
                pull[p, i] += square[i] * apart[p, i]
        for i in range(LANES):
            square[i] *= np.sqrt(square[i])
        for p in range(bands):
            for i in range(LANES):
                apart[p, i] *= square[i]
            for r in range(p + 1):
                for i in range(LANES):
                    bend[p, r, i] -= apart[p, i] * apart[r, i]
    for p in range(bands):
        for r in range(p + 1):
            for i in range(LANES):
                bend[p, r, i] *= F32(1) - damping[i]
        for i in range(LANES):
            bend[p, p, i] += weight[i]


@njit(nogil=True, inline="always")
def _newton(bend, pull, weight, meets, step, firm):  # type: ignore[no-untyped-def]
    """Newton's ``step`` by Cholesky's L D L', overwriting ``bend``; ``firm`` where the curvature is not flat."""
    bands = bend.shape[0]
    for i in range(LANES):
        firm[i] = F32(1) if meets[i] == F32(0) else F32(0)
    for p in range(bands):
        for r in range(p):
            for k in range(r):
                for i in range(LANES):
                    bend[p, r, i] -= bend[p, k, i] * bend[r, k, i] * bend[k, k, i]
            for i in range(LANES):
                bend[p, r, i] /= bend[r, r, i]
        for k in range(p):
            for i in range(LANES):
                bend[p, p, i] -= bend[p, k, i] * bend[p, k, i] * bend[k, k, i]
        for i in range(LANES):
            firm[i] = firm[i] if bend[p, p, i] > F32(1e-5) * weight[i] else F32(0)
    for p in range(bands):
        for i in range(LANES):
            step[p, i] = pull[p, i]
        for k in range(p):
            for i in range(LANES):
                step[p, i] -= bend[p, k, i] * step[k, i]
    for p in range(bands - 1, -1, -1):
        for i in range(LANES):
            step[p, i] /= bend[p, p, i]
        for k in range(p + 1, bands):
            for i in range(LANES):
                step[p, i] -= bend[k, p, i] * step[k, i]


@njit(nogil=True, inline="always")
def _judge(tolerance, pull, step, total, weight, meets, firm, nearest, closest, state, share, force, length):  # type: ignore[no-untyped-def]
    """Judge where each lane stands and choose its next way.

    A way that made the sum larger is taken back: after Newton's step comes Weiszfeld's, which never makes it
    larger, or, when Newton's has failed before, a try at the nearest date: the answer may be one, and
    there the sum has a corner.
    """
    for i in range(LANES):
        force[i] = length[i] = F32(0)
    for p in range(pull.shape[0]):
        for i in range(LANES):
            force[i] += pull[p, i] * pull[p, i]
            length[i] += step[p, i] * step[p, i]
    way, least, fails, damping, tried = state[0], state[1], state[2], state[3], state[4]
    for i in range(LANES):
        came, pulled = way[i], np.sqrt(force[i])
        good = (came == WEISZFELD) | (total[i] <= least[i] * F32(1 + 2e-6))
        # Vardi & Zhang: the dates that a centre meets hold it with a force of one each.
        held = (pulled <= meets[i]) | (pulled == F32(0))
        move = F32(0) if held else (F32(1) - meets[i] / pulled) / weight[i]
        bent = firm[i] > F32(0)
        # A damped step falls short of the limit, the more so where the dates lie along a line.
        # Beside a date the sum bends so sharply that steps are short far from the limit too.
        rest = length[i] * (F32(1) + F32(30) * damping[i]) ** 2
        close = (
            (rest <= tolerance * tolerance) & (rest <= F32(0.04) * closest[i])
            if bent
            else move * pulled <= F32(1e-3)
        )
        arrived = (came == ARRIVED) | (good & (held | close))
        failed = (came == NEWTON) & (not good)
        fails[i] = fails[i] + F32(1) if failed else (F32(2) if good & (not bent) else fails[i])
        eased = damping[i] * F32(0.1) if (came == NEWTON) & good else damping[i]
        damping[i] = min(F32(1), eased * F32(8)) if failed else eased
        snap = (came != DATE) & (fails[i] > F32(1)) & (nearest[i] != tried[i])
        other = DATE if snap else WEISZFELD
        way[i] = ARRIVED if arrived else (NEWTON if good & bent else other)
        tried[i] = nearest[i] if way[i] == DATE else tried[i]
        least[i] = total[i] if good else least[i]
        share[i] = move if good else F32(-1)
        # The last step is as good as any.
        length[i] = F32(1) if good & bent & (not held) & (came != ARRIVED) else F32(0)


@njit(nogil=True, inline="always")
def _go(values, centre, target, pull, step, way, share, length, nearest):  # type: ignore[no-untyped-def]
    """Move each lane on by its way; ``target`` keeps Weiszfeld's step from the last good place."""
    bands = centre.shape[0]
    for p in range(bands):
        for i in range(LANES):
            c = centre[p, i]
            target[p, i] = c + share[i] * pull[p, i] if share[i] >= F32(0) else target[p, i]
            c = target[p, i] if way[i] == WEISZFELD else c
            centre[p, i] = c + step[p, i] if length[i] > F32(0) else c
    for i in range(LANES):
        if way[i] == DATE:
            for p in range(bands):
                centre[p, i] = values[int(nearest[i]), p, i]
