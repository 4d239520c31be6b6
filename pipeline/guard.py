"""The radiometric guard: do a scene's pixels bear out what its record says of the offset?

A wrong offset moves every band by 0.1 reflectance (1000 in the stored numbers). Not taken off at all,
nothing is dark any more; taken twice, dark land falls to the clip at 1. Haze, flood, snow, fire and the
glint of the sun move bands differently, an offset all alike. So a scene is compared with the others of
its season over the same ground, and the season itself with what vegetation can be.

Only land convicts: water is dark in every band, or glints in every band, and says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: Bands that are looked at, where a record has them.
EVIDENCE = ("blue", "red", "nir", "swir16", "swir22")
_VISIBLE = ("blue", "red")
_DARK, VEGETATION, BARE, WATER, _SNOW = 2, 4, 5, 6, 11
#: Classes of which the ground is seen without doubt.
GROUND = (_DARK, VEGETATION, BARE, WATER, _SNOW)
_LAND = (VEGETATION, BARE)
_NAMES = {VEGETATION: "vegetation", BARE: "bare soil", WATER: "water"}
#: Offset of ESA's products, in stored numbers.
OFFSET = 1000
#: Fewest pixels that say something.
ENOUGH = 100
#: Not taken off, numbers stay above the offset but for what the atmospheric correction took too much.
_FLOOR, _BELOW = 900, 0.02
#: Share of vegetation at the clip that speaks against a scene, and below which it speaks for it.
_CLIPPED, _UNCLIPPED = 0.5, 0.1
#: How far a step may be from the offset: more in the visible, where a veil of haze comes on top.
_SLACK = {"blue": 450, "red": 450}
_SLACK_INFRARED = 300
#: What is above the clip.
_OFF_THE_CLIP = 50
#: Raised when the same pixels would be judged otherwise.
VERSION = 2

State = Literal["sound", "not taken off", "taken twice", "unknown"]


@dataclass(frozen=True)
class Look:
    """What is looked at of one scene: the same pixels for all scenes of one ground."""

    scene: str
    bands: Mapping[str, NDArray[np.uint16]]
    """Name -> (pixel,) harmonised reflectance x 10000, 0 = unseen."""
    scl: NDArray[np.uint8]
    """(pixel,) class, 0 where the ground is not seen clearly."""

    @property
    def land(self) -> NDArray[np.bool_]:
        """Pixels of vegetation and bare soil, (pixel,)."""
        return np.isin(self.scl, _LAND)


@dataclass(frozen=True)
class Verdict:
    """What the pixels say of a scene's offset, and what was seen; of an unknown one why nothing can be said."""

    state: State
    seen: str = ""

    @property
    def against(self) -> str:
        """Why the scene cannot be used, "" where it can."""
        if self.state in ("not taken off", "taken twice"):
            return f"the offset was {self.state}: {self.seen}"
        return ""


def judge(looks: Sequence[Look]) -> dict[str, Verdict]:
    """Scene -> verdict, for the scenes of one ground and season; ``looks`` share their pixels.

    A scene that stands an offset away from the others is judged by them; the others by what is known of
    land, all together, since haze does not lie over every date. A scene that cannot be compared is
    judged alone.
    """
    found = _judge(looks)
    for look in looks:
        if found[look.scene].state == "unknown":
            found[look.scene] = replace(found[look.scene], seen=_why_unknown(look))
    return found


def _judge(looks: Sequence[Look]) -> dict[str, Verdict]:
    own = {look.scene: alone(look) for look in looks}
    reference, calm = _reference(looks)
    steps = {look.scene: _step(look, reference, calm) for look in looks}
    shared = _shared(reference, [own[name] for name, step in steps.items() if step.level == 0])
    counts = Counter(step.level for step in steps.values())
    if shared.state == "unknown" and any(counts[k] >= counts[0] for k in (-1, 1)):
        return own  # nothing tells which of them are right
    return {look.scene: _verdict(look, own[look.scene], shared, steps[look.scene]) for look in looks}


def _verdict(look: Look, own: Verdict, shared: Verdict, step: _Step) -> Verdict:
    if step.level is None:  # as strange as haze or fire make it, or not to be compared
        return Verdict("unknown") if own.state == "not taken off" and step.hazy else own
    if step.level == 0 and own.state != "unknown":
        return own
    lies = {"not taken off": 1, "taken twice": -1}.get(shared.state, 0) + step.level
    if lies == 0:
        known = step.level != 0 or shared.state == "sound"
        return Verdict("sound") if known else Verdict("unknown")
    seen = "; ".join(text for text in (step.shown if step.level else "", own.seen or shared.seen) if text)
    if lies > 0 and not _has_dark(look):
        return Verdict("not taken off", seen)
    if lies < 0:
        return Verdict("taken twice", seen)
    return Verdict("sound")


