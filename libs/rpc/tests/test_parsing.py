"""Which messages have rules, and so need a validator."""

import pytest
from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass

from libs.contracts.policies import own_services
from libs.rpc.parsing import has_rules, parser
from weft.gateway.v1 import identity_service_pb2
from weft.inference.v1 import generation_service_pb2
from weft.rag.v1 import search_service_pb2


def test_rules_are_found_wherever_they_stand() -> None:
    """Rules in a message's own fields and in those of messages within it are found; a message without any has none."""
    assert has_rules(search_service_pb2.SearchRequest.DESCRIPTOR)
    assert has_rules(generation_service_pb2.Prompt.DESCRIPTOR)
    assert not has_rules(identity_service_pb2.WhoAmIRequest.DESCRIPTOR)
    assert not has_rules(struct_pb2.Struct.DESCRIPTOR)


def test_rules_of_an_inner_message_count() -> None:
    """A message whose only rules are those of a message in its field has rules."""
    assert has_rules(generation_service_pb2.GenerateRequest.DESCRIPTOR)


@pytest.mark.parametrize("message", [m.input_type for service in own_services() for m in service.methods])
def test_every_request_can_be_parsed(message: Descriptor) -> None:
    """The rules of every request of every contract compile."""
    parser(GetMessageClass(message))
