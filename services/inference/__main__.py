"""Runs the inference service: `python -m services.inference`."""

from __future__ import annotations

from libs.rpc.process import run
from services.inference.settings import InferenceSettings
from services.inference.wiring import inference

if __name__ == "__main__":
    run("inference", InferenceSettings, inference)
