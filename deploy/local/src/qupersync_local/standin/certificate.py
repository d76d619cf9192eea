"""A self-signed certificate for the stand-in, made by the `openssl` program in a directory of ours."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

from qupersync_local.supervise import StackError


async def make_certificate(directory: Path) -> Path:
    """Write `certificate.pem` and `key.pem` for localhost; returns the certificate, which clients are to trust."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise StackError("TLS for the stand-in needs the openssl program: install it, or start without TLS")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    process = await asyncio.create_subprocess_exec(
        openssl,
        *("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "30"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(certificate)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise StackError(f"openssl made no certificate: {errors.decode(errors='replace')[-500:]}")
    key.chmod(0o600)
    return certificate


def server_context(certificate: Path) -> ssl.SSLContext:
    """The server's side of TLS with a certificate of `make_certificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context
