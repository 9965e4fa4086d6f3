"""What plug-ins can be told: the AdmissionConfiguration that ``--admission-control-config-file`` names.

Plug-ins with something to tell: EventRateLimit, ImagePolicyWebhook, MutatingAdmissionWebhook, PodNodeSelector,
PodSecurity, PodTolerationRestriction, ResourceQuota, ValidatingAdmissionWebhook.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field, structs

from sublet.apiserver.admission import imagesettings, order
from sublet.apiserver.admission.imagesettings import ImagePolicy
from sublet.apiserver.configurationfiles import refuse
from sublet.machinery import codec, names
from sublet.machinery.codec import DecodeError
from sublet.machinery.settings import ConfigurationError, parse
from sublet.machinery.status import FieldError, duplicate, invalid

_GROUP = "apiserver.config.k8s.io/"
_SELECTORS = "podNodeSelectorPluginConfig"
_TYPES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "EventRateLimit": (("eventratelimit.admission.k8s.io/v1alpha1", "Configuration"),),
    "MutatingAdmissionWebhook": (
        (f"{_GROUP}v1", "WebhookAdmissionConfiguration"),
        (f"{_GROUP}v1alpha1", "WebhookAdmission"),
    ),
    "PodSecurity": tuple(
        (f"pod-security.admission.config.k8s.io/{version}", "PodSecurityConfiguration")
        for version in ("v1", "v1beta1", "v1alpha1")
    ),
    "PodTolerationRestriction": (("podtolerationrestriction.admission.k8s.io/v1alpha1", "Configuration"),),
    "ResourceQuota": (
        (f"{_GROUP}v1", "ResourceQuotaConfiguration"),
        ("resourcequota.admission.k8s.io/v1beta1", "Configuration"),
        ("resourcequota.admission.k8s.io/v1alpha1", "Configuration"),
    ),
}
"""(apiVersion, kind) of a plug-in's configuration; those of the other plug-ins have none."""
_LEVEL = Literal["privileged", "baseline", "restricted"]


class PodSecurityDefaults(Struct, frozen=True):
    """What holds in namespaces whose labels do not say."""

    enforce: _LEVEL = "privileged"
    enforce_version: str = field(default="latest", name="enforce-version")
    audit: _LEVEL = "privileged"
    audit_version: str = field(default="latest", name="audit-version")
    warn: _LEVEL = "privileged"
    warn_version: str = field(default="latest", name="warn-version")

    def labels(self) -> dict[str, str]:
        """As labels of a namespace, without their prefix."""
        return {key.replace("_", "-"): str(value) for key, value in structs.asdict(self).items()}


NO_DEFAULTS = PodSecurityDefaults()


class PodSecurityExemptions(Struct, frozen=True):
    usernames: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()


class PodSecurityConfiguration(Struct, frozen=True):
    defaults: PodSecurityDefaults = NO_DEFAULTS
    exemptions: PodSecurityExemptions = PodSecurityExemptions()


class EventLimit(Struct, frozen=True):
    """``qps`` events per second and ``burst`` at once, for each of what ``type`` tells apart."""

    type: Literal["Server", "Namespace", "User", "SourceAndObject"] = "Server"
    qps: int = 0
    burst: int = 0
    cache_size: int = 4096
    """For how many it is kept in mind how much they had."""


class EventRateLimit(Struct, frozen=True):
    limits: tuple[EventLimit, ...] = ()


class QuotaScope(Struct, frozen=True):
    """One requirement, as in a quota's ``scopeSelector``."""

    scope_name: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()

    def requirement(self) -> dict[str, Any]:
        return {"scopeName": self.scope_name, "operator": self.operator, "values": list(self.values)}


class LimitedResource(Struct, frozen=True):
    """What is used in a namespace only where a quota there covers it."""

    resource: str = ""
    api_group: str = ""
    match_contains: tuple[str, ...] = ()
    """Parts of names as in a quota's ``hard``."""
    match_scopes: tuple[QuotaScope, ...] = ()


class ResourceQuotaConfiguration(Struct, frozen=True):
    limited_resources: tuple[LimitedResource, ...] = ()


class WebhookAdmission(Struct, frozen=True):
    kube_config_file: str = field(default="", name="kubeConfigFile")
    """Whose users are who this server is to webhooks."""


class PodTolerations(Struct, frozen=True):
    """In namespaces whose annotations do not say."""

    default: tuple[Mapping[str, Any], ...] = ()
    whitelist: tuple[Mapping[str, Any], ...] = ()


class AdmissionConfiguration(Struct, frozen=True):
    """Defaults are those without a file."""

    pod_security: PodSecurityConfiguration = PodSecurityConfiguration()
    event_rate_limit: EventRateLimit = EventRateLimit()
    image_policy: ImagePolicy | None = None
    pod_tolerations: PodTolerations = PodTolerations()
    toleration_seconds: tuple[int, int] = (300, 300)
    """How long pods bear a node that is not ready, and one that is not reachable; stated by flags alone."""
    resource_quota: ResourceQuotaConfiguration = ResourceQuotaConfiguration()
    mutating_webhooks: WebhookAdmission = WebhookAdmission()
    validating_webhooks: WebhookAdmission = WebhookAdmission()
    pod_node_selector: Mapping[str, str] = field(default_factory=dict)
    """By namespace the node selectors that its pods may have, and ``clusterDefaultNodeSelector`` of all pods."""


