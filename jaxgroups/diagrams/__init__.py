"""Pictures of what `groups` does: which filter reads which channels, and what that costs.

`draw` takes a spec or a layer; the picture becomes .svg, .png, .pdf, or text for a terminal.
Data flows one way: structure (what there is) -> view (what is shown) -> layout (a scene of
shapes at their places) -> matplotlib; the text form goes from the view straight to rich.
"""

from jaxgroups.diagrams._picture import Picture as Picture
from jaxgroups.diagrams._picture import draw as draw
from jaxgroups.diagrams._structure import Filter as Filter
from jaxgroups.diagrams._structure import Group as Group
from jaxgroups.diagrams._structure import Structure as Structure
from jaxgroups.diagrams._structure import structure as structure

__all__ = ["Filter", "Group", "Picture", "Structure", "draw", "structure"]


def __dir__() -> list[str]:
    return __all__
