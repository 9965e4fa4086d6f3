"""The DNS server: answers for the cluster's zone from informers and forwards the rest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sublet.client.client import Client
from sublet.client.informer import Informer, InformerFactory
from sublet.dns.forward import Forwarder, nameservers
from sublet.dns.records import Answer, Record, Sources, Zone
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object

logger = logging.getLogger(__name__)

_UDP_LIMIT = 512
_TCP_IDLE = 10.0


@dataclass(frozen=True)
class DNSSettings:
    host: str = "0.0.0.0"
    port: int = 1053
    """Behind Service port 53, so that no privilege is needed."""
    domain: str = "cluster.local"
    upstreams: Sequence[str] = ()
    """Where other names go; empty: the machine's own resolvers."""
    node_names: bool = True
    """Whether nodes' host names resolve (needs to list nodes)."""


class DNSServer:
    """Serves one cluster's zone on UDP and TCP. ``start`` returns once it answers from complete caches."""

    def __init__(self, client: Client, settings: DNSSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._informers = InformerFactory(client)
        self._services = self._informers.informer(resource("services"))
        self._namespaces = self._informers.informer(resource("namespaces"))
        self._slices = self._informers.informer(resource("endpointslices.discovery.k8s.io"))
        self._nodes = self._informers.informer(resource("nodes")) if settings.node_names else None
        self._index()
        self._zone = Zone(self._sources(), settings.domain)
        self._forward = Forwarder(settings.upstreams or nameservers(), clock or SystemClock())
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._pending: set[asyncio.Task[None]] = set()
        self.port = settings.port

    async def start(self) -> None:
        """Raises ``OSError`` when the port is taken."""
        await self._informers.start()
        informers: list[Informer] = [self._services, self._namespaces, self._slices]
        await asyncio.gather(*(i.synced() for i in [*informers, *([self._nodes] if self._nodes else [])]))
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve_tcp, self._settings.host, self._settings.port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(self._settings.host, self.port)
        )

    async def stop(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in list(self._pending):
            task.cancel()
        await self._informers.stop()

    def _index(self) -> None:
        self._slices.add_index("service", _service_of_slice)
        self._slices.add_index("address", _addresses_of_slice)
        self._services.add_index("address", _addresses_of_service)
        if self._nodes is not None:
            self._nodes.add_index("hostname", _names_of_node)

    def _sources(self) -> Sources:
        def by_address(address: str) -> Iterable[Object]:
            yield from self._services.by_index("address", address)
            for piece in self._slices.by_index("address", address):
                name = objects.labels(piece).get("kubernetes.io/service-name", "")
                service = self._services.get(objects.namespace(piece), name)
                if service is not None and (service.get("spec") or {}).get("clusterIP") == "None":
                    yield piece

        def node_address(name: str) -> Sequence[str]:
            if self._nodes is None:
                return ()
            return [
                address["address"]
                for node in self._nodes.by_index("hostname", name)
                for address in (node.get("status") or {}).get("addresses") or ()
                if address.get("type") == "InternalIP"
            ]

        return Sources(
            service=self._services.get,
            namespace_exists=lambda name: self._namespaces.get("", name) is not None,
            slices=lambda namespace, name: self._slices.by_index("service", f"{namespace}/{name}"),
            by_address=by_address,
            node_address=node_address,
        )

    async def answer(self, query: bytes, *, udp: bool) -> bytes | None:
        """The reply to one query; None for bytes that are no query at all."""
        from dnslib import DNSError, DNSRecord

        try:
            request = DNSRecord.parse(query)
        except (DNSError, struct.error, ValueError, IndexError, UnicodeDecodeError):
            return _malformed(query) if len(query) >= 12 else None
        if request.header.qr or not request.questions:
            return None
        question = request.questions[0]
        name = str(question.qname).rstrip(".")
        answer = self._zone.lookup(name, _type_name(question.qtype))
        if answer is None:
            reply = await self._forward.ask(query)
            if reply is None:
                logger.warning("no upstream answered for %s", name)
                failure = request.reply(ra=1, aa=0)
                failure.header.rcode = 2
                return bytes(failure.pack())
            return reply
        answer = await self._chase(answer, _type_name(question.qtype))
        return self._pack(request, answer, udp=udp)

    async def _chase(self, answer: Answer, kind: str) -> Answer:
        """Adds what a CNAME points to, so that one question is enough."""
        if kind == "CNAME" or not answer.records or answer.records[0].type != "CNAME":
            return answer
        target = answer.records[0].data
        inside = self._zone.lookup(target, kind)
        if inside is not None:
            return Answer(True, [*answer.records, *inside.records])
        from dnslib import DNSRecord

        reply = await self._forward.ask(bytes(DNSRecord.question(target, kind).pack()))
        if reply is None:
            return answer
        return Answer(True, [*answer.records, *(Record("", "", rr) for rr in DNSRecord.parse(reply).rr)])

    def _pack(self, request: Any, answer: Answer, *, udp: bool) -> bytes:
        reply = request.reply(ra=1, aa=1)
        reply.header.rcode = 0 if answer.exists else 3
        for record in answer.records:
            reply.add_answer(_resource_record(record))
        for record in answer.additional:
            reply.add_ar(_resource_record(record))
        if not answer.records:
            reply.add_auth(_resource_record(self._zone.soa))
        packed = bytes(reply.pack())
        limit = max((ar.edns_len for ar in request.ar if ar.rtype == 41), default=_UDP_LIMIT)
        if udp and len(packed) > max(limit, _UDP_LIMIT):
            return bytes(reply.truncate().pack())
        return packed

    def received(self, query: bytes, transport: asyncio.DatagramTransport, address: Any) -> None:
        """One datagram; answered in a task of its own, since forwarding waits."""

        async def respond() -> None:
            reply = await self.answer(query, udp=True)
            if reply is not None and not transport.is_closing():
                transport.sendto(reply, address)

        task = asyncio.get_running_loop().create_task(respond())
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    head = await reader.readexactly(2)
                    query = await reader.readexactly(struct.unpack("!H", head)[0])
                reply = await self.answer(query, udp=False)
                if reply is None:
                    break
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._server.received(data, self._transport, address)


def _service_of_slice(piece: Object) -> Iterable[str]:
    name = objects.labels(piece).get("kubernetes.io/service-name")
    return [f"{objects.namespace(piece)}/{name}"] if name else []


def _addresses_of_slice(piece: Object) -> Iterable[str]:
    return [a for endpoint in piece.get("endpoints") or () for a in endpoint.get("addresses") or ()]


def _addresses_of_service(service: Object) -> Iterable[str]:
    spec = service.get("spec") or {}
    return [a for a in spec.get("clusterIPs") or [spec.get("clusterIP")] if a and a != "None"]


def _names_of_node(node: Object) -> Iterable[str]:
    names = {objects.name(node).lower()}
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == "Hostname":
            names.add(str(address["address"]).lower())
    return names


def _type_name(number: int) -> str:
    from dnslib import QTYPE

    return str(QTYPE.forward.get(number, number))


def _resource_record(record: Record) -> Any:
    import dnslib

    if not record.type:
        return record.data
    data: Any = record.data
    if record.type == "SOA":
        made = dnslib.SOA(data[0], data[1], (1, 7200, 1800, 86400, record.ttl))
    elif record.type == "SRV":
        made = dnslib.SRV(*data)
    else:
        made = getattr(dnslib, record.type)(data)
    return dnslib.RR(record.name, getattr(dnslib.QTYPE, record.type), rdata=made, ttl=record.ttl)


def _malformed(query: bytes) -> bytes:
    """FORMERR to bytes that do not parse: the header alone, as RFC 1035 4.1.1 allows."""
    flags = 0x8000 | (struct.unpack("!H", query[2:4])[0] & 0x7900) | 0x0080 | 1
    return query[:2] + struct.pack("!HHHHH", flags, 0, 0, 0, 0)
