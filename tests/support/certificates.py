"""Certificates of an authority that lives as long as the test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM files of one certificate: the chain, its key, and both in one file as Kafka's keystore has them."""

    chain: Path
    key: Path
    both: Path


class Authority:
    """An authority with its certificate in ``ca_file``; ``server`` is for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))
        self.server = self._written("server", self._ca.issue_cert("127.0.0.1", "localhost", "::1"))

    def client(self, name: str, *, organization: str | None = None, unit: str | None = None) -> Identity:
        """A certificate that a client shows; ``name`` is its common name."""
        issued = self._ca.issue_cert(
            f"{name}@example.org", common_name=name, organization_name=organization, organization_unit_name=unit
        )
        return self._written(name, issued)

    def _written(self, name: str, issued: trustme.LeafCert) -> Identity:
        chain, key, both = (self._folder / f"{name}.{part}.pem" for part in ("chain", "key", "both"))
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        issued.private_key_and_cert_chain_pem.write_to_path(str(both))
        return Identity(chain, key, both)
