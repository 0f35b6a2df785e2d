"""Forms of private keys, told by their content: functions over bytes, which anybody may have written."""

from __future__ import annotations

import re

# RFC 7468 and OpenSSH's, indented or not; base64 or PEM's old headers have to follow, so that no text
# about keys is taken for one. In JSON the line ends are \n in letters.
_PEM = re.compile(
    rb"^(?:\xef\xbb\xbf)?[ \t]*-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[ \t]*[\r\n]\s*"
    rb"(?:[A-Za-z0-9+/=]{16}|Proc-Type:|Version:|Comment:)"
    rb"|-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----(?:\\r)?\\n[A-Za-z0-9+/=]{16}",
    re.MULTILINE,
)
# What has to be in a text before its pattern is tried, and the pattern.
_TEXTS = (
    (b"PRIVATE KEY-----", _PEM),
    (b"PRIVATE KEY BLOCK", _PEM),
    (
        b"SSH2 ENCRYPTED PRIVATE KEY",
        re.compile(rb"^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", re.MULTILINE),
    ),
    (
        b"OpenVPN",
        re.compile(rb"^[ \t]*-----BEGIN OpenVPN (?:Static key V1|tls-crypt-v2 \w+ key)-----", re.MULTILINE),
    ),
    (b"AGE-SECRET-KEY-1", re.compile(rb"\bAGE-SECRET-KEY-1[0-9A-Z]{20}")),
    (b"PrivateKey", re.compile(rb"^[ \t]*PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{43}=", re.MULTILINE)),
    (b"PresharedKey", re.compile(rb"^[ \t]*PresharedKey[ \t]*=[ \t]*[A-Za-z0-9+/]{43}=", re.MULTILINE)),
    (b"private-key", re.compile(rb"^(?:Key: )?\((?:\d\d:)?(?:protected-)?private-key", re.MULTILINE)),
    (b'"kty"', re.compile(rb'"d"\s{0,9}:\s{0,9}"[A-Za-z0-9_-]{16}')),
)
_STARTS = (
    *(b"PuTTY-User-Key-File-", b"SSH PRIVATE KEY FILE FORMAT 1.1\n", b"== ed25519v1-secret:"),
    *(b"untrusted comment: minisign encrypted secret key", b"untrusted comment: signify secret key"),
)
# JKS and JCEKS: magic, version, number of entries; the first is a key (1), no certificate (2).
_JAVA = re.compile(
    rb"(?:\xfe\xed\xfe\xed|\xce\xce\xce\xce)\x00\x00\x00[\x01\x02].{4}\x00\x00\x00\x01", re.DOTALL
)
_BARE = re.compile(rb"\s*[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\s*\Z")  # what wg genkey prints
_SEQUENCE, _INTEGER, _OCTETS, _OID = 0x30, 0x02, 0x04, 0x06
_PBE = (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05", b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01")  # PKCS #5, #12
_DATA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07"  # PKCS #7
_PGP = {1, 2, 3, 16, 17, 18, 19, 22, 25, 26, 27, 28}  # public key algorithms: RFC 9580, 9.1


def is_key(head: bytes, size: int, name: str = "") -> bool:
    """Return whether a file of ``size`` bytes that starts with ``head`` is, or holds, a private key."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "replace").encode("utf-8", "replace")
    if head.startswith(_STARTS) or any(mark in head and form.search(head) for mark, form in _TEXTS):
        return True
    if "priv" in name.lower() and size <= 64 and _BARE.match(head):
        return True
    if name == "cacerts":  # Java's certificates are in a form for keys
        return False
    return _JAVA.match(head) is not None or is_der(head, size) or is_openpgp(head, size) or is_keytab(head)


def holds_text_key(text: bytes) -> bool:
    """Return whether a text has a private key anywhere in it."""
    return any(mark in text and form.search(text) for mark, form in _TEXTS)


def is_der(head: bytes, size: int) -> bool:
    """Return whether it is a key in DER: PKCS #1 and DSA, RFC 5915 (EC), PKCS #8 plain or encrypted, PKCS #12."""
    top = _element(head, 0)
    if top is None or top[0] != _SEQUENCE or (top[2] >= 0 and top[1] + top[2] > size):
        return False
    first = _element(head, top[1])
    if first is None or first[2] < 0:
        return False
    tag, at, length = first
    second = _element(head, at + length)
    if second is None:
        return False
    if tag == _SEQUENCE:
        oid = _element(head, at)
        known = oid is not None and oid[0] == _OID and head[oid[1] :].startswith(_PBE)
        return known and second[0] == _OCTETS
    if tag != _INTEGER or length != 1:
        return False
    version, (kind, inside, long) = head[at], second
    if kind == _INTEGER:
        return version <= 1 and long >= 32
    if kind == _OCTETS:
        return version == 1 and 16 <= long <= 80
    oid = _element(head, inside) if kind == _SEQUENCE else None
    if oid is None or oid[0] != _OID:
        return False
    if version == 3:
        return head[oid[1] :].startswith(_DATA)
    third = _element(head, inside + long)
    return version <= 1 and third is not None and third[0] == _OCTETS


def _element(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Return (tag, where the content starts, its length) of a DER element; length -1: indefinite, of BER."""
    if at < 0 or at + 2 > len(data):
        return None
    tag, length, at = data[at], data[at + 1], at + 2
    if length == 0x80:
        return tag, at, -1
    if length > 0x80:
        count = length - 0x80
        if count > 4 or at + count > len(data):
            return None
        length, at = int.from_bytes(data[at : at + count], "big"), at + count
    return tag, at, length


def is_openpgp(head: bytes, size: int) -> bool:
    """Return whether it starts with a secret key packet (tag 5 or 7) of OpenPGP: RFC 9580."""
    if len(head) < 16:
        return False
    first = head[0]
    if first in (0x94, 0x95, 0x96, 0x9C, 0x9D, 0x9E):
        octets = 1 << (first & 3)
        length = int.from_bytes(head[1 : 1 + octets], "big")
    elif first in (0xC5, 0xC7):
        octets = 1 if head[1] < 192 else 2 if head[1] < 224 else 5
        value = int.from_bytes(head[2:6], "big")
        length = (head[1], (head[1] - 192 << 8) + head[2] + 192, value)[(octets > 1) + (octets > 2)]
    else:
        return False
    body = head[1 + octets :]
    return 24 <= length <= size and body[0] in (3, 4, 5, 6) and body[7 if body[0] == 3 else 5] in _PGP


def is_keytab(head: bytes) -> bool:
    """Return whether it is a Kerberos keytab: 5, 2, and an entry whose parts have a plausible number."""
    if len(head) < 16 or not head.startswith(b"\x05\x02"):
        return False
    length, parts = int.from_bytes(head[2:6], "big"), int.from_bytes(head[6:8], "big")
    realm = int.from_bytes(head[8:10], "big")
    return 16 <= length < 4096 and 1 <= parts <= 8 and 1 <= realm < 256
