"""Lengths of time as people write them: "8h", "58m30s", "250ms"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

_UNITS_S: Mapping[str, float] = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(d|h|ms|m|s)")
_WHOLE = re.compile(rf"\s*(-?)((?:{_PART.pattern}\s*)+)")


def read_duration(text: str) -> float:
    """Seconds. Raises ValueError with a sentence that shows how to write one."""
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        raise ValueError(f'{text!r} is not a length of time; write it like "8h", "58m30s" or "250ms"')
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(whole[2]))
    return -seconds if whole[1] else seconds


def write_duration(seconds: float) -> str:
    """As `read_duration` reads it: the very same number comes back."""
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    said = ""
    for unit in ("h", "m"):
        whole, left = divmod(left, _UNITS_S[unit])
        said += f"{whole:.0f}{unit}" if whole else ""
    said = sign + (said + (f"{_plain(left)}s" if left else "") or "0s")
    return said if read_duration(said) == seconds else f"{sign}{_plain(abs(seconds))}s"


def _plain(number: float) -> str:
    """Without an exponent, and to the last bit."""
    return format(Decimal(repr(number)), "f").removesuffix(".0")
