"""A tenant whose control plane is one pod of a host cluster, with its workloads as real containers."""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import urllib.request

import pytest
from tenants_host import EXAMPLES, MARKS, until

pytestmark = MARKS
NAMESPACE = "sublet-demo"


@pytest.fixture(scope="module")
def demo(tenants_host):
    """The tenant demo with the examples rolled out; gives (host cluster, tenant cluster)."""
    tenants_host.use_host()
    tenants_host.sublet("create", "demo").ok()
    tenant = tenants_host.connected("demo")
    tenant.kubectl("apply", "-f", str(EXAMPLES))
    tenant.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    tenant.kubectl("rollout", "status", "statefulset/store", "--timeout=60s")
    host = tenants_host.host
    host.namespace = NAMESPACE
    yield host, tenant
    tenants_host.sublet("delete", "demo").ok()


@pytest.fixture
def host(demo):
    return demo[0]


@pytest.fixture
def tenant(demo):
    return demo[1]


def web_pod(tenant):
    return tenant.items("pods", "-l", "app=web")[0]["metadata"]["name"]


def containers(cluster, selector=""):
    """Pod -> (container id, restarts) of all pods that run."""
    return {
        pod["metadata"]["name"]: [(c["containerID"], c["restartCount"]) for c in pod["status"]["containerStatuses"]]
        for pod in cluster.items("pods", "-l", selector)
    }  # fmt: skip


def test_the_control_plane_is_one_container_of_one_pod_of_a_stateful_set(host):
    spec = host.get("statefulset", "demo")["spec"]
    assert spec["replicas"] == 1 and len(spec["template"]["spec"]["containers"]) == 1
    own = host.items("pods", "-l", "app=sublet,release=demo")
    assert [pod["metadata"]["name"] for pod in own] == ["demo-0"]
    assert [claim["metadata"]["name"] for claim in host.items("pvc", "-l", "app=sublet,release=demo")] == [
        "data-demo-0"
    ]


def test_the_tenants_dns_is_a_second_pod(host, tenant):
    inside = [p["metadata"]["name"] for p in tenant.items("pods", "-n", "kube-system")]
    assert len(inside) == 1 and inside[0].startswith("coredns-")
    assert host.get("pod", f"{inside[0]}-x-kube-system-x-demo")["status"]["phase"] == "Running"


def test_create_makes_services_secrets_accounts_and_roles(host):
    kinds = "services,secrets,serviceaccounts,roles,rolebindings"
    found = {(item["kind"], item["metadata"]["name"]) for item in host.items(kinds)}
    assert {
        ("Service", "demo"), ("Service", "demo-headless"),
        ("Secret", "sublet-demo"), ("Secret", "sublet-config-demo"),
        ("ServiceAccount", "sublet-demo"), ("ServiceAccount", "sublet-workload-demo"),
        ("Role", "sublet-demo"), ("RoleBinding", "sublet-demo"),
    } <= found  # fmt: skip


def test_the_kubeconfig_secret_opens_the_tenants_api(host, tenant):
    data = host.get("secret", "sublet-demo")["data"]
    assert {"config", "certificate-authority", "client-certificate", "client-key"} <= set(data)
    assert "localhost:8443" in base64.b64decode(data["config"]).decode()
    assert base64.b64decode(data["client-key"]).startswith(b"-----BEGIN")


def test_a_tenant_needs_no_role_beyond_its_namespace(host):
    bound = [
        binding["metadata"]["name"]
        for binding in host.items("clusterrolebindings")
        for subject in binding.get("subjects", ())
        if subject.get("namespace") == NAMESPACE
    ]
    assert bound == []


def test_the_examples_roll_out_in_the_tenant(tenant):
    assert tenant.get("deployment", "web")["status"]["readyReplicas"] == 2
    assert tenant.get("statefulset", "store")["status"]["readyReplicas"] == 1
    tenant.kubectl("wait", "--for=condition=complete", "job/pi", "--timeout=30s")


def test_the_host_shows_the_tenants_pods_under_translated_names(host, tenant):
    inside = {f"{p['metadata']['name']}-x-default-x-demo" for p in tenant.items("pods")}
    assert inside and inside <= {p["metadata"]["name"] for p in host.items("pods")}


def test_a_pod_reaches_the_service_by_its_dns_name(tenant):
    for name in ("web", "web.default", "web.default.svc.cluster.local"):
        said = tenant.kubectl("exec", web_pod(tenant), "--", "wget", "-qO-", f"http://{name}/")
        assert said == "hello from a tenant cluster\n"


def test_a_stateful_pod_has_a_name_of_its_own(tenant):
    said = tenant.kubectl(
        "exec", web_pod(tenant), "--", "nslookup", "store-0.store.default.svc.cluster.local"
    )
    assert tenant.get("pod", "store-0")["status"]["podIP"] in said


def test_logs_come_through_the_tenants_api(tenant):
    tenant.kubectl("wait", "--for=condition=complete", "job/pi", "--timeout=30s")
    assert tenant.kubectl("logs", "job/pi").startswith("3.14159265358979")


def test_exec_gives_output_and_exit_code(tenant):
    pod = web_pod(tenant)
    assert tenant.kubectl("exec", pod, "--", "cat", "/secret/password") == "correct-horse"
    assert tenant.kubectl("exec", "-i", pod, "--", "tr", "a-z", "A-Z", given="loud\n") == "LOUD\n"
    assert tenant.run("exec", pod, "--", "sh", "-c", "exit 7").code == 7


