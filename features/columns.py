"""Reductions over the dates of 16 pixels at a time, held in registers.

Written as vector instructions: accumulators that a loop over dates keeps in memory cost three times
as much. All take flat float32 rows, NaN = unseen: the value of date t lies at ``first + t * width``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
_INT = ir.IntType(64)
_FLOATS, _DOUBLES, _WHOLES = (
    ir.VectorType(kind, LANES) for kind in (ir.FloatType(), ir.DoubleType(), ir.IntType(32))
)


def all_lanes(kind: Any, value: float) -> Any:
    """Constant vector."""
    return ir.Constant(kind, [value] * LANES)


def spread(builder: Any, scalar: Any, kind: Any) -> Any:
    """Vector with ``scalar`` in every lane."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, all_lanes(_WHOLES, 0))


class Rows:
    """A numba array in generated code, read and written by vectors."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.builder = builder
        self.data = context.make_array(kind)(context, builder, value).data
        self.item = kind.dtype.bitwidth // 8
        self.vector = ir.VectorType(context.get_data_type(kind.dtype), LANES)

    def _place(self, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self.data, [index]), self.vector.as_pointer())

    def load(self, index: Any) -> Any:
        return self.builder.load(self._place(index), align=self.item)

    def store(self, vector: Any, index: Any) -> None:
        self.builder.store(vector, self._place(index), align=self.item)


def seen(builder: Any, vector: Any) -> Any:
    return builder.fcmp_ordered("ord", vector, vector)


def over_dates(
    builder: Any, rows: Rows, first: Any, width: Any, dates: Any, use: Callable[[Any, Any], None]
) -> None:
    """Loop that calls ``use(t, values)``."""
    with cgutils.for_range(builder, dates) as loop:
        use(loop.index, rows.load(builder.add(first, builder.mul(loop.index, width))))


@intrinsic
def count(_context: Any, values: Any, first: Any, width: Any, dates: Any, target: Any, place: Any) -> Any:
    """Seen dates of 16 pixels, to int32 ``target``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, result = (Rows(context, builder, signature.args[k], arguments[k]) for k in (0, 4))
        total = cgutils.alloca_once_value(builder, all_lanes(_WHOLES, 0))

        def use(_: Any, vector: Any) -> None:
            one = builder.zext(seen(builder, vector), _WHOLES)
            builder.store(builder.add(builder.load(total), one), total)

        over_dates(builder, source, *arguments[1:4], use)
        result.store(builder.load(total), arguments[5])
        return context.get_dummy_value()

    return types.void(values, first, width, dates, target, place), generate


