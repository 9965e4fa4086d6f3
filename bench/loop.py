"""Measures how long the control plane's event loop is held by one step; prints the table of docs/profiles/loop.md.

    python bench/loop.py [--only crds,lists] [--limit 5] [--where]

Every scenario asks for something large over TLS while the loop is watched (``_watched.py``). No step should take
longer than 5 ms of CPU: meanwhile nobody else is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop
from _measuring import PATH, PROTOBUF, Connection, Measures, Server, config_map, report

from sublet.client.kubeconfig import ClusterAccess

MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
NAMESPACE = "/api/v1/namespaces/many"
Ask = Callable[..., Awaitable[bytes]]


def definition(number: int, fields: int = 1200) -> dict[str, Any]:
    """A definition of about 500 kB with rules, as operators generate them from Go types."""
    text = (
        "Describes what this field of the specification is for, which values it takes and when it matters. "
        * 3
    )
    properties: dict[str, Any] = {}
    for index in range(fields // 40):
        inner: dict[str, Any] = {
            f"field{n}": {"type": "string", "description": text, "maxLength": 200} for n in range(36)
        }
        inner["size"] = {"type": "integer", "minimum": 0, "maximum": 1000, "default": 3, "description": text}
        inner["items"] = {
            "type": "array", "maxItems": 20, "description": text,
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 60}}},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        }  # fmt: skip
        properties[f"part{index}"] = {
            "type": "object", "description": text, "properties": inner,
            "x-kubernetes-validations": [
                {"rule": "!has(self.size) || self.size < 900", "message": "too large"},
                {"rule": "!has(self.items) || self.items.all(i, i.name.startsWith('a') || i.name.size() > 1)"},
            ],
        }  # fmt: skip
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": properties},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    group, plural = f"g{number}.example.com", f"things{number}"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": f"thing{number}", "kind": f"Thing{number}", "listKind": f"Thing{number}List"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
                 "subresources": {"status": {}}}
            ],
        },
    }  # fmt: skip


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Load:
    """What the scenarios share: connections, and how many of everything."""

    def __init__(self, access: ClusterAccess, options: argparse.Namespace) -> None:
        self.access = access
        self.options = options
        self._free: asyncio.Queue[Connection] = asyncio.Queue()

    async def open(self) -> None:
        for _ in range(16):
            self._free.put_nowait(await Connection(self.access).open())

    async def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json",
                  accept: str = "application/json", refused: bool = False) -> bytes:  # fmt: skip
        """One request on a free connection; ``refused``: an error is as good an answer."""
        connection = await self._free.get()
        try:
            connection.send(method, path, body, content_type, accept)
            status, answer = await connection.receive()
        finally:
            self._free.put_nowait(connection)
        if status >= 400 and not refused:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return answer

    async def all(self, asks: list[Awaitable[bytes]]) -> None:
        await asyncio.gather(*asks)

    # -- scenarios --

    async def crds(self) -> None:
        """Definitions of 500 kB are applied."""
        for number in range(self.options.definitions):
            name = f"things{number}.g{number}.example.com"
            await self.ask(
                "PATCH", f"{CRDS}/{name}?fieldManager=b&force=true", dumps(definition(number)), APPLY
            )

    async def documents(self) -> None:
        """OpenAPI and discovery are read while definitions change."""
        for number in range(3):
            body = dumps(
                {"spec": {"versions": definition(number, 1200 - 40 * (number + 1))["spec"]["versions"]}}
            )
            await self.ask("PATCH", f"{CRDS}/things{number}.g{number}.example.com", body, MERGE)
            await self.ask("GET", "/openapi/v2")
            await self.ask(
                "GET", "/openapi/v2", accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
            )
            await self.ask("GET", "/openapi/v3")
            await self.ask("GET", f"/openapi/v3/apis/g{number}.example.com/v1")
            await self.ask("GET", "/openapi/v3/apis/apps/v1")
            await self.ask("GET", "/apis", accept=DISCOVERY)

    async def custom(self) -> None:
        """Custom objects with rules are written and listed."""
        path = "/apis/g0.example.com/v1/namespaces/default/things0"
        part = {
            "size": 3,
            "items": [{"name": f"a{n}"} for n in range(20)],
            **{f"field{n}": "x" * 40 for n in range(36)},
        }
        for number in range(20):
            obj = {"apiVersion": "g0.example.com/v1", "kind": "Thing0", "metadata": {"name": f"t{number}"},
                   "spec": {f"part{n}": part for n in range(25)}}  # fmt: skip
            await self.ask("PATCH", f"{path}/t{number}?fieldManager=b&force=true", dumps(obj), APPLY)
            await self.ask(
                "PATCH", f"{path}/t{number}", dumps({"spec": {"part0": {"size": number + 4}}}), MERGE
            )
        for accept in ("application/json", TABLE):
            await self.ask("GET", path, accept=accept)

    async def lists(self) -> None:
        """10,000 objects are made, and listed whole in every form."""
        await self.ask("POST", "/api/v1/namespaces", dumps({"metadata": {"name": "many"}}), refused=True)
        await self.all([self.ask("POST", f"{NAMESPACE}/configmaps", config_map(f"m-{n}", 1200))
                        for n in range(self.options.objects)])  # fmt: skip
        for accept in (
            "application/json",
            TABLE,
            PROTOBUF,
            f"{PROTOBUF};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        ):
            await self.ask("GET", f"{NAMESPACE}/configmaps", accept=accept)
        await self.ask("GET", f"{NAMESPACE}/configmaps?labelSelector=a%3Db")
        await self.ask("GET", f"{NAMESPACE}/configmaps?fieldSelector=metadata.name%3Dm-1")
        await self.ask("GET", "/metrics")

    async def deletion(self) -> None:
        """The 10,000 are deleted as a collection, then their namespace with 2,000 others."""
        await self.ask("DELETE", f"{NAMESPACE}/configmaps", accept="application/json")
        await self.all(
            [self.ask("POST", f"{NAMESPACE}/configmaps", config_map(f"n-{n}", 1200)) for n in range(2000)]
        )
        await self.ask("DELETE", NAMESPACE)
        while True:
            if b'"NotFound"' in await self.ask("GET", NAMESPACE, refused=True):
                return
            await asyncio.sleep(0.1)

    async def apply(self) -> None:
        """An object of 1 MB with 8,000 fields is applied by two managers, then patched."""
        for manager, keys in (("a", 8000), ("b", 8000), ("a", 4000), ("b", 4000)):
            data = {f"key-{n:05d}": manager * 80 for n in range(keys)}
            body = dumps(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": data}
            )
            await self.ask("PATCH", f"{PATH}/large?fieldManager={manager}&force=true", body, APPLY)
        await self.ask("PATCH", f"{PATH}/large", dumps({"data": {"more": "y"}}), MERGE)
        await self.ask("PUT", f"{PATH}/large", await self.ask("GET", f"{PATH}/large"))

    async def bodies(self) -> None:
        """Bodies of up to 3 MB: JSON, YAML, of nested lists, of many keys."""
        large = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
        strings = dumps({**large, "data": {f"k{n}": "x" * 100 for n in range(25000)}})
        yaml = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n" + b"".join(
            b"  key%d: %b\n" % (n, b"x" * 60) for n in range(40000)
        )
        deep = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":' + b"[" * 1_000_000
        lists = dumps({**large, "data": [[[]] for _ in range(500_000)]})
        numbers = dumps({**large, "data": {"a": list(range(400_000))}})
        for body in (strings, deep, lists, numbers):
            await self.ask("POST", PATH, body, refused=True)
        await self.ask("POST", PATH, yaml, "application/yaml", refused=True)
        for body in (yaml, strings, lists):
            await self.ask("PATCH", f"{PATH}/x?fieldManager=b", body, APPLY, refused=True)
        operations = [{"op": "add", "path": f"/data/k{n}", "value": "x"} for n in range(9000)]
        await self.ask("POST", PATH, dumps({**large, "data": {"a": "b"}}), refused=True)
        await self.ask("PATCH", f"{PATH}/x", dumps(operations), "application/json-patch+json", refused=True)

    async def policies(self) -> None:
        """Pods are made where 30 policies judge them."""
        base = "/apis/admissionregistration.k8s.io/v1"
        for number in range(30):
            spec = {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}]},
                "validations": [{"expression": "object.spec.containers.all(c, c.image.contains('/') || c.name.size() < 60)"}] * 5,
            }  # fmt: skip
            await self.ask(
                "POST",
                f"{base}/validatingadmissionpolicies",
                dumps({"metadata": {"name": f"p{number}"}, "spec": spec}),
            )
            binding = {
                "metadata": {"name": f"p{number}"},
                "spec": {"policyName": f"p{number}", "validationActions": ["Deny"]},
            }
            await self.ask("POST", f"{base}/validatingadmissionpolicybindings", dumps(binding))
        await asyncio.sleep(1)
        containers = [{"name": f"c{n}", "image": "example.com/image:1", "env": [{"name": f"V{i}", "value": "x"} for i in range(20)]}
                      for n in range(10)]  # fmt: skip
        for number in range(20):
            pod = {"metadata": {"name": f"p{number}"}, "spec": {"containers": containers}}
            await self.ask("POST", "/api/v1/namespaces/default/pods", dumps(pod))
        for number in range(30):
            await self.ask("DELETE", f"{base}/validatingadmissionpolicies/p{number}")

    async def rbac(self) -> None:
        """5,000 role bindings are made; one changes while users ask."""
        path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}

        def binding(number: int) -> bytes:
            user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"user{number}"}
            return dumps({"metadata": {"name": f"b{number}"}, "roleRef": role, "subjects": [user]})

        await self.all([self.ask("POST", path, binding(n)) for n in range(5000)])
        review = {
            "spec": {
                "user": "user17",
                "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"},
            }
        }
        for number in range(10):
            await self.ask("DELETE", f"{path}/b{number}")
            await self.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", dumps(review))
            rules = {"spec": {"namespace": "default"}}
            await self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", dumps(rules))


SCENARIOS = ("crds", "documents", "custom", "apply", "bodies", "policies", "rbac", "lists", "deletion")
_NEEDS = {"documents": "crds", "custom": "crds", "deletion": "lists"}
"""Scenario -> the one whose objects it works on."""


def with_needs(names: list[str]) -> list[str]:
    """In the order of ``SCENARIOS``. Raises ``ValueError`` for an unknown one."""
    if unknown := set(names) - set(SCENARIOS):
        raise ValueError(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    wanted = {*names, *(_NEEDS[name] for name in names if name in _NEEDS)}
    return [name for name in SCENARIOS if name in wanted]


async def drive(
    server: Server, options: argparse.Namespace, names: list[str]
) -> dict[str, tuple[float, float]]:
    """When each scenario began and ended."""
    load = Load(server.access, options)
    await load.open()
    await asyncio.sleep(2)  # controllers settle
    times = {}
    for name in names:
        began = time.time()
        await getattr(load, name)()
        await asyncio.sleep(0.5)  # what it set off
        times[name] = (began, time.time())
        print(f"{name}: {time.time() - began:.1f} s", file=sys.stderr)
    return times


def told(
    steps: list[dict[str, Any]], times: dict[str, tuple[float, float]], limit: float, where: bool
) -> Measures:
    measures: Measures = {}
    for name, (begin, end) in times.items():
        mine = sorted(
            (s for s in steps if begin <= s["at"] < end and s["ms"] >= limit), key=lambda s: -float(s["ms"])
        )
        measures[f"{name}: longest step"] = (mine[0]["ms"] if mine else 0.0, "ms", "5")
        measures[f"{name}: longer than {limit:g} ms"] = (len(mine), "", "0")
        if where:
            seen: set[str] = set()
            for step in mine:
                place = " < ".join(step["where"][:9])
                known = " < ".join(
                    part.partition(":")[0] + part.partition(" ")[2] for part in step["where"][:4]
                )
                if known not in seen:
                    seen.add(known)
                    print(f"{name} {step['ms']:.1f} ms {step['what']}: {place}")
    return measures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, with commas")
    parser.add_argument("--limit", type=float, default=5, help="milliseconds of CPU that a step may take")
    parser.add_argument("--definitions", type=int, default=10)
    parser.add_argument("--objects", type=int, default=10000)
    parser.add_argument("--where", action="store_true", help="print where long steps were")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as scratch:
        steps = Path(scratch) / "steps"
        program = (sys.executable, str(Path(__file__).parent / "_watched.py"), str(steps), str(options.limit))
        policy = Path(scratch) / "audit.yaml"
        policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]\n")
        audit = (f"--audit-policy-file={policy}", f"--audit-log-path={scratch}/audit.log")
        server = Server(Path(scratch) / "data", *audit, program=program)
        try:
            server.wait_ready()
            times = uvloop.run(drive(server, options, with_needs(options.only.split(","))))
        finally:
            server.stop()
        found = [json.loads(line) for line in steps.read_text().splitlines()]
    report("loop", told(found, times, options.limit, options.where))


if __name__ == "__main__":
    main()
