"""The functions of a convolutional network besides the convolution, as torch defines them."""

from jaxgroups._functional.affine_grid import affine_grid as affine_grid
from jaxgroups._functional.grid_sample import grid_sample as grid_sample
from jaxgroups._functional.interpolate import interpolate as interpolate
from jaxgroups._functional.pool import avg_pool1d as avg_pool1d
from jaxgroups._functional.pool import avg_pool2d as avg_pool2d
from jaxgroups._functional.pool import avg_pool3d as avg_pool3d
from jaxgroups._functional.pool import lp_pool1d as lp_pool1d
from jaxgroups._functional.pool import lp_pool2d as lp_pool2d
from jaxgroups._functional.pool import lp_pool3d as lp_pool3d
from jaxgroups._functional.pool import max_pool1d as max_pool1d
from jaxgroups._functional.pool import max_pool2d as max_pool2d
from jaxgroups._functional.pool import max_pool3d as max_pool3d
