"""Every method of every contract says what it needs, and the contracts are what they claim."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import grpc
import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, MethodOptions
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_tools import protoc

from libs.contracts.open_inference import open_inference_pb2
from libs.contracts.policies import CONTRACT_MODULES, Method, methods, own_services, services_of
from libs.errors.errors import Reason
from weft.common.v1 import error_pb2
from weft.rag.v1.answer_service_pb2 import AnswerResponse

PROTO = Path(__file__).resolve().parents[3] / "proto"
COMPONENTS = ("gateway", "rag", "embedding", "inference")
OWN = [method for service in own_services() for method in service.methods]


def foreign_services() -> dict[str, ServiceDescriptor]:
    """The real descriptors of the contracts that are not Weft's own."""
    found = [
        open_inference_pb2().DESCRIPTOR.services_by_name["GRPCInferenceService"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    ]
    return {service.full_name: service for service in found}


def test_every_contract_is_known() -> None:
    """CONTRACT_MODULES names every contract file that has a service, and no other."""
    files = {
        str(path.relative_to(PROTO).with_suffix("")).replace("/", ".") + "_pb2"
        for path in (PROTO / "weft").rglob("*.proto")
        if re.search(r"^service ", path.read_text(), re.MULTILINE)
    }
    assert set(CONTRACT_MODULES) == files


@pytest.mark.parametrize("path", methods())
def test_a_policy_is_complete(path: str) -> None:
    """A method has a component, deadlines in order, a scope unless public or the gateway's own, and safe retries."""
    method = methods()[path]
    assert method.served_by in COMPONENTS
    assert 0 < method.default_timeout_s <= method.max_timeout_s <= 86_400
    assert method.scopes or method.public or method.served_by == "gateway"
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", scope) for scope in method.scopes)
    assert method.default_priority in ("low", "normal", "high")
    if method.retry is not None:
        assert method.idempotent
        assert set(method.retry.codes) <= {code.name for code in grpc.StatusCode}
        assert method.retry.backoff_multiplier >= 1


def test_what_is_charged_by_bytes_has_a_scope_of_its_own() -> None:
    """What no budget can stop in time is open to those alone who were given just that."""
    charged = [method for method in methods().values() if method.cost is not None and method.cost.bytes_per_token]
    service = charged[0].service
    others = {scope for method in methods().values() if method.service != service for scope in method.scopes}
    assert {method.name for method in charged} == {"ModelInfer", "ModelStreamInfer"}
    assert all(set(method.scopes) - others for method in charged)


@pytest.mark.parametrize("method", OWN, ids=lambda method: method.full_name)
def test_idempotency_is_said(method: MethodDescriptor) -> None:
    """Every unary method sets idempotency_level, and one that changes things takes a request id."""
    options = method.GetOptions()
    assert options.HasField("idempotency_level")
    if options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
        assert "request_id" in method.input_type.fields_by_name


def test_request_and_response_are_a_methods_own() -> None:
    """No two methods share a request or a response, and they are named after their method."""
    types = [kind.full_name for method in OWN for kind in (method.input_type, method.output_type)]
    assert len(types) == len(set(types))
    for method in OWN:
        assert (method.input_type.name, method.output_type.name) == (f"{method.name}Request", f"{method.name}Response")


def test_foreign_methods_are_the_real_ones() -> None:
    """The policies of foreign contracts name each method of the real services, with its streams, and no other."""
    own = {service.full_name for service in own_services()}
    described = {method.path: streams(method) for method in methods().values() if method.service not in own}
    real = {
        f"/{name}/{method.name}": (method.client_streaming, method.server_streaming)
        for name, service in foreign_services().items()
        for method in service.methods
    }
    v1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    assert described == {**real, v1: (True, True)}


def streams(method: Method) -> tuple[bool, bool]:
    return method.client_streaming, method.server_streaming


def test_each_component_serves_its_package() -> None:
    """A Weft service is served by the component that its package is named after."""
    for component in COMPONENTS:
        mine = {service.full_name for service in own_services() if service.file.package == f"weft.{component}.v1"}
        assert mine <= set(services_of(component))
        assert mine


def test_reasons_are_the_contracts() -> None:
    """The reasons in the code are those of the contract, by name."""
    contract = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    assert {reason.value for reason in Reason} == contract


def test_each_reason_says_its_code_and_metadata() -> None:
    """The comment of a reason names a gRPC status code first, and its metadata keys last."""
    for name, comment in described_reasons():
        code, _, rest = comment.partition(".")
        assert code in grpc.StatusCode.__members__, name
        assert "Metadata: " in rest, name


@pytest.mark.parametrize("method", OWN, ids=lambda method: method.full_name)
def test_errors_are_documented(method: MethodDescriptor) -> None:
    """A method's comment ends with `Errors:` and reasons that exist."""
    comment = " ".join(comments()[method.full_name].split())
    _, found, errors = comment.rpartition("Errors: ")
    assert found, comment
    assert errors.endswith(".")
    named = errors.removesuffix(".").split(", ")
    assert set(named) <= {reason.value for reason in Reason}
    assert len(named) == len(set(named))


@pytest.mark.parametrize("method", OWN, ids=lambda method: method.full_name)
def test_requests_are_bounded(method: MethodDescriptor) -> None:
    """Every string, bytes, list, map, number and enum in a request has a bound."""
    assert [name for name, field in fields(method.input_type) if not bounded(field)] == []


def test_a_field_without_bounds_is_seen() -> None:
    """The check of bounds can fail: responses have fields without any."""
    answer = AnswerResponse.DESCRIPTOR
    assert [name for name, field in fields(answer) if not bounded(field)][:2] == ["text", "citations"]


def fields(message: Descriptor, under: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """All fields of a request by their paths, without the inside of google's own messages."""
    for field in message.fields:
        yield f"{under}{field.name}", field
        if field.message_type is not None and not field.message_type.full_name.startswith("google."):
            yield from fields(field.message_type, f"{under}{field.name}.")


def bounded(field: FieldDescriptor) -> bool:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if not field.is_repeated:
        return scalar_bounded(field, rules)
    limits = rules.map if field.message_type and field.message_type.GetOptions().map_entry else rules.repeated
    limit = limits.max_pairs if isinstance(limits, validate_pb2.MapRules) else limits.max_items
    items = rules.repeated.items
    return limit > 0 and (field.message_type is not None or scalar_bounded(field, items))


def scalar_bounded(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> bool:
    kind = field.type
    if kind == FieldDescriptor.TYPE_STRING:
        return rules.string.max_len > 0 or rules.string.max_bytes > 0 or rules.string.uuid
    if kind == FieldDescriptor.TYPE_BYTES:
        return rules.bytes.max_len > 0
    if kind == FieldDescriptor.TYPE_ENUM:
        return rules.enum.defined_only
    if kind in (FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_MESSAGE):
        return True
    number = getattr(rules, rules.WhichOneof("type") or "int32")
    return any(number.HasField(limit) for limit in ("gte", "gt", "lte", "lt"))


def described_files() -> list[FileDescriptorProto]:
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / "weft").rglob("*.proto"))
    well_known = Path(import_module("grpc_tools").__file__ or "").parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "descriptors")
        options = [f"--descriptor_set_out={out}", "--include_source_info"]
        assert protoc.main(["protoc", f"--proto_path={PROTO}", f"--proto_path={well_known}", *options, *sources]) == 0
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


FILES = described_files()


def comments() -> dict[str, str]:
    """The comment of each method by its full name."""
    service_field, method_field = 6, 2
    found = {}
    for file in FILES:
        for place in file.source_code_info.location:
            if len(place.path) == 4 and (place.path[0], place.path[2]) == (service_field, method_field):
                service = file.service[place.path[1]]
                name = f"{file.package}.{service.name}.{service.method[place.path[3]].name}"
                found[name] = place.leading_comments
    return found


def described_reasons() -> Iterator[tuple[str, str]]:
    """Name and comment of each reason that is sent."""
    enum_field, value_field = 5, 2
    file = next(file for file in FILES if file.name == "weft/common/v1/error.proto")
    for place in file.source_code_info.location:
        path = list(place.path)
        if len(path) == 4 and (path[0], path[2]) == (enum_field, value_field) and path[3] > 0:
            yield file.enum_type[path[1]].value[path[3]].name, " ".join(place.leading_comments.split())
