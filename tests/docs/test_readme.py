"""README.md: its programs, their outputs, its commands, its figures, its table of torch's names."""

import inspect
import os
import re
import shlex
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file
from support import reference, torch_files
from support.command import python, run
from support.helpers import assert_same, distinct

import jaxgroups as jg
import jaxgroups.linen
import jaxgroups.nnx
from benchmarks import results

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TORCH = find_spec("torch") is not None


def blocks(language):
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def inline(start):
    """The commands between backquotes that begin with `start`, each on one line."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(rf"`({start} [^`]*)`", prose)]


def numbers(text):
    return [float(n) for n in re.findall(r"(?<![\w.])-?\d+(?:\.\d*)?(?![\w.]*\w)", text)]


def commented(block):
    """``(code, comment)`` of the lines whose comment contains a number."""
    lines = [line.split("  # ") for line in block.splitlines()]
    return [tuple(line) for line in lines if len(line) == 2 and numbers(line[1])]


def with_shapes(block):
    """The block, and after every ``name = value  # (shape)`` a line that prints that shape."""
    out = []
    for line in block.splitlines():
        out.append(line)
        code, _, comment = line.partition("  # ")
        if numbers(comment) and " = " in code:
            out.append(f"print(({code.split(' = ', 1)[1]}).shape)")
    return "\n".join(out) + "\n"


def assert_as_commented(block, out):
    """Every line that the program prints has the numbers of the comment on its source line."""
    comments = [comment for _, comment in commented(block)]
    assert len(out.splitlines()) == len(comments)
    for line, comment in zip(out.splitlines(), comments, strict=True):
        head, dots, tail = comment.partition("...")
        head, tail, got = numbers(head), numbers(tail), numbers(line)
        if dots:
            assert got[: len(head)] == head
            assert got[-len(tail) :] == tail
        else:
            assert got == head


# --- its programs --------------------------------------------------------------------------------

FIRST, ACCELERATE, NET, LOAD = blocks("python")


