"""Write files that are complete or do not exist, even if the process is killed.

If the system supports it (Linux, most file systems), a file has no name while it is written, so a
process that is killed leaves nothing behind. Otherwise it has a temporary name in the directory.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jaxgroups.convert._files.base import CheckpointError, about

_UNNAMED = getattr(os, "O_TMPFILE", None)
_CANNOT = (
    errno.EISDIR,
    errno.EOPNOTSUPP,
    errno.EINVAL,
    errno.ENOSYS,
)  # errors of file systems without unnamed files


@contextmanager
def new_file(path: Path, overwrite: bool) -> Iterator[tuple[BinaryIO, Path]]:
    """An open file and a path to read it by; at the end of the block it gets the name `path`.

    After an exception in the block, nothing is left.

    Raises:
      CheckpointError: `path` exists and `overwrite` is not set, or is a symbolic link or a
        directory.
      OSError: the file cannot be written.
    """
    try:
        with _new_file(path, overwrite) as opened:
            yield opened
    except OSError as error:  # the error of a full disk has no file name
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _new_file(path: Path, overwrite: bool) -> Iterator[tuple[BinaryIO, Path]]:
    check_free(path, overwrite)
    descriptor = _unnamed(path.parent)
    if descriptor is None:
        hidden = hidden_name(path)
        try:
            with open(hidden, "xb") as file:
                yield file, hidden
                _flush(file)
            check_free(path, overwrite)
            os.replace(hidden, path)
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise
    else:
        with open(descriptor, "w+b") as file:
            yield file, _path_of(descriptor)
            _flush(file)
            _name(descriptor, path, overwrite)
    _sync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, complete or not at all; an existing one is replaced."""
    with about(path), new_file(path, overwrite=True) as (file, _):
        file.write(text.encode())


_EXISTS = "the file is there already: overwrite=True, or --overwrite, replaces it"


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link, so that no file elsewhere is changed.

    Raises:
      CheckpointError: it is a symbolic link.
    """
    if path.is_symlink():
        raise CheckpointError(
            f"it is a symbolic link to {os.readlink(path)}, and neither the link nor what it leads "
            "to is overwritten: remove the link, or give the path that it leads to"
        )


def check_free(path: Path, overwrite: bool) -> None:
    """Raise CheckpointError if a file of that name must not be written."""
    refuse_link(path)
    if path.is_dir():
        raise CheckpointError("a directory is in the way: give the name of a file")
    if not overwrite and os.path.lexists(path):
        raise CheckpointError(_EXISTS)


def _unnamed(directory: Path) -> int | None:
    if _UNNAMED is None or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(directory, _UNNAMED | os.O_RDWR, 0o666)
    except OSError as error:
        if error.errno in _CANNOT:
            return None
        raise


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def _name(descriptor: int, path: Path, overwrite: bool) -> None:
    """Give an unnamed file its name; an existing file is replaced through a hidden name."""
    check_free(path, overwrite)
    hidden = hidden_name(path)
    try:
        _link(descriptor, hidden if overwrite else path)
        if overwrite:
            os.replace(hidden, path)
    except FileExistsError as error:
        raise CheckpointError(_EXISTS) from error
    finally:
        if overwrite:
            hidden.unlink(missing_ok=True)


def _link(descriptor: int, target: Path) -> None:
    directory = os.open(target.parent, os.O_RDONLY)
    try:  # with a directory given, link follows /proc to the file itself
        os.link(_path_of(descriptor), target.name, dst_dir_fd=directory)
    except FileExistsError:
        raise
    except OSError:  # this file system cannot link an unnamed file: copy it
        try:
            with open(_path_of(descriptor), "rb") as source, open(target, "xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                _flush(copy)
        except BaseException as error:
            if not isinstance(error, FileExistsError):
                target.unlink(missing_ok=True)
            raise
    finally:
        os.close(directory)


def hidden_name(path: Path) -> Path:
    """A new name in the folder of `path`, for a file that is being written."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    """Flush the new name to the disk, if the system supports that for a directory."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
