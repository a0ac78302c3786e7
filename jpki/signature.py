"""Verifying a signature with the algorithm that belongs to the kind of key. Pure."""

from __future__ import annotations

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from jpki.certificate import PublicKey


def is_signed_by(public_key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether *signature* over *message* was made with the private half of *public_key*.

    RSA: PKCS#1 v1.5 with SHA-256, as long as the modulus. P-384: ECDSA with SHA-384, as a DER
    ``Ecdsa-Sig-Value``. The signer has no say in the choice.
    """
    try:
        if isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            public_key.verify(signature, message, ec.ECDSA(hashes.SHA384()))
    except exceptions.InvalidSignature:
        return False
    return True
