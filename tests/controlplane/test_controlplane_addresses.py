"""Which address a control plane tells others."""

from __future__ import annotations

import ipaddress

import pytest

from sublet.controlplane import addresses


@pytest.mark.parametrize(
    ("host", "told"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "::1"), ("10.2.3.4", "10.2.3.4")],
)
def test_a_server_that_listens_on_one_address_tells_that(host: str, told: str) -> None:
    assert addresses.advertised(host) == told


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_a_server_that_listens_on_all_tells_the_address_of_the_default_route(host: str) -> None:
    assert addresses.advertised(host) == (addresses.of_machine("127.0.0.1") or "127.0.0.1")


@pytest.mark.parametrize("near", ["127.0.0.1", "::1"])
def test_a_machines_address_is_of_the_family_asked_for_and_others_can_reach_it(near: str) -> None:
    if found := addresses.of_machine(near):
        address = ipaddress.ip_address(found)
        assert address.version == ipaddress.ip_address(near).version
        assert not address.is_loopback and not address.is_link_local
