"""What Services and EndpointSlices become."""

from __future__ import annotations

from sublet.netproxy.endpoints import Endpoint, NodePlace, choose, endpoints, service_ports
from sublet.netproxy.proxy import stale_flows
from sublet.netproxy.rules import ProxySettings, fragment, ruleset

SETTINGS = ProxySettings("test", "here", ("10.244.0.0/16", "fd00:1::/64"))
PLACE = NodePlace("here", "west")


def service(name="web", **spec):
    spec = {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": [{"port": 80}], **spec}
    status = spec.pop("status", {})
    return {"metadata": {"namespace": "default", "name": name}, "spec": spec, "status": status}


def endpoint(address, node="here", **more):
    conditions = {"ready": more.pop("ready", True)}
    conditions |= {key: more.pop(key) for key in ("serving", "terminating") if key in more}
    return {"addresses": [address], "nodeName": node, "conditions": conditions, **more}


def piece(*found, port=8080, protocol="TCP", name="", family="IPv4"):
    return {
        "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": family,
        "ports": [{"name": name, "port": port, "protocol": protocol}],
        "endpoints": list(found),
    }


def made(svc, *slices, family="ip", settings=SETTINGS):
    return fragment(svc, slices, family, PLACE, settings)


def test_a_cluster_ip_leads_to_each_endpoint_in_turn():
    found = made(service(), piece(endpoint("10.244.0.2"), endpoint("10.244.1.3", "there")))
    assert found.elements["service-ips"] == {"10.96.0.7 . tcp . 80": "goto service-default/web/tcp/80"}
    masquerade, balance = found.chains["service-default/web/tcp/80"]
    assert masquerade == "ip daddr { 10.96.0.7 } ip saddr != 10.244.0.0/16 jump mark-masquerade"
    assert balance == (
        "numgen random mod 2 vmap { 0 : goto endpoint-default/web/tcp/80/10.244.0.2/8080, "
        "1 : goto endpoint-default/web/tcp/80/10.244.1.3/8080 }"
    )
    assert found.chains["endpoint-default/web/tcp/80/10.244.0.2/8080"] == (
        "ip saddr 10.244.0.2 jump mark-masquerade",
        "meta l4proto tcp dnat to 10.244.0.2:8080",
    )


def test_headless_external_name_and_foreign_services_are_left_alone():
    foreign = service()
    foreign["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
    for svc in (
        service(clusterIP="None", clusterIPs=["None"]),
        service(type="ExternalName", clusterIP="", clusterIPs=[]),
        foreign,
    ):
        assert not made(svc, piece(endpoint("10.244.0.2"))).elements


def test_without_endpoints_connections_are_refused():
    found = made(service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    assert "service-ips" not in found.elements and "service-nodeports" not in found.elements
    assert found.elements["unserved-ips"] == {"10.96.0.7 . tcp . 80": "goto refuse"}
    assert found.elements["unserved-nodeports"] == {"tcp . 30080": "goto refuse"}


def test_node_port_external_address_and_load_balancer_share_one_chain_that_masquerades():
    svc = service(
        type="LoadBalancer",
        externalIPs=["192.0.2.9"],
        ports=[{"port": 80, "nodePort": 30080}],
        status={
            "loadBalancer": {"ingress": [{"ip": "203.0.113.5"}, {"ip": "203.0.113.6", "ipMode": "Proxy"}]}
        },
    )
    found = made(svc, piece(endpoint("10.244.0.2")))
    way = "goto external-default/web/tcp/80"
    assert found.elements["service-nodeports"] == {"tcp . 30080": way}
    assert found.elements["service-ips"]["192.0.2.9 . tcp . 80"] == way
    assert found.elements["service-ips"]["203.0.113.5 . tcp . 80"] == way
    assert "203.0.113.6 . tcp . 80" not in found.elements["service-ips"]
    assert found.chains["external-default/web/tcp/80"] == (
        "jump mark-masquerade",
        "goto service-default/web/tcp/80",
    )


def test_external_traffic_policy_local_keeps_the_source_and_stays_on_the_node():
    svc = service(type="NodePort", externalTrafficPolicy="Local", ports=[{"port": 80, "nodePort": 30080}])
    found = made(svc, piece(endpoint("10.244.0.2"), endpoint("10.244.1.3", "there")))
    assert found.chains["external-default/web/tcp/80"] == (
        "ip saddr 10.244.0.0/16 goto service-default/web/tcp/80",
        "fib saddr type local jump mark-masquerade",
        "fib saddr type local goto service-default/web/tcp/80",
        "goto local-default/web/tcp/80",
    )
    assert found.chains["local-default/web/tcp/80"] == ("goto endpoint-default/web/tcp/80/10.244.0.2/8080",)


def test_external_traffic_policy_local_without_a_local_endpoint_is_silent():
    svc = service(type="NodePort", externalTrafficPolicy="Local", ports=[{"port": 80, "nodePort": 30080}])
    found = made(svc, piece(endpoint("10.244.1.3", "there")))
    assert found.elements["unserved-nodeports"] == {"tcp . 30080": "drop"}
    assert found.chains["external-default/web/tcp/80"][-1] == "return"


def test_internal_traffic_policy_local_uses_this_nodes_endpoints_or_none():
    svc = service(internalTrafficPolicy="Local")
    found = made(svc, piece(endpoint("10.244.0.2"), endpoint("10.244.1.3", "there")))
    assert found.elements["service-ips"] == {"10.96.0.7 . tcp . 80": "goto local-default/web/tcp/80"}
    found = made(svc, piece(endpoint("10.244.1.3", "there")))
    assert "service-ips" not in found.elements
    assert found.elements["unserved-ips"] == {"10.96.0.7 . tcp . 80": "drop"}


def test_session_affinity_remembers_clients_for_its_time():
    svc = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 77}})
    found = made(svc, piece(endpoint("10.244.0.2"), endpoint("10.244.0.3")))
    assert all("timeout 77s" in declaration for declaration in found.sets.values()) and len(found.sets) == 2
    rules = found.chains["service-default/web/tcp/80"]
    name = "default/web/tcp/80/10.244.0.3/8080"
    assert f"ip saddr @affinity-{name} goto endpoint-{name}" in rules
    assert f"update @affinity-{name} {{ ip saddr }}" in found.chains[f"endpoint-{name}"]


