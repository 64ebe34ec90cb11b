"""What the real istiod says of rules."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.localmesh.pods import Pod
from tools.localmesh.workloads import Registry
from tools.meshjudge.istiod import istiod
from tools.meshjudge.kube_objects import kube_objects
from tools.meshjudge.meaning.proxy import Meaning, router_meaning, sidecar_meaning
from tools.meshjudge.meaning.transport import AUTHORITIES, GATEWAYS, OWN, with_secrets
from tools.meshjudge.proxies import Proxies
from tools.meshjudge.summary import Parts, parts_of

SECRETS = {"default": OWN, "ROOTCA": AUTHORITIES, "kubernetes://weft-edge": GATEWAYS}
"""What Istio calls them: the first two are every proxy's, the last is what mesh/edge.yaml names."""


def ask_istiod(binary: Path, client: Proxies, registry: Registry, pods: Sequence[Pod], files: Sequence[Path]) -> Parts:
    """What the rules of the files mean to each proxy of the pods. Raises Refused where istiod does not take them."""
    names = {pod.ip: pod.name for pod in pods}
    in_mesh = [pod for pod in pods if pod.workload.in_mesh]
    with (
        tempfile.TemporaryDirectory(prefix="meshjudge-") as folder,
        istiod(binary, kube_objects(registry, pods), files, Path(folder)) as address,
    ):
        given = client.ask(address, in_mesh)
    meanings: dict[str, Meaning] = {}
    for pod, configuration in zip(in_mesh, given, strict=True):
        dials = [(service.host, port.number) for service, port in registry.dialled_by(pod.workload)]
        meanings[pod.name] = (
            sidecar_meaning(configuration, dials, names) if pod.app else router_meaning(configuration, names)
        )
    return parts_of({name: with_secrets(meaning, SECRETS) for name, meaning in meanings.items()})
