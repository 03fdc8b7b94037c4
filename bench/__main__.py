"""Lists the benchmarks, or runs one: `python -m bench NAME [arguments]`. The last line is one JSON object."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator

import bench

USAGE = "python -m bench NAME [arguments]"


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_"))


def listing() -> Iterator[str]:
    width = max(map(len, names()))
    for name in names():
        summary = (importlib.import_module(f"bench.{name}").__doc__ or "").strip().partition("\n")[0]
        yield f"{name:<{width}}  {summary}"


def main(arguments: list[str]) -> int:
    """0 when the bar is met, 1 when not, 2 on bad usage."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(*listing(), "", USAGE, sep="\n")
        return 0
    name, *rest = arguments
    if name not in names():
        print(f"There is no benchmark {name!r}; known are {', '.join(names())}.", file=sys.stderr)
        return 2
    result = importlib.import_module(f"bench.{name}").measure(rest)
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
