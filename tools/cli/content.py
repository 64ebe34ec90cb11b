"""`weft ingest` and `weft ask`."""

from pathlib import Path
from typing import Annotated

import typer

from tools.cli.gateway import AddressOption, TokenFileOption
from tools.cli.stack import State, state_folder

DEFAULT_COLLECTION = "docs"

CollectionOption = Annotated[str, typer.Option("--collection", metavar="NAME", help="The collection.")]


def register(app: typer.Typer) -> None:
    for command in (ingest, ask):
        app.command()(command)


def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders of files.")],
    collection: CollectionOption = DEFAULT_COLLECTION,
    send_all: Annotated[
        bool, typer.Option("--all", help="Send unchanged files too, as after a change of the embedding model.")
    ] = False,
    state: State = None,
    address: AddressOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Make .txt, .md and .html files searchable. What has not changed is skipped. Exit code 1 if a file failed."""
    from tools.cli.content_ingest import run_ingest

    raise typer.Exit(run_ingest(paths, collection, state_folder(state), address, token_file, send_all=send_all))


def ask(
    question: Annotated[str, typer.Argument(help="A question in natural language.")],
    collection: CollectionOption = DEFAULT_COLLECTION,
    as_json: Annotated[bool, typer.Option("--json", help="One message of the stream a line.")] = False,
    state: State = None,
    address: AddressOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Answer a question from a collection, with citations, or say that it is not found there."""
    from tools.cli.content_ask import run_ask

    raise typer.Exit(run_ask(question, collection, state_folder(state), address, token_file, as_json=as_json))
