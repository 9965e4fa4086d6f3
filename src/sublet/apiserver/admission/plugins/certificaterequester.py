"""A certificate request says who asked for it; whatever the client wrote there does not count.

Upstream does it in the kind's strategy, which knows the user there.
"""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on


async def _admit(attributes: Attributes, _context: Context) -> None:
    spec = attributes.new().setdefault("spec", {})
    user = attributes.user
    asked = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    for field, value in asked.items():
        spec.pop(field, None)
        if value:
            spec[field] = value
    attributes.mutated = True


PLUGIN = Plugin(
    "CertificateRequester",
    on("certificatesigningrequests.certificates.k8s.io", operations=(CREATE,)),
    admit=_admit,
)
