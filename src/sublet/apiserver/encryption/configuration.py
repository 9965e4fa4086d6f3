"""The file of ``--encryption-provider-config`` (apiserver.config.k8s.io/v1, kind EncryptionConfiguration)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from sublet.apiserver.configurationfiles import check_type, load_file, refuse
from sublet.apiserver.encryption.ciphers import CIPHERS, ENCRYPTED, CannotDecrypt, Cipher, prefix
from sublet.apiserver.encryption.kms import KMS
from sublet.apiserver.encryption.kmsservice import KMSService
from sublet.machinery import durations
from sublet.machinery.settings import ConfigurationError, parse
from sublet.machinery.status import FieldError, field_forbidden, invalid, required

API_VERSION = "apiserver.config.k8s.io/v1"
_BEFORE = ("v1", "EncryptionConfig")
"""What such files said before they had a group; upstream still reads them."""
_NOT_SERVED = ("apiserveripinfo", "serviceipallocations", "servicenodeportallocations")
_OVERLAP = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
_EVENTS = "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
_SEVERAL = "more than one provider specified in a single element, should split into different list elements"
_NO_PROVIDER = (
    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
)
_NO_V1 = "KMSv1 is deprecated and switched off; use KMSv2 instead (apiVersion: v2)"
_ONE_OF = "only v1 and v2 are supported"
_TIMEOUT = "3s"


class _Key(Struct, frozen=True):
    name: str = ""
    secret: str = ""


class _Keys(Struct, frozen=True):
    keys: tuple[_Key, ...] = ()


class _KMS(Struct, frozen=True):
    api_version: str = "v1"
    name: str = ""
    cachesize: int | None = None
    endpoint: str = ""
    timeout: str = _TIMEOUT


class _Provider(Struct, frozen=True):
    aesgcm: _Keys | None = None
    aescbc: _Keys | None = None
    secretbox: _Keys | None = None
    identity: dict[str, Any] | None = None
    kms: _KMS | None = None


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
                sealed = value[len(begin) :]
                try:
                    plain = cipher.decrypt(sealed, key)
                    return plain, index > 0 or (isinstance(cipher, KMS) and cipher.outdated(sealed))
                except CannotDecrypt as error:
                    problems.append(str(error))
        if not encrypted:
            raise CannotDecrypt(
                "no matching prefix found: the value is not encrypted, and no identity provider reads it"
            )
        raise CannotDecrypt(", ".join(problems) or f"no matching prefix found: no key for {_shown(value)}")

    async def unlock(self, value: bytes) -> None:
        """Fetches the key of a value, where a service has it."""
        for begin, cipher in self._ciphers:
            if isinstance(cipher, KMS) and value.startswith(begin):
                await cipher.unlock(value[len(begin) :])


PLAIN = Transformer([(b"", None)])


class Encryption:
    """Which transformer a kind has: by its own name, by the pattern of its group, by that of all."""

    def __init__(
        self, groups: Sequence[tuple[Sequence[str], Transformer]], services: Sequence[KMS] = ()
    ) -> None:
        self._groups = tuple(groups)
        self.services = tuple(services)
        """The key management services, in the order of the file."""

    def transformer(self, group: str, plural: str) -> Transformer:
        """``group`` is empty for the core group."""
        names = (f"{plural}.{group}" if group else plural, f"*.{group}", "*.*")
        for name in names:
            for resources, transformer in self._groups:
                if name in resources:
                    return transformer
        return PLAIN


def load(path: Path) -> Encryption:
    """Raises :class:`ConfigurationError`, which names the file and what is wrong in it, and no secret."""
    return load_file(path, "the encryption configuration", parse_encryption, secret=True)


def parse_encryption(document: Any) -> Encryption:
    """Raises :class:`ConfigurationError` with every error in upstream's words."""
    stated = parse(_Document, document)
    if (stated.api_version, stated.kind) != _BEFORE:
        check_type((stated.api_version, stated.kind), (API_VERSION, "EncryptionConfiguration"))
    if not stated.resources:
        refuse([required("resources", "at least one resources is required")])
    errors: list[FieldError] = []
    services: list[KMS] = []
    lists = [_List(each, f"resources[{i}]", errors, services) for i, each in enumerate(stated.resources)]
    refuse(errors)
    return Encryption(_by_resource(lists), services)


def _by_resource(lists: Sequence[_List]) -> list[tuple[Sequence[str], Transformer]]:
    """What several lists say of one resource counts together; what an earlier pattern covers may not be named again."""
    found: dict[str, list[tuple[bytes, Cipher | None]]] = {}
    for each in lists:
        for name in each.resources:
            for pattern in (f"*.{_group(name)}", "*.*"):
                if pattern in found:
                    raise ConfigurationError(f'resource "{name}" is masked by earlier rule "{pattern}"')
        for name in each.resources:
            found.setdefault(name, []).extend(each.ciphers)
    return [((name,), Transformer(ciphers)) for name, ciphers in found.items()]


def _group(name: str) -> str:
    return name.partition(".")[2]


