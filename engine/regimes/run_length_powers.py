"""Powers in a form that the compiler can vectorise: it has no vector version of the library's logarithm."""

from __future__ import annotations

from typing import Any

import numba as nb
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["power"]

_TWO_52 = 4503599627370496.0
# Added to a double below 2**51 it leaves the nearest integer in the lowest bits.
_ROUND = 6755399441055744.0
_LN_2 = 0.6931471805599453
_SQRT_2 = 1.4142135623730951


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


@nb.njit(error_model="numpy", fastmath={"contract"})
def _log2(x):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Exponent plus the logarithm of the mantissa m, by the series of ``2 atanh((m - 1) / (m + 1))``."""
    bits = _bits(x)  # type: ignore[call-arg, var-annotated]
    exponent = _double(((bits >> 52) & 0x7FF) | 0x4330000000000000) - _TWO_52 - 1023.0
    mantissa = _double((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000)
    large = mantissa > _SQRT_2
    mantissa = 0.5 * mantissa if large else mantissa
    exponent = exponent + 1.0 if large else exponent
    f = (mantissa - 1.0) / (mantissa + 1.0)
    q = f * f
    series = 1 / 15 + q * (1 / 17 + q * (1 / 19 + q * (1 / 21)))
    series = 1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q * series)))
    series = 1.0 + q * (1 / 3 + q * (1 / 5 + q * series))
    return exponent + 2.0 / _LN_2 * f * series


@nb.njit(error_model="numpy", fastmath={"contract"})
def _exp2(y):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Taylor series around the nearest integer, which goes into the exponent; 2**-1000 and less is that."""
    y = max(y, -1000.0)
    shifted = y + _ROUND
    r = (y - (shifted - _ROUND)) * _LN_2
    series = 1 / 362880 + r * (1 / 3628800 + r * (1 / 39916800 + r * (1 / 479001600)))
    series = 1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * (1 / 40320 + r * series)))
    series = 1.0 + r * (1.0 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * series))))
    bits = _bits(shifted)  # type: ignore[call-arg, var-annotated]
    return series * _double((bits + 1023) << 52)


@nb.njit(error_model="numpy", fastmath={"contract"})
def power(base, exponent):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Raise a base of at least 1 to a power of at most 0; a result below 2**-1000 is that."""
    return _exp2(exponent * _log2(base))
