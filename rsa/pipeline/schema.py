"""What is generated from the models of the configuration: a JSON schema for editors, and the page that lists all keys.

``python -m rsa.pipeline.schema`` writes both, whole or not at all; a test says when they are out of step.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

from rsa.comparisons import COMPARISONS
from rsa.distances import CROSS_VALIDATED, DISTANCES
from rsa.files import io
from rsa.inference.group import GROUP_TESTS
from rsa.maps import MAPS
from rsa.meeg.timecourse import MOVIE_DISTANCES
from rsa.models import USUAL_SOURCE
from rsa.pipeline.config import Study
from rsa.settings import Conditions, DataPath, Label, Names, descriptions

__all__ = ["configuration_page", "json_schema", "write"]

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = Path("workflow/config.schema.json")
PAGE_FILE = Path("docs/configuration.md")
DIALECT = "https://json-schema.org/draft/2020-12/schema"

HEAD = """\
# Configuration

<!-- Written by `python -m rsa.pipeline.schema`; change the models in rsa/, not this page. -->

A study is one YAML file. Unknown keys are errors, and `python -m rsa check my.yaml` names every mistake at once. These
settings decide what is computed; how it runs (cores, GPU, cluster) is said on the command line or in
[profiles/](../profiles/default/config.yaml).

**Paths.** A relative path starts at `data_root`. One that begins with `{results}` lies in `results/<study>/`, one that
begins with `./` in the folder in which Snakemake runs; `~` is your home.

**Labels** become part of BIDS file names, so they have letters and digits only.

**Names that YAML takes for something else** are quoted: `["01", "02"]`, since it reads 01 as the number 1, and
also yes, no, on and off (true and false), null, dates, 1.10 and 1:30. The file is text in UTF-8.

**Braces** stand for placeholders in paths; the names of files that are read have no words in them
(`{word}`, nor `<word>`).
"""

CHOICES = """\
## Choices

Each of these tables can be extended with one entry: [extending.md](extending.md).
"""


# -------------------------------------------------------------------------------------------- JSON schema


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a study.

    Other than pydantic's own, it asks for the word (`kind`) that tells alternatives apart, but for the usual one, and
    describes a section by the first paragraph of its docstring.
    """
    schema = Study.model_json_schema()
    for definition in schema["$defs"].values():
        definition["description"] = _first_paragraph(definition["description"])
    for union in _unions(schema):
        word = union["discriminator"]["propertyName"]
        for tag, reference in union["discriminator"]["mapping"].items():
            if tag == USUAL_SOURCE:
                continue
            definition = schema["$defs"][reference.rpartition("/")[2]]
            definition["required"] = [word, *(name for name in definition.get("required", []) if name != word)]
    return {"$schema": DIALECT, **schema}


