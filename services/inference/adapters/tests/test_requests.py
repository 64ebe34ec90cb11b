"""What models are sent, as vLLM's backend reads it."""

import json

from services.inference.adapters.generator import request_of, sampling_parameters
from services.inference.adapters.tensors import first_text, first_uint32
from services.inference.domain.generation import Continuation, Sampling
from services.inference.domain.models import Model

ALL = frozenset(
    {"text_input", "stream", "sampling_parameters", "exclude_input_in_output", "return_finish_reason"}
    | {"return_num_input_tokens", "return_num_output_tokens"}
)


def test_only_what_is_set_is_sent() -> None:
    """The model's own defaults stay its own."""
    assert json.loads(sampling_parameters(Sampling(), 5)) == {"max_tokens": 5}
    everything = Sampling(temperature=0.0, top_p=0.9, seed=0, stop=("a", "b"))
    assert json.loads(sampling_parameters(everything, 5)) == {
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.9,
        "seed": 0,
        "stop": ["a", "b"],
    }


def test_a_request_has_the_inputs_that_the_model_has() -> None:
    """An older backend without the optional inputs is not sent them."""
    for inputs in (ALL, ALL - {"return_num_input_tokens", "return_num_output_tokens"}):
        request = request_of(Model("m", inputs=inputs), Continuation("größe", 5, call_id="c"))
        assert {tensor.name for tensor in request.inputs} == inputs
        assert len(request.raw_input_contents) == len(request.inputs)
        assert first_text(request.raw_input_contents[0]) == "größe"
        assert (request.model_name, request.id) == ("m", "c")


def test_tensors_that_are_empty() -> None:
    """An output without elements is no text and no number."""
    assert (first_text(b""), first_uint32(b"")) == ("", 0)
