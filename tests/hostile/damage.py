"""Ways to break a file, each a function of the good bytes and a random generator."""

import json
import random
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def empty(data: bytes, rng: random.Random) -> bytes:
    return b""


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_head(data: bytes, rng: random.Random) -> bytes:
    """Flip bits in the header, which readers trust."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(min(len(data), 200))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_many(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(2, 40)):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zero_block(data: bytes, rng: random.Random) -> bytes:
    """Zero a block, as a power cut does with one that was never written."""
    start, size = rng.randrange(len(data)), rng.choice((16, 512, 4096))
    return data[:start] + bytes(min(size, len(data) - start)) + data[start + size :]


def insert(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(rng.randrange(1, 30)) + data[start:]


def remove(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 30) :]


def append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(rng.randrange(1, 200))


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 400))


def other_file(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        (b"\x89PNG\r\n\x1a\n" + bytes(50), b"PK\x05\x06" + bytes(18), b"{}", b"[]", b"null", b"\x80\x04N.")
    )


BINARY: tuple[Damage, ...] = (
    truncate, empty, flip_bit, flip_head, flip_many, zero_block, insert, remove, append, noise, other_file,
)  # fmt: skip

NASTY = (
    None, True, -1, 0, 7, 2**63, 10**400, 0.5, 1e308, -1e-320, float("nan"), float("inf"), "", "x", "../../etc/passwd",
    "/etc/passwd", "\ud800", "\x00", "ß" * 3000, "1", [], {}, [[]], [None], {"": None}, {"__class__": "os.system"},
)  # fmt: skip


def json_value(data: bytes, rng: random.Random) -> bytes:
    """Change a value, or add, remove or rename a key, at a random place of the tree."""
    values = json.loads(data)
    node = values
    while isinstance(node, dict | list) and node:
        places = list(node) if isinstance(node, dict) else range(len(node))
        place = rng.choice(places)
        if not (isinstance(node[place], dict | list) and node[place]) or rng.random() < 0.3:
            _damage(node, place, rng)
            break
        node = node[place]
    return json.dumps(values).encode(errors="surrogatepass")


def _damage(node, place, rng: random.Random) -> None:
    match rng.randrange(6):
        case 0 if isinstance(node, dict):
            node[f"{place}s"] = node.pop(place)
        case 1:
            del node[place]
        case 2 if isinstance(node, list):
            node.append(node[place])
        case _:
            node[place] = rng.choice(NASTY)


def json_deep(data: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((1000, 100_000))
    return rng.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth))


def json_long_number(data: bytes, rng: random.Random) -> bytes:
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    place = rng.choice(digits) if digits else 0
    return data[:place] + b"9" * rng.choice((30, 400, 5000)) + data[place:]


def json_encoding(data: bytes, rng: random.Random) -> bytes:
    text = data.decode()
    return rng.choice(
        (b"\xef\xbb\xbf" + data, text.encode("utf-16"), b"\xff\xfe" + data, data.replace(b'"', b"\xc3", 1))
    )


TEXT: tuple[Damage, ...] = (*BINARY, json_value, json_value, json_value, json_deep, json_long_number, json_encoding)
