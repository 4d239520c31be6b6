"""Canopy reflectance by PROSAIL, from a look-up table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import prosail
from numpy.typing import NDArray

from pipeline.demo.grid import Array

#: Centre and full width at half maximum of Sentinel-2A's bands, nm (ESA, Sentinel-2 spectral responses
#: 3.1, rounded), in the order of ``BANDS``. The response is taken as a Gaussian.
BANDS = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22")
_CENTRES = (492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 1613.7, 2202.4)
_WIDTHS = (66, 36, 31, 15, 15, 20, 106, 21, 91, 175)

#: Backgrounds at which PROSAIL is run; between them the canopy answers almost like a parabola.
_SOILS = (0.0, 0.25, 0.5)
_LAI = np.array([0.0, 0.15, 0.35, 0.7, 1.1, 1.6, 2.2, 3.0, 4.0, 5.5, 7.0])
_GREEN = np.array([6.0, 12.0, 20.0, 30.0, 42.0, 56.0])
#: Steps of the table that pixels look into.
_LAI_STEP, _GREEN_STEP = 0.05, 2.0


@dataclass(frozen=True)
class Table:
    """Canopy reflectance = a + b x soil + c x soil^2, for each band, LAI and chlorophyll."""

    coefficients: Array
    """(band, coefficient, entry)."""
    columns: int

    def entry(self, lai: Array, green: Array) -> NDArray[np.intp]:
        """Entry of each pixel, the nearest in LAI (m2/m2) and chlorophyll (ug/cm2)."""
        row = np.rint(np.clip(lai, _LAI[0], _LAI[-1]) / _LAI_STEP).astype(np.intp)
        column = np.rint((np.clip(green, _GREEN[0], _GREEN[-1]) - _GREEN[0]) / _GREEN_STEP).astype(np.intp)
        return np.asarray(row * self.columns + column, np.intp)

    def reflectance(self, band: int, entry: NDArray[np.intp], soil: Array) -> Array:
        """Reflectance of the canopy over a background of reflectance ``soil``."""
        a, b, c = (self.coefficients[band, k][entry] for k in range(3))
        return np.asarray(a + soil * (b + soil * c), np.float32)


@lru_cache(maxsize=64)
def table(sun_zenith: int) -> Table:
    """The table for a sun ``sun_zenith`` degrees from the zenith, seen from above."""
    nodes = np.array([[_parabola(lai, green, sun_zenith) for green in _GREEN] for lai in _LAI])
    rows = np.arange(round(_LAI[-1] / _LAI_STEP) + 1) * _LAI_STEP
    columns = np.arange(round((_GREEN[-1] - _GREEN[0]) / _GREEN_STEP) + 1) * _GREEN_STEP + _GREEN[0]
    fine = _interpolate(_interpolate(nodes, _LAI, rows, 0), _GREEN, columns, 1)
    flat = fine.reshape(-1, *fine.shape[2:])  # (entry, band, coefficient)
    return Table(np.ascontiguousarray(flat.transpose(1, 2, 0), np.float32), len(columns))


def canopy(lai: float, green: float, soil: float, sun_zenith: float) -> NDArray[np.float64]:
    """PROSAIL's reflectance in the ten bands, over a grey background.

    Leaves that lose chlorophyll turn brown, and carotenoids go with chlorophyll. PROSPECT-5 and
    4SAIL (Jacquemoud et al. 2009); leaf angles of cereals, mean 57 degrees.
    """
    brown = 0.5 * max(0.0, 1 - green / 25)
    spectrum = prosail.run_prosail(
        1.55, green, 2 + green / 5, brown, 0.012, 0.005, lai, 57.0, 0.05, sun_zenith, 0.0, 0.0,
        typelidf=2, rsoil0=np.full(2101, soil),
    )  # fmt: skip
    return np.asarray(_responses() @ spectrum, np.float64)


@lru_cache(maxsize=1)
def _responses() -> NDArray[np.float64]:
    """Weights (band, wavelength 400..2500 nm)."""
    wavelength = np.arange(400, 2501)
    sigma = np.array(_WIDTHS) / 2.3548
    weight = np.exp(-0.5 * ((wavelength - np.array(_CENTRES)[:, None]) / sigma[:, None]) ** 2)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float64)


def _parabola(lai: float, green: float, sun_zenith: float) -> NDArray[np.float64]:
    """(band, 3) coefficients through the reflectance over the three backgrounds."""
    if lai == 0:
        return np.tile([0.0, 1.0, 0.0], (len(BANDS), 1))
    runs = np.array([canopy(lai, green, soil, sun_zenith) for soil in _SOILS])
    return np.linalg.solve(np.vander(_SOILS, 3, increasing=True), runs).T


def _interpolate(
    values: NDArray[np.float64], nodes: NDArray[np.float64], at: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    """Linear interpolation along one axis."""
    right = np.clip(np.searchsorted(nodes, at), 1, len(nodes) - 1)
    part = ((at - nodes[right - 1]) / (nodes[right] - nodes[right - 1])).reshape(
        [-1 if k == axis else 1 for k in range(values.ndim)]
    )
    return (1 - part) * values.take(right - 1, axis) + part * values.take(right, axis)
