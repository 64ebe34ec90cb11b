"""Cases that istiod takes and the local translator refuses, each with the reason. No other may be refused."""

from __future__ import annotations

from collections.abc import Mapping

_NO_ADDRESSES = "all callers of a laptop are on one machine: an address tells nobody from anybody"
_NO_TOKENS = "tokens are the gateway's own to look at (libs/auth), so no proxy knows claims"
_NOT_ENFORCED = "what is only noted would be told to nobody here"
_NOT_NEEDED = "nothing here needs it yet; it is refused rather than half done"
_MISTAKE = "istiod takes it and does what its author hardly meant"
_UNCLEAR = "of two objects of a cluster the older counts, and files do not tell which that is"
_KUBERNETES = "a cluster would not take it: istiod, which is given files, passes over it"

REFUSALS: Mapping[str, str] = {
    "allow-from-empty": _MISTAKE,
    "allow-hosts": "services are dialled here by an address of their own, not by their names",
    "allow-ip-blocks": _NO_ADDRESSES,
    "allow-namespaces-unknown": _MISTAKE,
    "allow-path-star-inside": _MISTAKE,
    "allow-paths-template": _NOT_NEEDED,
    "allow-principals-spiffe": _MISTAKE,
    "allow-remote-ip-blocks": _NO_ADDRESSES,
    "allow-request-principals": _NO_TOKENS,
    "allow-rules-empty": "looks like `rules: [{}]`, and is its opposite; `spec: {}` says the same plainly",
    "allow-service-accounts": "`principals` says the same, and more",
    "allow-when-claim": _NO_TOKENS,
    "allow-when-destination": _NO_ADDRESSES,
    "allow-when-source": _NO_ADDRESSES,
    "allow-without-spec": "looks unfinished; `spec: {}` says the same plainly",
    "audit": _NOT_ENFORCED,
    "balancer-consistent-hash": _NOT_NEEDED,
    "balancer-least-conn": "is the old name of LEAST_REQUEST",
    "balancer-passthrough": "goes to the address that was dialled, which is none of a replica here",
    "behind-catch-all": _MISTAKE,
    "custom": "there is nobody to ask",
    "delegate-match-conflict": _MISTAKE,
    "delegate-missing": _MISTAKE,
    "destination-rule-elsewhere": _MISTAKE,
    "destination-rule-wildcard": _NOT_NEEDED,
    "destination-rule-workload-selector": _NOT_NEEDED,
    "dry-run": _NOT_ENFORCED,
    "envoy-filter-cluster": "only the edge's HTTP filters are patched",
    "fault-without-percentage": _MISTAKE,
    "field-unknown": "istiod, which is given files, passes over what it does not know; a cluster does not take it",
    "gateway-hosts": "a laptop has no name of its own",
    "gateway-mutual": "callers prove themselves by tokens",
    "gateway-redirect": "a laptop's edge listens on one port",
    "host-unknown": _MISTAKE,
    "kind-wrong": _KUBERNETES,
    "locality-distribute": _NOT_NEEDED,
    "locality-failover-priority": _NOT_NEEDED,
    "match-header-upper-case": _MISTAKE,
    "match-port-unknown": _MISTAKE,
    "match-source-namespace-unknown": _MISTAKE,
    "match-authority": "services are dialled here by an address of their own, not by their names",
    "mirror": "a call that is charged would be charged twice",
    "mtls-two": _UNCLEAR,
    "policy-elsewhere": _MISTAKE,
    "policy-target-refs": "there are no waypoints",
    "pool-http-upgrade": "all calls are HTTP/2 as it is",
    "pool-tcp-more": _NOT_NEEDED,
    "proxy-protocol": _NOT_NEEDED,
    "redirect": _NOT_NEEDED,
    "request-authentication": _NO_TOKENS,
    "retries-per-try-over-timeout": _MISTAKE,
    "selector-without-pods": _MISTAKE,
    "service-entry": "what is outside is dialled as it is",
    "sidecar": "proxies here know what their services dial, and nothing else",
    "subset-unknown": _MISTAKE,
    "subset-without-pods": _MISTAKE,
    "tcp-routes": "all calls are gRPC",
    "telemetry": "the stack sets up what is told of calls",
    "tls-disable-against-strict": _MISTAKE,
    "tls-names": "a service is known by its own identities",
    "tls-simple": "there is no other authority",
    "two-destination-rules": _UNCLEAR,
    "two-virtual-services": _UNCLEAR,
    "version-of-old": "each kind is read in one version",
    "version-wrong": _KUBERNETES,
    "warmup-duration-secs": "is the old name of warmup.duration",
    "weights-of-110": _MISTAKE,
    "workload-entry": "replicas are the stack's",
}
