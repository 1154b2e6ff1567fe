"""Convolutions with groups for JAX that mean what PyTorch's mean and carry its weights."""

from jaxgroups import diagrams as diagrams
from jaxgroups._explain import Explanation as Explanation
from jaxgroups._explain import explain as explain
from jaxgroups._op.accelerate import Acceleration as Acceleration
from jaxgroups._op.accelerate import accelerate as accelerate
from jaxgroups._op.conv import conv1d as conv1d
from jaxgroups._op.conv import conv2d as conv2d
from jaxgroups._op.conv import conv3d as conv3d
from jaxgroups._op.conv_transpose import conv_transpose1d as conv_transpose1d
from jaxgroups._op.conv_transpose import conv_transpose2d as conv_transpose2d
from jaxgroups._op.conv_transpose import conv_transpose3d as conv_transpose3d
from jaxgroups._op.lax_api import conv_general_dilated as conv_general_dilated
from jaxgroups._spec.spec import ConvSpec as ConvSpec

__version__ = "0.1.0"
