"""The real `sublet` as a subprocess in surroundings of its own, and what a good error looks like."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def error(self) -> str:
        """The one line that says what is wrong; more may follow only as advice, each line marked."""
        assert self.code == 1, (self.code, self.out, self.err)
        assert "Traceback" not in self.err, self.err
        lines = self.err.splitlines()
        starts = [n for n, line in enumerate(lines) if line.startswith("error: ")]
        assert len(starts) == 1, self.err
        assert all(line.startswith("- ") for line in lines[starts[0] + 1 :]), self.err
        return lines[starts[0]]

    def usage(self) -> str:
        """What is wrong with the command line itself."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.err.startswith("Usage: ") and "Traceback" not in self.err, self.err
        return self.err


class Commands:
    def __init__(self, directory: Path, kubeconfig: Path | None = None) -> None:
        self.directory = directory
        self.environment = {
            "HOME": str(directory),
            "SUBLET_HOME": str(directory / "sublet"),
            "KUBECONFIG": str(kubeconfig or directory / "none.yaml"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
        }
        if "PYTHONPATH" in os.environ:  # of another working tree than the one that is installed
            self.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]

    def run(self, *command: str, given: str = "", timeout: float = 60) -> Ran:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=timeout, check=False,
            env=self.environment, cwd=self.directory,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    def sublet(self, *arguments: str, **rest: Any) -> Ran:
        return self.run("sublet", *arguments, **rest)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sublet", *arguments], env=self.environment, cwd=self.directory, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
