"""Logarithms and powers that the compiler can vectorise, as it cannot the library's."""

from __future__ import annotations

from typing import Any

import numba as nb
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["exp2", "log2", "wide_vectors"]

# Bits of sqrt(1/2): what lies an octave above or below it differs by one in the exponent.
_SQRT_HALF = 0x3FE6A09E667F3BCD
# Added to a double below 2**51 it leaves the nearest integer in the lowest bits.
_ROUND = 6755399441055744.0
_LN_2 = 0.6931471805599453


@intrinsic
def _bits(_context: Any, _x: Any) -> Any:
    """Bits of a double as an integer."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _double(_context: Any, _x: Any) -> Any:
    """Double that has these bits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def wide_vectors(_context: Any) -> Any:
    """Let the function that calls this use vectors of 512 bits where there are any.

    The compiler prefers half of that unless told so, and is then slower.
    """

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        # Past llvmlite's list of attributes, which has none with a value.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@nb.njit(error_model="numpy", fastmath={"contract"})
def log2(x):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Octave plus the logarithm of what is left, by the series of ``2 atanh((m - 1) / (m + 1))``."""
    bits = _bits(x)  # type: ignore[call-arg, var-annotated]
    octave = (bits - _SQRT_HALF) >> 52
    m = _double(bits - (octave << 52))
    f = (m - 1.0) / (m + 1.0)
    # Terms in pairs of pairs: a chain of them would be waited for at every step.
    q = f * f
    q_2 = q * q
    low = 1 / 3 + q * (1 / 5) + q_2 * (1 / 7 + q * (1 / 9))
    high = 1 / 11 + q * (1 / 13) + q_2 * (1 / 15 + q * (1 / 17))
    return float(octave) + 2.0 / _LN_2 * f * (1.0 + q * (low + q_2 * q_2 * high))


@nb.njit(error_model="numpy", fastmath={"contract"})
def exp2(y):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Taylor series around the nearest integer, which goes into the exponent; 2**-1000 and less is that."""
    y = max(y, -1000.0)
    shifted = y + _ROUND
    r = (y - (shifted - _ROUND)) * _LN_2
    r_2 = r * r
    r_4 = r_2 * r_2
    low = 1.0 + r + r_2 * (1 / 2 + r * (1 / 6))
    middle = 1 / 24 + r * (1 / 120) + r_2 * (1 / 720 + r * (1 / 5040))
    high = 1 / 40320 + r * (1 / 362880) + r_2 * (1 / 3628800 + r * (1 / 39916800))
    bits = _bits(shifted)  # type: ignore[call-arg, var-annotated]
    return (low + r_4 * (middle + r_4 * high)) * _double((bits + 1023) << 52)
