"""The routes, thin: each reads its parameters, asks the engine, and shapes the answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.engine import Engine


async def get_engine(request: Request) -> Engine:
    """The engine that the lifespan opened.

    `async`, as every dependency here must be: FastAPI calls others on a thread of its own, a millisecond a request.
    """
    engine: Engine = request.app.state.engine
    return engine


EngineDependency = Annotated[Engine, Depends(get_engine)]
