"""What a user got wrong, said in one line."""

import errno
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

__all__ = ["Problems", "UserError", "did_you_mean", "flattened", "is_mistake", "listed", "one_line", "told"]


def flattened(text: str) -> str:
    r"""Return a text on one line, letter by letter the same otherwise.

    Examples
    --------
    >>> flattened("while scanning\n  in line 3:\n  a  b")
    'while scanning in line 3: a  b'
    """
    return " ".join(filter(None, map(str.strip, text.splitlines())))


class UserError(Exception):
    """A mistake in the data, the configuration or the command line.

    The command line prints the message without a traceback and exits with 2; the message says what was
    expected, what came, and what to do. It is one line, whatever is put into it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(flattened(message))


class Problems(UserError):
    """Several mistakes at once, a line each.

    Parameters
    ----------
    what : str
        Where they are: "The configuration".
    problems : sequence of str
        One or more.
    """

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.problems = lines = [flattened(problem) for problem in problems]
        if len(lines) == 1:
            Exception.__init__(self, f"{what} has a problem: {lines[0]}")
        else:
            Exception.__init__(self, "\n  - ".join([f"{what} has {len(lines)} problems:", *lines]))


def is_mistake(error: Exception) -> bool:
    """Say whether an error is a mistake of the user's, as is a name that is too long for any file."""
    return isinstance(error, UserError) or (isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG)


def told(error: Exception) -> str:
    """Return the message for a mistake of the user's."""
    if isinstance(error, UserError):
        return str(error)
    name = str(getattr(error, "filename", "") or "")
    return flattened(f"A name is longer than files may have: {name[:60]}... ({len(name)} letters); shorten it.")


def did_you_mean(name: str, choices: Iterable[str], n_suggestions: int = 1) -> str:
    """Return a hint with the names closest to `name`, or an empty string when none is close.

    Examples
    --------
    >>> did_you_mean("pearsn", ["spearman", "pearson"])
    " Did you mean 'pearson'?"
    >>> did_you_mean("x", ["spearman"])
    ''
    """
    near = get_close_matches(name, list(choices), n=n_suggestions, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def listed(names: Sequence[str], n_shown: int = 8) -> str:
    """Return `names` quoted and joined by commas, cut after `n_shown` with the number of the others.

    Examples
    --------
    >>> listed(["a", "b", "c"], n_shown=2)
    "'a', 'b' and 1 more"
    """
    shown = ", ".join(repr(str(name)) for name in names[:n_shown])
    n_more = len(names) - n_shown
    return f"{shown} and {n_more} more" if n_more > 0 else shown


def one_line(error: BaseException, n_shown: int = 200) -> str:
    r"""Return what an error of a library says, in one line without a full stop, cut after `n_shown` letters.

    Examples
    --------
    >>> one_line(ValueError("no\n  header."))
    'no header'
    >>> one_line(EOFError())
    'EOFError'
    """
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= n_shown else text[: n_shown - 4] + " ..."
