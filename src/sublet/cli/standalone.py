"""``sublet standalone``: a whole Kubernetes cluster on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sublet.cli.common import run
from sublet.cli.output import age, done, info, output_option, print_document, print_table, step, warn

if TYPE_CHECKING:
    from sublet.machine.standalone import StandaloneSettings

CONTEXT = "sublet-standalone"


@click.group("standalone")
def standalone() -> None:
    """A Kubernetes cluster on this machine: control plane, node, network, DNS and storage."""


def _settings(data_dir: Path | None, **chosen: object) -> StandaloneSettings:
    """The cluster's saved settings with what was given now."""
    from dataclasses import replace

    from sublet.machine.standalone import StandaloneSettings, default_data_dir, saved

    where = (data_dir or default_data_dir()).absolute()
    kept = saved(where) or StandaloneSettings(data_dir=where)
    return replace(kept, **{key: value for key, value in chosen.items() if value is not None})  # type: ignore[arg-type]


_data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), default=None,
    help="Default: /var/lib/sublet as root, else ~/.sublet.",
)  # fmt: skip


@standalone.command("up")
@_data_dir
@click.option(
    "--mode", type=click.Choice(["auto", "containers", "hollow"]), default=None, help="Default: auto."
)
@click.option("--port", type=int, default=None, help="Of the API server; default 6443.")
@click.option("--agent-port", type=int, default=None, help="Of the node agent; default 10250.")
@click.option("--node-name", default=None, help="Default: the host name.")
@click.option("--node-ip", default=None, help="Default: the address of the default route.")
@click.option("--pod-cidr", default=None, help="Default: 10.244.0.0/16.")
@click.option("--service-cidr", default=None, help="Default: 10.96.0.0/16.")
@click.option("--image/--no-image", default=True, show_default=True, help="Make and load sublet's own image.")
def up(
    data_dir: Path | None,
    mode: str | None,
    port: int | None,
    agent_port: int | None,
    node_name: str | None,
    node_ip: str | None,
    pod_cidr: str | None,
    service_cidr: str | None,
    image: bool,
) -> None:
    """Bring the cluster up, or what of it is missing; safe to repeat, to interrupt, and after a reboot."""
    from sublet.machine import standalone as machine

    settings = _settings(
        data_dir, mode=mode, port=port, agent_port=agent_port, node_name=node_name, node_ip=node_ip,
        pod_cidr=pod_cidr, service_cidr=service_cidr,
    )  # fmt: skip
    found = machine.preflight(settings)
    if found.mode == "hollow" and found.missing:
        warn(
            "containers cannot run here, so the node is hollow: it reports pods as running without running them"
        )
        for lack in found.missing:
            info(f"  missing: {lack}")
    with step("Bringing up the host cluster"):
        result = run(machine.up(settings, progress=info))
    if image and found.mode == "containers":
        load_own_image(settings)
    done(f"{result.url} is ready; node {result.node}")
    info(f"- Use `export KUBECONFIG={result.kubeconfig}` to access it with kubectl")
    info("- Use `sublet create NAME` to give a tenant a cluster on it")


def load_own_image(settings: StandaloneSettings) -> None:
    """Makes sublet's image from this interpreter and imports it, unless the node has these very contents."""
    from sublet.machine import standalone as machine
    from sublet.tenants import image as images

    archive = settings.data_dir / "image.tar"
    stamp = settings.data_dir / "image.loaded"
    identity = images.fingerprint()
    if stamp.exists() and stamp.read_text() == identity:
        return
    with step("Making sublet's own image and loading it on the node"):
        try:
            images.build(archive)
            run(machine.load_image(settings, archive))
        except images.ImageError as error:
            raise click.ClickException(str(error)) from None
        finally:
            archive.unlink(missing_ok=True)
    stamp.write_text(identity)


@standalone.command("down")
@_data_dir
def down(data_dir: Path | None) -> None:
    """Stop every process and pod of the cluster; its data stay."""
    from sublet.machine import standalone as machine

    settings = _settings(data_dir)
    with step("Stopping the host cluster"):
        ran = run(machine.down(settings))
    done("stopped; `sublet standalone up` starts it again" if ran else "nothing was running")


@standalone.command("clean")
@_data_dir
def clean(data_dir: Path | None) -> None:
    """Remove the cluster: no process, mount, interface, nft table, cgroup or file of it stays."""
    from sublet.machine import standalone as machine
    from sublet.tenants.connect import BackgroundProxy, home, state_directory
    from sublet.tenants.local import LocalTenants

    settings = _settings(data_dir)
    with step("Removing the host cluster"):
        for note in state_directory().glob(f"*_{CONTEXT}.json"):
            BackgroundProxy(note.stem).stop()
        tenants = LocalTenants(home() / "tenants", CONTEXT)
        for tenant in tenants.list():
            run(tenants.delete(tenant.name))
        run(machine.clean(settings))
    done("removed")


@standalone.command("status")
@_data_dir
@output_option
def status(data_dir: Path | None, output: str | None) -> None:
    """Show what of the cluster runs."""
    from sublet.machine import standalone as machine

    settings = _settings(data_dir)
    found = run(machine.status(settings))
    if output in ("json", "yaml"):
        lacks = machine.preflight(settings).missing
        print_document(
            {
                **found.to_object(),
                "containers": found.mode == "containers",
                "missing": "; ".join(lacks),
                "kubeconfig": str(settings.kubeconfig),
                "context": CONTEXT,
            },
            output,
        )
        return
    if not found.exists:
        raise click.ClickException(f"{found.problem}; `sublet standalone up` makes one")
    if output == "name":
        click.echo(CONTEXT)
        return
    click.echo(f"API server   {found.url}   {'Ready' if found.ready else 'NotReady'}   ({found.mode})")
    if found.problem:
        warn(found.problem)
    print_table(
        ("PROGRAM", "STATUS", "PID", "RESTARTS", "AGE"),
        [
            (
                p.name,
                "Running" if p.pid else "Stopped",
                p.pid or "",
                p.restarts,
                age(p.seconds) if p.pid else "",
            )
            for p in found.programs
        ],
    )
    if found.nodes:
        print_table(("NODE", "STATUS"), [(n, "Ready" if ready else "NotReady") for n, ready in found.nodes])


@standalone.command("load")
@_data_dir
@click.argument("archive", type=click.Path(path_type=Path, exists=True))
def load(data_dir: Path | None, archive: Path) -> None:
    """Import an OCI or docker ARCHIVE on this machine's node."""
    from sublet.machine import standalone as machine

    run(machine.load_image(_settings(data_dir), archive))
    done(f"{archive} is loaded")


COMMAND = standalone
