"""Checked formulas -> lines of scalar float32 code in which every subexpression is computed once."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence

from features.formula import whole

#: Operations that the compiler cannot turn into vectors: one would slow down all that shares its loop.
_SLOW = frozenset({"power", "exponential", "logarithm"})
_CALLS = {
    "sqrt": "square_root",
    "abs": "magnitude",
    "exp": "exponential",
    "log": "logarithm",
    "min": "smaller",
    "max": "larger",
}
_SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.And: "&",
    ast.Or: "|",
}


class Graph:
    """Operations on bands and numbers, each kept once: equal subexpressions are one node.

    A node is a number; its operands have smaller ones.
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, tuple[int, ...]], int] = {}
        self._keys: list[tuple[str, tuple[int, ...]]] = []
        self._slow: list[bool] = []

    def value(self, text: str, window: str | None = None) -> int:
        """Node of a checked formula, NaN where the checked rule ``window`` does not hold."""
        value = self._arithmetic(ast.parse(text, mode="eval").body)
        if window is None:
            return value
        compared: list[int] = []
        holds = self._condition(ast.parse(window, mode="eval").body, compared)
        for side in dict.fromkeys(compared):
            if not self._keys[side][0].startswith("f32("):
                holds = self._add("&", holds, self._add("==", side, side))
        return self._add("where", holds, value)

    def slow(self, node: int) -> bool:
        """True where the loop that computes it cannot be turned into vectors."""
        return self._slow[node]

    def lines(self, nodes: Sequence[int], names: Sequence[str]) -> list[str]:
        """Statements that assign the finite values of ``nodes`` to ``names``, shared operands first."""
        uses = Counter(nodes)
        for node in range(max(nodes), -1, -1):
            if uses[node]:
                uses.update(self._keys[node][1])
        code: dict[int, str] = {}
        found: list[str] = []
        for node in (node for node in range(max(nodes) + 1) if uses[node]):
            operation, operands = self._keys[node]
            code[node] = _code(operation, [code[operand] for operand in operands])
            if operands and uses[node] > 1:
                found.append(f"s{node} = {code[node]}")
                code[node] = f"s{node}"
        for node, name in zip(nodes, names, strict=True):
            # What a division gives is finite or NaN already.
            plain = self._keys[node][0] == "divide"
            found.append(f"{name} = {code[node]}" if plain else f"{name} = finite({code[node]})")
        return found

    def _add(self, operation: str, *operands: int) -> int:
        # Sums and products have the same bits in both orders.
        key = (operation, tuple(sorted(operands)) if operation in "+*" else operands)
        if key not in self._nodes:
            self._nodes[key] = len(self._keys)
            self._keys.append(key)
            self._slow.append(operation in _SLOW or any(self._slow[o] for o in operands))
        return self._nodes[key]

    def _number(self, value: float) -> int:
        return self._add(f"f32({float(value)!r})")

    def _arithmetic(self, tree: ast.expr) -> int:
        match tree:
            case ast.BinOp(left, ast.Div(), right):
                return self._add("divide", self._arithmetic(left), self._arithmetic(right))
            case ast.BinOp(left, ast.Pow(), right):
                return self._power(self._arithmetic(left), right)
            case ast.BinOp(left, operator, right):
                return self._add(_SIGNS[type(operator)], self._arithmetic(left), self._arithmetic(right))
            case ast.UnaryOp(ast.USub(), operand):
                return self._add("negative", self._arithmetic(operand))
            case ast.UnaryOp(_, operand):
                return self._arithmetic(operand)
            case ast.Constant(int(value) | float(value)):
                return self._number(value)
            case ast.Name(name):
                return self._add(name)
            case ast.Call(ast.Name(name), args, _):
                return self._add(_CALLS[name], *(self._arithmetic(argument) for argument in args))
            case _:  # formula.parse lets nothing else through
                raise AssertionError(ast.dump(tree))

    def _power(self, base: int, exponent: ast.expr) -> int:
        times = whole(exponent)
        if times is None:
            if isinstance(exponent, ast.Constant) and exponent.value == 0.5:
                return self._add("square_root", base)
            return self._add("power", base, self._arithmetic(exponent))
        if times == 0:  # 1, but NaN where the base is
            return self._add("+", self._add("-", base, base), self._number(1))
        value = self._product(base, abs(times))
        return value if times > 0 else self._add("divide", self._number(1), value)

    def _product(self, base: int, times: int) -> int:
        """base ** times by repeated squares."""
        if times == 1:
            return base
        half = self._product(base, times // 2)
        square = self._add("*", half, half)
        return self._add("*", square, base) if times % 2 else square

    def _condition(self, tree: ast.expr, compared: list[int]) -> int:
        match tree:
            case ast.BoolOp(operator, values):
                parts = [self._condition(value, compared) for value in values]
                return self._joined(_SIGNS[type(operator)], parts)
            case ast.UnaryOp(_, operand):
                return self._add("not", self._condition(operand, compared))
            case ast.Compare(left, operators, right):
                sides = [self._arithmetic(side) for side in (left, *right)]
                compared += sides
                pairs = zip(operators, sides, sides[1:], strict=False)
                return self._joined("&", [self._add(_SIGNS[type(o)], a, b) for o, a, b in pairs])
            case _:  # formula.rule lets nothing else through
                raise AssertionError(ast.dump(tree))

    def _joined(self, sign: str, parts: Sequence[int]) -> int:
        whole_rule = parts[0]
        for part in parts[1:]:
            whole_rule = self._add(sign, whole_rule, part)
        return whole_rule


def _code(operation: str, operands: Sequence[str]) -> str:
    if operation == "negative":
        return f"(-{operands[0]})"
    if operation == "not":
        return f"(not {operands[0]})"
    if operation in (*_SIGNS.values(), "=="):
        return f"({operands[0]} {operation} {operands[1]})"
    return f"{operation}({', '.join(operands)})" if operands else operation
