"""Control planes of other Kubernetes minors."""

from __future__ import annotations

import logging
import time

import pytest
from kubernetes import client, config  # type: ignore[import-untyped]

from sublet.controlplane.config import SUPPORTED_MINORS
from sublet.testing import running_control_plane


def test_an_old_minor_runs_no_controller_of_kinds_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    """1.30 has no ServiceCIDR, IPAddress and VolumeAttributesClass, so nobody asks for them in vain."""
    with caplog.at_level(logging.WARNING, "sublet"), running_control_plane(minor="1.30"):
        time.sleep(0.5)
    assert [record.getMessage() for record in caplog.records if "404" in record.getMessage()] == []


@pytest.mark.parametrize("minor", SUPPORTED_MINORS)
def test_a_deployment_runs_on_every_minor(minor: str) -> None:
    """Controllers, scheduler and nodes write only what the minor has: nothing is dropped as unknown."""
    with running_control_plane(minor=minor, nodes=1) as running:
        api = client.AppsV1Api(config.new_client_from_config(str(running.kubeconfig)))
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        api.create_namespaced_deployment("default", {"metadata": {"name": "web"}, "spec": spec})
        for _ in range(300):
            if api.read_namespaced_deployment("web", "default").status.available_replicas == 2:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the deployment did not become available in 30 seconds")
