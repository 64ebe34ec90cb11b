"""`weft config show`, `explain` and `check`."""

from pathlib import Path
from typing import Annotated

import typer

from tools.cli import stack
from tools.cli.stack import State, state_folder

File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="A settings file other than the stack's plans.yaml.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Show what is set, and which line, variable or default says so.", no_args_is_help=True)
    for command in (show, explain, check):
        group.command()(command)
    app.add_typer(group, name="config")


def show(
    context: typer.Context,
    beginning: Annotated[str, typer.Argument(metavar="[BEGINNING]", help="Only keys that begin so.")] = "",
    file: File = None,
    state: State = None,
) -> None:
    """List what is in force, with where it comes from; with a BEGINNING also what nobody has set."""
    from tools.cli.config_show import run_show

    raise typer.Exit(run_show(beginning, state_folder(state), file, stack.DECLARATION, named=_named(context)))


def explain(
    context: typer.Context,
    key: Annotated[
        str, typer.Argument(help="As tenants.acme.limits.tenant.minute, WEFT_RAG_MAX_DOCUMENTS or port.gateway.")
    ],
    file: File = None,
    state: State = None,
) -> None:
    """Show a value, and what each level says of it in the order of precedence. Exit code 2 for an unknown key."""
    from tools.cli.config_show import run_explain

    raise typer.Exit(run_explain(key, state_folder(state), file, stack.DECLARATION, named=_named(context)))


def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A settings file.")]) -> None:
    """Tell whether a settings file could be in force. Exit code 2, and every problem, if not."""
    from tools.cli.config_show import run_check

    raise typer.Exit(run_check(file))


def _named(context: typer.Context) -> bool:
    """Whether --state stands on the command line."""
    source = context.get_parameter_source("state")
    return source is not None and source.name == "COMMANDLINE"
