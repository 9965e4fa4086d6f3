"""Two tenants that use equal names, deleted while their pods run."""

from __future__ import annotations

import pytest
from tenants_host import EXAMPLES, MARKS, until

pytestmark = MARKS
NAMES = ("vermilion", "ultramarine")


@pytest.fixture
def host(tenants_host):
    tenants_host.use_host()
    yield tenants_host
    for name in NAMES:
        tenants_host.sublet("delete", name, "--ignore-not-found").ok()


def test_equal_names_live_side_by_side_and_deletion_leaves_nothing_on_the_host(host):
    before = host.host.everything()
    tenants = {}
    for name in NAMES:
        host.sublet("create", name).ok()
        tenants[name] = host.connected(name)
        tenants[name].kubectl("create", "configmap", "who", f"--from-literal=name={name}")
        tenants[name].kubectl("create", "namespace", "same")
        tenants[name].kubectl("apply", "-f", str(EXAMPLES / "store.yaml"))
        page = (EXAMPLES / "web.yaml").read_text().replace("hello from a tenant cluster", f"this is {name}")
        tenants[name].kubectl("apply", "-f", "-", given=page)
    for tenant in tenants.values():
        tenant.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        tenant.kubectl("rollout", "status", "statefulset/store", "--timeout=60s")

    # each sees only its own: objects, pods and what their Service answers
    for name, other in (NAMES, NAMES[::-1]):
        tenant = tenants[name]
        assert tenant.get("configmap", "who")["data"] == {"name": name}
        seen = tenant.kubectl("get", "pods,services,configmaps,secrets,pvc,namespaces", "-A", "-o", "json")
        assert other not in seen
        pods = {p["metadata"]["name"] for p in tenant.items("pods", "-l", "app=web")}
        assert len(pods) == 2
        pod = sorted(pods)[0]
        assert tenant.kubectl("exec", pod, "--", "wget", "-qO-", "http://web/") == f"this is {name}\n"

    listed = host.sublet("list", "-o", "name").ok().split()
    assert set(NAMES) <= set(listed)

    # both go while their pods run; the host has nothing of them left
    for name in NAMES:
        assert any(p["status"]["phase"] == "Running" for p in host.host.items("pods", "-n", f"sublet-{name}"))
        host.sublet("delete", name).ok()
        assert tenants[name].run("get", "ns", "--request-timeout=3s").code == 1
    until(lambda: host.host.everything() == before, 20, "the host as it was before")
    assert [v for v in host.settings.places.volumes.glob("*") if "store" in v.name or "data" in v.name] == []
    assert "vermilion" not in host.kubeconfig.read_text()


def test_a_deleted_namespace_takes_the_tenant_with_it(host):
    before = host.host.everything()
    host.sublet("create", "vermilion").ok()
    tenant = host.connected("vermilion")
    tenant.kubectl("apply", "-f", str(EXAMPLES))
    tenant.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    host.host.kubectl("delete", "namespace", "sublet-vermilion", timeout=60)
    until(lambda: host.host.everything() == before, 20, "the host as it was before")


def test_a_kept_claim_gives_a_new_tenant_the_old_data(host):
    host.sublet("create", "vermilion").ok()
    host.connected("vermilion").kubectl("create", "configmap", "kept", "--from-literal=a=b")
    host.sublet("delete", "vermilion", "--keep-pvc").ok()
    host.sublet("create", "vermilion").ok()
    assert host.connected("vermilion").get("configmap", "kept")["data"] == {"a": "b"}
    host.sublet("delete", "vermilion", "--delete-namespace").ok()
