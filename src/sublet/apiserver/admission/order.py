"""The admission plug-ins in the order they run (reference B.17): a new one is a file in ``plugins/`` and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from sublet.apiserver.admission.framework import Plugin

ORDER = (
    "namespacelifecycle",
    "limitranger",
    "serviceaccount",
    "noderestriction",
    "taintnodesbycondition",
    "podsecurity",
    "priority",
    "defaulttolerationseconds",
    "defaultstorageclass",
    "storageobjectinuseprotection",
    "persistentvolumeclaimresize",
    "runtimeclass",
    "certificaterequester",
    "certificateapproval",
    "certificatesigning",
    "certificatesubjectrestriction",
    "defaultingressclass",
    "rbacescalation",
    "mutatingadmissionpolicy",
    "mutatingadmissionwebhook",
    "validatingadmissionpolicy",
    "validatingadmissionwebhook",
    "resourcequota",
)
"""Modules of ``plugins/``. ResourceQuota is last: what it counts must not be refused afterwards."""


def load(disabled: Iterable[str] = ()) -> list[Plugin]:
    """The plug-ins to run, without those named in ``disabled``. Raises ``ValueError`` for an unknown name."""
    plugins: list[Plugin] = [
        importlib.import_module(f"sublet.apiserver.admission.plugins.{module}").PLUGIN for module in ORDER
    ]
    off = set(disabled)
    unknown = off - {plugin.name for plugin in plugins}
    if unknown:
        known = ", ".join(plugin.name for plugin in plugins)
        raise ValueError(f"no admission plug-in {sorted(unknown)[0]!r}; there are {known}")
    return [plugin for plugin in plugins if plugin.name not in off]
