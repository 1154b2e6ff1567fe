"""The functions of a convolutional network besides the convolution, as torch defines them."""

from jaxgroups._functional.local_response import local_response_norm as local_response_norm
from jaxgroups._functional.norm import batch_norm as batch_norm
from jaxgroups._functional.norm import group_norm as group_norm
from jaxgroups._functional.norm import instance_norm as instance_norm
from jaxgroups._functional.norm import layer_norm as layer_norm
from jaxgroups._functional.norm import rms_norm as rms_norm
from jaxgroups._functional.pool import avg_pool1d as avg_pool1d
from jaxgroups._functional.pool import avg_pool2d as avg_pool2d
from jaxgroups._functional.pool import avg_pool3d as avg_pool3d
from jaxgroups._functional.pool import lp_pool1d as lp_pool1d
from jaxgroups._functional.pool import lp_pool2d as lp_pool2d
from jaxgroups._functional.pool import lp_pool3d as lp_pool3d
from jaxgroups._functional.pool import max_pool1d as max_pool1d
from jaxgroups._functional.pool import max_pool2d as max_pool2d
from jaxgroups._functional.pool import max_pool3d as max_pool3d
from jaxgroups._functional.prelu import prelu as prelu
