"""The framework that the metadata of a safetensors file declare, by convention."""

from collections.abc import Mapping

KEY = "format"
_TORCH = ("pt", "torch", "pytorch")


def other_framework(metadata: Mapping[str, str]) -> str | None:
    """The value of ``format``; None if it is torch or missing."""
    declared = metadata.get(KEY)
    return None if declared is None or declared.lower() in _TORCH else declared
