"""What a stack needs once: Triton and its models, keys and passwords, a developer's token, the sample collection."""

import asyncio
import os
import secrets
import shlex
import sys
from pathlib import Path

from libs.config.files import write_whole
from libs.parts.cache import Progress
from libs.parts.install import REPOSITORY_ROOT
from tools.stack.mesh import has_mesh, prepare_mesh
from tools.stack.part import DEFAULT_STATE, LAUNCHER, Stack, StackError
from tools.stack.plans import ensure_plans

SAMPLE = REPOSITORY_ROOT / "tools/stack/sample"
SAMPLE_COLLECTION = "sample"
SECRETS = ("redis.password", "qdrant.key")
TOKEN_FILE = "developer.token"
TENANT = "local"
SUBJECT = "developer"
TOKEN_TTL_S = 30 * 24 * 3600
WHO_AM_I = "weft.gateway.v1.IdentityService/WhoAmI"
QUESTION = "How does Weft keep a deleted document out of search results?"


def prepare(stack: Stack, progress: Progress) -> None:
    """Installs Triton and its models; makes the stack's keys, its settings file, and a new token for its developer."""
    from libs.auth.keys import create_keys
    from libs.parts.triton import ensure_triton
    from tools.stack.issuer import ensure_client, write_issuer
    from tools.stack.tokens import all_scopes, stack_token

    ensure_plans(stack)
    if has_mesh(stack):
        prepare_mesh(stack)
    ensure_triton(progress)
    progress("keys and token", 0.0)
    folder = stack.folder("keys")
    create_keys(folder)
    write_issuer(stack)
    ensure_client(folder, tenant=TENANT, scopes=all_scopes())
    token = stack_token(folder, subject=SUBJECT, tenant=TENANT, scopes=all_scopes(), ttl_s=TOKEN_TTL_S)
    write_whole(folder / TOKEN_FILE, token + "\n")
    for name in SECRETS:
        if not (folder / name).exists():
            write_whole(folder / name, secrets.token_urlsafe(32) + "\n")
    progress("keys and token", 1.0)


def first_use(stack: Stack, progress: Progress) -> None:
    """Ingests the sample collection, once for a state folder: what its owner deletes later stays deleted."""
    done = stack.folder("sample-ingested")
    if done.exists():
        return
    progress("sample collection", 0.0)
    asyncio.run(_ingest_sample(stack, progress))
    write_whole(done, "")


def hints(stack: Stack) -> str:
    """Lines that work as they are printed, from the folder in which they are printed."""
    weft = _from_here(LAUNCHER if LAUNCHER.exists() else Path(sys.argv[0]).absolute())
    state = "" if stack.state == DEFAULT_STATE else f" --state {_from_here(stack.state)}"
    token = _from_here(stack.folder("keys") / TOKEN_FILE)
    security = _security(stack.certificate)
    return "\n".join(
        [
            f"Weft is ready at {stack.entry} (gRPC {'with' if stack.certificate else 'without'} TLS). Try:",
            f'  {weft} ask{state} --collection {SAMPLE_COLLECTION} "{QUESTION}"',
            f'  grpcurl {security} -H "authorization: Bearer $(cat {token})" {stack.entry} {WHO_AM_I}',
        ]
    )


def _security(certificate: Path | None) -> str:
    """grpcurl's options for how the stack is dialled."""
    if certificate is None:
        return "-plaintext"
    from tools.stack.certificate import name_to_ask_for

    name = name_to_ask_for(certificate)
    return f"-cacert {_from_here(certificate)}" + (f" -servername {name}" if name else "")


async def _ingest_sample(stack: Stack, progress: Progress) -> None:
    import weft.client
    from tools.ingest.ingest import Outcome, ingest
    from tools.ingest.sources import Source
    from tools.stack.dial import connect

    sources = [Source(path, f"sample-{path.stem}", "markdown") for path in sorted(SAMPLE.glob("*.md"))]
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        progress(f"sample collection: {outcome.source.path.name}", len(outcomes) / len(sources))

    token = (stack.folder("keys") / TOKEN_FILE).read_text().strip()
    try:
        async with connect(stack.entry, token, stack.certificate) as client:
            await ingest(client, SAMPLE_COLLECTION, sources, tell)
    except weft.client.CallError as error:
        raise StackError(f"cannot ingest the sample collection: {error}; see `weft logs`") from error
    if failed := [f"{outcome.source.path.name}: {outcome.why}" for outcome in outcomes if outcome.result == "failed"]:
        raise StackError(f"cannot ingest the sample collection: {'; '.join(failed)}; see `weft logs`")


def _from_here(path: Path) -> str:
    """Relative where that is shorter, quoted for a shell; a program in this folder needs its "./"."""
    relative = os.path.relpath(path)
    shortest = str(path) if relative.startswith("..") else relative
    return shlex.quote(shortest if "/" in shortest else f"./{shortest}")
