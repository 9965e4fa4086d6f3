"""The file of ``--encryption-provider-config`` (apiserver.config.k8s.io/v1, kind EncryptionConfiguration)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from sublet.apiserver.configurationfiles import check_type, load_file
from sublet.apiserver.encryption.ciphers import CIPHERS, ENCRYPTED, CannotDecrypt, Cipher, prefix
from sublet.machinery.settings import ConfigurationError, parse

API_VERSION = "apiserver.config.k8s.io/v1"


class _Key(Struct, frozen=True):
    name: str = ""
    secret: str = ""


class _Keys(Struct, frozen=True):
    keys: tuple[_Key, ...] = ()


class _Provider(Struct, frozen=True):
    aesgcm: _Keys | None = None
    aescbc: _Keys | None = None
    secretbox: _Keys | None = None
    identity: dict[str, Any] | None = None
    kms: dict[str, Any] | None = None


class _Resources(Struct, frozen=True):
    resources: tuple[str, ...] = ()
    providers: tuple[_Provider, ...] = ()


class _Document(Struct, frozen=True):
    api_version: str = ""
    kind: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    resources: tuple[_Resources, ...] = ()


class Transformer:
    """What is done to the values of some kinds: the first key writes, every key reads."""

    def __init__(self, ciphers: Sequence[tuple[bytes, Cipher | None]]) -> None:
        self._ciphers = tuple(ciphers)
        """(prefix, cipher) in order; None: plain, with an empty prefix."""

    @property
    def writes_plain(self) -> bool:
        return self._ciphers[0][1] is None

    def to_store(self, plain: bytes, key: bytes) -> bytes:
        begin, cipher = self._ciphers[0]
        return plain if cipher is None else begin + cipher.encrypt(plain, key)

    def from_store(self, value: bytes, key: bytes) -> tuple[bytes, bool]:
        """(the plain value, whether it is not as the first key would have written it).

        Raises :class:`CannotDecrypt`.
        """
        problems = []
        encrypted = value.startswith(ENCRYPTED)
        for index, (begin, cipher) in enumerate(self._ciphers):
            if cipher is None:
                if not encrypted:
                    return value, index > 0
            elif value.startswith(begin):
                try:
                    return cipher.decrypt(value[len(begin) :], key), index > 0
                except CannotDecrypt as error:
                    problems.append(str(error))
        if not encrypted:
            raise CannotDecrypt(
                "no matching prefix found: the value is not encrypted, and no identity provider reads it"
            )
        raise CannotDecrypt(", ".join(problems) or f"no matching prefix found: no key for {_shown(value)}")


PLAIN = Transformer([(b"", None)])


class Encryption:
    """Which transformer a kind has. The first list that names the kind, or a pattern it fits, counts."""

    def __init__(self, groups: Sequence[tuple[Sequence[str], Transformer]]) -> None:
        self._groups = tuple(groups)

    def transformer(self, group: str, plural: str) -> Transformer:
        """``group`` is empty for the core group."""
        names = (f"{plural}.{group}" if group else plural, f"*.{group}", "*.*")
        for resources, transformer in self._groups:
            if any(name in resources for name in names):
                return transformer
        return PLAIN


def load(path: Path) -> Encryption:
    """Raises :class:`ConfigurationError`, which names the file and what is wrong in it, and no secret."""
    return load_file(path, "the encryption configuration", parse_encryption, secret=True)


def parse_encryption(document: Any) -> Encryption:
    """Raises :class:`ConfigurationError`."""
    stated = parse(_Document, document)
    check_type((stated.api_version, stated.kind), (API_VERSION, "EncryptionConfiguration"))
    if not stated.resources:
        raise ConfigurationError("resources: there must be at least one entry")
    return Encryption([_group(each, f"resources[{i}]") for i, each in enumerate(stated.resources)])


def _group(stated: _Resources, where: str) -> tuple[Sequence[str], Transformer]:
    if not stated.resources:
        raise ConfigurationError(f"{where}.resources: there must be at least one resource")
    for index, name in enumerate(stated.resources):
        _check_resource(name, f"{where}.resources[{index}]")
    if not stated.providers:
        raise ConfigurationError(f"{where}.providers: there must be at least one provider")
    ciphers: list[tuple[bytes, Cipher | None]] = []
    for index, provider in enumerate(stated.providers):
        ciphers += _ciphers(provider, f"{where}.providers[{index}]")
    return stated.resources, Transformer(ciphers)


def _check_resource(name: str, where: str) -> None:
    if not name or name != name.lower():
        raise ConfigurationError(
            f"{where}: {name!r} must be a lower-case plural name, with its group if it has one"
        )
    if "/" in name:
        raise ConfigurationError(f"{where}: {name!r} must name a resource without its version or subresource")
    if "*" in name and not (name.startswith("*.") and "*" not in name[2:]) and name != "*.*":
        raise ConfigurationError(f"{where}: {name!r} must be like 'secrets', '*.apps', '*.' or '*.*'")


def _ciphers(provider: _Provider, where: str) -> list[tuple[bytes, Cipher | None]]:
    stated: Mapping[str, Any] = {
        name: value
        for name in ("aesgcm", "aescbc", "secretbox", "identity", "kms")
        if (value := getattr(provider, name)) is not None
    }
    if len(stated) != 1:
        raise ConfigurationError(
            f"{where}: it must have one of aesgcm, aescbc, secretbox, identity, and no more"
        )
    ((kind, value),) = stated.items()
    if kind == "kms":
        raise ConfigurationError(
            f"{where}.kms: this release of sublet asks no key management service; "
            "use aesgcm, aescbc or secretbox with keys in this file"
        )
    if kind == "identity":
        return [(b"", None)]
    if not value.keys:
        raise ConfigurationError(f"{where}.{kind}.keys: there must be at least one key")
    return [
        (prefix(kind, key.name), _cipher(kind, key, f"{where}.{kind}.keys[{i}]"))
        for i, key in enumerate(value.keys)
    ]


def _cipher(kind: str, key: _Key, where: str) -> Cipher:
    if not key.name or ":" in key.name:
        raise ConfigurationError(f"{where}.name: a key needs a name, and one without a colon")
    try:
        secret = base64.b64decode(key.secret, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{where}.secret: secrets must be base64 encoded") from None
    sizes = CIPHERS[kind].sizes
    if len(secret) not in sizes:
        expected = " ".join(map(str, sizes))
        raise ConfigurationError(
            f"{where}.secret: secret is not of the expected length, got {len(secret)}, expected one of [{expected}]"
        )
    return CIPHERS[kind](secret)


def _shown(value: bytes) -> str:
    """The prefix of an encrypted value: provider and key name."""
    return ":".join(value[:200].decode("latin-1").split(":")[:5])
