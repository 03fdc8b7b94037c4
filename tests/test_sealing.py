"""What is sealed opens where it belongs and with its key, and keys come from the environment or a private file."""

from __future__ import annotations

import base64
import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import keys

from session_core.errors import ConfigError
from session_core.sealing import (
    KEY_VARIABLE,
    SealBrokenError,
    Sealed,
    SealKeyMissingError,
    keys_from,
    make_key_file,
    read_key_file,
    read_keys,
)

ROOT = Path(__file__).parents[1]
PLACE = b"session 7"


def seal(plain: bytes = b"tokens", context: bytes = PLACE, *, letters: str = "a") -> Sealed:
    return keys(*letters).seal(plain, context, entropy=secrets.token_bytes)


@given(plain=st.binary(max_size=300), context=st.binary(max_size=40))
def test_what_was_sealed_opens_in_its_place(plain: bytes, context: bytes) -> None:
    """Whatever it is."""
    assert keys("a").open(seal(plain, context), context) == plain


@given(plain=st.binary(min_size=12, max_size=200), other=st.binary(max_size=20))
def test_it_opens_nowhere_else(plain: bytes, other: bytes) -> None:
    """And the box holds nothing of what is in it."""
    sealed = seal(plain)
    assert plain not in sealed.box
    if other != PLACE:
        with pytest.raises(SealBrokenError):
            keys("a").open(sealed, other)


@given(at=st.integers(0, 33), bit=st.integers(0, 7))
def test_a_bit_that_was_turned_is_noticed(at: int, bit: int) -> None:
    """In the nonce, the ciphertext and the tag."""
    name, box = seal()
    turned = bytearray(box)
    turned[at] ^= 1 << bit
    with pytest.raises(SealBrokenError):
        keys("a").open(Sealed(name, bytes(turned)), PLACE)


@pytest.mark.parametrize("length", [0, 5, 11, 12, 27, 33])
def test_a_box_that_was_cut_short_is_broken(length: int) -> None:
    """Also where not even the nonce is left."""
    name, box = seal()
    with pytest.raises(SealBrokenError):
        keys("a").open(Sealed(name, box[:length]), PLACE)


def test_the_same_is_never_sealed_the_same_way() -> None:
    """A nonce is drawn for each write."""
    assert len({seal().box for _ in range(100)}) == 100


def test_a_nonce_that_comes_twice_gives_nothing_away() -> None:
    """Each place has a key of its own, so no two records share a key stream."""
    one, two = (keys("a").seal(bytes(32), place, entropy=bytes).box[12:44] for place in (b"session 7", b"session 8"))
    assert one != two


def test_the_first_key_seals_and_all_of_them_open() -> None:
    """So a key can be replaced while what it sealed is still in use."""
    old, both, new = keys("a"), keys("b", "a"), keys("b")
    sealed = seal(letters="a")
    assert both.open(sealed, PLACE) == b"tokens"
    assert both.seal(b"", PLACE, entropy=secrets.token_bytes).key_name == new.newest != old.newest
    with pytest.raises(SealKeyMissingError, match=KEY_VARIABLE):
        new.open(sealed, PLACE)


def test_a_damaged_key_name_does_not_lose_the_record() -> None:
    """Its key is found by trying."""
    assert keys("b", "a").open(Sealed(b"damaged!", seal().box), PLACE) == b"tokens"


def test_a_key_ring_shows_no_key() -> None:
    """Nor any part of one."""
    assert repr(keys("a")) == "Keyring()"
    assert repr(keys("a").keys[0]) == "SealingKey()"


def test_keys_come_from_the_environment() -> None:
    """In either alphabet of base64, newest first, divided by commas or white space."""
    one, two = secrets.token_bytes(32), bytes([255] * 32)
    text = f"{base64.urlsafe_b64encode(one).decode()} ,\n {base64.b64encode(two).decode().rstrip('=')}"
    ring = keys_from({KEY_VARIABLE: text})
    assert ring is not None
    assert [key.secret for key in ring.keys] == [one, two]
    assert keys_from({}) is None


@pytest.mark.parametrize("text", ["", " , ", "short", "a" * 42, "a" * 44, "a" * 43 + " b$" + "c" * 41])
def test_a_key_that_is_none_is_refused_without_being_shown(text: str) -> None:
    """The sentence says how to make one."""
    with pytest.raises(ConfigError, match=r"token_urlsafe\(32\)") as caught:
        keys_from({KEY_VARIABLE: text})
    assert KEY_VARIABLE in str(caught.value)
    assert not any(word in str(caught.value) for word in ("short", "aaa", "b$", "ccc"))


def test_a_key_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """And read again; nothing else is left beside it."""
    path = tmp_path / "sessions.db.key"
    assert read_key_file(path) is None
    ring = make_key_file(path, entropy=secrets.token_bytes)
    assert read_key_file(path) == ring
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    """Whoever comes second takes the first one's key."""
    path = tmp_path / "key"
    first = make_key_file(path, entropy=secrets.token_bytes)
    assert make_key_file(path, entropy=secrets.token_bytes) == first


def test_of_many_processes_that_make_it_at_once_all_hold_one_key(tmp_path: Path) -> None:
    """However they race, none reads half a file."""
    path = tmp_path / "key"
    script = (
        "import secrets, sys; from pathlib import Path; from session_core.sealing import make_key_file;"
        "sys.stdin.read(1); print(make_key_file(Path(sys.argv[1]), entropy=secrets.token_bytes).newest.hex())"
    )
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in racing:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    assert len({process.communicate()[0] for process in racing}) == 1
    assert [process.returncode for process in racing] == [0] * 6


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """One sentence says which file, how open it is and what to do."""
    path = tmp_path / "key"
    make_key_file(path, entropy=secrets.token_bytes)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        read_key_file(path)


def test_several_keys_may_stand_in_the_file(tmp_path: Path) -> None:
    """To replace a key, the new one is put on the first line."""
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text("b" * 43 + "\n" + "a" * 43 + "\n", encoding="ascii")
    assert read_key_file(path) == keys("b", "a")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe" * 30, b"a" * 9000])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """It is named."""
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=str(path)):
        read_key_file(path)


def test_a_key_file_that_cannot_be_made_says_what_else_to_do(tmp_path: Path) -> None:
    """A key in the environment needs no file."""
    with pytest.raises(ConfigError, match=f"cannot be made .*{KEY_VARIABLE}"):
        make_key_file(tmp_path / "missing" / "key", entropy=secrets.token_bytes)


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A directory, for one."""
    with pytest.raises(ConfigError, match=f"{tmp_path} cannot be read"):
        read_key_file(tmp_path)


def test_the_key_is_on_the_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file first, then its name in the directory; without it, what a crash leaves could not be opened."""
    path = tmp_path / "key"
    synced: list[bool] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(path.exists()), real(fd)))
    make_key_file(path, entropy=secrets.token_bytes)
    assert synced == [False, True]


def test_keys_are_told_apart_by_a_name_that_is_no_part_of_them() -> None:
    """It stands beside every sealed record."""
    ring = read_keys(secrets.token_urlsafe(32), place="The test")
    assert ring.newest not in ring.keys[0].secret
