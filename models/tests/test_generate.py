"""The generate model as Triton serves it: the contract of Triton's vLLM backend."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from libs.parts.processes import RunningPart
from libs.testing.eventually import eventually
from libs.testing.parts import CancelledGeneration, cancelled_generations

RETURN_ALL = {
    "return_finish_reason": True,
    "return_cumulative_logprob": True,
    "return_logprobs": True,
    "return_num_input_tokens": True,
    "return_num_output_tokens": True,
}
SOURCES = """Sources:
[1] Animals > Cats
Cats are small carnivores. They sleep up to 16 hours a day.

[2] Animals > Dogs
Dogs herd sheep and pull sleds. A dog barks when a stranger comes.

Question: """
ANSWER = "Dogs herd sheep and pull sleds. [2]"


def chat(user: str) -> str:
    return f"<|im_start|>system\nQuote.<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


PROMPT = chat(f"{SOURCES}What work do dogs do, herding sheep and pulling sleds?")


def text_tensor(name: str, value: str | bytes) -> Any:
    tensor = tritonclient.grpc.InferInput(name, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode() if isinstance(value, str) else value], np.object_))
    return tensor


def flag_tensor(name: str, value: bool) -> Any:
    tensor = tritonclient.grpc.InferInput(name, [1], "BOOL")
    tensor.set_data_from_numpy(np.array([value]))
    return tensor


class Stream:
    """One call of the model over a stream of its own."""

    def __init__(
        self, address: str, prompt: str | bytes, sampling: dict[str, Any] | str | None, flags: dict[str, bool]
    ) -> None:
        self.request_id = uuid.uuid4().hex
        self._client = tritonclient.grpc.InferenceServerClient(address)
        self._arrived: SimpleQueue[Any] = SimpleQueue()
        self._client.start_stream(lambda result, error: self._arrived.put(error or result))
        inputs = [text_tensor("text_input", prompt)] + [flag_tensor(name, value) for name, value in flags.items()]
        if sampling is not None:
            text = sampling if isinstance(sampling, str) else json.dumps(sampling)
            inputs.append(text_tensor("sampling_parameters", text))
        self._client.async_stream_infer("generate", inputs, request_id=self.request_id)

    def next(self) -> tuple[dict[str, Any], bool]:
        """The next response's outputs, and whether it is the last."""
        result = self._arrived.get(timeout=60)
        if isinstance(result, Exception):
            raise result
        response = result.get_response()
        outputs = {output.name: result.as_numpy(output.name).tolist() for output in response.outputs}
        return outputs, response.parameters["triton_final_response"].bool_param

    def cancel(self) -> None:
        self._client.stop_stream(cancel_requests=True)

    def close(self) -> None:
        self._client.close()


Generate = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def generate(triton_server: RunningPart) -> Generate:
    """Calls the model and answers all responses' outputs."""

    def call(prompt: str | bytes, sampling: Any = None, **flags: bool) -> list[dict[str, Any]]:
        stream = Stream(triton_server.address, prompt, sampling, flags)
        try:
            responses, last = [], False
            while not last:
                outputs, last = stream.next()
                responses.append(outputs)
            return responses
        finally:
            stream.close()

    return call


def text_of(responses: list[dict[str, Any]]) -> str:
    return b"".join(response["text_output"][0] for response in responses).decode()


def test_a_stream_is_one_token_a_response(generate: Generate) -> None:
    """Every response has one token; only the last says why it ends; counts are of this response and of the prompt."""
    responses = generate(PROMPT, {"max_tokens": 64}, stream=True, **RETURN_ALL)
    assert text_of(responses) == ANSWER
    assert [response["text_output"][0] for response in responses[-4:]] == [b".", b" [", b"2", b"]"]
    assert [response["finish_reason"] for response in responses] == [[b"None"]] * (len(responses) - 1) + [[b"stop"]]
    assert {tuple(response["num_output_tokens"]) for response in responses} == {(1,)}
    assert {tuple(response["num_input_tokens"]) for response in responses} == {(109,)}
    assert responses[0]["cumulative_logprob"] == [0.0]
    assert responses[0]["logprobs"] == [b"null"]


