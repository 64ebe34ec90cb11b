"""How `weft usage` shows what was used, and what it says to options that cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner

from tools.cli.__main__ import app
from tools.cli.tables import show
from tools.cli.usage_show import budget_table, budgets_as_json, usage_as_json, usage_table
from weft.gateway.v1 import usage_service_pb2 as pb

ASK = "/weft.rag.v1.AnswerService/StreamAnswer"
ROWS = [
    pb.UsageRow(day="2026-11-20", key="kim\x1b[2J", method=ASK, executions=1200, input_tokens=1, cost_nanos=1_500),
    pb.UsageRow(day="2026-11-21", key="key:7", method=ASK, executions=3, output_tokens=12_345, cost_nanos=12 * 10**11),
]


def lines(written: str) -> list[str]:
    return [line.rstrip() for line in written.splitlines()]


def test_a_table_of_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut off on a narrow terminal, money is exact, and the last row is the sum of all."""
    monkeypatch.setenv("COLUMNS", "40")
    show(usage_table(["day", "key", "method"], [([row.day, row.key, row.method], row) for row in ROWS], "EUR"))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["DAY", "KEY", "METHOD", "EXECUTIONS", "TOKENS", "READ", "TOKENS", "WRITTEN", "COST", "EUR"],
        ["2026-11-20", "kim\ufffd[2J", ASK, "1,200", "1", "0", "0.0000015"],
        ["2026-11-21", "key:7", ASK, "3", "0", "12,345", "1,200.0000000"],
        ["total", "1,203", "1", "12,345", "1,200.0000015"],
    ]


def test_one_sum_is_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a total, which would be the same."""
    show(usage_table([], [([], pb.UsageRow(executions=2, cost_nanos=25 * 10**8))], "USD"))
    assert lines(capsys.readouterr().out) == [
        "EXECUTIONS  TOKENS READ  TOKENS WRITTEN  COST USD",
        "         2            0               0      2.50",
    ]


def test_a_table_of_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens are counted, money is in the currency."""
    reset_time = Timestamp(seconds=1_796_083_200)
    budgets = [
        pb.Budget(name="tenant/day/tokens", limit=1_000_000, used=10, reserved=5, left=999_985, reset_time=reset_time),
        pb.Budget(name="key/month/money", limit=5 * 10**9, used=10**8, left=49 * 10**8, reset_time=reset_time),
    ]
    told = pb.ListBudgetsResponse(budgets=budgets, currency_code="EUR")
    show(budget_table(told))
    assert lines(capsys.readouterr().out) == [
        "BUDGET                 LIMIT  USED  RESERVED     LEFT  UNIT    BEGINS ANEW",
        "tenant/day/tokens  1,000,000    10         5  999,985  tokens  2026-12-01 00:00 UTC",
        "key/month/money         5.00  0.10      0.00     4.90  EUR     2026-12-01 00:00 UTC",
    ]
    assert budgets_as_json(told)["budgets"][1] == {
        "name": "key/month/money",
        "limit": 5_000_000_000,
        "used": 100_000_000,
        "reserved": 0,
        "left": 4_900_000_000,
        "reset_time": "2026-12-01T00:00:00Z",
    }


def test_json_has_what_was_asked_for() -> None:
    """Dimensions that were not are left out; numbers are numbers."""
    told = usage_as_json(pb.QueryUsageResponse(rows=ROWS[1:], currency_code="EUR"), ["day"])
    assert json.loads(json.dumps(told)) == {
        "rows": [
            {
                "day": "2026-11-21",
                "executions": 3,
                "input_tokens": 0,
                "output_tokens": 12345,
                "cost_nanos": 1_200_000_000_000,
            }
        ],
        "currency_code": "EUR",
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--by", "day,week"],
            "--by 'week' is no dimension: write day, key, model, method, with commas between, or none",
        ),
        (["--by", ""], "--by '' is no dimension: write day, key, model, method, with commas between, or none"),
        (["--from", "21.11.2026"], "--from '21.11.2026' is not a day: write YYYY-MM-DD"),
        (["--to", "2026-02-30"], "--to '2026-02-30' is not a day: write YYYY-MM-DD"),
        (["--from", "2026-02-02", "--to", "2026-02-01"], "--to 2026-02-01 is before --from 2026-02-02"),
        (["--tenants", "--by", "day"], "--tenants shows one sum a tenant: leave --by"),
        (["--budgets", "--from", "2026-02-02"], "--budgets are those of today: leave the other options"),
    ],
)
def test_options_that_cannot_be_meant(options: list[str], said: str, tmp_path: Path) -> None:
    """One line says what to write; nothing is called."""
    done = CliRunner().invoke(app, ["usage", *options, "--state", str(tmp_path)])
    assert (done.exit_code, done.stderr) == (2, f"weft: {said}\n")
