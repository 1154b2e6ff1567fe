"""Every refusal says what torch says, in torch's order, with and without ``python -O``."""

import ast
import re
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from itertools import combinations
from pathlib import Path

import jax
import numpy as np
import pytest
from support import errors
from support.errors import COMMANDS, CONSTRUCTOR_BREAKS, LATER_WINS, LEFT_OUT, ROWS, broken_call

import jaxgroups as jg
from jaxgroups import _layers as layers
from jaxgroups import cli
from jaxgroups._op import functional

OPS = tuple(f"conv{kind}{rank}d" for kind in ("", "_transpose") for rank in errors.RANKS)
PACKAGE = Path(jg.__file__).parent
LAYERS = ("nnx", "linen")


def ids(rows):
    return [pytest.param(row, id=row.id) for row in rows]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip(
        "torch", reason="torch is NOT installed, its errors are not compared"
    )


def message(call):
    """Of the error that `call` raises."""
    try:
        call()
    except Exception as error:
        return str(error)
    return "nothing was refused"


def set_order(text):
    """Torch prints Python sets, whose order is random."""
    return re.sub(r"\{(.*?)\}", lambda m: "{" + ", ".join(sorted(m[1].split(", "))) + "}", text)


# --- the table -----------------------------------------------------------------------------------


def test_the_table_is_sound():
    assert [i for i, n in Counter(row.id for row in ROWS).items() if n > 1] == []
    for row in ROWS:
        assert row.error in (ValueError, TypeError), row.id
        assert row.sentence, row.id
        assert row.own == bool(row.why), row.id
        assert row.own or row.torch, f"{row.id}: without torch the sentence is our own"


@pytest.mark.parametrize("row", ids(ROWS))
def test_refusal(row):
    assert errors.fault(row) is None


@pytest.mark.parametrize("row", ids(row for row in ROWS if row.torch))
@pytest.mark.filterwarnings("ignore")
def test_torch_refuses_it_too(torch, row):
    theirs = message(lambda: row.torch(torch))
    assert theirs != "nothing was refused"
    if row.own:
        assert not theirs.startswith(row.sentence), "torch says it too: the row is not our own"
    else:
        assert set_order(theirs).startswith(set_order(row.sentence))


@pytest.mark.parametrize("row", ids(row for row in ROWS if row.builds))
def test_constructors_refuse_before_any_call(monkeypatch, row):
    def called(*args, **kw):
        pytest.fail("the layer was called")

    monkeypatch.setattr(layers, "call", called)
    monkeypatch.setattr(functional, "apply", called)
    assert errors.fault(row) is None


def test_refusals_survive_python_without_asserts():
    program = (
        "import sys\n"
        "import jax\n"
        "jax.config.update('jax_enable_x64', True)\n"
        "from support import errors\n"
        "if __debug__:\n"
        "    sys.exit('asserts are on')\n"
        "faults = [f'{row.id}: {errors.fault(row)}' for row in errors.ROWS if errors.fault(row)]\n"
        "print(len(errors.ROWS), 'rows')\n"
        "sys.exit('\\n'.join(faults) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", program],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(ROWS)} rows\n"


CHECKED = (
    "_spec/checks.py",
    "_spec/arguments.py",
    "_spec/descriptor.py",
    "_spec/spec.py",
    "_spec/from_call.py",
    "_lowerings/dispatch.py",
    "_op/functional.py",
    "_keywords.py",
    "_layers.py",
    "linen.py",
    "nnx/_conv.py",
    "convert/_kernel.py",
)


def test_every_raise_is_reached():
    raises = {
        (name, node.lineno)
        for name in CHECKED
        for node in ast.walk(ast.parse((PACKAGE / name).read_text()))
        if isinstance(node, ast.Raise)
    }
    assert len(raises) > 50
    reached = set()
    for row in ROWS:
        try:
            row.call()
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if Path(f.filename).is_relative_to(PACKAGE)]
            name = Path(ours[-1].filename).relative_to(PACKAGE).as_posix()
            reached.add((name, ours[-1].lineno))
    assert sorted(raises - reached) == []


# --- the order -----------------------------------------------------------------------------------


def run(op, right, library):
    """The call that `right` describes, by jaxgroups or by torch."""
    right = dict(right)
    arrays = [(right.pop(n), right.pop(f"{n} dtype")) for n in ("input", "weight", "bias")]
    if library is jg:
        return getattr(jg, op)(*(np.zeros(s, d) for s, d in arrays), **right)
    tensors = (library.zeros(s, dtype=getattr(library, d)) for s, d in arrays)
    return getattr(library.nn.functional, op)(*tensors, **right)


def pairs(op):
    """Pairs of breaks that one call can have at once, the one that torch finds first before."""
    for first, second in combinations(errors.call_breaks(op), 2):
        if first.sets.keys() & second.sets.keys() or (first.name, second.name) in LEFT_OUT:
            continue
        late = (first.name, second.name) in LATER_WINS
        yield (second, first) if late else (first, second)


@pytest.mark.parametrize("op", OPS)
def test_alone_every_break_is_found(op):
    run(op, broken_call(op), jg)
    for broken in errors.call_breaks(op):
        assert re.match(broken.pattern, message(lambda b=broken: run(op, broken_call(op, b), jg)))


def wrong_winners(op, library):
    return [
        f"{first.name} + {second.name}: {text}"
        for first, second in pairs(op)
        for text in [message(lambda b=(first, second): run(op, broken_call(op, *b), library))]
        if not re.match(first.pattern, text)
    ]


