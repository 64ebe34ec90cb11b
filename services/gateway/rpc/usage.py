"""weft.gateway.v1.UsageService: what was used, what it cost, what is left."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors.errors import FieldViolation, InvalidArgumentError, Reason
from libs.rpc.paging import page_position, page_size_of, page_token
from libs.rpc.running import Context
from services.gateway.app.usage_budgets import ListBudgets
from services.gateway.app.usage_query import QueryTenants, QueryUsage
from services.gateway.domain.usage import BudgetState, Days, Dimension, Row
from services.gateway.ports import PlansInForce, UsageLedger
from services.gateway.rpc.guard import running_principal
from weft.gateway.v1 import usage_service_pb2 as pb
from weft.gateway.v1 import usage_service_pb2_grpc

DEFAULT_TENANTS = 100
MAX_TENANTS = 1000

_LIST = "QueryTenantUsage"
_DIMENSIONS = {
    pb.USAGE_DIMENSION_DAY: Dimension.DAY,
    pb.USAGE_DIMENSION_KEY: Dimension.KEY,
    pb.USAGE_DIMENSION_MODEL: Dimension.MODEL,
    pb.USAGE_DIMENSION_METHOD: Dimension.METHOD,
}


class UsageServicer(usage_service_pb2_grpc.UsageServiceServicer):
    """Tells of the ledger."""

    def __init__(self, plans: PlansInForce, ledger: UsageLedger, budgets: ListBudgets) -> None:
        self._plans = plans
        self._ledger = ledger
        self._query = QueryUsage(ledger)
        self._query_tenants = QueryTenants(ledger)
        self._budgets = budgets

    async def QueryUsage(self, request: pb.QueryUsageRequest, context: Context) -> pb.QueryUsageResponse:
        group_by = [_DIMENSIONS[dimension] for dimension in request.group_by]
        answer = await self._query(running_principal.get().tenant, request.first_day, request.last_day, group_by)
        return pb.QueryUsageResponse(
            rows=map(_to_row, answer.rows), currency_code=self._currency, truncated=answer.truncated
        )

    async def QueryTenantUsage(
        self, request: pb.QueryTenantUsageRequest, context: Context
    ) -> pb.QueryTenantUsageResponse:
        filters = (request.first_day, request.last_day)
        position = page_position(request.page_token, _LIST, filters)
        first, last, after = _parts(position) if position else (*filters, "")
        days = await self._query_tenants.days(first, last)
        size = page_size_of(request.page_size, DEFAULT_TENANTS, MAX_TENANTS)
        page = await self._query_tenants(days, after=after, limit=size)
        usage = [pb.TenantUsage(tenant=name, usage=_to_row(Row("", "", "", "", used))) for name, used in page.tenants]
        more = page_token(_position(days, usage[-1].tenant), _LIST, filters) if page.more else ""
        return pb.QueryTenantUsageResponse(tenants=usage, currency_code=self._currency, next_page_token=more)

    async def ListBudgets(self, request: pb.ListBudgetsRequest, context: Context) -> pb.ListBudgetsResponse:
        budgets = await self._budgets(running_principal.get())
        return pb.ListBudgetsResponse(budgets=map(_to_budget, budgets), currency_code=self._currency)

    async def RebuildUsage(self, request: pb.RebuildUsageRequest, context: Context) -> pb.RebuildUsageResponse:
        rebuilt = await self._ledger.rebuild(request.tenant)
        first_day = rebuilt.first_day.isoformat() if rebuilt.first_day else ""
        return pb.RebuildUsageResponse(records=rebuilt.records, first_day=first_day)

    @property
    def _currency(self) -> str:
        return self._plans.current.prices.currency_code


def _position(days: Days, tenant: str) -> str:
    """Where the next page begins. The days go along: "today" may be another one by then."""
    return f"{days.first}/{days.last}/{tenant}"


def _parts(position: str) -> tuple[str, str, str]:
    first, slash, rest = position.partition("/")
    last, second_slash, after = rest.partition("/")
    if not (slash and second_slash and first and last and after):
        what = "is not from this list; begin with an empty one"
        raise InvalidArgumentError(
            Reason.PAGE_TOKEN_INVALID, f"page_token: {what}", violations=[FieldViolation("page_token", what)]
        )
    return first, last, after


def _to_row(row: Row) -> pb.UsageRow:
    return pb.UsageRow(
        day=row.day,
        key=row.key,
        model=row.model,
        method=row.method,
        executions=row.used.executions,
        input_tokens=row.used.input_tokens,
        output_tokens=row.used.output_tokens,
        cost_nanos=row.used.cost_nanos,
    )


def _to_budget(budget: BudgetState) -> pb.Budget:
    return pb.Budget(
        name=budget.name,
        limit=budget.limit,
        used=budget.used,
        reserved=budget.reserved,
        left=budget.left,
        reset_time=Timestamp(seconds=budget.reset_unix_s),
    )
