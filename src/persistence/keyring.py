"""What secrets are encrypted with before they are saved: Fernet (AES-128-CBC, authenticated by HMAC-SHA256)."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NewType

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

Sealed = NewType("Sealed", str)
"""As it is saved. The type checker keeps apart what is sealed and what is not."""

SCHEME = "fernet:"  # tells what is sealed from what was saved before there were keys
A_KEY = "a key is 32 random bytes in base64, such as `openssl rand -base64 32` prints"


class NoKey(ValueError):
    """What should be a key is none."""


class Keyring:
    """The first key seals; every one opens, so that a key can be replaced."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises NoKey."""
        fernets = [fernet_of(key) for key in keys]
        if not fernets:
            raise NoKey(A_KEY)
        self._first = fernets[0]
        self._all = MultiFernet(fernets)

    def seal(self, secret: str) -> Sealed:
        return Sealed(SCHEME + self._first.encrypt(secret.encode()).decode())

    def open(self, sealed: Sealed) -> str | None:
        """None: the key with which it was sealed is not here, or somebody has changed it."""
        return decrypted(self._all, sealed)

    def sealed_anew(self, saved: Sealed) -> Sealed | None:
        """What was not sealed with the first key, sealed with it; None where nothing is to be done, or can be."""
        if not saved.startswith(SCHEME):
            return self.seal(saved)
        if decrypted(self._first, saved) is not None:
            return None
        secret = self.open(saved)
        return None if secret is None else self.seal(secret)


def fernet_of(key: str) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise NoKey(A_KEY) from None  # which quotes nothing


def decrypted(fernet: Fernet | MultiFernet, sealed: Sealed) -> str | None:
    if not sealed.startswith(SCHEME):
        return None
    try:
        return fernet.decrypt(sealed.removeprefix(SCHEME).encode()).decode()
    except InvalidToken:
        return None


def keyring_of(keys: Sequence[str], file: Path) -> Keyring:
    """With the keys given, or with those in the file, one a line, which is made when there is none.

    Raises NoKey and OSError.
    """
    if keys:
        return Keyring(keys)
    with suppress(FileExistsError):
        if not file.exists():
            write_new_key(file)
    try:
        return Keyring(file.read_text(encoding="ascii", errors="replace").split())
    except NoKey as failure:
        raise NoKey(f"{file} holds no key: {failure}.") from failure


def write_new_key(file: Path) -> None:
    """Whole and for its owner alone, or not at all: of two processes that do this at once, one succeeds.

    Raises FileExistsError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with open(descriptor, "wb") as new:
            new.write(Fernet.generate_key() + b"\n")
            new.flush()
            os.fsync(descriptor)  # what is sealed with it must not outlive it
        os.link(draft, file)
    finally:
        os.unlink(draft)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
