"""Reads the three metrics APIs: ``metrics.k8s.io``, ``custom.metrics.k8s.io``, ``external.metrics.k8s.io``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from sublet.client.client import Client
from sublet.controllers.horizontal_pod_autoscaler.proposals import NoProposal, Sample
from sublet.machinery import codec, objects, quantity, selectors
from sublet.machinery.kind import Object, Resource

_RESOURCE = "/apis/metrics.k8s.io/v1beta1"
_CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
_EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"


def milli(value: Any) -> int:
    return quantity.parse(value).milli()


class Metrics:
    """All amounts come back in thousandths. Raises ``NoProposal`` where an API has none."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of_pods(
        self, name: str, namespace: str, selector: str, container: str = ""
    ) -> dict[str, Sample]:
        """The pods' use of resource ``name``: of one container, or of all."""
        path = f"{_RESOURCE}/namespaces/{namespace}/pods"
        what = f"unable to get metrics for resource {name}"
        listed = await self._get(
            path, {"labelSelector": selector}, f"{what}: {_fetching('resource')}", "pods"
        )
        samples = {}
        for item in listed.get("items") or ():
            parts = [c for c in item.get("containers") or () if not container or c["name"] == container]
            if container and not parts:
                pod = f"{namespace}/{item['metadata']['name']}"
                text = f"container {container} not present in metrics for pod {pod}"
                raise NoProposal(f"{what}: failed to get container metrics: {text}")
            if parts and all(name in c["usage"] for c in parts):
                amount = sum(milli(c["usage"][name]) for c in parts)
                samples[item["metadata"]["name"]] = Sample(amount, *_when(item, "window"))
        if not samples:
            raise NoProposal(f"{what}: no metrics returned from resource metrics API")
        return samples

    async def custom_of_pods(
        self, metric: Mapping[str, Any], namespace: str, selector: str
    ) -> dict[str, Sample]:
        path = f"{_CUSTOM}/namespaces/{namespace}/pods/*/{quote(metric['name'])}"
        query = {"labelSelector": selector} | _metric_selector(metric)
        what = f"unable to get metric {metric['name']}"
        listed = await self._get(path, query, f"{what}: {_fetching('custom')}")
        samples = {
            item["describedObject"]["name"]: Sample(milli(item["value"]), *_when(item, "windowSeconds"))
            for item in listed.get("items") or ()
        }
        if not samples:
            raise NoProposal(f"{what}: no metrics returned from custom metrics API")
        return samples

    async def custom_of_object(
        self, metric: Mapping[str, Any], described: Resource, name: str, namespace: str
    ) -> int:
        place = f"namespaces/{namespace}/" if described.namespaced else ""
        path = f"{_CUSTOM}/{place}{described.qualified}/{quote(name)}/{quote(metric['name'])}"
        what = f"unable to get metric {metric['name']}: {described.kind} on {namespace} {name}"
        listed = await self._get(path, _metric_selector(metric), f"{what}/{_fetching('custom')}")
        items = listed.get("items") or ()
        if not items:
            raise NoProposal(f"{what}/no metrics returned")
        return milli(items[0]["value"])

    async def external(self, metric: Mapping[str, Any], namespace: str) -> int:
        path = f"{_EXTERNAL}/namespaces/{namespace}/{quote(metric['name'])}"
        query = {}
        if chosen := metric.get("selector"):
            query["labelSelector"] = str(selectors.from_label_selector(chosen))
        shown = selectors.go_text(metric.get("selector"))
        what = f"unable to get external metric {namespace}/{metric['name']}/{shown}"
        listed = await self._get(path, query, f"{what}: {_fetching('external')}", metric["name"])
        items = listed.get("items") or ()
        if not items:
            raise NoProposal(f"{what}: no metrics returned from external metrics API")
        return sum(milli(item["value"]) for item in items)

    async def _get(self, path: str, query: Mapping[str, str], what: str, plural: str = "") -> Object:
        """``plural``: the resource that is asked for, as client-go's errors name it."""
        response = await self._client.raw("GET", path, query=urlencode(query))
        if not isinstance(response.body, bytes):
            raise NoProposal(f"{what}: the answer is a stream")
        if response.status != 200:
            raise NoProposal(f"{what}: {_message(path, plural, response.status, response.body)}")
        found: Object = codec.decode_json(response.body)
        return found


def _fetching(api: str) -> str:
    return f"unable to fetch metrics from {api} metrics API"


def _message(path: str, plural: str, status: int, body: bytes) -> str:
    try:
        return str(codec.decode_json(body)["message"])
    except (ValueError, KeyError, TypeError):
        group = path.split("/")[2]
        if status != 404:
            return f"the metrics API answered {status}"
        if not plural:
            return f"no custom metrics API ({group}) registered"
        return f"the server could not find the requested resource (get {plural}.{group})"


def _metric_selector(metric: Mapping[str, Any]) -> dict[str, str]:
    chosen = metric.get("selector")
    return {"metricLabelSelector": str(selectors.from_label_selector(chosen))} if chosen else {}


def _when(item: Mapping[str, Any], window: str) -> tuple[float, float]:
    """(time, window in seconds) of a sample; windows are written ``30s`` or as a number."""
    stamp = item.get("timestamp")
    text = str(item.get(window) or "60").removesuffix("s")
    minutes, found, seconds = text.rpartition("m")
    try:
        length = float(minutes or 0) * 60 + float(seconds or 0) if found else float(text)
    except ValueError:
        length = 60.0
    return objects.parse_time(stamp) if stamp else 0.0, length
