"""The functions of a convolutional network besides the convolution, as torch defines them."""

<<<<<<< HEAD
<<<<<<< HEAD
from jaxgroups._functional.adaptive_pool import adaptive_avg_pool1d as adaptive_avg_pool1d
from jaxgroups._functional.adaptive_pool import adaptive_avg_pool2d as adaptive_avg_pool2d
from jaxgroups._functional.adaptive_pool import adaptive_avg_pool3d as adaptive_avg_pool3d
from jaxgroups._functional.adaptive_pool import adaptive_max_pool1d as adaptive_max_pool1d
from jaxgroups._functional.adaptive_pool import adaptive_max_pool2d as adaptive_max_pool2d
from jaxgroups._functional.adaptive_pool import adaptive_max_pool3d as adaptive_max_pool3d
from jaxgroups._functional.fold import fold as fold
from jaxgroups._functional.fold import unfold as unfold
from jaxgroups._functional.max_unpool import max_unpool1d as max_unpool1d
from jaxgroups._functional.max_unpool import max_unpool2d as max_unpool2d
from jaxgroups._functional.max_unpool import max_unpool3d as max_unpool3d
from jaxgroups._functional.pad import pad as pad
=======
from jaxgroups._functional.local_response import local_response_norm as local_response_norm
from jaxgroups._functional.norm import batch_norm as batch_norm
from jaxgroups._functional.norm import group_norm as group_norm
from jaxgroups._functional.norm import instance_norm as instance_norm
from jaxgroups._functional.norm import layer_norm as layer_norm
from jaxgroups._functional.norm import rms_norm as rms_norm
>>>>>>> w-norms
=======
from jaxgroups._functional.affine_grid import affine_grid as affine_grid
from jaxgroups._functional.grid_sample import grid_sample as grid_sample
from jaxgroups._functional.interpolate import interpolate as interpolate
>>>>>>> w-resize
from jaxgroups._functional.pool import avg_pool1d as avg_pool1d
from jaxgroups._functional.pool import avg_pool2d as avg_pool2d
from jaxgroups._functional.pool import avg_pool3d as avg_pool3d
from jaxgroups._functional.pool import lp_pool1d as lp_pool1d
from jaxgroups._functional.pool import lp_pool2d as lp_pool2d
from jaxgroups._functional.pool import lp_pool3d as lp_pool3d
from jaxgroups._functional.pool import max_pool1d as max_pool1d
from jaxgroups._functional.pool import max_pool2d as max_pool2d
from jaxgroups._functional.pool import max_pool3d as max_pool3d
<<<<<<< HEAD
from jaxgroups._functional.shuffle import channel_shuffle as channel_shuffle
from jaxgroups._functional.shuffle import pixel_shuffle as pixel_shuffle
from jaxgroups._functional.shuffle import pixel_unshuffle as pixel_unshuffle
=======
from jaxgroups._functional.prelu import prelu as prelu
>>>>>>> w-norms
