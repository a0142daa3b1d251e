"""Pages that the benchmarks write: Markdown from soft_control/templates/<name>.md."""

from __future__ import annotations

from pathlib import Path

import jinja2


def write_page(folder: Path, name: str, **values: object) -> Path:
    """Writes FOLDER/<name>.md and returns its path."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("soft_control"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(environment.get_template(f"{name}.md").render(values), encoding="utf-8")
    return path
