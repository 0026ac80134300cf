"""The runtime: consume, process, produce, commit, over librdkafka, under one of three guarantees.

A minimal application::

    purchases = Topic("purchases", Purchase)
    charges = Topic("charges", Charge)
    app = App("shop", guarantee=Guarantee.EXACTLY_ONCE)

    @app.step(source=purchases)
    def rate(purchase: Purchase, context: Context) -> Iterator[Emit]:
        yield emit(charges, Charge(purchase.id, purchase.amount_minor), key=purchase.customer)

``tallystick run module:app --workers 2 --bootstrap 127.0.0.1:9092`` runs it.
"""

from __future__ import annotations

from tallystick.pipeline.app import App
from tallystick.pipeline.collector import calm_collector
from tallystick.pipeline.context import BatchContext, Context, Emit, Emits, emit, emit_each
from tallystick.pipeline.declared import Effect, Idempotent, UnsafeEffect
from tallystick.pipeline.exactly_once_loop import ExactlyOnceLoop
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.kafka_client import EventRefused, Published, PublisherFull
from tallystick.pipeline.policy import DEAD_LETTER, STOP, ErrorPolicy, OnFailure, StoppedByPolicy
from tallystick.pipeline.ports import Poisoned, Processor
from tallystick.pipeline.publisher import AsyncPublisher, Publisher
from tallystick.pipeline.records import Headers, Output, Record
from tallystick.pipeline.serdes import Json, Raw, Serde, Text
from tallystick.pipeline.settings import GroupProtocol
from tallystick.pipeline.state import StateView, Store, UnreadableState
from tallystick.pipeline.step import Step
from tallystick.pipeline.topics import DecodeError, Topic
from tallystick.pipeline.unsafe_app import UnsafeApp
from tallystick.pipeline.windows import Hopping, Late, LateEvent, Session, Table, TimeJump, Tumbling, Window, Windows
from tallystick.pipeline.worker import WorkerConfig, run_worker

__all__ = [
    "DEAD_LETTER",
    "STOP",
    "App",
    "AsyncPublisher",
    "BatchContext",
    "Context",
    "DecodeError",
    "Effect",
    "Emit",
    "Emits",
    "ErrorPolicy",
    "EventRefused",
    "ExactlyOnceLoop",
    "GroupProtocol",
    "Guarantee",
    "Headers",
    "Hopping",
    "Idempotent",
    "Json",
    "Late",
    "LateEvent",
    "OnFailure",
    "Output",
    "Poisoned",
    "Processor",
    "Published",
    "Publisher",
    "PublisherFull",
    "Raw",
    "Record",
    "Serde",
    "Session",
    "StateView",
    "Step",
    "StoppedByPolicy",
    "Store",
    "Table",
    "Text",
    "TimeJump",
    "Topic",
    "Tumbling",
    "UnreadableState",
    "UnsafeApp",
    "UnsafeEffect",
    "Window",
    "Windows",
    "WorkerConfig",
    "calm_collector",
    "emit",
    "emit_each",
    "run_worker",
]
