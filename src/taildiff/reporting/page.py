"""The templates of HTML pages, and the colours that they share."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined


def environment() -> Environment:
    """Where the templates of this package are found by name; text is escaped, and an unknown name is an error."""
    return Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _read(name: str) -> str:
    return files("taildiff.reporting").joinpath(name).read_text(encoding="utf-8")
