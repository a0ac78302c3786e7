"""Which certificates a CRL speaks for: its distribution point, and those of a certificate. Pure.

A CA may cut its CRL into parts, one for each distribution point (RFC 5280, 5.2.5). A part proves a
certificate good only where the certificate itself names that point (6.3.3). Names are compared as text:
a directory name as in RFC 4514, a URI as it is.
"""

from __future__ import annotations

from cryptography import x509

from jpki.certificate import find_extension
from jpki.errors import UnsupportedCrl


def scope_of_crl(point: x509.IssuingDistributionPoint) -> str | None:
    """Return the one distribution point a CRL covers; None where it covers all users' certificates.

    Raises ``UnsupportedCrl`` for an indirect CRL, one of other certificates than users', one of some
    reasons alone, and one whose point has another kind of name or several.
    """
    if point.indirect_crl:
        raise UnsupportedCrl("an indirect CRL")
    if point.only_contains_ca_certs or point.only_contains_attribute_certs:
        raise UnsupportedCrl("a CRL of other certificates than users'")
    if point.only_some_reasons is not None:
        raise UnsupportedCrl("a CRL of some reasons alone")
    if point.relative_name is not None:
        raise UnsupportedCrl("a CRL of a distribution point with a relative name")
    if point.full_name is None:
        return None
    names = [_text(name) for name in point.full_name]
    if len(names) != 1 or not names[0]:
        raise UnsupportedCrl("a CRL of a distribution point without one directory name or URI")
    return names[0]


def distribution_points_of(certificate: x509.Certificate) -> frozenset[str]:
    """Return the points at which *certificate*'s own CA lists it, for whatever reason."""
    points = find_extension(certificate.extensions, x509.CRLDistributionPoints) or ()
    return frozenset(
        text
        for point in points
        if point.reasons is None and point.crl_issuer is None
        for text in map(_text, point.full_name or ())
        if text
    )


def _text(name: x509.GeneralName) -> str | None:
    match name:
        case x509.DirectoryName():
            return name.value.rfc4514_string()
        case x509.UniformResourceIdentifier():
            return name.value
    return None
