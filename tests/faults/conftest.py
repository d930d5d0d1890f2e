"""Certificates for the API that some faults are about."""

from tests.api.conftest import certificates

__all__ = ["certificates"]
