"""Admission: what may change or refuse a write after authorization and before it is stored.

One file of ``plugins/`` states one ``PLUGIN``; ``order.py`` is the list of them in the order they run. The mutating
pass goes over all, then the object is validated, then the validating pass goes over all.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from sublet.apiserver.admission.configuration import AdmissionConfiguration
from sublet.apiserver.admission.podsecuritymetrics import PodSecurityMetrics
from sublet.apiserver.admission.quota import Promises
from sublet.apiserver.metrics import Histograms
from sublet.client.exchange import User
from sublet.machinery import codec, managedfields
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Kind, Object, Resource

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"
_UNREADABLE = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating"
    " admission controller; please fix your requests: {}"
)


class Reinvocation(Struct):
    """The second mutating pass over one write: it takes place when a webhook or policy has changed the object."""

    wanted: bool = False
    """Set by whoever changed the object and is not a plug-in of this package."""
    running: bool = False
    """Whether this is the second pass."""
    states: dict[str, Any] = field(default_factory=dict)
    """What a plug-in remembers between the two, by its name."""


class Passes(Struct):
    """What the two mutating passes of webhooks or policies over one write know of each other."""

    called: set[tuple[str, ...]] = field(default_factory=set)
    """Those that may be called again, called since the object last changed."""
    again: set[tuple[str, ...]] = field(default_factory=set)
    """Those to call in the second pass."""
    left: Object | None = None
    """The object as the last one of the first pass left it."""

    @classmethod
    def of(cls, attributes: Attributes, plugin: str) -> Passes:
        """Of one plug-in; a change by others between the two passes counts."""
        reinvocation = attributes.reinvocation
        passes: Passes = reinvocation.states.setdefault(plugin, cls())
        if reinvocation.running and passes.left is not None and passes.left != attributes.object:
            passes.changed()
        return passes

    def changed(self) -> None:
        self.again |= self.called
        self.called = set()

    def end(self, attributes: Attributes) -> None:
        """The pass is over."""
        if self.called and attributes.object is not None:
            self.left = codec.copied(attributes.object)


class Attributes(Struct):
    """One write on its way. Mutating plug-ins change ``object`` in place and then set :attr:`mutated`."""

    operation: str
    kind: Kind
    resource: Resource
    """The served version the client used."""
    subresource: str
    namespace: str
    name: str
    """The object's; of a new one that has none yet its ``generateName``."""
    object: Object | None
    """The new object in the stored version (the subresource's own for binding, eviction); None for DELETE."""
    old_object: Object | None
    user: User
    dry_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """CreateOptions, UpdateOptions, DeleteOptions …"""
    warnings: list[str] = field(default_factory=list)
    mutated: bool = False
    settled: list[Callable[[], None]] = field(default_factory=list)
    """Called once the write is stored or refused."""
    reinvocation: Reinvocation = field(default_factory=Reinvocation)
    annotations: dict[str, str] = field(default_factory=dict)
    """For the audit log."""
    generated: bool = False
    """Whether the request did not name the object."""
    shown: tuple[Object | None, Object | None] | None = None
    """(new, old) as webhooks and policies see them where that is neither ``object`` nor a version of it: the options
    of a connection, the Scale of an object."""
    take: Callable[[Object, Object], None] | None = None
    """Lays over ``object`` what was made of ``shown``, where that is something else than ``object`` itself."""

    def show(self, new: Object) -> None:
        """Makes ``new`` the object that webhooks and policies see, and takes over what is new in it."""
        if self.shown is not None and self.take is not None:
            self.take(self.new(), new)
            self.shown = new, self.shown[1]

    def settle(self) -> None:
        """The write is over."""
        for call in self.settled:
            call()

    @property
    def request_name(self) -> str:
        """The name in the request, as webhooks and policies are told; empty where the server makes one."""
        return "" if self.generated else self.name

    @property
    def group(self) -> str:
        return self.kind.resource.group

    @property
    def plural(self) -> str:
        return self.kind.resource.plural

    @property
    def target(self) -> tuple[str, str]:
        """(group, plural), what most plug-ins choose by."""
        return self.kind.resource.group, self.kind.resource.plural

    def new(self) -> Object:
        """The new object; raises ``ValueError`` where the operation has none."""
        if self.object is None:
            raise ValueError(f"{self.operation} of {self.kind.resource.qualified} has no object")
        return self.object

    def old(self) -> Object:
        """The old object; raises ``ValueError`` where the operation has none."""
        if self.old_object is None:
            raise ValueError(f"{self.operation} of {self.kind.resource.qualified} has no old object")
        return self.old_object


