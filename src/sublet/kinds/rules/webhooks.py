"""Rules of admission webhooks: who is called, for what, under which conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from sublet.kinds.rules import show
from sublet.kinds.rules.common import (
    Errors,
    fill,
    label_selector,
    named,
    needs,
    one_of,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, not_supported, required, too_many

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
MATCH_POLICIES = ("Equivalent", "Exact")
FAILURE_POLICIES = ("Fail", "Ignore")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_OLD_SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown")
REINVOCATION = ("IfNeeded", "Never")
_MAX_CONDITIONS = 64


def default_webhooks(obj: Object, *, mutating: bool) -> None:
    for webhook in obj.get("webhooks") or ():
        fill(webhook, failurePolicy="Fail", matchPolicy="Equivalent")
        fill(webhook, namespaceSelector={}, objectSelector={}, timeoutSeconds=10)
        if mutating:
            fill(webhook, reinvocationPolicy="Never")
        for entry in webhook.get("rules") or ():
            fill(entry, scope="*")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            fill(service, port=443)


class _Strictness(Struct, frozen=True):
    """Rules that came late: a stored configuration that breaks one may go on doing so."""

    side_effects: bool = True
    review_versions: bool = True
    unique_names: bool = True
    selector_values: bool = True
    conditions: bool = True


def _strictness(new: Sequence[Object], old: Sequence[Object]) -> _Strictness:
    """What is asked of a configuration that takes the place of another."""
    names_before = [webhook.get("name") or "" for webhook in old]
    selectors = [w.get(field) for w in old for field in ("namespaceSelector", "objectSelector")]
    conditions = ([w.get("matchConditions") or [] for w in configured] for configured in (new, old))
    now, then = conditions
    return _Strictness(
        side_effects=all(webhook.get("sideEffects") in _SIDE_EFFECTS for webhook in old),
        review_versions=all(_recognized(webhook.get("admissionReviewVersions") or ()) for webhook in old),
        unique_names=len(set(names_before)) == len(names_before),
        selector_values=not any(True for found in selectors for _ in label_selector("", found)),
        conditions=now != then,
    )


def webhooks(obj: Object, *, mutating: bool) -> Errors:
    yield from _webhooks(obj.get("webhooks") or (), _Strictness(), mutating=mutating)


def webhooks_update(new: Object, old: Object, *, mutating: bool) -> Errors:
    now, then = (obj.get("webhooks") or () for obj in (new, old))
    yield from _webhooks(now, _strictness(now, then), mutating=mutating)


def _webhooks(found: Sequence[Object], strictness: _Strictness, *, mutating: bool) -> Errors:
    seen: set[str] = set()
    for index, webhook in enumerate(found):
        where, name = f"webhooks[{index}]", webhook.get("name") or ""
        yield from _qualified(f"{where}.name", name)
        yield from _webhook(where, webhook, strictness, mutating=mutating)
        if name and name in seen and strictness.unique_names:
            yield duplicate(f"{where}.name", name)
        seen.add(name)


def _qualified(path: str, name: str) -> Errors:
    if not name:
        yield required(path)
    elif wrong := names.dns1123_subdomain(name):
        yield invalid(path, name, ",".join(wrong))
    elif name.count(".") < 2:
        yield invalid(path, name, "should be a domain with at least three segments separated by dots")


def _webhook(path: str, webhook: Object, strictness: _Strictness, *, mutating: bool) -> Errors:
    for index, entry in enumerate(webhook.get("rules") or ()):
        yield from rule_with_operations(f"{path}.rules[{index}]", entry)
    yield from one_of(f"{path}.failurePolicy", webhook.get("failurePolicy"), FAILURE_POLICIES)
    yield from one_of(f"{path}.matchPolicy", webhook.get("matchPolicy"), MATCH_POLICIES)
    effects = webhook.get("sideEffects")
    allowed = _SIDE_EFFECTS if strictness.side_effects else _OLD_SIDE_EFFECTS
    if effects is None:
        yield required(f"{path}.sideEffects", f"must specify one of {', '.join(allowed)}")
    else:
        yield from one_of(f"{path}.sideEffects", effects, allowed)
    seconds = webhook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        yield invalid(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
    for field in ("namespaceSelector", "objectSelector"):
        yield from label_selector(f"{path}.{field}", webhook.get(field), values=strictness.selector_values)
    if mutating:
        yield from one_of(f"{path}.reinvocationPolicy", webhook.get("reinvocationPolicy"), REINVOCATION)
    yield from client_config(f"{path}.clientConfig", webhook.get("clientConfig") or {})
    if strictness.conditions:
        yield from match_conditions(f"{path}.matchConditions", webhook.get("matchConditions") or ())
    versions = webhook.get("admissionReviewVersions") or ()
    yield from _review_versions(
        f"{path}.admissionReviewVersions", versions, recognized=strictness.review_versions
    )


def _recognized(versions: Sequence[str]) -> bool:
    """Whether a webhook that names versions names one that is spoken here."""
    return not versions or bool({"v1", "v1beta1"} & set(versions))


def _review_versions(path: str, versions: Sequence[str], *, recognized: bool) -> Errors:
    if not versions:
        yield required(path, "must specify one of v1, v1beta1")
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield invalid(f"{path}[{index}]", version, "duplicate version")
        else:
            yield from named(f"{path}[{index}]", version, names.dns1035_label)
    if recognized and not _recognized(versions):
        yield invalid(path, versions, "must include at least one of v1, v1beta1")


def client_config(path: str, config: Object) -> Errors:
    """A webhook's address: a URL, or a Service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _url(f"{path}.url", url)
    elif service is not None:
        yield from _service(f"{path}.service", service)