def test_an_answer_of_any_length_ends_well(generate: Generate) -> None:
    """Wherever in a turn of the stream the last token falls, the stream ends and the model goes on."""
    for max_tokens in range(1, 11):
        assert len(generate(PROMPT, {"max_tokens": max_tokens}, stream=True)) == max_tokens


def test_without_stream_it_is_one_response(generate: Generate) -> None:
    """The whole text in one response with the counts of all of it."""
    flags = {**RETURN_ALL, "exclude_input_in_output": True}
    (response,) = generate(PROMPT, {"max_tokens": 64}, **flags)
    streamed = generate(PROMPT, {"max_tokens": 64}, stream=True)
    assert response["text_output"] == [ANSWER.encode()]
    assert response["num_output_tokens"] == [len(streamed)]
    assert response["finish_reason"] == [b"stop"]


def test_only_what_is_asked_for_is_returned(generate: Generate) -> None:
    """Without the flags there is nothing but the text."""
    assert {tuple(response) for response in generate(PROMPT, stream=True)} == {("text_output",)}


def test_the_prompt_is_repeated_unless_excluded(generate: Generate) -> None:
    """As in the vLLM backend: without a stream the prompt comes first, unless it is excluded."""
    assert text_of(generate(PROMPT, {"max_tokens": 64})) == PROMPT + ANSWER
    assert text_of(generate(PROMPT, {"max_tokens": 64}, exclude_input_in_output=False)) == PROMPT + ANSWER


def test_max_tokens_ends_it(generate: Generate) -> None:
    """The text is cut after that many tokens, 16 by default, and says that length ended it."""
    responses = generate(PROMPT, {"max_tokens": 3}, stream=True, return_finish_reason=True)
    assert text_of(responses) == "Dogs herd sheep"
    assert responses[-1]["finish_reason"] == [b"length"]
    long_answer = chat(f"{SOURCES}Hello").replace(SOURCES, "")
    assert len(generate(long_answer, stream=True)) == 16


def test_a_stop_string_ends_it(generate: Generate) -> None:
    """The text ends before the stop string, streamed or not, although it spans tokens."""
    sampling = {"max_tokens": 64, "stop": ["eep and"]}
    for flags in ({"stream": True}, {"exclude_input_in_output": True}):
        responses = generate(PROMPT, sampling, return_finish_reason=True, **flags)
        assert text_of(responses) == "Dogs herd sh"
        assert responses[-1]["finish_reason"] == [b"stop"]


def test_what_the_sources_do_not_say_is_not_answered(generate: Generate) -> None:
    """No sentence bears on the question: it says so in the agreed words."""
    prompt = chat(f"{SOURCES}What is the boiling point of mercury?")
    assert text_of(generate(prompt, {"max_tokens": 64}, stream=True)) == "Not found in the sources."


def test_without_sources_it_says_what_it_is(generate: Generate) -> None:
    """Plain chat gets one honest sentence."""
    assert "I am an extractive model" in text_of(generate(chat("Hello!"), {"max_tokens": 64}, stream=True))


@pytest.mark.parametrize(
    ("prompt", "sampling", "flags", "named"),
    [
        (PROMPT, "nonsense", {}, "sampling_parameters"),
        (PROMPT, {"max_tokens": -1}, {}, "max_tokens"),
        (PROMPT, {"beams": 3}, {}, "beams"),
        (PROMPT, None, {"stream": True, "exclude_input_in_output": False}, "exclude_input_in_output"),
        (b"\xff", None, {}, "text_input"),
        ("word " * 40_000, None, {}, "text_input"),
    ],
)
def test_bad_input_is_named(generate: Generate, prompt: Any, sampling: Any, flags: dict[str, bool], named: str) -> None:
    """What cannot be done is refused with the name of the tensor or parameter, and the model goes on."""
    with pytest.raises(InferenceServerException, match=named):
        generate(prompt, sampling, **flags)
    assert text_of(generate(PROMPT, {"max_tokens": 64}, stream=True)) == ANSWER


