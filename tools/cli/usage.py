"""`weft usage`."""

import sys
from datetime import date
from typing import Annotated

import typer

from tools.cli.gateway import AddressOption, TokenFileOption
from tools.cli.stack import State, state_folder

DIMENSIONS = ("day", "key", "model", "method")


def register(app: typer.Typer) -> None:
    app.command()(usage)


def usage(
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="WHAT", help="Split by day, key, model, method: any of them, with commas. Or none."
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="First day, YYYY-MM-DD (UTC); of the month if not given."),
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day; today if not given.")] = None,
    tenants: Annotated[bool, typer.Option("--tenants", help="Of every tenant, a sum each; for operators.")] = False,
    budgets: Annotated[bool, typer.Option("--budgets", help="Budgets, and what is left of them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, money in billionths.")] = False,
    state: State = None,
    address: AddressOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Show what was used and what it cost: by day, if nothing else is asked for."""
    wrong = _wrong(by, first, last, tenants=tenants, budgets=budgets)
    if wrong:
        print(f"weft: {wrong}", file=sys.stderr)
        raise typer.Exit(2)
    from tools.cli.usage_show import Question, run_usage

    question = Question(_dimensions(by or DIMENSIONS[0]), first or "", last or "")
    show = "budgets" if budgets else "tenants" if tenants else "usage"
    raise typer.Exit(run_usage(question, show, state_folder(state), address, token_file, as_json=as_json))


def _dimensions(by: str) -> list[str]:
    """In the order of the answer's rows, each once."""
    return [] if by == "none" else [name for name in DIMENSIONS if name in by.split(",")]


def _wrong(by: str | None, first: str | None, last: str | None, *, tenants: bool, budgets: bool) -> str:
    """What of the options cannot be meant, and what would be right; empty where all is well."""
    if budgets and (tenants or by or first or last):
        return "--budgets are those of today: leave the other options"
    if tenants and by:
        return "--tenants shows one sum a tenant: leave --by"
    unknown = [name for name in (DIMENSIONS[0] if by is None else by).split(",") if name not in DIMENSIONS]
    if unknown and by != "none":
        return f"--by {unknown[0]!r} is no dimension: write {', '.join(DIMENSIONS)}, with commas between, or none"
    for option, day in (("--from", first), ("--to", last)):
        if day is not None and not _is_day(day):
            return f"{option} {day!r} is not a day: write YYYY-MM-DD"
    if first and last and last < first:
        return f"--to {last} is before --from {first}"
    return ""


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
