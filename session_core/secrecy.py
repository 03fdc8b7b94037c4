"""Values that carry secrets and never show them."""

from __future__ import annotations

from typing import Any

import msgspec


class Discreet(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen value whose repr, also the one of rich tracebacks, names only the fields `shown` lists."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.shown()]

    def shown(self) -> tuple[str, ...]:
        """The fields fit to be seen; none unless a class says so."""
        return ()
