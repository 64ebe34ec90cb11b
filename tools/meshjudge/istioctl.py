"""What Istio's own tool finds wrong with the rules."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

EXPECTED: Mapping[tuple[str, str], str] = {
    ("IST0133", "EnvoyFilter weft/transcoding"): "the edge's transcoder has no other API; Envoy's version is pinned",
    ("IST0151", "EnvoyFilter weft/transcoding"): "it is relative to the router, which every HTTP chain ends with",
}
"""Messages that are no mistakes: a code and whose it is, and why. One that does not come is told."""
TIMEOUT_S = 60.0


def istioctl_finds(binary: Path, files: Sequence[Path], kubernetes: Path) -> list[str]:
    """What `validate` says of the files, and `analyze` of them together with the Kubernetes objects of a file; nothing
    where all is well."""
    listed = [str(file) for file in files]
    validated = _run([str(binary), "validate", *(word for file in listed for word in ("-f", file))])
    found = [] if validated.returncode == 0 else (validated.stdout + validated.stderr).splitlines()
    # Without -A it looks at one namespace only.
    analyze = [str(binary), "analyze", "--use-kube=false", "-A", "--output=json"]
    analyzed = _run([*analyze, *listed, str(kubernetes)])
    try:
        messages = json.loads(analyzed.stdout)
    except ValueError:
        return [*found, f"istioctl analyze exit code {analyzed.returncode}: {analyzed.stdout}{analyzed.stderr}"]
    missed = set(EXPECTED)
    for message in messages:
        code, origin = message["code"], message.get("origin", "")
        missed.discard((code, origin))
        if (code, origin) not in EXPECTED:
            found.append(f"istioctl analyze: {message['level']} {code} ({origin}): {message['message']}")
    return found + [f"istioctl analyze no longer says {code} ({origin}), which is expected" for code, origin in missed]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
