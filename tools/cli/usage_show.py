"""Behind `weft usage`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.table import Table

import weft.client
from tools.cli.calling import run_call
from tools.cli.gateway import Access
from tools.cli.tables import show, shown
from weft.gateway.v1 import usage_service_pb2 as pb

NANOS = 9
PAGE_SIZE = 1000
NO_BUDGETS = "The plan has no budgets."

_DIMENSIONS = {
    "day": pb.USAGE_DIMENSION_DAY,
    "key": pb.USAGE_DIMENSION_KEY,
    "model": pb.USAGE_DIMENSION_MODEL,
    "method": pb.USAGE_DIMENSION_METHOD,
}
_AMOUNTS = ("executions", "input_tokens", "output_tokens", "cost_nanos")


@dataclass(frozen=True)
class Question:
    """Which usage; empty days are the answerer's to choose."""

    dimensions: Sequence[str]
    first_day: str
    last_day: str


def run_usage(
    question: Question, what: str, state: Path, address: str | None, token_file: Path | None, *, as_json: bool
) -> int:
    """`what`: usage, tenants or budgets. Answers the exit code."""

    async def call(access: Access) -> int:
        async with access.connect() as client:
            if what == "budgets":
                told = await client.usage.ListBudgets(pb.ListBudgetsRequest())
                if as_json:
                    _print(budgets_as_json(told))
                elif told.budgets:
                    show(budget_table(told))
                else:
                    print(NO_BUDGETS)
            elif what == "tenants":
                await _tell_tenants(client, question, as_json=as_json)
            else:
                await _tell_usage(client, question, as_json=as_json)
        return 0

    return run_call(call, state, address, token_file)


async def _tell_usage(client: weft.client.Client, question: Question, *, as_json: bool) -> None:
    told = await client.usage.QueryUsage(
        pb.QueryUsageRequest(
            first_day=question.first_day,
            last_day=question.last_day,
            group_by=[_DIMENSIONS[name] for name in question.dimensions],
        )
    )
    if as_json:
        _print(usage_as_json(told, question.dimensions))
        return
    names = [[getattr(row, dimension) for dimension in question.dimensions] for row in told.rows]
    show(usage_table(question.dimensions, list(zip(names, told.rows, strict=True)), told.currency_code))
    if told.truncated:
        print(f"Only the first {len(told.rows):,} rows: ask for fewer days or dimensions.")


async def _tell_tenants(client: weft.client.Client, question: Question, *, as_json: bool) -> None:
    request = pb.QueryTenantUsageRequest(first_day=question.first_day, last_day=question.last_day, page_size=PAGE_SIZE)
    tenants: list[pb.TenantUsage] = []
    while True:
        told = await client.usage.QueryTenantUsage(request)
        tenants += told.tenants
        request.page_token = told.next_page_token
        if not told.next_page_token:
            break
    if as_json:
        rows = [{"tenant": tenant.tenant, **_amounts(tenant.usage)} for tenant in tenants]
        _print({"tenants": rows, "currency_code": told.currency_code})
    else:
        show(usage_table(["tenant"], [([tenant.tenant], tenant.usage) for tenant in tenants], told.currency_code))


def usage_table(
    dimensions: Sequence[str], rows: Sequence[tuple[Sequence[str], pb.UsageRow]], currency_code: str
) -> Table:
    """A row a sum, and one of all of them."""
    money = _money([row.cost_nanos for _, row in rows])
    table = _table(
        [dimension.upper() for dimension in dimensions],
        ["EXECUTIONS", "TOKENS READ", "TOKENS WRITTEN", f"COST {currency_code}".strip()],
    )
    for names, row in rows:
        table.add_row(
            *(shown(name) for name in names),
            f"{row.executions:,}",
            f"{row.input_tokens:,}",
            f"{row.output_tokens:,}",
            money(row.cost_nanos),
        )
    if dimensions:
        total = [sum(getattr(row, what) for _, row in rows) for what in _AMOUNTS]
        cells = [*(f"{amount:,}" for amount in total[:3]), money(total[3])]
        padding = [""] * (len(dimensions) - 1)
        table.add_row("total", *padding, *cells, style="bold")
    return table


def budget_table(told: pb.ListBudgetsResponse) -> Table:
    """A row a budget; amounts in tokens, or in the currency."""
    table = _table(["BUDGET"], ["LIMIT", "USED", "RESERVED", "LEFT"])
    table.add_column("UNIT", no_wrap=True)
    table.add_column("BEGINS ANEW", no_wrap=True)
    for budget in told.budgets:
        amounts = (budget.limit, budget.used, budget.reserved, budget.left)
        in_money = budget.name.endswith("/money")
        write = _money(amounts) if in_money else "{:,}".format
        reset = budget.reset_time.ToDatetime().strftime("%F %H:%M UTC")
        unit = told.currency_code if in_money else "tokens"
        table.add_row(shown(budget.name), *map(write, amounts), unit, reset)
    return table


def usage_as_json(told: pb.QueryUsageResponse, dimensions: Sequence[str]) -> dict[str, Any]:
    """Rows with the dimensions that were asked for, and numbers as numbers."""
    rows = [{**{name: getattr(row, name) for name in dimensions}, **_amounts(row)} for row in told.rows]
    return {"rows": rows, "currency_code": told.currency_code, "truncated": told.truncated}


def budgets_as_json(told: pb.ListBudgetsResponse) -> dict[str, Any]:
    """As the service tells them, and numbers as numbers."""
    budgets = [
        {
            **{name: getattr(budget, name) for name in ("name", "limit", "used", "reserved", "left")},
            "reset_time": budget.reset_time.ToJsonString(),
        }
        for budget in told.budgets
    ]
    return {"budgets": budgets, "currency_code": told.currency_code}


def _amounts(row: pb.UsageRow) -> dict[str, int]:
    return {what: getattr(row, what) for what in _AMOUNTS}


def _money(every: Sequence[int]) -> Callable[[int], str]:
    """Writes nanos as units of the currency, all with as many digits as the one that needs most: at least 2."""
    digits = max([2, *(NANOS - _zeros(nanos) for nanos in every if nanos)])
    return lambda nanos: f"{Decimal(nanos).scaleb(-NANOS):,.{digits}f}"


def _zeros(nanos: int) -> int:
    """How many zeros end a number, at most 9."""
    text = str(abs(nanos))
    return min(NANOS, len(text) - len(text.rstrip("0")))


def _table(names: Sequence[str], amounts: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in amounts:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _print(told: dict[str, Any]) -> None:
    print(json.dumps(told, ensure_ascii=False))
