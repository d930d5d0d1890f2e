"""A certificate authority and what it signs, made by openssl in a moment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificates(NamedTuple):
    authority: Path
    certificate: Path
    key: Path


def why_not() -> str:
    return "" if shutil.which("openssl") else "openssl is not installed (apt-get install openssl)"


def make(folder: Path, *, names: str = "IP:127.0.0.1,DNS:localhost") -> Certificates:
    folder.mkdir(parents=True, exist_ok=True)
    authority, key, made = folder / "ca.crt", folder / "server.key", folder / "server.crt"
    _openssl(
        folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test-ca"
    )
    _openssl(
        folder, "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj /CN=kube-apiserver"
    )
    (folder / "san").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
    _openssl(folder, "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt")
    return Certificates(authority, made, key)


def _openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
