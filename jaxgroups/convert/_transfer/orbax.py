"""Write Flax parameters as an orbax directory, nested by path, which Flax can load."""

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxgroups.convert._files import CheckpointError
from jaxgroups.convert._files.atomic import hidden_name, refuse_link
from jaxgroups.convert._files.base import about
from jaxgroups.convert._transfer.move import Tensor

_DISK_ERRORS = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EFBIG", "EDQUOT", "EACCES", "EPERM", "EROFS", "EIO", "ENOENT")
    if hasattr(errno, name)
)


def write_orbax(target: Path, tensors: list[Tensor], overwrite: bool) -> None:
    """Write a nested dict by Flax path, for ``nnx.replace_by_pure_dict`` and linen's ``apply``.

    The directory appears complete or not at all; an older one is replaced only by a complete one.

    Raises:
      CheckpointError: the target exists or is a symbolic link, orbax is not installed or fails.
      OSError: the disk is full, or the target cannot be written; nothing is left of it.
    """
    try:
        import orbax.checkpoint as ocp  # comes with flax, loaded only for this
    except ImportError as error:
        raise CheckpointError(f"orbax-checkpoint is needed to write {target}: {error}") from error
    with about(target):
        refuse_link(target)
        if target.exists() and not (overwrite and target.is_dir()):
            raise CheckpointError("it exists already: give another name, or overwrite")
    tree: dict[str, Any] = {}
    for name, _, _, data in tensors:
        _put(tree, name.split("."), data())
    hidden = hidden_name(target.absolute())
    old = hidden.with_suffix(".old")
    try:
        with _one_error(target):
            hidden.mkdir()  # it contains orbax's temporary directories, and is removed with them
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(hidden / "new", tree)
        if target.exists():
            target.rename(old)
        (hidden / "new").rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _one_error(target: Path) -> Iterator[None]:
    """Turn errors that orbax raises or logs into one OSError or CheckpointError with the target.

    orbax logs a failed write of its metadata and continues, so a logged error is a failure.
    """
    logged: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            logged.append(record.getMessage())
        return False

    logger = logging.getLogger("absl")
    logger.addFilter(collect)
    try:
        yield
        if logged:
            raise CheckpointError(logged[0])
    except Exception as error:
        text = str(error)
        for code in _DISK_ERRORS:  # orbax has the system's message, but rarely its number
            if os.strerror(code) in text:
                raise OSError(code, os.strerror(code), str(target)) from None
        if isinstance(error, OSError):
            raise
        first = text.strip().split("\n")[0]
        raise CheckpointError(f"{target}: orbax could not write it: {first:.200}") from None
    finally:
        logger.removeFilter(collect)


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    *parts, last = path
    for part in parts:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise CheckpointError(f"{'.'.join(path)} is inside another parameter: not for orbax")
    if last in tree:
        raise CheckpointError(f"{'.'.join(path)} is a duplicate name")
    tree[last] = value
