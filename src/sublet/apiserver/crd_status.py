"""What a CustomResourceDefinition's status says: names, conditions, stored versions (reference B.18)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sublet.machinery import codec, objects
from sublet.machinery.kind import Object

_APPROVAL = "KubernetesAPIApprovalPolicyConformant"
_KINDS = ("kind", "listKind")


def initial(crd: Object) -> None:
    """The status of a new definition."""
    stored = [v["name"] for v in (crd.get("spec") or {}).get("versions") or () if v.get("storage")]
    crd["status"] = {
        "conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored,
    }  # fmt: skip


def kept(new: Object, old: Object) -> None:
    """The status of a changed definition: what it was, and a new storage version."""
    status = codec.copied(old.get("status") or {})
    stored = status.get("storedVersions") or []
    for version in (new.get("spec") or {}).get("versions") or ():
        if version.get("storage") and version.get("name") not in stored:
            stored.append(version["name"])
    status["storedVersions"] = stored
    new["status"] = status


def settle(crd: Object, others: Iterable[Object], built_in: bool, now: str) -> bool:
    """Accepts the names that are free, in place; says whether the status changed.

    ``others``: the definitions of the group; ``built_in``: the resource is one of the server's own.
    """
    before = codec.encode_json(crd.get("status") or {})
    status = crd.setdefault("status", {})
    accepted: Mapping[str, Any] = status.get("acceptedNames") or {}
    names, problem = _negotiated(crd["spec"]["names"], accepted, _Taken(others))
    if built_in:
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        problem = "PluralConflict", f'"{plural}" is a built-in resource of {group}'
    status["acceptedNames"] = names
    if problem is not None:
        set_condition(crd, "NamesAccepted", "False", *problem, now)
        if objects.condition(crd, "Established") is None:
            set_condition(crd, "Established", "False", "NotAccepted", "not all names are accepted", now)
    else:
        set_condition(crd, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        _establish(crd, now)
    _approve(crd, now)
    for condition in status.get("conditions") or ():
        # Upstream's controllers state none: one that stays behind the generation, as in stores that this program
        # wrote before, would hold up ``kubectl wait --for=condition=Established``.
        condition.pop("observedGeneration", None)
    status.setdefault("storedVersions", [v["name"] for v in crd["spec"]["versions"] if v.get("storage")])
    return codec.encode_json(status) != before


def _establish(crd: Object, now: str) -> None:
    if objects.is_true(crd, "Established"):
        return
    if (crd["spec"].get("conversion") or {}).get("webhook"):
        from sublet.apiserver import crd_validation  # only where there are definitions

        if not crd_validation.trusts_somebody(crd["spec"]):
            message = "The conversion webhook CABundle is invalid"
            set_condition(crd, "Established", "False", "InvalidCABundle", message, now)
            return
    message = "the initial names have been accepted"
    set_condition(crd, "Established", "True", "InitialNamesAccepted", message, now)


class _Taken:
    """The names that definitions of one group have."""

    def __init__(self, definitions: Iterable[Object]) -> None:
        self.resources: set[str | None] = set()
        self.kinds: set[str | None] = set()
        for each in definitions:
            accepted = (each.get("status") or {}).get("acceptedNames") or {}
            self.resources |= {accepted.get("plural"), accepted.get("singular")}
            self.resources |= set(accepted.get("shortNames") or ())
            self.kinds |= {accepted.get(key) for key in _KINDS}


def _negotiated(
    wanted: Mapping[str, Any], accepted: Mapping[str, Any], taken: _Taken
) -> tuple[Object, tuple[str, str] | None]:
    """(the names that are accepted now, the reason and message of the last conflict if there is any)."""
    names: Object = {}
    problem: tuple[str, str] | None = None
    for key in ("plural", "singular", "shortNames", "kind", "listKind"):
        value, had = wanted.get(key), accepted.get(key)
        if key == "shortNames":
            clashes = [n for n in value or () if n not in (had or ()) and n in taken.resources]
        else:
            used = taken.kinds if key in _KINDS else taken.resources
            clashes = [str(value)] if value != had and value in used else []
        if clashes:
            problem = f"{key[0].upper()}{key[1:]}Conflict", _in_use(clashes)
            value = had
        if value or key in ("plural", "kind"):
            names[key] = value or ""
    if wanted.get("categories"):
        names["categories"] = list(wanted["categories"])
    return names, problem


def _in_use(names: Sequence[str]) -> str:
    told = [f'"{name}" is already in use' for name in names]
    return told[0] if len(told) == 1 else f"[{', '.join(told)}]"


def _approve(crd: Object, now: str) -> None:
    from sublet.apiserver import crd_validation  # only where there are definitions

    if not crd_validation.protected(str(crd["spec"].get("group") or "")):
        return
    state, why = crd_validation.approval(crd)
    reason = "ApprovedAnnotation" if state == "Approved" else f"{state}Annotation"
    set_condition(crd, _APPROVAL, "True" if state == "Approved" else "False", reason, why, now)


def set_condition(crd: Object, kind: str, value: str, reason: str, message: str, now: str) -> None:
    """Sets one condition; the time moves only with the status."""
    status = crd.setdefault("status", {})
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    status["conditions"] = conditions
    stated = {"status": value, "reason": reason, "message": message}
    for condition in conditions:
        if condition.get("type") == kind:
            if condition.get("status") != value:
                condition["lastTransitionTime"] = now
            condition |= stated
            return
    conditions.append({"type": kind, "lastTransitionTime": now, **stated})
