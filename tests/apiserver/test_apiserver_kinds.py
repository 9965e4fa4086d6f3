"""Every built-in kind through the API: what its rules promise holds for a client too."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds import catalog
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden

SAMPLES: list[Object] = yaml.safe_load(
    (Path(__file__).parent.parent / "kinds" / "samples.yaml").read_text("utf-8")
)
BY_KIND = {sample["kind"]: sample for sample in SAMPLES}


def fresh(kind: str) -> Object:
    return copy.deepcopy(BY_KIND[kind])


@pytest.mark.usefixtures("default_account")
async def test_a_sample_of_every_kind_can_be_created_read_and_written_back_unchanged(client: Client) -> None:
    refused = []
    for kind in catalog.load().values():
        sample = copy.deepcopy(BY_KIND.get(kind.resource.kind))
        if sample is None or not kind.stored:
            continue
        if kind.resource.namespaced:
            sample["metadata"]["namespace"] = "default"
        try:
            made = await client.create(kind.resource, sample)
        except Forbidden as error:
            refused.append((kind.resource.kind, error.message))
            continue
        same = await client.update(kind.resource, copy.deepcopy(made))
        assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"], kind.resource.kind
        if kind.resource.kind.endswith("WebhookConfiguration"):
            await client.delete(kind.resource, made["metadata"]["name"])  # nobody answers there
    assert [r for r in refused if "release of sublet" not in r[1]] == []


@pytest.mark.usefixtures("default_account")
async def test_a_job_with_a_generated_name_labels_its_pods_with_it(client: Client) -> None:
    job = fresh("Job")
    job["metadata"] = {"generateName": "backup-", "namespace": "default"}
    made = await client.create(resource("jobs.batch"), job)
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == made["metadata"]["name"]
    assert labels["batch.kubernetes.io/controller-uid"] == made["metadata"]["uid"]


@pytest.mark.usefixtures("default_account")
async def test_what_admission_adds_to_a_pod_is_not_the_client_s(client: Client) -> None:
    pod = fresh("Pod")
    pod["metadata"]["namespace"] = "default"
    made = await client.create(resource("pods"), pod)
    assert made["spec"]["volumes"]
    (entry,) = made["metadata"]["managedFields"]
    assert "f:volumes" not in entry["fieldsV1"]["f:spec"]
    assert "f:status" not in entry["fieldsV1"]


async def test_a_certificate_request_says_who_asked(api: APIServer) -> None:
    alice = api.client_as(User("alice", ("system:masters", "team"), uid="7", extra={"k": ("v",)}), "t/1")
    request = fresh("CertificateSigningRequest")
    request["spec"] |= {"username": "system:admin", "groups": ["system:nodes"]}
    spec = (await alice.create(resource("certificatesigningrequests.certificates.k8s.io"), request))["spec"]
    assert (spec["username"], spec["uid"]) == ("alice", "7")
    assert spec["groups"] == ["system:masters", "team"]
    assert spec["extra"] == {"k": ["v"]}
