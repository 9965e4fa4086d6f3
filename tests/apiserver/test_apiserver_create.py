from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, BadRequest, Invalid, NotFound, StatusError

MAPS, NAMESPACES, DEPLOYMENTS = resource("configmaps"), resource("namespaces"), resource("deployments.apps")
MAKE = Callable[..., Object]


async def test_the_server_sets_uid_time_and_version(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map(a="1"))
    metadata = made["metadata"]
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", metadata["uid"]
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"])
    assert int(metadata["resourceVersion"]) > 0
    assert (await client.get(MAPS, "settings", "default")) == made


async def test_what_only_the_server_sets_is_not_taken_from_the_client(
    client: Client, make_config_map: MAKE
) -> None:
    wanted = make_config_map()
    wanted["metadata"] |= {"uid": "mine", "deletionTimestamp": "2020-01-01T00:00:00Z"}
    metadata = (await client.create(MAPS, wanted))["metadata"]
    assert metadata["uid"] != "mine"
    assert "deletionTimestamp" not in metadata


async def test_a_generation_is_the_clients_own_where_the_server_counts_none(
    client: Client, make_config_map: MAKE
) -> None:
    wanted = make_config_map()
    wanted["metadata"]["generation"] = 9
    made = await client.create(MAPS, wanted)
    assert made["metadata"]["generation"] == 9
    made["metadata"]["generation"] = 10
    assert (await client.update(MAPS, made))["metadata"]["generation"] == 9
    wanted["metadata"] = {**wanted["metadata"], "name": "other", "generation": -1}
    with pytest.raises(
        Invalid, match=r"metadata\.generation: Invalid value: -1: must be greater than or equal to 0"
    ):
        await client.create(MAPS, wanted)


async def test_a_name_that_is_taken_is_refused(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map())
    with pytest.raises(AlreadyExists, match=r'^configmaps "settings" already exists$'):
        await client.create(MAPS, make_config_map())


async def test_a_namespace_that_is_missing_is_named(client: Client, make_config_map: MAKE) -> None:
    with pytest.raises(NotFound, match=r'^namespaces "nowhere" not found$'):
        await client.create(MAPS, make_config_map(namespace="nowhere"))


async def test_generate_name_gives_distinct_names(client: Client) -> None:
    base: Object = {"metadata": {"generateName": "job-", "namespace": "default"}}
    made = {(await client.create(MAPS, base))["metadata"]["name"] for _ in range(5)}
    assert len(made) == 5
    assert all(re.fullmatch("job-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in made)


async def test_no_name_at_all_is_invalid(client: Client) -> None:
    with pytest.raises(Invalid, match=r"metadata.name: Required value: name or generateName is required"):
        await client.create(MAPS, {"metadata": {"namespace": "default"}})


async def test_the_namespace_in_the_body_must_be_that_of_the_path(
    client: Client, make_config_map: MAKE
) -> None:
    with pytest.raises(BadRequest, match=r"the namespace of the provided object does not match"):
        await client.create(MAPS, make_config_map(namespace="kube-system"), "default")


async def test_a_resource_version_may_not_be_set(client: Client, make_config_map: MAKE) -> None:
    wanted = make_config_map()
    wanted["metadata"]["resourceVersion"] = "5"
    with pytest.raises(StatusError, match=r"resourceVersion should not be set on objects to be created"):
        await client.create(MAPS, wanted)


@pytest.mark.parametrize(("version", "dry_run"), [("0", ""), ("some", ""), ("5", "All")])
async def test_a_resource_version_that_is_none_is_forgotten(
    client: Client, make_config_map: MAKE, version: str, dry_run: str
) -> None:
    wanted = make_config_map()
    wanted["metadata"]["resourceVersion"] = version
    path, query = "/api/v1/namespaces/default/configmaps", f"dryRun={dry_run}"
    assert (await client.raw("POST", path, query=query, body=codec.encode_json(wanted))).status == 201


async def test_what_else_is_wrong_is_told_before_a_resource_version(client: Client) -> None:
    with pytest.raises(Invalid):
        await client.create(MAPS, {"metadata": {"name": "A", "namespace": "default", "resourceVersion": "5"}})


async def test_bad_labels_are_invalid_field_by_field(client: Client, make_config_map: MAKE) -> None:
    wanted = make_config_map()
    wanted["metadata"]["labels"] = {"bad key": "x", "good": "not good!"}
    with pytest.raises(Invalid) as refused:
        await client.create(MAPS, wanted)
    assert [cause.field for cause in refused.value.causes] == ["metadata.labels", "metadata.labels"]


async def test_a_dry_run_stores_nothing(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map(a="1"), dry_run=True)
    assert made["metadata"]["uid"]
    assert "resourceVersion" not in made["metadata"]
    with pytest.raises(NotFound):
        await client.get(MAPS, "settings", "default")


async def test_a_dry_run_on_a_taken_name_is_refused(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map())
    with pytest.raises(AlreadyExists):
        await client.create(MAPS, make_config_map(), dry_run=True)


async def test_the_user_agent_names_the_field_manager(client: Client, make_config_map: MAKE) -> None:
    (entry,) = (await client.create(MAPS, make_config_map(a="1")))["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("tester", "Update", "v1")
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:a": {}}}


@pytest.mark.parametrize(
    ("validation", "status"), [("", 201), ("Warn", 201), ("Ignore", 201), ("Strict", 400), ("Maybe", 422)]
)
async def test_unknown_fields_follow_field_validation(
    api: APIServer, client: Client, make_config_map: MAKE, validation: str, status: int
) -> None:
    body = codec.encode_json(make_config_map(a="1") | {"colour": "red"})
    query = f"fieldValidation={validation}" if validation else ""
    response = await client.raw("POST", "/api/v1/namespaces/default/configmaps", query=query, body=body)
    assert response.status == status
    assert ('unknown field \\"colour\\"' in response.header("warning")) == (validation in ("", "Warn"))


async def test_strict_validation_names_unknown_and_duplicate_fields(client: Client) -> None:
    body = b'{"metadata":{"name":"x"},"data":{"a":"1","a":"2"},"colour":1}'
    query = "fieldValidation=Strict"
    response = await client.raw("POST", "/api/v1/namespaces/default/configmaps", query=query, body=body)
    assert codec.decode_json(response.body)["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
        'strict decoding error: duplicate field "data.a", unknown field "colour"'
    )


async def test_yaml_is_taken_and_given(client: Client) -> None:
    response = await client.raw(
        "POST", "/api/v1/namespaces/default/configmaps", body=b"metadata: {name: x}\ndata: {a: '1'}\n",
        headers={"content-type": "application/yaml", "accept": "application/yaml"},
    )  # fmt: skip
    assert response.status == 201
    assert b"kind: ConfigMap" in response.body


async def test_another_kind_is_refused(client: Client) -> None:
    with pytest.raises(BadRequest, match=r"Secret"):
        await client.create(
            MAPS, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "default"}}
        )


async def test_a_list_of_the_kind_is_another_kind(client: Client) -> None:
    with pytest.raises(
        BadRequest, match=r"converting \(v1.ConfigMapList\) to \(core.ConfigMap\): unknown conversion"
    ):
        await client.create(
            MAPS, {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"namespace": "default"}}
        )