def test_only_known_kinds_of_blocks():
    fences = re.findall(r"^```(.*)$", README, re.MULTILINE)
    assert fences[1::2] == [""] * (len(fences) // 2)
    assert sorted(fences[::2]) == ["console", *["python"] * 4, "sh", "sh", "text"]


def test_the_check_of_outputs_can_fail():
    assert commented(FIRST) == [
        ("layer.kernel[...] = kernel_from_torch(weight, layer)", "(1, 1, 2, 8)"),
        ('print(layer(np.ones((1, 1, 1, 4), "float32")).ravel())', "3, 7, 11, ... 31"),
    ]
    assert_as_commented("print(x)  # 1, 2, ... 5\n", "[1. 2. 3. 4. 5.]\n")
    for wrong in ("[1. 3. 4. 5.]\n", "[1. 2. 3. 4.]\n", "", "[1. 2. 5.]\n1\n"):
        with pytest.raises(AssertionError):
            assert_as_commented("print(x)  # 1, 2, ... 5\n", wrong)


def test_first_program(tmp_path):
    done = python("-c", with_shapes(FIRST), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert_as_commented(FIRST, done.stdout)
    assert numbers(done.stdout.splitlines()[1]) == [3, 7, 11, 15, 19, 23, 27, 31]


def test_eight_lines_of_code_come_first():
    assert len([line for line in FIRST.splitlines() if line]) == 8


# the implementations of jaxgroups in the program that `infer` of the README was compiled to
IMPLEMENTATIONS = """
import re
program = infer.lower(model, jnp.ones((1, 56, 56, 128))).compile().as_text()
print(sorted(set(re.findall(r"jaxgroups\\.(\\w+)", program))))
"""


def test_the_program_with_accelerate(tmp_path):
    """Flax's own layer is compiled with jaxgroups, and without that line it is not."""
    done = python("-c", ACCELERATE + IMPLEMENTATIONS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    shape, implementations = done.stdout.splitlines()
    assert_as_commented(ACCELERATE, shape)
    assert implementations in ("['native']", "['shift']", "['matmul']")
    [line] = [line for line in ACCELERATE.splitlines() if line.startswith("jg.accelerate()")]
    without = ACCELERATE.replace(line, "")
    done = python("-c", without + IMPLEMENTATIONS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [shape, "[]"]


@pytest.fixture
def state(rng):
    """A state_dict for the README's Net: distinct numbers in each tensor, variances above 0."""
    shapes = {"depthwise.weight": (8, 1, 3, 3), "depthwise.bias": (8,)}
    shapes |= {f"norm.{n}": (8,) for n in ("weight", "bias", "running_mean", "running_var")}
    shapes |= {"up.weight": (8, 3, 2, 2), "up.bias": (6,)}
    made = {name: distinct(rng, shape, "float32") for name, shape in shapes.items()}
    for name, array in made.items():
        if name != "norm.running_var":
            array -= array.size // 2
    return made | {"norm.num_batches_tracked": np.array(7)}


@pytest.fixture
def folder(tmp_path, monkeypatch, state):
    """The current folder, with the net.py and the net.pth of the README in it."""
    assert NET.startswith("# net.py\n")
    (tmp_path / "net.py").write_text(NET)
    if TORCH:
        import torch

        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        torch.save(tensors, tmp_path / "net.pth")
    else:
        torch_files.state_dict(tmp_path / "net.pth", "torch-zip", state)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_hand(x, state):
    """The output of Net for x in torch's layout, by NumPy loops in float64."""
    t = {name: array.astype("float64") for name, array in state.items()}
    once, pads, none = (1, 1), ((1, 1), (1, 1)), ((0, 0), (0, 0))
    y = reference.conv(x, t["depthwise.weight"], t["depthwise.bias"], once, pads, once, 8)
    weight, bias, mean, var = (
        t[f"norm.{n}"].reshape(8, 1, 1) for n in ("weight", "bias", "running_mean", "running_var")
    )
    y = np.maximum((y - mean) / np.sqrt(var + 1e-5) * weight + bias, 0)
    return reference.conv_transpose(y, t["up.weight"], t["up.bias"], (2, 2), none, (0, 0), once, 2)


def test_checkpoint_program(rng, folder, state):
    """It prints the commented numbers, computes Net, and writes the tensors of net.pth."""
    x = distinct(rng, (2, 8, 5, 4)) - 160
    np.save("x.npy", x.transpose(0, 2, 3, 1).astype("float32"))
    beside = os.environ | {"PYTHONPATH": os.getcwd()}  # net.py
    done = python("-c", f"{LOAD}\nnp.save('y.npy', model(np.load('x.npy')))\n", env=beside)
    assert (done.returncode, done.stderr) == (0, "")
    assert_as_commented(LOAD, done.stdout)
    y, expected = np.load("y.npy").transpose(0, 3, 1, 2), by_hand(x, state)
    assert y.shape == expected.shape == (2, 6, 10, 8)
    assert len(np.unique(expected)) > 400
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    back = load_file("back.safetensors")
    assert set(back) == set(state)
    for name, array in state.items():
        assert_same(back[name], array)


# --- its commands --------------------------------------------------------------------------------


def test_two_commands_on_the_first_screen():
    """One command a block, as `.ci/run` reads them; the script and extra that they name exist."""
    (install,), (test,) = (block.splitlines() for block in blocks("sh"))
    assert install == "pip install . && jaxgroups experiment"
    assert test == "pip install '.[test]' && pytest"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["jaxgroups"] == "jaxgroups.cli:main"
    assert any(name.startswith("pytest") for name in project["optional-dependencies"]["test"])
    screen = README.splitlines()[:30]
    assert install in screen
    assert test in screen
    assert "```python" in screen


def test_commands_of_the_checkpoint(folder, state, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "net", raising=False)
    (block,) = blocks("console")
    done = []
    for line in block.splitlines():
        dollar, program, *argv = shlex.split(line)
        assert (dollar, program) == ("$", "jaxgroups")
        status, out, err = run(capsys, *argv)
        assert (status, err) == (0, ""), line
        done.append((argv[0], out))
    assert [command for command, _ in done] == ["inspect", "plan", "convert", "verify"]
    outputs = dict(done)
    assert all(name in outputs["inspect"] for name in state)
    assert "8 ok, 1 counter" in outputs["plan"]
    answer = outputs["verify"].splitlines()
    assert answer[0] == "every tensor comes back bit for bit"
    assert answer[1].startswith("the source was read by ")
    flax = load_file("flax.safetensors")
    assert_same(flax["up.kernel"], state["up.weight"].transpose(2, 3, 1, 0))
    monkeypatch.delitem(sys.modules, "net")


INLINE = inline("jaxgroups")


def test_inline_commands_are_found():
    assert {command.split()[1] for command in INLINE} >= {"experiment", "explain"}
    assert "jaxgroups explain" in " ".join(INLINE)


@pytest.mark.parametrize("command", INLINE)
def test_inline_command(command, capsys, folder):
    status, out, err = run(capsys, *shlex.split(command)[1:])
    assert (status, err) == (0, "")
    assert len(out.splitlines()) > 3


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]*)\)", README))
def test_links_lead_somewhere(target):
    assert target.startswith("https://") or (ROOT / target).is_file()


# --- its figures ---------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_benchmarks():
    assert "\n".join(results.table(results.read())) in README
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "\n".join(results.table(results.read(), ("1", "4"))) in page


def test_the_chart_is_drawn_from_the_figures():
    assert "(docs/pictures/benchmarks.svg)" in README
    assert results.CHART.read_text(encoding="utf-8") == results.chart(results.read())


# --- its table of torch's names ------------------------------------------------------------------

BESIDE = README.split("## From PyTorch")[1]
ROWS = re.findall(r"^\| (.*?) \| (.*?) \|$", BESIDE, re.MULTILINE)[1:]
LONG = {"x": "input", "w": "weight", "b": "bias", "in": "in_channels", "out": "out_channels"}
LONG |= {"k": "kernel_size"}
RANKS = pytest.mark.parametrize("rank", "123")
needs_torch = pytest.mark.skipif(not TORCH, reason="torch is NOT installed: nothing to compare")


def row(call):
    """The names of the arguments that the row of a call shows, of torch and of jaxgroups."""
    theirs, ours = next(row for row in ROWS if f"{call}(" in row[0])
    return arguments(theirs), arguments(ours)


def arguments(cell):
    """The full names of the arguments in the first parentheses of a cell, without dots."""
    names = re.search(r"\((.*?)\)", cell)[1].split(", ")
    return [LONG.get(name, name) for name in names if name != "..." and "=" not in name]


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_every_row_of_the_table_is_read():
    assert len(ROWS) == 7
    names = {"F.conv2d": 7, "F.conv_transpose2d": 8, "nn.Conv2d": 3, "nn.LazyConv2d": 2}
    assert {call: len(row(call)[0]) for call in names} == names


@RANKS
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_functions_of_the_table(name, rank):
    names, _ = row(f"F.{name}")
    function = getattr(jg, name.replace("2", rank))
    assert parameters(function)[: len(names)] == names


@needs_torch
@RANKS
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_functions_of_torch_in_the_table(name, rank):
    """torch's functions are builtins: the first line of their documentation is the signature."""
    import torch

    text = getattr(torch.nn.functional, name.replace("2", rank)).__doc__.strip()
    declared = re.match(r"\w+\((.*?)\) -> Tensor", text)[1]
    assert [part.split("=")[0] for part in declared.split(", ")] == row(f"F.{name}")[0]


@RANKS
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_layers_of_the_table(name, rank):
    name = name.replace("2", rank)
    theirs, ours = row("nn.Conv2d")
    assert theirs == ours
    found = parameters(getattr(jaxgroups.nnx, name).__init__)
    assert found[: len(ours)] == ours
    assert "rngs" in found
    theirs, ours = row("nn.LazyConv2d")
    assert theirs == ours
    assert parameters(getattr(jaxgroups.linen, name))[: len(ours)] == ours


@needs_torch
@RANKS
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_layers_of_torch_in_the_table(name, rank):
    """All arguments of torch, in its order, except device and dtype; not only those shown."""
    import torch

    name = name.replace("2", rank)
    full = parameters(getattr(torch.nn, name).__init__)
    assert full[:3] == row("nn.Conv2d")[0]
    assert full[-2:] == ["device", "dtype"]
    names = full[:-2]
    assert parameters(getattr(jaxgroups.nnx, name).__init__)[: len(names)] == names
    lazy = parameters(getattr(torch.nn, f"Lazy{name}").__init__)
    assert lazy[:2] == row("nn.LazyConv2d")[0]
    assert lazy[:-2] == names[1:]
    assert parameters(getattr(jaxgroups.linen, name))[: len(names) - 1] == names[1:]


def modes():
    theirs, ours = next(row for row in ROWS if "padding_mode" in row[0])
    assert ours == "the same"
    return re.findall(r'"(\w+)"', theirs)


def test_padding_modes_of_the_table():
    assert modes() == ["reflect", "replicate", "circular"]
    for mode in modes():
        layer = jaxgroups.nnx.Conv2d(4, 6, 3, padding=1, padding_mode=mode, rngs=nnx.Rngs(0))
        assert layer(np.ones((1, 5, 4, 4), "float32")).shape == (1, 5, 4, 6)


@needs_torch
def test_padding_modes_of_torch_in_the_table():
    import torch

    for mode in modes():
        assert torch.nn.Conv2d(4, 6, 3, padding=1, padding_mode=mode).padding_mode == mode


# (in, out) = (4, 6) and two groups
WEIGHTS = {"Conv2d": (6, 2, 3, 5), "ConvTranspose2d": (4, 3, 3, 5)}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_the_table(name):
    theirs, ours = next(row for row in ROWS if row[0].startswith("weight"))
    shapes = re.findall(r"`(.*?)`", theirs + ours)
    assert shapes == ["(out, in / groups, *k)", "(in, out / groups, *k)", "(*k, second, first)"]
    first, second, *k = WEIGHTS[name]
    layer = getattr(jaxgroups.nnx, name)(4, 6, (3, 5), groups=2, rngs=nnx.Rngs(0))
    module = getattr(jaxgroups.linen, name)(6, (3, 5), groups=2)
    variables = module.init(jax.random.key(0), np.ones((1, 7, 7, 4), "float32"))
    assert layer.kernel.shape == variables["params"]["kernel"].shape == (*k, second, first)


@needs_torch
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_torch_in_the_table(name):
    import torch

    assert getattr(torch.nn, name)(4, 6, (3, 5), groups=2).weight.shape == WEIGHTS[name]
