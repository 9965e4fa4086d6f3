"""`make quickstart` killed with SIGKILL at any moment, run again to its end, and removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tenants_host import MARKS, ROOT, TenantsHost, free_port

import sublet
from sublet.machine.standalone import StandaloneSettings

pytestmark = [*MARKS, pytest.mark.slow, pytest.mark.timeout(400)]
KILLS = 3
WHOLE_SECONDS = 30.0
"""About what a first run takes; a kill after its end is none, which is fine too."""


def clone(target: Path) -> None:
    """The commit that is checked out here, with the generated data that is not committed."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(target)], check=True, timeout=60)
    data = Path("kinds", "data")
    shutil.copytree(Path(sublet.__file__).parent / data, target / "src" / "sublet" / data, dirs_exist_ok=True)


def virtual_environment(target: Path, source: Path) -> None:
    """One that finds sublet in the clone and its libraries where this interpreter does: no downloads."""
    base = Path(sys.executable).resolve()
    subprocess.run([str(base), "-m", "venv", "--without-pip", str(target)], check=True, timeout=60)
    packages = next((target / "lib").glob("python3*")) / "site-packages"
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "sublet.pth").write_text("\n".join([str(source / "src"), *libraries]) + "\n")
    for name in ("sublet", "pip"):
        script = target / "bin" / name
        script.write_text(
            f"#!{target}/bin/python\nimport sys\nfrom sublet.cli.main import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    (target / ".sublet-installed").touch()


@pytest.fixture
def machine():
    directory = Path(tempfile.mkdtemp(prefix="tq-", dir="/tmp"))
    made = TenantsHost(directory)
    made.data_dir = directory / "sublet" / "standalone"
    made.settings = StandaloneSettings(made.data_dir)
    clone(directory / "clone")
    virtual_environment(directory / "venv", directory / "clone")
    made.environment |= {"VENV": str(directory / "venv")}
    number = os.getpid() % 50
    made.data_dir.mkdir(parents=True)
    # A user's cluster takes the usual ports and ranges; beside others on this machine it needs its own.
    kept = {
        "port": free_port(), "agent_port": free_port(), "node_name": "quick",
        "pod_cidr": f"10.{50 + number}.0.0/16", "service_cidr": f"10.{100 + number}.0.0/16",
    }  # fmt: skip
    (made.data_dir / "standalone.json").write_text(json.dumps(kept))
    yield made
    made.run("bash", str(directory / "clone" / "scripts" / "quickstart-clean.sh"))
    made.remove()


def test_killed_at_any_moment_it_finishes_when_run_again_and_clean_leaves_nothing(machine, rng):
    scripts = machine.directory / "clone" / "scripts"
    for _ in range(KILLS):
        moment = rng.uniform(0.2, WHOLE_SECONDS * 0.8)
        process = subprocess.Popen(
            ["bash", str(scripts / "quickstart.sh")], env=machine.environment, cwd=machine.directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(moment)
            print(f"ended by itself before {moment:.1f} s with {process.returncode}")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            print(f"killed after {moment:.1f} s")
    done = machine.run("bash", str(scripts / "quickstart.sh"), timeout=180)
    said = done.ok()
    assert "what to try next" in said and "hello from a tenant cluster" in said
    again = machine.run("bash", str(scripts / "quickstart.sh"), timeout=60)
    assert "tenant demo is there already" in again.ok()

    machine.note_names()
    assert len(machine.traces()) > 10
    machine.run("bash", str(scripts / "quickstart-clean.sh")).ok()
    assert machine.traces() == []
    assert not (machine.directory / "sublet").exists()
