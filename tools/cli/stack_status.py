"""Behind `weft status`."""

import json
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.stack.launch import is_claimed
from tools.stack.mesh import MeshState, mesh_state
from tools.stack.settings_state import SettingsState, settings_state
from tools.stack.snapshot import read_snapshot
from tools.stack.status import PartStatus, StackStatus, look, nothing

COLOURS = {"ready": "green", "failed": "red", "unhealthy": "red", "restarting": "yellow", "stopped": "dim"}
DAY_S = 24 * 3600
MIB = 1024 * 1024


def run_status(state: Path, *, as_json: bool) -> int:
    """Answers the exit code: 0 if the stack is ready."""
    snapshot = read_snapshot(state)
    status = look(snapshot) if snapshot else nothing("stopped")
    if not status.supervisor_pid and is_claimed(state):
        status = nothing("setting up")
    settings = settings_state(state, status)
    runs = any(part.name == "mesh" and part.pid for part in status.parts)
    mesh = mesh_state(state) if runs else None
    if as_json:
        told = {"settings": settings and settings.as_json(), "mesh": mesh and asdict(mesh)}
        print(json.dumps({**status.as_json(), **told}, indent=2))
    elif status.parts:
        _show(status, state)
        if settings is not None:
            show_settings(settings)
        if mesh is not None:
            show_rules(mesh)
            if mesh.drills:
                print(f"A drill is on for {', '.join(mesh.drills)}: `weft mesh faults` shows it, and `off` ends it")
    elif status.phase == "stopped":
        print(f"No stack has been started on {state}: `weft up` starts one")
    else:
        print(f"The stack on {state} is being set up.")
    return 0 if status.ready else 1


def _show(status: StackStatus, state: Path) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("PART", "STATE", "ADDRESS"):
        table.add_column(name, no_wrap=True)
    for name in ("PID", "MEMORY", "UP SINCE", "RESTARTS"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in status.parts:
        cells = [part.address, str(part.pid or ""), _mib(part.memory_bytes), _since(part), str(part.restarts)]
        table.add_row(part.name, Text(part.state, COLOURS.get(part.state, "")), *cells)
    if status.supervisor_pid:
        table.add_row("supervisor", "", "", str(status.supervisor_pid), _mib(status.supervisor_memory_bytes), "", "")
        table.add_row(
            "total", Text("ready" if status.ready else status.phase, "bold"), "", "", _mib(status.memory_bytes)
        )
    console = Console(soft_wrap=True)
    console.print(table)
    for part in status.parts:
        if part.detail:
            console.print(Text(f"{part.name}: {'last failure: ' if part.pid else ''}{part.detail.splitlines()[0]}"))
    if status.supervisor_pid:
        console.print(
            "[dim]MEMORY is the proportional set size: pages that processes share are counted once in all.[/dim]"
        )
    else:
        console.print(f"The stack on {state} is stopped: `weft up` starts it")


def show_settings(settings: SettingsState) -> None:
    """The version in force, and what is wrong with a file that was refused."""
    console = Console(soft_wrap=True)
    console.print(Text(f"Settings {settings.version} of {settings.file}, in force since {settings.load_time}"))
    if settings.problems:
        console.print(Text("The file as it is now was refused, and these stay in force:", COLOURS["failed"]))
    for problem in settings.problems:
        console.print(Text(f"  {problem}"))


def show_rules(mesh: MeshState) -> None:
    """The mesh's rules in force, or what is wrong with those that were refused."""
    since = time.strftime("%FT%TZ", time.gmtime(mesh.since))
    console = Console(soft_wrap=True)
    if not mesh.problems:
        console.print(Text(f"Rules of {mesh.rules_folder}, in force since {since}"))
        return
    console.print(
        Text(f"Rules of {mesh.rules_folder} were refused at {since}, and those before them stay in force:", "red")
    )
    for problem in mesh.problems:
        console.print(Text(f"  {problem}"))


def _since(part: PartStatus) -> str:
    """The time alone if it is of the last day."""
    if not part.pid:
        return ""
    recent = time.time() - part.since < DAY_S
    return time.strftime("%T" if recent else "%F %H:%M", time.localtime(part.since))


def _mib(size: int) -> str:
    return f"{size / MIB:,.1f} MiB" if size else ""
