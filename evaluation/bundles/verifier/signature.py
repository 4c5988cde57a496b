"""The signature of a bundle: a Sigstore bundle of an elliptic-curve key, as the package ``model-signing`` writes it.

A DSSE envelope with an in-toto statement that lists the signed file with its SHA-256. ECDSA as in FIPS 186-5, 6.4.2;
nothing here is secret, so the time that a computation takes does not matter.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

Point = tuple[int, int] | None


@dataclass(frozen=True)
class Curve:
    """y^2 = x^3 - 3x + b modulo p, with the base point g of order n (FIPS 186-5)."""

    p: int
    b: int
    n: int
    g: tuple[int, int]
    hash_name: str

    def add(self, one: Point, other: Point) -> Point:
        """The sum of two points; None is the point at infinity."""
        if one is None or other is None:
            return one or other
        if one[0] == other[0]:
            if (one[1] + other[1]) % self.p == 0:
                return None
            slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, self.p)
        else:
            slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, self.p)
        x = (slope * slope - one[0] - other[0]) % self.p
        return x, (slope * (one[0] - x) - one[1]) % self.p

    def times(self, factor: int, point: Point) -> Point:
        """A multiple of a point."""
        found: Point = None
        while factor:
            if factor & 1:
                found = self.add(found, point)
            point, factor = self.add(point, point), factor >> 1
        return found

    def holds(self, point: tuple[int, int]) -> bool:
        """Whether a point is on the curve."""
        x, y = point
        return 0 <= x < self.p and 0 <= y < self.p and (y * y - x * x * x + 3 * x - self.b) % self.p == 0


P256 = Curve(
    p=2**256 - 2**224 + 2**192 + 2**96 - 1,
    b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    n=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    g=(
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    hash_name="sha256",
)
P384 = Curve(
    p=2**384 - 2**128 - 2**96 + 2**32 - 1,
    b=0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    n=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    g=(
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
    hash_name="sha384",
)
#: the object identifiers of the curves, as DER
_CURVES = {bytes.fromhex("2a8648ce3d030107"): P256, bytes.fromhex("2b81040022"): P384}


class SignatureError(Exception):
    """A signature that is not valid; the message is a sentence."""


def public_key(pem: str) -> tuple[Curve, tuple[int, int]]:
    """Curve and point of a public key in PEM (``BEGIN PUBLIC KEY``).

    Raises:
        SignatureError: it is none, or of another kind.
    """
    try:
        body = "".join(line for line in pem.splitlines() if line and not line.startswith("-----"))
        (_, outer), _ = _der(base64.b64decode(body, validate=True))
        (_, algorithm), rest = _der(outer)
        _, parameters = _der(algorithm)
        (_, curve_name), _ = _der(parameters)
        (_, bits), _ = _der(rest)
        curve, point = _CURVES[curve_name], bits[1:]
        size = (curve.p.bit_length() + 7) // 8
        found = int.from_bytes(point[1 : size + 1], "big"), int.from_bytes(point[size + 1 :], "big")
    except (ValueError, KeyError, IndexError) as error:
        raise SignatureError("The key is not a public key on the curve P-256 or P-384 in PEM.") from error
    if point[:1] != b"\x04" or len(point) != 2 * size + 1 or not curve.holds(found):
        raise SignatureError("The public key is not a point of its curve.")
    return curve, found


def _der(data: bytes) -> tuple[tuple[int, bytes], bytes]:
    """The first element of DER data as (tag, contents), and what follows it."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("truncated")
    return (tag, data[start : start + length]), data[start + length :]


def verify(text: bytes, key: str, name: str, content: bytes) -> None:
    """Checks that a signature file is of this key and of a file with this name and content.

    Raises:
        SignatureError: it is not.
    """
    curve, point = public_key(key)
    try:
        found = json.loads(text)
        envelope = found["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        kind = str(envelope["payloadType"])
        (_, numbers), _ = _der(signature)
        (_, r), rest = _der(numbers)
        (_, s), _ = _der(rest)
        known = found == _envelope(payload, signature, key)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise SignatureError("The signature file cannot be read.") from error
    signed = b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)
    if not known or not _is_valid(curve, point, signed, int.from_bytes(r, "big"), int.from_bytes(s, "big")):
        raise SignatureError("The signature is not of this key, or what it signs was changed.")
    if _signed_file(payload) != (name, hashlib.sha256(content).hexdigest()):
        raise SignatureError(f"The signature is valid, but {name} is not the file that was signed.")


def _envelope(payload: bytes, signature: bytes, key: str) -> dict[str, Any]:
    """The signature file, whose other parts the signature does not cover. The hint is the hash of the key in PEM."""
    body = "".join(line.strip() for line in key.splitlines() if not line.startswith("-----"))
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    pem = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(pem.encode()).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def _is_valid(curve: Curve, point: tuple[int, int], signed: bytes, r: int, s: int) -> bool:
    if not (0 < r < curve.n and 0 < s < curve.n):
        return False
    digest = int.from_bytes(hashlib.new(curve.hash_name, signed).digest(), "big")
    inverse = pow(s, -1, curve.n)
    found = curve.add(curve.times(digest * inverse % curve.n, curve.g), curve.times(r * inverse % curve.n, point))
    return found is not None and found[0] % curve.n == r


def _signed_file(payload: bytes) -> tuple[str, str]:
    """Name and SHA-256 of the single file that a statement of ``model-signing`` is about."""
    try:
        statement = json.loads(payload)
        [resource] = statement["predicate"]["resources"]
        if resource["algorithm"] != "sha256":
            raise SignatureError("The signature uses another hash than SHA-256.")
        return str(statement["subject"][0]["name"]), str(resource["digest"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise SignatureError("The signed statement names no file.") from error
