"""A control plane with one hollow node per file of conformance tests, and the suite's namespaces."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance_client import API, APIError, Object
from conformance_steps import random_name, wait_for

from sublet.client import kubeconfig
from sublet.testing import RunningControlPlane, running_control_plane

Kubectl = Callable[..., str]
RUN = "conformance"
ADVERTISED = "192.0.2.10"
"""The API server tells pods this address; it listens on loopback, whose address no Endpoints may hold."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "conformance(name): the row of conformance-tests.tsv a test stands for"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if mark := item.get_closest_marker("conformance"):
            item.user_properties.append(("conformance", mark.args[0]))


@pytest.fixture(scope="module")
def plane(request: pytest.FixtureRequest) -> Iterator[RunningControlPlane]:
    """``NODES`` in the module says how many hollow nodes it has (1)."""
    with running_control_plane(
        nodes=getattr(request.module, "NODES", 1), advertise_address=ADVERTISED
    ) as running:
        yield running


@pytest.fixture(scope="module")
def api(plane: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory) -> API:
    """The administrator."""
    return connect(plane.kubeconfig, tmp_path_factory.mktemp("access"))


def connect(path: Path, scratch: Path) -> API:
    access = kubeconfig.load(path)
    tls = ssl.create_default_context(cadata=_text(access.ca_data))
    for file, data in (("client.crt", access.client_cert), ("client.key", access.client_key)):
        (scratch / file).write_text(_text(data), encoding="utf-8")
    tls.load_cert_chain(scratch / "client.crt", scratch / "client.key")
    return API(access.server, tls)


def _text(pem: bytes | str | None) -> str:
    assert pem
    return pem.decode() if isinstance(pem, bytes) else pem


def make_namespace(api: API, base: str, level: str, labels: dict[str, str] | None = None) -> str:
    """A namespace as the suite makes one, ready for pods."""
    wanted = {
        "e2e-framework": base,
        "e2e-run": RUN,
        **{f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn", "audit")},
        **(labels or {}),
    }
    namespaces = api.typed("v1", "namespaces")
    name = namespaces.create({"metadata": {"name": random_name(base), "labels": wanted}})["metadata"]["name"]
    for plural, awaited in (("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")):
        wait_for(
            lambda p=plural, a=awaited: api.typed("v1", p, name).get(a),
            f"{plural} {awaited}",
            ignore=APIError,
        )
    return name


@pytest.fixture
def new_namespace(api: API, request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Makes namespaces that are deleted at the end; ``POD_SECURITY`` in the module is their level."""
    made: list[str] = []
    level = getattr(request.module, "POD_SECURITY", "restricted")
    base = re.sub(r"[^a-z0-9]+", "-", request.node.originalname.removeprefix("test_"))[:30].strip("-")

    def make(labels: dict[str, str] | None = None) -> str:
        made.append(make_namespace(api, base, level, labels))
        return made[-1]

    yield make
    for name in made:
        _delete_namespace(api, name)


def _delete_namespace(api: API, name: str) -> None:
    try:
        api.typed("v1", "namespaces").delete(name)
    except APIError as error:
        if error.reason not in ("NotFound", "Conflict"):
            raise


@pytest.fixture
def namespace(new_namespace: Callable[..., str]) -> str:
    return new_namespace()


@pytest.fixture(scope="module")
def kubectl_command(plane: RunningControlPlane) -> list[str]:
    """The kubectl on PATH with the arguments that the suite always gives."""
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.fail("kubectl is not on PATH (scripts/bootstrap.sh machine installs it)")
    return [binary, f"--server={plane.url}", f"--kubeconfig={plane.kubeconfig}"]


@pytest.fixture(scope="module")
def kubectl_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("home"))}


class KubectlFailed(Exception):
    """kubectl exited with another code than 0; ``output`` is what it printed."""

    def __init__(self, code: int, output: str) -> None:
        self.output = output
        super().__init__(f"exit code {code}: {output}")


@pytest.fixture(scope="module")
def kubectl(kubectl_command: list[str], kubectl_environment: dict[str, str]) -> Kubectl:
    """Runs kubectl; returns its standard output."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        ran = subprocess.run(
            [*kubectl_command, *arguments], env=kubectl_environment, input=stdin,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if ran.returncode:
            raise KubectlFailed(ran.returncode, ran.stdout + ran.stderr)
        return ran.stdout

    return run


@pytest.fixture
def pod_spec() -> Object:
    """A pod's spec that every pod security level admits."""
    return {
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "agnhost-container",
                "image": "registry.k8s.io/e2e-test-images/agnhost:2.63.0",
                "args": ["pause"],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }  # fmt: skip
