"""Read CIFAR's pickles without executing them: only lists, dicts, text, numbers and uint8 arrays.

A pickle is a program for a stack machine that can call anything importable. This machine knows only the instructions of
the official files; it reads what they say about numpy arrays as data and never looks up a name.
"""

import pickletools
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, BinaryIO

import numpy as np


class PickleRefusedError(Exception):
    """The file contains more than plain data; the message says what."""


@dataclass(frozen=True)
class _Global:
    """A name that the pickle would import."""

    name: str


@dataclass
class _Dtype:
    """`numpy.dtype("u1")`, the only one allowed."""


@dataclass
class _Array:
    """An array whose content is still to come."""

    value: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))


_RECONSTRUCT = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
_PLAIN = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINFLOAT"),
}
_KEYS = (str, bytes, int, float, NoneType)
_EMPTY: dict[str, Any] = {"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
_EMPTY |= {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}


def read_pickle(file: BinaryIO) -> Any:
    """The object in a file: text as `str` (Python 2's bytes decoded as latin-1), arrays as uint8.

    `PickleRefusedError` for anything else, and for a damaged or truncated file.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return _finished(machine.stack.pop())
            machine.step(opcode.name, argument)
    except PickleRefusedError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise PickleRefusedError(f"damaged or truncated ({error})") from None
    raise PickleRefusedError("truncated")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PLAIN:
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        else:
            match name:
                case "PROTO" | "FRAME":
                    pass
                case "MARK":
                    self.marks.append(len(stack))
                case "BINPUT" | "LONG_BINPUT":
                    self.memo[argument] = stack[-1]
                case "MEMOIZE":
                    self.memo[len(self.memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(self.memo[argument])
                case "TUPLE":
                    stack.append(tuple(self._since_mark()))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    stack.append(tuple(self._pop(int(name[-1]))))
                case _:
                    self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:
        match name:
            case "APPEND" | "APPENDS":
                items = self._since_mark() if name == "APPENDS" else self._pop(1)
                _expect(self.stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                flat = self._since_mark() if name == "SETITEMS" else self._pop(2)
                if not all(isinstance(key, _KEYS) for key in flat[::2]):  # hashing n nested tuples may take 2^n steps
                    raise PickleRefusedError("it has a dict whose keys are no texts or numbers, as no CIFAR file has")
                _expect(self.stack[-1], dict).update(zip(flat[::2], flat[1::2], strict=True))
            case "GLOBAL":
                self.stack.append(_Global(argument))
            case "STACK_GLOBAL":
                self.stack.append(_Global(" ".join(self._pop(2))))
            case "REDUCE":
                function, arguments = self._pop(2)
                self.stack.append(_call(_expect(function, _Global), arguments))
            case "BUILD":
                (state,) = self._pop(1)
                _fill(self.stack[-1], state)
            case _:
                raise PickleRefusedError(f"it contains the instruction {name}, which no CIFAR file has")

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise PickleRefusedError("damaged")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _since_mark(self) -> list[Any]:
        items = self.stack[(start := self.marks.pop()) :]
        del self.stack[start:]
        return items


def _call(function: _Global, arguments: Any) -> Any:
    if function.name in _RECONSTRUCT:
        if arguments[0] != _Global("numpy ndarray"):
            raise PickleRefusedError("it contains an unknown type of array")
        return _Array()
    if function.name == "numpy dtype":
        if _text(arguments[0]) not in ("u1", "|u1", "uint8"):
            raise PickleRefusedError(f"it contains an array of {_text(arguments[0])} instead of uint8")
        return _Dtype()
    raise PickleRefusedError(f"it would call {function.name.replace(' ', '.')}, which no CIFAR file does")


def _fill(target: Any, state: Any) -> None:
    if isinstance(target, _Dtype):
        return
    _, shape, dtype, fortran, data = state
    if not isinstance(dtype, _Dtype) or fortran not in (False, 0):
        raise PickleRefusedError("it contains an unknown type of array")
    raw = data.encode("latin-1") if isinstance(data, str) else _expect(data, bytes)
    _expect(target, _Array).value = np.frombuffer(raw, np.uint8).reshape(tuple(map(int, shape)))


def _finished(value: Any) -> Any:
    """The value with its arrays filled in; the official files have them only in the top-level dict."""
    if not isinstance(value, dict):
        return value
    return {_text(key): item.value if isinstance(item, _Array) else item for key, item in value.items()}


def _text(value: Any) -> str:
    """Text, Python 2's included, or a number as text; other values may be nested without end."""
    if not isinstance(value, _KEYS):
        raise PickleRefusedError("damaged")
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise PickleRefusedError("damaged")
    return value
