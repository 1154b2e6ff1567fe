"""Peak memory of a file-to-file conversion: near the largest tensor, not the model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TORCH
from support import torch_files

import jaxgroups
import jaxgroups.convert as jc
from jaxgroups.convert._files import TensorInfo, write_safetensors

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="this system does NOT tell the peak memory of a process, so it is not tested",
)
MB = 1 << 20
COUNT, SIZE = 24, 8 * MB  # of tensors, and bytes of each
ROWS = SIZE // 4 // 1024
# as documented: tensors in memory at once, and what is mapped: of the target to
# read it back, and of the source where the safetensors library reads it
LIMITS = {"convert": 2 * SIZE + 32 * MB, "verify": 4 * SIZE + 64 * MB}
BY_TORCH = 2 * 32 * MB + 3 * SIZE + 16 * MB  # which maps the source as well
MEASURE = """
import json, sys
import jaxgroups.convert as jc

def peak():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["VmHWM"].split()[0]) * 1024

if sys.argv[5] == "torch":
    import torch
plan = jc.Plan.from_json("plan.json")
open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
before = peak()
reader = None if sys.argv[5] == "None" else sys.argv[5]
if sys.argv[1] == "verify":
    assert jc.verify_file(sys.argv[2], sys.argv[3], plan, reader=reader) == []
else:
    jc.convert_file(sys.argv[2], sys.argv[3], plan, to=sys.argv[4], reader=reader, overwrite=True)
print(json.dumps(peak() - before))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of 192 MB in every format, and its plan: each kernel is transposed."""
    directory = tmp_path_factory.mktemp("memory")
    names = [f"l{i}.weight" for i in range(COUNT)]
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal((ROWS, 1024)).astype("f4") for n in names}
    infos = [(n, TensorInfo((ROWS, 1024), "float32"), lambda n=n: arrays[n]) for n in names]
    write_safetensors(directory / "a.safetensors", infos)
    for kind in torch_files.FORMATS:
        torch_files.state_dict(directory / f"{kind}.pth", kind, arrays)
    entries = [
        jc.Entry(
            "ok",
            (name,),
            name.replace("weight", "kernel"),
            jc.Permute((1, 0)),
            (ROWS, 1024),
            (1024, ROWS),
            "float32",
        )
        for name in names
    ]
    plan = jc.Plan("model", entries)
    plan.to_json(directory / "plan.json")
    jc.convert_file(directory / "a.safetensors", directory / "flax.safetensors", plan)
    return directory


needs_torch = pytest.mark.skipif(
    not TORCH, reason="torch is NOT installed: its reader goes untested"
)
WAYS = [
    ("convert", "a.safetensors", "out.safetensors", "flax", "None"),
    ("convert", "flax.safetensors", "out.safetensors", "torch", "None"),
    ("convert", "torch-zip.pth", "out.safetensors", "flax", "own"),
    pytest.param(
        ("convert", "torch-zip.pth", "out.safetensors", "flax", "torch"), marks=needs_torch
    ),
    ("convert", "torch-legacy.pth", "out.safetensors", "flax", "None"),
    ("verify", "a.safetensors", "flax.safetensors", "flax", "None"),
    pytest.param(
        ("verify", "torch-zip.pth", "flax.safetensors", "flax", "torch"), marks=needs_torch
    ),
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_peak_memory(model, way, record_testsuite_property):
    package = str(Path(jaxgroups.__file__).parent.parent)
    code = f"import sys; sys.path.insert(0, {package!r})\n{MEASURE}"
    done = subprocess.run(
        [sys.executable, "-c", code, *way], cwd=model, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout)
    record_testsuite_property(f"peak memory of {' '.join(way)}: MB", f"{grown / MB:.0f}")
    limit = BY_TORCH if way[4] == "torch" else LIMITS[way[0]]
    assert grown < limit < COUNT * SIZE * 0.6, f"{grown / MB:.0f} MB, {grown / SIZE:.1f} tensors"


def test_the_limits_are_documented():
    """In MiB, as `LIMITS` has them."""
    texts = {"convert": jc.convert_file.__doc__, "verify": jc.verify_file.__doc__}
    known = {"convert": ("twice", 2, 32), "verify": ("four times", 4, 64)}
    for name, (times, limit, more) in known.items():
        text = " ".join(str(texts[name]).split())
        assert f"grows by at most {times} the largest tensor and {more} MiB" in text
        assert LIMITS[name] == limit * SIZE + more * MB
