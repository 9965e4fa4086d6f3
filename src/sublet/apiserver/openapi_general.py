"""The paths of OpenAPI documents that are no resources: discovery, the version, the issuer of tokens. Pure.

The version 2 document tells of all of them. Of version 3 each has a document of its own; that of a group and version
stands in the one with its resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sublet.apiserver.openapi_paths import Document, Format, identifier, responses, tag

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_INFO = "io.k8s.apimachinery.pkg.version.Info"
_JSON = ("application/json",)
_ANY = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_GROUP = "APIGroup"

DEFINITIONS = (_INFO, *(f"{_META}{kind}" for kind in ("APIVersions", "APIGroupList", _GROUP)))
"""What these paths answer with, besides ``APIResourceList``."""


def paths(form: Format, places: Iterable[tuple[str, str]]) -> Document:
    """path -> path item. ``places``: (group, version) of all that is served by this API server's own kinds."""
    return dict(_General(form).paths(dict.fromkeys(places)))


class _General:
    def __init__(self, form: Format) -> None:
        self._form = form
        self._prefix = "#/definitions/" if form == 2 else "#/components/schemas/"

    def paths(self, places: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Document]]:
        told = "get available API versions"
        yield "/api/", self._get("getCoreAPIVersions", "core", told, f"{_META}APIVersions")
        yield "/apis/", self._get("getAPIVersions", "apis", told, f"{_META}APIGroupList")
        told, text = "get available resources", "get information of a group"
        for group, version in places:
            name = identifier(group or "core")
            root = f"/apis/{group}/" if group else "/api/"
            if group:
                yield root, self._get(f"get{name}APIGroup", tag(group), text, f"{_META}{_GROUP}")
            scope = name + version[:1].upper() + version[1:]
            resources = f"{_META}APIResourceList"
            found = self._get(f"get{scope}APIResources", f"{tag(group)}_{version}", told, resources)
            yield f"{root}{version}/", found
        told = "get the version information for this server"
        yield "/version/", self._get("getCodeVersion", "version", told, _INFO, _JSON, _JSON)
        told = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'"
        identity = "getServiceAccountIssuerOpenIDConfiguration"
        yield (
            "/.well-known/openid-configuration/",
            self._get(identity, "WellKnown", told, "", _JSON, ("*/*",)),
        )
        told = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)"
        identity, keys = "getServiceAccountIssuerOpenIDKeyset", ("application/jwk-set+json",)
        yield "/openid/v1/jwks/", self._get(identity, "openid", told, "", keys, ("*/*",))

    def _get(
        self,
        identity: str,
        tagged: str,
        description: str,
        answer: str,
        produces: tuple[str, ...] = _ANY,
        consumes: tuple[str, ...] = _ANY,
    ) -> Document:
        """``answer``: the definition of what is answered; nothing: a text."""
        schema = {"$ref": self._prefix + answer} if answer else {"type": "string"}
        found: Document = {"operationId": identity, "tags": [tagged], "description": description}
        if self._form == 2:
            found |= {"consumes": list(consumes), "produces": list(produces), "schemes": ["https"]}
        found["responses"] = responses(self._form, schema, [(200, "OK")], produces)
        return {"get": found}