def _unions(schema: Any) -> Iterator[dict[str, Any]]:
    """Find, at any depth, the alternatives that a word tells apart."""
    if isinstance(schema, dict):
        if "discriminator" in schema:
            yield schema
        for part in schema.values():
            yield from _unions(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _unions(part)


# --------------------------------------------------------------------------------------------------- page


def configuration_page() -> str:
    """Return the page that lists every key: one table per section, then the choices with their summaries."""
    parts = [HEAD]
    for title, section, word in _sections("The top level", Study):
        about = _first_paragraph(inspect.getdoc(section) or "")
        required = "" if word and section.model_fields[word].default == USUAL_SOURCE else word
        parts.append(f"## {title}\n\n{about}\n\n{_table_of(section, required)}")
    return "\n".join([*parts, CHOICES, *_choices()]).rstrip() + "\n"


def _sections(title: str, section: type[BaseModel], word: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """Yield a section with its title and the key that tells it from its alternatives, if any; then those in it."""
    yield title, section, word
    path = "" if section is Study else f"{title.strip('`')}."
    for name, hint in get_type_hints(section, include_extras=True).items():
        inner = _models_in(hint) if name in section.model_fields else []
        for model in inner:
            tag = _tag_of(model) if len(inner) > 1 else ""
            written = f", `{tag}: {get_args(model.model_fields[tag].annotation)[0]}`" if tag else ""
            yield from _sections(f"`{path}{name}`{written}", model, tag)


def _tag_of(section: type[BaseModel]) -> str:
    """Return the key that tells this section from its alternatives."""
    return next(name for name in ("kind", "source") if name in section.model_fields)


def _table_of(section: type[BaseModel], required: str) -> str:
    hints = get_type_hints(section, include_extras=True)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    texts = descriptions(section)
    needed = {name: field.is_required() or name == required for name, field in section.model_fields.items()}
    for name in sorted(needed, key=lambda name: (not needed[name], name != required)):
        field = section.model_fields[name]
        default = "**required**" if needed[name] else _default(field)
        cells = [f"`{name}`", _words(hints[name], field), default, " ".join(texts.get(name, "").split())]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, BaseModel):
        return "its defaults"
    return ", ".join(f"`{one}`" for one in value) if isinstance(value, tuple) else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---------------------------------------------------------------------------------------- types in words


def _words(hint: Any, field: FieldInfo) -> str:
    """Say in plain words what a setting may be, with its range."""
    return _type_in_words(hint) + "".join(f", {text}" for text in _range_of(field.metadata))


def _type_in_words(hint: Any) -> str:
    if hint == DataPath:
        return "path"
    if hint == Label:
        return "label"
    if hint in (Names, Conditions):
        return "list of names, quoted"
    if get_origin(hint) is Annotated:
        enums = [part.json_schema for part in get_args(hint)[1:] if isinstance(part, WithJsonSchema)]
        named = enums[0].get("enum", []) if enums and enums[0] else []
        return " or ".join(f"`{name}`" for name in named) or _type_in_words(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = [_type_in_words(one) for one in get_args(hint) if one is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if get_origin(hint) is Literal:
        return " or ".join(f"`{name}`" for name in get_args(hint))
    if get_origin(hint) is tuple:
        return _sequence_in_words(get_args(hint))
    if get_origin(hint) is dict:
        return f"mapping of name to {_type_in_words(get_args(hint)[1])}"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "section"
    return {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}[hint]


def _sequence_in_words(items: Sequence[Any]) -> str:
    if items[-1] is not Ellipsis:
        return f"list of {len(items)} {_type_in_words(items[0])}s"
    inner = _type_in_words(items[0])
    return f"list of {inner}s" if inner in ("label", "section", "whole number", "number") else f"list of {inner}"


def _range_of(metadata: Sequence[Any]) -> Iterator[str]:
    for part in metadata:
        if isinstance(part, Gt):
            yield f"above {part.gt}"
        elif isinstance(part, Ge):
            yield f"at least {part.ge}"
        elif isinstance(part, Lt):
            yield f"below {part.lt}"
        elif isinstance(part, Le):
            yield f"at most {part.le}"


def _models_in(hint: Any) -> list[type[BaseModel]]:
    """Return the sections that a setting may hold, itself or in a list."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return [] if get_origin(hint) is Literal else [model for one in inner for model in _models_in(one)]


# ------------------------------------------------------------------------------------------------ choices


def _choices() -> list[str]:
    """List the entries of the tables that settings choose from, with what each says of itself."""
    return [
        _list_of("`layer_distance`, `brain_distance`", {name: entry.summary for name, entry in DISTANCES.items()}),
        _list_of("`brain_distance` as well", {name: entry.summary for name, entry in CROSS_VALIDATED.items()}),
        _list_of("`movie.distance`", {name: entry.summary for name, entry in MOVIE_DISTANCES.items()}),
        _list_of("`comparison`", {name: entry.summary for name, entry in COMPARISONS.items()}),
        _list_of("`maps`", {name: entry.unit for name, entry in MAPS.items()}),
        _list_of("`group`", {name: entry.summary for name, entry in GROUP_TESTS.items()}),
    ]


def _list_of(title: str, summaries: Mapping[str, str]) -> str:
    return f"### {title}\n\n" + "\n".join(f"* `{name}`: {text}" for name, text in summaries.items()) + "\n"


def _first_paragraph(docstring: str) -> str:
    return " ".join(docstring.split("\n\n")[0].split())


# ------------------------------------------------------------------------------------------------ writing


def write(root: Path = ROOT) -> None:
    """Write the schema and the page below the folder of the project."""
    io.save_json(root / SCHEMA_FILE, json_schema())
    io.save_text(root / PAGE_FILE, configuration_page())


if __name__ == "__main__":
    write()
