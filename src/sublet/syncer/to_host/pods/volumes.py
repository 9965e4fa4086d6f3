"""Volumes of tenant pods: names of what they mount, tokens of the tenant's ServiceAccounts, the downward API."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from sublet.machinery.kind import Object
from sublet.syncer.mapping import Mapping
from sublet.syncer.references import SECRET_VOLUMES
from sublet.syncer.to_host.pods import identity

_TOKEN_MODE = 0o644


class TokenSource(Struct, frozen=True):
    """One projected ServiceAccount token that the tenant's API has to issue."""

    volume: str
    audience: str
    expiration: int | None


class Tokens(Struct):
    """Tokens by their source, and how the host pod gets them: by annotation, or through a Secret (if named)."""

    issued: dict[TokenSource, str] = field(default_factory=dict)
    annotations: dict[TokenSource, str] = field(default_factory=dict)
    """Source -> annotation key."""
    secret: str = ""
    """Host name of the Secret."""


def sources(spec: Object) -> list[TokenSource]:
    """The tokens that a pod asks for."""
    found = []
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if (wanted := source.get("serviceAccountToken")) is not None:
                found.append(_source(volume["name"], wanted))
    return list(dict.fromkeys(found))


def _source(volume: str, wanted: Object) -> TokenSource:
    return TokenSource(volume, wanted.get("audience") or "", wanted.get("expirationSeconds"))


def secret_key(source: TokenSource, number: int) -> str:
    """The key of a token in the Secret: the volume's name, numbered where a volume has several."""
    return source.volume if number == 0 else f"{source.volume}-{number}"


def secret_keys(tokens: Tokens) -> dict[TokenSource, str]:
    seen: dict[str, int] = {}
    found = {}
    for source in tokens.issued:
        number = seen[source.volume] = seen.get(source.volume, -1) + 1
        found[source] = secret_key(source, number)
    return found


def translate(spec: Object, pod: str, namespace: str, tokens: Tokens, mapping: Mapping) -> None:
    """Changes the pod spec's volumes in place. Their own names stay."""

    def named(holder: Object | None, key: str) -> None:
        if holder and holder.get(key):
            holder[key] = mapping.host_name(holder[key], namespace)

    for volume in spec.get("volumes") or ():
        named(volume.get("configMap"), "name")
        named(volume.get("persistentVolumeClaim"), "claimName")
        named(volume.get("glusterfs"), "endpoints")
        for kind, path in SECRET_VOLUMES.items():
            holder: Any = volume.get(kind)
            for part in path[:-1]:
                holder = (holder or {}).get(part)
            named(holder, path[-1])
        if volume.pop("ephemeral", None) is not None:
            claim = mapping.host_name(f"{pod}-{volume['name']}", namespace)
            volume["persistentVolumeClaim"] = {"claimName": claim}
        for item in (volume.get("downwardAPI") or {}).get("items") or ():
            identity.translate_field(item.get("fieldRef"), mapping)
        if volume.get("projected"):
            _projected(volume, namespace, tokens, mapping)


def _projected(volume: Object, namespace: str, tokens: Tokens, mapping: Mapping) -> None:
    keys = secret_keys(tokens)
    for source in volume["projected"].get("sources") or ():
        for kind in ("configMap", "secret"):
            if source.get(kind) and source[kind].get("name"):
                source[kind]["name"] = mapping.host_name(source[kind]["name"], namespace)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            identity.translate_field(item.get("fieldRef"), mapping)
        wanted = source.pop("serviceAccountToken", None)
        if wanted is None:
            continue
        token = _source(volume["name"], wanted)
        if tokens.secret:
            item = {"key": keys[token], "path": wanted["path"], "mode": _TOKEN_MODE}
            source["secret"] = {"name": tokens.secret, "items": [item]}
        else:
            reference = {
                "apiVersion": "v1",
                "fieldPath": f"metadata.annotations['{tokens.annotations[token]}']",
            }
            item = {"path": wanted["path"], "fieldRef": reference, "mode": _TOKEN_MODE}
            source["downwardAPI"] = {"items": [item]}
