"""Where the generated files lie: --layout plain, cmake, arduino or single-file."""

from __future__ import annotations

from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.printing.c import template_environment


def arrange(
    texts: dict[str, str], options: Options, model_file: str, model_hash: str
) -> dict[str, str]:
    """The files of `options.layout`, by their paths within the output folder.

    `texts` are NAME.h and NAME.c and, with a self-test, NAME_selftest.h and NAME_selftest.c.

    plain        as they are
    cmake        with a CMakeLists.txt that makes a static library of them
    arduino      a library folder: library.properties, src/, an example that calls the network
    single-file  one header; one C or C++ file defines NAME_IMPLEMENTATION before it includes it
    """
    name = options.name
    if options.layout == "plain":
        return dict(texts)
    if options.layout == "single-file":
        return {f"{name}.h": _single_file(texts, name)}
    fill = {
        "name": name,
        "macro": name.upper(),
        "model_file": model_file,
        "model_hash": model_hash,
        "sources": [file for file in texts if file.endswith(".c")],
        "self_test": f"{name}_selftest.h" in texts,
        "recurrent": f"{name}_reset(" in texts[f"{name}.h"],
    }
    if options.layout == "cmake":
        return {**texts, "CMakeLists.txt": _render("CMakeLists.txt.j2", fill)}
    return {
        "library.properties": _render("library.properties.j2", fill),
        **{f"src/{file}": text for file, text in texts.items()},
        f"examples/{name}/{name}.ino": _render("example.ino.j2", fill),
    }


def _single_file(texts: dict[str, str], name: str) -> str:
    """Headers first, then the sources without their includes of those headers."""
    macro = name.upper()
    own = {f'#include "{file}"' for file in texts}
    headers = "\n".join(text for file, text in texts.items() if file.endswith(".h"))
    sources = "\n".join(text for file, text in texts.items() if file.endswith(".c"))
    body = "\n".join(line for line in sources.splitlines() if line not in own)
    return (
        f"/* One file: in one C or C++ file of the program, define {macro}_IMPLEMENTATION before\n"
        f' * #include "{name}.h"; in all others only include it. */\n'
        f"{headers}\n"
        f"#if defined({macro}_IMPLEMENTATION) && !defined({macro}_IMPLEMENTED)\n"
        f"#define {macro}_IMPLEMENTED\n"
        f"{body}\n"
        f"#endif\n"
    )


def _render(template: str, fill: dict) -> str:
    return template_environment().get_template(template).render(fill)
