"""Write recipes.json anew, after a deliberate change of a recipe or of a spec's fields."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes"))

from test_resolved import DATA  # noqa: E402

from taildiff.recipes import FIXED, FOR_DATA, recipe  # noqa: E402


def main() -> None:
    """One line per recipe, so that a change is read at a glance."""
    fixed = {name: recipe(name) for name in FIXED}
    auto = {f"{name}, {data}": recipe(name, facts) for name in FOR_DATA for data, facts in DATA.items()}
    parts = []
    for title, specs in (("fixed", fixed), ("auto", auto)):
        lines = [
            f"  {json.dumps(name)}: {json.dumps(s.model_dump(mode='json'), separators=(',', ':'))}"
            for name, s in specs.items()
        ]
        parts.append(f' "{title}": {{\n' + ",\n".join(lines) + "\n }")
    (ROOT / "golden" / "recipes.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
