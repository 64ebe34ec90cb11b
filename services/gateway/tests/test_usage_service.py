"""UsageService as callers see it, over a real server and a real Redis."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from libs.auth.context import CallContext, seal
from libs.auth.tokens import Principal
from libs.ledger.keys import TENANTS
from libs.ledger.ledger import RedisLedger
from libs.parts.processes import RunningPart
from libs.plans.plans import Budget, Plan, Plans, Price, Prices
from libs.rpc.call import new_request_id
from libs.rpc.guard import Admitted, Arrival
from libs.rpc.server import Component
from libs.rpc.status import service_error_of
from libs.store.redis import connect
from libs.testing.parts import REDIS_PASSWORD
from libs.testing.serving import KEY, serving
from services.gateway.adapters.tests.books import Books
from services.gateway.adapters.usage import RedisUsageLedger
from services.gateway.app.terms import TermsInForce
from services.gateway.app.usage_budgets import ListBudgets
from services.gateway.domain.usage import Slice
from services.gateway.rpc.guard import running_principal
from services.gateway.rpc.usage import UsageServicer
from weft.gateway.v1 import usage_service_pb2 as pb
from weft.gateway.v1 import usage_service_pb2_grpc as pb_grpc

ASK = "/weft.rag.v1.AnswerService/Answer"
PART = Slice("kim", "small", ASK)
PRICES = Prices("v1", "EUR", {}, Price(10, 20))
BUDGETED = Plan(
    name="budgeted",
    tenant_limits=(),
    key_limits=(),
    group_limits={},
    tenant_budgets=(Budget("tenant/month/money", 5000), Budget("tenant/day/tokens", 100)),
    key_budgets=(Budget("key/month/tokens", 40),),
    highest_priority="high",
    may_fall_back=False,
    open_calls=1,
)
FREE = replace(BUDGETED, name="free", tenant_budgets=(), key_budgets=())


@dataclass
class InForce:
    """The port PlansInForce: plans that a test puts in force."""

    current: Plans


class LetIn:
    """A guard that admits every call for one principal."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    async def identify(self, arrival: Arrival) -> None:
        return None

    async def admit(self, arrival: Arrival) -> Admitted:
        running_principal.set(self._principal)
        who = self._principal
        context = CallContext(who.tenant, who.subject, new_request_id(), new_request_id(), "normal", arrival.deadline_s)
        return Admitted(context, seal(context, KEY))

    def left(self, arrival: Arrival) -> None: ...


@dataclass
class Office:
    """The service, and the books of its caller's tenant."""

    books: Books
    plans: InForce

    @asynccontextmanager
    async def asked_by(self, principal: Principal) -> AsyncIterator[Any]:
        """A stub whose calls are this principal's."""
        usage = RedisUsageLedger(self.books.redis)
        servicer = UsageServicer(self.plans, usage, ListBudgets(TermsInForce(self.plans), usage))
        component = Component(
            servicers=[(pb_grpc.add_UsageServiceServicer_to_server, servicer)], guard=LetIn(principal)
        )
        async with serving(component) as served, grpc.aio.insecure_channel(served.address) as channel:
            yield pb_grpc.UsageServiceStub(channel)

    def principal(self, subject: str = "kim", plan: str = "") -> Principal:
        return Principal(subject, self.books.tenant, frozenset(), 4e9, plan)


@pytest.fixture
async def office(redis_server: RunningPart) -> AsyncIterator[Office]:
    """Of a tenant that no other test has, on a database of its own."""
    plans = Plans("v1", {"budgeted": BUDGETED, "free": FREE}, {}, BUDGETED, PRICES)
    async with connect(f"redis://:{REDIS_PASSWORD}@{redis_server.address}/8", timeout_s=10.0) as redis:
        await redis.flushdb()
        ledger = RedisLedger(redis)
        yield Office(Books(redis, ledger, f"tenant.{uuid.uuid4()}"), InForce(plans))
        await ledger.aclose(10.0)


