"""The paths of the version 2 document that are no resources: discovery, the version, the issuer of tokens. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sublet.apiserver.openapi_paths import Document, identifier, tag

_META = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1."
_INFO = "io.k8s.apimachinery.pkg.version.Info"
_JSON = ("application/json",)
_ANY = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_TOLD = (
    "major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform",
)  # fmt: skip
_TOLD_SOMETIMES = ("emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor")

DEFINITIONS: Document = {
    _INFO: {
        "description": "What runs here: its version, and how it was built.",
        "type": "object",
        "required": sorted(_TOLD),
        "properties": {name: {"type": "string"} for name in sorted((*_TOLD, *_TOLD_SOMETIMES))},
    }
}
"""Of what no resource refers to."""


def paths(places: Iterable[tuple[str, str]]) -> Document:
    """path -> path item. ``places``: (group, version) of all that is served by this API server's own kinds."""
    return dict(_paths(dict.fromkeys(places)))


def _paths(places: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Document]]:
    versions, resources = f"{_META}APIVersions", f"{_META}APIResourceList"
    yield "/api/", _get("getCoreAPIVersions", "core", "get available API versions", versions)
    yield "/apis/", _get("getAPIVersions", "apis", "get available API versions", f"{_META}APIGroupList")
    told, text = "get available resources", "get information of a group"
    for group, version in places:
        name = identifier(group or "core")
        root = f"/apis/{group}/" if group else "/api/"
        if group:
            yield root, _get(f"get{name}APIGroup", tag(group), text, f"{_META}APIGroup")
        scope = name + version[:1].upper() + version[1:]
        found = _get(f"get{scope}APIResources", f"{tag(group)}_{version}", told, resources)
        yield f"{root}{version}/", found
    told = "get the version information for this server"
    yield "/version/", _get("getCodeVersion", "version", told, f"#/definitions/{_INFO}", _JSON, _JSON)
    told = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'"
    identity = "getServiceAccountIssuerOpenIDConfiguration"
    yield "/.well-known/openid-configuration/", _get(identity, "WellKnown", told, "", _JSON, ("*/*",))
    told = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)"
    keys = ("application/jwk-set+json",)
    yield "/openid/v1/jwks/", _get("getServiceAccountIssuerOpenIDKeyset", "openid", told, "", keys, ("*/*",))


def _get(
    identity: str,
    tagged: str,
    description: str,
    answer: str,
    produces: tuple[str, ...] = _ANY,
    consumes: tuple[str, ...] = _ANY,
) -> Document:
    """``answer``: a reference to what is answered; nothing: a text."""
    schema = {"$ref": answer} if answer else {"type": "string"}
    operation = {
        "operationId": identity,
        "tags": [tagged],
        "description": description,
        "consumes": list(consumes),
        "produces": list(produces),
        "schemes": ["https"],
        "responses": {"200": {"description": "OK", "schema": schema}, "401": {"description": "Unauthorized"}},
    }
    return {"get": operation}
