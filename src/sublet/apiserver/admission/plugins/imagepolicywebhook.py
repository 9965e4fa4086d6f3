"""ImagePolicyWebhook: a webhook says which images pods may run."""

from __future__ import annotations

from typing import Any

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden, StatusError, forbidden, internal_error

_ANNOTATIONS = ".image-policy.k8s.io/"
AUDIT = "imagepolicywebhook.image-policy.k8s.io/"


async def _validate(attributes: Attributes, context: Context) -> None:
    reviews = context.images
    if reviews is None:
        raise internal_error("ImagePolicyWebhook: no config specified")
    try:
        status = await reviews.ask(_spec(attributes))
    except StatusError as error:
        if not reviews.fails_open:
            raise _refused(attributes, str(error)) from None
        attributes.annotations[f"{AUDIT}failed-open"] = "true"
        return
    for key, value in (status.get("auditAnnotations") or {}).items():
        attributes.annotations[AUDIT + str(key)] = str(value)
    if status.get("allowed") is True:
        return
    reason = status.get("reason") or ""
    why = f"image policy webhook backend denied one or more images: {reason}"
    raise _refused(attributes, why if reason else "one or more images rejected by webhook backend")


def _spec(attributes: Attributes) -> Object:
    """What is asked: the images, and those annotations of the pod that are for the webhook."""
    pod = attributes.new()
    spec: dict[str, Any] = pod.get("spec") or {}
    keys = ("ephemeralContainers",) if attributes.subresource else ("containers", "initContainers")
    asked: Object = {
        "containers": [{"image": each.get("image") or ""} for key in keys for each in spec.get(key) or ()]
    }
    told = {key: value for key, value in objects.annotations(pod).items() if _ANNOTATIONS in key}
    if told:
        asked["annotations"] = told
    return {**asked, "namespace": attributes.namespace}


def _refused(attributes: Attributes, why: str) -> Forbidden:
    return forbidden("", "pods", attributes.name, why)


PLUGIN = Plugin(
    "ImagePolicyWebhook", on("pods", subresources=("", "ephemeralcontainers")), validate=_validate
)
