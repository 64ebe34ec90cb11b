"""The sampling parameters of vLLM, as far as they mean something to a model that draws no samples."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_MAX_TOKENS = 16  # vLLM's
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256
# They shape a choice among tokens. There is one answer here, whatever they say.
WITHOUT_EFFECT = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "skip_special_tokens",
    }
)


@dataclass(frozen=True)
class SamplingParameters:
    """At most `max_tokens` tokens; the text ends before the first `stop` string, or after it if that is to be kept."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    stop: tuple[str, ...] = ()
    include_stop_str_in_output: bool = False


def parse_sampling_parameters(text: str) -> SamplingParameters:
    """Reads the JSON object of the tensor, "" as an empty one. `ValueError` names what is wrong in it."""
    try:
        values = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"sampling_parameters: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError("sampling_parameters: must be a JSON object")
    for name in values.keys() - WITHOUT_EFFECT - {"max_tokens", "stop", "include_stop_str_in_output", "n", "best_of"}:
        raise ValueError(f"sampling_parameters.{name}: not a parameter of this model")
    for name in ("n", "best_of"):
        if values.get(name) is not None and _integer(values, name, 1) != 1:
            raise ValueError(f"sampling_parameters.{name}: must be 1, the model has one answer")
    max_tokens = _integer(values, "max_tokens", DEFAULT_MAX_TOKENS)
    if max_tokens < 1:
        raise ValueError("sampling_parameters.max_tokens: must be at least 1")
    return SamplingParameters(max_tokens, _stops(values.get("stop")), _flag(values, "include_stop_str_in_output"))


def _integer(values: Mapping[str, Any], name: str, default: int) -> int:
    """A number or, since parameters also arrive as texts, the text of one."""
    value = values.get(name)
    if value is None:
        return default
    try:
        if not isinstance(value, bool) and int(value) == float(value):
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"sampling_parameters.{name}: must be an integer")


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if value not in (True, False, None):
        raise ValueError(f"sampling_parameters.{name}: must be true or false")
    return bool(value)


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise ValueError("sampling_parameters.stop: must be a text or a list of texts, none of them empty")
    if len(stops) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARACTERS for stop in stops):
        limit = f"at most {MAX_STOPS} texts of at most {MAX_STOP_CHARACTERS} characters"
        raise ValueError(f"sampling_parameters.stop: {limit}")
    return tuple(stops)
