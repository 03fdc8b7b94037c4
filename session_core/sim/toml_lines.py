"""On which line of a TOML text something stands, so that an error can name it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEADER = re.compile(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?\s*")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL)


def line_of(text: str, key: str, place: int | None = None, word: str | None = None) -> int:
    """The line of top-level `key`, of its element number `place`, and there of `word`; 1 where it is not found."""
    bare = _STRING.sub(_blank, text)
    starts = list(_starts(bare, key))
    if place is not None and starts and not _HEADER.match(bare, starts[0]):
        starts = list(_elements(bare, starts[0]))
    if not starts:
        return 1
    at = starts[min(place or 0, len(starts) - 1)]
    if word is not None and (found := re.compile(rf"(?<![\w-]){re.escape(word)}\s*=").search(bare, at)):
        at = found.start()
    return bare.count("\n", 0, at) + 1


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _starts(bare: str, key: str) -> Iterator[int]:
    """Where `key = …` stands outside every table and bracket, and each `[key]` or `[[key]]` header."""
    depth = offset = 0
    inside = ""
    for line in bare.splitlines(keepends=True):
        header = _HEADER.fullmatch(line) if depth == 0 else None
        if header is not None:
            inside = header[1]
            if inside == key:
                yield offset
        else:
            named = _KEY.match(line) if depth == 0 and not inside else None
            if named is not None and named[1] == key:
                yield offset
            depth += sum(map(line.count, "[{")) - sum(map(line.count, "]}"))
        offset += len(line)


def _elements(bare: str, at: int) -> Iterator[int]:
    """Where each table of the array after `at` begins."""
    depth = 0
    for offset in range(bare.find("=", at) + 1, len(bare)):
        if bare[offset] == "{" and depth == 1:
            yield offset
        depth += (bare[offset] in "[{") - (bare[offset] in "]}")
        if depth == 0 and bare[offset] in "]}":
            return
