"""A client of the Container Runtime Interface (CRI v1) on a unix socket.

Every call raises :class:`CRIError` with the runtime's message, or ``ServiceUnavailable`` when nothing answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from sublet.machinery.status import InternalError, ServiceUnavailable
from sublet.node import crimessages as m
from sublet.node.wire import Message

if TYPE_CHECKING:
    import grpc.aio

_RUNTIME = "/runtime.v1.RuntimeService/"
_IMAGES = "/runtime.v1.ImageService/"
_R = TypeVar("_R", bound=Message)


class CRIError(InternalError):
    """The runtime refused; ``not_found`` tells that what was named is not there."""

    not_found: bool = False
    timed_out: bool = False


@dataclass(slots=True)
class _Nothing(Message):
    pass


@dataclass(slots=True)
class _SubscribeRequest(Message):
    filters: Annotated[list[str], 1]


@dataclass(slots=True)
class _Envelope(Message):
    """containerd.services.events.v1.Envelope without time and body."""

    namespace: Annotated[str, 2] = ""
    topic: Annotated[str, 3] = ""


class CRI:
    """One connection to a runtime. ``timeout`` is in seconds and holds for quick calls."""

    def __init__(self, socket: str, timeout: float = 120.0) -> None:
        self.socket = socket
        self.timeout = timeout
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None

    async def version(self, timeout: float | None = None) -> m.VersionResponse:
        return await self._call(
            _RUNTIME + "Version", m.VersionRequest(version="v1"), m.VersionResponse, timeout=timeout
        )

    async def status(self, timeout: float | None = None) -> m.StatusResponse:
        return await self._call(_RUNTIME + "Status", m.StatusRequest(), m.StatusResponse, timeout=timeout)

    async def run_sandbox(self, config: m.PodSandboxConfig, handler: str = "") -> str:
        """Creates and starts a sandbox with its network; gives its id."""
        request = m.RunPodSandboxRequest(config=config, runtime_handler=handler)
        answer = await self._call(_RUNTIME + "RunPodSandbox", request, m.RunPodSandboxResponse, timeout=240.0)
        return answer.pod_sandbox_id

    async def stop_sandbox(self, sandbox: str) -> None:
        """Ends all its containers at once and takes its network down; may be repeated."""
        await self._call(
            _RUNTIME + "StopPodSandbox", m.StopPodSandboxRequest(pod_sandbox_id=sandbox), _Nothing
        )

    async def remove_sandbox(self, sandbox: str) -> None:
        await self._call(
            _RUNTIME + "RemovePodSandbox", m.RemovePodSandboxRequest(pod_sandbox_id=sandbox), _Nothing
        )

    async def sandboxes(self, labels: Mapping[str, str] | None = None) -> list[m.PodSandbox]:
        request = m.ListPodSandboxRequest(filter=m.PodSandboxFilter(label_selector=dict(labels or {})))
        return (await self._call(_RUNTIME + "ListPodSandbox", request, m.ListPodSandboxResponse)).items

    async def sandbox_status(self, sandbox: str, verbose: bool = False) -> m.PodSandboxStatusResponse:
        request = m.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=verbose)
        return await self._call(_RUNTIME + "PodSandboxStatus", request, m.PodSandboxStatusResponse)

    async def create_container(
        self, sandbox: str, config: m.ContainerConfig, sandbox_config: m.PodSandboxConfig
    ) -> str:
        request = m.CreateContainerRequest(
            pod_sandbox_id=sandbox, config=config, sandbox_config=sandbox_config
        )
        answer = await self._call(_RUNTIME + "CreateContainer", request, m.CreateContainerResponse)
        return answer.container_id

    async def start_container(self, container: str) -> None:
        request = m.StartContainerRequest(container_id=container)
        await self._call(_RUNTIME + "StartContainer", request, _Nothing)

    async def stop_container(self, container: str, grace: int) -> None:
        """SIGTERM (or the image's stop signal), SIGKILL after ``grace`` seconds; returns once it has ended."""
        request = m.StopContainerRequest(container_id=container, timeout=grace)
        await self._call(_RUNTIME + "StopContainer", request, _Nothing, timeout=grace + self.timeout)

    async def remove_container(self, container: str) -> None:
        request = m.RemoveContainerRequest(container_id=container)
        await self._call(_RUNTIME + "RemoveContainer", request, _Nothing)

    async def containers(self, labels: Mapping[str, str] | None = None) -> list[m.Container]:
        request = m.ListContainersRequest(filter=m.ContainerFilter(label_selector=dict(labels or {})))
        return (await self._call(_RUNTIME + "ListContainers", request, m.ListContainersResponse)).containers

    async def container_status(self, container: str, verbose: bool = False) -> m.ContainerStatusResponse:
        request = m.ContainerStatusRequest(container_id=container, verbose=verbose)
        return await self._call(_RUNTIME + "ContainerStatus", request, m.ContainerStatusResponse)

    async def container_stats(self, labels: Mapping[str, str] | None = None) -> list[m.ContainerStats]:
        request = m.ListContainerStatsRequest()
        found = (
            await self._call(_RUNTIME + "ListContainerStats", request, m.ListContainerStatsResponse)
        ).stats
        wanted = (labels or {}).items()
        return [s for s in found if s.attributes and wanted <= s.attributes.labels.items()]

    async def update_resources(self, container: str, resources: m.LinuxContainerResources) -> None:
        request = m.UpdateContainerResourcesRequest(container_id=container, linux=resources)
        await self._call(_RUNTIME + "UpdateContainerResources", request, _Nothing)

    async def reopen_log(self, container: str) -> None:
        """Makes the runtime open the log file anew, after it was moved away."""
        request = m.ReopenContainerLogRequest(container_id=container)
        await self._call(_RUNTIME + "ReopenContainerLog", request, _Nothing)

    async def exec_sync(self, container: str, command: list[str], timeout: int = 0) -> m.ExecSyncResponse:
        """Runs a command to its end; ``timeout`` in seconds, 0 for none (then our own holds)."""
        request = m.ExecSyncRequest(container_id=container, cmd=command, timeout=timeout)
        limit = timeout + 10.0 if timeout else None
        return await self._call(_RUNTIME + "ExecSync", request, m.ExecSyncResponse, timeout=limit)

    async def exec_url(self, request: m.ExecRequest) -> str:
        return (await self._call(_RUNTIME + "Exec", request, m.ExecResponse)).url

    async def attach_url(self, request: m.AttachRequest) -> str:
        return (await self._call(_RUNTIME + "Attach", request, m.AttachResponse)).url

    async def port_forward_url(self, request: m.PortForwardRequest) -> str:
        return (await self._call(_RUNTIME + "PortForward", request, m.PortForwardResponse)).url

    async def images(self) -> list[m.Image]:
        return (await self._call(_IMAGES + "ListImages", m.ListImagesRequest(), m.ListImagesResponse)).images

    async def image(self, name: str) -> m.Image | None:
        request = m.ImageStatusRequest(image=m.ImageSpec(image=name))
        return (await self._call(_IMAGES + "ImageStatus", request, m.ImageStatusResponse)).image

    async def pull_image(self, name: str, auth: m.AuthConfig | None = None) -> str:
        request = m.PullImageRequest(image=m.ImageSpec(image=name), auth=auth)
        answer = await self._call(_IMAGES + "PullImage", request, m.PullImageResponse, timeout=1800.0)
        return answer.image_ref

    async def remove_image(self, name: str) -> None:
        request = m.RemoveImageRequest(image=m.ImageSpec(image=name))
        await self._call(_IMAGES + "RemoveImage", request, _Nothing)

    async def image_filesystem(self) -> list[m.FilesystemUsage]:
        answer = await self._call(_IMAGES + "ImageFsInfo", m.ImageFsInfoRequest(), m.ImageFsInfoResponse)
        return answer.image_filesystems

    async def task_events(self) -> AsyncIterator[str]:
        """Topics of containerd's own events about tasks (``/tasks/exit`` …) as they happen.

        CRI has no events before containerd 1.7. Raises :class:`CRIError` where the runtime is no containerd.
        """
        import grpc

        stream = self._connection().unary_stream(
            "/containerd.services.events.v1.Events/Subscribe",
            request_serializer=_SubscribeRequest.encode,
            response_deserializer=_Envelope.decode,
        )
        call = stream(_SubscribeRequest(filters=['topic~="^/tasks/"']))
        try:
            async for envelope in call:
                if envelope.namespace == "k8s.io":
                    yield envelope.topic
        except grpc.RpcError as error:
            raise _translated(error, "Subscribe") from None
        finally:
            call.cancel()

    def _connection(self) -> grpc.aio.Channel:
        if self._channel is None:
            import grpc.aio

            options = [
                ("grpc.max_receive_message_length", 16 << 20),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.enable_http_proxy", 0),
                # the socket's path is no host name that containerd's gRPC would take as authority
                ("grpc.default_authority", "localhost"),
            ]
            self._channel = grpc.aio.insecure_channel(f"unix:{self.socket}", options=options)
        return self._channel

    async def _call(
        self, method: str, request: Message, answer: type[_R], *, timeout: float | None = None
    ) -> _R:
        import grpc

        call: Any = self._connection().unary_unary(
            method, request_serializer=type(request).encode, response_deserializer=answer.decode
        )
        try:
            received: _R = await call(request, timeout=timeout or self.timeout)
        except grpc.RpcError as error:
            raise _translated(error, method.rpartition("/")[2]) from None
        return received


def _translated(error: Any, method: str) -> CRIError | ServiceUnavailable:
    import grpc

    code, details = error.code(), error.details() or ""
    # containerd says so while it finds its containers again after a start
    if code == grpc.StatusCode.UNAVAILABLE or "server is not initialized yet" in details:
        return ServiceUnavailable(f"the container runtime does not answer {method}: {details}")
    translated = CRIError(details or f"the container runtime failed {method}: {code.name}")
    translated.not_found = code == grpc.StatusCode.NOT_FOUND or "not found" in details
    translated.timed_out = code == grpc.StatusCode.DEADLINE_EXCEEDED
    return translated
