"""sublet.yaml: keys as in vcluster.yaml, strict."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.controlplane.config import DEFAULT_MINOR, load, minor_of, of_version
from sublet.machinery.settings import ConfigurationError, to_document


def test_an_empty_document_gives_the_defaults() -> None:
    configuration = load(None)
    assert configuration.control_plane.proxy.port == 8443
    assert configuration.minor == DEFAULT_MINOR


def test_an_unknown_key_is_refused_naming_it_and_the_nearest() -> None:
    with pytest.raises(
        ConfigurationError, match=r"unknown key controlPlane\.porxy: did you mean controlPlane\.proxy\?"
    ):
        load({"controlPlane": {"porxy": {}}})


def test_a_wrong_type_is_refused_naming_the_path() -> None:
    with pytest.raises(ConfigurationError, match=r"controlPlane\.proxy\.port must be a whole number"):
        load({"controlPlane": {"proxy": {"port": "8443"}}})


@pytest.mark.parametrize("document", [{"telemetry": {"enabled": False}}, {"sleep": {}}, {"plugins": None}])
def test_an_absent_feature_may_be_named_while_it_is_off(document: dict[str, Any]) -> None:
    assert load(document) == load({})


def test_an_absent_feature_that_is_asked_for_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"controlPlane\.backingStore\.etcd is set"):
        load({"controlPlane": {"backingStore": {"etcd": {"embedded": {"enabled": True}}}}})


def test_loading_leaves_the_document_as_it_was() -> None:
    document = {"controlPlane": {"ingress": {"enabled": False}}}
    load(document)
    assert document == {"controlPlane": {"ingress": {"enabled": False}}}


def test_what_is_written_reads_back_the_same() -> None:
    configuration = load({"controlPlane": {"proxy": {"extraSANs": ["a.example"]}}})
    assert load(to_document(configuration)) == configuration


@pytest.mark.parametrize(("version", "minor"), [("", "1.36"), ("v1.31.4", "1.31"), ("1.37", "1.37")])
def test_the_kubernetes_version_names_a_minor(version: str, minor: str) -> None:
    assert minor_of(version) == minor


def test_a_minor_that_is_not_served_is_refused_listing_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match=r"1\.20 is not served.*1\.30, 1\.31"):
        minor_of("1.20")


def test_existing_files_choose_their_kubernetes_by_the_image_s_tag() -> None:
    image = {"image": {"tag": "v1.33.4-full"}}
    assert load({"controlPlane": {"distro": {"k8s": image}}}).minor == "1.33"
    assert load({"controlPlane": {"distro": {"k8s": {**image, "version": "v1.31.0"}}}}).minor == "1.31"
    with pytest.raises(ConfigurationError, match=r"1\.29\.0 is not served.*1\.30, 1\.31"):
        load({"controlPlane": {"distro": {"k8s": {"image": {"tag": "v1.29.0"}}}}})


def test_a_version_from_elsewhere_overrides_the_file_s() -> None:
    stated = load({"controlPlane": {"distro": {"k8s": {"version": "v1.31.0"}}, "proxy": {"port": 1}}})
    assert of_version(stated, "") is stated
    other = of_version(stated, "1.37")
    assert (other.minor, other.control_plane.proxy.port) == ("1.37", 1)
    with pytest.raises(ConfigurationError, match=r"Kubernetes 2\.0 is not served.*1\.36, 1\.37"):
        of_version(stated, "2.0")
