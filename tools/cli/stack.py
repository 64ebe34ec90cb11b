"""`weft up`, `down`, `status` and `logs`."""

from pathlib import Path
from typing import Annotated

import typer

DECLARATION = "tools.stack.parts"

State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        envvar="WEFT_STATE",
        help="Folder of the stack's state; .weft in the repository if not given.",
    ),
]


def register(app: typer.Typer) -> None:
    for command in (up, down, status, logs):
        app.command()(command)


def up(
    state: State = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the stack is ready; it runs on.")] = False,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port", metavar="PART=N", help="The port of a part; 0 for any free one. WEFT_PORT_<PART> does the same."
        ),
    ] = None,
    port_offset: Annotated[int, typer.Option(metavar="N", help="Added to every default port.")] = 0,
) -> None:
    """Set up what is missing, start the stack, and say what to try. Ctrl-C stops it."""
    from tools.cli.stack_up import run_up

    chosen = {}
    for setting in port or ():
        name, equals, number = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r} is not PART=N, such as gateway=8000", param_hint="--port")
        chosen[name] = number
    raise typer.Exit(run_up(state_folder(state), DECLARATION, detach=detach, port_offset=port_offset, ports=chosen))


def down(state: State = None) -> None:
    """Stop the stack. Its data stays."""
    from tools.cli.stack_down import run_down

    raise typer.Exit(run_down(state_folder(state)))


def status(
    state: State = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show how each part is. Exit code 0 if the stack is ready, else 1."""
    from tools.cli.stack_status import run_status

    raise typer.Exit(run_status(state_folder(state), as_json=as_json))


def logs(
    part: Annotated[str | None, typer.Argument(help="Only this part's; supervisor is one too.")] = None,
    state: State = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=1_000_000, help="How many to begin with.")] = 20,
) -> None:
    """Show the last lines of the parts' logs."""
    from tools.cli.stack_logs import run_logs

    raise typer.Exit(run_logs(state_folder(state), part, follow_on=follow, count=lines))


def state_folder(state: Path | None) -> Path:
    from tools.stack.part import DEFAULT_STATE

    return (state or DEFAULT_STATE).expanduser().absolute()
