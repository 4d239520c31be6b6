"""Our columns in the terms of GloSIS and ISO 28258, and a sample table written in them.

Identifiers are those of the GloSIS web ontology 1.0.0 as FAO's glosis-db uses them; ISO 28258 is named by its
features (Site, Plot, Profile, ProfileElement, SoilSpecimen, Observation), as GloSIS realises them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pyogrio

from models.samples import SampleTable
from models.targets import Target
from pipeline.errors import InputError
from pipeline.files import aside
from pipeline.imports.values import is_ece

MODEL = "http://w3id.org/glosis/model/v1.0.0/"
QUDT = "http://qudt.org/vocab/unit/"


@dataclass(frozen=True)
class Term:
    """What a column of ours is called elsewhere."""

    glosis: str
    """Header of the export, which the importer reads too."""
    iso28258: str
    """Feature and attribute."""
    uri: str = ""


#: Column of a sample table -> its term.
TERMS: Mapping[str, Term] = {
    "sample_id": Term("sampleId", "SoilSpecimen.sampleId (a specimen of a Plot)", "http://www.w3.org/ns/sosa/Sample"),
    "group": Term("polygonId", "Site.identifier: the survey polygon (khoanh đất)", MODEL + "siteplot#GL_Site"),
    "date": Term("phenomenonTime", "Observation.phenomenonTime", "http://www.w3.org/ns/sosa/phenomenonTime"),
    "lon": Term("longitude", "Plot.location", "http://www.w3.org/2003/01/geo/wgs84_pos#long"),
    "lat": Term("latitude", "Plot.location", "http://www.w3.org/2003/01/geo/wgs84_pos#lat"),
    "depth_top_cm": Term("upperDepth", "ProfileElement.profileElementDepthRange (upper, cm)"),
    "depth_bottom_cm": Term("lowerDepth", "ProfileElement.profileElementDepthRange (lower, cm)"),
    "laboratory": Term("laboratory", "Observation.process responsible party"),
    "stratum": Term("stratum", "Project sampling design: stratum"),
    "inclusion_probability": Term("inclusionProbability", "Project sampling design: inclusion probability"),
}  # fmt: skip
#: Column of a sample file by our plain name -> property of GloSIS.
PROPERTIES: Mapping[str, str] = {
    "ec": MODEL + "layerhorizon#electricalConductivityProperty",
    "ece": MODEL + "layerhorizon#electricalConductivityProperty",
    "ph": MODEL + "codelists#physioChemicalPropertyCode-pH",
    "oc": MODEL + "codelists#physioChemicalPropertyCode-Carorg",
    "cec": MODEL + "codelists#physioChemicalPropertyCode-CEC",
    "texture": MODEL + "layerhorizon#SoilTexture",
}
#: Extract as we spell it -> procedure of GloSIS.
PROCEDURES: Mapping[str, str] = {
    "paste": "ECe_sat", "1:1": "EC_ratio1-1", "1:2": "EC_ratio1-2", "1:2.5": "EC_ratio1-2.5", "1:5": "EC_ratio1-5",
    "1:10": "EC_ratio1-10",
}  # fmt: skip
UNITS: Mapping[str, str] = {
    "dS/m": QUDT + "DeciS-PER-M", "mS/cm": QUDT + "MilliS-PER-CentiM", "µS/cm": QUDT + "MicroS-PER-CentiM", "%": QUDT + "PERCENT",
    "g/kg": QUDT + "GM-PER-KiloGM", "mg/kg": QUDT + "MilliGM-PER-KiloGM", "cmol/kg": QUDT + "CentiMOL-PER-KiloGM",
    "pH": QUDT + "PH",
}  # fmt: skip


def procedure(extract: str) -> str:
    """URI of the GloSIS procedure of an extract; "" where it has none."""
    name = PROCEDURES.get(extract, "")
    return f"{MODEL}procedure#electricalConductivityProcedure-{name}" if name else ""


def observations(table: SampleTable, targets: Sequence[Target]) -> pd.DataFrame:
    """One row an observation: place, depth, day, property, procedure, value and unit, with their URIs.

    What was measured comes first (EC of its extract in its own unit); ECe that was reckoned from it says so in
    ``usedProcedure``. Features of the images are not soil observations and stay out.
    """
    frame = table.frame
    shared = {t.glosis: frame.get(c, "") for c, t in TERMS.items()}
    base = pd.DataFrame(shared, index=frame.index)
    parts = []
    if "ec" in frame:
        rows = frame["ec"].notna() & (frame["extract"] != "paste")
        raw = base[rows].assign(
            observedProperty="ec", propertyUri=PROPERTIES["ec"], result=frame.loc[rows, "ec"].astype(float),
            unitOfMeasure=frame.loc[rows, "ec_unit"], usedProcedure=frame.loc[rows, "extract"].map(_named),
            procedureUri=frame.loc[rows, "extract"].map(procedure),
        )  # fmt: skip
        parts.append(raw)
    for target in targets:
        if target.name not in frame:
            continue
        rows = frame[target.name].notna()
        parts.append(base[rows].assign(**_of_target(frame[rows], target)))
    if not parts:
        raise InputError("the table has no column of the config's targets")
    found = pd.concat(parts, ignore_index=True)
    found["unitUri"] = found["unitOfMeasure"].map(lambda u: UNITS.get(u, ""))
    order = [t.glosis for t in TERMS.values()]
    more = [
        "observedProperty",
        "result",
        "unitOfMeasure",
        "usedProcedure",
        "propertyUri",
        "unitUri",
        "procedureUri",
    ]
    return found[[*order, *more]].sort_values(
        ["sampleId", "observedProperty"], kind="stable", ignore_index=True
    )


def _named(extract: str) -> str:
    return PROCEDURES.get(extract, f"EC {extract}")


def _of_target(frame: pd.DataFrame, target: Target) -> dict[str, Any]:
    name = target.value_column
    values: object = frame[target.name].astype(float)
    if target.kind == "class":
        codes = {c.code: c.name for c in target.classes}
        values = frame[target.name].astype(int).map(codes)
    about: dict[str, Any] = {
        "observedProperty": name, "propertyUri": PROPERTIES.get(name, ""), "result": values, "unitOfMeasure": target.unit,
        "usedProcedure": target.source, "procedureUri": "",
    }  # fmt: skip
    if is_ece(target):
        extract = (
            frame["extract"].fillna("paste") if "extract" in frame else pd.Series("paste", index=frame.index)
        )
        direct = extract == "paste"
        about["usedProcedure"] = extract.map(
            lambda e: "ECe_sat" if e == "paste" else f"calculated from EC {e}"
        )
        about["procedureUri"] = direct.map({True: procedure("paste"), False: ""})
    return about


def write(table: SampleTable, targets: Sequence[Target], path: Path) -> int:
    """Write ``observations`` as .csv, .xlsx or .gpkg; gives their number. Raises InputError for another ending."""
    found = observations(table, targets)
    kind = path.suffix.lower()
    if kind not in (".csv", ".xlsx", ".gpkg"):
        raise InputError(f"{path}: expected a name that ends in .csv, .xlsx or .gpkg")
    with aside(path) as temporary:
        if kind == ".csv":
            found.to_csv(temporary, index=False, encoding="utf-8-sig")
        elif kind == ".xlsx":
            found.to_excel(temporary, index=False, sheet_name="observations", engine="xlsxwriter")
        else:
            places = geopandas.points_from_xy(found["longitude"], found["latitude"])
            text = found.assign(result=found["result"].astype(str))
            pyogrio.write_dataframe(
                geopandas.GeoDataFrame(text, geometry=places, crs=4326),
                temporary,
                layer="observations",
                driver="GPKG",
            )
    return len(found)
