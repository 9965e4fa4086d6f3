"""A node with pods for the proxy's tests: network namespaces joined by a bridge, without containers."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator

_SERVER = """
import socket, sys, threading
name, port = sys.argv[1], int(sys.argv[2])
def tcp():
    s = socket.create_server(("", port))
    while True:
        c, peer = s.accept(); c.sendall(f"{name} {peer[0]}".encode()); c.close()
threading.Thread(target=tcp, daemon=True).start()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("", port))
print("ready", flush=True)
while True:
    _, peer = u.recvfrom(100); u.sendto(f"{name} {peer[0]}".encode(), peer)
"""
_CLIENT = """
import socket, sys
kind, host, port, times, source = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
for _ in range(times):
    try:
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        if source: s.bind(("", source))
        s.settimeout(1.0)
        s.connect((host, port))
        if kind == "udp": s.send(b"?")
        print(s.recv(100).decode() or "closed"); s.close()
    except OSError as e: print(type(e).__name__)
"""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


class Lab:
    """Namespace ``node`` with the bridge 10.244.0.1/24 and one namespace for each pod; ``stranger`` is outside."""

    def __init__(self) -> None:
        self.prefix = f"np{secrets.token_hex(3)}"
        self.node = f"{self.prefix}-node"
        self._spaces: list[str] = []
        self._servers: list[subprocess.Popen[str]] = []

    def open(self) -> None:
        self._space(self.node)
        self._in(self.node, "ip", "link", "add", "br0", "type", "bridge")
        self._in(self.node, "ip", "address", "add", "10.244.0.1/24", "dev", "br0")
        self._in(self.node, "ip", "link", "set", "br0", "up")
        self._in(self.node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._in(self.node, "sysctl", "-qw", "net.ipv4.conf.br0.route_localnet=1")
        self._in(self.node, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
        for number in (2, 3, 4):
            self._pod(f"pod{number}", f"10.244.0.{number}")
        self._outside()

    def _space(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._spaces.append(name)
        self._in(name, "ip", "link", "set", "lo", "up")

    def _pod(self, pod: str, address: str) -> None:
        space = f"{self.prefix}-{pod}"
        self._space(space)
        self._link(space, pod, address, "24", "10.244.0.1")
        self._in(self.node, "ip", "link", "set", pod, "master", "br0")
        self._in(self.node, "bridge", "link", "set", "dev", pod, "hairpin", "on")

    def _outside(self) -> None:
        space = f"{self.prefix}-stranger"
        self._space(space)
        self._link(space, "eth0", "198.51.100.2", "24", "198.51.100.1")
        self._in(self.node, "ip", "address", "add", "198.51.100.1/24", "dev", "eth0")
        self._in(self.node, "ip", "route", "add", "default", "via", "198.51.100.2")

    def _link(self, space: str, name: str, address: str, bits: str, gateway: str) -> None:
        self._in(self.node, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space)
        self._in(self.node, "ip", "link", "set", name, "up")
        self._in(space, "ip", "address", "add", f"{address}/{bits}", "dev", "eth0")
        self._in(space, "ip", "link", "set", "eth0", "up")
        self._in(space, "ip", "route", "add", "default", "via", gateway)

    def _in(self, space: str, *command: str) -> str:
        return run("ip", "netns", "exec", space, *command)

    def serve(self, pod: str, port: int = 8080) -> None:
        """A pod that answers TCP and UDP with its name and the client's address."""
        command = [
            "ip",
            "netns",
            "exec",
            f"{self.prefix}-{pod}",
            sys.executable,
            "-c",
            _SERVER,
            pod,
            str(port),
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        self._servers.append(server)

    def route_loopback(self, pod: str) -> None:
        """Makes a pod send what is for 127.0.0.1 to its node."""
        space = f"{self.prefix}-{pod}"
        self._in(space, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
        self._in(space, "ip", "address", "delete", "127.0.0.1/8", "dev", "lo")
        self._in(space, "ip", "route", "add", "127.0.0.1", "via", "10.244.0.1", "dev", "eth0")

    def ask(
        self, place: str, host: str, port: int, *, times: int = 1, kind: str = "tcp", source: int = 0
    ) -> list[str]:
        """What a client at a pod, ``node`` or ``stranger`` is answered: ``POD CLIENT`` or the error's name."""
        arguments = [kind, host, str(port), str(times), str(source)]
        return self._in(f"{self.prefix}-{place}", sys.executable, "-c", _CLIENT, *arguments).splitlines()

    def tables(self) -> str:
        return self._in(self.node, "nft", "list", "tables")

    def rules(self, table: str) -> str:
        return self._in(self.node, "nft", "list", "table", "ip", table)

    def close(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()
            if server.stdout is not None:
                server.stdout.close()
        for space in reversed(self._spaces):
            with contextlib.suppress(RuntimeError):
                run("ip", "netns", "delete", space)


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        made.open()
        yield made
    finally:
        made.close()


def wait_until(check, seconds: float = 10.0):
    """The first true answer of ``check``; raises ``AssertionError`` with the last one."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"still {found!r}"
        time.sleep(0.05)
    return found