@intrinsic
def moments(
    _context: Any, values: Any, first: Any, width: Any, dates: Any, mean: Any, spread_: Any, place: Any
) -> Any:
    """Mean and population variance of 16 pixels, to float64 arrays; NaN for the never seen.

    One pass over distances from the first seen value: as that is one of the sample, no more than the
    number of dates cancels.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, means, variances = (
            Rows(context, builder, signature.args[k], arguments[k]) for k in (0, 4, 5)
        )
        zero = all_lanes(_DOUBLES, 0.0)
        number, total, squares = (cgutils.alloca_once_value(builder, zero) for _ in range(3))
        origin = cgutils.alloca_once_value(builder, zero)

        def use(_: Any, vector: Any) -> None:
            ok, value = seen(builder, vector), builder.fpext(vector, _DOUBLES)
            sofar = builder.load(number)
            fresh = builder.and_(ok, builder.fcmp_ordered("==", sofar, zero))
            start = builder.select(fresh, value, builder.load(origin))
            apart = builder.select(ok, builder.fsub(value, start), zero)
            builder.store(start, origin)
            builder.store(builder.fadd(sofar, builder.select(ok, all_lanes(_DOUBLES, 1.0), zero)), number)
            builder.store(builder.fadd(builder.load(total), apart), total)
            builder.store(builder.fadd(builder.load(squares), builder.fmul(apart, apart)), squares)

        over_dates(builder, source, *arguments[1:4], use)
        n = builder.load(number)  # 0 / 0 is the NaN of the never seen
        shift = builder.fdiv(builder.load(total), n)
        variance = builder.fsub(builder.fdiv(builder.load(squares), n), builder.fmul(shift, shift))
        negative = builder.fcmp_ordered("<", variance, zero)
        means.store(builder.fadd(builder.load(origin), shift), arguments[6])
        variances.store(builder.select(negative, zero, variance), arguments[6])
        return context.get_dummy_value()

    return types.void(values, first, width, dates, mean, spread_, place), generate


@intrinsic
def percentile(
    _context: Any, ordered: Any, rows: Any, width: Any, seen_: Any, rank: Any, target: Any, place: Any
) -> Any:
    """Linear percentile (Hyndman & Fan 1996, type 7) of 16 pixels from rising rows, to float32 ``target``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, counts, result = (Rows(context, builder, signature.args[k], arguments[k]) for k in (0, 3, 5))
        n = counts.load(arguments[6])
        none = builder.icmp_signed("==", n, all_lanes(_WHOLES, 0))
        last = builder.select(none, n, builder.sub(n, all_lanes(_WHOLES, 1)))
        exact = builder.fmul(spread(builder, arguments[4], _DOUBLES), builder.sitofp(last, _DOUBLES))
        low = builder.fptosi(exact, _WHOLES)
        part = builder.fsub(exact, builder.sitofp(low, _DOUBLES))
        high = builder.add(low, all_lanes(_WHOLES, 1))
        bottom, top = (cgutils.alloca_once_value(builder, all_lanes(_FLOATS, 0.0)) for _ in range(2))

        def use(row: Any, vector: Any) -> None:
            here = spread(builder, builder.trunc(row, ir.IntType(32)), _WHOLES)
            for wanted, kept in ((low, bottom), (high, top)):
                chosen = builder.icmp_signed("==", wanted, here)
                builder.store(builder.select(chosen, vector, builder.load(kept)), kept)

        over_dates(builder, source, arguments[6], arguments[2], arguments[1], use)
        below, above = (builder.fpext(builder.load(kept), _DOUBLES) for kept in (bottom, top))
        between = builder.fadd(below, builder.fmul(part, builder.fsub(above, below)))
        value = builder.select(builder.fcmp_ordered("==", part, all_lanes(_DOUBLES, 0.0)), below, between)
        narrow = builder.select(none, all_lanes(_FLOATS, float("nan")), builder.fptrunc(value, _FLOATS))
        result.store(narrow, arguments[6])
        return context.get_dummy_value()

    return types.void(ordered, rows, width, seen_, rank, target, place), generate


@intrinsic
def prefetch(_context: Any, values: Any, place: Any) -> Any:
    """Bring the cache line of an item near before it is asked; the place may lie beyond the array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte = ir.IntType(8).as_pointer()
        kinds = [byte, ir.IntType(32), ir.IntType(32), ir.IntType(32)]
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0i8"
        )
        hints = [ir.Constant(ir.IntType(32), hint) for hint in (0, 2, 1)]  # to read, keep in L2, data
        builder.call(function, [builder.bitcast(builder.gep(data, [arguments[1]]), byte), *hints])
        return context.get_dummy_value()

    return types.void(values, place), generate


#: Bytes of a line of the cache.
_LINE = 64
_LINE_OF_WORDS = ir.VectorType(ir.IntType(32), _LINE // 4)


@intrinsic
def _store_line(_context: Any, source: Any, target: Any, place: Any) -> Any:
    """Copy ``_LINE`` bytes from item ``place`` on, to memory without a detour by the cache; the target is aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, end = (
            builder.bitcast(
                builder.gep(context.make_array(kind)(context, builder, array).data, [arguments[2]]),
                _LINE_OF_WORDS.as_pointer(),
            )
            for kind, array in zip(signature.args[:2], arguments[:2], strict=True)
        )
        store = builder.store(
            builder.load(start, align=signature.args[0].dtype.bitwidth // 8), end, align=_LINE
        )
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(source, target, place), generate


@intrinsic
def fence(_context: Any) -> Any:
    """What was stored before is seen by whoever sees what is stored after."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@njit(nogil=True)
def past_cache(row, target):  # type: ignore[no-untyped-def]
    """Copy the first items of ``row`` to a contiguous ``target`` too large to be found in a cache afterwards."""
    items, n = _LINE // row.itemsize, target.shape[0]
    first = min(-(target.ctypes.data // row.itemsize) % items, n)
    last = n - (n - first) % items
    for i in range(first):
        target[i] = row[i]
    for i in range(first, last, items):
        _store_line(row, target, i)
    for i in range(last, n):
        target[i] = row[i]
