"""The command line, derived from the signatures of the stages.

``python -m rsa <stage> --help`` shows the options of a stage. A setting of a section of the configuration is an option
that begins with the name of the section: ``brain.images`` is ``--brain-images``.

One process can run several stages, one after the other: ``python -m rsa STAGE ... --then STAGE ...``; and one stage
several times: each ``--each`` begins a run, with its own options after those of all runs, as in ``python -m rsa maps
--folder results --each --subject 01 ... --each --subject 02 ...``.
"""

import argparse
import inspect
import json
import logging
import os
import re
import select
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as default
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any, Literal, Never, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError, WithJsonSchema

from rsa.errors import UserError, did_you_mean, flattened, is_mistake, told
from rsa.files import records
from rsa.files.memory import MB, peak_bytes
from rsa.files.versions import short_commit, versions
from rsa.pipeline import stages
from rsa.pipeline.run import run
from rsa.progress import duration
from rsa.settings import alternatives, descriptions

__all__ = ["build_parser", "main", "options_of", "pieces"]

logger = logging.getLogger("rsa")

THEN = "--then"
"""Begins another stage in the same process."""

EACH = "--each"
"""Begins another run of a stage, with options of its own."""

WORD = re.compile(r"[^\s{}\[\]\"',]+")
"""A setting that is one word, which needs no quotation marks of JSON."""

PIECE = 30_000
"""Longer settings reach a stage in pieces of so many letters, each of up to 4 bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; return 0, or 2 after a mistake of the user's, said in one line. A bug keeps its traceback."""
    try:
        try:
            return _main(arguments)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:  # before the stage began
        return 130
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        return 0


def _reader_has_gone() -> bool:
    """Say whether whoever reads what is printed, such as `head`, wants no more; then Python may end without a word."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    has_gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if has_gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return has_gone


def _main(arguments: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    names = {name.replace("_", "-"): name for name in stages.__all__}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(names))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(_version())
        return 0
    try:
        if arguments[0] == "run":
            return run(arguments[1:])
        runs = _parsed_runs(arguments, names)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return _run(runs)


Run = tuple[Callable[..., None], dict[str, Any]]
"""A stage, and what it is given: a run of it."""


def _parsed_runs(arguments: Sequence[str], names: dict[str, str]) -> list[Run]:
    """Read all runs that a command line asks for, before the first begins."""
    runs: list[Run] = []
    for step in _pieces_between(arguments, THEN):
        if not step or step[0] not in names:
            unknown = f"There is no stage {step[0]!r}.{did_you_mean(step[0], names)}" if step else ""
            raise UserError(unknown or f"The name of a stage is missing before or after {THEN}.")
        stage = getattr(stages, names[step[0]])
        parser = build_parser(step[0], stage)
        common, *own = _pieces_between(step[1:], EACH)
        runs += [(stage, vars(parser.parse_args([*common, *options]))) for options in own or [[]]]
    return runs


def _pieces_between(words: Sequence[str], mark: str) -> list[list[str]]:
    """Split words at a mark.

    Examples
    --------
    >>> _pieces_between(["a", "--then", "b", "c"], "--then")
    [['a'], ['b', 'c']]
    """
    places = [place for place, word in enumerate(words) if word == mark]
    return [list(words[start + 1 : stop]) for start, stop in pairwise([-1, *places, len(words)])]


def _run(runs: Sequence[Run]) -> int:
    logs = [given.pop("log", None) for _, given in runs]
    log = next((one for one in logs if one is not None), None)
    try:
        handlers = _handlers(log)
    except OSError as error:
        print(f"error: Cannot write the log {log}: {error.strerror}; set --log to another file.", file=sys.stderr)
        return 2
    did, began, name = _Did(), monotonic(), ""
    with _logging([*handlers, did]):
        try:
            for stage, given in runs:
                name = stage.__name__
                logger.debug("%s with %s", name, json.dumps(versions()))
                did.begins()
                positional, options = _collect(stage, given)
                with records.recording():
                    stage(*positional, **options)
            logger.debug("most memory: %d MB", peak_bytes() // MB)
            logger.debug("done: %s", ", ".join([*did.words(), duration(monotonic() - began)]))
        except KeyboardInterrupt:
            logger.error("stopped")
            return 130
        except Exception as error:
            if is_mistake(error):
                logger.error("error: %s", told(error))
                return 2
            logger.debug("%s failed", name, exc_info=True)
            if _in_log_alone(log):
                return 1
            raise
    return 0


def _in_log_alone(log: Path | None) -> bool:
    """Say whether messages go to the log alone, from which `rsa.pipeline.running` tells what a user wants to know."""
    return log is not None and os.environ.get("RSA_MESSAGES") == "log"


class _Did(logging.Handler):
    """Gathers what stages do, from what is said of it: what they count, what their files hold, how many they are."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[_Deeds] = []

    def begins(self) -> None:
        """Take note that a run begins."""
        self.runs.append(_Deeds())

    def emit(self, record: logging.LogRecord) -> None:
        if not self.runs:
            return
        said, deeds = vars(record), self.runs[-1]
        deeds.counted += [said["did"]] if "did" in said else []
        deeds.held += [said["holds"]] if "holds" in said else []
        deeds.n_files += "writes" in said

    def words(self) -> list[str]:
        """Return the most telling of these: of each run in order, once of runs that did the same, and then files."""
        found = Counter(text for deeds in self.runs if (text := deeds.said()))
        words = [f"{n} x {text}" if n > 1 else text for text, n in found.items()]
        n_files = sum(deeds.n_files for deeds in self.runs if not deeds.said())
        return [*words, f"{n_files:,} file{'s' * (n_files != 1)}"] if n_files else words


