"""The names of all headers (gRPC metadata keys) that Weft reads or writes. A name stands nowhere else."""

AUTHORIZATION = "authorization"
"""The caller's token, `Bearer ...`. Ends at the gateway."""

REQUEST_ID = "x-request-id"
"""The caller's own id of a request; made by the gateway where there is none. On every answer."""

PRIORITY = "x-weft-priority"
"""What the caller wishes: one of PRIORITIES."""

PRIORITIES = ("low", "normal", "high")
"""Who waits for whom, least urgent first."""

CALL_PRIORITY = "priority"
"""On calls between services: the priority that the gateway gave the call, one of PRIORITIES. For those who pass calls
on and cannot read the signed context: the mesh chooses replicas by it."""

MAX_TOKENS = "x-weft-max-tokens"
"""Most tokens that the call may write, 1 to MAX_TOKENS_LIMIT."""

MAX_TOKENS_LIMIT = 1_000_000

CACHE_CONTROL = "cache-control"
"""What the caller says of cached answers (RFC 9111)."""

CONTEXT = "weft-context-bin"
"""The signed context, from the gateway to the inner services and between them."""

RATE_LIMIT = "ratelimit-limit"
"""On an answer: most calls of the limit that is nearest (draft-ietf-httpapi-ratelimit-headers-07)."""

RATE_REMAINING = "ratelimit-remaining"
"""On an answer: how many calls are left of it."""

RATE_RESET = "ratelimit-reset"
"""On an answer: seconds until it counts one call less."""

CACHE = "x-weft-cache"
"""On an answer of a cacheable method: `hit`, `miss`, `bypass`, or `stale` where the service could not be asked."""

AGE = "age"
"""On a kept answer: how many seconds ago it was made (RFC 9111)."""

ADMISSION_US = "x-weft-admission-us"
"""On an answer: microseconds that the gateway took to admit the call."""

DEPENDS = "weft-depends"
"""From a service to the gateway, in the trailing metadata of a good answer that may be kept: what it was made of, as
read before the work, such as `collection/guides=17 model/embed=1`. Without it an answer is not kept."""

USED = "weft-used"
"""From a service to its caller, in trailing metadata: tokens that the call used of what it was lent. Missing while the
ledger was not told of all of them."""

TRACE_PARENT = "traceparent"
"""W3C Trace Context."""

TRACE_STATE = "tracestate"
"""W3C Trace Context, vendors' part."""

TRACE_HEADERS = frozenset({TRACE_PARENT, TRACE_STATE})
"""W3C Trace Context, all of it."""

TRITON_GRPC_ERROR = "triton_grpc_error"
"""`true`: Triton ends a stream with a failure's status, where it else puts its words into a message (Triton's own)."""

TO_INFERENCE_SERVER = TRACE_HEADERS | {TRITON_GRPC_ERROR}
"""What of a caller's headers goes on to the inference server."""

STATUS_DETAILS = "grpc-status-details-bin"
"""The google.rpc.Status of a failed call, in trailing metadata (gRPC's own)."""

RETRY_PUSHBACK = "grpc-retry-pushback-ms"
"""How long a retrying gRPC client waits before its next attempt, in trailing metadata (gRPC's own, gRFC A6)."""
