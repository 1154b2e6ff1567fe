"""The rules of operations, one file a kind; importing this package fills the table."""

from jaxgroups.port._ops import attention as attention
from jaxgroups.port._ops import create as create
from jaxgroups.port._ops import elementwise as elementwise
from jaxgroups.port._ops import feature_map as feature_map
from jaxgroups.port._ops import rearrange as rearrange
from jaxgroups.port._ops import recurrent as recurrent
from jaxgroups.port._ops import reduce as reduce
from jaxgroups.port._ops import shape as shape
