"""Studies: datasets x methods x training seeds at equal compute, described by a file.

    import taildiff

    taildiff.study.new("digits.toml")
    taildiff.study.run("digits.toml", progress=True)
    print(taildiff.study.status("digits.toml").lines)
    print(taildiff.study.report("digits.toml").page)

`run` may be stopped at any time and called again, and several processes may run one study. See docs/study.md.
"""

TYPE_CHECKING = False  # true for type checkers
if TYPE_CHECKING:
    from taildiff.study.verbs import new, report, run, status

__all__ = ["new", "report", "run", "status"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The public name, imported at its first use."""
        if name not in __all__:
            raise AttributeError(f"module 'taildiff.study' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module("taildiff.study.verbs"), name)
        return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