def _shared(reference: Look, members: Iterable[Verdict]) -> Verdict:
    """What holds for the scenes that agree with one another: what most of them show, else their median."""
    known = [v for v in members if v.state != "unknown"]
    states = Counter(v.state for v in known)
    # "sound" asks the least of the pixels, so it wins a draw
    return max(known, key=lambda v: (states[v.state], v.state == "sound"), default=alone(reference))


# --- one scene ---------------------------------------------------------------------------------


def alone(look: Look) -> Verdict:
    """What a scene shows by itself."""
    clipped = _clipped(look)
    if clipped:
        return Verdict("taken twice", clipped)
    if _has_dark(look):
        return Verdict("sound") if _has_unclipped(look) else Verdict("unknown")
    return _lifted(look)


def _clipped(look: Look) -> str:
    """What speaks for an offset that was taken twice, or "": land at the clip in the visible bands while
    it is bright in the infrared."""
    for ground, what in ((VEGETATION, "vegetation"), (BARE, "bare soil")):
        here = look.scl == ground
        shares = {n: _share_clipped(look.bands[n][here]) for n in _VISIBLE if n in look.bands}
        known = {n: share for n, share in shares.items() if share is not None}
        infrared = _share_clipped(look.bands["nir"][here]) if "nir" in look.bands else 0.0
        if known and min(known.values()) > _CLIPPED and infrared is not None and infrared < _CLIPPED:
            shown = ", ".join(f"{100 * share:.0f} % in {name}" for name, share in known.items())
            return f"of the {what} at the clip of 1 are {shown}"
    return ""


def _share_clipped(values: NDArray[np.uint16]) -> float | None:
    seen = values[values > 0]
    return float((seen == 1).mean()) if len(seen) >= ENOUGH else None


def _has_dark(look: Look) -> bool:
    """True where some ground is darker than any can be with the offset in its numbers."""
    ground, dark = np.isin(look.scl, GROUND), np.zeros(len(look.scl), np.bool_)
    for values in look.bands.values():
        dark |= ground & (values > 0) & (values < _FLOOR)
    return bool(dark.sum() >= max(ENOUGH, _BELOW * ground.sum()))


def _has_unclipped(look: Look) -> bool:
    """True where vegetation, always dark in the visible, is there and not at the clip."""
    shares = [_share_clipped(look.bands[n][look.scl == VEGETATION]) for n in _VISIBLE if n in look.bands]
    return any(share is not None and share < _UNCLIPPED for share in shares)


def _lifted(look: Look) -> Verdict:
    """Whether nothing is dark because dense vegetation stands an offset too high.

    With the offset taken off it must look like dense vegetation: haze leaves blue far above red, and the
    soil under sparse plants shows in red and in the short-wave infrared.
    """
    needed = (*_VISIBLE, "nir")
    if not all(name in look.bands for name in needed):
        return Verdict("unknown")
    blue, red, nir = (look.bands[name].astype(np.int32) - OFFSET for name in needed)
    dense = (look.scl == VEGETATION) & (nir > 1500) & (nir - red > 0.7 * np.maximum(nir + red, 1))
    dense &= np.abs(blue - red) <= 250
    short = next((name for name in ("swir22", "swir16") if name in look.bands), None)
    if short:
        values = look.bands[short].astype(np.int32) - OFFSET
        dense &= (values > 0) & (values < (1200 if short == "swir22" else 2500))
    if dense.sum() < max(ENOUGH, 0.1 * (look.scl == VEGETATION).sum()):
        return Verdict("unknown")
    shown = [n for n in (*_VISIBLE, short) if n]
    dark = ", ".join(f"{np.percentile(look.bands[n][dense], 5) / 10000:.3f} in {n}" for n in shown)
    return Verdict("not taken off", f"the darkest vegetation has reflectance {dark}, and nothing is darker")


def _why_unknown(look: Look) -> str:
    """What of its ground keeps a scene from being judged."""
    ground = np.isin(look.scl, GROUND)
    if ground.sum() < ENOUGH or not look.bands:
        return f"only {ground.sum()} pixels of its ground were seen clearly"
    shares = [f"{100 * (look.scl == c)[ground].mean():.0f} % {n}" for c, n in _NAMES.items()]
    dark = [
        f"{np.percentile(values[here], 2) / 10000:.3f} in {name}"
        for name, values in look.bands.items()
        if (here := ground & (values > 0)).any()
    ]
    return (
        f"nothing on it tells, and no other image does: its clear ground is {', '.join(shares)}; "
        f"the darkest 2 % have reflectance {', '.join(dark)}"
    )


