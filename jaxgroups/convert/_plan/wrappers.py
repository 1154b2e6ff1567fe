"""Parts that torch's wrappers add to names: ``_orig_mod`` and ``module``."""

from collections.abc import Iterable, Mapping

from jaxgroups._printable import printable
from jaxgroups.convert._plan.plan import Entry

_WRAPPERS = {"_orig_mod": "torch.compile", "module": "DataParallel"}


def wrapper_hints(entries: Iterable[Entry], modules: Mapping[str, str], prefix: str) -> list[str]:
    """The arguments to pass if missing keys exist with the part of a wrapper; empty otherwise.

    Args:
      entries: the entries of the plan.
      modules: the Flax path of each module by its torch name.
      prefix: that of the plan.
    """
    entries = list(entries)
    missing = [e.torch[0] for e in entries if e.status == "missing"]
    free = [e.torch[0] for e in entries if e.status == "unexpected"]
    by_rest = {_without(key): key for key in free if _without(key) != key}
    root, at_root = prefix.removesuffix("."), 0
    wrapped: dict[str, str] = {}  # the torch name of a module, and the one in the file
    for key in missing:
        found = by_rest.get(_without(key))
        inserted = _inserted(key, found) if found else {}
        at_root += root in inserted
        if any(wrapped.setdefault(name, there) != there for name, there in inserted.items()):
            return []
    if not wrapped or at_root not in (0, len(missing)):
        return []
    front = f"{wrapped.pop(root)}." if at_root else prefix
    given = [] if front == prefix else [f'prefix="{front}"']
    if wrapped:
        if not wrapped.keys() <= modules.keys():
            parts = " and ".join(_parts(wrapped.values()))
            return [f"the checkpoint has {parts} within its names: remove it from them"]
        table = {modules[name]: there.removeprefix(front) for name, there in wrapped.items()}
        pairs = ", ".join(f'"{path}": "{there}"' for path, there in table.items())
        given.insert(0, f"names={{{pairs}}}")
    elif front != prefix:
        return [printable(f'all keys begin with "{front}": pass {given[0]}')]
    parts = " and ".join(_parts([front, *wrapped.values()]))
    return [printable(f"the checkpoint has {parts} within its names: pass {', '.join(given)}")]


def _without(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _inserted(key: str, there: str) -> dict[str, str]:
    """The names before each part of a wrapper in `there`: without and with such parts."""
    parts, others = key.split("."), there.split(".")
    found: dict[str, str] = {}
    same = 0
    for count, part in enumerate(others, 1):
        if same < len(parts) and part == parts[same]:
            same += 1
        elif part in _WRAPPERS:
            found[".".join(parts[:same])] = ".".join(others[:count])
        else:
            return {}
    return found if same == len(parts) else {}


def _parts(names: Iterable[str]) -> list[str]:
    found = {part for name in names for part in name.split(".")}
    return [f"{part} (from {who})" for part, who in _WRAPPERS.items() if part in found]
