"""nginx and Caddy with the files of deploy/, but for addresses and certificate, before a server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.serve.live import eventually

DEPLOY = REPOSITORY / "deploy"
PROXIES = ("nginx", "caddy")
ROOT = "/pawl"  # where both files put Pawl


def program(name: str) -> str:
    """Where a proxy's program is; skips, loudly, where it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: deploy/{name} was NOT TESTED. Debian has it")
    return found


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    address = ip_address("127.0.0.1")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ))  # fmt: skip
    return paths


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with each key, which must be there, as its value."""
    for old, new in changes.items():
        assert old in text, f"{old!r} does not stand in the file"
        text = text.replace(old, new)
    return text


def nginx_command(folder: Path, target: str, port: int) -> list[str]:
    certificate, key = make_certificate(folder)
    site = folder / "pawl.conf"
    site.write_text(replaced((DEPLOY / "nginx/pawl.conf").read_text(encoding="utf-8"), {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;", "listen [::]:443 ssl;": "",
        "127.0.0.1:8000": target,
        "/etc/ssl/pawl/fullchain.pem": str(certificate), "/etc/ssl/pawl/privkey.pem": str(key),
    }))  # fmt: skip
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = folder / "nginx.conf"
    whole.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;"
        f" events {{ }} http {{ access_log off; {places} include {site}; }}\n"
    )
    return [program("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(whole)]


def caddy_command(folder: Path, target: str, port: int) -> list[str]:
    certificate, key = make_certificate(folder)
    path = folder / "Caddyfile"
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    path.write_text(options + replaced((DEPLOY / "caddy/Caddyfile").read_text(encoding="utf-8"), {
        "chat.example.org {": f"https://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n"
        f"\ttls {certificate} {key}",
        "127.0.0.1:8000": target,
    }))  # fmt: skip
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(path)]


@contextmanager
def before(name: str, url: str, folder: Path, port: int) -> Iterator[str]:
    """Run a proxy before the server at ``url``; the address of Pawl behind it, with https."""
    folder.mkdir()
    make = {"nginx": nginx_command, "caddy": caddy_command}[name]
    command = make(folder, url.removeprefix("http://"), port)
    own = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    log_path = folder / "log"
    with (
        log_path.open("wb") as log,
        subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log) as child,
    ):
        try:
            public = f"https://127.0.0.1:{port}{ROOT}"
            eventually(lambda: _answers(public) or child.poll() is not None, f"{name} answers", 20)
            assert child.poll() is None, log_path.read_text()
            yield public
        finally:
            child.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", verify=False).status_code == 200
    except httpx.TransportError:
        return False