async def test_another_version_is_refused(client: Client) -> None:
    with pytest.raises(BadRequest, match=r"does not match the expected API version \(v1\)"):
        await client.create(MAPS, {"apiVersion": "v2", "metadata": {"name": "x", "namespace": "default"}})


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"kind":5}', 'number into Go struct field .kind of type string ({"kind":5})'),
        (b'{"apiVersion":[],"kind":5}', 'array into Go struct field .apiVersion of type string ({"apiVersion":[],"kind":5})'),
    ],
)  # fmt: skip
async def test_a_kind_that_is_no_text_is_refused(client: Client, body: bytes, why: str) -> None:
    response = await client.raw("POST", "/api/v1/namespaces/default/configmaps", body=body)
    assert (response.status, codec.decode_json(response.body)["message"]) == (
        400,
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; "
        f"json parse error: json: cannot unmarshal {why}",
    )


async def test_null_is_an_object_that_says_nothing(client: Client) -> None:
    response = await client.raw("POST", "/api/v1/namespaces/default/configmaps", body=b"null")
    assert response.status == 422
    assert b"name or generateName is required" in response.body


async def test_defaults_and_generation_are_filled(client: Client) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = await client.create(
        DEPLOYMENTS,
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        },
    )
    assert made["metadata"]["generation"] == 1
    assert made["spec"]["replicas"] == 1


async def test_repeated_owners_are_kept_once_with_a_warning(client: Client, make_config_map: MAKE) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}
    wanted = make_config_map()
    wanted["metadata"]["ownerReferences"] = [owner, owner]
    body = codec.encode_json(wanted)
    response = await client.raw("POST", "/api/v1/namespaces/default/configmaps", body=body)
    assert codec.decode_json(response.body)["metadata"]["ownerReferences"] == [owner]
    assert "duplicate entries" in response.header("warning")


async def test_a_limit_range_without_a_name_gets_one(client: Client) -> None:
    kind = resource("limitranges")
    limits: Object = {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}
    made = await client.create(kind, {"metadata": {"namespace": "default"}, "spec": limits})
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["metadata"]["name"])
    assert made["metadata"]["name"] != made["metadata"]["uid"]
    begun = {"metadata": {"namespace": "default", "generateName": "l-"}, "spec": limits}
    assert (await client.create(kind, begun))["metadata"]["name"].startswith("l-")


async def test_addresses_of_endpoints_are_kept_in_their_order(client: Client) -> None:
    kind, port = resource("endpoints"), {"port": 80, "protocol": "TCP"}
    subsets = [
        {"addresses": [{"ip": "10.1.0.2"}], "ports": [port]},
        {"addresses": [{"ip": "10.1.0.1"}], "ports": [port]},
    ]
    made = await client.create(kind, {"metadata": {"name": "e", "namespace": "default"}, "subsets": subsets})
    assert made["subsets"] == [{"addresses": [{"ip": "10.1.0.1"}, {"ip": "10.1.0.2"}], "ports": [port]}]
    again = await client.update(kind, {**made, "subsets": subsets})
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    with pytest.raises(Invalid, match=r"subsets\[1\].addresses\[0\].ip"):
        await client.update(kind, {**made, "subsets": [subsets[0], {"addresses": [{"ip": "x"}]}]})
