"""What the door reads of the Open Inference Protocol's messages, without parsing them."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError

from libs.errors.errors import InvalidArgumentError, Reason
from services.inference.rpc.infer_bytes import answering_model, asked_model
from services.inference.rpc.refusals import pb


def request(model: str) -> bytes:
    """A request with a bit of everything."""
    message = pb.ModelInferRequest(model_name=model, model_version="7", id="x")
    tensor = message.inputs.add(name="TEXT", datatype="BYTES", shape=(1, 300))
    tensor.contents.fp32_contents.extend((1.0, 2.0))
    message.parameters["priority"].int64_param = -1
    message.raw_input_contents.append(bytes(300))
    return bytes(message.SerializeToString())


@pytest.mark.parametrize("model", ["", "embed", "größe", "m" * 300])
def test_the_name_is_found(model: str) -> None:
    """As protobuf finds it; the last one, where a message has it twice."""
    body = request(model)
    assert asked_model(body) == model
    assert asked_model(body + request("other")) == "other"
    assert asked_model(b"") == ""


def test_the_name_in_an_answer_is_found() -> None:
    """Of the answer within the message; none where it tells of a failure."""
    answer = pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse(model_name="embed", id="x"))
    answer.infer_response.raw_output_contents.append(bytes(300))
    assert answering_model(answer.SerializeToString()) == "embed"
    assert answering_model(pb.ModelStreamInferResponse(error_message="no").SerializeToString()) == ""
    assert answering_model(b"\xff\xff\xff") == ""


@pytest.mark.parametrize(
    "body", [b"\xff\xff\xff", b"\x0a", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0b", b"\x08" + b"\xff" * 11]
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    """With MESSAGE_MALFORMED, as where it would be parsed."""
    with pytest.raises(InvalidArgumentError) as caught:
        asked_model(body)
    assert caught.value.reason is Reason.MESSAGE_MALFORMED


@pytest.mark.parametrize("seed", range(20))
def test_it_reads_what_protobuf_reads(seed: int) -> None:
    """Of messages with bytes changed at random: the same name, wherever protobuf can read it at all."""
    chance, body = random.Random(seed), request("embed")
    read = 0
    for _ in range(500):
        changed = bytearray(body)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        try:
            expected = pb.ModelInferRequest.FromString(bytes(changed)).model_name
        except DecodeError:
            continue
        read += 1
        # It reads less than protobuf does, such as groups; that is refused, not taken for another model.
        with suppress(InvalidArgumentError):
            assert asked_model(bytes(changed)) == expected
    assert read > 100
