"""What a component asks is counted under client-go's names."""

from __future__ import annotations

import pytest

from sublet.client.exchange import Request, Response
from sublet.client.metered import ClientMetrics, MeteredTransport


class Answers:
    """Answers with what a test says, or fails."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def request(self, _request: Request) -> Response:
        if not self.status:
            raise ConnectionResetError
        return Response(self.status)

    stream = request

    async def close(self) -> None:
        return None


async def test_requests_are_counted_by_code_method_and_host() -> None:
    metrics = ClientMetrics("127.0.0.1:6443", now=iter((0.0, 0.2, 1.0, 1.0)).__next__)
    transport = MeteredTransport(Answers(200), metrics)
    await transport.request(Request("GET", "/"))
    await transport.stream(Request("GET", "/"))
    lines = list(metrics.lines())
    assert 'rest_client_requests_total{code="200",host="127.0.0.1:6443",method="GET"} 2' in lines
    assert 'rest_client_request_duration_seconds_bucket{host="127.0.0.1:6443",verb="GET",le="0.1"} 1' in lines
    assert 'rest_client_request_duration_seconds_count{host="127.0.0.1:6443",verb="GET"} 2' in lines


async def test_a_request_without_an_answer_is_an_error() -> None:
    metrics = ClientMetrics("h:1")
    with pytest.raises(ConnectionResetError):
        await MeteredTransport(Answers(0), metrics).request(Request("PUT", "/"))
    assert 'rest_client_requests_total{code="<error>",host="h:1",method="PUT"} 1' in list(metrics.lines())
