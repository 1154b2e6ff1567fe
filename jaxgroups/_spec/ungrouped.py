"""The ordinary convolution beside a grouped one."""

from dataclasses import replace

from jaxgroups._spec.spec import ConvSpec


def ungrouped(spec: ConvSpec) -> ConvSpec:
    """The same convolution with ``groups=1``."""
    return replace(spec, groups=1)
