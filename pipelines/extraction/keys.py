"""TLS keys by which the processes of a cluster recognise each other."""

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from distributed.security import Security

from longvid.errors import ConfigError

CERTIFICATE, KEY = "certificate.pem", "key.pem"
DAYS = 365
"""Days for which keys are valid."""


@dataclass(frozen=True)
class Keys:
    """A self-signed certificate and its private key, each as PEM text or as the path of a file that holds it."""

    certificate: str
    key: str

    def security(self) -> Security:
        """Dask's security settings: every connection is encrypted, and both sides must show this certificate."""
        roles = {f"tls_{role}_cert": self.certificate for role in ("client", "scheduler", "worker")}
        keys = {f"tls_{role}_key": self.key for role in ("client", "scheduler", "worker")}
        return Security(require_encryption=True, tls_ca_file=self.certificate, **roles, **keys)

    def read(self) -> "Keys":
        """The same as text, for a machine that does not see the files."""
        return Keys(Path(self.certificate).read_text("ascii"), Path(self.key).read_text("ascii"))


def temporary_keys() -> Keys:
    """New keys, in memory only."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "longvid cluster")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of a cluster differ
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Keys(certificate.public_bytes(serialization.Encoding.PEM).decode(), secret.decode())


def make_keys(folder: Path) -> Keys:
    """New keys as files in `folder` that only their owner can read. Raises `ConfigError` if it holds keys already."""
    folder = folder.absolute()
    for name in (CERTIFICATE, KEY):
        if (folder / name).exists():
            raise ConfigError(f"{folder / name}: there are keys already; use them, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    made = temporary_keys()
    for name, text in ((CERTIFICATE, made.certificate), (KEY, made.key)):
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
    return Keys(str(folder / CERTIFICATE), str(folder / KEY))


def read_keys(folder: Path) -> Keys:
    """The keys in a folder of `make_keys`. Raises `ConfigError` if they are absent, readable by others or expired."""
    folder = folder.absolute()
    keys = Keys(str(folder / CERTIFICATE), str(folder / KEY))
    for path in (Path(keys.certificate), Path(keys.key)):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; make the keys with `longvid cluster-keys {folder}`")
    if os.name == "posix" and stat.S_IMODE(Path(keys.key).stat().st_mode) & 0o077:
        raise ConfigError(f"{keys.key}: others can read this private key; `chmod 600 {keys.key}`, or make new keys")
    _refuse_unusable(keys)
    return keys


def _refuse_unusable(keys: Keys) -> None:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(Path(keys.certificate).read_bytes())
    except ValueError:
        raise ConfigError(
            f"{keys.certificate}: is not a certificate; make keys in another folder with `longvid cluster-keys`"
        ) from None
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise ConfigError(
            f"{keys.certificate}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}; make keys in another "
            "folder with `longvid cluster-keys`, and start scheduler and workers with those"
        )
