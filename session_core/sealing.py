"""Seals what is stored with AES-256-GCM: without the key it tells nothing, and what is put elsewhere does not open."""

from __future__ import annotations

import base64
import hmac
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from session_core.errors import ConfigError, SessionCoreError
from session_core.secrecy import Discreet

KEY_VARIABLE = "SESSION_CORE_STORE_KEY"
KEY_BYTES = 32
KEY_FILE_BYTES_MAX = 4096
NONCE_BYTES = 12
NAME_BYTES = 8
REMEDY = 'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`'

Entropy = Callable[[int], bytes]
# Base64url as this module writes it, and plain base64 as other tools do.
_KEY = re.compile(r"[A-Za-z0-9_/+-]{43}=?")


class SealKeyMissingError(SessionCoreError):
    """No key at hand opens it; nothing says that it is damaged."""

    code = "seal_key_missing"


class SealBrokenError(SessionCoreError):
    """It was changed since it was sealed, or does not belong where it was found."""

    code = "seal_broken"


class Sealed(NamedTuple):
    """`key_name` says which key opens `box`: a nonce, the ciphertext and its tag."""

    key_name: bytes
    box: bytes


class SealingKey(Discreet, frozen=True, kw_only=True):
    """`name` tells keys apart and gives nothing of them away."""

    name: bytes
    secret: bytes


class Keyring(Discreet, frozen=True, kw_only=True):
    """The first key seals and all of them open, so that a key can be replaced while both are in use."""

    keys: tuple[SealingKey, ...]

    @property
    def newest(self) -> bytes:
        """The name of the key that seals."""
        return self.keys[0].name

    def seal(self, plain: bytes, context: bytes, *, entropy: Entropy) -> Sealed:
        """`context` says what this is and where it belongs; it opens there only."""
        key, nonce = self.keys[0], entropy(NONCE_BYTES)
        return Sealed(key.name, nonce + _cipher(key, context).encrypt(nonce, plain, context))

    def open(self, sealed: Sealed, context: bytes) -> bytes:
        """Raises SealKeyMissingError or SealBrokenError."""
        named = [key for key in self.keys if key.name == sealed.key_name]
        # A damaged name does not keep the right key from being found.
        for key in named or self.keys:
            # A box that was cut short has no nonce to try.
            with suppress(InvalidTag, ValueError):
                return _cipher(key, context).decrypt(sealed.box[:NONCE_BYTES], sealed.box[NONCE_BYTES:], context)
        if named:
            raise SealBrokenError("What is stored was changed since it was sealed, or belongs elsewhere.")
        raise SealKeyMissingError(
            f"What is stored was sealed with a key that is not in {KEY_VARIABLE} or the key file."
        )


def keys_from(environment: Mapping[str, str]) -> Keyring | None:
    """The keys of SESSION_CORE_STORE_KEY, or None where it is not set. Raises ConfigError."""
    text = environment.get(KEY_VARIABLE)
    return None if text is None else read_keys(text, place=f"The environment variable {KEY_VARIABLE}")


def read_keys(text: str, *, place: str) -> Keyring:
    """Keys of 32 bytes in base64, newest first, separated by commas or white space.

    Raises ConfigError, which names the place and the number of the key, never the key.
    """
    words = text.replace(",", " ").split()
    if not words:
        raise ConfigError(f"{place} holds no key; {REMEDY}.")
    for number, word in enumerate(words, start=1):
        if not _KEY.fullmatch(word):
            raise ConfigError(f"{place} holds a key, number {number}, that is not 32 bytes in base64; {REMEDY}.")
    return Keyring(keys=tuple(map(_key, words)))


def read_key_file(path: Path) -> Keyring | None:
    """The keys in a file, or None where there is none. Raises ConfigError when others than its owner may read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            text = file.read(KEY_FILE_BYTES_MAX).decode("ascii", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be read ({error.strerror}); see to its permissions.") from error
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(
            f"The key file {path} may be read by others (mode {mode:04o}) and is not used; "
            "run chmod 600 on it, and replace its key if somebody may have seen it."
        )
    return read_keys(text, place=f"The key file {path}")


def make_key_file(path: Path, *, entropy: Entropy) -> Keyring:
    """A file with one new key, for its owner only, whole or not at all; if another process is faster, that one's key.

    The key is on the disk before anything is sealed with it. Raises ConfigError.
    """
    draft = path.with_name(f".{path.name}.{entropy(6).hex()}")
    try:
        try:
            _write_durably(draft, base64.urlsafe_b64encode(entropy(KEY_BYTES)).rstrip(b"=") + b"\n")
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(
            f"The key file {path} cannot be made ({error.strerror}); set {KEY_VARIABLE}, or let this directory be written."
        ) from error
    made = read_key_file(path)
    assert made is not None, "linked here or there before"
    return made


def _key(word: str) -> SealingKey:
    secret = base64.urlsafe_b64decode(word.translate(str.maketrans("/+", "_-"))[:43] + "=")
    return SealingKey(name=hmac.digest(secret, b"name", "sha256")[:NAME_BYTES], secret=secret)


def _cipher(key: SealingKey, context: bytes) -> AESGCM:
    """A key of its own for each context, so that random nonces never come near the bound of one key (2³² messages)."""
    return AESGCM(hmac.digest(key.secret, b"seal" + context, "sha256"))


def _write_durably(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
