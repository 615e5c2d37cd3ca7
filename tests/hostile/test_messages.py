"""The error messages of the broken files in docs/reliability.md, word for word."""

import re
import shutil
from pathlib import Path

import pytest

from hostile.cases import CASES, Case, table
from hostile.subjects import Subject
from taildiff.errors import TaildiffError

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.subject} {case.what}")
def test_the_message_names_what_is_wrong(subjects: dict[str, Subject], case: Case):
    subject = subjects[case.subject]
    good = subject.path.read_bytes()
    bad = case.damage(good) if case.damage else None
    assert bad != good
    try:
        subject.path.unlink()
        subject.path.mkdir() if bad is None else subject.path.write_bytes(bad)
        with pytest.raises(TaildiffError) as caught:
            subject.read()
    finally:
        shutil.rmtree(subject.path) if subject.path.is_dir() else subject.path.unlink()
        subject.path.write_bytes(good)
    pattern = ".*".join(re.escape(part) for part in case.message.split("…"))
    assert re.fullmatch(pattern, str(caught.value), re.DOTALL), str(caught.value)


def test_the_documentation_has_this_table():
    assert table() in PAGE.read_text(), "put hostile.cases.table() there"
