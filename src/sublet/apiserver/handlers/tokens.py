"""ServiceAccount tokens: TokenRequest, TokenReview, and the documents by which others verify tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sublet.apiserver import decoding, negotiation, objectmeta
from sublet.apiserver.admission.besides import admit_created
from sublet.apiserver.authentication.authenticator import BadToken, with_authenticated
from sublet.apiserver.authentication.serviceaccount import Bound, ServiceAccountTokens
from sublet.apiserver.authentication.userinfo import user_info
from sublet.apiserver.calls import Call
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.options import write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.kinds import schemas
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import (
    BadRequest,
    FieldError,
    NotFound,
    conflict,
    invalid,
    invalid_object,
    not_found,
)

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_GROUP = "authentication.k8s.io"
_TOKEN_REQUEST = Resource(_GROUP, "v1", "tokenrequests", "TokenRequest", True)
_DEFAULT_SECONDS = 3600
_MINIMUM_SECONDS = 600
_UID_SINCE = 34
"""From this minor on a request may say, and learns, which account of the name is meant."""
_MAXIMUM_SECONDS = 1 << 32
_BOUND = {
    ("v1", "Pod"): ("pod", "pods"),
    ("v1", "Secret"): ("secret", "secrets"),
    ("v1", "Node"): ("node", "nodes"),
}


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """Routes to what the module stands for."""
    if info.is_resource:
        if info.subresource:
            return await _token_request(request, info, api)
        return await _token_review(request, info, api)
    tokens = api.authenticator.service_accounts
    path = info.path.rstrip("/")
    if tokens is None or info.verb not in ("get", "head"):
        return not_served()
    if path == "/.well-known/openid-configuration":
        return _published(_configuration(tokens, api.settings.authentication.jwks_uri), "application/json")
    if path == "/openid/v1/jwks":
        return _published({"keys": [key.jwk() for key in tokens.keys.keys]}, "application/jwk-set+json")
    return not_served()


def _configuration(tokens: ServiceAccountTokens, jwks_uri: str) -> Object:
    return {
        "issuer": tokens.issuer,
        "jwks_uri": jwks_uri or f"{tokens.issuer.rstrip('/')}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({key.algorithm for key in tokens.keys.keys}),
    }


def _published(document: Object, content_type: str) -> Response:
    headers = [("Content-Type", content_type), ("Cache-Control", "public, max-age=3600")]
    return Response(200, headers, codec.encode_json(document))


async def _token_request(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """POST ``serviceaccounts/NAME/token``."""
    accepted = negotiation.accept(request, info)
    options = write_options(request, info, "CreateOptions")
    schema = schemas.definition(api.settings.minor, _GROUP, "v1", "TokenRequest")
    body = decoding.decode(request, _TOKEN_REQUEST, schema, options.validation, request.context["warnings"])
    tokens = api.authenticator.service_accounts
    if tokens is None:
        raise NotFound("this API server has no key to sign ServiceAccount tokens with")
    _check_metadata(info, body.get("metadata") or {})
    account = await _stored(api, "serviceaccounts", info.namespace, info.name)
    if account is None:
        raise not_found("", "serviceaccounts", info.name)
    _default(info, api, body, objects.uid(account))

    def check() -> None:
        body["spec"]["audiences"] = list(body["spec"].get("audiences") or tokens.audiences)
        _validate(body)

    await admit_created(request, info, api, body, options, check=check)
    spec = body["spec"]
    bound = await _bound(api, info, spec.get("boundObjectRef") or {})
    if 0 < tokens.max_seconds < spec["expirationSeconds"]:
        request.context["warnings"].append(
            f"requested expiration of {spec['expirationSeconds']} seconds shortened to {tokens.max_seconds} seconds"
        )
        spec["expirationSeconds"] = tokens.max_seconds
    token, expires, identity = tokens.issue(
        info.namespace, info.name, objects.uid(account), spec["expirationSeconds"], spec["audiences"], bound
    )
    notes = request.context.setdefault("audit_annotations", {})
    notes["authentication.kubernetes.io/issued-credential-id"] = f"JTI={identity}"
    body["status"] = {"token": token, "expirationTimestamp": objects.rfc3339(expires)}
    return negotiation.respond(body, accepted, 201)


def _check_metadata(info: RequestInfo, metadata: Mapping[str, Any]) -> None:
    """A name or namespace in the body must be the address's."""
    objectmeta.check_namespace(str(metadata.get("namespace") or ""), info.namespace)
    if metadata.get("name") and metadata["name"] != info.name:
        detail = "must match the service account name if specified"
        raise invalid_object(
            _GROUP, "TokenRequest", info.name, [invalid("metadata.name", metadata["name"], detail)]
        )


