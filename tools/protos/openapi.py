"""The OpenAPI description of the REST interface, written from the contracts: OpenAPI 3.1, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from libs.contracts.policies import Method, methods
from tools.protos.comments import comments
from tools.protos.openapi_shared import ANSWER_HEADERS, ERROR, ERROR_SCHEMAS, REQUEST_HEADERS, SECURITY
from tools.protos.rest import WHOLE, RestMethod, rest_methods
from tools.protos.schemas import Schema, Schemas

FILE = Path(__file__).resolve().parents[2] / "libs" / "contracts" / "openapi.json"

_INFO = """\
Typed services for search and answers over documents, and for language models. Every call here is one of a gRPC method \
too, with the same deadlines, limits and errors.

JSON is ProtoJSON: names in lowerCamelCase (requests may also use the contracts' own, such as `top_k`, which comments \
and errors name); 64-bit numbers as text; bytes in base64; durations as `"3.5s"`; enums by name. Answers have every \
field, zero or not, but unset messages. Fields of a body that no contract has are ignored; such query parameters are \
refused."""
_STREAM = """\
Server-sent events, one message each: a line `data: ` with JSON, then an empty line. The last one has `done` or \
`error`. A stream that ends without either was cut: take nothing of it for whole."""
_BODY_VERBS = ("POST", "PUT", "PATCH")


def openapi(proto: Path) -> str:
    """The description of every method of the contracts under `proto` that has a REST form."""
    said = comments(proto)
    schemas = Schemas(said)
    rest = list(rest_methods())
    paths: dict[str, dict[str, Any]] = {}
    for each in rest:
        operations = paths.setdefault(_path(each), {})
        if each.verb.lower() in operations:
            raise ValueError(f"{each.method.full_name}: another method has {each.verb} {each.template} already")
        operations[each.verb.lower()] = _operation(each, schemas, said)
    services = {each.method.containing_service.full_name: each.method.containing_service.name for each in rest}
    description = {
        "openapi": "3.1.0",
        "info": {"title": "Weft", "version": "v1", "description": _INFO},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said[full_name]} for full_name, name in sorted(services.items())],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**schemas.components, **ERROR_SCHEMAS}.items())),
            "responses": {"Error": ERROR},
            "parameters": REQUEST_HEADERS,
            "headers": ANSWER_HEADERS,
            "securitySchemes": {"bearer": SECURITY},
        },
        "security": [{"bearer": []}],
    }
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"


def _path(rest: RestMethod) -> str:
    """The template with plain names: {question.collection} is {collection}."""
    path = rest.template
    for variable in rest.variables:
        path = path.replace(f"{{{variable}}}", f"{{{_last(variable)}}}")
    return path


def _operation(rest: RestMethod, schemas: Schemas, said: Mapping[str, str]) -> dict[str, Any]:
    method, policy = rest.method, _policy(rest)
    comment = said[method.full_name]
    operation: dict[str, Any] = {
        "operationId": method.name,
        "tags": [method.containing_service.name],
        "summary": comment.partition(". ")[0].removesuffix("."),
        "description": f"{comment}\n\n{_terms(policy)}",
        "parameters": _parameters(rest, policy, schemas),
    }
    if (body := _body(rest, schemas)) is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    operation["responses"] = {"200": _response(rest, policy, schemas), "default": _reference("responses", "Error")}
    if policy.public:
        operation["security"] = []
    elif policy.scopes:
        operation["security"] = [{"bearer": list(policy.scopes)}]
    return operation


def _policy(rest: RestMethod) -> Method:
    return methods()[f"/{rest.method.containing_service.full_name}/{rest.method.name}"]


def _terms(policy: Method) -> str:
    needs = "No token." if policy.public else f"Scopes: {', '.join(policy.scopes) or 'any valid token'}."
    return f"{needs} Deadline: {policy.default_timeout_s:g} s, at most {policy.max_timeout_s:g} s."


def _parameters(rest: RestMethod, policy: Method, schemas: Schemas) -> list[dict[str, Any]]:
    found = [_parameter("path", _last(name), rest.field(name), schemas) for name in rest.variables]
    if rest.verb not in _BODY_VERBS:
        in_query = [field for field in rest.method.input_type.fields if field.name not in rest.variables]
        found += [_parameter("query", field.json_name, field, schemas) for field in in_query]
    wanted = ["RequestId", "Timeout"] if policy.public else ["RequestId", "Timeout", "Priority"]
    wanted += ["MaxTokens"] if policy.cost is not None and policy.cost.output_tokens else []
    wanted += ["CacheControl"] if policy.cacheable else []
    return found + [_reference("parameters", name) for name in wanted]


def _parameter(place: str, name: str, field: FieldDescriptor, schemas: Schemas) -> dict[str, Any]:
    if field.message_type is not None:
        raise ValueError(f"{field.full_name}: a message cannot stand in a {place}; give its method a body")
    schema = schemas.field(field, sent=True)
    comment = schema.pop("description", "")
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, **required, "description": comment, "schema": schema}


def _body(rest: RestMethod, schemas: Schemas) -> Schema | None:
    """The body's schema: without what the path says. A component of the method's own where something is left out."""
    if not rest.body:
        return None
    message = rest.method.input_type if rest.body == WHOLE else rest.message(rest.body)
    under = "" if rest.body == WHOLE else f"{rest.body}."
    left_out = {name.removeprefix(under) for name in rest.variables if name.startswith(under)}
    return schemas.request(message, f"{rest.method.name}Body" if left_out else "", left_out)


def _response(rest: RestMethod, policy: Method, schemas: Schemas) -> dict[str, Any]:
    names = ["x-request-id"]
    if not policy.public:
        names += ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]
    if policy.cacheable:
        names += ["x-weft-cache", "age"]
    told = {"headers": {name: _reference("headers", name) for name in names}}
    if rest.response_body:
        content = {"application/json": {"schema": {"type": "object"}}}
        return {"description": "The description itself.", **told, "content": content}
    answer = schemas.response(rest.method.output_type)
    if policy.server_streaming:
        return {"description": _STREAM, **told, "content": {"text/event-stream": {"schema": answer}}}
    return {"description": "The answer.", **told, "content": {"application/json": {"schema": answer}}}


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _last(path: str) -> str:
    return path.rpartition(".")[2]
