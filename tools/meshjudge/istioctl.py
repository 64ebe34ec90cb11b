"""What Istio's own tool finds wrong with the rules."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

EXPECTED: Mapping[str, str] = {
    "IST0133=EnvoyFilter transcoding.weft": "the edge's transcoder has no other API; Envoy's version is pinned",
    "IST0151=EnvoyFilter transcoding.weft": "it is relative to the router, which every HTTP chain ends with",
}
"""Messages that are no mistakes: a code and whose it is, and why."""
TIMEOUT_S = 60.0


def istioctl_finds(binary: Path, files: Sequence[Path], kubernetes: Path) -> list[str]:
    """What `validate` says of the files, and `analyze` of them together with the Kubernetes objects of a file; nothing
    where all is well."""
    listed = [str(file) for file in files]
    validate = [str(binary), "validate", *(word for file in listed for word in ("-f", file))]
    # Without -A it looks at one namespace only; below Error nothing would fail it.
    analyze = [str(binary), "analyze", "--use-kube=false", "-A", "--failure-threshold=Info", "--color=false"]
    analyze += [word for message in EXPECTED for word in ("-S", message)]
    return [*_said(validate), *_said([*analyze, *listed, str(kubernetes)])]


def _said(command: Sequence[str]) -> list[str]:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if ended.returncode == 0:
        return []
    return [f"istioctl {command[1]} exit code {ended.returncode}:", *(ended.stdout + ended.stderr).splitlines()]
