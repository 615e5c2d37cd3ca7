"""Images listed in a text file: a CSV with `path,label[,split]`, or a list with `path class_id` on each line."""

import csv
import io
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np

from taildiff.data.class_names import canonical, in_order
from taildiff.data.formats.importer import Importer, Names, Option, Root
from taildiff.data.formats.published import CutName, check_cut
from taildiff.data.parts import is_held_out
from taildiff.data.source import Found, Source, check_place, classes_by_value, fingerprint, read_text
from taildiff.errors import DataError
from taildiff.io.paths import kind_of_mode

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_Test = Annotated[Path | None, Option("A second list, of held-out images. [default: none]", "PLACE")]
_Expect = Annotated[
    CutName | None,
    Option(
        "Reject a list whose counts differ from the published ones. [default: any]",
        "imagenet-lt|places-lt|inaturalist2018",
    ),
]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file."""

    line: int
    path: str
    label: str
    test: bool = False


def find_csv(table: Path, root: Root = None) -> Found:
    """Images of a CSV with a header; paths are relative to `root`, or to the CSV's folder. Other columns are ignored.

    Classes are the distinct labels, sorted (as numbers if all are); `split` is `train`, `val` or `test`. `DataError`
    names the line of a path that does not exist, leads out of the folder or occurs twice.
    """
    check_place(table)
    rows = _read_csv(table)
    names = in_order(canonical(row.label) for row in rows)
    index = {name: label for label, name in enumerate(names)}
    return _found(table, root or table.parent, rows, names, [index[canonical(row.label)] for row in rows], "")


def find_list(train: Path, test: _Test = None, root: Root = None, names: Names = None, expect: _Expect = None) -> Found:
    """Images of a list with `relative/path class_id` on each line, and perhaps of a second list of held-out images.

    `names` is a file of class names, one per line, by id; without it the ids are the names. `expect` names the
    published list (`published.CUTS`) whose counts this one must have.
    """
    for place in filter(None, (train, test)):
        check_place(place)
    rows = list(read_list(train))
    rows += [Row(row.line, row.path, row.label, True) for row in read_list(test)] if test else []
    ids = np.array([int(row.label) for row in rows])
    notes = ()
    if expect is not None:
        counts = Counter(int(row.label) for row in rows if not row.test)
        notes = (check_cut(expect, train, list(counts.values()), len(ids) - counts.total()),)
    class_names, labels = classes_by_value(ids, names)
    options = " ".join(f"{name}={file.resolve()}" for name, file in (("names", names), ("test", test)) if file)
    return _found(train, root or train.parent, rows, class_names, labels, options, notes)


IMPORTERS = (
    Importer("csv", "CSV file", "a table with the columns path,label and perhaps split", find_csv),
    Importer("list", "text file", "a list with `path class_id` on each line, as for ImageNet-LT", find_list),
)


def read_list(path: Path) -> Iterator[Row]:
    """The lines of a list file; the class id is the integer after the last space or tab."""
    lines = read_text(path).splitlines()
    empty = True
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition("\t" if "\t" in line.strip() else " ")
        if not name.strip() or not _is_id(label):
            commas = "; the columns must be separated by a space or tab" if _is_id(line.strip()[-1]) else ""
            raise DataError(f"{path}, line {number}: {line[:80]!r} is not `path class_id`{commas}")
        empty = False
        yield Row(number, _tidy(name.strip()), label)
    if empty:
        raise DataError(f"{path} is empty; each line must be `path class_id`")


def _read_csv(table: Path) -> list[Row]:
    text = read_text(table)
    _check_separator(table, text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        for column in ("path", "label"):
            if header.count(column) != 1:
                raise DataError(f"{table}: the first line must name the columns `path,label` and optionally `split`")
        path, label = header.index("path"), header.index("label")
        split = header.index("split") if "split" in header else None
        for fields in reader:
            if not any(fields):
                continue
            if len(fields) != len(header):
                raise DataError(f"{table}, line {reader.line_num}: {len(fields)} fields instead of {len(header)}")
            held_out = False if split is None else is_held_out(fields[split])
            if held_out is None:
                raise DataError(
                    f"{table}, line {reader.line_num}: split '{fields[split or 0]}' must be train, val or test"
                )
            if not fields[label].strip():
                raise DataError(f"{table}, line {reader.line_num}: no label")
            rows.append(Row(reader.line_num, _tidy(fields[path].strip()), fields[label].strip(), held_out))
    except csv.Error as error:
        raise DataError(f"{table}, line {reader.line_num}: {error}") from None
    if not rows:
        raise DataError(f"{table} lists no images")
    return rows


def _check_separator(table: Path, text: str) -> None:
    """`DataError` where the first line names the columns, but with another separator between them."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    for separator, name in _SEPARATORS.items():
        columns = {column.strip().strip('"').lower() for column in first.split(separator)}
        if {"path", "label"} <= columns or first.strip().lower() == f"sep={separator}":
            raise DataError(
                f"{table}: the columns are separated by {name}; separate them by commas (and quote paths with commas)"
            )


