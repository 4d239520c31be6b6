"""Is a new model better than the one in use? Both ways of making it, on the same folds of today's samples."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import judge, leftout, search
from models.bundle import ModelBundle
from models.folds import Folds
from models.paired import Paired, corrected_t
from models.recipe import Recipe
from models.samples import SampleTable
from models.uncertainty import Vector

#: Sets of folds, each with another seed; one only where each fold searches for its recipe.
REPEATS = 3
#: Rows that a champion must have had in a fold to be taught anew there.
LEAST_ROWS = 10


def compare(champion: ModelBundle, challenger: ModelBundle, table: SampleTable) -> dict[str, Any]:
    """Paired test (``models.paired.corrected_t``) of the losses of both on spatial folds of ``table``.

    In each fold both learn anew as they were made: the challenger from the fold's training rows, the
    champion from those of them that it had. A champion that had none of today's rows judges them as it
    is. ``better`` says whether the challenger is, at its gate's level; ``same`` that no row tells them
    apart. Raises ValueError where they are not of the same quantity or classes, or the table lacks a
    feature of the champion.
    """
    _check(champion, challenger, table)
    target = challenger.target
    table = table.measured(target.name)
    seen = np.isin(table.row_digests(target.name), _read(champion))
    searched = any(search.searches(b.target) for b in (champion, challenger))
    means: list[float] = []
    ratios: list[float] = []
    same = True
    for repeat in range(1 if searched else REPEATS):
        splits = search.blocked(table, target, target.folds.seed + repeat)
        ours = judge.losses(table, target, splits, _anew(challenger, table, splits))
        theirs = judge.losses(table, target, splits, _champions(champion, table, splits, seen))
        same &= bool((ours == theirs).all())
        means += [float((ours - theirs)[test].mean()) for _, test in splits]
        ratios += [len(test) / len(fit) for fit, test in splits]
    found: Paired = corrected_t(means, float(np.mean(ratios)))
    return {
        "champion": champion.digest,
        "champion_rows": int(seen.sum()),
        "rows": len(table),
        "loss": "squared error in learning units"
        if target.kind == "regression"
        else judge.error_name(target),
        "folds": len(means),
        "test": "corrected resampled t-test (Nadeau & Bengio 2003)",
        **found.dump(),
        "same": same,
        "better": not same and found.p_better < target.gate.significance,
    }


def _read(bundle: ModelBundle) -> NDArray[np.uint64]:
    return np.frombuffer(base64.b64decode(str(bundle.card.get("rows", ""))), "<u8")


def _check(champion: ModelBundle, challenger: ModelBundle, table: SampleTable) -> None:
    both = [b.target for b in (champion, challenger)]
    meant = [(t.name, t.kind, t.unit, t.transform, sorted(t.codes.items())) for t in both]
    if meant[0] != meant[1]:
        raise ValueError(
            f"the model in use is of {both[0].name!r} with another kind, unit, transform or classes"
        )
    lacking = [f.name for f in champion.spec.features if f not in table.spec.features]
    if lacking:
        raise ValueError(f"the samples lack feature(s) {lacking} of the model in use, or have them otherwise")


def _anew(bundle: ModelBundle, table: SampleTable, splits: Folds) -> Vector:
    """What the bundle's way of learning says of left-out rows."""
    recipes = search.nested(table, bundle.target, splits)
    own = Recipe.parse(bundle.card["recipe"]) if "recipe" in bundle.card else None
    plain = own or Recipe(bundle.spec.names, bundle.target.model)
    return leftout.says(table, bundle.target, splits, recipes or [plain] * len(splits))


def _champions(champion: ModelBundle, table: SampleTable, splits: Folds, seen: NDArray[np.bool_]) -> Vector:
    if not seen.any():
        return champion.expected(table.select(champion.spec.names).X)
    had = [(fit[seen[fit]], test) for fit, test in splits]
    # A fold with hardly any of its rows has nothing to say: NaN, for which the mean then speaks.
    return _anew(champion, table, [(fit, test) for fit, test in had if len(fit) >= LEAST_ROWS])