# --- against the others ------------------------------------------------------------------------


def _reference(looks: Sequence[Look]) -> tuple[Look, dict[str, NDArray[np.bool_]]]:
    """The scenes' lower median, pixel by pixel, and by band the half of the pixels that changes least."""
    stacked = np.stack([look.scl for look in looks])
    bands, calm = {}, {}
    for name in EVIDENCE:
        if any(name in look.bands for look in looks):
            empty = np.zeros(stacked.shape[1], np.uint16)
            values = np.stack([look.bands.get(name, empty) for look in looks])
            values = np.where(np.isin(stacked, GROUND), values, 0)
            low, middle, high = _ranks(values, (0.25, 0.5, 0.75))
            bands[name] = middle
            seen = middle > 0
            spread = high.astype(np.int32) - low
            # a pixel that one scene alone saw compares it with itself
            seen &= ((values > 0).sum(axis=0) > 1) | (len(looks) == 1)
            calm[name] = seen & (spread <= (np.median(spread[seen]) if seen.any() else 0))
    land = np.isin(stacked, _LAND).sum(axis=0) * 2 > np.isin(stacked, GROUND).sum(axis=0)
    green = (stacked == VEGETATION).sum(axis=0) * 2 > np.isin(stacked, GROUND).sum(axis=0)
    anything = np.isin(stacked, GROUND).any(axis=0)
    scl = np.select([green, land, anything], [VEGETATION, BARE, WATER], 0).astype(np.uint8)
    return Look("", bands, scl), calm


def _ranks(values: NDArray[np.uint16], parts: Sequence[float]) -> list[NDArray[np.uint16]]:
    """Lower nearest-rank quantiles along the first axis of what is seen; 0 where nothing is."""
    ordered = np.sort(values, axis=0)  # the unseen come first
    unseen = (values == 0).sum(axis=0)
    last = len(values) - 1 - unseen
    column = np.arange(values.shape[1])
    picks = [np.clip(unseen + np.floor(part * last).astype(int), 0, len(values) - 1) for part in parts]
    return [ordered[pick, column] for pick in picks]


@dataclass(frozen=True)
class _Step:
    """How a scene stands to the reference."""

    level: int | None
    """Offsets above it: 1, 0, -1, or None where it is none of these."""
    shown: str
    """The steps by band, "" where they cannot be had."""
    hazy: bool
    """The short-wave infrared, which haze leaves alone, stands nowhere near an offset above."""


def _step(look: Look, reference: Look, calm: Mapping[str, NDArray[np.bool_]]) -> _Step:
    land = look.land & reference.land
    steps, up, down, near = {}, {}, {}, {}
    for name in look.bands:
        here = land & calm.get(name, land) & (look.bands[name] > 0)
        if here.sum() < ENOUGH:
            continue
        value, base = (part.bands[name][here].astype(np.int32) for part in (look, reference))
        steps[name] = step = float(np.median(value - base))
        slack = min(_SLACK.get(name, _SLACK_INFRARED), abs(step) / 2)
        near[name] = abs(step) <= _SLACK.get(name, _SLACK_INFRARED)
        down[name] = abs(np.median(value - np.maximum(base - OFFSET, 1))) <= slack
        rest = base > 1  # a reference at the clip does not tell how far a scene is above it
        enough = rest.sum() >= ENOUGH
        up[name] = abs(np.median((value - base)[rest]) - OFFSET) <= slack if enough else step > _OFF_THE_CLIP
    if len(steps) < 3 or not set(steps) & set(_VISIBLE) or not set(steps) - set(_VISIBLE):
        return _Step(None, "", False)
    shown = ", ".join(f"{step / 10000:+.3f} in {name}" for name, step in steps.items())
    level = None
    if _fits(up):
        level = 1
    elif all(down.values()):
        level = -1
    elif sum(near.values()) * 2 > len(near):
        level = 0
    short = [steps[name] for name in ("swir16", "swir22") if name in steps]
    hazy = bool(short) and max(short) < OFFSET / 2
    return _Step(level, f"against the other images the step is {shown}", hazy)


def _fits(support: Mapping[str, bool]) -> bool:
    """All bands, but for one of the infrared if there are four: growth and harvest move that."""
    against = [name for name, fits in support.items() if not fits]
    return not against or (len(support) >= 4 and len(against) == 1 and against[0] not in _VISIBLE)
