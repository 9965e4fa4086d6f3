"""Encryption at rest with keys that a key management service keeps."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from apiserver_front import MovableClock
from apiserver_kms import Plugin, plugin

from sublet.apiserver.api import APIServer
from sublet.apiserver.encryption.ciphers import CannotDecrypt
from sublet.apiserver.encryption.configuration import load, parse_encryption
from sublet.apiserver.encryption.kms import Seed
from sublet.apiserver.encryption.kmsmessages import AES_GCM_KEY, Envelope, Invalid, Source
from sublet.apiserver.encryption.kmsservice import target
from sublet.apiserver.encryption.reload import Reloader
from sublet.apiserver.reloads import Reloads
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import IN_PROCESS, Request, User
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import InternalError
from sublet.store.interface import Store, StoreError

SECRETS = resource("secrets")
KEY = "/registry/core/secrets/default/token"
ADMIN = User("admin", ("system:masters",))
IDENTITY: Object = {"identity": {}}


def provider(path: Path, name: str = "vault", **more: Any) -> Object:
    return {"kms": {"apiVersion": "v2", "name": name, "endpoint": f"unix://{path}", **more}}


def configuration(*providers: Object) -> Object:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": list(providers)}],
    }


@asynccontextmanager
async def serving(
    store: Store, folder: Path, *providers: Object, clock: MovableClock | None = None, reload: bool = False
) -> AsyncIterator[APIServer]:
    path = folder / "encryption.yaml"
    path.write_text(json.dumps(configuration(*providers)))
    settings = APIServerSettings(encryption_config=path, encryption_reload=reload)
    api = APIServer(settings, store, clock=clock)
    await api.start()
    try:
        yield api
    finally:
        await api.stop()


def client_of(api: APIServer) -> Client:
    return api.client_as(ADMIN, "tester/1.0")


@pytest.fixture
async def kms(tmp_path: Path) -> AsyncIterator[Plugin]:
    async with plugin(tmp_path / "kms.sock") as made:
        yield made


def secret(name: str = "token") -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "stringData": {"password": "hush-hush"}}


async def envelope(store: Store, key: str = KEY) -> Envelope:
    entry = await store.get(key)
    assert entry is not None
    prefix = b"k8s:enc:kms:v2:vault:"
    assert entry.value.startswith(prefix) and b"aHVzaC1odXNo" not in entry.value
    return Envelope.decode(entry.value[len(prefix) :])


async def health(api: APIServer, path: str) -> tuple[int, str]:
    path, _, query = path.partition("?")
    response = await api.handle(Request("GET", path, query, user=ADMIN, remote=IN_PROCESS))
    assert isinstance(response.body, bytes)
    return response.status, response.body.decode()


async def test_values_carry_a_seed_that_only_the_service_opens(
    store: Store, tmp_path: Path, kms: Plugin
) -> None:
    async with serving(store, tmp_path, provider(kms.path)) as api:
        for name in ("token", "other"):
            await client_of(api).create(SECRETS, secret(name))
        assert (await client_of(api).get(SECRETS, "token", "default"))["data"]
    one, two = await envelope(store), await envelope(store, f"{KEY[:-5]}other")
    assert one.source == two.source and one.data[:32] != two.data[:32]
    assert (one.source.key_id, one.source.annotations) == ("key-1", (("version.example.com", b"1"),))
    assert kms.calls.count("Encrypt") == 1 and "Decrypt" not in kms.calls
    async with serving(store, tmp_path, provider(kms.path)) as api:
        items = (await client_of(api).list(SECRETS, "default"))["items"]
        assert [item["data"]["password"] for item in items] == ["aHVzaC1odXNo"] * 2
    assert kms.calls.count("Decrypt") == 1


async def test_another_key_of_the_service_makes_what_is_there_stale(
    store: Store, tmp_path: Path, kms: Plugin
) -> None:
    async with serving(store, tmp_path, provider(kms.path)) as api:
        made = await client_of(api).create(SECRETS, secret())
        assert api.encrypted is not None and not api.encrypted.stale(KEY)
        kms.key_id = "key-2"
        assert await parts(api)[0].look(api.encrypted._changed)
        assert api.encrypted.stale(KEY)
        await client_of(api).update(SECRETS, made)
        assert not api.encrypted.stale(KEY)
    assert (await envelope(store)).source.key_id == "key-2"


async def test_how_services_are_used_is_told_under_upstreams_names(
    store: Store, tmp_path: Path, kms: Plugin
) -> None:
    async with serving(store, tmp_path, provider(kms.path)) as api:
        await client_of(api).create(SECRETS, secret())
        kms.key_id = ""
        assert api.encrypted is not None
        assert not await parts(api)[0].look(api.encrypted._changed)
        lines = [line for line in api.encrypted.lines() if not line.startswith("#")]
    key = hashlib.sha256(b"key-1").hexdigest()
    server = hashlib.sha256(api.identity.name.encode()).hexdigest()
    labels = f'apiserver_id_hash="sha256:{server}",key_id_hash="sha256:{key}",provider_name="vault"'
    name = "apiserver_envelope_encryption"
    for expected in (
        f'{name}_key_id_hash_total{{{labels},transformation_type="to_storage"}} 1',
        f'{name}_dek_source_cache_size{{provider_name="vault"}} 1',
        f'{name}_invalid_key_id_from_status_total{{error="empty",provider_name="vault"}} 1',
        f'{name}_kms_operations_latency_seconds_count{{grpc_status_code="OK",'
        'method_name="/v2.KeyManagementService/Status",provider_name="vault"} 2',
    ):
        assert expected in lines
    for stamp in (
        f'{name}_key_id_hash_last_timestamp_seconds{{{labels},transformation_type="to_storage"}} ',
        f"{name}_key_id_hash_status_last_timestamp_seconds{{{labels}}} ",
    ):
        assert any(line.startswith(stamp) for line in lines)


def parts(api: APIServer) -> Any:
    assert api.encrypted is not None
    return api.encrypted._encryption.services


async def test_without_the_service_is_written_for_three_minutes_and_read_on(
    store: Store, tmp_path: Path, kms: Plugin
) -> None:
    clock = MovableClock()
    async with serving(store, tmp_path, provider(kms.path, timeout="200ms"), clock=clock) as api:
        await client_of(api).create(SECRETS, secret())
        await kms.stop()
        clock.ahead = 170.0
        await client_of(api).create(SECRETS, secret("late"))
        clock.ahead = 190.0
        with pytest.raises(
            InternalError, match=r'encryptedDEKSource with keyID hash "sha256:\w+" expired at'
        ):
            await client_of(api).create(SECRETS, secret("too-late"))
        assert (await client_of(api).get(SECRETS, "late", "default"))["data"]
        await kms.start()
        async with asyncio.timeout(10):  # the connection comes back in its own time
            while not await parts(api)[0].look(api.encrypted._changed):  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await client_of(api).create(SECRETS, secret("again"))


async def test_values_that_could_not_be_opened_are_once_the_service_can(
    store: Store, tmp_path: Path, kms: Plugin
) -> None:
    async with serving(store, tmp_path, provider(kms.path)) as api:
        await client_of(api).create(SECRETS, secret())
    known, kms._secrets = kms._secrets, {}
    clock = MovableClock()
    async with serving(store, tmp_path, provider(kms.path), clock=clock) as api:
        with pytest.raises(
            InternalError, match=r"failed to decrypt DEK, error: rpc error: code = NotFound desc = no such"
        ):
            await client_of(api).get(SECRETS, "token", "default")
        kms._secrets |= known
        kms.healthz = "down"
        assert not await parts(api)[0].look(api.encrypted._changed)  # type: ignore[union-attr]
        kms.healthz = "ok"
        clock.ahead = 5.0
        assert await parts(api)[0].look(api.encrypted._changed)  # type: ignore[union-attr]
        entry = await api.store.get(KEY)
        assert entry is not None and b"aHVzaC1odXNo" in entry.value


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"healthz": "down"}, "kmsv2 Provider vault is not healthy, error: got unexpected healthz status: down"),
        ({"version": "v1"}, "kmsv2 Provider vault is not healthy, error: expected KMSv2 API version v2, got v1"),
        ({"key_id": ""}, 'error: got invalid KMSv2 KeyID hash "": keyID is empty'),
        ({"key_id": "k" * 1025}, "keyID is 1025 bytes, which exceeds the max size of 1024"),
        ({"key_id": "other", "encrypt_key_id": "another"}, "failed to rotate DEK, errGen=<nil>, statusKeyIDHash="),
        ({"key_id": "other", "annotations": {"short": b""}}, "failed to validate annotations"),
        ({"delay": 1.0}, "failed to perform status section of the healthz check for KMS Provider vault, error: rpc error: "
                         "code = DeadlineExceeded desc = Deadline Exceeded"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_service_is_told_and_fails_its_check(
    store: Store, tmp_path: Path, kms: Plugin, wrong: dict[str, Any], why: str
) -> None:
    clock = MovableClock()
    async with serving(store, tmp_path, provider(kms.path, timeout="200ms"), clock=clock) as api:
        for endpoint in ("healthz", "livez", "readyz"):
            assert await health(api, f"/{endpoint}/kms-provider-0") == (200, "ok")
        for name, value in wrong.items():
            setattr(kms, name, value)
        assert (await health(api, "/healthz/kms-provider-0"))[0] == 200
        clock.ahead = 21.0
        with pytest.raises(StoreError) as told:
            await parts(api)[0].check()
        assert why in str(told.value)
        status, text = await health(api, "/healthz?verbose")
        assert status == 500 and "[-]kms-provider-0 failed: reason withheld" in text


async def test_a_service_that_is_not_there_keeps_the_server_from_starting(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "encryption.yaml"
    path.write_text(json.dumps(configuration(provider(tmp_path / "none.sock", timeout="100ms"))))
    api = APIServer(APIServerSettings(encryption_config=path), store)
    assert api.encrypted is not None
    with pytest.raises(StoreError, match="healthz check for KMS Provider vault, error: rpc error: code = "):
        await api.encrypted.start(api.clock, "me", 0.0)
    await api.encrypted.stop()


async def test_a_changed_file_may_bring_a_service(store: Store, tmp_path: Path, kms: Plugin) -> None:
    async with serving(store, tmp_path, IDENTITY, reload=True) as api:
        await client_of(api).create(SECRETS, secret())
        path = tmp_path / "encryption.yaml"
        reloads = Reloads("encryption", api.identity.name, api.clock)
        reloader = Reloader(path, api.encrypted, reloads, api.clock)  # type: ignore[arg-type]
        path.write_text(
            json.dumps(configuration(provider(tmp_path / "none.sock", timeout="100ms"), IDENTITY))
        )
        assert not await reloader.look()
        path.write_text(json.dumps(configuration(provider(kms.path), IDENTITY)))
        assert await reloader.look()
        assert await health(api, "/readyz/kms-providers") == (200, "ok")
        assert (await health(api, "/readyz/kms-provider-0"))[0] == 404
        await client_of(api).update(SECRETS, await client_of(api).get(SECRETS, "token", "default"))
    assert (await envelope(store)).source.key_id == "key-1"


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"name": "", "endpoint": "unix:///k"}, "kms.name: Required value: name is a mandatory field for a provider"),
        ({"name": "a:b", "endpoint": "unix:///k"}, "invalid KMS provider name a:b, must not contain ':'"),
        ({"name": "a", "endpoint": ""}, 'kms.endpoint: Invalid value: "": endpoint is a mandatory field for a kms'),
        ({"name": "a", "endpoint": "tcp://k"}, 'unsupported scheme "tcp" for KMS provider, only unix is supported'),
        ({"name": "a", "endpoint": "unix:///k", "timeout": "0s"}, "timeout should be a positive value"),
        ({"name": "a", "endpoint": "unix:///k", "cachesize": 3}, "kms.cachesize: Invalid value: 3: cachesize is not supported in v2"),
        ({"apiVersion": "v3", "name": "a", "endpoint": "unix:///k"}, 'kms.apiVersion: Invalid value: "v3": unsupported apiVersion'),
        ({"apiVersion": "v1", "name": "a", "endpoint": "unix:///k"}, "kms: Forbidden: KMSv1 is deprecated and switched off"),
    ],
)  # fmt: skip
def test_a_service_that_cannot_be_is_refused(stated: Object, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_encryption(configuration({"kms": {"apiVersion": "v2", **stated}}))
    assert message in str(caught.value)


def test_names_of_services_are_had_once(tmp_path: Path) -> None:
    path = tmp_path / "encryption.yaml"
    path.write_text(json.dumps(configuration(provider(tmp_path / "a"), provider(tmp_path / "b"))))
    with pytest.raises(ConfigurationError, match="duplicate KMS provider name vault, names must be unique"):
        load(path)


def test_sockets_are_named_as_grpc_names_them() -> None:
    assert target("unix:///run/kms.sock") == "unix:/run/kms.sock"
    assert target("unix:///@kms") == "unix-abstract:kms"


def test_an_envelope_is_read_as_it_was_written() -> None:
    source = Source(b"sealed", "key", (("a.example.com", b"1"), ("b.example.com", b"")))
    for each in (source, Source(b"sealed", "key", kind=AES_GCM_KEY)):
        assert Envelope.decode(Envelope(b"data", each).encode()) == Envelope(b"data", each)
    for broken in (
        b"",
        b"\xff",
        Envelope(b"", source).encode(),
        Envelope(b"data", Source(b"", "key")).encode(),
    ):
        with pytest.raises(Invalid):
            Envelope.decode(broken)


def test_a_seed_opens_what_it_sealed_only_where_it_lies() -> None:
    seed = Seed(b"s" * 32)
    sealed = seed.encrypt(b"plain", b"here")
    assert seed.decrypt(sealed, b"here") == b"plain"
    for data, place in ((sealed, b"there"), (sealed[:-1], b"here"), (b"short", b"here")):
        with pytest.raises(CannotDecrypt):
            seed.decrypt(data, place)
    with pytest.raises(Invalid, match="invalid seed length 31"):
        Seed(b"s" * 31)
