"""The lightkube client: typed objects, server-side apply, custom resources, waiting."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube import ApiError, Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apiextensions_v1 import (
    CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion,
    CustomResourceValidation,
    JSONSchemaProps,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import PatchType

from sublet.testing import RunningControlPlane


@pytest.fixture(scope="module")
def api(plane: RunningControlPlane) -> Client:
    return Client(config=KubeConfig.from_file(str(plane.kubeconfig)), field_manager="lightkube-test")


def test_applied_objects_conflict_until_forced(api: Client) -> None:
    def settings(value: str) -> ConfigMap:
        return ConfigMap(metadata=ObjectMeta(name="lk", namespace="default"), data={"a": value})

    assert api.apply(settings("1")).data == {"a": "1"}
    with pytest.raises(ApiError) as caught:
        api.apply(settings("2"), field_manager="another")
    assert caught.value.status.code == 409
    assert api.apply(settings("2"), field_manager="another", force=True).data == {"a": "2"}


def test_a_deployment_is_waited_for_and_its_scale_set(api: Client) -> None:
    labels = {"app": "lk"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = Deployment.from_dict(
        {
            "metadata": {"name": "lk", "namespace": "default"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        }
    )
    api.create(made)
    api.wait(Deployment, "lk", for_conditions=["Available"], namespace="default")
    scale = api.get(Deployment.Scale, "lk", namespace="default")
    assert scale.spec is not None
    scale.spec.replicas = 3
    assert api.replace(scale, "lk", namespace="default").spec.replicas == 3  # type: ignore[union-attr]
    for _, seen in api.watch(
        Deployment, namespace="default", fields={"metadata.name": "lk"}, server_timeout=20
    ):
        if seen.status is not None and seen.status.readyReplicas == 3:
            break
    assert len(list(api.list(Pod, namespace="default", labels=labels))) == 3


def test_a_custom_resource_is_used_as_soon_as_it_is_established(api: Client) -> None:
    names = CustomResourceDefinitionNames(kind="Lamp", plural="lamps", singular="lamp")
    spec_schema = JSONSchemaProps(
        type="object", properties={"watts": JSONSchemaProps(type="integer", minimum=1)}
    )
    schema = JSONSchemaProps(type="object", properties={"spec": spec_schema})
    version = CustomResourceDefinitionVersion(
        name="v1", served=True, storage=True, schema=CustomResourceValidation(openAPIV3Schema=schema)
    )
    spec = CustomResourceDefinitionSpec(
        group="lk.example", names=names, scope="Namespaced", versions=[version]
    )
    api.create(CustomResourceDefinition(metadata=ObjectMeta(name="lamps.lk.example"), spec=spec))
    api.wait(CustomResourceDefinition, "lamps.lk.example", for_conditions=["Established"])
    lamp: Any = create_namespaced_resource("lk.example", "v1", "Lamp", "lamps")
    metadata = ObjectMeta(name="desk", namespace="default")
    assert api.create(lamp(metadata=metadata, spec={"watts": 5})).spec == {"watts": 5}
    with pytest.raises(ApiError, match=r"spec\.watts"):
        api.patch(lamp, "desk", {"spec": {"watts": 0}}, namespace="default", patch_type=PatchType.MERGE)
