"""What every section of the configuration has in common: strict, frozen, paths relative to `data_root`."""

import ast
import inspect
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from rsa.errors import UserError, listed
from rsa.labels import as_label
from rsa.registry import pick

__all__ = [
    "Conditions",
    "DataPath",
    "Label",
    "Names",
    "Section",
    "Subjects",
    "alternatives",
    "below_data_root",
    "by_subject",
    "choice_of",
    "descriptions",
    "fill",
    "path_unless",
    "placeholders",
]


class Section(BaseModel):
    """A section of the configuration: unknown keys are forbidden and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe each setting by the text below it."""
        schema = handler(core_schema)
        settings = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in descriptions(cls).items():
            settings[name]["description"] = text
        return schema

    @model_validator(mode="before")
    @classmethod
    def _no_words_for_numbers(cls, given: Any) -> Any:
        """Refuse true and false where a number is expected: they would be 1 and 0."""
        for name, field in cls.model_fields.items() if isinstance(given, dict) else ():
            value = given.get(name)
            values = value if isinstance(value, list | tuple) else (value,)
            if any(isinstance(one, bool) for one in values) and _takes_numbers(field.annotation):
                raise ValueError(
                    f"{name}: a number is expected; to YAML the words yes, on and true are true, and no, off and false "
                    "are false"
                )
        return given


def descriptions(section: type[BaseModel]) -> dict[str, str]:
    """Return the text below each setting of a section.

    It is read when it is asked for, which few jobs do; pydantic would read it whenever a module is imported.
    """
    kinds = [kind for kind in reversed(section.__mro__) if issubclass(kind, Section)]
    found = {name: text for kind in kinds for name, text in _described(kind.__module__).get(kind.__name__, {}).items()}
    return {name: found[name] for name in section.model_fields if name in found}


@cache
def _described(module: str) -> dict[str, dict[str, str]]:
    """Return the text below each annotated name of each class of a module; nothing if it has no source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    texts: dict[str, dict[str, str]] = {}
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for pair in zip(kind.body, kind.body[1:], strict=False):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts.setdefault(kind.name, {})[name] = inspect.cleandoc(text)
    return texts


def _takes_numbers(hint: Any) -> bool:
    """Say whether a setting is a number or numbers, and cannot be true or false."""
    kinds = [
        inner
        for kind in alternatives(hint)
        for inner in (alternatives(get_args(kind)[0]) if get_origin(kind) is tuple else [kind])
    ]
    return bool not in kinds and any(kind in (int, float) for kind in kinds)


def below_data_root(path: str, info: ValidationInfo) -> str:
    """Join a relative path to the `data_root` of the configuration; leave it alone elsewhere (the command line).

    A path that starts with {results} lies in the folder of the study's results instead, one that starts with ./ in the
    folder in which Snakemake runs, and ~ is the user's home. To be used as a validator: `DataPath` is a text with this
    one, and a setting that is not always a path may call it where it is.

    Parameters
    ----------
    path : str
        A file, folder or path template, as it was given.
    info : ValidationInfo
        Its context may hold `data_root` and `results`, two folders.
    """
    context = info.context or {}
    if path.startswith("{results}"):
        return path.replace("{results}", str(context.get("results", "results")))
    if path.startswith("./"):
        return path.removeprefix("./")
    root = context.get("data_root", ".")
    expanded = Path(path).expanduser()
    return str(expanded if expanded.is_absolute() or str(root) == "." else Path(root) / expanded)


def _alphanumeric(label: str) -> str:
    if not label or not label.isascii() or not label.isalnum():
        raise ValueError(f"{label!r} becomes part of BIDS file names, so only letters and digits are allowed")
    return label


DataPath = Annotated[str, AfterValidator(below_data_root)]
"""A file, folder or path template; in a configuration, relative paths start at `data_root`."""

Label = Annotated[str, AfterValidator(_alphanumeric)]
"""A BIDS label: letters and digits."""


def alternatives(hint: Any) -> list[Any]:
    """Return the types of which a value may be, unpacking unions and annotations.

    Examples
    --------
    >>> alternatives(int | tuple[str, ...] | None)
    [<class 'int'>, tuple[str, ...], <class 'NoneType'>]
    """
    if get_origin(hint) is Annotated:
        return alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [kind for one in get_args(hint) for kind in alternatives(one)]
    return [hint]


def placeholders(template: str) -> set[str]:
    """Return the names in braces of a path template.

    Examples
    --------
    >>> sorted(placeholders("sub-{subject}/run-{run}.nii.gz"))
    ['run', 'subject']
    """
    try:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name}
    except ValueError as error:
        raise ValueError(f"{template!r} has a brace that is of no placeholder such as {{subject}}: {error}") from error


def fill(template: str, **values: Any) -> Path:
    """Fill the placeholders of a path template; those without a value stay as they are.

    Examples
    --------
    >>> fill("sub-{subject}/run-{run}.nii.gz", subject="01").as_posix()
    'sub-01/run-{run}.nii.gz'
    """
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return Path(template)


def path_unless(is_word: Callable[[str], bool]) -> AfterValidator:
    """Take a setting as a path below the data root, unless it is a word with a meaning of its own."""

    def joined(text: str, info: ValidationInfo) -> str:
        return text if is_word(text) else below_data_root(text, info)

    return AfterValidator(joined)


def choice_of(table: Mapping[str, Any], kind: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Accept the keys of an extension table: annotations of a setting that is a word."""

    def known(name: str) -> str:
        try:
            pick(table, name, kind)
        except UserError as error:
            raise ValueError(str(error)) from error
        return name

    return AfterValidator(known), WithJsonSchema({"type": "string", "enum": list(table)})


# ---------------------------------------------------------------------------------------------- names


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{listed(twice)} given more than once; give each name once")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_each_once)]
"""Names, each once."""

Conditions = Annotated[tuple[Annotated[str, AfterValidator(as_label)], ...], AfterValidator(_each_once)]
"""Labels of conditions, each once."""

Subjects = Annotated[tuple[Label, ...], AfterValidator(_each_once), Field(min_length=1)]
"""BIDS labels of the subjects, at least one."""


def by_subject(problems: Sequence[tuple[str, str]]) -> list[str]:
    """Say each problem once, with the subjects that have it.

    Parameters
    ----------
    problems : sequence of (subject, text)
        A text may contain ``{subject}``: the label is put there if only one subject has the problem.

    Examples
    --------
    >>> by_subject([("01", "no file sub-{subject}.nii"), ("02", "no file sub-{subject}.nii")])
    ["subjects '01', '02': no file sub-{subject}.nii"]
    >>> by_subject([("01", "no file sub-{subject}.nii")])
    ["subject '01': no file sub-01.nii"]
    """
    subjects: dict[str, list[str]] = {}
    for subject, text in problems:
        if subject not in subjects.setdefault(text, []):
            subjects[text].append(subject)
    return [
        f"subjects {listed(having)}: {text}"
        if len(having) > 1
        else f"subject {having[0]!r}: {text.replace('{subject}', having[0])}"
        for text, having in subjects.items()
    ]
