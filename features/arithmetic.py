"""Scalar float32 operations of formulas: what is undefined is NaN, never infinite.

Most are written as instructions without a branch, so that the compiler turns a loop over pixels
into vectors; none is reassociated, so the bits do not depend on the vector's width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

F32 = np.float32
NAN = np.float32(np.nan)

_FLOAT = ir.FloatType()
_NAN = ir.Constant(_FLOAT, float("nan"))
_LARGEST = ir.Constant(_FLOAT, float(np.finfo(np.float32).max))


def _call(builder: Any, name: str, argument: Any) -> Any:
    function = builder.module.declare_intrinsic(f"llvm.{name}", [_FLOAT])
    return builder.call(function, [argument])


def _finite(builder: Any, value: Any) -> Any:
    small = builder.fcmp_ordered("<=", _call(builder, "fabs", value), _LARGEST)
    return builder.select(small, value, _NAN)


def _operation(result: Any, *, of: tuple[Any, ...], make: Any) -> Any:
    """Numba intrinsic of ``make(builder, *values)``."""
    if len(of) == 1:

        @intrinsic
        def operation(_context: Any, a: Any) -> Any:
            return result(*of), lambda context, builder, signature, values: make(builder, *values)

    else:

        @intrinsic
        def operation(_context: Any, a: Any, b: Any) -> Any:
            return result(*of), lambda context, builder, signature, values: make(builder, *values)

    return operation


def _divide(builder: Any, a: Any, b: Any) -> Any:
    return _finite(builder, builder.fdiv(a, b))


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    """The first where it is less or NaN, else the second: NaN comes through from either side."""
    return builder.select(builder.fcmp_unordered("<", a, b), builder.select(_nan(builder, b), b, a), b)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_unordered(">", a, b), builder.select(_nan(builder, b), b, a), b)


def _nan(builder: Any, a: Any) -> Any:
    return builder.fcmp_unordered("uno", a, a)


def _reflectance(builder: Any, number: Any) -> Any:
    """number / 10000 rounded to nearest without a division (Markstein 2000), NaN for 0."""
    value = builder.uitofp(number, _FLOAT)
    reciprocal = ir.Constant(_FLOAT, float(np.float32(1e-4)))
    quotient = builder.fmul(value, reciprocal)
    remainder = builder.fma(quotient, ir.Constant(_FLOAT, -10000.0), value)
    exact = builder.fma(remainder, reciprocal, quotient)
    seen = builder.icmp_unsigned("!=", number, ir.Constant(number.type, 0))
    return builder.select(seen, exact, _NAN)


def _scaled(builder: Any, value: Any) -> Any:
    """round(value * 10000) as int16, held within -32767 and 32767; -32768 for NaN."""
    number = builder.fmul(value, ir.Constant(_FLOAT, 10000.0))
    for sign, edge in (("<", 32767.0), (">", -32767.0)):
        held = builder.fcmp_ordered(sign, number, ir.Constant(_FLOAT, edge))
        number = builder.select(held, number, ir.Constant(_FLOAT, edge))
    nearest = _call(builder, "rint", number)
    whole = builder.trunc(builder.fptosi(nearest, ir.IntType(32)), ir.IntType(16))
    return builder.select(_nan(builder, value), ir.Constant(ir.IntType(16), -32768), whole)


finite = _operation(types.float32, of=(types.float32,), make=_finite)
divide = _operation(types.float32, of=(types.float32, types.float32), make=_divide)
smaller = _operation(types.float32, of=(types.float32, types.float32), make=_smaller)
larger = _operation(types.float32, of=(types.float32, types.float32), make=_larger)
#: NaN for a negative radicand, as the hardware has it.
square_root = _operation(
    types.float32, of=(types.float32,), make=lambda builder, a: _call(builder, "sqrt", a)
)
magnitude = _operation(types.float32, of=(types.float32,), make=lambda builder, a: _call(builder, "fabs", a))
reflectance = _operation(types.float32, of=(types.uint16,), make=_reflectance)
scaled = _operation(types.int16, of=(types.float32,), make=_scaled)
#: ``where(rule, value)``: the value where the rule holds, else NaN.
where = _operation(
    types.float32,
    of=(types.boolean, types.float32),
    make=lambda builder, rule, value: builder.select(rule, value, _NAN),
)


@njit(nogil=True)
def power(a, b):  # type: ignore[no-untyped-def]
    """a to a broken power b: defined for positive a, and for 0 where b is positive."""
    return finite(F32(a**b)) if a > F32(0.0) or (a == F32(0.0) and b > F32(0.0)) else NAN


@njit(nogil=True)
def exponential(a):  # type: ignore[no-untyped-def]
    return finite(F32(math.exp(a)))


@njit(nogil=True)
def logarithm(a):  # type: ignore[no-untyped-def]
    """Natural logarithm, NaN for what is not positive."""
    return F32(math.log(a)) if a > F32(0.0) else NAN
