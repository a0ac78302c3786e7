"""BER instead of DER: every form that can be made, at every place of a certificate, signed by the CA.

The altered certificates are signed anew by the CA's own key, so that nothing but their encoding can
be what is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from jpki.certificate import UserAuthenticationCertificate
from jpki.errors import MalformedCertificate, WrongCertificatePolicy
from jpki.simulator.pki import Authority, CardProfile
from jpki.trust import AuthorityCertificate
from jpki.verify import verify_certificate

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OBJECT_IDENTIFIER = range(1, 7)
UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x17, 0x18, 0x30, 0x31
STRINGS = frozenset({BIT_STRING, OCTET_STRING, 0x0C, 0x13, 0x16, UTC_TIME, GENERALIZED_TIME})
CONSTRUCTED, CONTEXT_SPECIFIC, CLASS = 0x20, 0x80, 0xC0


@dataclass(eq=False)
class Node:
    """One element; extension values are read as what they hold."""

    tag: int
    content: bytes
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()


def parse(data: bytes) -> list[Node]:
    nodes: list[Node] = []
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length >= 0x80:
            octets = length & 0x7F
            length, at = int.from_bytes(data[at : at + octets], "big"), at + octets
        content, at = data[at : at + length], at + length
        is_extension_value = tag == OCTET_STRING and bool(nodes) and nodes[0].tag == OBJECT_IDENTIFIER
        within = parse(content) if tag & CONSTRUCTED or is_extension_value else []
        nodes.append(Node(tag, content, within))
    return nodes


def length_octets(length: int) -> bytes:
    if length < 0x80:
        return bytes((length,))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def element(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + length_octets(len(content)) + content


Form = Callable[[Node, bytes], bytes | None]
"""Encodes a node with this content in a way of BER that is not DER; None where the form does not fit."""


def encode(node: Node, altered: Node | None = None, form: Form | None = None) -> bytes:
    content = b"".join(encode(child, altered, form) for child in node.children) or node.content
    if node is altered:
        return form(node, content) or element(node.tag, content)
    return element(node.tag, content)


def length_of_one_octet_more(node: Node, content: bytes) -> bytes:
    octets = max(len(length_octets(len(content))) - 1, 0) + 1
    return bytes((node.tag, 0x80 | octets)) + len(content).to_bytes(octets, "big") + content


def indefinite_length(node: Node, content: bytes) -> bytes | None:
    return bytes((node.tag, 0x80)) + content + bytes(2) if node.tag & CONSTRUCTED else None


def tag_of_two_octets(node: Node, content: bytes) -> bytes:
    return bytes((node.tag | 0x1F, node.tag & 0x1F)) + length_octets(len(content)) + content


def constructed_string(node: Node, content: bytes) -> bytes | None:
    if node.tag in STRINGS:
        return element(node.tag | CONSTRUCTED, element(node.tag, content))
    if node.tag & (CLASS | CONSTRUCTED) == CONTEXT_SPECIFIC:
        return element(node.tag | CONSTRUCTED, element(OCTET_STRING, content))
    return None


def primitive_sequence(node: Node, content: bytes) -> bytes | None:
    return element(node.tag & ~CONSTRUCTED, content) if node.tag in (SEQUENCE, SET) else None


def element_too_many(node: Node, content: bytes) -> bytes | None:
    return element(node.tag, content + element(NULL, b"")) if node.tag & CONSTRUCTED else None


def boolean_of_one(node: Node, _: bytes) -> bytes | None:
    return element(BOOLEAN, b"\x01") if node.tag == BOOLEAN else None


def default_spelt_out(node: Node, content: bytes) -> bytes | None:
    """``critical FALSE`` in an extension that has no such field (X.690, 11.5)."""
    if [child.tag for child in node.children] != [OBJECT_IDENTIFIER, OCTET_STRING]:
        return None
    name = encode(node.children[0])
    return element(SEQUENCE, name + element(BOOLEAN, b"\x00") + content[len(name) :])


def integer_with_a_useless_octet(node: Node, content: bytes) -> bytes | None:
    return element(INTEGER, b"\x00" + content) if node.tag == INTEGER and content[0] < 0x80 else None


def null_with_content(node: Node, _: bytes) -> bytes | None:
    return element(NULL, b"\x00") if node.tag == NULL else None


def identifier_with_a_useless_octet(node: Node, content: bytes) -> bytes | None:
    return (
        element(OBJECT_IDENTIFIER, content[:1] + b"\x80" + content[1:])
        if node.tag == OBJECT_IDENTIFIER
        else None
    )


def eight_unused_bits(node: Node, content: bytes) -> bytes | None:
    return element(BIT_STRING, b"\x08" + content[1:]) if node.tag == BIT_STRING else None


def unused_bit_set(node: Node, content: bytes) -> bytes | None:
    return element(BIT_STRING, content[:-1] + bytes((content[-1] | 1,))) if _is_named_bits(node) else None


def zero_bits_at_the_end(node: Node, content: bytes) -> bytes | None:
    return element(BIT_STRING, b"\x00" + content[1:]) if _is_named_bits(node) else None


def zero_octet_at_the_end(node: Node, content: bytes) -> bytes | None:
    return element(BIT_STRING, content + b"\x00") if _is_named_bits(node) else None


def set_in_the_wrong_order(node: Node, content: bytes) -> bytes | None:
    if node.tag != SET:
        return None
    another = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another")]).rdns[0]
    (added,) = parse(x509.Name([another]).public_bytes())[0].children[0].children
    return element(SET, b"".join(sorted((content, encode(added)), reverse=True)))


def time_without_seconds(node: Node, content: bytes) -> bytes | None:
    return element(UTC_TIME, content[:10] + b"Z") if node.tag == UTC_TIME else None


def time_with_an_offset(node: Node, content: bytes) -> bytes | None:
    return element(UTC_TIME, content[:12] + b"+0000") if node.tag == UTC_TIME else None


def time_with_a_fraction(node: Node, content: bytes) -> bytes | None:
    return element(GENERALIZED_TIME, b"20" + content[:12] + b".0Z") if node.tag == UTC_TIME else None


def _is_named_bits(node: Node) -> bool:
    """Whether it is a key usage: keys and signatures are BIT STRINGs without unused bits."""
    return node.tag == BIT_STRING and node.content[0] > 0


FORMS: tuple[Form, ...] = (
    length_of_one_octet_more,
    indefinite_length,
    tag_of_two_octets,
    constructed_string,
    primitive_sequence,
    element_too_many,
    boolean_of_one,
    default_spelt_out,
    integer_with_a_useless_octet,
    null_with_content,
    identifier_with_a_useless_octet,
    eight_unused_bits,
    unused_bit_set,
    zero_bits_at_the_end,
    zero_octet_at_the_end,
    set_in_the_wrong_order,
    time_without_seconds,
    time_with_an_offset,
    time_with_a_fraction,
)


def altered_certificates(der: bytes, form: Form, sign: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """Yield the certificate with one element in this form, for each element that it fits."""
    (root,) = parse(der)
    assert encode(root) == der
    tbs_certificate, algorithm, signature = root.children
    for node in root.walk():
        if encode(root, node, form) == der:
            continue
        to_be_signed = encode(tbs_certificate, node, form)
        is_signed = any(node is within for within in tbs_certificate.walk())
        signed = Node(BIT_STRING, b"\x00" + sign(to_be_signed)) if is_signed else signature
        content = to_be_signed + encode(algorithm, node, form) + encode(signed, node, form)
        yield (form(root, content) if node is root else None) or element(SEQUENCE, content)


@pytest.fixture(scope="module")
def sign(pki) -> Callable[[bytes], bytes]:
    key = pki.keys.authorities[Authority.AUTHENTICATION_2]
    return lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())


@pytest.fixture(scope="module")
def rich_certificate(pki, now) -> bytes:
    """A card's certificate with more in it than a card's has, so that there is more to encode wrongly."""
    der = pki.issue_card(CardProfile.OTHER_EXTENDED_KEY_USAGE).certificate_der
    card = x509.load_der_x509_certificate(der)
    name = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.invalid")]))
    notice = x509.UserNotice(x509.NoticeReference("organization", [1, 2]), "text")
    (policy,) = card.extensions.get_extension_for_class(x509.CertificatePolicies).value
    added: list[x509.ExtensionType] = [
        x509.BasicConstraints(ca=False, path_length=None),
        x509.SubjectAlternativeName(
            [name, x509.DNSName("a.invalid"), x509.RegisteredID(policy.policy_identifier)]
        ),
        x509.CertificatePolicies(
            [x509.PolicyInformation(policy.policy_identifier, ["http://a.invalid", notice])]
        ),
    ]
    builder = x509.CertificateBuilder(
        card.issuer, card.subject, card.public_key(), card.serial_number, now, now + timedelta(days=1)
    )
    for value in (*(e.value for e in card.extensions if e.oid != added[-1].oid), *added):
        builder = builder.add_extension(value, isinstance(value, x509.KeyUsage))
    certificate = builder.sign(pki.keys.authorities[Authority.AUTHENTICATION_2], hashes.SHA256())
    return certificate.public_bytes(Encoding.DER)


def test_the_certificate_is_good_before_it_is_altered(rich_certificate, trust_store, policy, now):
    certificate = UserAuthenticationCertificate.from_der(rich_certificate)
    assert verify_certificate(certificate, trust_store, policy, now)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_ber_is_refused_in_every_form_at_every_place(rich_certificate, sign, form):
    altered = list(altered_certificates(rich_certificate, form, sign))
    assert altered
    for der in altered:
        with pytest.raises(MalformedCertificate):
            UserAuthenticationCertificate.from_der(der)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_ber_is_refused_in_a_ca_certificate(pki, sign, form):
    for der in altered_certificates(pki.ca_certificate(Authority.AUTHENTICATION_2), form, sign):
        with pytest.raises(MalformedCertificate):
            AuthorityCertificate.from_bytes(der)


def generalized_time(node: Node, content: bytes) -> bytes | None:
    return element(GENERALIZED_TIME, b"20" + content) if node.tag == UTC_TIME else None


def test_a_date_in_the_form_of_after_2050_is_refused(rich_certificate, sign, trust_store, policy, now):
    """It is DER, but not RFC 5280 (4.1.2.5)."""
    altered = list(altered_certificates(rich_certificate, generalized_time, sign))
    assert len(altered) == 2
    for der in altered:
        certificate = UserAuthenticationCertificate.from_der(der)
        with pytest.raises(WrongCertificatePolicy, match="form of a date"):
            verify_certificate(certificate, trust_store, policy, now)
