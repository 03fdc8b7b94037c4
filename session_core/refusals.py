"""Why something is no event, in words for whoever sent it. They repeat no value, and a name only if it is like one of ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from enum import EnumMeta
from typing import get_args

import msgspec

from session_core.incoming import FACTS, IncomingOrigin

ENVELOPE = frozenset({"seq", "happened_at", "monotonic", "boot"})
ORIGIN = frozenset(IncomingOrigin.__struct_fields__)
NAMES_TOLD_MAX = 40
# RFC 7519: a JWT begins with the Base64url of '{"'. RFC 6750: what follows "Bearer" is a token.
SECRET = re.compile(r"eyJ[\w-]{10,}|\bbearer\s+\S{8,}", re.IGNORECASE)

_NAME = re.compile(r"[A-Za-z_]\w{0,39}", re.ASCII)
_PATH = re.compile(r"(?P<what>.*?) - at `\$\.?(?P<where>[a-z_.]*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`")
_TYPES = re.compile(r"`([a-z| ]+)`")
_TYPE_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}


class RefusedError(ValueError):
    """Why one event is refused, without the full stop."""


def sentence(words: str) -> str:
    return words if words.endswith("?") else f"{words}."


def not_json(error: Exception) -> str:
    """`error` is what decoding raised."""
    if isinstance(error, UnicodeDecodeError):
        return "the text is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if "truncated" in str(error):
        return "the text ends in the middle of its JSON"
    return f"this is not JSON: {str(error).removeprefix('JSON is malformed: ').partition(' - at ')[0]}"


def no_event(said: str, plain: object) -> str:
    """What keeps `plain` from being an event; `said` is msgspec's word for it."""
    return next(_unknown_names(plain), None) or _wrong_value(said, plain)


def unknown(owner: str, given: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Each name that `owner` does not have, with the nearest that it has."""
    for name in given:
        if name not in known:
            yield f"{owner} has no {shown(name) or 'such field'}; {_nearest(name, known)}"


def shown(name: str) -> str:
    """The name in quotes, or nothing: it is the sender's own text."""
    return f"“{name}”" if _NAME.fullmatch(name) and not SECRET.search(name) else ""


def _unknown_names(plain: object) -> Iterator[str]:
    if not isinstance(plain, dict):
        return
    yield from unknown("an event", plain, ENVELOPE | {"origin", "fact"})
    if isinstance(origin := plain.get("origin"), dict):
        yield from unknown("origin", origin, ORIGIN)
    if not isinstance(fact := plain.get("fact"), dict) or not isinstance(kind := fact.get("kind"), str):
        return
    if kind in FACTS:
        yield from unknown(kind, fact, {"kind", *FACTS[kind].__struct_fields__})
    else:
        known = f"kind {name}" if (name := shown(kind)) else "such kind"
        yield f"there is no {known}; {_nearest(kind, FACTS)}"


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name[:80], names, n=1)
    if close:
        return f"did you mean “{close[0]}”?"
    return f"known are {', '.join(names)}" if len(names) <= NAMES_TOLD_MAX else "docs/ingest.md lists what there is"


def _wrong_value(said: str, plain: object) -> str:
    found = _PATH.fullmatch(said)
    what, where = (found["what"], found["where"]) if found else (said, "")
    if missing := _MISSING.fullmatch(what):
        return f"{missing['name']} is missing"
    name = where.rpartition(".")[2] or "an event"
    if what.startswith("Expected "):
        return (
            f"{name} must be {_TYPES.sub(_type_in_words, what.removeprefix('Expected ')).replace(', got ', ', not ')}"
        )
    if what.startswith("Invalid enum value"):
        return f"{name} must be one of {', '.join(_words(plain, name)) or 'the words of its kind'}"
    return f"{name} is out of range"


def _type_in_words(found: re.Match[str]) -> str:
    return " or ".join(_TYPE_WORDS.get(name, name) for name in found[1].split(" | "))


def _words(plain: object, name: str) -> Iterator[str]:
    """The words that this field of this fact may be; none where a name is there twice and the two do not agree."""
    match plain:
        case {"fact": {"kind": str(kind)}} if kind in FACTS:
            types = [field.type for field in msgspec.structs.fields(FACTS[kind]) if field.name == name]
        case _:
            types = []
    for option in [option for kind in types for option in get_args(kind) or (kind,)]:
        if isinstance(option, EnumMeta):
            yield from map(str, option)
