"""Controllers adopt, keep, release or ignore objects; templates get stable hashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import owners
from sublet.machinery.owners import Claim, claim, template_hash
from sublet.machinery.selectors import from_labels
from sublet.machinery.strategicmerge import apply

SELECTOR = from_labels({"app": "web"})
CONTROLLER = {"metadata": {"name": "rs", "namespace": "n", "uid": "u1"}}
REFERENCE = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u1", "controller": True}


def pod(owner="", label="web", **metadata):
    references = [{"uid": owner, "controller": True}] if owner else []
    return {
        "metadata": {"namespace": "n", "uid": "p", "labels": {"app": label}, "ownerReferences": references}
        | metadata
    }


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod("u1"), Claim.OWNED),
        (pod("u2"), Claim.IGNORE),
        (pod("u1", "other"), Claim.RELEASE),
        (pod(), Claim.ADOPT),
        (pod(label="other"), Claim.IGNORE),
        (pod(deletionTimestamp="2026-01-01T00:00:00Z"), Claim.IGNORE),
        (pod("u1", deletionTimestamp="2026-01-01T00:00:00Z"), Claim.OWNED),
        (pod(namespace="m"), Claim.IGNORE),
    ],
)
def test_what_is_done_about_an_object(obj, expected):
    assert claim(obj, CONTROLLER, SELECTOR) is expected


def test_a_controller_being_deleted_neither_adopts_nor_releases():
    leaving = {"metadata": CONTROLLER["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert claim(pod(), leaving, SELECTOR) is Claim.IGNORE
    assert claim(pod("u1", "other"), leaving, SELECTOR) is Claim.IGNORE


def test_the_patches_add_and_remove_the_reference():
    from sublet.machinery.schema import Schema

    merged = {"type": "array", "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "uid"}
    schema = Schema(
        {
            "properties": {
                "metadata": {"properties": {"ownerReferences": merged | {"items": {"type": "object"}}}}
            }
        }
    )
    adopted = apply(pod(), owners.adoption_patch(pod(), REFERENCE), schema)
    assert adopted["metadata"]["ownerReferences"] == [REFERENCE]
    released = apply(adopted, owners.release_patch(adopted, "u1"), schema)
    assert released["metadata"]["ownerReferences"] == []


def test_the_hash_is_the_published_function():
    assert owners.fnv1a_32(b"") == 0x811C9DC5 and owners.fnv1a_32(b"foobar") == 0xBF9CF968
    assert owners.safe_encoded("0123456789") == "456789bcdf"


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 9), min_size=2), st.integers(0, 99))
def test_the_hash_does_not_depend_on_the_order_of_keys(template, collisions):
    turned = dict(reversed(template.items()))
    assert template_hash(template, collisions) == template_hash(turned, collisions)
    assert template_hash(template) != template_hash(template, collisions)
