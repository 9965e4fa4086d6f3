"""kube-apiserver's flags that mean nothing here, so that who states them is told why instead of "unknown flag"."""

from __future__ import annotations

from collections.abc import Mapping

from sublet.controlplane.flagparser import Absent

_STORE = "the data store is not etcd; choose one with --store"
_CACHE = "the watch cache holds everything and needs no size"
_PKI = "the control plane makes and renews its own certificates and keys in its data directory"
_HTTP2 = "HTTP/1.1 is spoken, which has no such frames"
_SIGNER = "tokens are signed with the control plane's own key"
_EGRESS = "connections to nodes and webhooks are made directly"
_PROFILES = "a Python process has no Go profiles"


def _each(why: str, *flags: str) -> dict[str, Absent]:
    return {f"--{flag}": Absent(why) for flag in flags}


def _is(why: str, value: str, *flags: str) -> dict[str, Absent]:
    """Flags that may be stated as they are here; ``true`` and ``false`` are switches."""
    values = (
        ("true", "True", "1")
        if value == "true"
        else ("false", "False", "0")
        if value == "false"
        else (value,)
    )
    return {f"--{flag}": Absent(why, values, value in ("true", "false")) for flag in flags}


ABSENT: Mapping[str, Absent] = {
    **_each(
        _STORE,
        "etcd-cafile", "etcd-certfile", "etcd-compaction-interval", "etcd-count-metric-poll-period",
        "etcd-db-metric-poll-interval", "etcd-healthcheck-timeout", "etcd-keyfile", "etcd-prefix",
        "etcd-readycheck-timeout", "etcd-servers", "etcd-servers-overrides", "lease-reuse-duration-seconds",
        "storage-initialization-timeout",
    ),
    **_is("the data store is not etcd, and stores JSON", "application/json", "storage-media-type"),
    **_each(_STORE, "storage-backend"),
    **_is(_CACHE, "true", "watch-cache"),
    **_each(_CACHE, "default-watch-cache-size", "watch-cache-sizes"),
    **_each(
        _PKI,
        "cert-dir", "kubelet-certificate-authority", "kubelet-client-certificate", "kubelet-client-key",
        "proxy-client-cert-file", "proxy-client-key-file",
    ),
    **_each(_SIGNER, "service-account-signing-endpoint", "service-account-signing-key-file"),
    **_is("service accounts are always looked up", "true", "service-account-lookup"),
    **_is(_HTTP2, "0", "goaway-chance"),
    **_each(_HTTP2, "http2-max-streams-per-connection"),
    **_is(_PROFILES, "false", "profiling", "contention-profiling"),
    **_each(_PROFILES, "debug-socket-path"),
    **_each(_EGRESS, "egress-selector-config-file", "peer-advertise-ip", "peer-advertise-port", "peer-ca-file"),
    **_each("nothing is traced", "tracing-config-file"),
    **_is("the machine's log files are not served", "false", "enable-logs-handler"),
    **_is("aggregated API servers are always asked under their Services' addresses", "false", "enable-aggregator-routing"),
    **_is("privileged containers are allowed; restrict them with pod security", "true", "allow-privileged"),
    **_is("endpoints are published by leases", "lease", "endpoint-reconciler-type"),
    **_is("owners are always looked after", "true", "enable-garbage-collector"),
    **_is("collections are deleted one by one", "1", "delete-collection-workers"),
    **_is("logs are plain text", "text", "logging-format"),
    **_each("choose the minor with --kubernetes-version", "emulated-version", "emulation-forward-compatible", "min-compatibility-version"),
    **_each("it is no cloud provider's", "cloud-config", "cloud-provider"),
    **_each("say how much is logged with -v", "vmodule"),
    **_each("ports are never shared", "permit-address-sharing", "permit-port-sharing"),
}  # fmt: skip
"""Flag -> why it is not here."""
