"""Kubeconfig files: what is read from them, and what writing leaves alone."""

from __future__ import annotations

import base64
import os
import stat

import pytest
import yaml

from sublet.client import kubeconfig
from sublet.client.kubeconfig import ClusterAccess, ExecPlugin, KubeconfigError


def _config(name, server="https://one:6443", **user):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def test_certificates_are_read_from_data_and_from_files_relative_to_the_config(tmp_path):
    (tmp_path / "ca.pem").write_bytes(b"CA")
    config = _config(
        "a", **{"client-certificate-data": base64.b64encode(b"CERT").decode(), "client-key": "k"}
    )
    config["clusters"][0]["cluster"]["certificate-authority"] = "ca.pem"
    (tmp_path / "k").write_bytes(b"KEY")
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    access = kubeconfig.load(tmp_path / "config")
    assert (access.ca_data, access.client_cert, access.client_key) == (b"CA", b"CERT", b"KEY")


def test_the_first_file_of_the_list_wins_and_missing_ones_are_skipped(tmp_path):
    (tmp_path / "one").write_text(yaml.safe_dump(_config("a", server="https://first:1", token="1")))
    both = _config("a", server="https://second:2", token="2")
    both["contexts"].append({"name": "b", "context": {"cluster": "a", "user": "a", "namespace": "n"}})
    (tmp_path / "two").write_text(yaml.safe_dump(both))
    env = {"KUBECONFIG": os.pathsep.join(str(tmp_path / n) for n in ("none", "one", "two"))}
    assert kubeconfig.load(env=env).server == "https://first:1"
    access = kubeconfig.load(env=env, context="b")
    assert (access.server, access.namespace) == ("https://first:1", "n")
    assert kubeconfig.contexts(env=env) == (["a", "b"], "a")


def test_without_any_config_the_service_account_of_the_pod_is_used(tmp_path, monkeypatch):
    for name, text in (("token", "t"), ("ca.crt", "CA"), ("namespace", "ns\n")):
        (tmp_path / name).write_text(text)
    env = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = kubeconfig.load_in_cluster(env, tmp_path)
    assert access.server == "https://[fd00::1]:443"
    assert (access.token_file, access.namespace) == (str(tmp_path / "token"), "ns")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "is not valid YAML"),
        ("[]", "is not a Config object"),
        (yaml.safe_dump({**_config("a"), "current-context": ""}), "has no current-context"),
        (yaml.safe_dump({**_config("a"), "current-context": "z"}), 'no context "z" (known: a)'),
        (yaml.safe_dump({**_config("a"), "clusters": []}), 'no cluster "a" (known: none)'),
        (yaml.safe_dump(_config("a", **{"client-key-data": "%"})), "client-key-data is not base64"),
        (
            yaml.safe_dump(_config("a", username="u")),
            'user "a" states username: passwords are no longer part',
        ),
        (yaml.safe_dump(_config("a", **{"as": "x", "as-groups": ["g"]})), 'user "a" states as-groups'),
        (yaml.safe_dump(_config("a", **{"tokenFile": "x", "client-key": "nope"})), "cannot be read"),
    ],
)
def test_a_bad_config_is_refused_with_its_name_and_what_is_wrong(tmp_path, text, expected):
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(KubeconfigError) as caught:
        kubeconfig.load(file)
    assert str(file) in str(caught.value)
    assert expected in str(caught.value)


def test_no_config_at_all_says_where_it_looked_and_what_to_do(tmp_path):
    with pytest.raises(KubeconfigError, match=r"no kubeconfig found at .*/\.kube/config: pass --kubeconfig"):
        kubeconfig.load(env={"HOME": str(tmp_path)})


def test_a_written_config_reads_back_the_same_and_only_its_owner_may_read_it(tmp_path):
    access = ClusterAccess(
        "https://x:1", b"CA", b"C", b"K", "t", namespace="n", tls_server_name="s",
        exec_plugin=ExecPlugin("/bin/login", ("a",), {"B": "c"}),
    )  # fmt: skip
    file = tmp_path / "deep" / "config"
    kubeconfig.write(file, access, "mine")
    assert kubeconfig.load(file) == access
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in file.parent.iterdir()] == ["config"]


def test_merging_and_removing_leaves_the_rest_of_the_file_as_it_was(tmp_path):
    file = tmp_path / "config"
    before = _config("theirs", token="t")
    before["preferences"] = {"colors": True}
    before["users"][0]["user"]["unheard-of"] = 1
    file.write_text(yaml.safe_dump(before))
    kubeconfig.merge(file, ClusterAccess("https://new:1"), "ours")
    assert kubeconfig.contexts(file) == (["theirs", "ours"], "ours")
    assert kubeconfig.remove(file, "ours", current="theirs")
    assert yaml.safe_load(file.read_text()) == before
    assert not (tmp_path / "config.lock").exists()


def test_merging_twice_replaces_the_entry(tmp_path):
    file = tmp_path / "config"
    for server in ("https://old:1", "https://new:1"):
        kubeconfig.merge(file, ClusterAccess(server), "ours")
    assert kubeconfig.load(file).server == "https://new:1"
    assert len(yaml.safe_load(file.read_text())["clusters"]) == 1


def test_removing_keeps_a_cluster_that_another_context_uses(tmp_path):
    file = tmp_path / "config"
    config = _config("a", token="t")
    config["contexts"].append({"name": "b", "context": {"cluster": "a", "user": "a"}})
    file.write_text(yaml.safe_dump(config))
    assert kubeconfig.remove(file, "a")
    assert not kubeconfig.remove(file, "a")
    assert kubeconfig.load(file, "b").token == "t"


def test_a_link_to_a_config_stays_a_link(tmp_path):
    (tmp_path / "real").write_text(yaml.safe_dump(_config("a")))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    kubeconfig.merge(tmp_path / "link", ClusterAccess("https://x:1"), "b")
    assert (tmp_path / "link").is_symlink()
    assert kubeconfig.contexts(tmp_path / "real")[0] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    ["yes", "null", "1.5", "a: b", "- a", "#", "", "ü 😀", 'a"b\\', "line\nline", "https://[::1]:6443"],
)
def test_a_written_config_says_any_text_as_it_is(tmp_path, text):
    plugin = ExecPlugin(text, (text, "--flag"), {text: text})
    access = ClusterAccess("https://[::1]:6443/a", b"ca", token=text, namespace=text, exec_plugin=plugin)
    kubeconfig.write(tmp_path / "config", access, text or "x")
    written = yaml.safe_load((tmp_path / "config").read_text("utf-8"))
    assert written == kubeconfig.to_config(access, text or "x")