@dataclass
class _Deeds:
    """What a run of a stage did."""

    counted: list[str] = default(default_factory=list)
    held: list[str] = default(default_factory=list)
    n_files: int = 0

    def said(self) -> str:
        """Return the most telling of what was counted, or else of what files hold."""
        told = self.counted or self.held
        return told[-1] if told else ""


class _OneLine(logging.Formatter):
    """Warnings and notes are one line each, also those of libraries; errors are as they were made."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno >= logging.ERROR else flattened(text)


def _handlers(path: Path | None) -> list[logging.Handler]:
    """Make what sends messages to the terminal and, if wanted, with versions and tracebacks to a file."""
    handlers: list[logging.Handler] = []
    if not _in_log_alone(path):
        handlers.append(logging.StreamHandler())
        handlers[0].setFormatter(_OneLine("%(message)s"))
        handlers[0].setLevel(logging.INFO)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handlers


@contextmanager
def _logging(handlers: list[logging.Handler]) -> Iterator[None]:
    """Send messages where the handlers do, for the time of a block."""
    root, level = logging.getLogger(), logger.level
    for handler in handlers:
        root.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logger.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _version() -> str:
    """Say which version this is, and from which commit if that is known."""
    known = versions()
    commit = f" (commit {short_commit(known['commit'])})" if known.get("commit") else ""
    return f"brain-model-rsa {known['brain-model-rsa']}{commit}"


def _overview(names: dict[str, str]) -> str:
    lines = [
        "usage: python -m rsa <stage> [options] [--then <stage> ...]",
        "       python -m rsa run [study.yaml] [options of Snakemake]",
        "       python -m rsa --version",
        "",
        __doc__.strip(),
        "",
        "stages:",
    ]
    summaries = stages.summaries()
    lines += [f"  {shown:18s} {summaries[name]}" for shown, name in names.items()]
    return "\n".join(lines)


# ------------------------------------------------------------------------------- signature -> options


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the list of all options."""

    def error(self, message: str) -> Never:
        print(f"error: {flattened(message)}; see {self.prog} --help.", file=sys.stderr)
        raise SystemExit(2)


def build_parser(name: str, stage: Callable[..., None]) -> argparse.ArgumentParser:
    """Make the parser of a stage: an option for each parameter, and for each setting of a section."""
    parser = _Parser(prog=f"python -m rsa {name}", description=_summary(stage))
    helps = stages.PARAMETERS | _parameter_helps(stage)
    hints = get_type_hints(stage, include_extras=True)
    for parameter in inspect.signature(stage).parameters.values():
        hint = hints[parameter.name]
        if sections := _sections(hint):
            _add_section(parser, parameter.name, sections)
        else:
            _add_option(parser, parameter, hint, helps.get(parameter.name, ""))
    parser.add_argument("--log", type=Path, metavar="FILE", help="Also write messages, with versions, to this file.")
    parser.usage = " ".join([parser.prog, *_required(parser), "[options]"])
    return parser