def load(path: Path) -> AdmissionConfiguration:
    """Reads a file and those it names. Raises :class:`ConfigurationError`."""
    document = _read(path, f'unable to read admission control configuration from "{path}"')
    found: dict[str, Any] = {}
    for index, stated in enumerate(_plugins(document, path)):
        where = f"{path}: plugins[{index}]"
        name = str(stated.get("name") or "")
        configuration = stated.get("configuration")
        if configuration is None and stated.get("path"):
            file = path.parent / str(stated["path"])
            configuration = _read(file, f"Couldn't open admission plugin configuration {file}")
        for key, value in _plugin(name, configuration, where, path.parent).items():
            found.setdefault(key, value)  # the first that is stated counts
    return AdmissionConfiguration(**found)


def _plugins(document: Any, path: Path) -> list[dict[str, Any]]:
    """What a file states about plug-ins; two of them may have one without any frame, for old times' sake."""
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: must be an AdmissionConfiguration of {_GROUP}v1")
    for key, name in (("imagePolicy", "ImagePolicyWebhook"), (_SELECTORS, "PodNodeSelector")):
        if key in document and not document.get("kind"):
            return [{"name": name, "configuration": {key: document[key]}}]
    version, kind = str(document.get("apiVersion") or ""), document.get("kind")
    if version not in (f"{_GROUP}v1", f"{_GROUP}v1alpha1"):
        raise ConfigurationError(f"{path}: must be an AdmissionConfiguration of {_GROUP}v1")
    if kind != "AdmissionConfiguration":
        raise ConfigurationError(f"{path}: kind must be AdmissionConfiguration, not {kind!r}")
    found = document.get("plugins") or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ConfigurationError(f"{path}: plugins must be a list of mappings")
    return found


def _plugin(name: str, configuration: Any, where: str, directory: Path) -> dict[str, Any]:
    if configuration is None:
        return {}
    if not isinstance(configuration, dict):
        raise ConfigurationError(f"{where}: the configuration of {name} must be a mapping")
    _check_type(name, configuration, where)
    stated = {key: value for key, value in configuration.items() if key not in ("apiVersion", "kind")}
    match name:
        case "PodSecurity":
            return {"pod_security": _pod_security(parse(PodSecurityConfiguration, stated, where), where)}
        case "EventRateLimit":
            return {"event_rate_limit": _limits(parse(EventRateLimit, stated, where), where)}
        case "PodNodeSelector":
            selectors = stated.get(_SELECTORS) or {}
            return {"pod_node_selector": {str(key): str(value) for key, value in selectors.items()}}
        case "PodTolerationRestriction":
            return {"pod_tolerations": parse(PodTolerations, stated, where)}
        case "ImagePolicyWebhook":
            return {"image_policy": imagesettings.load(stated, where, directory)}
        case "ResourceQuota":
            return {"resource_quota": _quota(parse(ResourceQuotaConfiguration, stated, where), where)}
        case "MutatingAdmissionWebhook" | "ValidatingAdmissionWebhook":
            made = parse(WebhookAdmission, stated, where)
            if made.kube_config_file:
                made = WebhookAdmission(str(directory / made.kube_config_file))
            return {f"{name.removesuffix('AdmissionWebhook').lower()}_webhooks": made}
    if name not in order.ORDER and name not in order.INERT:
        raise ConfigurationError(f"{where}: there is no admission plug-in {name!r}")
    return {}  # as upstream: a plug-in without anything to configure does not look


def _check_type(name: str, configuration: Mapping[str, Any], where: str) -> None:
    """A version and a kind need not be stated, but none of something else may be."""
    known = _TYPES.get(name.replace("ValidatingAdmission", "MutatingAdmission"), ())
    version, kind = configuration.get("apiVersion"), configuration.get("kind")
    if known and not any(version in (None, each) and kind in (None, of) for each, of in known):
        raise ConfigurationError(
            f'{where}: no kind "{kind or ""}" is registered for version "{version or ""}"'
        )


def _quota(stated: ResourceQuotaConfiguration, where: str) -> ResourceQuotaConfiguration:
    for index, each in enumerate(stated.limited_resources):
        if not each.resource:
            raise ConfigurationError(f"{where}: limitedResources[{index}].resource: Required value")
    return stated


def _pod_security(stated: PodSecurityConfiguration, where: str) -> PodSecurityConfiguration:
    from sublet.apiserver.admission import podsecurity

    labels = {podsecurity.PREFIX + key: value for key, value in stated.defaults.labels().items()}
    errors = podsecurity.policy_of(labels).errors
    if errors:
        raise ConfigurationError(f"{where}: defaults: {errors[0]}")
    try:
        refuse(_exemption_errors(stated.exemptions))
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    return stated


def _exemption_errors(exemptions: PodSecurityExemptions) -> list[FieldError]:
    """In upstream's words."""
    found: list[FieldError] = []
    for key, values, problems in (
        ("namespaces", exemptions.namespaces, names.dns1123_label),
        ("runtimeClasses", exemptions.runtime_classes, names.dns1123_subdomain),
        ("usernames", exemptions.usernames, _no_user),
    ):
        seen: set[str] = set()
        for index, value in enumerate(values):
            where = f"exemptions.{key}[{index}]"
            if wrong := problems(value):
                found.append(invalid(where, value, ", ".join(wrong)))
            elif value in seen:
                found.append(duplicate(where, value))
            seen.add(value)
    return found


def _no_user(name: str) -> list[str]:
    return [] if name else ["username must not be empty"]


def _limits(stated: EventRateLimit, where: str) -> EventRateLimit:
    if not stated.limits:
        raise ConfigurationError(f"{where}: limits: at least one is needed")
    for index, limit in enumerate(stated.limits):
        if min(limit.qps, limit.burst, limit.cache_size) <= 0:
            raise ConfigurationError(f"{where}: limits[{index}]: qps, burst and cacheSize must be positive")
    return stated


def _read(path: Path, what: str) -> Any:
    try:
        return codec.decode_yaml_file(path.read_bytes())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"{what} [open {path}: {why}]") from None
    except DecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from None
