"""Formula text -> checked expression -> source of scalar float32 code. Nothing is ever evaluated."""

from __future__ import annotations

import ast
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

    @property
    def code(self) -> str:
        """Scalar float32 expression over variables named as the bands (see ``kernel``)."""
        return _code(ast.parse(self.text, mode="eval").body)


def parse(text: str) -> Formula:
    """Check formula ``text`` against the whitelist.

    Allowed: numbers, band names, ``+ - * / **``, parentheses, and ``sqrt abs exp log min max``.
    Raises FormulaError naming the place for anything else, for unknown bands, for a formula
    without bands, and for one that mixes sensors (their dates do not match).
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"formula of {len(text)} characters; at most {MAX_LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f" at column {error.offset}" if isinstance(error, SyntaxError) else ""
        raise FormulaError(f"formula {text!r} does not parse{place}") from None
    _measure(tree, text)
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


def _names(node: ast.expr, text: str) -> list[str]:
    """Band names under ``node``; refuses every construct that is not on the whitelist."""

    def refuse(what: str) -> FormulaError:
        return FormulaError(f"formula {text!r}, column {node.col_offset + 1}: {what}")

    match node:
        case ast.BinOp(left, operator, right) if isinstance(operator, _OPERATORS):
            if isinstance(operator, ast.Pow) and abs(_whole(right) or 0) > MAX_EXPONENT:
                raise refuse(f"an exponent beyond {MAX_EXPONENT}")
            return _names(left, text) + _names(right, text)
        case ast.UnaryOp(ast.USub() | ast.UAdd(), operand):
            return _names(operand, text)
        case ast.Constant(int(value) | float(value)) if not isinstance(value, bool):
            if not abs(value) < _LARGEST:
                raise refuse("a number too large for float32")
            return []
        case ast.Name(name):
            if name not in BANDS:
                raise refuse(f"unknown band {name!r}; known: {', '.join(BANDS)}")
            return [name]
        case ast.Call(ast.Name(name), args, []) if name in FUNCTIONS:
            if len(args) != FUNCTIONS[name]:
                raise refuse(f"{name} takes {FUNCTIONS[name]} argument(s), found {len(args)}")
            return [band for argument in args for band in _names(argument, text)]
        case ast.Call(ast.Name(name)):
            raise refuse(f"unknown function {name!r}; known: {', '.join(FUNCTIONS)}")
        case _:
            raise refuse(f"{type(node).__name__} is not allowed in a formula")


def _whole(node: ast.expr) -> int | None:
    """The whole number that an exponent spells (3, +3, -3, 3.0), else None: a negative value may be raised to it."""
    sign = 1
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign, node = (-sign if isinstance(node.op, ast.USub) else sign), node.operand
    match node:
        case ast.Constant(int(value) | float(value)) if abs(value) < _LARGEST and value == int(value):
            return sign * int(value)
        case _:
            return None


def _code(node: ast.expr) -> str:
    """float32 code of a checked tree; constants are float32, so nothing widens to float64."""
    match node:
        case ast.BinOp(left, ast.Div(), right):
            return f"divide({_code(left)}, {_code(right)})"
        case ast.BinOp(left, ast.Pow(), ast.Constant(2)):
            return f"square({_code(left)})"
        case ast.BinOp(left, ast.Pow(), right):
            exponent = _whole(right)
            if exponent is None:
                return f"power({_code(left)}, {_code(right)})"
            power = f"whole_power({_code(left)}, {abs(exponent)})"
            return power if exponent >= 0 else f"divide(f32(1.0), {power})"
        case ast.BinOp(left, operator, right):
            sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(operator)]
            return f"({_code(left)} {sign} {_code(right)})"
        case ast.UnaryOp(ast.USub(), operand):
            return f"(-{_code(operand)})"
        case ast.UnaryOp(_, operand):
            return _code(operand)
        case ast.Constant(int(value) | float(value)):
            return f"f32({float(value)!r})"
        case ast.Name(name):
            return name
        case ast.Call(ast.Name(name), args, _):
            return f"{_NAMES[name]}({', '.join(_code(argument) for argument in args)})"
        case _:  # parse() lets nothing else through
            raise AssertionError(ast.dump(node))


_NAMES = {
    "sqrt": "square_root",
    "abs": "abs",
    "exp": "exponential",
    "log": "logarithm",
    "min": "smaller",
    "max": "larger",
}
