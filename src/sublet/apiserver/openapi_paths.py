"""The paths of OpenAPI documents: every operation on every served resource, in version 2 or 3 of the format. Pure.

kubectl reads three things here: the PATCH operation's query parameters (``fieldValidation``, ``dryRun``), the
``x-kubernetes-action`` and ``x-kubernetes-group-version-kind`` of each operation, and PATCH's media types. Others
make all their calls of it: identities, tags, descriptions and the deprecated ``/watch/`` paths are upstream's.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Literal

from sublet.apiserver.deletion import RETURNED
from sublet.machinery.kind import Kind, Resource, Subresource

Document = dict[str, Any]
Format = Literal[2, 3]
NameOf = Callable[[str, str], str]
"""(api version, Kind) -> name of the definition, ``""`` where there is none."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_READ = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_READ_STREAM = (*_READ, "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_PATCH = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip
_TEXT: Mapping[str, tuple[str, str]] = {
    "pretty": ("string", "If 'true', then the output is pretty printed."),
    "dryRun": ("string", ""),
    "fieldManager": ("string", "The name of the actor that makes the change; at most 128 printable characters."),
    "fieldValidation": ("string", "What to do with unknown or duplicate fields: Ignore, Warn (the default) or Strict."),
    "force": ("boolean", "Whether an apply request takes fields over from other managers."),
    "allowWatchBookmarks": ("boolean", "Whether the watch may send BOOKMARK events."),
    "continue": ("string", "The token of a former list, to get its next page."),
    "fieldSelector": ("string", "Restricts objects by their fields. Defaults to everything."),
    "labelSelector": ("string", "Restricts objects by their labels. Defaults to everything."),
    "limit": ("integer", "The largest number of objects to return."),
    "resourceVersion": ("string", "Which resource versions may be served."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied: Exact or NotOlderThan."),
    "shardSelector": ("string", "Restricts objects to a range of hashes; needs the feature gate ShardedListAndWatch."),
    "sendInitialEvents": ("boolean", "Whether a watch begins with the objects there are."),
    "timeoutSeconds": ("integer", "Ends the call after this many seconds."),
    "watch": ("boolean", "Watch for changes instead of listing."),
    "gracePeriodSeconds": ("integer", ""),
    "orphanDependents": ("boolean", ""),
    "propagationPolicy": ("string", ""),
    "ignoreStoreReadErrorWithClusterBreakingPotential": ("boolean", ""),
    "command": ("string", "The program and its arguments, each a parameter of its own; no shell reads them."),
    "container": ("string", "The container of the pod; may be left out where there is only one."),
    "stdin": ("boolean", "Whether standard input is sent."),
    "stdout": ("boolean", "Whether standard output is received."),
    "stderr": ("boolean", "Whether standard error is received."),
    "tty": ("boolean", "Whether a terminal is allocated."),
    "ports": ("integer", "The ports to forward; required with WebSockets."),
    "path": ("string", "What is asked of the node, pod or service."),
    "follow": ("boolean", "Whether lines that are still to come are sent too."),
    "insecureSkipTLSVerifyBackend": ("boolean", "Does not verify the certificate of the node's agent."),
    "limitBytes": ("integer", "The largest number of bytes to return."),
    "previous": ("boolean", "Asks for the container that ran before this one."),
    "sinceSeconds": ("integer", "Only lines of the last so many seconds."),
    "stream": ("string", "All, Stdout or Stderr."),
    "tailLines": ("integer", "Only so many of the last lines."),
    "timestamps": ("boolean", "Puts its time before every line."),
}  # fmt: skip
"""Type and description of queries; those without a description are fields of DeleteOptions, which describes them."""
_EXEC = ("container", "stderr", "stdin", "stdout", "tty")
_BELOW: Mapping[str, tuple[str, ...]] = {
    "exec": ("command", *_EXEC),
    "attach": _EXEC,
    "portforward": ("ports",),
    "proxy": ("path",),
    "log": (
        "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream",
        "tailLines", "timestamps",
    ),
}  # fmt: skip
"""The query of subresources that are no objects."""
_CONNECTED = ("exec", "attach", "portforward", "proxy")
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents",
    "propagationPolicy",
)  # fmt: skip
_LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "shardSelector", "timeoutSeconds", "watch",
)  # fmt: skip
_ANY_BODY = ("*/*",)
_METHODS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_ACTIONS = {"create": "post", "update": "put"}
_VERB_NAMES = {"create": "create", "update": "replace"}
_DEPRECATED = "deprecated: use the 'watch' parameter with a list operation instead"


