"""Durations as users write them."""

import re

_DURATION = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(ttl: str) -> int:
    """Of the option --ttl. Raises ValueError that says what to write."""
    match = _DURATION.fullmatch(ttl)
    if match is None or int(match["count"]) == 0:
        raise ValueError(f"--ttl {ttl!r} is not a duration: write 45s, 30m, 12h or 7d")
    return int(match["count"]) * _SECONDS[match["unit"]]