def test_cp_copies_both_ways(tenant, tmp_path):
    (tmp_path / "there").write_text("and back\n")
    tenant.kubectl("cp", str(tmp_path / "there"), "store-0:/data/copied")
    tenant.kubectl("cp", "store-0:/data/copied", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "and back\n"


def test_port_forward_reaches_a_service(tenant):
    process = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(tenant.kubeconfig), "port-forward", "service/web", ":80"],
        env=tenant.around.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        port = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert port, line
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/", timeout=10) as answer:
                assert answer.read() == b"hello from a tenant cluster\n"
    finally:
        process.terminate()
        process.wait(10)


def test_attach_carries_input_to_a_pod_and_its_output_back(tenant):
    tenant.kubectl(
        "run", "echo", "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never", "--stdin",
        "--attach=false",
        "--", "sh", "-c", "read line; echo said $line; sleep 1",
    )  # fmt: skip
    tenant.kubectl("wait", "--for=condition=Ready", "pod/echo", "--timeout=30s")
    said = tenant.run("attach", "-i", "echo", given="something\n")
    assert "said something" in said.out, said.err
    tenant.kubectl("delete", "pod", "echo", "--now")


def test_events_of_a_pod_are_the_tenants_and_name_no_host_object(tenant):
    def pulled():
        return [e for e in tenant.items("events") if e["reason"] == "Started"]

    for event in until(pulled, what="events of containers"):
        assert "-x-demo" not in json.dumps(event), event


def test_a_tenants_tokens_open_nothing_on_the_host(tenants_host, tenant):
    server = re.search(r"server: (\S+)", tenants_host.settings.kubeconfig.read_text())[1]
    token = tenant.kubectl("create", "token", "default").strip()
    ran = tenants_host.run(
        "kubectl", "--kubeconfig", "/dev/null", "--server", server, "--insecure-skip-tls-verify",
        "--token", token, "get", "secrets", "-A",
    )  # fmt: skip
    assert ran.code == 1 and ran.out == "" and "Unauthorized" in ran.err


def test_a_tenants_administrator_certificate_opens_nothing_on_the_host(tenants_host, tenant, tmp_path):
    user = json.loads(tenant.kubectl("config", "view", "--raw", "-o", "json"))["users"][0]["user"]
    for name in ("client-certificate", "client-key"):
        (tmp_path / name).write_bytes(base64.b64decode(user[f"{name}-data"]))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "client-certificate", tmp_path / "client-key")
    server = re.search(r"server: (\S+)", tenants_host.settings.kubeconfig.read_text())[1]
    with pytest.raises(OSError) as refused:  # in the handshake, or with 401
        urllib.request.urlopen(f"{server}/api/v1/secrets", context=context, timeout=10).read()
    assert getattr(refused.value, "code", 401) == 401, refused.value


def test_a_tenants_pod_sees_the_tenants_api_and_no_token_of_the_host(tenants_host, tenant):
    pod = web_pod(tenant)
    token = tenant.kubectl("exec", pod, "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    mine = tenants_host.run(
        "kubectl", "--kubeconfig", str(tenant.kubeconfig), "--token", token, "auth", "whoami"
    )
    host = tenants_host.host.run("auth", "whoami", "--token", token)
    claims = token.split(".")[1]
    issued = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert issued["sub"] == "system:serviceaccount:default:default"
    assert mine.code == 0 and host.out.count("serviceaccount") == 0


def test_host_services_have_no_name_in_the_tenant(tenant):
    ran = tenant.run("exec", web_pod(tenant), "--", "nslookup", f"demo.{NAMESPACE}.svc.cluster.local")
    assert "NXDOMAIN" in ran.out + ran.err


def test_all_objects_outlive_the_control_plane_pod_and_workloads_never_stop(host, tenant):
    before = tenant.everything()
    running = containers(host, "sublet.dev/managed-by=demo")
    assert len(running) >= 6, running
    old = host.get("pod", "demo-0")["metadata"]["uid"]
    host.kubectl("delete", "pod", "demo-0", "--wait=false")

    def back():
        found = [p for p in host.items("pods", "-l", "release=demo") if p["metadata"]["uid"] != old]
        return found and any(
            c["type"] == "Ready" and c["status"] == "True" for c in found[0]["status"].get("conditions", ())
        )

    until(back, 60, "a new ready pod demo-0")
    until(lambda: tenant.run("get", "--raw", "/readyz").code == 0, 30, "the tenant's API")
    after = tenant.everything()
    assert {key: after.get(key) for key in before} == before
    assert containers(host, "sublet.dev/managed-by=demo") == running
    tenant.kubectl("scale", "deployment/web", "--replicas=3")
    tenant.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    tenant.kubectl("scale", "deployment/web", "--replicas=2")


def test_create_again_says_that_the_name_is_taken(tenants_host, demo):
    ran = tenants_host.sublet("create", "demo")
    assert ran.code == 1 and "error: tenant demo already exists in namespace sublet-demo" in ran.err
    assert "--upgrade" in ran.err


def test_a_second_tenant_in_the_namespace_is_refused(tenants_host, demo):
    ran = tenants_host.sublet("create", "other", "-n", NAMESPACE)
    assert ran.code == 1 and "already a tenant cluster in namespace sublet-demo (demo)" in ran.err


def test_a_node_without_the_image_is_told_with_the_image_and_how_to_load_it(tenants_host, demo):
    tenants_host.use_host()
    ran = tenants_host.sublet("create", "lacking", "--image", "localhost:1/sublet:none")
    try:
        assert ran.code == 1
        assert "node host-node has no image localhost:1/sublet:none" in ran.err
        assert "sublet image build -o sublet.tar --name localhost:1/sublet:none" in ran.err
        assert "ctr -n k8s.io images import sublet.tar" in ran.err
    finally:
        tenants_host.sublet("delete", "lacking").ok()