def _default(info: RequestInfo, api: APIServer, body: Object, uid: str) -> None:
    """Completes spec and metadata, of the account with a ``uid``. Raises ``Conflict`` where another is meant."""
    spec: dict[str, Any] = dict(body.get("spec") or {})
    spec.setdefault("boundObjectRef", None)
    seconds = spec.get("expirationSeconds")
    spec["expirationSeconds"] = _DEFAULT_SECONDS if seconds is None else int(seconds)
    metadata: dict[str, Any] = body.get("metadata") or {}
    if int(api.settings.minor.partition(".")[2]) >= _UID_SINCE:
        stated = metadata.get("uid") or uid
        if stated != uid:
            why = f"the UID in the token request ({stated}) does not match the UID of the service account ({uid})"
            raise conflict(_GROUP, "TokenRequest", info.name, why)
        metadata = {**metadata, "uid": uid}
    body["spec"] = spec
    body["metadata"] = {
        **metadata,
        "name": info.name,
        "namespace": info.namespace,
        "creationTimestamp": objects.rfc3339(api.clock.now()),
    }
    body.pop("status", None)


async def _stored(api: APIServer, plural: str, namespace: str, name: str) -> Object | None:
    """A fresh read: whoever asks for a token has often just made what it is for."""
    kind = api.kinds.stored("", plural)
    if kind is None:
        return None
    entry = await api.registry.entry(kind, namespace, name)
    if entry is None:
        await api.registry.fresh(kind)
        entry = await api.registry.entry(kind, namespace, name)
    found: Object | None = None if entry is None else entry.object
    return found


def _validate(body: Object) -> None:
    seconds = int(body["spec"]["expirationSeconds"])
    errors: list[FieldError] = []
    if seconds < _MINIMUM_SECONDS:
        errors.append(
            invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    if seconds > _MAXIMUM_SECONDS:
        errors.append(
            invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )
    if errors:
        raise invalid_object(_GROUP, "TokenRequest", "", errors)


async def _bound(api: APIServer, info: RequestInfo, reference: Mapping[str, Any]) -> Sequence[Bound]:
    """What the token dies with; for a Pod also its node, for information."""
    if not reference:
        return ()
    version, kind = reference.get("apiVersion", ""), reference.get("kind", "")
    if (version, kind) not in _BOUND:
        raise BadRequest(f"cannot bind token to object of type {_shown(version, kind)}")
    short, plural = _BOUND[version, kind]
    name = reference.get("name", "")
    obj = await _stored(api, plural, "" if short == "node" else info.namespace, name)
    if obj is None:
        raise not_found("", plural, name)
    uid = objects.uid(obj)
    if reference.get("uid") and reference["uid"] != uid:
        why = (
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise conflict("", kind, name, why)
    bound = [Bound(short, name, uid)]
    if short == "pod":
        spec = obj.get("spec") or {}
        if spec.get("serviceAccountName", "default") != info.name:
            raise BadRequest(
                f'cannot bind token for serviceaccount "{info.name}" to pod running with different serviceaccount name.'
            )
        if node := spec.get("nodeName"):
            found = await _stored(api, "nodes", "", node)
            bound.append(Bound("node", node, objects.uid(found) if found else ""))
    return bound


def _shown(version: str, kind: str) -> str:
    """A GroupVersionKind as Go writes it."""
    group, _, version = version.rpartition("/")
    return f"{group}/{version}, Kind={kind}"


def _check_token(review: Object) -> None:
    if not (review.get("spec") or {}).get("token"):
        raise BadRequest("token is required for TokenReview in authentication")


async def _token_review(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """POST ``tokenreviews``."""
    accepted = negotiation.accept(request, info)
    call = Call.of(request, info, api)
    options = write_options(request, info, "CreateOptions")
    review = await call.decode(options)
    objectmeta.receive(review, call.kind, info.namespace)
    await admit_created(
        request, info, api, review, options, objects.name(review), lambda: _check_token(review)
    )
    spec: dict[str, Any] = review["spec"]
    token = spec["token"]
    bearer = api.authenticator.tokens
    try:
        found = await bearer.review(token, tuple(spec.get("audiences") or ()) or bearer.audiences)
    except BadToken as error:
        review["status"] = {"user": {}, "error": str(error)}
    else:
        review["status"] = {
            "authenticated": True,
            "user": user_info(with_authenticated(found.user)),
            "audiences": list(found.audiences),
        }
    return negotiation.respond(review, accepted, 201)