class Paths:
    """Makes the paths of one format; ``name_of`` knows the definitions.

    ``texts``: descriptions of the queries that are fields of DeleteOptions. ``lacking``: queries that there are not.
    """

    def __init__(
        self, form: Format, name_of: NameOf, texts: Mapping[str, str], lacking: Container[str]
    ) -> None:
        self._form = form
        self._texts = texts
        self._lacking = lacking
        self._name_of = name_of
        self._prefix = "#/definitions/" if form == 2 else "#/components/schemas/"

    def of(self, kind: Kind, resource: Resource, *, custom: bool) -> Iterator[tuple[str, Document]]:
        """(path, path item) for a resource and its subresources."""
        operations = _Operations(self, kind, resource, custom)
        collection = resource.path("{namespace}") if resource.namespaced else resource.path()
        if item := operations.collection():
            yield collection, self._item(item, namespaced=resource.namespaced)
        if resource.namespaced and "list" in kind.verbs:
            yield resource.path(), self._item({"get": operations.listing(everywhere=True)})
        one = f"{collection}/{{name}}"
        if item := operations.single():
            yield one, self._item(item, namespaced=resource.namespaced, name_of=resource.kind)
        for name, subresource in sorted(kind.below(resource.version).items()):
            told = resource.kind if custom else subresource.kind
            yield from self._below(operations, f"{one}/{name}", resource, name, subresource, told)
        if not custom and "watch" in kind.verbs:
            yield from self._watches(operations, resource)

    def _below(
        self,
        operations: _Operations,
        path: str,
        resource: Resource,
        name: str,
        subresource: Subresource,
        name_of: str,
    ) -> Iterator[tuple[str, Document]]:
        query = _BELOW.get(name, ())
        if name not in _CONNECTED:
            query = ("pretty", *query)
        item = operations.below(name, subresource)
        if not item:
            return
        yield path, self._item(item, namespaced=resource.namespaced, name_of=name_of, query=query)
        if name == "proxy":
            item = operations.connecting(name, subresource, "WithPath")
            more = [self._in_path("path", "path to the resource")]
            yield (
                f"{path}/{{path}}",
                self._item(item, namespaced=resource.namespaced, name_of=name_of, query=query, more=more),
            )

    def _watches(self, operations: _Operations, resource: Resource) -> Iterator[tuple[str, Document]]:
        """What upstream serves besides the ``watch`` parameter since the first version."""
        root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        here = resource.path("{namespace}") if resource.namespaced else resource.path()
        watched = f"{root}/watch{here.removeprefix(root)}"
        item = {"get": operations.watching("List")}
        query = ("pretty", *_LIST)
        yield watched, self._item(item, namespaced=resource.namespaced, query=query)
        item = {"get": operations.watching("")}
        shown = self._item(item, namespaced=resource.namespaced, name_of=resource.kind, query=query)
        yield f"{watched}/{{name}}", shown
        if resource.namespaced:
            item = {"get": operations.watching("List", everywhere=True)}
            yield f"{root}/watch{resource.path().removeprefix(root)}", self._item(item, query=query)

    def _item(
        self,
        operations: Document,
        *,
        namespaced: bool = False,
        name_of: str = "",
        query: Iterable[str] = ("pretty",),
        more: Iterable[Document] = (),
    ) -> Document:
        """``name_of``: the kind that ``{name}`` in the path names. What all operations take is told once."""
        parameters = [*self._queries(query), *more]
        if namespaced:
            parameters.append(
                self._in_path("namespace", "object name and auth scope, such as for teams and projects")
            )
        if name_of:
            parameters.append(self._in_path("name", f"name of the {name_of}"))
        parameters += _taken_out_of(list(operations.values()))
        return {**operations, "parameters": sorted(parameters, key=itemgetter("name", "in"))}

    def _in_path(self, name: str, description: str) -> Document:
        return self._parameter(name, "path", "string", description) | {"required": True}

    def _queries(self, names: Iterable[str]) -> list[Document]:
        found = []
        for name in names:
            if name not in self._lacking:
                kind, description = _TEXT[name]
                found.append(self._parameter(name, "query", kind, description or self._texts[name]))
        return found

    def _parameter(self, name: str, where: str, kind: str, description: str) -> Document:
        shape = {"type": kind, "uniqueItems": True}
        found: Document = {"name": name, "in": where, "description": description}
        return found | (shape if self._form == 2 else {"schema": shape})

    def reference(self, api_version: str, kind: str) -> Document:
        """A schema: a reference, or a string where the kind has no definition (streams)."""
        name = self._name_of(api_version, kind)
        return {"$ref": self._prefix + name} if name else {"type": "string"}

    def meta(self, kind: str) -> Document:
        return {"$ref": f"{self._prefix}{_META}.{kind}"}

    def operation(
        self,
        identity: str,
        tag: str,
        action: str,
        gvk: Mapping[str, str],
        answer: Document,
        codes: Iterable[tuple[int, str]],
        *,
        description: str,
        query: Iterable[str] = (),
        body: Document | None = None,
        body_required: bool = True,
        consumes: tuple[str, ...] = _ANY_BODY,
        produces: tuple[str, ...] = _READ,
    ) -> Document:
        """One operation in this format."""
        found: Document = {"operationId": identity, "tags": [tag], "description": description}
        parameters = self._queries(sorted(query))
        needed = {"required": True} if body_required else {}
        if self._form == 2:
            found |= {"consumes": list(consumes), "produces": list(produces), "schemes": ["https"]}
            if body is not None:
                parameters.insert(0, {"name": "body", "in": "body", **needed, "schema": body})
        elif body is not None:
            found["requestBody"] = {"content": {media: {"schema": body} for media in consumes}, **needed}
        if parameters:
            found["parameters"] = parameters
        found["responses"] = responses(self._form, answer, codes, produces)
        found["x-kubernetes-action"] = action
        found["x-kubernetes-group-version-kind"] = dict(gvk)
        return found