def test_a_call_that_is_not_a_stream_is_refused(triton_server: RunningPart) -> None:
    """A decoupled model is reached with ModelStreamInfer only, as the vLLM backend's is."""
    with (
        tritonclient.grpc.InferenceServerClient(triton_server.address) as client,
        pytest.raises(InferenceServerException, match="decoupled"),
    ):
        client.infer("generate", [text_tensor("text_input", PROMPT)])


def _sentences_embedded(client: Any) -> int:
    count: int = client.get_inference_statistics("embed").model_stats[0].inference_count
    return count


async def noticed_cancellation(triton: RunningPart, request_id: str) -> CancelledGeneration:
    def find() -> CancelledGeneration | None:
        return next((one for one in cancelled_generations(triton) if one.request_id == request_id), None)

    found: CancelledGeneration = await eventually(find, within_s=30.0)
    return found


@pytest.fixture
def long_stream(triton_server: RunningPart) -> Iterator[Stream]:
    """A stream of about 15,000 tokens: one long block of code that answers the question."""
    code = "\n".join(f"    sled({number}).pull(dog)" for number in range(1_100))
    prompt = chat(f"Sources:\n[1] Dogs\nDogs pull sleds like this:\n\n{code}\n\nQuestion: How do dogs pull sleds?")
    stream = Stream(triton_server.address, prompt, {"max_tokens": 100_000}, {"stream": True})
    yield stream
    stream.close()


def test_a_long_answer_is_streamed_whole(long_stream: Stream) -> None:
    """Thousands of tokens arrive in order, none missing."""
    text, last, started = "", False, time.monotonic()
    count = 0
    while not last:
        outputs, last = long_stream.next()
        text += outputs["text_output"][0].decode()
        count += 1
    print(f"{count} tokens, {count / (time.monotonic() - started):.0f} tokens/s")
    assert count > 10_000
    assert "sled(1098).pull(dog)\n    sled(1099).pull(dog)\n[1]" in text


async def test_the_model_notices_a_cancelled_stream(triton_server: RunningPart, long_stream: Stream) -> None:
    """Who goes away in the middle of a stream stops the model's work; it writes down when it noticed."""
    for _ in range(10):
        long_stream.next()
    cancelled_at = time.time()
    long_stream.cancel()
    cancelled = await noticed_cancellation(triton_server, long_stream.request_id)
    print(f"noticed after {(cancelled.unix_s - cancelled_at) * 1e3:.0f} ms, at token {cancelled.streamed_tokens}")
    assert 10 <= cancelled.streamed_tokens < 10_000


async def test_the_model_notices_a_cancel_while_it_selects(triton_server: RunningPart) -> None:
    """Who goes away before the first token stops the work on the sentences, too."""
    text = " ".join(f"Sentence {uuid.uuid4().hex} says nothing about sled number {at}." for at in range(240))
    prompt = chat(f"Sources:\n[1] Dogs\n{text}\n\nQuestion: How do dogs pull sleds?")
    stream = Stream(triton_server.address, prompt, {"max_tokens": 100_000}, {"stream": True})
    try:
        with tritonclient.grpc.InferenceServerClient(triton_server.address) as client:
            before = _sentences_embedded(client)
            await eventually(lambda: _sentences_embedded(client) > before, every_s=0.005)
        stream.cancel()
        assert (await noticed_cancellation(triton_server, stream.request_id)).streamed_tokens == 0
    finally:
        stream.close()


def test_streams_share_the_model(generate: Generate, long_stream: Stream) -> None:
    """A short answer does not wait for a long one to end."""
    long_stream.next()
    assert text_of(generate(PROMPT, {"max_tokens": 64}, stream=True)) == ANSWER
    long_stream.cancel()
