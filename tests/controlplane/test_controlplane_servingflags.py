"""kube-apiserver's flags about where and how it is served."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.controlplane import absentflags
from sublet.controlplane.assemble import ControlPlane
from sublet.controlplane.config import load
from sublet.controlplane.flagparser import names
from sublet.controlplane.flags import APIServerFlags, applied, parse_flags, shown
from sublet.controlplane.run import CannotStart, RunSettings, assembly, start
from sublet.kinds.resources import resource
from sublet.machinery.settings import ConfigurationError
from sublet.pki.authority import SERVER, Authority


def assembled(tmp_path: Path, *flags: str, **settings: object):
    return assembly(RunSettings(data_dir=tmp_path, api_server_flags=flags, **settings), load({}))  # type: ignore[arg-type]


def test_places_of_flags_win_over_options(tmp_path: Path) -> None:
    made = assembled(
        tmp_path, "--bind-address=::1", "--secure-port=7443", "--advertise-address=10.9.9.9",
        "--service-cluster-ip-range=10.50.0.0/24", port=1,
    )  # fmt: skip
    assert (made.host, made.port, made.advertise_address, made.service_cidr) == (
        "::1", 7443, "10.9.9.9", "10.50.0.0/24",
    )  # fmt: skip


def test_services_may_have_a_range_of_each_family(tmp_path: Path) -> None:
    flagged = assembled(tmp_path, "--service-cluster-ip-range=10.50.0.1/24,fd00:0::/112")
    assert flagged.service_cidr == "10.50.0.0/24,fd00::/112"
    assert (
        assembled(tmp_path, service_cidr="fd00::/112, 10.50.0.0/24").service_cidr == "fd00::/112,10.50.0.0/24"
    )


def test_the_servers_own_service_and_its_endpoint_are_of_one_family(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        assembled(tmp_path, "--service-cluster-ip-range=fd00::/112,10.0.0.0/24", advertise_address="10.9.9.9")
    assert str(refused.value) == (
        'service IP family "fd00::/112" must match public address family "10.9.9.9"'
    )
    for address in ("fd00:1::9", "127.0.0.1", "api.example.com"):
        assembled(tmp_path, service_cidr="fd00::/112", advertise_address=address)
    assembled(tmp_path, advertise_address="fd00:1::9")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("10.0.0.0", "invalid CIDR address: 10.0.0.0"),
        ("10.0.0.0/16,10.1.0.0/16", "len of ClusterCIDRs==2 and they are not configured as dual stack"),
        ("10.0.0.0/16,fd00::/56,fd01::/56", "length of clusterCIDRs is:3 more than max allowed of 2"),
    ],
)
def test_ranges_of_pods_that_cannot_be_are_refused(tmp_path: Path, stated: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        assembly(RunSettings(data_dir=tmp_path), load({"networking": {"podCIDR": stated}}))
    assert message in str(refused.value)


def test_options_count_where_flags_say_nothing(tmp_path: Path) -> None:
    made = assembled(tmp_path, "--event-ttl=2h", host="127.0.0.1", port=7001)
    assert (made.host, made.port, made.advertise_address, made.service_cidr) == (
        "127.0.0.1", 7001, "127.0.0.1", "10.96.0.0/16",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--bind-address=here",
            'invalid argument "here" for "--bind-address" flag: failed to parse IP: "here"',
        ),
        ("--secure-port=70000", "must be between 1 and 65535, inclusive"),
        ("--service-cluster-ip-range=10.0.0.0", "service-cluster-ip-range[0] is not a valid cidr"),
        ("--service-cluster-ip-range=10.0.0.0/24,x", "service-cluster-ip-range[1] is not an ip net"),
        (
            "--service-cluster-ip-range=10.0.0.0/24,10.1.0.0/24",
            "--service-cluster-ip-range[0] and --service-cluster-ip-range[1] must be of different IP family",
        ),
        (
            "--service-cluster-ip-range=10.0.0.0/24,fd00::/112,fd01::/112",
            "--service-cluster-ip-range must not contain more than two entries",
        ),
        (
            "--service-cluster-ip-range=10.0.0.0/30",
            "error determining service IP ranges for primary service cidr: "
            "the service cluster IP range must be at least 8 IP addresses",
        ),
        ("--tls-cipher-suites=TLS_NONE", "Cipher suite TLS_NONE not supported or doesn't exist"),
        ("--tls-min-version=VersionTLS9", 'unknown tls version "VersionTLS9"'),
        ("--tls-cert-file=/tmp/a.crt", "missing filename for serving cert"),
        ("--tls-private-key-file=/tmp/a.key", "missing filename for serving cert"),
        (
            "--tls-sni-cert-key=/tmp/a.crt",
            'invalid argument "/tmp/a.crt" for "--tls-sni-cert-key" flag: '
            "expected comma separated certificate and key file paths",
        ),
        (
            "--tls-sni-cert-key=/tmp/a.crt,/tmp/a.key:",
            'invalid argument "/tmp/a.crt,/tmp/a.key:" for "--tls-sni-cert-key" flag: empty names list is not allowed',
        ),
    ],
)
def test_places_that_cannot_be_are_refused(tmp_path: Path, flag: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        assembled(tmp_path, flag)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--cors-allowed-origins=[a",
            "--cors-allowed-origins has an invalid regular expression: error parsing regexp",
        ),
        ("--cors-allowed-origins=example.com", "does not pin to start/end of host in the origin header"),
        ("--strict-transport-security-directives=forever", "invalid, allowed values: max-age=expireTime"),
        ("--runtime-config=coordination.k8s.io/v1beta1=true", "there is no such API here"),
        ("--runtime-config=storage.k8s.io/v1beta9=true", "there is no such API here"),
        ("--runtime-config=batch/v1=false", "APIs cannot be switched off here"),
        ("--runtime-config=api/all=maybe", "invalid value api/all=maybe"),
        ("--etcd-servers=http://127.0.0.1:2379", "the data store is not etcd; choose one with --store"),
        ("--goaway-chance=0.01", "HTTP/1.1 is spoken"),
        ("--profiling", "a Python process has no Go profiles"),
        ("--allow-privileged=false", "restrict them with pod security"),
        ("--watch-cache=false", "--watch-cache cannot be false here: the watch cache holds everything"),
    ],
)
def test_what_is_not_here_is_refused_by_name(flag: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        applied(parse_flags([flag]))
    assert message in str(caught.value)


def test_what_is_so_may_be_stated() -> None:
    stated = [
        "--allow-privileged=true",
        "--profiling=false",
        "--goaway-chance=0",
        "--watch-cache",
        "--enable-garbage-collector",
    ]
    found = applied(
        parse_flags([*stated, "--runtime-config=api/all=true,batch/v1=true,api/v1,api/beta=false"])
    )
    assert found["min_request_timeout"] == 1800


def test_no_flag_is_here_and_absent() -> None:
    assert not set(absentflags.ABSENT) & set(names(APIServerFlags))


def test_tls_is_what_was_chosen(tmp_path: Path) -> None:
    made = assembled(
        tmp_path,
        "--tls-min-version=VersionTLS13",
        "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256",
    )
    assert made.tls.only_13 and made.tls.ciphers == ("ECDHE-RSA-AES128-GCM-SHA256",)


async def handshake(port: int, version: ssl.TLSVersion, ciphers: str = "") -> str:
    """The cipher that both agree on."""
    context = ssl._create_unverified_context()
    context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("cipher")[0]
    writer.close()
    return str(found)


async def test_a_client_that_speaks_older_tls_only_is_turned_away(tmp_path: Path) -> None:
    plane = ControlPlane(assembled(tmp_path, "--tls-min-version=VersionTLS13", store="memory://", port=0))
    await plane.start()
    try:
        assert await handshake(plane.port, ssl.TLSVersion.TLSv1_3)
        with pytest.raises(ssl.SSLError):
            await handshake(plane.port, ssl.TLSVersion.TLSv1_2)
    finally:
        await plane.stop()


async def test_only_the_ciphers_that_were_chosen_are_agreed_on(tmp_path: Path) -> None:
    chosen = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    plane = ControlPlane(assembled(tmp_path, f"--tls-cipher-suites={chosen}", store="memory://", port=0))
    await plane.start()
    try:
        assert "AES256-GCM-SHA384" in await handshake(plane.port, ssl.TLSVersion.TLSv1_2)
        with pytest.raises(ssl.SSLError):
            await handshake(plane.port, ssl.TLSVersion.TLSv1_2, "ECDHE+AES128")
    finally:
        await plane.stop()


def test_flags_are_shown_as_they_came_to_be(tmp_path: Path) -> None:
    shown = assembled(
        tmp_path, "--event-ttl=90m", "--feature-gates=WatchList=true", "--enable-priority-and-fairness=false", port=7001,
    ).settings["flags"]()  # fmt: skip
    assert {name: shown[name] for name in ("event-ttl", "request-timeout", "feature-gates", "secure-port")} == {
        "event-ttl": "1h30m0s", "request-timeout": "1m0s", "feature-gates": "[WatchList=true]", "secure-port": "7001",
    }  # fmt: skip
    assert (shown["enable-priority-and-fairness"], shown["anonymous-auth"]) == ("false", "true")
    assert shown["service-cluster-ip-range"] == "10.96.0.0/16"
    assert assembled(tmp_path).settings["flags"]()["event-ttl"] == "1h0m0s"


async def test_certificates_of_ones_own_are_served_and_the_kubeconfig_still_works(tmp_path: Path) -> None:
    other = Authority.create("somebody's")
    for name in ("api", "named"):
        pair = other.issue(name, dns=[f"{name}.example.com"], ips=["127.0.0.1"], usages=(SERVER,))
        (tmp_path / f"{name}.crt").write_bytes(pair.cert_pem)
        (tmp_path / f"{name}.key").write_bytes(pair.key_pem)
    made = assembled(
        tmp_path / "data", f"--tls-cert-file={tmp_path}/api.crt", f"--tls-private-key-file={tmp_path}/api.key",
        f"--tls-sni-cert-key={tmp_path}/named.crt,{tmp_path}/named.key:a.example.org,*.example.net",
        store="memory://", port=0,
    )  # fmt: skip
    plane = ControlPlane(made)
    await plane.start()
    try:
        context = ssl.create_default_context(cadata=other.cert_pem.decode())
        _, writer = await asyncio.open_connection(
            "127.0.0.1", plane.port, ssl=context, server_hostname="api.example.com"
        )
        writer.close()
        strict = ssl.create_default_context(cadata=other.cert_pem.decode())
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'x.example.net'"):
            await asyncio.open_connection(
                "127.0.0.1", plane.port, ssl=strict, server_hostname="x.example.net"
            )
        client = Client(HTTPTransport(kubeconfig.load(plane.kubeconfig_path)), "test")
        try:
            assert (await client.get(resource("namespaces"), "default"))["metadata"]["name"] == "default"
        finally:
            await client.close()
    finally:
        await plane.stop()


def test_lists_of_whole_values_are_shown_as_upstream_shows_them(tmp_path: Path) -> None:
    stated = ("--tls-sni-cert-key=a.crt,a.key:x,y", "--tls-sni-cert-key=b.crt,b.key")
    assert shown(parse_flags(stated))["tls-sni-cert-key"] == "[a.crt,a.key:x,y;b.crt,b.key]"


async def test_files_that_are_not_there_keep_the_control_plane_from_starting(tmp_path: Path) -> None:
    flags = (f"--tls-cert-file={tmp_path}/no.crt", f"--tls-private-key-file={tmp_path}/no.key")
    with pytest.raises(CannotStart, match=f"open {tmp_path}/no.crt: no such file or directory"):
        await start(RunSettings(data_dir=tmp_path, port=0, store="memory://", api_server_flags=flags))
