"""The guard in front of a handler: the checks of one API, one after the other.

Owns: what a check may do to a request and its response. Must not know: which API needs which check (``table``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.limits import MAX_LOG_LINES_PER_REQUEST
from tallystick.broker.security.acl import CLUSTER_NAME, Operation, ResourceType
from tallystick.broker.security.authorizer import Authorizer
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refusal, refused_rows

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Visit:
    """One request on its way: as it came, what is left of it, and which rows were refused (by the response's field)."""

    api: Api
    context: RequestContext
    authorizer: Authorizer
    request: Any
    original: Any
    response: Any = None
    refused: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    may_log: int = MAX_LOG_LINES_PER_REQUEST

    def may(self, operation: Operation, resource_type: ResourceType, name: str) -> bool:
        """Whether the client may do this."""
        context = self.context
        return self.authorizer.allows(context.principal, context.client_host, operation, resource_type, name)

    def must(self, operation: Operation, resource_type: ResourceType, name: str) -> bool:
        """The same, and a refusal is logged: the client asked for this very resource."""
        allowed = self.may(operation, resource_type, name)
        if not allowed and self.may_log:
            self.may_log -= 1
            logger.info(
                "denied",
                principal=str(self.context.principal),
                client_host=self.context.client_host,
                operation=operation.name,
                resource_type=resource_type.name,
                resource=name,
                api=self.api.name,
            )
        return allowed

    def refuse(self, code: ErrorCode, message: str | None = None) -> None:
        """Answer the whole request so; the handler is not called."""
        self.response = refusal(self.request, code, message)

    def refuse_rows(self, into: str, rows: Iterable[Any], code: ErrorCode, message: str | None = None) -> None:
        """Answer these rows so, in the response's field ``into``."""
        made = refused_rows(self.request, into, rows, code, message)
        self.refused[into] = self.refused.get(into, ()) + made

    def change_request(self, **fields: Any) -> None:
        """Let the handler see other values."""
        self.request = dataclasses.replace(self.request, **fields)

    def change_response(self, **fields: Any) -> None:
        """Let the client see other values."""
        self.response = dataclasses.replace(self.response, **fields)


class Check(Protocol):
    """One step before the handler. It refuses through the visit, or changes the request, or does nothing."""

    def __call__(self, visit: Visit) -> None: ...


Filter = Callable[[Visit], None]
"""One step after the handler: changes the response."""


@dataclass(frozen=True, slots=True)
class Access:
    """The steps of one API. One with none is open to everybody who got in."""

    checks: tuple[Check, ...] = ()
    filters: tuple[Filter, ...] = ()

    async def pass_through(self, visit: Visit, handle: Callable[[RequestContext, Any], Awaitable[Any]]) -> Any:
        """The response: the handler's, or what is left of it, or a refusal."""
        for check in self.checks:
            check(visit)
            if visit.response is not None:
                return visit.response
        visit.response = await handle(visit.context, visit.request)
        if visit.response is None:
            return None
        for step in self.filters:
            step(visit)
        for into, rows in visit.refused.items():
            visit.change_response(**{into: (*(getattr(visit.response, into) or ()), *rows)})
        return visit.response


def guarded(api: Api, access: Access, authorizer: Authorizer) -> Api:
    """The API behind its checks."""
    if not access.checks and not access.filters:
        return api
    handle = api.handle

    async def guarded_handle(context: RequestContext, request: Any) -> Any:
        visit = Visit(api=api, context=context, authorizer=authorizer, request=request, original=request)
        return await access.pass_through(visit, handle)

    return dataclasses.replace(api, handle=guarded_handle)


Name = Callable[[Visit, Any], str | None]
"""The name of a resource, from the request or from a row of it; None if there is nothing to check."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The request as a whole needs one of these operations on one resource."""

    operations: tuple[Operation, ...]
    resource_type: ResourceType
    name: Name
    code: ErrorCode

    def __call__(self, visit: Visit) -> None:
        name = self.name(visit, visit.request)
        if name is None or any(visit.may(operation, self.resource_type, name) for operation in self.operations):
            return
        visit.must(self.operations[0], self.resource_type, name)
        visit.refuse(self.code)


@dataclass(frozen=True, slots=True)
class Rows:
    """Each row of the request's field ``source`` needs an operation on a resource of its own.

    Rows that lack it are not seen by the handler, and answered in the response's field ``into``.
    """

    source: str
    into: str
    operation: Operation
    resource_type: ResourceType
    name: Name
    code: ErrorCode

    def __call__(self, visit: Visit) -> None:
        rows = getattr(visit.request, self.source, None)
        if not rows:
            return
        kept: list[Any] = []
        refused: list[Any] = []
        for row in rows:
            name = self.name(visit, row)
            allowed = name is None or visit.must(self.operation, self.resource_type, name)
            (kept if allowed else refused).append(row)
        if refused:
            visit.refuse_rows(self.into, refused, self.code)
            visit.change_request(**{self.source: tuple(kept)})


@dataclass(frozen=True, slots=True)
class UnlessOnCluster:
    """The check does not matter to who may do this to the cluster."""

    operation: Operation
    check: Check

    def __call__(self, visit: Visit) -> None:
        if not visit.may(self.operation, ResourceType.CLUSTER, CLUSTER_NAME):
            self.check(visit)


def field_name(attribute: str) -> Name:
    """The value of a field; an empty or absent one is nothing to check."""
    return lambda _, row: getattr(row, attribute, None)


def itself(_: Visit, row: Any) -> str | None:
    """A row that is the name."""
    return str(row)


def topic_name(visit: Visit, row: Any) -> str | None:
    """The topic of a row that names it or has its id; None for an id that no topic has, which the handler tells."""
    if isinstance(row, str):
        return row
    for attribute in ("name", "topic"):
        name = getattr(row, attribute, None)
        if name is not None:
            return str(name)
    found = visit.context.node.partitions.by_id(row.topic_id)
    return None if found is None else found.name


def existing_topic(visit: Visit, row: Any) -> str | None:
    """The topic of a row, if there is one: to who may know, the handler tells that there is none."""
    name = topic_name(visit, row)
    return name if name is not None and visit.context.node.partitions.by_name(name) is not None else None


def cluster(*operations: Operation) -> Whole:
    """The request needs one of these on the cluster."""
    return Whole(operations, ResourceType.CLUSTER, lambda _, __: CLUSTER_NAME, ErrorCode.cluster_authorization_failed)


def group(operation: Operation, attribute: str = "group_id") -> Whole:
    """The request needs this on its group."""
    return Whole((operation,), ResourceType.GROUP, field_name(attribute), ErrorCode.group_authorization_failed)


def transactional_id(operation: Operation, attribute: str = "transactional_id") -> Whole:
    """The request needs this on its transactional id, if it has one."""
    return Whole(
        (operation,),
        ResourceType.TRANSACTIONAL_ID,
        field_name(attribute),
        ErrorCode.transactional_id_authorization_failed,
    )


def topics(operation: Operation, *, source: str = "topics", into: str = "topics", name: Name = topic_name) -> Rows:
    """Each row needs this on its topic."""
    return Rows(source, into, operation, ResourceType.TOPIC, name, ErrorCode.topic_authorization_failed)


def groups(operation: Operation, *, source: str, into: str, name: Name = itself) -> Rows:
    """Each row needs this on its group."""
    return Rows(source, into, operation, ResourceType.GROUP, name, ErrorCode.group_authorization_failed)
