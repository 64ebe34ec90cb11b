"""`weft key create`, `list` and `revoke`."""

import sys
from typing import Annotated

import typer

from tools.cli.durations import seconds
from tools.cli.gateway import AddressOption, TokenFileOption
from tools.cli.stack import State, state_folder

JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="API keys of your tenant: they are sent where a token is.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_keys)
    group.command("revoke")(revoke)
    app.add_typer(group, name="key")


def create(
    scope: Annotated[list[str], typer.Option(metavar="S", help="What it may, which you may too; again for more.")],
    plan: Annotated[str, typer.Option(metavar="P", help="Whose limits hold for it beside your tenant's.")] = "",
    ttl: Annotated[
        str | None, typer.Option(metavar="D", help="How long it is good: 12h, 90d. Until it is revoked if not given.")
    ] = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    as_json: JsonOption = False,
    state: State = None,
    address: AddressOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Make an API key and print it. It is shown this once; a file of it serves as --token-file."""
    from tools.cli.key_calls import Wanted, run_create

    try:
        wanted = Wanted(tuple(dict.fromkeys(scope)), plan, None if ttl is None else seconds(ttl), description)
    except ValueError as error:
        print(f"weft: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    raise typer.Exit(run_create(wanted, state_folder(state), address, token_file, as_json=as_json))


def list_keys(
    as_json: JsonOption = False,
    state: State = None,
    address: AddressOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """List your tenant's API keys, those that ended within 30 days too."""
    from tools.cli.key_calls import run_list

    raise typer.Exit(run_list(state_folder(state), address, token_file, as_json=as_json))


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `weft key list` shows it.")],
    as_json: JsonOption = False,
    state: State = None,
    address: AddressOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """End an API key: within 5 seconds it is refused everywhere."""
    from tools.cli.key_calls import run_revoke

    raise typer.Exit(run_revoke(key_id, state_folder(state), address, token_file, as_json=as_json))
