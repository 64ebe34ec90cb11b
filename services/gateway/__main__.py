"""Runs the gateway: `python -m services.gateway`."""

from __future__ import annotations

from libs.rpc.process import run
from services.gateway.settings import GatewaySettings
from services.gateway.wiring import gateway

if __name__ == "__main__":
    run("gateway", GatewaySettings, gateway)
