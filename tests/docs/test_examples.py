"""Every example runs, with torch and without, and prints the expected numbers."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.command import python

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCH = find_spec("torch") is not None
BLOCKED = """
import runpy, sys
sys.modules["torch"] = None  # an import of torch raises
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def number(pattern, out):
    """The only number that a pattern matches in the output of an example."""
    found = re.findall(pattern, out)
    assert len(found) == 1, out
    return float(found[0])


def experiment(out, torch):
    assert out.splitlines() == [
        "Conv2d(4, 8, kernel_size=(1, 1), stride=(1, 1), groups=2, bias=False) has 16 parameters",
        "weight (8, 2, 1, 1) becomes the kernel (1, 1, 2, 8)",
        "output for ones: 3, 7, 11, 15, 19, 23, 27, 31",
        "output with zeros in the second group: 3, 7, 11, 15, 0, 0, 0, 0",
    ]


def train(out, torch):
    # 16 * 32 + 32, (32 / 8) * 32 * 9 + 32 and 32 * 16 + 16
    assert f"Param: {544 + 1184 + 528:,}" in out
    assert "groups=8" in out
    first, last = (number(pattern, out) for pattern in (r"loss (\S+) ->", r"-> (\S+)"))
    assert first > 1.2  # before training: log 4 = 1.39 for four classes
    assert last < 0.3
    assert number(r"accuracy on new images: (\d+)%", out) > 90  # 25 by chance


def torch_weights(out, torch):
    assert ("torch is not installed" in out) is not torch
    # (9 + 2 - 3) // 2 + 1 = 5 and (10 + 2 - 3) // 2 + 1 = 5; 8 * 2 - 2 + 3 + 1 = 18 and 20
    found = re.findall(r"output \((.*?)\), largest difference (\S+)", out)
    assert [shape for shape, _ in found] == ["2, 12, 5, 5", "2, 12, 18, 20"]
    assert all(float(difference) < 1e-5 for _, difference in found)


def checkpoint(out, torch):
    assert ("torch is not installed" in out) is not torch
    assert "10 ok, 1 counter" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("ok ")]
    assert len(rows) == 10
    kernels = {row[1]: row[-2] for row in rows if "Permute" in " ".join(row)}
    assert set(kernels) == {"depthwise.weight", "head.weight", "up.weight"}
    assert "output (2, 5)" in out
    if torch:
        assert number(r"largest difference to torch: (\S+)", out) < 1e-5
    assert "11 tensors come back bit for bit" in out
    assert "a model filled from it gives the same output" in out


CHECKS = {
    "01_experiment.py": experiment,
    "02_train_grouped_block.py": train,
    "03_torch_weights.py": torch_weights,
    "04_checkpoint.py": checkpoint,
}
WITH_TORCH = [name for name in CHECKS if "import torch" in (EXAMPLES / name).read_text()]


def test_every_example_is_checked():
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix == ".py"} == set(CHECKS)
    assert WITH_TORCH == ["03_torch_weights.py", "04_checkpoint.py"]


@pytest.mark.parametrize("name", CHECKS)
def test_example(tmp_path, name):
    """Run in an empty folder; the example leaves no file there."""
    done = python("-W", "error", str(EXAMPLES / name), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    CHECKS[name](done.stdout, TORCH)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not TORCH, reason="torch is NOT installed: test_example ran without it")
@pytest.mark.parametrize("name", WITH_TORCH)
def test_example_without_torch(tmp_path, name):
    done = python("-c", BLOCKED, str(EXAMPLES / name), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    CHECKS[name](done.stdout, False)