async def refusal(call: Awaitable[object]) -> tuple[str, list[str]]:
    """Reason and wrong fields of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    error = service_error_of(raised.value)
    assert error is not None
    return error.reason.value, [violation.field for violation in error.violations]


async def test_usage_is_told_by_day_and_in_all(office: Office) -> None:
    """Rows name only what was asked for; the currency is the settings'."""
    today = await office.books.today()
    await office.books.use(today, PART, 3, 4)
    await office.books.use(today, Slice("lee", "large", ASK), 1, 0)
    async with office.asked_by(office.principal()) as stub:
        in_all = await stub.QueryUsage(pb.QueryUsageRequest())
        by_model = await stub.QueryUsage(
            pb.QueryUsageRequest(group_by=[pb.USAGE_DIMENSION_MODEL, pb.USAGE_DIMENSION_DAY])
        )

    assert in_all == pb.QueryUsageResponse(
        rows=[pb.UsageRow(executions=2, input_tokens=4, output_tokens=4, cost_nanos=21)], currency_code="EUR"
    )
    assert [(row.day, row.key, row.model, row.method, row.cost_nanos) for row in by_model.rows] == [
        (today.isoformat(), "", "large", "", 10),
        (today.isoformat(), "", "small", "", 11),
    ]


@pytest.mark.parametrize(
    ("first", "last", "field"),
    [
        ("2026-02-30", "", "first_day"),
        ("", "tomorrow", "last_day"),
        ("2026-01-02", "2026-01-01", "last_day"),
        ("2020-01-01", "2026-01-01", "first_day"),
    ],
)
async def test_days_that_cannot_be_meant_are_refused(office: Office, first: str, last: str, field: str) -> None:
    """By both queries, in the same way."""
    async with office.asked_by(office.principal()) as stub:
        one = await refusal(stub.QueryUsage(pb.QueryUsageRequest(first_day=first, last_day=last)))
        all_tenants = await refusal(stub.QueryTenantUsage(pb.QueryTenantUsageRequest(first_day=first, last_day=last)))
    assert one == all_tenants == ("FIELD_INVALID", [field])


async def test_tenants_come_page_by_page(office: Office) -> None:
    """Each once, by name; a token is good for its own list alone."""
    names = sorted([office.books.tenant, "a1", "b2", "z9"])
    await office.books.redis.sadd(TENANTS, *names)
    today = await office.books.today()
    await office.books.use(today, PART, 1, 1)
    async with office.asked_by(office.principal()) as stub:
        first = await stub.QueryTenantUsage(pb.QueryTenantUsageRequest(page_size=3))
        token = first.next_page_token
        second = await stub.QueryTenantUsage(pb.QueryTenantUsageRequest(page_size=3, page_token=token))
        other_days = pb.QueryTenantUsageRequest(page_token=token, first_day=today.isoformat())
        assert await refusal(stub.QueryTenantUsage(other_days)) == ("PAGE_TOKEN_INVALID", ["page_token"])

    told = [*first.tenants, *second.tenants]
    assert [usage.tenant for usage in told] == names
    assert [usage.usage.input_tokens for usage in told] == [int(name == office.books.tenant) for name in names]
    assert (len(first.tenants), second.next_page_token) == (3, "")


async def test_budgets_tell_what_is_left(office: Office) -> None:
    """The tenant's before the key's, day before month, each with the end of its period by Redis' clock."""
    books, today = office.books, await office.books.today()
    call = await books.admit(today, "kim", ASK, reserved=30)
    await books.tell(call, today, PART, 5, 15)
    await books.use(today, Slice("lee", "small", ASK), 50, 0)
    async with office.asked_by(office.principal()) as stub:
        told = await stub.ListBudgets(pb.ListBudgetsRequest())

    assert [(budget.name, budget.limit, budget.used, budget.reserved, budget.left) for budget in told.budgets] == [
        ("tenant/day/tokens", 100, 70, 10, 20),
        ("tenant/month/money", 5000, 85, 565, 4350),
        ("key/month/tokens", 40, 20, 10, 10),
    ]
    midnight = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=1)
    next_month = (datetime(today.year, today.month, 1, tzinfo=UTC) + timedelta(days=31)).replace(day=1)
    ends = [budget.reset_time.ToDatetime(UTC) for budget in told.budgets]
    assert ends == [midnight, next_month, next_month]
    assert told.currency_code == "EUR"


