"""Formula and rule text -> checked expression trees. Nothing is ever evaluated.

A formula is arithmetic over band names. A rule is a condition over formulas, such as
``ndvi < 0.3 and mndwi < 0``: names of indices stand for their formulas, ``doy`` for the day of the year.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from features.bands import BANDS, LAYERS

#: Bounds on what strangers may ask for; far above any published index.
MAX_LENGTH = 4000
MAX_NODES = 200
MAX_DEPTH = 40
MAX_EXPONENT = 64
FUNCTIONS = {"sqrt": 1, "abs": 1, "exp": 1, "log": 1, "min": 2, "max": 2}
_LARGEST = 3.4e38
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
#: Day of the year, 1 to 366: the one name in rules that is no band.
DAY = "doy"


class FormulaError(ValueError):
    """A formula is refused; the message gives the place of the fault."""


@dataclass(frozen=True)
class Formula:
    """A checked formula over the bands of one sensor."""

    text: str
    """Canonical text: one spelling for all ways to write the same tree."""
    bands: tuple[str, ...]
    """Bands used, in canonical order."""
    sensor: str
    """The sensor that delivers them."""


@dataclass(frozen=True)
class Rule:
    """A checked condition on one date of one pixel; it holds only where all that it compares is seen."""

    text: str
    """Canonical text over bands (and ``doy``) alone."""
    bands: tuple[str, ...]
    """Bands used, in canonical order."""
    sensor: str | None
    """The sensor that delivers them; None for a rule on the day of the year alone."""
    dated: bool
    """True where it asks for the day of the year."""


def parse(text: str) -> Formula:
    """Check formula ``text`` against the whitelist.

    Allowed: numbers, band names, ``+ - * / **``, parentheses, and ``sqrt abs exp log min max``.
    Raises FormulaError naming the place for anything else, for unknown bands, for a formula
    without bands, and for one that mixes sensors (their dates do not match).
    """
    tree = _tree(text)
    used = set(_names(tree, text))
    bands = tuple(band for band in BANDS if band in used)
    if not bands:
        raise FormulaError(f"formula {text!r} uses no band")
    sensors = {BANDS[band] for band in bands}
    if len(sensors) > 1:
        raise FormulaError(f"formula {text!r} mixes sensors {sorted(sensors)}")
    if LAYERS.intersection(bands) and not isinstance(tree, ast.Name):
        raise FormulaError(f"formula {text!r} computes with a layer without time; name the layer alone")
    return Formula(ast.unparse(tree), bands, sensors.pop())


def rule(text: str, formulas: Mapping[str, str] | None = None) -> Rule:
    """Check rule ``text``: comparisons (``< <= > >=``) of formulas, joined by ``and``, ``or``, ``not``.

    ``formulas`` maps names of indices to their formula text. Raises FormulaError as ``parse`` does.
    """
    tree = _tree(text)
    _conditions(tree, text, formulas or {})
    tree = _Spelled(formulas or {}).visit(tree)
    _measure(tree, text)
    used = set(_conditions(tree, text, {}))
    bands = tuple(band for band in BANDS if band in used)
    sensors = {BANDS[band] for band in bands}
    if len(sensors) > 1:
        raise FormulaError(f"rule {text!r} mixes sensors {sorted(sensors)}: their dates do not match")
    if LAYERS.intersection(bands):
        raise FormulaError(f"rule {text!r} asks a layer without time; a rule is about dates")
    return Rule(ast.unparse(tree), bands, sensors.pop() if sensors else None, DAY in used)


class _Spelled(ast.NodeTransformer):
    """Puts an index's formula where its name stands."""

    def __init__(self, formulas: Mapping[str, str]) -> None:
        self.formulas = formulas

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.args = [self.visit(argument) for argument in node.args]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return _tree(self.formulas[node.id]) if node.id in self.formulas else node


