"""Fixtures for all tests: pytest takes plugins only from the root."""

pytest_plugins = ["libs.testing.parts"]