def _required(parser: argparse.ArgumentParser) -> list[str]:
    """Write what a stage cannot do without, for its usage."""
    words = []
    for action in parser._actions:
        value = str(action.metavar or action.dest.upper()) + " ..." * (action.nargs == "+")
        if not action.option_strings:
            words.append(f"[{action.dest}]" if action.nargs == "?" else action.dest)
        elif action.required:
            words.append(f"{action.option_strings[0]} {value}")
    return words


def _add_option(parser: argparse.ArgumentParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    required = parameter.default is inspect.Parameter.empty
    plain = next(kind for kind in alternatives(hint) if kind is not type(None))
    many = get_origin(plain) in (list, tuple)
    kind = get_args(plain)[0] if many else plain
    default = "" if required else _default_of(parameter.default)
    positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    flags = [parameter.name] if positional else [_flag(parameter.name)]
    extra: dict[str, Any] = {"required": required, "default": argparse.SUPPRESS}
    if positional:
        extra = {} if required else {"nargs": "?", "default": parameter.default}
    if many:
        extra |= {"nargs": "+" if required else "*", "action": "extend"}  # may be given in several pieces
    elif parameter.default is None:
        extra |= {"nargs": "?"}  # without a value it is not given: a rule may write the option with nothing behind it
    if choices := _choices(hint):
        extra |= {"choices": choices, "metavar": parameter.name.upper()}
        text = f"{text} One of {', '.join(choices)}."
    extra |= {"action": "store_true"} if kind is bool else {"type": str if choices else kind}
    parser.add_argument(*flags, help=(text + default).replace("%", "%%"), **extra)


def _add_section(parser: argparse.ArgumentParser, prefix: str, sections: list[type[BaseModel]]) -> None:
    group = parser.add_argument_group(prefix.replace("_", " "))
    seen: set[str] = set()
    for section in sections:
        texts = descriptions(section)
        for name, field in section.model_fields.items():
            if name in seen:
                continue
            seen.add(name)
            fields = [of.model_fields[name] for of in sections if name in of.model_fields]
            defaults = {
                "" if of.is_required() else _default_of(of.get_default(call_default_factory=True)) for of in fields
            }
            default = (
                defaults.pop() if len(defaults) == 1 else ""
            )  # kinds with defaults of their own have none in common
            said, kinds = texts.get(name, ""), _kinds(sections, name)
            if len(kinds) > 1:
                said, default = " ".join(f"{kind}: {text}" for kind, text in kinds.items()), ""
            text = " ".join(f"{said}{default}".split())
            extra: dict[str, Any] = {"nargs": "*"} if _is_plain_sequence(field.annotation) else {}
            if _is_structure(field.annotation):
                extra = {"action": "append"}  # in several pieces, if it is long
            group.add_argument(
                _flag(f"{prefix}_{name}"),
                default=argparse.SUPPRESS,
                help=text.replace("%", "%%"),
                metavar="VALUE",
                **extra,
            )


def _kinds(sections: list[type[BaseModel]], name: str) -> dict[str, str]:
    """Return what each kind of a section says of itself, if this is the setting that chooses one."""
    fields = [(section, section.model_fields[name]) for section in sections if name in section.model_fields]
    tags = [
        (section, get_args(field.annotation)) for section, field in fields if get_origin(field.annotation) is Literal
    ]
    return {tag[0]: descriptions(section).get(name, "") for section, tag in tags if len(tag) == 1}


def _default_of(value: Any) -> str:
    """Say what holds if an option is not given, as it would be written; what is off or has settings of its own is not.

    Examples
    --------
    >>> _default_of(("voxels", "times")), _default_of(10.0), _default_of(None)
    (' (default: voxels times)', ' (default: 10)', '')
    """
    if (
        value is None
        or value is False
        or isinstance(value, BaseModel)
        or (hasattr(value, "__len__") and not len(value))
    ):
        return ""
    if isinstance(value, dict) or (isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value)):
        return ""
    values = value if isinstance(value, tuple) else (value,)
    shown = [f"{one:g}" if isinstance(one, float) else str(one).lower() if one is True else str(one) for one in values]
    return f" (default: {' '.join(shown)})"


