"""Containers whose outputs differ only because they end with different layers in the two models.

A block of torch may end after an activation that the Flax model applies in the next block. Then the
outputs of the blocks differ although all layers agree.
"""

from collections.abc import Collection

from jaxgroups.convert._compare.trace import Call


def with_other_ends(
    calls: list[Call], compared: Collection[str], different: Collection[str]
) -> set[str]:
    """The names of the containers whose different outputs are no difference of the models.

    All compared layers of such a container agree, and so does the layer after it, or the whole
    model if none comes after it. The whole model itself is never one of them.

    Args:
      calls: the calls of torch's modules, in order of their ends.
      compared: names of the modules that have a counterpart in the Flax model.
      different: those of them whose outputs differ.
    """
    containers = {name for name in compared if any(_within(other, name) for other in compared)}
    leaves = [name for name in compared if name not in containers]
    result = set()
    for call in calls:
        if call.name in containers and call.name in different and call.name:
            after = _successor(call, calls, leaves)
            needed = [name for name in leaves if _within(name, call.name)]
            needed.append("" if after is None else after)
            if all(name in compared and name not in different for name in needed):
                result.add(call.name)
    return result


def _within(name: str, container: str) -> bool:
    return name != container and (not container or name.startswith(f"{container}."))


def _successor(block: Call, calls: list[Call], leaves: Collection[str]) -> str | None:
    """The first compared layer after a block that may depend on its output.

    A layer that reads only tensors from before the end of the block, such as the convolution of a
    shortcut, does not depend on it, nor do layers that read only the outputs of such layers.
    """
    names = {call.name for call in calls}
    parents = {name for name in names if any(_within(other, name) for other in names)}
    independent: set[int] = set()
    for call in calls:
        if call.start < block.end or call.name in parents:
            continue
        own = any(t.key == block.makes.key for t in call.reads)
        before = [t.since < block.end or t.key in independent for t in call.reads]
        if call.reads and all(before) and not own:
            independent.add(call.makes.key)
        elif call.name in leaves:
            return call.name
    return None
