"""Tiny tables of layers for the tests of the benchmarks; makes `benchmarks` importable."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # last, so that an installed jaxgroups is the one that is tested

PLAIN = (
    "model,layer,in_channels,out_channels,height,width,kernel_h,kernel_w,stride_h,stride_w,"
    "padding_h,padding_w,dilation_h,dilation_w,groups"
)
TINY = f"""{PLAIN}
first,Conv2d,6,6,5,6,3,2,1,1,1,0,1,1,6
second,Conv2d,8,12,7,6,3,3,2,2,1,1,1,1,4
"""
OTHERS = """model,layer,in_channels,out_channels,height,width,depth,kernel_h,kernel_w,kernel_d,\
stride_h,stride_w,padding_w,output_padding_w,dilation_w,groups,batch
causal,Conv1d,4,4,,9,,,4,,,,3,,,4,3
up,ConvTranspose2d,6,4,3,4,,3,2,,2,3,0,1,,2,
volume,Conv3d,4,6,3,4,5,2,1,2,,,,,,2,
"""


def written(folder, content, name="layers.csv"):
    """The path of a new file with this content."""
    path = folder / name
    path.write_text(content)
    return path
