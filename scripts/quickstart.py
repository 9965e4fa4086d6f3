"""What ``make quickstart`` does once sublet is installed: a host cluster on this machine, a tenant on it, a tour.

Every step is a command that a user can run as well; it is printed before it runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
HOME = Path(
    os.environ.get("SUBLET_HOME") or ("/var/lib/sublet" if os.geteuid() == 0 else Path.home() / ".sublet")
)
DATA = HOME / "standalone"
KUBECONFIG = DATA / "quickstart.yaml"
TENANT = "demo"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


class Failed(SystemExit):
    """Ends the tour naming the command that failed."""


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
        "KUBECONFIG": str(KUBECONFIG),
        "SUBLET_HOME": str(HOME),
    }


def run(*command: str, quiet: bool = False, check: bool = True, stdin: str | None = None) -> str:
    """Runs a command and returns what it printed; shows it unless ``quiet``."""
    if not quiet:
        console.print(f"[bold cyan]$ {' '.join(command)}[/]")
    ran = subprocess.run(
        command, env=environment(), input=stdin, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT if not quiet else subprocess.PIPE,
    )  # fmt: skip
    output = ran.stdout.rstrip()
    if not quiet and output:
        console.print(output, markup=False, soft_wrap=True)
    if check and ran.returncode:
        raise Failed(
            f"error: `{' '.join(command)}` failed with exit code {ran.returncode}"
            + (f":\n{ran.stderr}" if quiet else "")
            + "\nRun make quickstart again to go on from here, or make quickstart-clean to remove everything."
        )
    return output


def show(*command: str) -> None:
    """Runs a command whose progress the user should see as it comes."""
    console.print(f"[bold cyan]$ {' '.join(command)}[/]")
    code = subprocess.run(command, env=environment(), check=False).returncode
    if code:
        raise Failed(
            f"error: `{' '.join(command)}` failed with exit code {code}\n"
            "Run make quickstart again to go on from here, or make quickstart-clean to remove everything."
        )


def heading(number: int, text: str) -> None:
    console.print(f"\n[bold]{number}. {text}[/]")


def kubectl(*arguments: str, quiet: bool = False, stdin: str | None = None, check: bool = True) -> str:
    return run("kubectl", *arguments, quiet=quiet, stdin=stdin, check=check)


def side_by_side() -> None:
    """The tenant's pods and services beside the host's namespace."""
    context = run("kubectl", "config", "current-context", quiet=True)
    host = context.split("_", 3)[3]
    where = "NAMESPACE:.metadata.namespace,"
    pods = "POD:.metadata.name,STATUS:.status.phase,IP:.status.podIP"
    services = "SERVICE:.metadata.name,CLUSTER-IP:.spec.clusterIP"
    inside = ("get", "-A", "-o")
    outside = ("--context", host, "-n", f"sublet-{TENANT}", "get", "-o")
    views = [
        "\n\n".join(
            kubectl(*get, f"custom-columns={prefix}{columns}", kind, quiet=True)
            for kind, columns in (("pods", pods), ("services", services))
        )
        for get, prefix in ((inside, where), (outside, ""))
    ]
    titles = ((f"tenant {TENANT}", "green"), (f"host: namespace sublet-{TENANT}", "blue"))
    console.print(
        Columns(
            Panel(view, title=title, border_style=colour, expand=False)
            for view, (title, colour) in zip(views, titles, strict=True)
        )
    )


def apply_examples() -> None:
    kubectl("apply", "-f", str(ROOT / "examples"))
    for workload in ("deployment/web", "statefulset/store"):
        kubectl("rollout", "status", workload, "--timeout=90s")


def talk_to_containers() -> None:
    """DNS, logs, exec, cp and port-forward through the tenant's API."""
    pods = kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}", quiet=True)
    pod = pods.split()[0]
    kubectl("wait", "--for=condition=complete", "job/pi", "--timeout=60s")
    kubectl("logs", "job/pi")
    kubectl("exec", pod, "--", "wget", "-qO-", "http://web.default.svc.cluster.local/")
    kubectl("exec", pod, "--", "cat", "/secret/password")
    console.print()
    copied = DATA / "starts.txt"
    kubectl("cp", "store-0:/data/starts", str(copied))
    console.print(copied.read_text(), end="", markup=False)
    copied.unlink()
    port_forward()
    kubectl("logs", pod, "--tail=2")


def port_forward() -> None:
    import urllib.request

    console.print("[bold cyan]$ kubectl port-forward service/web :80[/]")
    process = subprocess.Popen(
        ["kubectl", "port-forward", "service/web", ":80"],
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        console.print(line, markup=False)
        if "127.0.0.1:" not in line:
            raise Failed("error: kubectl port-forward did not start")
        port = line.split("127.0.0.1:")[1].split(" ")[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            console.print(answer.read().decode(), end="", markup=False)
    finally:
        process.terminate()
        process.wait()


def tenant_exists() -> bool:
    listed = json.loads(run("sublet", "list", "-o", "json", quiet=True) or "[]")
    return any(tenant["Name"] == TENANT and tenant["Status"] == "Running" for tenant in listed)


def use_host(document: dict[str, Any]) -> None:
    """The tour's own kubeconfig begins with the host's context; the user's is not touched."""
    if not KUBECONFIG.exists():
        shutil.copy(document["kubeconfig"], KUBECONFIG)
        KUBECONFIG.chmod(0o600)
    kubectl("config", "use-context", document["context"], quiet=True)


def main() -> None:
    if "--clean" in sys.argv:
        show("sublet", "standalone", "clean", "--data-dir", str(DATA))
        for folder in (HOME / "connections", HOME / "tenants", HOME):
            with contextlib.suppress(OSError):  # not there, or it holds what is not the tour's
                folder.rmdir()
        return
    started = time.monotonic()
    if shutil.which("kubectl") is None:
        raise Failed(
            "error: kubectl is missing: apt-get install kubernetes-client (as root), then run this again"
        )
    heading(1, "A host cluster on this machine")
    show("sublet", "standalone", "up", "--data-dir", str(DATA))
    status = json.loads(
        run("sublet", "standalone", "status", "--data-dir", str(DATA), "-o", "json", quiet=True)
    )
    use_host(status)
    kubectl("get", "nodes", "-o", "wide")
    heading(2, f"A tenant cluster: its control plane is {'one pod' if status['containers'] else 'a process'}")
    if tenant_exists():
        console.print(f"tenant {TENANT} is there already")
    else:
        show("sublet", "create", TENANT)
    run("sublet", "list")
    heading(3, "Inside the tenant")
    show("sublet", "connect", TENANT)
    apply_examples()
    heading(4, "What the tenant sees, and what the host sees")
    side_by_side()
    if status["containers"]:
        heading(5, "Names, logs, exec, cp and port-forward through the tenant's API")
        talk_to_containers()
    else:
        console.print(
            "\n[yellow]The node here is hollow: it reports pods as running without running them. "
            f"For real containers: {status['missing']}[/]"
        )
    console.print(
        Panel(
            f"export KUBECONFIG={KUBECONFIG} PATH={BIN}:$PATH\n"
            "kubectl get pods -A                    # you are in the tenant\n"
            "sublet disconnect                      # back to the host\n"
            "sublet create another --connect        # a second tenant\n"
            f"sublet delete {TENANT}                     # one tenant, and all it had\n"
            "make quickstart-clean                  # remove everything",
            title=f"ready after {time.monotonic() - started:.0f} s: what to try next",
            border_style="green",
            expand=False,
        ),
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
