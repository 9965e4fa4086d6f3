"""Messages of a key management service (KMS v2) and of the values that it has a part in, in protocol buffers.

Source: k8s.io/kms/apis/v2 and the EncryptedObject of apiserver's storage/value/encrypt/envelope/kmsv2.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from sublet.apiserver.reloads import hashed
from sublet.machinery import names, wire
from sublet.machinery.codec import DecodeError

AES_GCM_KEY, HKDF_SEED = 0, 1
"""What the decrypted source of a key is: the key itself, or a seed from which every value has a key of its own."""
_ANNOTATIONS_SIZE = 32 * 1024
_SIZE = 1024
_VERSIONS = ("v2", "v2beta1")


class Invalid(Exception):
    """Something that a service said, or that a value says, is not as it must be."""


class Status(Struct, frozen=True):
    version: str = ""
    healthz: str = ""
    key_id: str = ""

    @classmethod
    def decode(cls, data: bytes) -> Status:
        found = _texts(data)
        return cls(found.get(1, ""), found.get(2, ""), found.get(3, ""))

    @property
    def has_key(self) -> bool:
        return 0 < len(self.key_id.encode()) <= _SIZE

    def problems(self) -> list[str]:
        """What is wrong with it, in upstream's words."""
        found = []
        if self.healthz != "ok":
            found.append(f"got unexpected healthz status: {self.healthz}")
        if self.version not in _VERSIONS:
            found.append(f"expected KMSv2 API version v2, got {self.version}")
        try:
            check_key_id(self.key_id)
        except Invalid as error:
            found.append(f'got invalid KMSv2 KeyID hash "{hashed(self.key_id.encode())}": {error}')
        return found


class Source(Struct, frozen=True):
    """What a key comes from: sealed by the service, and what the service needs to open it."""

    sealed: bytes = b""
    key_id: str = ""
    annotations: tuple[tuple[str, bytes], ...] = ()
    kind: int = HKDF_SEED

    def decrypt_request(self, uid: str) -> bytes:
        return (
            wire.bytes_field(1, self.sealed) + wire.string_field(2, uid)
            + wire.string_field(3, self.key_id) + _annotations(4, self.annotations)
        )  # fmt: skip

    @classmethod
    def decode_response(cls, data: bytes) -> Source:
        """Of an EncryptResponse. Raises ``DecodeError``."""
        sealed, key_id, annotations = b"", "", {}
        for number, kind, _, content in wire.fields(data):
            if kind != wire.BYTES:
                continue
            if number == 1:
                sealed = content
            elif number == 2:
                key_id = _text(content)
            elif number == 3:
                key, value = _entry(content)
                annotations[key] = value
        return cls(sealed, key_id, tuple(sorted(annotations.items())))

    def check(self) -> None:
        """Raises :class:`Invalid`."""
        if self.kind not in (AES_GCM_KEY, HKDF_SEED):
            raise Invalid(f"unknown encryptedDEKSourceType: {self.kind}")
        try:
            _check_size("encrypted DEK source", self.sealed)
        except Invalid as error:
            raise Invalid(f"failed to validate encrypted DEK source: {error}") from None
        try:
            check_key_id(self.key_id)
        except Invalid as error:
            raise Invalid(f"failed to validate key id: {error}") from None
        try:
            _check_annotations(dict(self.annotations))
        except Invalid as error:
            raise Invalid(f"failed to validate annotations: {error}") from None


class Envelope(Struct, frozen=True):
    """A stored value: encrypted by a key of ours, with the source of that key beside it."""

    data: bytes
    source: Source = field(default_factory=Source)

    def encode(self) -> bytes:
        source = self.source
        return (
            wire.bytes_field(1, self.data) + wire.string_field(2, source.key_id)
            + wire.bytes_field(3, source.sealed) + _annotations(4, source.annotations)
            + (wire.varint_field(5, source.kind) if source.kind else b"")
        )  # fmt: skip

    @classmethod
    def decode(cls, value: bytes) -> Envelope:
        """Raises :class:`Invalid`."""
        data, sealed, key_id, source_kind = b"", b"", "", AES_GCM_KEY
        annotations: dict[str, bytes] = {}
        try:
            for number, kind, amount, content in wire.fields(value):
                if number == 5 and kind == wire.VARINT:
                    source_kind = amount
                elif kind != wire.BYTES:
                    continue
                elif number == 1:
                    data = content
                elif number == 2:
                    key_id = _text(content)
                elif number == 3:
                    sealed = content
                elif number == 4:
                    key, said = _entry(content)
                    annotations[key] = said
        except DecodeError as error:
            raise Invalid(str(error)) from None
        found = cls(data, Source(sealed, key_id, tuple(sorted(annotations.items())), source_kind))
        if not data:
            raise Invalid("encrypted data is empty")
        found.source.check()
        return found


def encrypt_request(plain: bytes, uid: str) -> bytes:
    return wire.bytes_field(1, plain) + wire.string_field(2, uid)


def decrypted(data: bytes) -> bytes:
    """The plain text of a DecryptResponse. Raises ``DecodeError``."""
    found = b""
    for number, kind, _, content in wire.fields(data):
        if number == 1 and kind == wire.BYTES:
            found = content
    return found


def check_key_id(key_id: str) -> None:
    """Raises :class:`Invalid`."""
    _check_size("keyID", key_id.encode())


def _check_size(what: str, value: bytes) -> None:
    if not value:
        raise Invalid(f"{what} is empty")
    if len(value) > _SIZE:
        raise Invalid(f"{what} is {len(value)} bytes, which exceeds the max size of {_SIZE}")


def _check_annotations(annotations: Mapping[str, bytes]) -> None:
    size = 0
    for key, value in annotations.items():
        if wrong := names.dns1123_subdomain(key) or (
            "." not in key and ["should be a domain with at least two segments separated by dots"]
        ):
            raise Invalid(f'annotations: Invalid value: "{key}": {wrong[0]}')
        size += len(key) + len(value)
    if size > _ANNOTATIONS_SIZE:
        raise Invalid(
            f"total size of annotations is {size}, which exceeds the max size of {_ANNOTATIONS_SIZE}"
        )


def _annotations(number: int, stated: tuple[tuple[str, bytes], ...]) -> bytes:
    return b"".join(
        wire.bytes_field(number, wire.string_field(1, key) + wire.bytes_field(2, value))
        for key, value in stated
    )


def _entry(data: bytes) -> tuple[str, bytes]:
    key, value = "", b""
    for number, kind, _, content in wire.fields(data):
        if kind == wire.BYTES:
            key, value = (_text(content), value) if number == 1 else (key, content)
    return key, value


def _texts(data: bytes) -> dict[int, str]:
    return {number: _text(content) for number, kind, _, content in wire.fields(data) if kind == wire.BYTES}


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DecodeError("protobuf: a text is not UTF-8") from None
