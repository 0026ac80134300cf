import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from tallystick.errors import AmbiguousOutcome
from tallystick.ids import deterministic_id
from tallystick.pipeline import AsyncPublisher, PublisherFull, Topic


class Order(BaseModel):
    customer: str
    amount_minor: int


orders = Topic("orders", Order)


@asynccontextmanager
async def publishing(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncPublisher(os.environ["KAFKA"]) as app.state.publisher:
        yield  # at the end of the application, what is on its way is waited for


app = FastAPI(lifespan=publishing)


@app.put("/orders/{order_id}", status_code=202)
async def place(order_id: str, order: Order, request: Request) -> dict[str, str]:
    publisher: AsyncPublisher = request.app.state.publisher
    event_id = deterministic_id("order-placed", order_id)  # the same when the browser sends it again
    try:
        await publisher.publish(orders, order, event_id=event_id, key=order.customer)
    except PublisherFull as full:
        raise HTTPException(503, "too many orders at once", headers={"Retry-After": "1"}) from full
    except AmbiguousOutcome as unknown:
        raise HTTPException(504, "the order may be placed: send it again") from unknown
    return {"event_id": event_id}
