"""The small API for the tests of what the chart allows at it."""

from tests.api.conftest import access, api, certificates, server

__all__ = ["access", "api", "certificates", "server"]
