"""Pages that the benchmarks write: Markdown from soft_control/templates/<name>.md."""

from __future__ import annotations

from pathlib import Path

from nn4mc_codegen.printing.c import template_environment
from soft_control.paths import TEMPLATES


def write_page(folder: Path, name: str, **values: object) -> Path:
    """Writes FOLDER/<name>.md and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    page = template_environment(TEMPLATES).get_template(f"{name}.md").render(values)
    path.write_text(page, encoding="utf-8")
    return path