def _collect(stage: Callable[..., None], given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Turn what the parser found into the positional and named arguments of the stage."""
    hints = get_type_hints(stage, include_extras=True)
    arguments: dict[str, Any] = {}
    for parameter in inspect.signature(stage).parameters.values():
        sections = _sections(hints[parameter.name])
        if not sections:
            if parameter.name in given:
                arguments[parameter.name] = given[parameter.name]
            continue
        prefix = parameter.name + "_"
        names = {name for section in sections for name in section.model_fields if prefix + name in given}
        values = {name: _parsed(given[prefix + name], prefix + name, name, sections) for name in names}
        if values or parameter.default is inspect.Parameter.empty:
            arguments[parameter.name] = _validated(hints[parameter.name], values, parameter.name)
    positional = [p.name for p in inspect.signature(stage).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    return [arguments.pop(name) for name in positional], arguments


def _validated(hint: Any, values: dict[str, Any], prefix: str) -> Any:
    try:
        return TypeAdapter(hint).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        names = [str(part) for part in first["loc"] if not isinstance(part, int)]
        option = _flag("_".join([prefix, *names[-1:]]))
        raise UserError(f"{option}: {first['msg'].removeprefix('Value error, ')}.") from error


def _parsed(value: Any, option: str, name: str, sections: list[type[BaseModel]]) -> Any:
    """Read JSON where a setting is more than a word, a number or a list of them; a word may stand there alone."""
    annotation = next(section.model_fields[name].annotation for section in sections if name in section.model_fields)
    if not _is_structure(annotation):
        return None if value == "null" else value
    try:
        return json.loads("".join(value))
    except ValueError as error:
        if WORD.fullmatch("".join(value)):
            return "".join(value)
        said = f"{_flag(option)}: {flattened(''.join(value))[:60]} is not valid JSON: {error}."
        raise UserError(f"{said} Names and words stand in double quotes, and all of it in single ones.") from error


# ------------------------------------------------------------------------------- settings -> options


def options_of(prefix: str, section: BaseModel | None) -> str:
    """Write a section of the configuration as options for the shell; settings at their default are left out.

    So a rule re-runs when a setting that it uses changes, and not because a later version has one more.
    """
    words = []
    for name, field in type(section).model_fields.items() if section is not None else ():
        value = getattr(section, name)
        tag = get_origin(field.annotation) is Literal
        if not tag and not field.is_required() and value == field.get_default(call_default_factory=True):
            continue
        if _is_structure(field.annotation):
            words += pieces(_flag(f"{prefix}_{name}"), json.dumps(_plain(value)))
        elif isinstance(value, tuple):
            words.extend([_flag(f"{prefix}_{name}"), *map(str, value)])
        else:
            words.append(f"{_flag(f'{prefix}_{name}')}={'null' if value is None else value}")
    return shlex.join(words)


def pieces(flag: str, text: str) -> list[str]:
    """Write an option as one word, or as several if it is longer than systems let a word be (128 KiB on Linux).

    Examples
    --------
    >>> pieces("--regions-masks", "{}")
    ['--regions-masks={}']
    """
    return [f"{flag}={text[start : start + PIECE]}" for start in range(0, max(len(text), 1), PIECE)]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


# --------------------------------------------------------------------------------- reading signatures


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _sections(hint: Any) -> list[type[BaseModel]]:
    return [kind for kind in alternatives(hint) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _choices(hint: Any) -> list[str]:
    """Return the words of which a parameter takes one or several; none if it takes any."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    named = [part.json_schema or {} for part in get_args(hint) if isinstance(part, WithJsonSchema)]
    return named[0].get("enum", []) if named else [name for part in get_args(hint) for name in _choices(part)]


def _is_plain_sequence(hint: Any) -> bool:
    return any(get_origin(kind) is tuple for kind in alternatives(hint)) and not _is_structure(hint)


def _is_structure(hint: Any) -> bool:
    """Say whether a setting has to be written as JSON: a mapping, a section, or a sequence of such."""
    for kind in alternatives(hint):
        inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
        if get_origin(kind) is dict or get_origin(inner) is tuple or _sections(inner):
            return True
    return False


def _summary(stage: Callable[..., None]) -> str:
    return (inspect.getdoc(stage) or "").split("\n")[0]


def _parameter_helps(stage: Callable[..., None]) -> dict[str, str]:
    """Read the help of the parameters from a numpy-style docstring."""
    text = inspect.getdoc(stage) or ""
    section = re.search(r"Parameters\n-+\n(.*?)(?:\n\n\w+\n-+\n|\Z)", text, flags=re.S)
    helps = {}
    for names, body in re.findall(
        r"^(\w[\w, ]*) : [^\n]*\n((?:    [^\n]*\n?)+)", section[1] if section else "", flags=re.M
    ):
        for name in names.split(","):
            helps[name.strip()] = " ".join(body.split())
    return helps
