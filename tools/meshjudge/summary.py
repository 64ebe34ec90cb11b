"""The meanings of all proxies as one summary: what is the same for several is said once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tools.meshjudge.meaning.proxy import Meaning

Part = tuple[str, str, str]
"""A section ("outbound"), what it is about ("rag.weft.svc.cluster.local:50051"), and whose proxy it is."""
Parts = dict[Part, Any]
LONG = 200
LONG_TEXT = f"a text of more than {LONG} characters"
"""In place of what nobody reads: the descriptors of the contracts, which change with each comment in them."""
WIDTH = 140


def parts_of(meanings: Mapping[str, Meaning]) -> Parts:
    """By the pods' names."""
    return {
        (section, subject, pod): _shortened(value)
        for pod, meaning in meanings.items()
        for section, subjects in meaning.items()
        for subject, value in subjects.items()
    }


def grouped(parts: Parts) -> dict[str, Any]:
    """As it is written: by section and subject, each different meaning with the proxies that it is for."""
    found: dict[str, Any] = {}
    for (section, subject, who), value in sorted(parts.items()):
        entries = found.setdefault(section, {}).setdefault(subject, [])
        for entry in entries:
            if entry["means"] == value:
                entry["for"].append(who)
                break
        else:
            entries.append({"for": [who], "means": value})
    return found


def ungrouped(written: Mapping[str, Any]) -> Parts:
    """The reverse of `grouped`."""
    return {
        (section, subject, who): entry["means"]
        for section, subjects in written.items()
        for subject, entries in subjects.items()
        for entry in entries
        for who in entry["for"]
    }


def changes(base: Parts, parts: Parts) -> dict[str, Any]:
    """What a case changes of what all stand on."""
    changed = grouped({part: value for part, value in parts.items() if part not in base or base[part] != value})
    gone = sorted(" ".join(part) for part in base.keys() - parts.keys())
    return {**changed, **({"gone": gone} if gone else {})}


def changed(base: Parts, written: Mapping[str, Any]) -> Parts:
    """What a case means: the reverse of `changes`."""
    gone = set(written.get("gone", ()))
    kept = {part: value for part, value in base.items() if " ".join(part) not in gone}
    return kept | ungrouped({section: value for section, value in written.items() if section != "gone"})


def text_of(written: Mapping[str, Any]) -> str:
    """YAML for readers, the same for the same summary."""
    text: str = yaml.dump(
        dict(written), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=WIDTH, allow_unicode=True
    )
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Never: a reader would have to look them up."""
        return True


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(each) for each in value]
    if isinstance(value, str) and len(value) > LONG:
        return LONG_TEXT
    return value
