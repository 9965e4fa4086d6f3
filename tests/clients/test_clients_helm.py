"""The Helm library: the real Helm 4 with client-go inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sublet.testing import RunningControlPlane

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed (pip install -e .[test])")

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
    "values.yaml": "replicas: 1\nimage: busybox:1\n",
    "templates/config.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-config
data:
  replicas: "{{ .Values.replicas }}"
""",
    "templates/deployment.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
    spec:
      containers:
      - name: web
        image: {{ .Values.image }}
""",
    "templates/service.yaml": """\
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80}]
""",
}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chart") / "web"
    for name, content in CHART.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.fixture
def config(plane: RunningControlPlane) -> Iterator[Any]:
    with helm.Config(kubeconfig_path=plane.kubeconfig, namespace="default") as made:
        yield made


def test_a_release_is_installed_upgraded_rolled_back_and_uninstalled(
    plane: RunningControlPlane, config: Any, chart: Path
) -> None:
    from kubernetes import client
    from kubernetes import config as kubernetes_config

    api = kubernetes_config.new_client_from_config(str(plane.kubeconfig))
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)

    config.install(chart, "shop", wait="legacy", timeout=30)
    assert apps.read_namespaced_deployment("shop", "default").status.ready_replicas == 1

    config.upgrade(chart, "shop", {"replicas": 3}, wait="legacy", timeout=30)
    assert apps.read_namespaced_deployment("shop", "default").spec.replicas == 3
    assert core.read_namespaced_config_map("shop-config", "default").data == {"replicas": "3"}

    config.rollback("shop", version=1, wait="legacy", timeout=30)
    assert apps.read_namespaced_deployment("shop", "default").spec.replicas == 1

    config.uninstall("shop", wait="legacy", timeout=30)
    with pytest.raises(client.ApiException) as caught:
        apps.read_namespaced_deployment("shop", "default")
    assert caught.value.status == 404
    assert not config.list()
