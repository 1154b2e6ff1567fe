"""The framework that the metadata of safetensors declare, by an agreement of their writers."""

from collections.abc import Mapping

KEY = "format"
_TORCH = ("pt", "torch", "pytorch")


def other_framework(metadata: Mapping[str, str]) -> str | None:
    """What stands under ``format``; None if it is torch, or if nothing does."""
    said = metadata.get(KEY)
    return None if said is None or said.lower() in _TORCH else said
