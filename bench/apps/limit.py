"""The limit: FastAPI and raw asyncpg, a hand-written WHERE, no protection at all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
from fastapi import FastAPI, HTTPException

from bench.apps.shape import COLUMNS, LINE_COLUMNS, OrderOut

TENANT = UUID(os.environ["BENCH_TENANT"])
QUERY = f"SELECT {', '.join(COLUMNS)} FROM bare.orders WHERE tenant_id = $1 AND id = $2"
LINES = f"SELECT {', '.join(LINE_COLUMNS)} FROM app.order_lines WHERE tenant_id = $1 AND order_id = $2 ORDER BY name"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["BENCH_OWNER_URL"], min_size=8, max_size=8) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/api/orders/{order_id}")
async def read(order_id: UUID) -> OrderOut:
    async with app.state.pool.acquire() as connection:
        row = await connection.fetchrow(QUERY, TENANT, order_id)
        if row is None:
            raise HTTPException(404)
        lines = await connection.fetch(LINES, TENANT, order_id)
    return OrderOut(**row, lines=[dict(line) for line in lines])
