"""A valid call is checked once: each rule runs at most once, and no text is made for an error."""

import sys
from collections import Counter
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import pytest

import jaxgroups as jg
from jaxgroups import _layers as layers
from jaxgroups._op import functional
from jaxgroups._spec import arguments, checks, descriptor, from_call, spec

SUBJECTS = {"non_negative", "divisible", "integer", "integers", "broadcast"}  # rules of an argument
OPS = [f"conv{kind}{rank}d" for kind in ("", "_transpose") for rank in (1, 2, 3)]


def entered(call):
    """How often functions of `_spec` are entered, by file, name and argument."""
    files = {Path(m.__file__): m.__name__.split(".")[-1] for m in (arguments, checks, descriptor)}
    found = Counter()

    def profile(frame, event, argument):
        code = frame.f_code
        module = files.get(Path(code.co_filename))
        if event == "call" and module and not code.co_name.startswith("<"):
            subject = frame.f_locals.get("name", "") if code.co_name in SUBJECTS else ""
            found[module, code.co_name, subject] += 1

    from_call.spec_of_call.cache_clear()
    spec._with_input.cache_clear()
    functional._prepared.cache_clear()
    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return found


def assert_checked_once(found, some):
    rules = {key: n for key, n in found.items() if key[0] == "checks"}
    assert {key: n for key, n in rules.items() if n > 1} == {}
    assert {name for _, name, _ in rules} >= some
    assert {key for key in found if key[0] == "descriptor"} == set()
    for subject in ("stride", "padding", "dilation"):
        assert found["arguments", "integers", subject] <= 1
        assert found["arguments", "broadcast", subject] <= 1


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("op", OPS)
def test_a_call_is_checked_once(op, bias):
    rank, transposed = arguments.op_rank(op)
    x = jnp.ones((1, 4, *(5,) * rank))
    w = jnp.ones((4, 2, *(3,) * rank))
    b = jnp.ones((4,)) if bias else None
    found = entered(lambda: getattr(jg, op)(x, w, b, padding=1, groups=2))
    assert_checked_once(found, {"rank", "weight_groups", "input_channels", "dtype_supported"})
    assert ("checks", "output_positive" if transposed else "kernel_fits", "") in found


@pytest.mark.parametrize("kw", [{"padding": "same"}, {"padding_mode": "reflect", "padding": 1}])
def test_forms_of_padding_are_checked_once(kw):
    x, w, b = jnp.ones((1, 4, 5, 5)), jnp.ones((4, 2, 3, 3)), jnp.ones((4,))
    found = entered(lambda: jg.conv2d(x, w, b, groups=2, **kw))
    assert_checked_once(found, {"pad_amounts", "same_bias_dtype"})


def test_an_output_size_is_checked_once():
    x, w = jnp.ones((1, 4, 5, 5)), jnp.ones((4, 2, 3, 3))
    found = entered(lambda: jg.conv_transpose2d(x, w, groups=2, stride=2, output_size=(12, 12)))
    assert_checked_once(found, {"output_size_range"})


def test_a_second_call_checks_only_the_forms_of_its_arguments():
    x, w = jnp.ones((1, 4, 5, 5)), jnp.ones((4, 2, 3, 3))
    call = partial(jg.conv2d, x, w, groups=2)
    first = entered(call)
    twice = entered(lambda: [call(), call()])
    again = {name for module, name, _ in twice - first if module == "checks"}
    assert again == {"data_format", "padding_mode"}


@pytest.mark.parametrize("op", OPS)
def test_a_layer_is_checked_once_and_then_its_input(op):
    rank, _ = arguments.op_rank(op)
    made = []
    found = entered(
        lambda: made.append(jg.ConvSpec.of(op, 4, 4, 3, padding=1, groups=2, bias=False))
    )
    assert_checked_once(found, {"divisible", "stride_positive", "kernel_positive"})
    found = entered(lambda: made[0].with_input((1, 4, *(5,) * rank)))
    assert_checked_once(found, {"rank", "input_channels", "dtype_supported"})
    rules = {name for module, name, _ in found if module == "checks"}
    assert rules & {"divisible", "stride_positive", "kernel_positive"} == set()


def test_a_layers_call_is_checked_once():
    layer = jg.ConvSpec.of("conv2d", 4, 4, 3, padding=1, data_format="channels_last", bias=False)
    x, w = jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 4, 4))
    found = entered(lambda: layers.call(layer, x, w, None))
    assert_checked_once(found, {"rank", "input_channels"})


def test_the_check_can_fail():
    twice = entered(lambda: [checks.padding_mode("zeros") for _ in range(2)])
    with pytest.raises(AssertionError):
        assert_checked_once(twice, set())
    texts = entered(lambda: str(jg.ConvSpec.parse("conv1d in=1 out=1 kernel=1")))
    with pytest.raises(AssertionError):
        assert_checked_once(texts, set())
