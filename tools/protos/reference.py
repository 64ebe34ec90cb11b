"""The reference page of all methods and error reasons, written from the contracts' own comments and options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from libs.contracts.policies import Method, methods
from tools.protos.comments import described
from tools.protos.rest import rest_methods

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"

_ENUM, _SERVICE = FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, FileDescriptorProto.SERVICE_FIELD_NUMBER
_MEMBER = 2  # the field number of both EnumDescriptorProto.value and ServiceDescriptorProto.method
_HEAD = """# Reference

Written from the contracts in `proto/` by `python -m tools.protos`; a test fails when it is stale. What each field
means, and its bounds, stands in the contracts themselves; `grpcurl ... describe` shows the fields too, and so does
`/openapi.json` for calls by [REST](rest.md).

A call's deadline is the caller's, else the method's default, and never later than the method's longest. Where a method
has retries, the Python client makes that many attempts in all after the status codes named; nobody else retries.

Beside the errors named at a method, each can end with TOKEN_MISSING, TOKEN_MALFORMED, TOKEN_EXPIRED, TOKEN_REFUSED,
SCOPE_MISSING, TENANT_UNKNOWN, HEADER_INVALID, RATE_LIMITED, OVERLOADED, MESSAGE_MALFORMED, MESSAGE_TOO_LARGE,
DEPENDENCY_UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED or INTERNAL, and one that is charged with BUDGET_EXHAUSTED.
"""
_FOREIGN_HEAD = """## Contracts that are not Weft's own

| method | needs | deadline: default, longest | retries |
|---|---|---|---|
"""
_REASONS_HEAD = """## Error reasons

Every failed call carries one `google.rpc.ErrorInfo` with domain `weft` and one of these reasons.

| reason | status, meaning, metadata |
|---|---|
"""


def reference(proto: Path) -> str:
    """The page, as Markdown, of the contracts under `proto`."""
    files = described(proto)
    own = [_service(file, index) for file in files for index in range(len(file.service))]
    names = {f"{file.package}.{service.name}" for file in files for service in file.service}
    foreign = [method for method in methods().values() if method.service not in names]
    reasons = next(_reasons(file) for file in files if file.name == "weft/common/v1/error.proto")
    return "\n".join([_HEAD, *own, _FOREIGN_HEAD + "".join(map(_row, foreign)), _REASONS_HEAD + reasons])


def _service(file: FileDescriptorProto, index: int) -> str:
    service = file.service[index]
    lines = [f"## {file.package}.{service.name}", "", _comment(file, (_SERVICE, index)), ""]
    for position, declared in enumerate(service.method):
        method = methods()[f"/{file.package}.{service.name}/{declared.name}"]
        kind = "stream" if method.server_streaming else "unary"
        lines += [f"### {method.name} ({kind})", "", _comment(file, (_SERVICE, index, _MEMBER, position)), ""]
        rest = _rest_forms().get(f"{file.package}.{service.name}.{declared.name}")
        lines += [f"REST: `{rest}`.", ""] if rest else []
        said = f"Needs {_needs(method)}. Deadline {_deadlines(method)}. Retries: {_retries(method)}. {_charged(method)}"
        lines += [said, ""]
    return "\n".join(lines)


@cache
def _rest_forms() -> Mapping[str, str]:
    """Verb and path of each method that has a REST form, by the method's full name."""
    return {each.method.full_name: f"{each.verb} {each.template}" for each in rest_methods()}


def _reasons(file: FileDescriptorProto) -> str:
    rows = []
    for position, value in enumerate(file.enum_type[0].value):
        if value.number:
            meaning = " ".join(_comment(file, (_ENUM, 0, _MEMBER, position)).split())
            rows.append(f"| `{value.name.removeprefix('ERROR_REASON_')}` | {meaning} |\n")
    return "".join(rows)


def _comment(file: FileDescriptorProto, path: Iterable[int]) -> str:
    wanted = list(path)
    found = next(place for place in file.source_code_info.location if list(place.path) == wanted)
    return "\n".join(line.strip() for line in found.leading_comments.strip().splitlines())


def _row(method: Method) -> str:
    needs = f"refused: {method.refusal}" if method.refusal else _needs(method)
    return f"| `{method.path}` | {needs} | {_deadlines(method)} | {_retries(method)} |\n"


def _needs(method: Method) -> str:
    if method.public:
        return "nothing"
    return "scope " + ", ".join(f"`{scope}`" for scope in method.scopes) if method.scopes else "any valid token"


def _deadlines(method: Method) -> str:
    return f"{method.default_timeout_s:g} s, at most {method.max_timeout_s:g} s"


def _retries(method: Method) -> str:
    return f"{method.retry.max_attempts} attempts after {', '.join(method.retry.codes)}" if method.retry else "none"


def _charged(method: Method) -> str:
    """Which limits count a call, what it can use, and whether its answers are kept."""
    said = [f"Limits: `{method.limit_group}`." if method.limit_group else ""]
    if (cost := method.cost) is not None:
        most = [f"{cost.input_tokens_per_byte} a byte of the request"] if cost.input_tokens_per_byte else []
        most += [f"{cost.input_tokens:,} more" if most else f"{cost.input_tokens:,}"] if cost.input_tokens else []
        most += [f"{cost.output_tokens:,} to write"] if cost.output_tokens else []
        said.append(f"Reserves, in tokens: {', '.join(most)}.")
    if method.cacheable:
        said.append("Answers are kept.")
    return " ".join(part for part in said if part)
