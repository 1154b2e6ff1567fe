"""The counts of one convolution against loops, XLA's cost analysis and torch's flop counter."""

from dataclasses import replace
from math import prod

import jax
import numpy as np
import pytest
from support import reference
from support.cases import CASES
from support.helpers import arguments, from_same, run

import jaxgroups as jg
from jaxgroups._explain import costs

KNOWN = {name: spec for name, spec in CASES.items() if 0 not in spec.batch}


def ones(spec):
    """x, weight of ones in torch's layout, one batch axis."""
    batch = prod(spec.batch)
    x = np.ones((batch, spec.in_channels, *spec.size), "int64")
    return x, np.ones(spec.torch_weight_shape, "int64")


@pytest.mark.parametrize("name", KNOWN)
def test_products_inside_are_those_that_the_loops_make(name):
    """On ones every product adds 1, and the padding adds 0: the sum of the output counts them."""
    spec = KNOWN[name]
    expected = reference.of_spec(spec, *ones(spec), None).sum()
    assert costs.macs_inside(spec) == expected


@pytest.mark.parametrize("name", KNOWN)
def test_macs_count_padding_as_data(name):
    """torch's count: outputs (inputs of a transposed convolution) times the weights they meet."""
    spec = KNOWN[name]
    x, weight = ones(spec)
    if spec.transposed:
        places = prod(x.shape[2:])
    else:
        places = prod(reference.of_spec(spec, x, weight, None).shape[2:])
    assert spec.macs == places * prod(spec.batch) * weight.size
    assert costs.macs_inside(spec) <= spec.macs


@pytest.mark.parametrize("name", [n for n, s in KNOWN.items() if from_same(s)])
def test_flops_inside_are_what_xla_counts(name):
    """Exactly, for every rank, stride, dilation, grouping and padding; of XLA's own lowering."""
    spec = replace(KNOWN[name], bias=False)
    x = jax.ShapeDtypeStruct((*spec.batch, spec.in_channels, *spec.size), "float32")
    weight = jax.ShapeDtypeStruct(spec.torch_weight_shape, "float32")
    function = jax.jit(lambda x, w: run(spec, x, w, implementation="xla"))
    analysis = function.lower(x, weight).compile().cost_analysis()
    assert jg.explain(spec).flops_inside == analysis["flops"]


@pytest.mark.parametrize("name", ["two-groups", "depthwise"])
def test_bytes_are_what_xla_counts_before_it_copies(name):
    """Of a plain convolution without bias in the lowered program; compiling adds layout copies."""
    spec = replace(KNOWN[name], bias=False)
    x = jax.ShapeDtypeStruct(spec.input_shape, "float32")
    weight = jax.ShapeDtypeStruct(spec.torch_weight_shape, "float32")
    function = jax.jit(lambda x, w: run(spec, x, w, implementation="xla"))
    lowered = function.lower(x, weight)
    moved = jg.explain(spec).bytes_moved
    assert moved == lowered.cost_analysis()["bytes accessed"]
    assert moved <= lowered.compile().cost_analysis()["bytes accessed"]


def test_bytes_know_the_dtype():
    spelled = "conv2d in=2 out=4 kernel=3 groups=2 batch=3 size=5 dtype="
    elements = 3 * 2 * 25 + (4 * 9 + 4) + 3 * 4 * 9
    for dtype, size in (("float32", 4), ("bfloat16", 2), ("float64", 8), ("int8", 1)):
        assert jg.explain(spelled + dtype).bytes_moved == elements * size


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_flops_are_what_torch_counts():
    torch = pytest.importorskip("torch", reason="NOT compared with torch's flop counter: no torch")
    from torch.utils.flop_counter import FlopCounterMode

    compared = 0
    for spec in KNOWN.values():
        if not from_same(spec) or spec.padding_mode != "zeros" or len(spec.batch) > 1:
            continue
        x, weight = (torch.from_numpy(a).double() for a in ones(spec))
        kw = arguments(spec)
        kw.pop("padding_mode", None)
        with FlopCounterMode(display=False) as counter:
            getattr(torch.nn.functional, spec.op)(x, weight, **kw)
        assert counter.get_total_flops() == spec.flops == jg.explain(spec).flops
        compared += 1
    assert compared > 20


def test_saving_is_the_number_of_groups():
    answer = jg.explain("conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56")
    assert answer.macs_groups1 == 32 * answer.macs == 128 * 128 * 9 * 56 * 56
    assert answer.parameters == 128 * 4 * 9 + 128
    assert answer.parameters_groups1 == 128 * 128 * 9 + 128
    text = str(answer)
    for number in ("14,450,688", "462,422,016", "28,901,376", "28,217,344", "4,736", "147,584"):
        assert number in text


def test_without_an_input_only_the_weight_is_known():
    answer = jg.explain("conv2d in=4 out=8 kernel=1 groups=2")
    assert (answer.parameters, answer.parameters_groups1) == (24, 40)
    unknown = ("output_shape", "macs", "macs_groups1", "flops", "flops_inside", "bytes_moved")
    assert {getattr(answer, name) for name in (*unknown, "implementation", "summary")} == {None}
    assert "add size=" in str(answer)


def test_what_explain_takes():
    with pytest.raises(ValueError, match="a model needs an example of its input"):
        jg.explain(object())
    with pytest.raises(TypeError, match="explain takes a ConvSpec, its descriptor, the path"):
        jg.explain(object(), (1, 2))
