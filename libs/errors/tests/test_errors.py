"""Errors say what they are."""

from __future__ import annotations

import grpc

from libs.errors.errors import FieldViolation, Kind, Reason, ServiceError, invalid_field


def test_kinds_are_grpc_codes() -> None:
    """A kind's name and number are those of a gRPC status code."""
    codes = {code.name: code.value[0] for code in grpc.StatusCode}
    assert {kind.name: kind.value for kind in Kind}.items() <= codes.items()


def test_each_kind_has_one_class() -> None:
    """Every kind but INTERNAL has a class of its own; INTERNAL is the base."""
    kinds = [error.kind for error in ServiceError.__subclasses__()]
    assert sorted(kind.name for kind in kinds) == sorted(kind.name for kind in Kind if kind is not Kind.INTERNAL)
    assert ServiceError.kind is Kind.INTERNAL


def test_an_invalid_field_is_named() -> None:
    """invalid_field has the field in its message and as its one violation."""
    error = invalid_field("texts[3]", "must not be empty")
    assert (error.kind, error.reason) == (Kind.INVALID_ARGUMENT, Reason.FIELD_INVALID)
    assert error.message == "texts[3]: must not be empty"
    assert error.violations == (FieldViolation("texts[3]", "must not be empty"),)