def _service(path: str, service: Object) -> Errors:
    """Kubernetes takes the one for the other: a missing name is told of the namespace, a missing namespace of the name."""
    for told, field in (("name", "namespace"), ("namespace", "name")):
        if not service.get(field):
            yield required(f"{path}.{told}")
    number = service.get("port") or 0
    if wrong := names.port_number(number):
        yield invalid(f"{path}.port", number, f"port is not valid: {','.join(wrong)}")
    where = service.get("path") or "/"
    if where == "/":
        return
    if not where.startswith("/"):
        yield invalid(f"{path}.path", where, "must start with a '/'")
    for index, step in enumerate(where[1:].removesuffix("/").split("/")):
        if not step:
            yield invalid(f"{path}.path", where, f"segment[{index}] may not be empty")
        else:
            for text in names.dns1123_subdomain(step):
                yield invalid(f"{path}.path", where, f"segment[{index}]: {text}")


def _url(path: str, url: str) -> Errors:
    form = "desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield required(path, f"url must be a valid URL: {error}; {form}")
        return
    if parts.scheme != "https":
        yield invalid(path, parts.scheme, f"'https' is the only allowed URL scheme; {form}")
    user, at, host = parts.netloc.rpartition("@")
    if not host:
        yield invalid(path, host, f"host must be specified; {form}")
    if at:
        yield invalid(path, user, "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid(path, parts.query, "query parameters are not permitted in the URL")


def rule_with_operations(path: str, entry: Object) -> Errors:
    operations = entry.get("operations") or ()
    if not operations:
        yield required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        yield invalid(
            f"{path}.operations", operations, "if '*' is present, must not specify other operations"
        )
    for index, operation in enumerate(operations):
        if operation not in OPERATIONS:
            yield not_supported(f"{path}.operations[{index}]", operation, OPERATIONS)
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = entry.get(field) or ()
        if not values:
            yield required(f"{path}.{field}")
        if len(values) > 1 and "*" in values:
            yield invalid(f"{path}.{field}", values, f"if '*' is present, must not specify other {what}")
        if field == "apiVersions":
            for index, value in enumerate(values):
                if not value:
                    yield required(f"{path}.{field}[{index}]")
    yield from _resources(f"{path}.resources", entry.get("resources") or ())
    yield from one_of(f"{path}.scope", entry.get("scope"), SCOPES)


def _resources(path: str, resources: Sequence[str]) -> Errors:
    """``RESOURCE`` or ``RESOURCE/SUBRESOURCE``, each part perhaps ``*``; none that another one covers already."""
    if not resources:
        yield required(path)
    whole: set[str] = set()
    everywhere: set[str] = set()
    plain = False
    for index, found in enumerate(resources):
        if not found:
            yield required(f"{path}[{index}]")
            continue
        resource, slash, subresource = found.partition("/")
        if not slash:
            plain = found != "*"
            continue
        if resource in whole:
            yield invalid(
                f"{path}[{index}]", found, f"if '{resource}/*' is present, must not specify {found}"
            )
        if subresource in everywhere:
            yield invalid(
                f"{path}[{index}]", found, f"if '*/{subresource}' is present, must not specify {found}"
            )
        if subresource == "*":
            whole.add(resource)
        if resource == "*":
            everywhere.add(subresource)
    if "*/*" in resources and len(resources) > 1:
        yield invalid(path, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and plain:
        detail = "if '*' is present, must not specify other resources without subresources"
        yield invalid(path, resources, detail)


def match_conditions(path: str, conditions: Sequence[Object]) -> Errors:
    """Names of CEL conditions; the expressions are compiled by whoever evaluates them."""
    if len(conditions) > _MAX_CONDITIONS:
        yield too_many(path, len(conditions), _MAX_CONDITIONS)
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        where, name = f"{path}[{index}]", condition.get("name") or ""
        if not str(condition.get("expression") or "").strip():
            yield required(f"{where}.expression")
        yield from needs(f"{where}.name", name, names.qualified_name)
        if name and name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)


def webhook_cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), len(obj.get("webhooks") or ()), show.age(obj, now)]