def _conditions(node: ast.expr, text: str, formulas: Mapping[str, str]) -> list[str]:
    """Names under a condition; refuses every construct that is not on the whitelist."""
    known = (*BANDS, DAY, *formulas)
    match node:
        case ast.BoolOp(_, values):
            return [name for value in values for name in _conditions(value, text, formulas)]
        case ast.UnaryOp(ast.Not(), operand):
            return _conditions(operand, text, formulas)
        case ast.Compare(left, operators, right) if all(isinstance(o, _COMPARISONS) for o in operators):
            names = [name for side in (left, *right) for name in _names(side, text, known)]
            if not names:
                raise _refusal(text, node, "a comparison without a band")
            return names
        case _:
            raise _refusal(
                text,
                node,
                "expected a comparison, such as ndvi < 0.3, joined by and, or, not (< <= > >= alone)",
            )


def _tree(text: str) -> ast.expr:
    """The syntax tree of ``text``, of bounded size."""
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"formula of {len(text)} characters; at most {MAX_LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Text that ends too early has its fault at its end, which Python calls column 0.
        place = f" at column {error.offset or len(text) + 1}" if isinstance(error, SyntaxError) else ""
        raise FormulaError(f"formula {text!r} does not parse{place}") from None
    _measure(tree, text)
    return tree


def _refusal(text: str, node: ast.expr, what: str) -> FormulaError:
    return FormulaError(f"formula {text!r}, column {node.col_offset + 1}: {what}")


def _measure(tree: ast.expr, text: str) -> None:
    """Refuse trees too large or too deep to compile; walks without recursion."""
    level: list[ast.AST] = [tree]
    nodes = depth = 0
    while level:
        nodes, depth = nodes + sum(isinstance(n, ast.expr) for n in level), depth + 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise FormulaError(
                f"formula {text[:60]!r}... is too large: at most {MAX_NODES} terms, nested {MAX_DEPTH} deep"
            )
        level = [child for n in level for child in ast.iter_child_nodes(n)]


def _names(node: ast.expr, text: str, known: Collection[str] = BANDS) -> list[str]:
    """Names under ``node``, all of ``known``; refuses every construct that is not on the whitelist."""

    match node:
        case ast.BinOp(left, operator, right) if isinstance(operator, _OPERATORS):
            if isinstance(operator, ast.Pow) and abs(whole(right) or 0) > MAX_EXPONENT:
                raise _refusal(text, node, f"an exponent beyond {MAX_EXPONENT}")
            return _names(left, text, known) + _names(right, text, known)
        case ast.UnaryOp(ast.USub() | ast.UAdd(), operand):
            return _names(operand, text, known)
        case ast.Constant(int(value) | float(value)) if not isinstance(value, bool):
            if not abs(value) < _LARGEST:
                raise _refusal(text, node, "a number too large for float32")
            return []
        case ast.Name(name):
            if name not in known:
                raise _refusal(text, node, f"unknown band {name!r}; known: {', '.join(known)}")
            return [name]
        case ast.Call(ast.Name(name), args, []) if name in FUNCTIONS:
            if len(args) != FUNCTIONS[name]:
                raise _refusal(text, node, f"{name} takes {FUNCTIONS[name]} argument(s), found {len(args)}")
            return [band for argument in args for band in _names(argument, text, known)]
        case ast.Call(ast.Name(name)):
            raise _refusal(text, node, f"unknown function {name!r}; known: {', '.join(FUNCTIONS)}")
        case _:
            raise _refusal(text, node, f"{type(node).__name__} is not allowed in a formula")


def whole(node: ast.expr) -> int | None:
    """The whole number that an exponent spells (3, +3, -3, 3.0), else None: a negative value may be raised to it."""
    sign = 1
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign, node = (-sign if isinstance(node.op, ast.USub) else sign), node.operand
    match node:
        case ast.Constant(int(value) | float(value)) if abs(value) < _LARGEST and value == int(value):
            return sign * int(value)
        case _:
            return None
