"""The small API for the tests of what talks to it."""

from tests.api.conftest import access, api, certificates, server

__all__ = ["access", "api", "certificates", "server"]
