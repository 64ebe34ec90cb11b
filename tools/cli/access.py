"""`weft token`, `weft key` and `weft client`."""

import sys
from typing import Annotated

import typer

from tools.cli import client, key
from tools.cli.durations import seconds
from tools.cli.stack import State, state_folder


def register(app: typer.Typer) -> None:
    app.command()(token)
    key.register(app)
    client.register(app)


def token(
    tenant: Annotated[str, typer.Option(metavar="T", help="Whose data the token is for.")] = "local",
    scope: Annotated[
        list[str] | None, typer.Option(metavar="S", help="What it may; again for more. All scopes if not given.")
    ] = None,
    ttl: Annotated[str, typer.Option(metavar="D", help="How long it is good: 45s, 30m, 12h, 7d.")] = "1h",
    subject: Annotated[str, typer.Option(metavar="NAME", help="Who calls with it.")] = "developer",
    state: State = None,
) -> None:
    """Print a token, signed with the stack's own key, that its gateway accepts."""
    from libs.auth.keys import KeyFileError
    from tools.stack.tokens import all_scopes, stack_token

    folder = state_folder(state) / "keys"
    if not (folder / "jwks.json").exists():
        print(f"weft: {folder} has no keys yet: `weft up` makes them", file=sys.stderr)
        raise typer.Exit(1)
    try:
        print(stack_token(folder, subject=subject, tenant=tenant, scopes=scope or all_scopes(), ttl_s=seconds(ttl)))
    except (ValueError, KeyFileError) as error:
        print(f"weft: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
