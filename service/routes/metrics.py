"""`/metrics`: the service's figures, as Prometheus reads them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.metrics import Metrics, Standing
from service.problems import describe_problems
from service.routes import EngineDependency

router = APIRouter(tags=["status"])


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=describe_problems(503),
    summary="Figures for Prometheus",
)
async def read_metrics(request: Request, engine: EngineDependency) -> Response:
    """Latencies, queues, rejections, scores, the index and the process, in Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    info = await engine.ask(lambda searcher: searcher.info())
    standing = Standing(
        generation=info.generation,
        model=info.model,
        items=info.size,
        queued=engine.queued,
        searches=engine.gates.searches.taken,
        writes=engine.gates.writes.taken,
    )
    return Response(metrics.render(standing), media_type=CONTENT_TYPE_LATEST)
