"""Settings from the environment: one prefix a service, nothing unknown, nothing out of range, all problems at once."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match.group(2)) > 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:7700")
    return value


def _address_or_none(value: str) -> str:
    return _address(value) if value else value


Address = Annotated[str, AfterValidator(_address)]
"""host:port, port 0 to 65535."""

OptionalAddress = Annotated[str, AfterValidator(_address_or_none)]
"""An Address, or empty for none."""


def settings_config(prefix: str) -> SettingsConfigDict:
    """The configuration of a settings class whose variables begin with `prefix` ("WEFT_RAG_")."""
    return SettingsConfigDict(
        env_prefix=prefix, env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True
    )


class ServiceSettings(BaseSettings):
    """What every service is told. A subclass sets `model_config = settings_config("WEFT_RAG_")`."""

    listen: Address = Field(description="where to listen, host:port; port 0 takes any")
    context_key_file: Path = Field(description="file with the key of the signed context (32 bytes in hex)")
    redis_url: SecretStr = Field(description="the store of what is true, redis://:PASSWORD@HOST:PORT/0")
    grace_s: float = Field(10, ge=0, le=600, description="seconds that calls in flight have to end at a stop")
    drain_s: float = Field(0.2, ge=0, le=60, description="seconds from NOT_SERVING to the stop, for callers to see it")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level of a log line")
    metrics_listen: OptionalAddress = Field(
        "", description="where Prometheus reads metrics (HTTP, /metrics), host:port; empty: nowhere"
    )
    otlp_endpoint: OptionalAddress = Field("", description="OTLP collector (gRPC), host:port; empty: no traces")


class SettingsError(Exception):
    """What is wrong with the environment, a line a problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


T = TypeVar("T", bound=BaseSettings)


def load(settings_class: type[T]) -> T:
    """The settings from the environment. Prints every problem and exits with 2 where there is one."""
    try:
        return read(settings_class)
    except SettingsError as error:
        print(f"settings: {len(error.problems)} wrong", *error.problems, sep="\n  ", file=sys.stderr)
        sys.exit(2)


def read(settings_class: type[T]) -> T:
    """The settings from the environment. Raises SettingsError with every problem: unknown, missing and bad values."""
    prefix = str(settings_class.model_config.get("env_prefix", ""))
    known = known_settings(settings_class)
    problems = [_unknown(name, known) for name in sorted(os.environ) if _is_ours(name, prefix) and name not in known]
    try:
        settings = settings_class()
    except ValidationError as error:
        problems += [problem for detail in error.errors() for problem in _bad(prefix, known, detail)]
    if problems:
        raise SettingsError(problems)
    return settings


@dataclass(frozen=True)
class Known:
    """What there is to say of a setting. `default` is as the environment would say it; None: it must be set."""

    description: str
    secret: bool
    default: str | None


def known_settings(settings_class: type[BaseSettings]) -> dict[str, Known]:
    """Every setting of a class by the name of its variable, nested ones with `__`."""
    prefix = str(settings_class.model_config.get("env_prefix", ""))
    return {f"{prefix}{name}".upper(): known for name, known in _fields(settings_class)}


def _is_ours(name: str, prefix: str) -> bool:
    return bool(prefix) and name.upper().startswith(prefix.upper())


def _fields(model: type[BaseModel], under: str = "") -> Iterator[tuple[str, Known]]:
    """Every setting below `model` by its name without the prefix, nested ones with `__`."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _fields(inner, f"{under}{name}__")
        else:
            secret = "SecretStr" in str(inner) or inner is SecretStr
            default = None if field.is_required() else _written(field.get_default(call_default_factory=True))
            yield f"{under}{name}", Known(description=field.description or "", secret=secret, default=default)


def _written(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "" if default is None else str(default)


def _unknown(name: str, known: dict[str, Known]) -> str:
    near = difflib.get_close_matches(name.upper(), known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
    return f"{name}: there is no such setting; {remedy}"


def _bad(prefix: str, known: dict[str, Known], detail: Any) -> list[str]:
    """What pydantic says, in the words of who sets the variables; of a missing group, a line for each of its own."""
    name = _name_of(prefix, known, [str(part) for part in detail["loc"]])
    if detail["type"] == "missing":
        wanted = [name] if name in known else [one for one in known if one.startswith(f"{name}__")]
        return [f"{one}: is not set{_remedy(known.get(one))}" for one in wanted or [name]]
    setting = known.get(name)
    shown = "" if setting is None or setting.secret else f"={str(detail['input'])[:100]!r}"
    message = detail["msg"].removeprefix("Value error, ")
    return [f"{name}{shown}: {message[:1].lower()}{message[1:]}{_remedy(setting)}"]


def _remedy(setting: Known | None) -> str:
    return f"; set it to: {setting.description}" if setting and setting.description else ""


def _name_of(prefix: str, known: dict[str, Known], location: list[str]) -> str:
    """The variable that pydantic's location speaks of: its longest beginning that names a setting."""
    for end in range(len(location), 0, -1):
        name = f"{prefix}{'__'.join(location[:end])}".upper()
        if name in known:
            return name
    return f"{prefix}{'__'.join(location)}".upper()
