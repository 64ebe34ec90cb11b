"""REST forms that contradict themselves or each other are refused; what is derived says what the contracts say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from openapi_spec_validator import OpenAPIV31SpecValidator

from libs.contracts.openapi import openapi_json
from libs.contracts.policies import own_services
from tools.protos.descriptors import descriptor_set
from tools.protos.rest import RestMethod, rest_method, rest_methods
from tools.protos.transcoding import FILE

FORMS = list(rest_methods())
NO_SIDE_EFFECTS = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS


def method(rule: http_pb2.HttpRule) -> MethodDescriptor:
    """A method with the rule, whose request has a text `name` and a message `inner` with a text `id`."""
    file = descriptor_pb2.FileDescriptorProto(name="lab.proto", package="lab", syntax="proto3")
    text, message = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
    optional = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    inner = file.message_type.add(name="Inner")
    inner.field.add(name="id", number=1, type=text, label=optional)
    request = file.message_type.add(name="Request")
    request.field.add(name="name", number=1, type=text, label=optional)
    request.field.add(name="inner", number=2, type=message, type_name=".lab.Inner", label=optional)
    whole = ".lab.Request"
    declared = file.service.add(name="Lab").method.add(name="Try", input_type=whole, output_type=whole)
    declared.options.Extensions[annotations_pb2.http].CopyFrom(rule)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName("lab.Lab").methods_by_name["Try"]


def test_a_form_is_read() -> None:
    """Verb, path, the fields in it, nested ones too, and the body."""
    declared = method(http_pb2.HttpRule(post="/v1/{name}/of/{inner.id}:try", body="inner"))
    form = rest_method(declared)
    assert form == RestMethod(declared, "POST", "/v1/{name}/of/{inner.id}:try", "inner", "")
    assert form.variables == ("name", "inner.id")
    assert form.field("inner.id").full_name == "lab.Inner.id"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (http_pb2.HttpRule(), "say one of get, put, post, delete or patch"),
        (
            http_pb2.HttpRule(get="/a", additional_bindings=[http_pb2.HttpRule(get="/b")]),
            "and nothing beside it",
        ),
        (http_pb2.HttpRule(get="/v1/{name=**}"), "more than fixed segments"),
        (http_pb2.HttpRule(get="/v1/*"), "more than fixed segments"),
        (http_pb2.HttpRule(get="v1"), "more than fixed segments"),
        (http_pb2.HttpRule(get="/v1/{nome}"), "no field 'nome'"),
        (http_pb2.HttpRule(get="/v1/{name.id}"), "no field 'name.id'"),
        (http_pb2.HttpRule(post="/v1", body="outer"), "no field 'outer'"),
    ],
)
def test_a_form_that_cannot_be_meant_is_refused(rule: http_pb2.HttpRule, problem: str) -> None:
    """The message names the method and what is wrong."""
    with pytest.raises(ValueError, match=r"lab\.Lab\.Try") as caught:
        rest_method(method(rule))
    assert problem in str(caught.value)


def test_every_method_has_a_form_of_its_own() -> None:
    """No two share a verb and a path, whatever their variables are called."""
    forms = {(each.verb, re.sub(r"{[^}]*}", "{}", each.template)) for each in FORMS}
    assert len(forms) == len(FORMS) == sum(len(service.methods) for service in own_services())


def test_bodies_fit_verbs() -> None:
    """Who asks or takes away sends no body; who gives something sends one."""
    assert {each.verb for each in FORMS if each.body} <= {"POST", "PUT"}
    assert {each.verb for each in FORMS if not each.body} <= {"GET", "DELETE"}
    for each in FORMS:
        assert (each.verb == "GET") <= (each.method.GetOptions().idempotency_level == NO_SIDE_EFFECTS)


def test_the_descriptors_are_whole_and_no_more() -> None:
    """A pool takes them by themselves, in their order; there are no comments, and no bounds that the services read."""
    described = descriptor_set(each.method for each in FORMS)
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        pool.Add(file)
    for each in FORMS:
        found = pool.FindMethodByName(each.method.full_name)
        assert (
            found.GetOptions().Extensions[annotations_pb2.http]
            == (each.method.GetOptions().Extensions[annotations_pb2.http])
        )
    assert pool.FindMessageTypeByName("google.rpc.RetryInfo")
    assert not [file.name for file in described.file if file.HasField("source_code_info")]
    assert not [file.name for file in described.file if file.name.startswith("buf/")]


def test_the_file_is_what_kubernetes_takes() -> None:
    """One EnvoyFilter, for the edge alone, of a size that an object may have."""
    (resource,) = yaml.safe_load_all(FILE.read_text())
    assert (resource["kind"], resource["metadata"]) == ("EnvoyFilter", {"name": "transcoding", "namespace": "weft"})
    assert resource["spec"]["workloadSelector"] == {"labels": {"istio": "edge"}}
    assert FILE.stat().st_size < 200 << 10


def test_the_description_is_valid() -> None:
    """OpenAPI 3.1, as its specification's own schema has it."""
    assert list(OpenAPIV31SpecValidator(json.loads(openapi_json())).iter_errors()) == []


def test_vendored_contracts_are_those_of_the_modules() -> None:
    """proto/google is what googleapis-common-protos carries, whose modules the services run."""
    carried = Path(annotations_pb2.__file__).parent
    vendored = sorted((Path(__file__).resolve().parents[3] / "proto/google/api").iterdir())
    assert [file.name for file in vendored] == ["annotations.proto", "http.proto", "httpbody.proto"]
    for file in vendored:
        assert file.read_text() == (carried / file.name).read_text()
