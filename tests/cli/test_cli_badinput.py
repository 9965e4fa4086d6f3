"""Bad input gets one clear line with the way out, exit code 1 (2 for usage), and never a traceback."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest
from cli_commands import free_port

BAD_YAML = "a: [1\nb: }\n"


# -- the command line --


def test_an_unknown_command_names_the_nearest(alone):
    assert "No such command 'creat'. Did you mean 'create'?" in alone.sublet("creat", "x").usage()


def test_an_unknown_option_is_a_usage_error(alone):
    assert "--nosuch" in alone.sublet("create", "x", "--nosuch").usage()


def test_a_missing_argument_is_a_usage_error(alone):
    assert "Missing argument 'NAME'" in alone.sublet("create").usage()


# -- configuration --


def test_bad_yaml_of_a_configuration_names_file_and_line(alone):
    (alone.directory / "bad.yaml").write_text(BAD_YAML)
    said = alone.sublet("run", "--data-dir", "d", "--port", "0", "--config", "bad.yaml").error()
    assert "bad.yaml" in said and "line 2" in said


def test_bad_yaml_of_values_names_file_and_line(alone):
    (alone.directory / "bad.yaml").write_text(BAD_YAML)
    said = alone.sublet("create", "x", "--values", "bad.yaml").error()
    assert "bad.yaml" in said and "line 2" in said


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("controlPlan: {}", "unknown key controlPlan: did you mean controlPlane?"),
        (
            "sync: {toHost: {podz: {enabled: true}}}",
            "unknown key sync.toHost.podz: did you mean sync.toHost.pods?",
        ),
        ("sync: {toHost: {pods: {enabled: maybe}}}", "sync.toHost.pods.enabled must be true or false"),
    ],
)
def test_an_unknown_or_wrong_key_is_refused_naming_it_and_the_nearest(alone, document, said):
    (alone.directory / "c.yaml").write_text(document)
    assert said in alone.sublet("run", "--data-dir", "d", "--port", "0", "--config", "c.yaml").error()
    assert said in alone.sublet("create", "x", "--values", "c.yaml").error()


def test_values_must_be_a_mapping(alone):
    (alone.directory / "list.yaml").write_text("- a\n")
    assert "list.yaml must hold a mapping" in alone.sublet("create", "x", "-f", "list.yaml").error()


def test_a_values_file_that_is_not_there_is_named(alone):
    assert "none.yaml: No such file" in alone.sublet("create", "x", "-f", "none.yaml").error()
    said = alone.sublet("run", "--data-dir", "d", "--config", "none.yaml").error()
    assert "none.yaml cannot be read: No such file" in said


def test_a_set_that_is_no_pair_or_no_yaml_is_named(alone):
    assert "key.path=value" in alone.sublet("create", "x", "--set", "foo").error()
    assert "'foo=[a' is no valid YAML" in alone.sublet("create", "x", "--set", "foo=[a").error()


# -- sublet run --


def test_a_taken_port_is_named_with_the_way_out(alone):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = alone.sublet("run", "--data-dir", "d", "--port", port).error()
        assert f"port {port} is in use" in said and "choose another port" in said
        up = alone.sublet("standalone", "up", "--data-dir", "s", "--mode", "hollow", "--port", port).error()
        assert port in up and "--port" in up
    assert not list((alone.directory / "s" / "run").glob("*.pid"))


def test_an_address_that_is_not_this_machines_is_named(alone):
    said = alone.sublet("run", "--data-dir", "d", "--port", "0", "--host", "192.0.2.1").error()
    assert "192.0.2.1 is not an address of this machine" in said


def test_an_unknown_data_store_names_the_known(alone):
    said = alone.sublet("run", "--data-dir", "d", "--port", "0", "--store", "foo://x").error()
    assert "foo://x" in said and "sqlite:" in said


def test_a_data_directory_that_cannot_be_made_is_named(alone):
    (alone.directory / "file").write_text("")
    assert "file/d" in alone.sublet("run", "--data-dir", "file/d", "--port", "0").error()


def test_a_data_store_that_is_no_database_is_named_and_kept(alone):
    (alone.directory / "d").mkdir()
    state = alone.directory / "d" / "state.db"
    state.write_text("this is no database, but somebody wrote it" * 100)
    assert "state.db" in alone.sublet("run", "--data-dir", "d", "--port", "0").error()
    assert state.read_text().startswith("this is no database")


def test_a_second_control_plane_on_the_same_data_is_refused(alone):
    first = alone.start("run", "--data-dir", "d", "--port", "0")
    try:
        for line in first.stdout:
            if "is ready" in line:
                break
        said = alone.sublet("run", "--data-dir", "d", "--port", "0").error()
        assert "state.db is in use by process" in said and "stop it" in said
    finally:
        first.terminate()
        assert first.wait(10) == 0


# -- the host cluster --


def test_a_kubeconfig_that_is_not_there_is_named(alone):
    assert "nosuch.yaml does not exist" in alone.sublet("list", "--kubeconfig", "nosuch.yaml").error()


def test_a_kubeconfig_that_is_no_yaml_is_named(alone):
    (alone.directory / "bad.yaml").write_text(BAD_YAML)
    assert "bad.yaml is not valid YAML" in alone.sublet("list", "--kubeconfig", "bad.yaml").error()


def test_an_unknown_context_names_the_known(commands):
    assert 'no context "nosuch" (known: sublet)' in commands.sublet("list", "--context", "nosuch").error()


@pytest.mark.parametrize("command", [("list",), ("create", "x"), ("delete", "x"), ("connect", "x")])
def test_a_host_that_is_away_is_named_with_the_way_out(commands, plane, command):
    path = commands.directory / "away.yaml"
    port = free_port()
    path.write_text(plane.kubeconfig.read_text().replace(plane.url, f"https://127.0.0.1:{port}"))
    said = commands.sublet(*command, "--kubeconfig", "away.yaml").error()
    assert f"127.0.0.1:{port} cannot be reached: Connection refused" in said
    assert "bring the host cluster of context sublet up" in said


def test_a_server_with_another_authority_is_not_trusted(commands, plane):
    from sublet.client import kubeconfig
    from sublet.client.kubeconfig import ClusterAccess
    from sublet.pki.authority import Authority

    stranger = Authority.create("stranger").cert_pem
    kubeconfig.write(commands.directory / "s.yaml", ClusterAccess(plane.url, ca_data=stranger), "s")
    said = commands.sublet("list", "--kubeconfig", "s.yaml").error()
    assert "cannot be reached" in said and "certificate" in said


def test_a_wrong_token_is_told_with_the_context(commands, plane):
    with_token(commands, plane, "wrong")
    for command in (("list",), ("create", "x")):
        said = commands.sublet(*command, "--kubeconfig", "token.yaml").error()
        assert "does not accept the credentials of context t" in said and "expired" in said


def test_an_expired_token_is_refused(commands, plane):
    import time

    import jwt

    key = (plane.kubeconfig.parent / "pki" / "sa.key").read_bytes()
    made = commands.run("kubectl", "create", "token", "default", "-n", "default").out.strip()
    assert "allowed" not in refusal(commands, plane, made)
    claims = jwt.decode(made, options={"verify_signature": False})
    past = int(time.time()) - 7200
    claims |= {"exp": past + 3600, "iat": past, "nbf": past}
    header = jwt.get_unverified_header(made)
    expired = jwt.encode(claims, key, header["alg"], headers={"kid": header["kid"]})
    said = commands.run("kubectl", *anonymous(plane), "--token", expired, "get", "pods")
    assert said.code == 1 and "Unauthorized" in said.err
    with_token(commands, plane, expired)
    assert "expired" in commands.sublet("list", "--kubeconfig", "token.yaml").error()


def refusal(commands, plane, token):
    """What a good token meets: no refusal of who it is, only of what it may."""
    ran = commands.run("kubectl", *anonymous(plane), "--token", token, "get", "secrets")
    assert "Unauthorized" not in ran.err and "forbidden" in ran.err, ran.err
    return ran.err


def anonymous(plane):
    ca = plane.kubeconfig.parent / "pki" / "ca.crt"
    return ("--kubeconfig", "/dev/null", "--server", plane.url, "--certificate-authority", str(ca))


def with_token(commands, plane, token):
    from sublet.client import kubeconfig
    from sublet.client.kubeconfig import ClusterAccess

    ca = (plane.kubeconfig.parent / "pki" / "ca.crt").read_bytes()
    kubeconfig.write(
        commands.directory / "token.yaml", ClusterAccess(plane.url, ca_data=ca, token=token), "t"
    )


# -- bootstrap tokens --


@pytest.fixture
def node_directory():
    """Short, for the sockets in it; skips where this machine cannot be a node."""
    from sublet.machine.join import lacking
    from sublet.machine.standalone import StandaloneSettings, _join_settings

    with tempfile.TemporaryDirectory(prefix="nj-", dir="/tmp") as name:
        if missing := "; ".join(lacking(_join_settings(StandaloneSettings(Path(name))))):
            pytest.skip(f"sublet node join needs: {missing}")
        yield name


def hash_of(commands):
    return commands.sublet("token", "create").out.split("--ca-cert-hash ")[1].strip()


@pytest.mark.parametrize("token", ["abcdef.0123456789abcdef", "expired"])
def test_a_wrong_or_expired_bootstrap_token_says_to_make_a_new_one(commands, plane, node_directory, token):
    ca = hash_of(commands)
    if token == "expired":
        import time

        made = commands.sublet("token", "create", "--expires", "1s").out
        token = made.split("--token ")[1].split()[0]
        time.sleep(1.1)
    said = commands.sublet(
        "node",
        "join",
        "--server",
        plane.url,
        "--token",
        token,
        "--ca-cert-hash",
        ca,
        "--data-dir",
        node_directory,
    ).error()
    assert "does not know the bootstrap token, or it has expired; make a new one" in said


def test_a_malformed_bootstrap_token_shows_the_form(alone):
    said = alone.sublet(
        "node", "join", "--server", "https://127.0.0.1:1", "--token", "x", "--data-dir", "n"
    ).error()
    assert "abcdef.0123456789abcdef" in said or "missing" in said


def test_another_clusters_authority_is_refused(commands, plane, node_directory):
    said = commands.sublet(
        "node", "join", "--server", plane.url, "--token", "abcdef.0123456789abcdef",
        "--ca-cert-hash", "sha256:00", "--data-dir", node_directory,
    ).error()  # fmt: skip
    assert "this is another cluster, or someone stands between" in said


# -- kinds --


def test_an_unknown_kind_is_named(commands):
    given = "apiVersion: v1\nkind: Podd\nmetadata: {name: x}\n"
    ran = commands.run("kubectl", "apply", "-f", "-", given=given)
    assert ran.code == 1 and 'no matches for kind "Podd" in version "v1"' in ran.err
    ran = commands.run("kubectl", "get", "podds")
    assert ran.code == 1 and 'doesn\'t have a resource type "podds"' in ran.err


def test_an_unknown_field_is_named(commands):
    given = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatta: {a: b}\n"
    ran = commands.run("kubectl", "apply", "--validate=strict", "-f", "-", given=given)
    assert ran.code == 1 and 'unknown field "datta"' in ran.err


def test_bad_yaml_in_a_request_is_a_bad_request(commands, plane):
    """kubectl refuses bad YAML by itself, so the server's own answer is asked for with a plain POST."""
    ran = commands.run("kubectl", "apply", "-f", "-", given=BAD_YAML)
    assert ran.code == 1 and "error converting YAML to JSON" in ran.err
    ca = plane.kubeconfig.parent / "pki" / "ca.crt"
    token = commands.run("kubectl", "create", "token", "default").out.strip()
    commands.run("kubectl", "create", "clusterrolebinding", "all", "--clusterrole=cluster-admin",
                 "--serviceaccount=default:default")  # fmt: skip
    done = commands.run(
        "curl", "-sS", "--cacert", str(ca), "-H", f"Authorization: Bearer {token}",
        "-H", "Content-Type: application/yaml", "--data-binary", BAD_YAML,
        f"{plane.url}/api/v1/namespaces/default/configmaps",
    )  # fmt: skip
    assert '"code":400' in done.out.replace(" ", "") and '"reason":"BadRequest"' in done.out.replace(" ", "")