def responses(
    form: Format, answer: Document, codes: Iterable[tuple[int, str]], produces: Iterable[str]
) -> Document:
    """What an operation answers: a schema under each of the codes, or that the client is not known."""
    shown: Document = {"schema": answer}
    if form == 3:
        shown = {"content": {media: {"schema": answer} for media in produces}}
    found = {str(code): {"description": text, **shown} for code, text in codes}
    return {**found, "401": {"description": "Unauthorized"}}


def _taken_out_of(operations: list[Document]) -> list[Document]:
    """The parameters that each of the operations has, bodies apart, which are taken out of them."""
    first, *others = (operation.get("parameters", []) for operation in operations)
    shared = [p for p in first if p["in"] != "body" and all(p in parameters for parameters in others)]
    for operation in operations:
        left = [p for p in operation.pop("parameters", ()) if p not in shared]
        if left:
            operation["parameters"] = left
    return shared


class _Operations:
    """The operations on one resource."""

    def __init__(self, paths: Paths, kind: Kind, resource: Resource, custom: bool) -> None:
        self._paths = paths
        self._kind = kind
        self._resource = resource
        group = identifier(resource.group or "core")
        self._scope = group + resource.version[:1].upper() + resource.version[1:]
        self._tag = f"{tag(resource.group)}_{resource.version}"
        self._read = _READ[:2] if custom else _READ
        self._stream = _READ_STREAM[:2] if custom else _READ_STREAM
        self._patch = tuple(p for p in _PATCH if not (custom and "strategic" in p))
        self._gvk = {"group": resource.group, "kind": resource.kind, "version": resource.version}
        self._custom = custom
        self._body = _READ[:2] if custom else _ANY_BODY
        self._one_of = _with_article(resource.kind)
        self._lists = "list or watch" if "watch" in kind.verbs and not custom else "list"

    def _identity(self, verb: str, suffix: str = "", *, everywhere: bool = False, before: str = "") -> str:
        """``readCoreV1NamespacedPodLog``; ``before``: what stands between the version and what it is done to."""
        namespaced = "Namespaced" if self._resource.namespaced and not everywhere else ""
        end = "ForAllNamespaces" if everywhere else ""
        return f"{verb}{self._scope}{before}{namespaced}{self._resource.kind}{suffix}{end}"

    def _object(self) -> Document:
        return self._paths.reference(self._resource.api_version, self._resource.kind)

    def listing(self, *, everywhere: bool = False) -> Document:
        return self._paths.operation(
            self._identity("list", everywhere=everywhere), self._tag, "list", self._gvk,
            self._paths.reference(self._resource.api_version, self._kind.list_kind), [(200, "OK")],
            query=_LIST, consumes=self._body, produces=self._stream,
            description=f"{self._lists} objects of kind {self._resource.kind}",
        )  # fmt: skip

    def watching(self, suffix: str, *, everywhere: bool = False) -> Document:
        """A watch of one object, with the suffix ``List`` of many."""
        kind = self._resource.kind
        if suffix:
            action, told = "watchlist", f"watch individual changes to a list of {kind}. {_DEPRECATED}."
        else:
            action = "watch"
            told = (
                f"watch changes to an object of kind {kind}. {_DEPRECATED}, filtered to a single item with the "
                "'fieldSelector' parameter."
            )
        return self._paths.operation(
            self._identity("watch", suffix, everywhere=everywhere), self._tag, action, self._gvk,
            self._paths.meta("WatchEvent"), [(200, "OK")], description=told, produces=self._stream,
        )  # fmt: skip

    def collection(self) -> Document:
        found: Document = {}
        verbs = self._kind.verbs
        if "list" in verbs:
            found["get"] = self.listing()
        if "create" in verbs:
            found["post"] = self._write("create", "", self._gvk, self._object(), f"create {self._one_of}")
        if "deletecollection" in verbs:
            found["delete"] = self._emptying()
        return found

    def _emptying(self) -> Document:
        query = (*_DELETE, *(q for q in _LIST if q not in ("watch", "allowWatchBookmarks")))
        body = self._paths.meta("DeleteOptions")
        return self._paths.operation(
            self._identity("delete", before="Collection"), self._tag, "deletecollection", self._gvk,
            self._paths.meta("Status"), [(200, "OK")], query=_LIST if self._custom else query,
            body=None if self._custom else body, body_required=False, consumes=self._body, produces=self._read,
            description=f"delete collection of {self._resource.kind}",
        )  # fmt: skip

    def single(self) -> Document:
        found: Document = {}
        for verb in ("get", "update", "patch", "delete"):
            if verb in self._kind.verbs:
                found[_METHODS[verb]] = self._one(verb, "", self._gvk, self._object())
        return found

    def below(self, name: str, subresource: Subresource) -> Document:
        """The operations on a subresource."""
        if name in _CONNECTED:
            return self.connecting(name, subresource)
        gvk, answer = self._shape(subresource)
        if self._custom:
            gvk = self._gvk
        if name == "log":
            answer = {"type": "string"}
        return {_METHODS[v]: self._one(v, name, gvk, answer) for v in subresource.verbs if v in _METHODS}

    def connecting(self, name: str, subresource: Subresource, suffix: str = "") -> Document:
        """The operations on a subresource that is passed through to what it is a part of."""
        gvk, _ = self._shape(subresource)
        methods = [_METHODS[verb] for verb in subresource.verbs if verb in _METHODS]
        if name == "proxy":
            methods += ["head", "options"]
        return {
            method: self._paths.operation(
                self._identity("connect", _title(name) + suffix, before=method.capitalize()), self._tag, "connect",
                gvk, {"type": "string"}, [(200, "OK")], produces=("*/*",),
                description=f"connect {method.upper()} requests to {name} of {self._resource.kind}",
            )
            for method in methods
        }  # fmt: skip

    def _shape(self, subresource: Subresource) -> tuple[dict[str, str], Document]:
        """(group, version and kind; the schema) of a subresource."""
        version = subresource.version or self._resource.version
        group = subresource.group if subresource.version else self._resource.group
        api_version = f"{group}/{version}" if group else version
        gvk = {"group": group, "kind": subresource.kind, "version": version}
        return gvk, self._paths.reference(api_version, subresource.kind)

    def _one(self, verb: str, below: str, gvk: Mapping[str, str], answer: Document) -> Document:
        """``below``: the subresource, or nothing."""
        suffix, told = _title(below), f"{below} of the specified " if below else "the specified "
        match verb:
            case "get":
                return self._paths.operation(
                    self._identity("read", suffix), self._tag, "get", gvk, answer, [(200, "OK")],
                    consumes=self._body, produces=("text/plain", *self._read) if below == "log" else self._read,
                    description=f"read {told}{self._resource.kind}",
                )  # fmt: skip
            case "patch":
                return self._paths.operation(
                    self._identity("patch", suffix), self._tag, "patch", gvk, answer,
                    [(200, "OK")] if self._custom else [(200, "OK"), (201, "Created")],
                    query=_WRITE if self._custom else (*_WRITE, "force"),
                    body=self._paths.meta("Patch"), consumes=self._patch, produces=self._read,
                    description=f"partially update {told}{self._resource.kind}",
                )  # fmt: skip
            case "delete":
                return self._paths.operation(
                    self._identity("delete", suffix), self._tag, "delete", gvk,
                    answer if self._resource.qualified in RETURNED else self._paths.meta("Status"),
                    [(200, "OK"), (202, "Accepted")], query=_DELETE, body=self._paths.meta("DeleteOptions"),
                    body_required=False, consumes=self._body, produces=self._read,
                    description=f"delete {self._one_of}",
                )  # fmt: skip
            case "update":
                return self._write(verb, suffix, gvk, answer, f"replace {told}{self._resource.kind}")
            case _:
                return self._write(verb, suffix, gvk, answer, f"create {below} of {self._one_of}")

    def _write(
        self, verb: str, suffix: str, gvk: Mapping[str, str], answer: Document, description: str
    ) -> Document:
        codes = [(200, "OK"), (201, "Created")]
        if verb == "create":
            codes.append((202, "Accepted"))
        return self._paths.operation(
            self._identity(_VERB_NAMES[verb], suffix), self._tag, _ACTIONS[verb], gvk, answer, codes,
            query=_WRITE, body=answer, consumes=self._body, produces=self._read, description=description,
        )  # fmt: skip


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]


def _with_article(kind: str) -> str:
    """``a Pod``, ``an Ingress``, ``Endpoints``."""
    if kind.endswith("s") and not kind.endswith("ss"):
        return kind
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"


def identifier(group: str) -> str:
    """``RbacAuthorization`` of ``rbac.authorization.k8s.io``."""
    return "".join(part.capitalize() for part in group.removesuffix(".k8s.io").split("."))


def tag(group: str) -> str:
    name = identifier(group)
    return name[:1].lower() + name[1:] if group else "core"
