"""What a user is told when the host cannot run a tenant's control plane, and how to go on."""

from __future__ import annotations

from sublet.machinery.kind import Object

_IMAGE_PROBLEMS = frozenset({"ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"})


def image_problem(pod: Object | None) -> str:
    """Why a container's image is not there, as the node reports it; empty when it is no matter of images."""
    for status in ((pod or {}).get("status") or {}).get("containerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _IMAGE_PROBLEMS:
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return ""


def refusal_advice(pod: str, namespace: str, refusal: str) -> str:
    advice = f"the host refuses the control plane's pod {pod} in namespace {namespace}: {refusal}"
    if "PodSecurity" in refusal:
        advice += (
            "\n- The control plane keeps to the baseline pod security standard: "
            f"kubectl label namespace {namespace} --overwrite pod-security.kubernetes.io/enforce=baseline"
        )
    return advice


def image_advice(pod: Object | None, image: str, problem: str) -> str:
    node = ((pod or {}).get("spec") or {}).get("nodeName") or "the node"
    return (
        f"node {node} has no image {image} and could not pull it ({problem}).\n"
        f"- Make an archive:  sublet image build -o sublet.tar --name {image}\n"
        "- Load it on every node:  ctr -n k8s.io images import sublet.tar  (containerd), docker load -i sublet.tar, "
        "kind load image-archive sublet.tar, minikube image load sublet.tar\n"
        "- Or push it to a registry the nodes reach and pass --image REGISTRY/sublet:TAG"
    )
