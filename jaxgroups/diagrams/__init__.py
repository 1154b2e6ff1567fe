"""Pictures of what `groups` does: which filter reads which channels, and what that costs.

`draw` takes a spec or a layer; the picture becomes .svg, .png, .pdf, or text for a terminal.
Data flows one way: structure (what there is) -> view (what is shown) -> layout (a scene of
shapes at their places) -> matplotlib; the text form goes from the view straight to rich.
"""

from jaxgroups._spec.spec import ConvSpec
from jaxgroups.diagrams._picture import Picture as Picture
from jaxgroups.diagrams._picture import draw as draw
from jaxgroups.diagrams._picture import mimebundle
from jaxgroups.diagrams._structure import Filter as Filter
from jaxgroups.diagrams._structure import Group as Group
from jaxgroups.diagrams._structure import Structure as Structure
from jaxgroups.diagrams._structure import structure as structure

ConvSpec.notebook = mimebundle