def _found(
    table: Path,
    root: Path,
    rows: Sequence[Row],
    class_names: tuple[str, ...],
    labels: Sequence[int] | np.ndarray,
    options: str,
    notes: tuple[str, ...] = (),
) -> Found:
    rows, status = _check_files(table, root, rows)
    names = tuple(row.path for row in rows)
    where = np.array([row.test for row in rows])
    mark = fingerprint(
        (f"{row.path}\0{row.label}\0{row.test}", *entry) for row, entry in zip(rows, status, strict=True)
    )
    order = np.argsort(where, kind="stable")  # train first, as for folders

    def pictures(start: int) -> Iterator[Path]:
        return (root / names[position] for position in order[start:])

    in_order = tuple(names[k] for k in order)
    source = Source(class_names, np.array(labels)[order], where[order], pictures, in_order, notes=notes)
    return Found(
        source=str(table.resolve()),
        name=table.stem,
        fingerprint=mark,
        roots=(),  # nothing is searched, so a store may lie below the root
        read=lambda: source,
        options=" ".join(filter(None, (options, f"root={root.resolve()}"))),
    )


def _check_files(table: Path, root: Path, rows: Sequence[Row]) -> tuple[list[Row], list[tuple[int, int]]]:
    """The rows with paths relative to the root, and bytes and time (ns) of each image."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the one that the paths in {table} start from: --root FOLDER")
    seen: dict[str, Row] = {}
    missing: list[Row] = []
    found: list[Row] = []
    status: list[tuple[int, int]] = []
    base, folders = os.fspath(root), [root.absolute().as_posix(), root.resolve().as_posix()]
    for given in rows:
        where = f"{table}, line {given.line}: '{given.path}'"
        if not given.path or "\n" in given.path or "\0" in given.path:
            raise DataError(f"{table}, line {given.line}: {given.path!r} is not a path")
        row = _relative(given, folders)
        if row.path.startswith("/") or row.path.split("/")[0] == "..":
            raise DataError(f"{where} leads out of {root}; give the folder that holds all images: --root FOLDER")
        if row.path in seen:
            raise DataError(f"{where} already occurs in line {seen[row.path].line}")
        seen[row.path] = row
        for path in dict.fromkeys((row.path, canonical(row.path), unicodedata.normalize("NFD", row.path))):
            try:
                entry = os.stat(f"{base}/{path}")  # noqa: PTH116 (called for each of a million files)
            except (OSError, ValueError):
                continue
            if kind := kind_of_mode(entry.st_mode):
                raise DataError(f"{where} is a {kind}, not a regular file")
            found.append(row if path == row.path else replace(row, path=path))
            status.append((entry.st_size, entry.st_mtime_ns))
            break
        else:
            missing.append(row)
    if missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{table}, line {missing[0].line}: '{missing[0].path}' does not exist in {root}{more}; "
            "give the folder that the paths start from: --root FOLDER"
        )
    return found, status


def _relative(row: Row, folders: Sequence[str]) -> Row:
    """The row with its path relative to the root, of which `folders` are the absolute names, if it lies in it."""
    if not row.path.startswith("/"):
        return row
    parent, name = posixpath.split(row.path)
    for path in (row.path, f"{os.path.realpath(parent)}/{name}"):
        for folder in folders:
            if path.startswith(f"{folder}/"):
                return replace(row, path=path[len(folder) + 1 :])
    return row


def _tidy(path: str) -> str:
    """The path with forward slashes, without `./` and inner `..`."""
    return posixpath.normpath(path.replace("\\", "/")) if path else ""


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
