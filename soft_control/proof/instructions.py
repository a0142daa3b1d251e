"""Tables of the instructions of a Cortex-M4F, by what they do (Armv7-M Architecture Manual, A7)."""

from __future__ import annotations

from collections.abc import Callable

from soft_control.proof.operands import SHIFTS
from soft_control.proof.values import signed

Binary = Callable[[int, int], int]

LOGIC: dict[str, Binary] = {
    "and": int.__and__,
    "orr": int.__or__,
    "eor": int.__xor__,
    "bic": lambda a, b: a & ~b,
    "orn": lambda a, b: a | ~b,
    "mul": int.__mul__,
    "udiv": lambda a, b: a // b if b else 0,
    "sdiv": lambda a, b: _quotient(signed(a), signed(b)),
    "smulbb": lambda a, b: _half(a) * _half(b),
    **SHIFTS,
}
UNARY: dict[str, Callable[[int], int]] = {
    "mov": lambda a: a,
    "movw": lambda a: a,
    "mvn": lambda a: ~a,
    "uxtb": lambda a: a & 0xFF,
    "uxth": lambda a: a & 0xFFFF,
    "sxtb": lambda a: (a & 0xFF ^ 0x80) - 0x80,
    "sxth": lambda a: (a & 0xFFFF ^ 0x8000) - 0x8000,
    "clz": lambda a: 32 - a.bit_length(),
    "rev": lambda a: int.from_bytes(a.to_bytes(4, "little"), "big"),
}
SUMS = ("add", "addw", "sub", "subw", "rsb", "neg", "adc", "sbc")
TESTS = ("cmp", "cmn", "tst", "teq")
LOADS = {"ldr": 4, "ldrb": 1, "ldrh": 2, "ldrsb": -1, "ldrsh": -2, "ldrd": 8}
STORES = {"str": 4, "strb": 1, "strh": 2, "strd": 8}
NOTHING = ("nop", "cpsid", "cpsie", "dsb", "isb", "dmb", "wfi", "wfe", "sev", "msr", "yield")
PRODUCT_SUMS: dict[str, Callable[[int, int, int], int]] = {
    "mla": lambda a, b, c: c + a * b,
    "mls": lambda a, b, c: c - a * b,
    "smlabb": lambda a, b, c: c + _half(a) * _half(b),
}
UNKNOWN_RESULT = {"mrs": 1, "sbfx": 1, "bfi": 1, "bfc": 1, "rbit": 1, "rev16": 1}
WIDE_PRODUCTS: dict[str, Binary] = {
    "umull": int.__mul__,
    "smull": lambda a, b: signed(a) * signed(b),
}
UNKNOWN_RESULT |= {"umlal": 2, "smlal": 2}
"""Instructions -> how many of their first operands are results, of which nothing is known."""
FLOAT_ARITHMETIC = (
    "vadd vsub vmul vnmul vdiv vsqrt vabs vneg vcvt vcvtr vfma vfms vfnma vfnms vmla vmls "
    "vnmla vnmls"
).split()
KNOWN = {
    *LOGIC,
    *UNARY,
    *SUMS,
    *TESTS,
    *LOADS,
    *STORES,
    *NOTHING,
    *UNKNOWN_RESULT,
    *FLOAT_ARITHMETIC,
}
KNOWN |= {
    *PRODUCT_SUMS,
    *WIDE_PRODUCTS,
    "ubfx",
    "ldmia",
    "ldmdb",
    "stmia",
    "stmdb",
    "push",
    "pop",
    "movt",
    "adr",
    "vcmp",
    "vcmpe",
    "vmrs",
}
KNOWN |= {"vmsr", "vmov", "vldr", "vstr", "vldmia", "vldmdb", "vstmia", "vstmdb", "vpush", "vpop"}


def _quotient(a: int, b: int) -> int:
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _half(a: int) -> int:
    return (a & 0xFFFF ^ 0x8000) - 0x8000
