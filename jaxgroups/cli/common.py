"""What the subcommands share: options given as JSON or as a shape, and errors as exit statuses.

Exit status: 0 success, 1 a check failed, 2 wrong command line, file or model, 130 interrupted.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from jaxgroups._printable import printable, printable_lines
from jaxgroups.convert import ConversionError

Run = Callable[[argparse.Namespace], int]


class UsageError(ValueError):
    """A command line that cannot be run; `data` is printed too with --json."""

    def __init__(self, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.data = data or {}


def json_object(option: str, text: str) -> dict[str, Any]:
    """The JSON object that an option such as ``--kwargs`` was given.

    Raises:
      UsageError: invalid JSON, or JSON other than an object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'{option} must be JSON such as {{"train": false}}: {error}') from error
    if not isinstance(value, dict):
        raise UsageError(f"{option} must be a JSON object, got {text}")
    return value


def shape(option: str, text: str) -> tuple[int, ...]:
    """The shape that an option such as ``--example`` was given: ``1,224,224,3``.

    Raises:
      UsageError: something else than integers >= 0 with commas between them.
    """
    if not re.fullmatch(r"\d+(,\d+)*", text, re.ASCII):
        raise UsageError(f"{option} must be a shape such as 1,224,224,3, got {text!r}")
    return tuple(int(size) for size in text.split(","))


def guarded(run: Run, *, json_errors: bool = True) -> Run:
    """`run` with its errors as a message on stderr; with --json also as data, if `json_errors`."""

    def failed(arguments: argparse.Namespace, text: str, status: int, data: dict[str, Any]) -> int:
        print(printable_lines(text), file=sys.stderr)
        if arguments.json and json_errors:
            print(json.dumps({"error": text} | data, indent=2))
        return status

    def guarded_run(arguments: argparse.Namespace) -> int:
        command = f"jaxgroups {arguments.command}"
        try:
            return run(arguments)
        except ConversionError as error:
            return failed(arguments, str(error), 1, error.as_dict())
        except BrokenPipeError:
            raise  # `main` exits with 141
        except (ValueError, TypeError, OSError, MemoryError, ImportError) as error:
            text = f"{command}: {_message(error)}"
            return failed(arguments, text, 2, getattr(error, "data", None) or {})
        except KeyboardInterrupt:
            return failed(arguments, f"{command}: interrupted", 130, {})

    return guarded_run


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.strerror}{f': {error.filename}' if error.filename else ''}")
    return str(error) or type(error).__name__
