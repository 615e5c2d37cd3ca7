"""The pickles of CIFAR without running them: a reader of lists, dicts, text, numbers and uint8 arrays alone.

A pickle is a program for a stack machine, which may call whatever can be imported. Here the machine knows only the
instructions that the official files use; what they say of numpy arrays is read as data, and no name is ever looked up.
"""

import pickletools
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np


class PickleRefusedError(Exception):
    """What is in the file is not plain data; the message says what."""


@dataclass(frozen=True)
class _Global:
    """The name of something that a pickle would import."""

    name: str


@dataclass
class _Dtype:
    """`numpy.dtype("u1")`; the only one there is."""


@dataclass
class _Array:
    """An array that is still without its content."""

    value: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))


_RECONSTRUCT = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
_PLAIN = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINFLOAT"),
}
_EMPTY: dict[str, Any] = {"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
_EMPTY |= {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}


def read_pickle(file: BinaryIO) -> Any:
    """The object in a file, with text as `str` (of Python 2: its bytes as latin-1) and arrays as uint8.

    `PickleRefusedError` for anything else, and for a file that is cut off or damaged.
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
        raise PickleRefusedError(f"damaged or cut off ({error})") from None
    raise PickleRefusedError("cut off")


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
                _expect(self.stack[-1], dict).update(zip(flat[::2], flat[1::2], strict=True))
            case "GLOBAL":
                self.stack.append(_Global(argument))
            case "STACK_GLOBAL":
                self.stack.append(_Global(" ".join(self._pop(2))))
            case "REDUCE":
                function, arguments = self._pop(2)
                self.stack.append(_made(_expect(function, _Global), arguments))
            case "BUILD":
                (state,) = self._pop(1)
                _fill(self.stack[-1], state)
            case _:
                raise PickleRefusedError(f"it has the instruction {name}, which no CIFAR file has")

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


def _made(function: _Global, arguments: Any) -> Any:
    if function.name in _RECONSTRUCT:
        if arguments[0] != _Global("numpy ndarray"):
            raise PickleRefusedError("it has an array of an unknown kind")
        return _Array()
    if function.name == "numpy dtype":
        if _text(arguments[0]) not in ("u1", "|u1", "uint8"):
            raise PickleRefusedError(f"it has an array of {_text(arguments[0])}, not of uint8")
        return _Dtype()
    raise PickleRefusedError(f"it would call {function.name.replace(' ', '.')}, which no CIFAR file does")


def _fill(target: Any, state: Any) -> None:
    if isinstance(target, _Dtype):
        return
    _, shape, dtype, fortran, data = state
    if not isinstance(dtype, _Dtype) or fortran not in (False, 0):
        raise PickleRefusedError("it has an array of an unknown kind")
    raw = data.encode("latin-1") if isinstance(data, str) else _expect(data, bytes)
    _expect(target, _Array).value = np.frombuffer(raw, np.uint8).reshape(tuple(map(int, shape)))


def _finished(value: Any) -> Any:
    """Arrays in the place of what stood for them; the official files have them in the uppermost dict alone."""
    if not isinstance(value, dict):
        return value
    return {_text(key): item.value if isinstance(item, _Array) else item for key, item in value.items()}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise PickleRefusedError("damaged")
    return value
