"""`weft up`, `down`, `restart`, `status` and `logs`."""

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
    for command in (up, down, restart, status, logs):
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
    mesh: Annotated[bool, typer.Option("--mesh/--no-mesh", help="Without the mesh services dial each other.")] = True,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="WEFT_RULES", help="Rules of the mesh other than the repository's mesh/."),
    ] = None,
    scale: Annotated[
        list[str] | None, typer.Option(metavar="DEPLOYMENT=N", help="How many replicas of it; again for more.")
    ] = None,
    zone: Annotated[
        list[str] | None, typer.Option(metavar="REPLICA=ZONE", help="Where a replica is said to be, such as local/b.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file; with its key the stack is dialled with TLS 1.3.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file of the certificate's key.")] = None,
) -> None:
    """Set up what is missing, start the stack, and say what to try. Ctrl-C stops it."""
    from tools.cli.stack_up import run_up
    from tools.stack.options import Options

    options = Options(
        mesh=mesh,
        rules=_absolute(rules),
        scale=_counts(_pairs("--scale", scale, "inference=3")),
        zones=_pairs("--zone", zone, "inference-2=local/b"),
        tls_certificate=_absolute(tls_certificate),
        tls_key=_absolute(tls_key),
    )
    name = "?".join(filter(None, (DECLARATION, options.query())))
    ports = _pairs("--port", port, "gateway=8000")
    raise typer.Exit(run_up(state_folder(state), name, detach=detach, port_offset=port_offset, ports=ports))


def down(state: State = None) -> None:
    """Stop the stack. Its data stays."""
    from tools.cli.stack_down import run_down

    raise typer.Exit(run_down(state_folder(state)))


def restart(
    service: Annotated[str, typer.Argument(help="A Deployment, such as inference: all its replicas; or one part.")],
    force: Annotated[bool, typer.Option("--force", help="Also where calls fail meanwhile.")] = False,
    state: State = None,
) -> None:
    """Restart a service, one replica at a time: no call fails meanwhile. Exit code 1 if that cannot be."""
    from tools.cli.stack_restart import run_restart

    raise typer.Exit(run_restart(state_folder(state), service, force=force))


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


def _pairs(option: str, settings: list[str] | None, example: str) -> dict[str, str]:
    """NAME=VALUE, the last one where a name comes twice."""
    found = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{setting!r} is not NAME=VALUE, such as {example}", param_hint=option)
        found[name] = value
    return found


def _counts(pairs: dict[str, str]) -> dict[str, int]:
    for name, count in pairs.items():
        if not (count.isascii() and count.isdigit() and len(count) < 10):
            raise typer.BadParameter(f"{name}={count}: how many is not a number from 0 on", param_hint="--scale")
    return {name: int(count) for name, count in pairs.items()}


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.expanduser().absolute()
