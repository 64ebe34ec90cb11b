"""The keys under which the ledger is kept in Redis."""

from __future__ import annotations

from urllib.parse import quote

TENANTS = "weft:ledger:tenants"
"""Every tenant that ever had a call admitted. Outside of the tenants' own keys, and only ever added to."""


SWEEPING = "weft:ledger:sweeping"
"""There while the tenants have been swept; it expires when they are to be swept again."""


class LedgerKeys:
    """One tenant's keys. They share a hash tag, so that in a Redis Cluster scripts over several of them stay on one
    node. Days are YYYYMMDD, months YYYYMM, both in UTC by Redis' clock."""

    def __init__(self, tenant: str) -> None:
        self.prefix = f"weft:ledger:{{{quote(tenant, safe='')}}}"
        self.leases = f"{self.prefix}:leases"
        """Sorted set: ids of the calls that have a reservation, by when their lease ends (Unix milliseconds)."""
        self.records = f"{self.prefix}:records"
        """Stream: one entry an execution, as it was charged."""
        self.periods = f"{self.prefix}:periods"
        """Sorted set: the keys of sums (without the prefix), by when they are taken away (Unix seconds)."""
        self.current_prices = f"{self.prefix}:prices"
        """The version of the prices by which calls are admitted now."""
        self.generation = f"{self.prefix}:generation"
        """Which generation of the usage sums is read and written; a rebuild makes the next one. Missing: 0."""

        self.kept_bytes = f"{self.prefix}:kept"
        """How many bytes of answers were kept lately."""

    def rate(self, scope: str, window_s: int) -> str:
        """Calls of the last `window_s` seconds in a scope: "tenant", "key/ID" or "group/NAME"."""
        return f"{self.prefix}:rate:{window_s}:{scope}"

    def budget(self, period: str) -> str:
        """Hash of a day's or a month's budgets: fields "SCOPE:UNIT:used" and "SCOPE:UNIT:reserved"; scopes are "tenant"
        and "key/ID", units "tokens" and "money" (nanos)."""
        return f"{self.prefix}:budget:{period}"

    def call(self, call_id: str) -> str:
        """Hash: a call's reservation and what was recorded under it; its fields are told in `lua/account.lua`."""
        return f"{self.prefix}:call:{call_id}"

    def prices(self, version: str) -> str:
        """Hash: prices of a version of the settings: "INPUT:OUTPUT" (nanos a token) by model, "*" for all others."""
        return f"{self.prefix}:prices:{version}"

    def usage(self, generation: int, day: str) -> str:
        """Hash of a day's usage: fields "KEY|MODEL|METHOD|WHAT", each of the first three URL-quoted, WHAT one of
        executions, input_tokens, output_tokens, cost_nanos."""
        return f"{self.prefix}:usage:{generation}:{day}"

    def answer(self, name: str) -> str:
        """Hash: a kept answer; `name` is the digest of method and request."""
        return f"{self.prefix}:answer:{name}"

    def flight(self, name: str) -> str:
        """The id of the call that is making this answer now."""
        return f"{self.prefix}:flight:{name}"
