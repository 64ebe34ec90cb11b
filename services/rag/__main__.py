"""Runs rag: `python -m services.rag`."""

from __future__ import annotations

from libs.rpc.process import run
from services.rag.settings import RagSettings
from services.rag.wiring import rag

if __name__ == "__main__":
    run("rag", RagSettings, rag)
