"""Write Flax parameters as an orbax directory, nested by path, which Flax itself loads."""

import shutil
from pathlib import Path
from typing import Any

from jaxgroups.convert._files import CheckpointError
from jaxgroups.convert._files.atomic import hidden_name
from jaxgroups.convert._transfer.move import Tensor


def write_orbax(target: Path, tensors: list[Tensor], overwrite: bool) -> None:
    """Write a nested dict by Flax path, for ``nnx.replace_by_pure_dict`` and linen's ``apply``.

    The directory appears complete or not at all; an older one is replaced only by a complete one.

    Raises:
      CheckpointError: the target exists, or orbax is not installed.
    """
    try:
        import orbax.checkpoint as ocp  # comes with flax, loaded only for this
    except ImportError as error:
        raise CheckpointError(f"orbax-checkpoint is needed to write {target}: {error}") from error
    if target.is_symlink() or (target.exists() and not (overwrite and target.is_dir())):
        raise CheckpointError(f"{target} exists already: give another name, or overwrite")
    tree: dict[str, Any] = {}
    for name, _, _, data in tensors:
        _put(tree, name.split("."), data())
    fresh = hidden_name(target.absolute())
    old = fresh.with_suffix(".old")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(fresh, tree)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    *parts, last = path
    for part in parts:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise CheckpointError(f"{'.'.join(path)} is inside another parameter: not for orbax")
    if last in tree:
        raise CheckpointError(f"{'.'.join(path)} is a duplicate name")
    tree[last] = value