class Reader(Protocol):
    """Fresh reads for plug-ins. Objects are shared: never change them."""

    async def get(self, group: str, plural: str, namespace: str, name: str) -> Object | None: ...

    async def get_latest(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        """As :meth:`get`, after waiting for every write acknowledged before the call."""
        ...

    async def list(self, group: str, plural: str, namespace: str = "") -> Sequence[Object]: ...

    async def update(
        self, group: str, plural: str, namespace: str, name: str, change: Callable[[Object], bool],
        endpoint: str | None = None,
    ) -> Object | None:  # fmt: skip
        """Compare-and-swap: ``change`` edits a copy in place and says whether to write; None where nothing is.

        ``endpoint``: the subresource through which the server then owns what it wrote; None: nobody does.
        """
        ...


class Authorize(Protocol):
    async def __call__(
        self, user: User, verb: str, group: str, resource: str, name: str = "", namespace: str = "",
        subresource: str = "",
    ) -> bool: ...  # fmt: skip


class Grants(Protocol):
    """Whether a user holds what a role or binding would grant; raises ``Forbidden``."""

    async def check_role(self, user: User, plural: str, role: Object, old: Object | None = None) -> None: ...

    async def check_binding(
        self, user: User, plural: str, binding: Object, old: Object | None = None
    ) -> None: ...


class Reviewers(Protocol):
    """Who is asked about writes besides the plug-ins' own rules: admission webhooks, admission policies."""

    async def mutate(self, attributes: Attributes) -> None: ...

    async def validate(self, attributes: Attributes) -> None: ...


Make = Callable[[str, Object], Awaitable[None]]
"""Creates an object of the cluster (``namespaces``) as the server itself, unless it is there."""


class Limits(Protocol):
    """Of how often something is written."""

    def refusals(self, attributes: Attributes) -> list[str]:
        """Which of them one more breaks."""
        ...


class ImageReviews(Protocol):
    """Who says which images pods may run."""

    fails_open: bool
    """Whether every image is fine while nobody can be asked."""

    async def ask(self, spec: Object) -> Object:
        """The status for an ImageReview's spec. Raises ``StatusError``."""
        ...


FindKind = Callable[[str, str, str], Resource | None]


class Context(Struct, frozen=True):
    """What plug-ins get to work with."""

    reader: Reader
    authorize: Authorize
    grants: Grants
    clock: Clock
    rng: random.Random
    promises: Promises = field(default_factory=Promises)
    """Of quota to writes on their way."""
    webhooks: Reviewers | None = None
    policies: Reviewers | None = None
    make: Make | None = None
    kinds: FindKind | None = None
    """(group, Kind, version) -> what serves it."""
    configuration: AdmissionConfiguration = field(default_factory=AdmissionConfiguration)
    event_limits: Limits | None = None
    images: ImageReviews | None = None
    pod_security: PodSecurityMetrics = field(default_factory=PodSecurityMetrics)
    minor: int = 36
    """Of the Kubernetes version that is served."""


Step = Callable[[Attributes, Context], Awaitable[None]]
Handles = Callable[[Attributes], bool]


class Plugin(Struct, frozen=True):
    """One admission plug-in. ``admit`` may change the object; both refuse by raising a ``StatusError``."""

    name: str
    handles: Handles
    admit: Step | None = None
    validate: Step | None = None


def on(
    *targets: str, operations: Sequence[str] = (CREATE, UPDATE), subresources: Sequence[str] = ("",)
) -> Handles:
    """Handles writes of these resources (``pods``, ``ingresses.networking.k8s.io``)."""
    wanted = frozenset(targets)
    verbs, below = frozenset(operations), frozenset(subresources)

    def handles(attributes: Attributes) -> bool:
        return (
            attributes.operation in verbs
            and attributes.subresource in below
            and attributes.kind.resource.qualified in wanted
        )

    return handles


class Admission:
    """The plug-ins in their order."""

    def __init__(
        self,
        plugins: Sequence[Plugin],
        context: Context,
        times: Histograms | None = None,
        each: Histograms | None = None,
    ) -> None:
        """``times``: how long the passes take; ``each``: how long each plug-in."""
        self.plugins = tuple(plugins)
        self.context = context
        self._times = times
        self._each = each

    async def admit(self, attributes: Attributes) -> None:
        """The mutating pass, and a second one where webhooks or policies changed what plug-ins have seen."""
        before = _owners(attributes)
        with self._timed(attributes.operation, "admit"):
            await self._admit(attributes)
            if attributes.reinvocation.wanted:
                attributes.reinvocation.running = True
                await self._admit(attributes)
        if attributes.mutated:
            _keep_owners(attributes, before)

    async def _admit(self, attributes: Attributes) -> None:
        for plugin in self.plugins:
            if plugin.admit is not None and plugin.handles(attributes):
                with _Timed(self._each, attributes.operation, "admit", self.context.clock, plugin.name):
                    await plugin.admit(attributes, self.context)

    async def validate(self, attributes: Attributes) -> None:
        """The validating pass."""
        with self._timed(attributes.operation, "validate"):
            for plugin in self.plugins:
                if plugin.validate is not None and plugin.handles(attributes):
                    with _Timed(
                        self._each, attributes.operation, "validate", self.context.clock, plugin.name
                    ):
                        await plugin.validate(attributes, self.context)

    def _timed(self, operation: str, step: str) -> _Timed:
        return _Timed(self._times, operation, step, self.context.clock)


def _owners(attributes: Attributes) -> Any:
    return ((attributes.object or {}).get("metadata") or {}).get("managedFields")


def _keep_owners(attributes: Attributes, before: Any) -> None:
    """Puts managedFields back that the mutating pass has left unreadable."""
    after = _owners(attributes)
    if after is None or after is before:
        return
    if wrong := managedfields.problem(after):
        metadata = attributes.new()["metadata"]
        metadata["managedFields"] = before
        if before is None:
            del metadata["managedFields"]
        attributes.warnings.append(_UNREADABLE.format(wrong))


class _Timed:
    """How long one pass took, or one plug-in in it, and whether it refused."""

    __slots__ = ("_clock", "_name", "_operation", "_started", "_step", "_times")

    def __init__(
        self, times: Histograms | None, operation: str, step: str, clock: Clock, name: str = ""
    ) -> None:
        self._name = f'name="{name}",' if name else ""
        self._times = times
        self._operation = operation
        self._step = step
        self._clock = clock
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = self._clock.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._times is not None:
            rejected = "true" if kind is not None else "false"
            labels = f'{self._name}operation="{self._operation}",rejected="{rejected}",type="{self._step}"'
            self._times.observe(labels, self._clock.monotonic() - self._started)
