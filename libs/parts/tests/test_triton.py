import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue

import grpc
import numpy as np
import psutil
import pytest
import tritonclient.grpc

from libs.parts.processes import PartError, RunningPart, python_environment
from libs.parts.triton import SHARED_MEMORY, TritonRuntime, start_triton, sweep_shared_memory
from libs.testing.eventually import eventually

START_AND_TELL = """
import sys, time
from pathlib import Path
from libs.parts.triton import ensure_triton, start_triton
part = start_triton(ensure_triton(), log=Path(sys.argv[1]))
print(part.pid, part.address, flush=True)
time.sleep(600)
"""


def stubs(part_pid: int) -> list[psutil.Process]:
    return psutil.Process(part_pid).children(recursive=True)


def test_it_serves_all_models_of_the_repository(triton_server: RunningPart) -> None:
    """Once started its models are loaded, each in a process of its own, and it listens with gRPC on loopback only."""
    with grpc.insecure_channel(triton_server.address) as channel:
        live: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerLive"
        )
        assert live(b"", timeout=10) == b"\x08\x01"
    assert len(stubs(triton_server.pid)) == 2
    connections = psutil.Process(triton_server.pid).net_connections()
    listening = [connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN]
    assert [f"{address.ip}:{address.port}".removeprefix("::ffff:") for address in listening] == [triton_server.address]


async def test_its_memory_segments_have_no_names(triton_server: RunningPart) -> None:
    """Nothing in /dev/shm can outlive a running Triton, whatever it is killed with, and of no model loaded later."""
    segments = f"weft-triton-{triton_server.pid}-*"
    assert list(SHARED_MEMORY.glob(segments)) == []
    with tritonclient.grpc.InferenceServerClient(triton_server.address) as client:
        client.unload_model("embed")
        await eventually(lambda: not client.is_model_ready("embed"))
        client.load_model("embed")
    await eventually(lambda: not list(SHARED_MEMORY.glob(segments)))


def test_a_taken_port_is_said(triton_runtime: TritonRuntime, triton_server: RunningPart, tmp_path: Path) -> None:
    """A port on which another Triton answers is a `PartError` with Triton's own words, not a success."""
    with pytest.raises(PartError, match="failed to start GRPC"):
        start_triton(triton_runtime, int(triton_server.address.split(":")[1]), log=tmp_path / "log")


def test_a_model_that_cannot_be_loaded_is_said(triton_runtime: TritonRuntime, tmp_path: Path) -> None:
    """A broken model repository is a `PartError` that names the model, and leaves no shared memory."""
    broken = tmp_path / "repository/broken"
    (broken / "1").mkdir(parents=True)
    (broken / "config.pbtxt").write_text('name: "broken" backend: "python" max_batch_size: 0')
    (broken / "1/model.py").write_text("raise RuntimeError('no weights')")
    before = set(SHARED_MEMORY.glob("weft-triton-*"))
    with pytest.raises(PartError, match=r"broken.*no weights"):
        start_triton(triton_runtime, log=tmp_path / "log", repository=tmp_path / "repository")
    assert set(SHARED_MEMORY.glob("weft-triton-*")) <= before


def stream_a_long_answer(address: str) -> tritonclient.grpc.InferenceServerClient:
    """Has the generate model send thousands of tokens; answers when the first is here."""
    code = "\n".join(f"    sled({number}).pull(dog)" for number in range(1_000))
    prompt = f"Sources:\n[1] Dogs\nDogs pull sleds like this:\n\n{code}\n\nQuestion: How do dogs pull sleds?"
    text = tritonclient.grpc.InferInput("text_input", [1], "BYTES")
    text.set_data_from_numpy(np.array([prompt.encode()], np.object_))
    sampling = tritonclient.grpc.InferInput("sampling_parameters", [1], "BYTES")
    sampling.set_data_from_numpy(np.array([b'{"max_tokens": 30000}'], np.object_))
    stream = tritonclient.grpc.InferInput("stream", [1], "BOOL")
    stream.set_data_from_numpy(np.array([True]))
    arrived: SimpleQueue[object] = SimpleQueue()
    client = tritonclient.grpc.InferenceServerClient(address)
    client.start_stream(lambda result, error: arrived.put(error or result))
    client.async_stream_infer("generate", [text, stream, sampling])
    arrived.get(timeout=60)
    return client


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_who_started_it(triton_runtime: TritonRuntime, tmp_path: Path, busy: bool) -> None:
    """After kill -9 of the starter, Triton, its stubs and their shared memory are gone, in a stream too."""
    command = [sys.executable, "-c", START_AND_TELL, str(tmp_path / "log")]
    environment = {**os.environ, **python_environment()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as starter:
        assert starter.stdout is not None
        pid_text, address = starter.stdout.readline().split()
        pid = int(pid_text)
        processes = [psutil.Process(pid), *stubs(pid)]
        client = stream_a_long_answer(address) if busy else None
        starter.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=30)
    if client:
        client.close()
    assert alive == []
    assert list(SHARED_MEMORY.glob(f"weft-triton-{pid}-*")) == []


def test_only_segments_of_the_dead_are_swept(triton_server: RunningPart) -> None:
    """A Triton that was killed while it started leaves segments: they go, those of a living one stay."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    of_the_dead = SHARED_MEMORY / f"weft-triton-{int(ended.stdout)}-segment"
    of_the_living = SHARED_MEMORY / f"weft-triton-{triton_server.pid}-segment"
    try:
        of_the_dead.touch()
        of_the_living.touch()
        sweep_shared_memory()
        assert (of_the_dead.exists(), of_the_living.exists()) == (False, True)
    finally:
        of_the_living.unlink(missing_ok=True)


def test_stop_is_clean(triton_runtime: TritonRuntime, tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0 within its own time, its stubs with it."""
    part = start_triton(triton_runtime, log=tmp_path / "log")
    processes = stubs(part.pid)
    started = time.monotonic()
    assert part.stop(grace_s=30) == 0
    print(f"stopped in {time.monotonic() - started:.1f} s")
    assert not any(process.is_running() for process in processes)