async def test_a_budget_that_was_lowered_has_nothing_left(office: Office) -> None:
    """What is left is never below 0, and a plan without budgets has none."""
    today = await office.books.today()
    await office.books.use(today, PART, 500, 0)
    async with office.asked_by(office.principal()) as stub:
        told = await stub.ListBudgets(pb.ListBudgetsRequest())
        assert [budget.left for budget in told.budgets] == [0, 4500, 0]
        office.plans.current = replace(office.plans.current, default_plan=FREE)
        assert list((await stub.ListBudgets(pb.ListBudgetsRequest())).budgets) == []


async def test_a_keys_own_plan_lifts_no_budget(office: Office) -> None:
    """What the tenant's plan says of every key holds for one whose own says nothing; a plan that is gone is named."""
    async with office.asked_by(office.principal("key:1", plan="free")) as stub:
        told = await stub.ListBudgets(pb.ListBudgetsRequest())
        assert [budget.name for budget in told.budgets] == [
            "tenant/day/tokens",
            "tenant/month/money",
            "key/month/tokens",
        ]
    async with office.asked_by(office.principal("key:1", plan="gone")) as stub:
        assert await refusal(stub.ListBudgets(pb.ListBudgetsRequest())) == ("PLAN_UNKNOWN", [])


async def test_a_tenant_without_a_plan_is_unknown(office: Office) -> None:
    """It has no budgets to list."""
    office.plans.current = replace(office.plans.current, default_plan=None)
    async with office.asked_by(office.principal()) as stub:
        assert await refusal(stub.ListBudgets(pb.ListBudgetsRequest())) == ("TENANT_UNKNOWN", [])


async def test_an_operator_rebuilds_a_tenants_usage(office: Office) -> None:
    """Twice makes the same sums; a tenant without records has none."""
    today = await office.books.today()
    await office.books.use(today, PART, 1, 1)
    request = pb.RebuildUsageRequest(tenant=office.books.tenant)
    async with office.asked_by(office.principal()) as stub:
        before = await stub.QueryUsage(pb.QueryUsageRequest())
        for _ in range(2):
            rebuilt = await stub.RebuildUsage(request)
            assert rebuilt == pb.RebuildUsageResponse(records=1, first_day=today.isoformat())
            assert await stub.QueryUsage(pb.QueryUsageRequest()) == before
        nothing = await stub.RebuildUsage(pb.RebuildUsageRequest(tenant="nobody"))
    assert nothing == pb.RebuildUsageResponse()


async def test_without_redis_nothing_is_told(redis_server: RunningPart) -> None:
    """Every method names what is missing."""
    plans = InForce(Plans("v1", {}, {}, BUDGETED, PRICES))
    async with connect("redis://127.0.0.1:1/0") as nowhere:
        office = Office(Books(nowhere, RedisLedger(nowhere), "acme"), plans)
        async with office.asked_by(office.principal()) as stub:
            for call in (
                stub.QueryUsage(pb.QueryUsageRequest()),
                stub.QueryTenantUsage(pb.QueryTenantUsageRequest()),
                stub.ListBudgets(pb.ListBudgetsRequest()),
                stub.RebuildUsage(pb.RebuildUsageRequest(tenant="acme")),
            ):
                assert await refusal(call) == ("DEPENDENCY_UNAVAILABLE", [])
