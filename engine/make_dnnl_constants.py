"""Writes engine/trivet/lib/dnnl_constants.py from oneDNN's C headers.

    python engine/make_dnnl_constants.py INCLUDE    # the folder that holds oneapi/dnnl/

Values of enumerators are not sequential and some are written in terms of others, so they are
evaluated here instead of being counted by hand; signatures come from the declarations.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEADERS = ("dnnl_common_types.h", "dnnl_types.h", "dnnl_common.h", "dnnl.h")
TARGET = Path(__file__).parent / "trivet" / "lib" / "dnnl_constants.py"
ENUMS = (  # those whose values cross the binding
    "data_type", "engine_kind", "stream_flags", "prop_kind", "alg_kind", "normalization_flags",
    "rnn_flags", "rnn_direction", "scratchpad_mode", "query",
)  # fmt: skip
FUNCTIONS = re.compile(
    r"dnnl_(engine_create|stream_create|memory_(create|destroy|set_data_handle|desc_(create_with|"
    r"query|clone|destroy))|primitive_(create|execute|destroy|desc_(next_impl|query|destroy)|"
    r"attr_(create|destroy|set_scratchpad_mode|set_post_ops))|post_ops_(create|destroy|append)|"
    r"\w+_primitive_desc_create$)"
)
KINDS = {"float": "f", "size_t": "n", "unsigned": "u", "int64_t": "q", "dnnl_dim_t": "q"}
PREPROCESSOR = re.compile(r"^#if.*?^#endif", flags=re.S | re.M)  # only experimental enumerators


def uncommented(text: str) -> str:
    return re.sub(r"//.*|/\*.*?\*/", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))


def enumerators(body: str, known: dict[str, int]) -> dict[str, int]:
    """Names and values of one enum's body; ``known`` are the enumerators so far."""
    values, following = {}, 0
    for entry in PREPROCESSOR.sub("", uncommented(body)).split(","):
        if not entry.strip():
            continue
        name, _, expression = (part.strip() for part in entry.partition("="))
        if expression:
            expression = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", expression)
            following = eval(expression, {"__builtins__": {}}, known | values)
        values[name] = following
        following += 1
    return values


def enums(text: str) -> dict[str, dict[str, int]]:
    found, known = {}, {}
    for body, name in re.findall(r"typedef enum \{(.*?)\} dnnl_(\w+)_t;", text, flags=re.S):
        found[name] = enumerators(body, known)
        known |= found[name]
    return found


def meanings(text: str) -> dict[int, tuple[str, str]]:
    """Value of each status: its name, and the sentence that the header gives it."""
    (body,) = re.findall(r"typedef enum \{(.*?)\} dnnl_status_t;", text, flags=re.S)
    values = enumerators(body, {})
    said = dict(re.findall(r"/// ([^\n]*)\n\s*(dnnl_\w+) =", body))
    return {values[name]: (short(name), why) for why, name in said.items()}


def short(name: str) -> str:
    return name.removeprefix("dnnl_").removeprefix("DNNL_")


def arguments(text: str) -> dict[str, int]:
    """The DNNL_ARG_ macros, evaluated: some are defined by others."""
    found = {}
    for name, value in re.findall(r"#define DNNL_(ARG_\w+) (\w+)\n", text):
        found[name] = found[short(value)] if value.startswith("DNNL_") else int(value)
    return found


def signatures(text: str) -> dict[str, str]:
    """One letter per parameter, for each function that returns a status."""
    declarations = re.findall(
        r"dnnl_status_t\s+DNNL_API\s+(dnnl_\w+)\((.*?)\);", uncommented(text), flags=re.S
    )
    return {
        name: "".join(kind(p.strip()) for p in parameters.split(","))
        for name, parameters in declarations
        if FUNCTIONS.match(name)
    }


def kind(parameter: str) -> str:
    """``const float *scales`` is a pointer, as are all of the handles."""
    words = re.findall(r"\w+|\*", parameter.replace("const_dnnl", "dnnl"))
    words = [w for w in words if w != "const"]
    handles = "engine|stream|memory|memory_desc|primitive|primitive_desc|primitive_attr|post_ops"
    handle = re.fullmatch(rf"dnnl_({handles})_t", words[0])
    if "*" in words or handle or "[" in parameter or words[0] == "dnnl_dims_t":
        return "p"
    return KINDS.get(words[0], "i")


def main(include: str) -> None:
    text = "\n".join((Path(include) / "oneapi" / "dnnl" / h).read_text() for h in HEADERS)
    version = (Path(include) / "oneapi" / "dnnl" / "dnnl_version.h").read_text()
    numbers = re.findall(r"#define DNNL_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", version)
    found = enums(text)
    lines = [
        '"""Constants and signatures of oneDNN in C; written by make_dnnl_constants.py."""',
        "",
        "# fmt: off",
        f'HEADERS = "{".".join(numbers)}"',
        "STATUS = {",
        *(f"    {value}: {(name, why)!r}," for value, (name, why) in meanings(text).items()),
        "}",
    ]
    for enum in ENUMS:
        lines += ["", f"# dnnl_{enum}_t"]
        lines += [f"{short(name).upper()} = {value}" for name, value in found[enum].items()]
    lines += ["", "# arguments of a primitive"]
    lines += [f"{name} = {value}" for name, value in arguments(text).items()]
    lines += ["", "# format tags: all but this one are written as strides"]
    lines += [f"FORMAT_TAG_ANY = {found['format_tag']['dnnl_format_tag_any']}", "", ""]
    lines += ["# parameters: pointer, int, unsigned, size (n), int64 (q), float", "SIGNATURES = {"]
    lines += [f'    "{name}": "{kinds}",' for name, kinds in signatures(text).items()]
    TARGET.write_text("\n".join([*lines, "}", ""]))


if __name__ == "__main__":
    main(*sys.argv[1:])
