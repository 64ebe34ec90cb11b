"""The generate model as Triton's python backend loads it, with the tensors of Triton's vLLM backend.

`extractive/` does the work.

Runs all requests on one event loop in a thread of its own. What the tensors mean is in the model repository's README.
"""

import asyncio
import json
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from extractive.answer import answer
from extractive.prompt import parse_prompt
from extractive.sampling import SamplingParameters, parse_sampling_parameters
from extractive.tokens import Generated, count_tokens, limit
from extractive.vectors import RememberedVectors

TOKENS_A_TURN = 8  # that a stream sends before it lets the others go on


class Cancelled(Exception):
    """Nobody waits for this answer any more."""


class Unavailable(Exception):
    """The model cannot answer now; the message says why."""


@dataclass(frozen=True)
class Call:
    """What a request asks for."""

    text: str
    stream: bool
    echo: bool
    sampling: SamplingParameters
    wanted: frozenset[str]


class TritonPythonModel:
    """See config.pbtxt for the tensors."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._max_model_len = int(parameters["max_model_len"])
        self._max_live = int(parameters["max_live_requests"])
        self._vectors = RememberedVectors(_embed, capacity=int(parameters["remembered_vectors"]), batch=64)
        self._live = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="generate", daemon=True)
        self._thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Answers nothing itself: the answers of a decoupled model go through each request's sender."""
        for request in requests:
            asyncio.run_coroutine_threadsafe(self._serve(request), self._loop)

    def finalize(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _serve(self, request: Any) -> None:
        """Sends a request's whole answer or one error; whatever happens, the last response is marked as final."""
        reply = Reply(request.get_response_sender())
        self._live += 1
        try:
            if self._live > self._max_live:
                raise Unavailable(f"{self._max_live} requests are being answered")
            await self._generate(_read_call(request), reply)
        except Cancelled:
            request_id = urllib.parse.quote(request.request_id(), safe="")
            counts = f"streamed_tokens={reply.sent_tokens} unix_ms={time.time_ns() // 1_000_000}"
            pb_utils.Logger.log_info(f"generate cancelled request_id={request_id} {counts}")
            reply.fail("Request was cancelled", pb_utils.TritonError.CANCELLED)
        except Unavailable as error:
            reply.fail(str(error), pb_utils.TritonError.UNAVAILABLE)
        except ValueError as error:
            reply.fail(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception:
            pb_utils.Logger.log_error(traceback.format_exc())
            reply.fail("generation failed, see Triton's log", pb_utils.TritonError.INTERNAL)
        finally:
            self._live -= 1

    async def _generate(self, call: Call, reply: "Reply") -> None:
        input_tokens = count_tokens(call.text)
        room = self._max_model_len - input_tokens
        if room < 1:
            raise ValueError(
                f"text_input: {input_tokens} tokens, of {self._max_model_len} for prompt and answer together"
            )
        prompt = parse_prompt(call.text)
        text = await answer(prompt, lambda texts: self._vectors(texts, reply.raise_if_cancelled))
        reply.raise_if_cancelled()
        generated = limit(text, call.sampling, at_most=room)
        if call.stream:
            await _stream(generated, reply, call.wanted, input_tokens)
        else:
            whole = (call.text if call.echo else "") + "".join(generated.tokens)
            count = len(generated.tokens)
            reply.send(_tensors(whole, generated.finish_reason, input_tokens, count, call.wanted), count, last=True)


class Reply:
    """The one way to a request's caller. Ends once: after the last response nothing more is sent."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._ended = False
        self.sent_tokens = 0

    def send(self, tensors: list[Any], tokens: int, *, last: bool) -> None:
        self._ended = last
        self._sender.send(pb_utils.InferenceResponse(tensors), flags=_FINAL if last else 0)
        self.sent_tokens += tokens

    def fail(self, message: str, code: int) -> None:
        if not self._ended:
            self._ended = True
            error = pb_utils.TritonError(message, code)
            self._sender.send(pb_utils.InferenceResponse(error=error), flags=_FINAL)

    def raise_if_cancelled(self) -> None:
        """Asks Triton. Not after the last response: Triton has freed the request by then, and would crash."""
        if not self._ended and self._sender.is_cancelled():
            raise Cancelled


_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


async def _stream(generated: Generated, reply: Reply, wanted: frozenset[str], input_tokens: int) -> None:
    """One response a token; as in vLLM the finish reason is "None" until the last one. A text without tokens is one."""
    tokens: Sequence[str] = generated.tokens or [""]
    for at, token in enumerate(tokens, start=1):
        last = at == len(tokens)
        finish_reason = generated.finish_reason if last else "None"
        reply.send(_tensors(token, finish_reason, input_tokens, bool(token), wanted), bool(token), last=last)
        if at % TOKENS_A_TURN == 0:
            reply.raise_if_cancelled()
            await asyncio.sleep(0)


def _tensors(text: str, finish_reason: str, input_tokens: int, output_tokens: int, wanted: frozenset[str]) -> list[Any]:
    """`text_output` and the outputs that were asked for; the one answer there is has probability 1."""
    outputs: dict[str, Callable[[], Any]] = {
        "finish_reason": lambda: _strings(finish_reason),
        "cumulative_logprob": lambda: np.zeros(1, np.float32),
        "logprobs": lambda: _strings("null"),
        "num_input_tokens": lambda: np.array([input_tokens], np.uint32),
        "num_output_tokens": lambda: np.array([output_tokens], np.uint32),
    }
    tensors = [pb_utils.Tensor("text_output", _strings(text))]
    return tensors + [pb_utils.Tensor(name, make()) for name, make in outputs.items() if name in wanted]


def _strings(text: str) -> Any:
    return np.array([text.encode()], np.object_)


def _read_call(request: Any) -> Call:
    """`ValueError` names the tensor that is wrong."""
    if pb_utils.get_input_tensor_by_name(request, "image") is not None:
        raise ValueError("image: this model reads text only")
    stream = bool(_value(request, "stream", False))
    exclude = _value(request, "exclude_input_in_output", None)
    echo = not stream if exclude is None else not exclude
    if stream and echo:
        raise ValueError("When streaming, `exclude_input_in_output` = False is not allowed.")
    optional = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")
    wanted = frozenset(name for name in optional if _value(request, f"return_{name}", False))
    sampling = parse_sampling_parameters(_text(request, "sampling_parameters") or request.parameters())
    return Call(_text(request, "text_input"), stream, echo, sampling, wanted)


def _text(request: Any, name: str) -> str:
    value = _value(request, name, b"")
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name}: not UTF-8") from None


def _value(request: Any, name: str, default: Any) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0]


async def _embed(texts: Sequence[str]) -> Any:
    """Asks the embed model beside this one, so that its weights are in memory once."""
    rows = np.array([[text.encode()] for text in texts], np.object_)
    inputs = [pb_utils.Tensor("TEXT", rows)]
    request = pb_utils.InferenceRequest(model_name="embed", requested_output_names=["EMBEDDING"], inputs=inputs)
    response = await request.async_exec()
    if response.has_error():
        raise Unavailable(f"the embed model: {response.error().message()}")
    return pb_utils.get_output_tensor_by_name(response, "EMBEDDING").as_numpy()