def test_source_ranges_guard_the_load_balancers_address_only():
    svc = service(
        type="LoadBalancer",
        loadBalancerSourceRanges=["198.51.100.0/24", "nonsense"],
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}},
    )
    found = made(svc, piece(endpoint("10.244.0.2")))
    assert found.elements["firewall-ips"] == {"203.0.113.5 . tcp . 80": "goto firewall-default/web/tcp/80"}
    assert found.chains["firewall-default/web/tcp/80"] == ("ip saddr != { 198.51.100.0/24 } drop",)


def test_each_family_has_its_own_rules():
    svc = service(clusterIPs=["10.96.0.7", "fd00::7"])
    slices = [piece(endpoint("10.244.0.2")), piece(endpoint("fd00:1::2"), family="IPv6")]
    six = made(svc, *slices, family="ip6")
    assert six.elements["service-ips"] == {"fd00::7 . tcp . 80": "goto service-default/web/tcp/80"}
    assert six.chains["endpoint-default/web/tcp/80/fd00.1..2/8080"][-1] == (
        "meta l4proto tcp dnat to [fd00:1::2]:8080"
    )
    assert "10.244" not in str(six)


def test_named_ports_and_protocols_find_their_own_endpoints():
    svc = service(
        ports=[
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ]
    )
    both = {
        **piece(endpoint("10.244.0.2")),
        "ports": [{"name": "dns", "port": 1053, "protocol": "UDP"}, {"name": "dns-tcp", "port": 1054}],
    }
    udp, tcp = service_ports(svc, "ip")
    assert [each.port for each in endpoints(udp, [both], "ip")] == [1053]
    assert [each.port for each in endpoints(tcp, [both], "ip")] == [1054]


def test_ending_endpoints_serve_only_while_none_is_ready():
    ending = Endpoint("10.244.0.2", 80, ready=False, serving=True, terminating=True, node="here")
    broken = Endpoint("10.244.0.4", 80, ready=False, serving=False, terminating=True, node="here")
    ready = Endpoint("10.244.1.3", 80, node="there")
    assert choose([ending, broken], PLACE).cluster == (ending,)
    assert choose([ending, broken, ready], PLACE).cluster == (ready,)
    assert choose([ending, broken, ready], PLACE).local == (ending,)


def test_unready_endpoints_that_do_not_end_get_nothing():
    assert not choose([Endpoint("10.244.0.2", 80, ready=False, serving=False)], PLACE).known


def test_hints_keep_traffic_in_the_zone_if_every_endpoint_has_one():
    west, east = Endpoint("10.0.0.1", 80, zones=("west",)), Endpoint("10.0.0.2", 80, zones=("east",))
    assert choose([west, east], PLACE).cluster == (west,)
    assert choose([west, east, Endpoint("10.0.0.3", 80)], PLACE).cluster == (
        west,
        east,
        Endpoint("10.0.0.3", 80),
    )
    assert choose([east], PLACE).cluster == (east,)


def test_one_address_claimed_by_two_services_stays_with_the_first():
    one = made(service("a", externalIPs=["192.0.2.9"]), piece(endpoint("10.244.0.2")))
    two = made(service("b", externalIPs=["192.0.2.9"]), piece(endpoint("10.244.0.3")))
    table = ruleset([one, two], "ip", SETTINGS)
    assert table.elements["service-ips"]["192.0.2.9 . tcp . 80"] == "goto external-default/a/tcp/80"


def test_every_chain_that_is_gone_to_exists():
    svc = service(
        type="LoadBalancer", externalTrafficPolicy="Local", sessionAffinity="ClientIP",
        ports=[{"port": 80, "nodePort": 30080}, {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053}],
        loadBalancerSourceRanges=["10.0.0.0/8"], status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}},
    )  # fmt: skip
    table = ruleset(
        [made(svc, piece(endpoint("10.244.0.2"), endpoint("10.244.1.3", "there")))], "ip", SETTINGS
    )
    said = [rule for rules in table.chains.values() for rule in rules]
    said += [value for held in table.elements.values() for value in held.values()]
    for text in said:
        for verb, name in zip(text.split(), text.split()[1:], strict=False):
            if verb in ("goto", "jump"):
                assert name.strip(",") in table.chains, text


def test_flows_to_removed_udp_endpoints_are_stale():
    svc = service(ports=[{"port": 53, "protocol": "UDP"}])
    before = made(svc, piece(endpoint("10.244.0.2"), endpoint("10.244.0.3"), protocol="UDP"))
    now = made(svc, piece(endpoint("10.244.0.3"), protocol="UDP"))
    assert stale_flows([before], [now]) == {("10.96.0.7", 53, "10.244.0.2", 8080)}
    assert stale_flows([before], [before]) == set()
