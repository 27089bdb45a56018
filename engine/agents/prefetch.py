"""Ask for a cache line before it is needed, from compiled code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

__all__ = ["prefetch"]

_READ, _KEEP_IN_ALL_CACHES, _DATA = 0, 3, 1


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        int32 = ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        law = ir.FunctionType(ir.VoidType(), [address.type, int32, int32, int32])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [address.type], law)
        builder.call(instruction, [address, int32(_READ), int32(_KEEP_IN_ALL_CACHES), int32(_DATA)])
        return context.get_dummy_value()

    return types.void(array, index), generate


prefetch: Any = intrinsic(_prefetch)
"""`prefetch(array, index)`: start to load the line with `array[index]` of a 1-d contiguous array."""
