"""Whose certificates a client trusts: those of ``SSL_CERT_FILE``, else the usual ones."""

from __future__ import annotations

import os
import ssl

import httpx

from pawl.errors import PawlError


def trusted(url: str) -> ssl.SSLContext | bool:
    """For httpx's ``verify``; also with ``trust_env=False``, which leaves ``SSL_CERT_FILE`` out.
    False where the address is http, which needs none, and reading them takes time.

    Raises:
        PawlError: ``SSL_CERT_FILE`` names no file of certificates.
    """
    if url.lower().startswith("http:"):
        return False
    try:
        return httpx.create_ssl_context()
    except OSError as err:  # also ssl.SSLError
        if not (path := os.environ.get("SSL_CERT_FILE")):
            raise
        raise PawlError(
            f"SSL_CERT_FILE={path} can't be read",
            err.strerror or str(err),
            "Name a file of certificates (PEM), or unset it",
        ) from err
