"""Change over a season, pixel by pixel: slopes, Mann-Kendall, first harmonic. Time in days.

Kernels over flat rows of ``STRIP`` pixels (see ``temporal``), NaN = unseen. Sums are float64 and taken
about the mean, so that nothing cancels.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from features.network import NARROW, STRIP, sort

F32 = np.float32
NAN = np.float32(np.nan)
INFINITY = np.float32(np.inf)

#: Two dates, or dates all a period apart, lie on a line: then the harmonic is not determined.
_DEGENERATE = 1e-12


@njit(nogil=True, error_model="numpy")
def slope(values, first, width, days, seen, double, target):  # type: ignore[no-untyped-def]
    """Least-squares slope a day; NaN for fewer than two different dates."""
    dates = days.shape[0]
    for i in range(4 * STRIP):
        double[i] = 0.0
    for t in range(dates):
        row = values[first + t * width : first + t * width + STRIP]
        day = days[t] - days[0]
        for i in range(STRIP):
            ok = row[i] == row[i]
            double[i] += day if ok else 0.0
            double[STRIP + i] += np.float64(row[i]) if ok else 0.0
    for i in range(STRIP):
        double[i] /= seen[i]
        double[STRIP + i] /= seen[i]
    for t in range(dates):
        row = values[first + t * width : first + t * width + STRIP]
        day = days[t] - days[0]
        for i in range(STRIP):
            ok = row[i] == row[i]
            x = day - double[i] if ok else 0.0
            y = np.float64(row[i]) - double[STRIP + i] if ok else 0.0
            double[2 * STRIP + i] += x * x
            double[3 * STRIP + i] += x * y
    for i in range(STRIP):
        spread = double[2 * STRIP + i]
        target[i] = F32(double[3 * STRIP + i] / spread) if spread > 0.0 else NAN


@njit(nogil=True)
def sen(values, first, width, days, pairs, slopes, merges, count, target):  # type: ignore[no-untyped-def]
    """Median of the slopes a day between all pairs of seen, different dates (Theil 1950, Sen 1968)."""
    for start in range(0, STRIP, NARROW):
        used = _slopes(values, first + start, width, days, pairs, count)
        if used:
            sort(pairs, 0, NARROW, used, slopes, NARROW, merges)
        for i in range(NARROW):
            low = slopes[np.uint32(max(count[i] - 1, 0) // 2) * np.uint32(NARROW) + np.uint32(i)]
            high = slopes[np.uint32(count[i] // 2) * np.uint32(NARROW) + np.uint32(i)]
            middle = F32(0.5 * (np.float64(low) + np.float64(high)))
            target[start + i] = middle if count[i] > 0 else NAN


@njit(nogil=True, error_model="numpy")
def _slopes(values, first, width, days, pairs, count):  # type: ignore[no-untyped-def]
    """Slopes of all pairs of dates, NaN where one is unseen, and their number a pixel; returns the rows."""
    for i in range(NARROW):
        count[i] = 0
    used = 0
    for q in range(1, days.shape[0]):
        late = values[first + q * width : first + q * width + NARROW]
        for p in range(q):
            apart = F32(days[q] - days[p])
            if apart <= F32(0.0):
                continue
            early = values[first + p * width : first + p * width + NARROW]
            place = pairs[used * NARROW : (used + 1) * NARROW]
            used += 1
            for i in range(NARROW):
                place[i] = (late[i] - early[i]) / apart
                count[i] += np.int32(place[i] == place[i])
    return used


@njit(nogil=True)
def score(values, first, width, dates, seen, total, target):  # type: ignore[no-untyped-def]
    """Mann-Kendall S: rising less falling pairs of seen dates, to ``total`` and ``target``."""
    for i in range(STRIP):
        total[i] = 0
    for q in range(1, dates):
        late = values[first + q * width : first + q * width + STRIP]
        for p in range(q):
            early = values[first + p * width : first + p * width + STRIP]
            for i in range(STRIP):
                total[i] += np.int32(late[i] > early[i]) - np.int32(late[i] < early[i])
    for i in range(STRIP):
        target[i] = F32(total[i]) if seen[i] > 0 else NAN


@njit(nogil=True)
def variance(ordered, dates, seen, double, target):  # type: ignore[no-untyped-def]
    """Variance of S with ties (Kendall 1975), from rising values: to ``double`` and ``target``."""
    for i in range(STRIP):
        n = np.float64(seen[i])
        double[i] = n * (n - 1.0) * (2.0 * n + 5.0)
        double[STRIP + i] = 1.0
    for t in range(1, dates):
        row = ordered[t * STRIP : (t + 1) * STRIP]
        before = ordered[(t - 1) * STRIP : t * STRIP]
        for i in range(STRIP):
            # The k-th of a tied group adds f(k) - f(k - 1) for f(k) = k (k - 1) (2 k + 5).
            tied = row[i] == before[i] and row[i] < INFINITY
            run = double[STRIP + i] + 1.0 if tied else 1.0
            double[STRIP + i] = run
            double[i] -= 6.0 * (run * run - 1.0)
    for i in range(STRIP):
        double[i] /= 18.0
        target[i] = F32(double[i]) if seen[i] > 0 else NAN


@njit(nogil=True, error_model="numpy")
def probability(total, double, seen, target):  # type: ignore[no-untyped-def]
    """Two-sided p of S by the normal approximation with continuity correction (Kendall 1975)."""
    for i in range(STRIP):
        size = max(abs(np.float64(total[i])) - 1.0, 0.0)
        z = size / math.sqrt(double[i]) if size > 0.0 else 0.0
        target[i] = F32(math.erfc(z / math.sqrt(2.0))) if seen[i] > 0 else NAN


@njit(nogil=True, error_model="numpy")
def harmonic(values, first, width, days, period, seen, double):  # type: ignore[no-untyped-def]
    """Least squares y = a + b cos(wt) + c sin(wt) on the seen dates: b and c to the first rows of ``double``.

    w = 2 pi / period; t is the day since 2000-01-01. NaN for fewer than three different phases.
    """
    dates = days.shape[0]
    for i in range(8 * STRIP):
        double[i] = 0.0
    for t in range(dates):
        row = values[first + t * width : first + t * width + STRIP]
        angle = 2.0 * math.pi * (days[t] % period) / period
        cosine, sine = math.cos(angle), math.sin(angle)
        for i in range(STRIP):
            ok = row[i] == row[i]
            double[i] += cosine if ok else 0.0
            double[STRIP + i] += sine if ok else 0.0
            double[2 * STRIP + i] += np.float64(row[i]) if ok else 0.0
    for i in range(STRIP):
        double[i] /= seen[i]
        double[STRIP + i] /= seen[i]
        double[2 * STRIP + i] /= seen[i]
    for t in range(dates):
        row = values[first + t * width : first + t * width + STRIP]
        angle = 2.0 * math.pi * (days[t] % period) / period
        cosine, sine = math.cos(angle), math.sin(angle)
        for i in range(STRIP):
            ok = row[i] == row[i]
            c = cosine - double[i] if ok else 0.0
            s = sine - double[STRIP + i] if ok else 0.0
            y = np.float64(row[i]) - double[2 * STRIP + i] if ok else 0.0
            double[3 * STRIP + i] += c * c
            double[4 * STRIP + i] += s * s
            double[5 * STRIP + i] += c * s
            double[6 * STRIP + i] += c * y
            double[7 * STRIP + i] += s * y
    for i in range(STRIP):
        cc, ss, cs = double[3 * STRIP + i], double[4 * STRIP + i], double[5 * STRIP + i]
        cy, sy = double[6 * STRIP + i], double[7 * STRIP + i]
        size = cc * ss - cs * cs
        known = size > _DEGENERATE * (cc + ss) * (cc + ss)
        double[i] = (cy * ss - sy * cs) / size if known else np.nan
        double[STRIP + i] = (sy * cc - cy * cs) / size if known else np.nan


@njit(nogil=True, error_model="numpy")
def phase(double, which, target):  # type: ignore[no-untyped-def]
    """Amplitude (0), sine (1) or cosine (2) of the phase of what ``harmonic`` found.

    The wave is amplitude * cos(wt - phase), so it peaks where wt = phase; no wave has no phase.
    """
    for i in range(STRIP):
        b, c = double[i], double[STRIP + i]
        amplitude = math.sqrt(b * b + c * c)
        if which == 0:
            target[i] = F32(amplitude)
        elif which == 1:
            target[i] = F32(c / amplitude) if amplitude > 0.0 else NAN
        else:
            target[i] = F32(b / amplitude) if amplitude > 0.0 else NAN
