"""The ways to encrypt one stored value, byte for byte as upstream writes them.

``identity`` writes values as they are. The others are named by what their values begin with
(``k8s:enc:aesgcm:v1:KEYNAME:``), so that a reader knows which key to take.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

ENCRYPTED = b"k8s:enc:"
"""What every encrypted value begins with, and no plain one."""
_BLOCK = 16


class CannotDecrypt(Exception):
    """A value that no key at hand opens; ``str()`` says why, without anything secret."""


class Cipher(Protocol):
    """One key of one provider."""

    def encrypt(self, plain: bytes, key: bytes) -> bytes:
        """``key`` is where the value lies: authenticated where the cipher can."""
        ...

    def decrypt(self, sealed: bytes, key: bytes) -> bytes:
        """Raises :class:`CannotDecrypt`."""
        ...


class AESGCM:
    """A nonce of 12 random bytes, then ciphertext and tag; bound to the value's place."""

    sizes = (16, 24, 32)

    def __init__(self, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import aead

        self._cipher = aead.AESGCM(secret)

    def encrypt(self, plain: bytes, key: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, plain, key)

    def decrypt(self, sealed: bytes, key: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], key)
        except (InvalidTag, ValueError):
            raise CannotDecrypt("cipher: message authentication failed") from None


class AESCBC:
    """An initialization vector of 16 random bytes, then ciphertext padded as PKCS #7 says."""

    sizes = (16, 24, 32)

    def __init__(self, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import algorithms

        self._algorithm = algorithms.AES(secret)

    def encrypt(self, plain: bytes, key: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as Implementation
        from cryptography.hazmat.primitives.ciphers import modes

        padding = _BLOCK - len(plain) % _BLOCK
        vector = os.urandom(_BLOCK)
        encryptor = Implementation(self._algorithm, modes.CBC(vector)).encryptor()
        return vector + encryptor.update(plain + bytes((padding,)) * padding) + encryptor.finalize()

    def decrypt(self, sealed: bytes, key: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as Implementation
        from cryptography.hazmat.primitives.ciphers import modes

        if len(sealed) < 2 * _BLOCK or len(sealed) % _BLOCK:
            raise CannotDecrypt("the stored data is not a multiple of the block size")
        decryptor = Implementation(self._algorithm, modes.CBC(sealed[:_BLOCK])).decryptor()
        padded = decryptor.update(sealed[_BLOCK:]) + decryptor.finalize()
        padding = padded[-1]
        if not 1 <= padding <= _BLOCK or padded[-padding:] != bytes((padding,)) * padding:
            raise CannotDecrypt("invalid padding on input")
        return padded[:-padding]


class Secretbox:
    """XSalsa20 and Poly1305: a nonce of 24 random bytes, then the box."""

    sizes = (32,)

    def __init__(self, secret: bytes) -> None:
        from nacl.secret import SecretBox

        self._box = SecretBox(secret)

    def encrypt(self, plain: bytes, key: bytes) -> bytes:
        return bytes(self._box.encrypt(plain))

    def decrypt(self, sealed: bytes, key: bytes) -> bytes:
        from nacl.exceptions import CryptoError

        try:
            return bytes(self._box.decrypt(sealed))
        except (CryptoError, ValueError):
            raise CannotDecrypt("the box does not open with this key") from None


CIPHERS: Mapping[str, type[AESGCM] | type[AESCBC] | type[Secretbox]] = {
    "aesgcm": AESGCM, "aescbc": AESCBC, "secretbox": Secretbox,
}  # fmt: skip
"""Provider -> its cipher."""


def prefix(provider: str, name: str) -> bytes:
    """``k8s:enc:aescbc:v1:key1:``"""
    return b"%b%b:v1:%b:" % (ENCRYPTED, provider.encode(), name.encode())