@pytest.mark.parametrize("op", OPS)
def test_of_two_broken_rules_the_first_is_named(op):
    assert len(list(pairs(op))) > 150
    assert wrong_winners(op, jg) == []


@pytest.mark.parametrize("op", OPS)
def test_torch_names_the_same_of_two(torch, op):
    assert wrong_winners(op, torch) == []


CONSTRUCTORS = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d")


def constructor_pairs(name):
    transposed = "Transpose" in name
    leave = ("padding", "same", "padding_mode") if transposed else ("padding_mode, transposed",)
    for first, second in combinations([b for b in CONSTRUCTOR_BREAKS if b.name not in leave], 2):
        if not first.sets.keys() & second.sets.keys():
            yield first, second


def construct(name, breaks, library):
    right = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "groups": 2}
    for broken in breaks:
        right |= broken.sets
    args = [right.pop(n) for n in ("in_channels", "out_channels", "kernel_size")]
    dtype = right.pop("dtype", "float32")
    if library in LAYERS:
        return errors.build(library, name, *args, param_dtype=dtype, **right)
    return getattr(library.nn, name)(*args, dtype=getattr(library, dtype), **right)


@pytest.mark.parametrize("name", CONSTRUCTORS)
@pytest.mark.parametrize("library", [*LAYERS, "torch"])
def test_constructors_name_the_first_of_two(request, library, name):
    library = request.getfixturevalue("torch") if library == "torch" else library
    assert len(list(constructor_pairs(name))) >= 14
    for first, second in constructor_pairs(name):
        text = message(lambda b=(first, second): construct(name, b, library))
        assert text.startswith(first.pattern), f"{first.name} + {second.name}: {text}"


# what a layer does to its input comes before the convolution: padding modes and output_size
LAYER_PAIRS = {
    "reflect before channels": (
        "Conv2d",
        {"padding": 7, "padding_mode": "reflect"},
        {},
        "Argument #4: Padding size should be less than",
    ),
    "circular before channels": (
        "Conv2d",
        {"padding": 7, "padding_mode": "circular"},
        {},
        "Padding value causes wrapping around more than once.",
    ),
    "output_size before channels": (
        "ConvTranspose2d",
        {"stride": 3},
        {"output_size": (1, 1)},
        "requested an output size of (1, 1), but valid sizes range from",
    ),
    "length of output_size before channels": (
        "ConvTranspose2d",
        {"stride": 3},
        {"output_size": (1, 1, 1)},
        "ConvTranspose2D: for 4D input, output_size must have 2 or 4 elements (got 3)",
    ),
}


@pytest.mark.parametrize("case", LAYER_PAIRS.values(), ids=LAYER_PAIRS)
@pytest.mark.parametrize("library", [*LAYERS, "torch"])
def test_what_a_layer_does_first_is_named_first(request, library, case):
    name, fields, call, sentence = case
    if library == "torch":
        torch = request.getfixturevalue("torch")
        layer, x = getattr(torch.nn, name)(4, 4, 3, **fields), torch.zeros(1, 5, 5, 5)
        assert message(lambda: layer(x, **call)).startswith(sentence)
        return
    layer, x = errors.build(library, name, 4, 4, 3, **fields), np.zeros((1, 5, 5, 5), np.float32)
    assert message(lambda: errors.apply(library, layer, x, **call)).startswith(sentence)


# --- torch's own test data -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def op_infos(torch):
    pytest.importorskip("expecttest", reason="torch's test data needs expecttest")
    with warnings.catch_warnings(action="ignore"):
        from torch.testing._internal.common_methods_invocations import op_db
    return {op.full_name.rpartition(".")[-1]: op for op in op_db if "conv" in op.full_name}


@pytest.mark.parametrize("op", ["conv1d", "conv2d", "conv3d"])
@pytest.mark.filterwarnings("ignore")
def test_torchs_error_inputs(torch, op_infos, op):
    inputs = list(op_infos[op].error_inputs("cpu"))
    assert len(inputs) == 10
    for wrong in inputs:
        sample = wrong.sample_input
        args = [
            a.detach().numpy() if isinstance(a, torch.Tensor) else a
            for a in (sample.input, *sample.args)
        ]
        with pytest.raises((ValueError, TypeError), match=wrong.error_regex):
            getattr(jg, op)(*args, **sample.kwargs)


# --- beside the table ----------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "said"), COMMANDS.values(), ids=COMMANDS)
def test_the_command_line_refuses_with_status_2(capsys, arguments, said):
    try:
        status = cli.main(arguments)
    except SystemExit as end:  # argparse leaves
        status = end.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert said in err


def test_refusals_are_the_same_under_jit():
    """Shapes are known while tracing, so nothing is left for XLA to complain of."""
    x, w = np.zeros((1, 4, 2, 2)), np.zeros((6, 2, 3, 3))
    eager = message(lambda: jg.conv2d(x, w, groups=2))
    assert eager.startswith("Calculated padded input size per channel: (2 x 2)")
    assert message(lambda: jax.jit(lambda x, w: jg.conv2d(x, w, groups=2))(x, w)) == eager
    assert message(lambda: jax.eval_shape(lambda x, w: jg.conv2d(x, w, groups=2), x, w)) == eager


def test_a_refusal_is_not_cached_as_an_answer():
    """The spec of a call is cached; what was refused once is refused again."""
    row = next(row for row in ROWS if row.id == "conv2d: weight % groups")
    assert errors.fault(row) is None
    assert errors.fault(row) is None
