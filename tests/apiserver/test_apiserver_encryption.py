"""Encryption at rest: what lies in the store, what clients see, and what happens without the right key."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.apiserver.api import APIServer
from sublet.apiserver.encryption.ciphers import CIPHERS, CannotDecrypt
from sublet.apiserver.encryption.configuration import parse_encryption
from sublet.apiserver.encryption.reload import Reloader
from sublet.apiserver.encryption.store import EncryptedStore
from sublet.apiserver.reloads import Reloads
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import InternalError
from sublet.store.conformance import CHECKS
from sublet.store.interface import Store
from sublet.store.open import open_store

SECRETS = resource("secrets")
KEY = "/registry/core/secrets/default/token"
ADMIN = User("admin", ("system:masters",))


def key(name: str, fill: str, size: int = 32) -> Object:
    return {"name": name, "secret": base64.b64encode(fill.encode() * size).decode()}


def provider(kind: str, *keys: Object) -> Object:
    return {kind: {"keys": list(keys)}}


IDENTITY: Object = {"identity": {}}


def configuration(*providers: Object, resources: tuple[str, ...] = ("secrets",)) -> Object:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": list(resources), "providers": list(providers)}],
    }


@asynccontextmanager
async def serving(
    store: Store, folder: Path, document: Object | None
) -> AsyncIterator[tuple[APIServer, Client]]:
    path = folder / "encryption.yaml"
    if document is not None:
        path.write_text(json.dumps(document))
    settings = APIServerSettings(encryption_config=path if document is not None else None)
    api = APIServer(settings, store, detect_mutation=True)
    await api.start()
    try:
        yield api, api.client_as(ADMIN, "tester/1.0")
    finally:
        await api.stop()


def secret(name: str = "token") -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "stringData": {"password": "hush-hush"}}


async def raw(store: Store, where: str = KEY) -> bytes:
    entry = await store.get(where)
    assert entry is not None
    return entry.value


@pytest.mark.parametrize("kind", ["aescbc", "aesgcm", "secretbox"])
async def test_values_lie_encrypted_with_upstreams_prefix_and_clients_see_them_plain(
    store: Store, tmp_path: Path, kind: str
) -> None:
    async with serving(store, tmp_path, configuration(provider(kind, key("key1", "a")), IDENTITY)) as (
        _,
        client,
    ):
        await client.create(SECRETS, secret())
        found = await client.get(SECRETS, "token", "default")
        listed = await client.list(SECRETS, "default")
        await client.create(resource("configmaps"), {"metadata": {"name": "plain", "namespace": "default"}})
    value = await raw(store)
    assert value.startswith(f"k8s:enc:{kind}:v1:key1:".encode()) and b"aHVzaC1odXNo" not in value
    assert found["data"] == {"password": "aHVzaC1odXNo"} and listed["items"][0]["data"] == found["data"]
    assert not (await raw(store, "/registry/core/configmaps/default/plain")).startswith(b"k8s:enc:")


async def test_encrypted_values_are_read_after_a_restart(store: Store, tmp_path: Path) -> None:
    document = configuration(provider("aesgcm", key("key1", "a")))
    async with serving(store, tmp_path, document) as (_, client):
        await client.create(SECRETS, secret())
    async with serving(store, tmp_path, document) as (_, client):
        assert (await client.get(SECRETS, "token", "default"))["data"]


async def test_plain_values_are_read_and_a_replace_that_changes_nothing_encrypts_them(
    store: Store, tmp_path: Path
) -> None:
    async with serving(store, tmp_path, None) as (_, client):
        await client.create(SECRETS, secret())
    assert not (await raw(store)).startswith(b"k8s:enc:")
    async with serving(store, tmp_path, configuration(provider("aescbc", key("key1", "a")), IDENTITY)) as (
        _,
        client,
    ):
        found = await client.get(SECRETS, "token", "default")
        renewed = await client.update(SECRETS, found)
        again = await client.update(SECRETS, renewed)
    assert (await raw(store)).startswith(b"k8s:enc:aescbc:v1:key1:")
    assert renewed["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]
    assert again["metadata"]["resourceVersion"] == renewed["metadata"]["resourceVersion"]


async def test_the_first_key_writes_and_all_keys_read(store: Store, tmp_path: Path) -> None:
    old, new = key("old", "a"), key("new", "b")
    async with serving(store, tmp_path, configuration(provider("aescbc", old))) as (_, client):
        await client.create(SECRETS, secret())
    async with serving(
        store, tmp_path, configuration(provider("secretbox", new), provider("aescbc", old))
    ) as (_, client):
        found = await client.get(SECRETS, "token", "default")
        await client.update(SECRETS, found)
    assert (await raw(store)).startswith(b"k8s:enc:secretbox:v1:new:")


async def test_decrypting_a_kind_puts_identity_first(store: Store, tmp_path: Path) -> None:
    one = provider("aescbc", key("key1", "a"))
    async with serving(store, tmp_path, configuration(one)) as (_, client):
        await client.create(SECRETS, secret())
    async with serving(store, tmp_path, configuration(IDENTITY, one)) as (_, client):
        await client.update(SECRETS, await client.get(SECRETS, "token", "default"))
    assert not (await raw(store)).startswith(b"k8s:enc:")


@pytest.mark.parametrize(
    ("later", "problem"),
    [
        (configuration(provider("aesgcm", key("key1", "b"))), "cipher: message authentication failed"),
        (configuration(provider("aesgcm", key("key2", "a"))), "no key for k8s:enc:aesgcm:v1:key1"),
        (None, "no key for k8s:enc:aesgcm:v1:key1"),
    ],
)
async def test_a_missing_or_wrong_key_fails_the_kind_and_nothing_else(
    store: Store, tmp_path: Path, later: Object | None, problem: str
) -> None:
    async with serving(store, tmp_path, configuration(provider("aesgcm", key("key1", "a")))) as (_, client):
        await client.create(SECRETS, secret())
    other = later or configuration(IDENTITY, resources=("configmaps",))
    async with serving(store, tmp_path, other) as (_, client):
        for ask in (client.get(SECRETS, "token", "default"), client.list(SECRETS, "default")):
            with pytest.raises(InternalError) as caught:
                await ask
            assert f'unable to transform key "{KEY}"' in str(caught.value)
            assert problem in str(caught.value)
        assert await client.list(resource("configmaps"), "")


async def test_a_changed_file_is_taken_while_the_server_runs(store: Store, tmp_path: Path) -> None:
    old, new = key("old", "a"), key("new", "b")
    async with serving(store, tmp_path, configuration(provider("aesgcm", old))) as (api, client):
        await client.create(SECRETS, secret())
        assert api.encrypted is not None
        reloads = Reloads("encryption", api.identity.name, api.clock)
        reloader = Reloader(tmp_path / "encryption.yaml", api.encrypted, reloads, api.clock)
        assert not await reloader.look()
        changed = configuration(provider("aesgcm", new), provider("aesgcm", old))
        (tmp_path / "encryption.yaml").write_text(json.dumps(changed))
        assert await reloader.look()
        await client.create(SECRETS, secret("other"))
        assert api.encrypted.stale(KEY)
        await client.update(SECRETS, await client.get(SECRETS, "token", "default"))
        (tmp_path / "encryption.yaml").write_text("nonsense")
        assert not await reloader.look()
        told = "\n".join(reloads.lines())
        for status in ("success", "failure"):
            assert f'status="{status}"}} 1\n' in told
        await client.create(SECRETS, secret("third"))
    for name in ("token", "other", "third"):
        assert (await raw(store, f"/registry/core/secrets/default/{name}")).startswith(
            b"k8s:enc:aesgcm:v1:new:"
        )


async def test_a_watch_shows_plain_values(store: Store, tmp_path: Path) -> None:
    document = configuration(provider("aescbc", key("key1", "a")), resources=("*.*",))
    async with serving(store, tmp_path, document) as (_, client):
        await client.create(SECRETS, secret())
        watch = client.watch(SECRETS, "default")
        event = await anext(watch)
        await watch.aclose()
    assert event.object["data"] == {"password": "aHVzaC1odXNo"}
    assert (await raw(store, "/registry/core/namespaces/default")).startswith(b"k8s:enc:aescbc:v1:key1:")


@pytest.mark.parametrize(
    ("resources", "group", "plural", "encrypted"),
    [
        (("secrets",), "", "secrets", True), (("secrets",), "apps", "secrets", False), (("*.",), "", "pods", True),
        (("*.",), "apps", "deployments", False), (("*.apps",), "apps", "deployments", True),
        (("deployments.apps",), "apps", "deployments", True), (("*.*",), "example.com", "widgets", True),
    ],
)  # fmt: skip
def test_kinds_are_named_or_matched_by_group(
    resources: tuple[str, ...], group: str, plural: str, encrypted: bool
) -> None:
    found = parse_encryption(configuration(provider("aescbc", key("k", "a")), resources=resources))
    assert found.transformer(group, plural).writes_plain is not encrypted


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "kind EncryptionConfiguration"),
        ({**configuration(IDENTITY), "resources": []}, "resources: Required value: at least one resources is required"),
        (configuration(), "resources[0].providers: Required value: at least one resources[0].providers is required"),
        (configuration(IDENTITY, resources=()), "resources[0].resources: Required value: at least one resources[0].resources"),
        (configuration(IDENTITY, resources=("Secrets",)),
         'resources[0].resources[0]: Invalid value: "Secrets": resource name should not contain capital letters'),
        (configuration(IDENTITY, resources=("*",)), "use '*.' to encrypt all the resources from core API group or *.*"),
        (configuration(IDENTITY, resources=("apiserveripinfo",)), "resources which do not have REST API/s cannot be"),
        (configuration(IDENTITY, resources=("*.events.k8s.io",)), "Use 'events' instead in the config file"),
        (configuration(IDENTITY, resources=("ingresses.extensions",)), "'extensions' group has been removed"),
        (configuration(IDENTITY, resources=("secrets.*",)), "encrypting the same resource across groups is not supported"),
        (configuration(IDENTITY, resources=("secrets", "secrets")), "the same resource cannot be specified multiple times"),
        (configuration(IDENTITY, resources=("secrets", "*.")), "using overlapping resources such as 'secrets' and '*.'"),
        (configuration(IDENTITY, resources=("secrets", "*.*")), "in the same resource list is not allowed as they will be"),
        (configuration({}), "resources[0].providers[0]: Invalid value: provider does not contain any of the expected"),
        (configuration({**IDENTITY, **provider("aescbc", key("k", "a"))}), "more than one provider specified in a single"),
        (configuration({"kms": {"name": "old"}}), "providers[0].kms: Forbidden: KMSv1 is deprecated and switched off"),
        (configuration(provider("aescbc")), "providers[0].aescbc.keys: Required value: at least one keys is required"),
        (configuration(provider("aescbc", key("k", "a", 31))), 'keys[0].secret: Invalid value: "REDACTED": secret is not'),
        (configuration(provider("aescbc", key("k", "a", 31))), "got 31, expected one of [16 24 32]"),
        (configuration(provider("secretbox", key("k", "a", 16))), "got 16, expected one of [32]"),
        (configuration(provider("aesgcm", {"name": "k", "secret": "not base64"})), "secrets must be base64 encoded"),
        (configuration(provider("aesgcm", {"name": "", "secret": ""})), "keys[0].name: Required value: name is a mandatory"),
        (configuration(provider("aesgcm", key("a:b", "a"))), "must not contain ':'"),
        (configuration(provider("aesgmc", key("k", "a"))), "did you mean resources[0].providers[0].aesgcm?"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused_without_telling_a_secret(
    document: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_encryption(document)
    assert message in str(caught.value)
    assert "YWFh" not in str(caught.value)


def test_what_an_earlier_pattern_covers_may_not_be_named_again() -> None:
    for name in ("secrets", "*."):
        both = configuration(IDENTITY, resources=("*.",))
        both["resources"] += configuration(IDENTITY, resources=(name,))["resources"]
        with pytest.raises(ConfigurationError) as refused:
            parse_encryption(both)
        assert f'resource "{name}" is masked by earlier rule "*."' in str(refused.value)


def test_lists_that_name_the_same_kind_count_together_and_the_narrower_name_first() -> None:
    stated = configuration(provider("aescbc", key("one", "a")), resources=("secrets",))
    for cipher, names in (("two", ("secrets",)), ("all", ("*.*",))):
        stated["resources"] += configuration(provider("aescbc", key(cipher, "b")), resources=names)[
            "resources"
        ]
    found = parse_encryption(stated)
    secrets, others = found.transformer("", "secrets"), found.transformer("", "pods")
    assert secrets.to_store(b"x", b"k").startswith(b"k8s:enc:aescbc:v1:one:")
    assert others.to_store(b"x", b"k").startswith(b"k8s:enc:aescbc:v1:all:")
    second = parse_encryption(configuration(provider("aescbc", key("two", "b")), resources=("secrets",)))
    written = second.transformer("", "secrets").to_store(b"x", b"k")
    assert secrets.from_store(written, b"k") == (b"x", True)


def test_files_of_the_time_before_the_group_are_read() -> None:
    stated = configuration(provider("aescbc", key("k", "a")), resources=("secrets",))
    found = parse_encryption({**stated, "apiVersion": "v1", "kind": "EncryptionConfig"})
    assert not found.transformer("", "secrets").writes_plain


@given(st.binary(max_size=300), st.sampled_from(sorted(CIPHERS)), st.binary(min_size=1, max_size=20))
def test_every_cipher_opens_what_it_sealed_and_nothing_shorter(plain: bytes, kind: str, place: bytes) -> None:
    cipher = CIPHERS[kind](b"k" * 32)
    sealed = cipher.encrypt(plain, place)
    assert cipher.decrypt(sealed, place) == plain
    for damaged in (sealed[:-1], b"", sealed[:20]):
        with pytest.raises(CannotDecrypt):
            cipher.decrypt(damaged, place)


def test_an_aesgcm_value_opens_only_where_it_was_written() -> None:
    cipher = CIPHERS["aesgcm"](b"k" * 32)
    with pytest.raises(CannotDecrypt):
        cipher.decrypt(cipher.encrypt(b"x", b"/registry/core/secrets/a/b"), b"/registry/core/secrets/a/c")


@pytest.mark.parametrize("check", CHECKS)
async def test_an_encrypted_store_keeps_what_a_store_promises(check: str) -> None:
    document = configuration(provider("aesgcm", key("key1", "a")), resources=("*.*",))
    store = EncryptedStore(await open_store("memory://"), parse_encryption(document))
    try:
        await CHECKS[check](store)
    finally:
        await store.close()


async def test_a_file_that_is_no_yaml_is_refused_without_its_text(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "encryption.yaml"
    path.write_text("secret: hush: [")
    with pytest.raises(ConfigurationError) as caught:
        APIServer(APIServerSettings(encryption_config=path), store)
    assert str(path) in str(caught.value) and "hush" not in str(caught.value)
