"""`weft client create`, `list` and `revoke`: the OAuth2 clients of a local stack."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tools.cli.key import JsonOption
from tools.cli.stack import State, state_folder


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="OAuth2 clients of the stack's own issuer.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_clients)
    group.command("revoke")(revoke)
    app.add_typer(group, name="client")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its client_id, and who calls with its tokens.")],
    scope: Annotated[list[str], typer.Option(metavar="S", help="What it may; again for more.")],
    tenant: Annotated[str, typer.Option(metavar="T", help="Whose data its tokens are for.")] = "local",
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    as_json: JsonOption = False,
    state: State = None,
) -> None:
    """Make a client and print its secret. It is shown this once."""
    from libs.auth.keys import KeyFileError
    from tools.issuer.clients import ClientError, Clients
    from tools.stack.issuer import read_issuer
    from tools.stack.tokens import all_scopes

    folder = _keys(state)
    if unknown := sorted(set(scope) - set(all_scopes())):
        _fail(f"no method needs the scope {unknown[0]!r}; scopes are {', '.join(all_scopes())}")
    try:
        issuer = read_issuer(folder)
        made, secret = Clients(folder).create(
            name, tenant=tenant, scopes=scope, description=description, now_s=time.time()
        )
    except (ClientError, KeyFileError) as error:
        _fail(str(error))
    if as_json:
        told = {"client_id": made.client_id, "client_secret": secret, "issuer": issuer, "scopes": made.scopes}
        print(json.dumps(told, indent=2))
        return
    print(secret)
    print(f"This is shown once. Its issuer is {issuer}; `weft client revoke {name}` ends it.", file=sys.stderr)


def list_clients(as_json: JsonOption = False, state: State = None) -> None:
    """List the clients."""
    from tools.cli.tables import print_table
    from tools.issuer.clients import ClientError, Clients

    try:
        clients = Clients(_keys(state)).all()
    except ClientError as error:
        _fail(str(error))
    fields = ("client_id", "tenant", "create_time", "scopes", "description")
    rows = [{name: getattr(client, name) for name in fields} for client in clients]
    if as_json:
        print(json.dumps({"clients": rows}, indent=2))
        return
    columns = ("NAME", "TENANT", "CREATED", "SCOPES", "DESCRIPTION")
    print_table(
        columns, [[" ".join(cell) if isinstance(cell, tuple) else cell for cell in row.values()] for row in rows]
    )


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `weft client list` shows it.")], state: State = None
) -> None:
    """End a client: it gets no token any more. Those that it has are good for an hour at most."""
    from tools.issuer.clients import ClientError, Clients

    try:
        Clients(_keys(state)).revoke(name)
    except ClientError as error:
        _fail(str(error))
    print(f"{name} is revoked; tokens that it has are good for an hour at most.")


def _keys(state: Path | None) -> Path:
    folder = state_folder(state) / "keys"
    if not (folder / "jwks.json").exists():
        _fail(f"{folder} has no keys yet: `weft up` makes them")
    return folder


def _fail(why: str) -> NoReturn:
    print(f"weft: {why}", file=sys.stderr)
    raise typer.Exit(1)
