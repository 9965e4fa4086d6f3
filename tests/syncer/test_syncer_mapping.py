"""Host names, labels and annotations."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sublet.kinds.resources import resource
from sublet.machinery import names
from sublet.syncer.mapping import Mapping, Names, kind_text, safe_concat

ACME = Mapping("acme", "sublet-acme")
INCUMBENT = Mapping("my-vcluster", "vcluster-my-vcluster", Names("vcluster.loft.sh", "vcluster"))
PODS = resource("pods")

label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
subdomain = st.lists(label, min_size=1, max_size=4).map(".".join).filter(lambda text: len(text) <= 253)


def copy_of(name: str, namespace: str, mapping: Mapping = ACME, uid: str = "u") -> Any:
    tenant = {"metadata": {"name": name, "namespace": namespace, "uid": uid}}
    host = mapping.host_name(name, namespace)
    return {
        "metadata": {
            "name": host,
            "namespace": mapping.host_namespace,
            "labels": mapping.identity_labels(tenant, PODS),
            "annotations": mapping.identity_annotations(tenant, PODS, host),
        }
    }


def test_names_follow_the_incumbents_function() -> None:
    assert INCUMBENT.host_name("nginx", "default") == "nginx-x-default-x-my-vcluster"
    assert (
        INCUMBENT.host_name("a-very-long-deployment-name-7d9c7b5f6d-abcde", "some-namespace")
        == "a-very-long-deployment-name-7d9c7b5f6d-abcde-x-some--c7928c447b"
    )
    assert INCUMBENT.host_cluster_name("fast") == "vcluster-fast-x-vcluster-my-vcluster-x-my-vcluster"
    assert INCUMBENT.label_key("release") == "vcluster.loft.sh/label-my-vcluster-x-a4d451ec23"
    namespace_key = INCUMBENT.namespace_label_key("kubernetes.io/metadata.name")
    assert namespace_key == "vcluster.loft.sh/ns-label-my-vcluster-x-cf1227b7b2"


def test_an_empty_name_stays_empty() -> None:
    assert ACME.host_name("", "default") == ""
    assert ACME.host_cluster_name("") == ""


@given(subdomain, label)
def test_host_names_are_valid_and_short(name: str, namespace: str) -> None:
    host = ACME.host_name(name, namespace)
    assert len(host) <= 63
    assert not names.dns1123_subdomain(host)


@given(st.lists(st.tuples(subdomain, label), min_size=2, max_size=20, unique=True))
def test_different_objects_have_different_host_names(pairs: list[tuple[str, str]]) -> None:
    # Dots before dashes are rewritten; names without such endings never meet.
    plain = [pair for pair in pairs if ".-" not in f"{pair[0]}-" and "-x-" not in "-".join(pair)]
    assert len({ACME.host_name(*pair) for pair in plain}) == len(plain)


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_joined_parts_never_exceed_a_label(one: str, two: str) -> None:
    assert len(safe_concat(one, two)) <= 63


@given(subdomain, label)
def test_a_copy_leads_back_to_its_object(name: str, namespace: str) -> None:
    assert ACME.tenant_key(copy_of(name, namespace), PODS) == f"{namespace}/{name}"


def test_what_does_not_fit_itself_is_no_copy() -> None:
    def broken(change: Any) -> Any:
        copy = copy_of("web", "default")
        change(copy["metadata"])
        return ACME.tenant_key(copy, PODS)

    ours = Names()
    assert broken(lambda m: None) == "default/web"
    assert broken(lambda m: m.update(name="web-x-default-x-acme-2")) is None
    assert broken(lambda m: m.update(namespace="elsewhere")) is None
    assert broken(lambda m: m["labels"].update({ours.managed_by: "other"})) is None
    assert broken(lambda m: m["labels"].pop(ours.managed_by)) is None
    assert broken(lambda m: m["annotations"].pop(ours.object_name)) is None
    assert broken(lambda m: m["annotations"].update({ours.object_name: "db"})) is None
    assert broken(lambda m: m["annotations"].update({ours.object_kind: "/v1, Kind=Secret"})) is None
    assert broken(lambda m: m["annotations"].update({ours.host_name: "web"})) is None


def test_kinds_are_written_as_go_writes_them() -> None:
    assert kind_text(PODS) == "/v1, Kind=Pod"
    assert kind_text(resource("deployments.apps")) == "apps/v1, Kind=Deployment"


def test_labels_that_could_deceive_are_renamed() -> None:
    keys = ACME.labels({"app": "a", "release": "acme", "sublet.dev/managed-by": "inner"})
    assert keys["app"] == "a"
    assert not {"release", "sublet.dev/managed-by"} & keys.keys()
    assert all(not names.qualified_name(key) for key in keys)


def test_a_tenant_of_a_tenant_keeps_its_own_annotations_apart() -> None:
    key = ACME.annotation_key("sublet.dev/object-name")
    assert key != "sublet.dev/object-name"
    assert not names.qualified_name(key)


def test_selectors_are_translated_key_by_key() -> None:
    selector = {
        "matchLabels": {"release": "x", "app": "web"},
        "matchExpressions": [{"key": "release", "operator": "Exists"}],
    }
    translated = ACME.label_selector(selector)
    key = ACME.label_key("release")
    assert translated["matchLabels"] == {key: "x", "app": "web"}
    assert translated["matchExpressions"][0]["key"] == key


def test_a_tenant_never_reads_a_host_name() -> None:
    text = (
        'pods "web-x-default-x-acme" is forbidden in namespace "sublet-acme": secret "s-1-x-team-a-x-acme" not found, '
        "service sublet-acme/api-x-default-x-acme"
    )
    said = ACME.sanitise(text, "web-x-default-x-acme", "web", "default")
    assert said == (
        'pods "web" is forbidden in namespace "default": secret "s-1" not found, service default/api'
    )


def test_names_that_were_cut_are_known_by_their_pair() -> None:
    name = "a" * 60
    host = ACME.host_name(name, "default")
    assert ACME.sanitise(f'pods "{host}" failed', host, name) == f'pods "{name}" failed'
    assert not re.search("-x-", ACME.sanitise(f'pods "{host}" failed', host, name))
