"""Whether nothing is left for a match, because an earlier one takes all its calls."""

from __future__ import annotations

from collections.abc import Mapping

from tools.localmesh.rules.matches import EVERY_PATH, How, Match, TextMatch


def covers(earlier: Match | None, later: Match | None) -> bool:
    """True only where it is certain: regular expressions are compared as texts. None matches every call."""
    if earlier is None:
        return True
    later = later or Match(earlier.place)
    pairs = ((earlier.scheme, later.scheme), (earlier.method, later.method), (earlier.authority, later.authority))
    return (
        _path_covers(earlier, later)
        and all(_text_covers(one, other) for one, other in pairs)
        and _texts_cover(earlier.headers, later.headers)
        and _texts_cover(earlier.query_parameters, later.query_parameters)
        and _parts_of(earlier.without_headers, later.without_headers)
        and _clients_cover(earlier, later)
    )


def _path_covers(earlier: Match, later: Match) -> bool:
    if earlier.uri is None or earlier.uri in EVERY_PATH:
        return True
    if not earlier.ignore_uri_case:
        return not later.ignore_uri_case and _text_covers(earlier.uri, later.uri)
    return _text_covers(_lowered(earlier.uri), _lowered(later.uri))


def _lowered(text: TextMatch | None) -> TextMatch | None:
    return text if text is None or text.how == How.REGEX else TextMatch(text.how, text.value.lower())


def _clients_cover(earlier: Match, later: Match) -> bool:
    if earlier.port not in (None, later.port):
        return False
    if earlier.gateways:
        return bool(later.gateways) and set(later.gateways) <= set(earlier.gateways)
    if later.gateways:
        return not earlier.source_labels and not earlier.source_namespace
    same_namespace = earlier.source_namespace in ("", later.source_namespace)
    return same_namespace and _parts_of(earlier.source_labels, later.source_labels)


def _parts_of(part: Mapping[str, object], whole: Mapping[str, object]) -> bool:
    return all(name in whole and whole[name] == value for name, value in part.items())


def _texts_cover(earlier: Mapping[str, TextMatch], later: Mapping[str, TextMatch]) -> bool:
    return all(_text_covers(text, later.get(name)) for name, text in earlier.items())


def _text_covers(earlier: TextMatch | None, later: TextMatch | None) -> bool:
    if earlier is None or earlier == later:
        return True
    if later is None:
        return False
    if earlier.how == How.PRESENT:
        return True
    return earlier.how == How.PREFIX and later.how in (How.PREFIX, How.EXACT) and later.value.startswith(earlier.value)
