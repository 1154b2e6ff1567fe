"""Pictures of what `groups` does: which filter reads which channels, and how many weights it has.

`draw` takes a spec or a layer; the picture is saved as .svg, .png or .pdf, or printed as text.
The stages: structure (all channels and filters) -> view (those shown) -> layout (a scene of placed
shapes) -> matplotlib. The text form is made by rich from the view.
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
