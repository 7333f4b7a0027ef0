"""What the service says of itself: the index, and whether it lives and is ready."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from service import examples
from service.answers import Building, CompactionAnswer, Health, IndexAnswer
from service.problems import NotReadyError, describe_problems
from service.routes import EngineDependency
from service.routes.strict import StrictRoute

router = APIRouter(tags=["status"], route_class=StrictRoute)


@router.get(
    "/v1/index",
    responses={**examples.show(200, examples.INDEX), **describe_problems(422, 503)},
    summary="What the index holds",
)
async def read_index(engine: EngineDependency) -> IndexAnswer:
    """The generation that answers, its model, how many items, and how far a build has come."""
    info = await engine.ask(lambda searcher: searcher.info())
    building = await engine.ask(lambda _: engine.read_building())
    return IndexAnswer(
        generation=info.generation,
        model=info.model,
        size=info.size,
        recall=info.recall,
        building=Building(**building) if building else None,
        attribution=engine.settings.attribution,
    )


@router.post(
    "/v1/index/reload",
    response_model=IndexAnswer,
    responses={**examples.show(200, examples.INDEX), **describe_problems(422, 429, 503)},
    summary="Catch up with what other processes wrote, now",
)
async def reload_index(engine: EngineDependency) -> IndexAnswer:
    """Every search does so by itself; after this, a new generation's model is loaded as well."""
    await engine.ask(lambda _: engine.models.follow())
    return await read_index(engine)


@router.post(
    "/v1/index/compact",
    response_model=CompactionAnswer,
    responses={**examples.show(200, examples.COMPACTION), **describe_problems(403, 409, 422, 429, 503, 507)},
    summary="Seal what is unsealed, and give back room",
)
async def compact_index(engine: EngineDependency) -> JSONResponse:
    """Searches and writes go on meanwhile; the answer comes when it is done. Not twice at once: 409."""
    return JSONResponse((await engine.compact()).to_json())


@router.get("/healthz", summary="Whether the process lives")
async def read_health() -> Health:
    """Yes, as long as it answers."""
    return Health(status="alive")


@router.get("/readyz", responses=describe_problems(503), summary="Whether it can answer searches")
async def read_readiness(request: Request, engine: EngineDependency) -> Health:
    """Yes while the index can be read and every encoder gives a golden picture's vector; 503 if not.

    The reason is told to whoever has a key, where keys are asked for.
    """
    if (reason := await engine.find_fault()) is not None:
        raise NotReadyError(reason if request.state.caller.trusted else "not ready")
    return Health(status="ready")
