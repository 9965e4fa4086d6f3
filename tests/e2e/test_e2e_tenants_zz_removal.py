"""What `sublet standalone clean` leaves of a host with a tenant whose pods run: nothing."""

from __future__ import annotations

from tenants_host import EXAMPLES, MARKS

pytestmark = MARKS


def test_clean_leaves_nothing_of_host_and_tenants(tenants_host):
    """No link, nft table, mount, network namespace, cgroup, process or file."""
    tenants_host.up()
    tenants_host.sublet("create", "last").ok()
    tenants_host.sublet("connect", "last", "--background-proxy").ok()
    tenant = tenants_host.connected("last")
    tenant.kubectl("apply", "-f", str(EXAMPLES))
    tenant.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    tenants_host.note_names()
    assert len(tenants_host.traces()) > 10
    tenants_host.clean()
    assert tenants_host.traces() == []
    assert not tenants_host.data_dir.exists()
    assert [p for p in (tenants_host.directory / "sublet").rglob("*") if p.is_file()] == []
