"""The messages of Kubernetes' protobuf form, from a table of fields, and where their JSON differs from their fields.

The table has one line per field: package, message, field, number, label, type (facts/protobuf-fields.tsv).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sublet.machinery import zeros

META = "k8s.io.apimachinery.pkg.apis.meta.v1"
RUNTIME = "k8s.io.apimachinery.pkg.runtime"
_APIEXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions"
_APIREGISTRATION = "k8s.io.kube_aggregator.pkg.apis.apiregistration"

SCALARS = frozenset(("bool", "int32", "int64", "double", "string", "bytes"))

SPECIAL = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "quantity",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "int_or_string",
    f"{META}.Time": "time",
    f"{META}.MicroTime": "micro_time",
    f"{META}.Timestamp": "time",
    f"{META}.Duration": "duration",
    f"{META}.FieldsV1": "fields",
    f"{META}.Verbs": "items",
    f"{RUNTIME}.RawExtension": "raw",
    **{
        f"{_APIEXTENSIONS}.{version}.{name}": form
        for version in ("v1", "v1beta1")
        for name, form in (
            ("JSON", "json"),
            ("JSONSchemaPropsOrArray", "or_array"),
            ("JSONSchemaPropsOrBool", "or_bool"),
            ("JSONSchemaPropsOrStringArray", "or_string_array"),
        )
    },
}
"""Messages whose JSON is no object with their fields."""

_INLINE = {
    "localObjectReference": ("ConfigMapEnvSource", "ConfigMapKeySelector", "ConfigMapProjection", "ConfigMapVolumeSource",
                             "SecretEnvSource", "SecretKeySelector", "SecretProjection"),
    "ephemeralContainerCommon": ("EphemeralContainer",),
    "persistentVolumeSource": ("PersistentVolumeSpec",),
    "volumeSource": ("Volume",),
    "handler": ("Probe",),
    "ingressRuleValue": ("IngressRule",),
    "rule": ("RuleWithOperations",),
    "ruleWithOperations": ("NamedRuleWithOperations",),
    "deviceConfiguration": ("DeviceAllocationConfiguration", "DeviceClaimConfiguration", "DeviceClassConfiguration"),
}  # fmt: skip
"""Fields whose own fields stand in the JSON object around them."""

_RENAMED = {
    ("JSONSchemaProps", "ref"): "$ref",
    ("JSONSchemaProps", "schema"): "$schema",
    ("BoundObjectReference", "uID"): "uid",
    ("DaemonEndpoint", "Port"): "Port",
    ("IngressClassParametersReference", "aPIGroup"): "apiGroup",
    **{
        ("JSONSchemaProps", f"xKubernetes{camel}"): f"x-kubernetes-{dashed}"
        for camel, dashed in (
            ("EmbeddedResource", "embedded-resource"),
            ("IntOrString", "int-or-string"),
            ("ListMapKeys", "list-map-keys"),
            ("ListType", "list-type"),
            ("MapType", "map-type"),
            ("PreserveUnknownFields", "preserve-unknown-fields"),
            ("Validations", "validations"),
        )
    },
}


class Field(Struct, frozen=True):
    name: str
    """In JSON."""
    number: int
    repeated: bool
    is_map: bool
    type: str
    """A scalar, a special form's name, or a full message name."""
    inline: bool
    keep_zero: bool
    """Whether a zero on the wire means more than "not set"."""


class Message(Struct, frozen=True):
    name: str
    fields: tuple[Field, ...]
    by_number: dict[int, Field]
    form: str = ""
    """The special form, when its JSON is no object."""


class Table:
    """Reads messages from the table's text when they are first asked for."""

    def __init__(self, text: str) -> None:
        self._rows: dict[str, list[str]] = {}
        for line in text.splitlines():
            package, _, rest = line.partition("\t")
            message, _, row = rest.partition("\t")
            if message and package != "package":
                self._rows.setdefault(f"{package}.{message}", []).append(row)
        self._messages: dict[str, Message] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def message(self, name: str) -> Message:
        """One without fields for a name that the table does not have: such messages have no lines."""
        found = self._messages.get(name)
        if found is None:
            found = self._messages[name] = self._read(name)
        return found

    def name_of(self, api_version: str, kind: str) -> str | None:
        """The message of a kind in an API version; None where there is no protobuf form.

        Kinds that every group serves (options, Status, WatchEvent …) are meta.v1's.
        """
        group, _, version = api_version.rpartition("/")
        for name in (f"{package_of(group)}.{version}.{kind}", f"{META}.{kind}"):
            if name in self._rows:
                return name
        return None

    def _read(self, name: str) -> Message:
        package, _, short = name.rpartition(".")
        fields = tuple(self._field(package, short, row) for row in self._rows.get(name, ()))
        form = SPECIAL.get(name, "") or ("items" if short == "ExtraValue" else "")
        return Message(name, fields, {field.number: field for field in fields}, form)

    def _field(self, package: str, message: str, row: str) -> Field:
        given, number, label, type_ = row.split("\t")
        name = _RENAMED.get((message, given)) or (given[0].lower() + given[1:])
        if label == "map":
            type_ = type_.removeprefix("map<string,").removesuffix(">")
        if type_.startswith("."):
            type_ = type_[1:]
        elif type_ not in SCALARS:
            type_ = f"{package}.{type_}"
        return Field(
            name=name,
            number=int(number),
            repeated=label == "repeated",
            is_map=label == "map",
            type=type_,
            inline=message in _INLINE.get(given, ()),
            keep_zero=zeros.kept(f"{package}.{message}", name),
        )


def package_of(group: str) -> str:
    """The package, without version, of an API group."""
    special: dict[str, Any] = {
        "": "k8s.io.api.core",
        "meta.k8s.io": META.removesuffix(".v1"),
        "apiextensions.k8s.io": _APIEXTENSIONS,
        "apiregistration.k8s.io": _APIREGISTRATION,
        "internal.apiserver.k8s.io": "k8s.io.api.apiserverinternal",
        "metrics.k8s.io": "k8s.io.metrics.pkg.apis.metrics",
        "custom.metrics.k8s.io": "k8s.io.metrics.pkg.apis.custom_metrics",
        "external.metrics.k8s.io": "k8s.io.metrics.pkg.apis.external_metrics",
    }
    return str(special.get(group) or f"k8s.io.api.{group.partition('.')[0]}")
