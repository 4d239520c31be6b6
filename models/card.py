"""What a model says of itself: data, folds, scores, drivers, limits, digests. All of it from what it was judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from models import folds, measures
from models.bundle import ModelBundle
from models.explain import explain
from models.judge import Judged
from models.samples import SampleTable
from models.targets import Target

#: Fewer samples than this are few for a model of several features.
FEW = 100
#: Levels of the predictive distribution at which its reliability is told.
LEVELS = np.round(np.arange(0.05, 1, 0.05), 2)


def complete(bundle: ModelBundle, table: SampleTable, judged: Judged) -> ModelBundle:
    """The bundle with everything in its card that a reader needs before using it."""
    table = table.measured(bundle.target.name)
    more = {
        "scores": judged.scores,
        "reliability": reliability(judged.rows, bundle.target),
        "drivers": drivers(bundle, table),
        "data": data(table, bundle.target),
        "digests": {
            "samples": bundle.card["samples_digest"],
            "features": bundle.spec.digest,
            "boosters": {
                n: hashlib.sha256(t.encode()).hexdigest() for n, t in sorted(bundle.boosters.items())
            },
        },
    }
    card = {**bundle.card, **more}
    return replace(bundle, card=card | {"limits": limits(bundle.target, card)})


def reliability(rows: pd.DataFrame, target: Target) -> list[dict[str, float]]:
    """Points of the reliability curve of left-out rows: what was said and what came, with 95 % bounds.

    Of a quantity: how often it was at most each quantile of its distribution. Of classes: how often the bad
    ones (or, where the target names none, each class) came where their probability was said, in ten bins.
    """
    known = rows[rows[target.layers[0]].notna()]
    if target.kind == "regression":
        pit = known["pit"].to_numpy()
        hits = [measures.proportion(int((pit <= level).sum()), len(pit)) for level in LEVELS]
        return [
            {"predicted": float(p), "observed": h.value, "lower": h.lower, "upper": h.upper, "n": h.n}
            for p, h in zip(LEVELS, hits, strict=True)
        ]
    names = {c.name: c.code for c in target.classes}
    if target.bad_classes:
        codes = [names[n] for n in target.bad_classes]
        truth, said = known["observed"].isin(codes).to_numpy(), known["risk"].to_numpy(np.float64)
    else:
        truth = np.concatenate([(known["observed"] == code).to_numpy() for code in names.values()])
        said = np.concatenate([known[f"p_{name}"].to_numpy(np.float64) for name in names])
    found = measures.reliability(truth, np.clip(said, 0, 1))
    columns = (found.predicted, found.observed, found.lower, found.upper, found.count)
    keys = ("predicted", "observed", "lower", "upper", "n")
    return [dict(zip(keys, map(float, row), strict=True)) for row in zip(*columns, strict=True)]


def drivers(bundle: ModelBundle, table: SampleTable) -> list[dict[str, Any]]:
    """Features by their mean absolute TreeSHAP value over the training rows, greatest first; shares sum to 1.

    ``direction`` is the correlation of the feature with its contribution: 1 where more of it raises the
    target. Of unordered classes there is none, and contributions to all of them are summed.
    """
    X = table.select(bundle.spec.names).X
    every = bundle.target.kind == "class" and not bundle.target.ordered
    parts = bundle.contributions(X)["class"][..., :-1] if every else explain(bundle, X).contributions
    known = np.isfinite(parts).reshape(len(parts), -1).all(axis=1)
    parts, X = parts[known], X[known]
    size = np.abs(parts).mean(axis=0)
    size = size if size.ndim == 1 else size.sum(axis=0)
    share = size / size.sum() if size.sum() > 0 else size
    ranked = np.argsort(-size, kind="stable")
    return [
        {
            "feature": bundle.spec.names[k],
            "mean_absolute": float(size[k]),
            "share": float(share[k]),
            "direction": None if every else _direction(X[:, k], parts[:, k]),
        }
        for k in ranked
    ]


def _direction(values: Any, parts: Any) -> float | None:
    seen = np.isfinite(values)
    if seen.sum() < 3 or np.ptp(values[seen]) == 0 or np.ptp(parts[seen]) == 0:
        return None
    return float(np.corrcoef(values[seen].astype(np.float64), parts[seen])[0, 1])


def data(table: SampleTable, target: Target) -> dict[str, Any]:
    """Where, when and what the samples are."""
    f, y = table.frame, table.y(target.name)
    days = sorted(pd.to_datetime(f.date, errors="coerce").dropna().dt.strftime("%Y-%m-%d"))
    about: dict[str, Any] = {
        "bbox": [round(float(v), 5) for v in (f.lon.min(), f.lat.min(), f.lon.max(), f.lat.max())],
        "first_date": days[0] if days else None,
        "last_date": days[-1] if days else None,
        "sites": int(folds.sites(table).max()) + 1,
        "blocks": int(folds.blocks(table, target.folds.block_m).max()) + 1,
        "block_m": target.folds.block_m,
    }
    if target.kind == "class":
        return about | {"classes": {c.name: int((y == c.code).sum()) for c in target.classes}}
    levels = np.quantile(y, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return about | {"quantiles": dict(zip(("min", "p25", "median", "p75", "max"), levels, strict=True))}


def limits(target: Target, card: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is known to be wrong, weak or untested, each as ``id vi en``."""
    scores, found = card["scores"], []

    def say(when: object, name: str, vi: str, en: str) -> None:
        if when:
            found.append({"id": name, "vi": vi, "en": en})

    say(card["simulated"], "simulated", "Dữ liệu mô phỏng: không nói gì về đất thật.",
        "Simulated data: it says nothing of real soil.")  # fmt: skip
    say(target.status == "unverified", "unverified",
        "Ngưỡng và loại chưa được đối chiếu với văn bản pháp quy.",
        "Classes and thresholds have not been checked against a legal or scientific source.")  # fmt: skip
    say(card["samples"] < FEW, "few-samples", f"Chỉ có {card['samples']} mẫu.",
        f"Only {card['samples']} samples.")  # fmt: skip
    say(len(card["seasons"]) == 1, "one-season",
        f"Chỉ học từ một mùa ({card['seasons'][0]}); chưa thử ở mùa khác.",
        f"Learnt from one season ({card['seasons'][0]}); untested in another.")  # fmt: skip
    say("season" in scores, "other-seasons", "Ở một mùa chưa có mẫu, xem điểm số của mùa bị để ra ngoài.",
        "For a season without samples read the scores of seasons left out.")  # fmt: skip
    say(card["features_with_gaps"], "gaps",
        "Một số đặc trưng có chỗ trống khi học: " + ", ".join(card["features_with_gaps"]) + ".",
        "Some features had gaps in training: " + ", ".join(card["features_with_gaps"]) + ".")  # fmt: skip
    common = card["calibration"].get("common_error_sd", 0)
    say(common, "common-error", "Mọi mẫu cùng chịu một sai số chung (công thức chuyển đổi); khoảng tin cậy đã tính nó.",
        "All samples share one error (a conversion formula); the intervals include it.")  # fmt: skip
    outside = scores["applicability"]["outside"]
    say(True, "outside",
        "Ngoài vùng áp dụng (applicability = 0) không điểm số nào bảo đảm cho bản đồ.",
        "Outside the area of applicability (applicability = 0) no score vouches for the map."
        + (f" {outside['n']} left-out samples lay there." if outside else ""))  # fmt: skip
    say(not card["reproducible"], "not-reproducible",
        "Việc dò tham số có giới hạn thời gian: máy khác có thể cho mô hình khác.",
        "Tuning had a time limit: another machine may give another model.")  # fmt: skip
    say(card.get("champion", {}).get("forced"), "forced",
        "Thay mô hình trước theo lệnh, dù không chứng tỏ là tốt hơn.",
        "It replaced the model before it by order, without evidence of being better.")  # fmt: skip
    return found