class _List:
    """One entry of ``resources``: adds what is wrong with it to ``errors``, and its services to ``services``."""

    def __init__(self, stated: _Resources, where: str, errors: list[FieldError], services: list[KMS]) -> None:
        self._services = services
        self.resources = stated.resources
        self.ciphers: list[tuple[bytes, Cipher | None]] = []
        self._errors = errors
        names, providers = f"{where}.resources", f"{where}.providers"
        if not stated.resources:
            errors.append(required(names, f"at least one {names} is required"))
        self._check_overlap(names)
        errors += filter(
            None, (_name_error(name, f"{names}[{i}]") for i, name in enumerate(stated.resources))
        )
        if not stated.providers:
            errors.append(required(providers, f"at least one {providers} is required"))
        for index, provider in enumerate(stated.providers):
            self._add(provider, f"{providers}[{index}]")

    def _check_overlap(self, where: str) -> None:
        names = self.resources
        shown = list(names)
        if len(set(names)) < len(names):
            detail = "the same resource cannot be specified multiple times"
            self._errors.append(invalid(where, shown, detail))
        several = set(names)
        groups = [_group(name) for name in several if name.startswith("*.")]
        masked = ("*.*" in several and len(several) > 1) or any(
            sum(_group(name) == group for name in several) > 1 for group in groups
        )
        if masked:
            self._errors.append(invalid(where, shown, _OVERLAP))

    def _add(self, provider: _Provider, where: str) -> None:
        stated: Mapping[str, Any] = {
            name: value
            for name in ("kms", "aesgcm", "aescbc", "secretbox", "identity")
            if (value := getattr(provider, name)) is not None
        }
        if len(stated) != 1:
            detail = _SEVERAL if stated else _NO_PROVIDER
            self._errors.append(FieldError("FieldValueInvalid", where, f"Invalid value: {detail}"))
            return
        ((kind, value),) = stated.items()
        if kind == "kms":
            self._add_service(value, f"{where}.kms")
        elif kind == "identity":
            self.ciphers.append((b"", None))
        else:
            self._add_keys(kind, value.keys, f"{where}.{kind}.keys")

    def _add_service(self, stated: _KMS, where: str) -> None:
        if stated.api_version == "v1":
            self._errors.append(field_forbidden(where, _NO_V1))
            return
        errors = list(_service_errors(stated, where, {each.name for each in self._services}))
        self._errors += errors
        if not errors:
            service = KMS(stated.name, KMSService(stated.endpoint, durations.parse(stated.timeout)))
            self._services.append(service)
            self.ciphers.append((service.prefix, service))

    def _add_keys(self, kind: str, keys: Sequence[_Key], where: str) -> None:
        if not keys:
            self._errors.append(required(where, "at least one keys is required"))
        for index, key in enumerate(keys):
            secret = self._secret(kind, key, f"{where}[{index}]")
            if secret is not None:
                self.ciphers.append((prefix(kind, key.name), CIPHERS[kind](secret)))

    def _secret(self, kind: str, key: _Key, where: str) -> bytes | None:
        """The key itself; None where it is none."""
        if not key.name:
            self._errors.append(required(f"{where}.name", "name is a mandatory field for a key"))
        elif ":" in key.name:
            # It would end in the midst of the prefix of what it has written.
            self._errors.append(invalid(f"{where}.name", key.name, "must not contain ':'"))
        if not key.secret:
            self._errors.append(required(f"{where}.secret", "secret is a mandatory field for a key"))
            return None
        try:
            secret = base64.b64decode(key.secret, validate=True)
        except (binascii.Error, ValueError):
            self._errors.append(invalid(f"{where}.secret", "REDACTED", "secrets must be base64 encoded"))
            return None
        sizes = CIPHERS[kind].sizes
        if len(secret) in sizes:
            return secret
        expected = " ".join(map(str, sizes))
        detail = f"secret is not of the expected length, got {len(secret)}, expected one of [{expected}]"
        self._errors.append(invalid(f"{where}.secret", "REDACTED", detail))
        return None


def _service_errors(stated: _KMS, where: str, known: Collection[str]) -> Iterator[FieldError]:
    """What is wrong with a key management service of version 2, in upstream's words."""
    if not stated.name:
        yield required(f"{where}.name", "name is a mandatory field for a provider")
    if ":" in stated.name:
        detail = f"invalid KMS provider name {stated.name}, must not contain ':'"
        yield invalid(f"{where}.name", stated.name, detail)
    if stated.name in known:
        detail = f"duplicate KMS provider name {stated.name}, names must be unique"
        yield invalid(f"{where}.name", stated.name, detail)
    try:
        seconds = durations.parse(stated.timeout)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        yield invalid(f"{where}.timeout", stated.timeout, "timeout should be a positive value")
    scheme = stated.endpoint.partition(":")[0]
    if not stated.endpoint:
        yield invalid(f"{where}.endpoint", "", "endpoint is a mandatory field for a kms")
    elif scheme != "unix":
        detail = f'unsupported scheme "{scheme}" for KMS provider, only unix is supported'
        yield invalid(f"{where}.endpoint", stated.endpoint, detail)
    if stated.cachesize is not None:
        yield invalid(f"{where}.cachesize", stated.cachesize, "cachesize is not supported in v2")
    if stated.api_version != "v2":
        detail = f"unsupported apiVersion apiVersion for KMS provider, {_ONE_OF}"
        yield invalid(f"{where}.apiVersion", stated.api_version, detail)


def _name_error(name: str, where: str) -> FieldError | None:
    """Why a resource cannot be named so."""
    group = _group(name)
    if name != name.lower():
        return invalid(where, name, "resource name should not contain capital letters")
    if name == "*":
        detail = "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        return invalid(where, name, detail)
    if name in _NOT_SERVED:
        return invalid(where, name, "resources which do not have REST API/s cannot be encrypted")
    if group == "events.k8s.io":
        return invalid(where, name, _EVENTS)
    if group == "extensions":
        detail = "'extensions' group has been removed and cannot be used for encryption"
        return invalid(where, name, detail)
    if group == "*" and name != "*.*":
        return invalid(where, name, "encrypting the same resource across groups is not supported")
    return None


def _shown(value: bytes) -> str:
    """The prefix of an encrypted value: provider and key name."""
    return ":".join(value[:200].decode("latin-1").split(":")[:5])
