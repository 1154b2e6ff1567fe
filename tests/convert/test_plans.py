"""Plans: what is wrong, all at once and in torch's words; names, rules and arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from support.checkpoints import assert_same_tensors, saved
from support.plan_models import Net, net, problems, state

import jaxgroups.convert as jc


def test_a_complete_plan(tmp_path):
    plan = jc.plan(net(), state())
    assert plan.complete
    assert plan.warnings == plan.hints == []
    assert [e.status for e in plan.entries].count("ok") == 12
    assert [e.status for e in plan.entries].count("counter") == 2
    model, report = jc.load_torch(net(), state())
    assert report.missing_keys == report.unexpected_keys == report.unfilled == []
    kernel = model.features.layers[2].conv.kernel.get_value()
    weight = state()["features.2.conv.weight"]
    for o, i, y, x in np.ndindex(weight.shape):
        assert kernel[y, x, i, o] == weight[o, i, y, x]
    assert_same_tensors(saved(model, tmp_path, extras=report.extras), state())


# --- problems -------------------------------------------------------------------------------------


def test_all_problems_are_reported_at_once_in_torch_words():
    tensors = state()
    tensors["stranger.weight"] = np.ones(3, "f4")
    del tensors["features.0.bn.running_var"]
    tensors["fc.weight"] = tensors["fc.weight"].T.copy()
    tensors["features.2.conv.weight"] = tensors["features.2.conv.weight"].reshape(8, -1)
    tensors["fc.bias"] = tensors["fc.bias"].astype("i4")
    error = problems(net(), tensors)
    text = str(error)
    assert text.startswith("Error(s) in loading state_dict for Net:")
    assert '\tMissing key(s) in state_dict: "features.0.bn.running_var".' in text
    assert '\tUnexpected key(s) in state_dict: "stranger.weight".' in text
    assert (
        "size mismatch for fc.weight: copying a param with shape (8, 5) from checkpoint, the shape "
        "in current model is (8, 5) at fc.kernel (it would become (5, 8))."
    ) in text
    assert "size mismatch for features.2.conv.weight" in text
    assert "needs 4 axes, but got shape (8, 36)" in text
    assert "dtype mismatch for fc.bias: int32 in the checkpoint, float32 at fc.bias" in text
    assert error.missing_keys == ["features.0.bn.running_var"]
    assert error.unexpected_keys == ["stranger.weight"]
    assert sorted(error.mismatched) == ["fc.bias", "fc.weight", "features.2.conv.weight"]
    assert error.ambiguous == error.unknown == []


def test_a_refused_load_leaves_the_model_as_it_was():
    model = Net(nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    tensors = state()
    del tensors["fc.bias"]
    with pytest.raises(jc.ConversionError):
        jc.load_torch(model, tensors)
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_not_strict_forgives_what_is_missing_and_tells_it():
    tensors = state()
    del tensors["fc.bias"]
    tensors["stranger"] = np.ones(3, "f4")
    model = Net(nnx.Rngs(0))
    model.fc.bias.set_value(jnp.full(5, 7.0, "float32"))
    model, report = jc.load_torch(model, tensors, strict=False)
    assert report.missing_keys == ["fc.bias"]
    assert report.unexpected_keys == ["stranger"]
    assert report.unfilled == ["fc.bias"]
    np.testing.assert_array_equal(model.fc.bias.get_value(), np.full(5, 7.0))
    np.testing.assert_array_equal(model.fc.kernel.get_value(), tensors["fc.weight"].T)


@pytest.mark.parametrize("wrong", ["shape", "dtype", "rule", "names"])
def test_not_strict_forgives_nothing_else(wrong):
    """As torch: a tensor that does not fit is refused in any case, and so is a lost rule."""
    tensors, how = state(), {}
    if wrong == "shape":
        tensors["fc.weight"] = np.ones((8, 5), "f4")
    elif wrong == "dtype":
        tensors["fc.weight"] = np.ones((5, 8), "i1")
    elif wrong == "rule":
        how = {"rules": {"fcc": jc.FlattenLinear(2, 2, 2)}}
    else:
        how = {"names": [(r"fc.*", "fc"), (r".*", "x")]}
    with pytest.raises(jc.ConversionError):
        jc.load_torch(Net(nnx.Rngs(0)), tensors, strict=False, **how)


def test_two_leaves_of_one_tensor_are_ambiguous():
    model = nnx.eval_shape(
        lambda: nnx.Dict(a=nnx.Linear(3, 3, rngs=nnx.Rngs(0)), b=nnx.Linear(3, 3, rngs=nnx.Rngs(0)))
    )
    tensors = {"fc.weight": np.ones((3, 3), "f4"), "fc.bias": np.ones(3, "f4")}
    error = problems(model, tensors, names={"a": "fc", "b": "fc"})
    assert error.ambiguous == [
        "fc.bias is claimed by a.bias, b.bias",
        "fc.weight is claimed by a.kernel, b.kernel",
    ]
    assert "ambiguous: fc.weight is claimed by a.kernel, b.kernel" in str(error)


def test_parts_must_make_up_the_whole():
    class Two(nnx.Module):
        def __init__(self):
            self.a, self.b = nnx.Param(jnp.ones((2, 3))), nnx.Param(jnp.ones((2, 3)))

    tensors = {"both": np.arange(12, dtype="f4").reshape(4, 3)}
    two = nnx.eval_shape(Two)

    def rules(*parts):
        return {n: jc.TensorRule("both", part) for n, part in zip("ab", parts, strict=True)}

    assert jc.plan(two, tensors, rules=rules(jc.Part(1, 2), jc.Part(0, 2))).complete
    tensors["both"] = np.arange(18, dtype="f4").reshape(6, 3)
    lost = problems(two, tensors, rules=rules(jc.Part(0, 3), jc.Part(2, 3)))
    assert "both is claimed in parts by a, b, which are not all of its parts" in str(lost)
    tensors["both"] = np.arange(12, dtype="f4").reshape(4, 3)
    twice = problems(two, tensors, rules=rules(jc.Part(0, 2), jc.Part(0, 2)))
    assert "both is claimed by a, b" in str(twice)


# --- names ----------------------------------------------------------------------------------------


def renamed(change):
    return {change(name): array for name, array in state().items()}


@pytest.mark.parametrize(
    ("names", "change"),
    [
        ({"features": "backbone"}, lambda k: k.replace("features.", "backbone.")),
        ({"features.layers.0": "stem"}, lambda k: k.replace("features.0.", "stem.")),
        (
            {"features": "f", "features.layers.0.bn": "norm"},
            lambda k: k.replace("features.0.bn.", "norm.").replace("features.", "f."),
        ),
        (
            {"fc": "head.1", "fc.bias": "offset"},
            lambda k: {"fc.weight": "head.1.weight", "fc.bias": "offset"}.get(k, k),
        ),
        (
            [(r"features\.(\d)(.*)", r"layer\1\2"), ("fc", "out")],
            lambda k: k.replace("features.", "layer").replace("fc.", "out."),
        ),
        (
            [(r"(.*)", r"all.\1")],  # where re.sub would replace the empty end once more
            lambda k: f"all.{k}",
        ),
        (lambda name: name.upper(), lambda k: f"{k.rpartition('.')[0].upper()}.{k.split('.')[-1]}"),
    ],
)
def test_names(names, change, tmp_path):
    tensors = renamed(change)
    assert tensors.keys() != state().keys()
    model, report = jc.load_torch(net(), tensors, names=names)
    np.testing.assert_array_equal(model.fc.kernel.get_value(), state()["fc.weight"].T)
    assert_same_tensors(saved(model, tmp_path, names=names, extras=report.extras), tensors)


def test_patterns_must_match_once_and_all_failures_are_told():
    error = problems(net(), state(), names=[(r"features\.0.*", "a"), (r".*bn", "b")])
    assert len(error.ambiguous) == 3
    assert (
        "'features.0.bn' matches 2 patterns of names 'features\\\\.0.*' '.*bn', but exactly one "
        "must match"
    ) in error.ambiguous
    assert "'fc' matches 0 patterns of names, but exactly one must match" in str(error)


def test_prefix_and_its_hint(tmp_path):
    tensors = {f"module.{name}": array for name, array in state().items()}
    error = problems(net(), tensors)
    assert len(error.missing_keys) == 12
    assert 'all keys begin with "module.": pass prefix="module."' in str(error)
    model, report = jc.load_torch(net(), tensors, prefix="module.")
    back = saved(model, tmp_path, prefix="module.", extras=report.extras)
    assert_same_tensors(back, tensors)


def test_near_misses_are_hints_only():
    tensors = state()
    tensors["fc.weigth"] = tensors.pop("fc.weight")
    error = problems(net(), tensors)
    assert 'missing "fc.weight" is close to unexpected "fc.weigth"' in str(error)
    assert error.missing_keys == ["fc.weight"]


def test_near_misses_of_another_shape_are_no_hint():
    tensors = state()
    bias = tensors.pop("fc.bias")
    tensors |= {"fc.bais": np.ones(6, "f4"), "features.bias": bias}
    (hint,) = jc.plan(net(), tensors).hints
    assert hint == (
        "where only the names differ, propose_names(model, checkpoint) or `jaxgroups plan "
        "--propose` gives a table for names="
    )
    tensors["fc.bais"] = bias
    near, _ = jc.plan(net(), tensors).hints
    assert near == 'missing "fc.bias" is close to unexpected "fc.bais"'
    del tensors["fc.bais"], tensors["features.bias"]
    assert jc.plan(net(), tensors | {"b": np.ones(9, "f4")}).hints == []  # nothing could fit


def test_a_pattern_that_ignores_nothing_is_an_error():
    tensors = state() | {"head.a": np.ones(2, "f4")}
    error = problems(net(), tensors, ignore=[r"head\..*", "haed.*", "head"])
    assert error.unknown == [
        "ignore has 'haed.*', which matches no key of the checkpoint",
        "ignore has 'head', which matches no key of the checkpoint; a pattern must match the whole "
        "key, such as 'head.a'",
    ]
    assert "\tunknown: ignore has 'haed.*', which matches" in str(error)
    with pytest.raises(jc.ConversionError, match=r"ignore has 'haed\.\*'"):
        jc.load_torch(Net(nnx.Rngs(0)), tensors, ignore=[r"head\..*", "haed.*"], strict=False)


def test_a_pattern_may_match_tensors_that_are_used():
    """Counters are not loaded in any case."""
    plan = jc.plan(net(), state(), ignore=[r".*\.num_batches_tracked"])
    assert plan.complete
    assert len(plan.of_status("counter")) == 2


def test_ignored_tensors_are_in_the_plan(tmp_path):
    tensors = state() | {"head.a": np.ones(2, "f4"), "ahead": np.ones(2, "f4")}
    assert problems(net(), tensors, ignore=["head"]).unexpected_keys == ["head.a", "ahead"]
    plan = jc.plan(net(), tensors, ignore=[r"head\..*", "ahead"])
    assert [e.torch[0] for e in plan.entries if e.status == "ignored"] == ["head.a", "ahead"]
    assert plan.complete


def test_key_of_a_nested_dict():
    nested = {"epoch": {"n": 3}, "model": {"ema": state()}}
    model, _ = jc.load_torch(net(), nested, key="model.ema")
    np.testing.assert_array_equal(model.fc.kernel.get_value(), state()["fc.weight"].T)
    with pytest.raises(ValueError, match="key='modle' leads to no dict: there are epoch, model"):
        jc.load_torch(net(), nested, key="modle")
    with pytest.raises(ValueError, match="checkpoint is open already"):
        jc.load_torch(net(), jc._files.from_dict(state()), key="model")


# --- rules and names that lead nowhere ------------------------------------------------------------

NOWHERE = [
    ({"rules": {"clasifier": jc.FlattenLinear(2, 2, 2)}}, "rules has 'clasifier'", None),
    ({"rules": {"f": jc.FlattenLinear(2, 2, 2)}}, "rules has 'f'", "fc"),
    ({"rules": {"params.fcc": jc.FlattenLinear(2, 2, 2)}}, "rules has 'params.fcc'", None),
    ({"names": {"features.0": "stem"}}, "names has 'features.0'", "features"),
    ({"names": {"fc.weight": "w"}}, "names has 'fc.weight'", None),
]


@pytest.mark.parametrize(("how", "message", "near"), NOWHERE)
def test_a_misspelt_path_is_an_error_not_a_lost_rule(how, message, near):
    error = problems(net(), state(), **how)
    (note,) = error.unknown
    assert note.startswith(f"{message}, which no layer or parameter of the model uses")
    assert near is None or f"similar: '{near}" in note


@pytest.mark.parametrize("path", ["features", "features.layers.0.conv", "features.layers.0.bn"])
def test_a_rule_for_another_kind_of_layer_is_an_error(path):
    error = problems(net(), state(), rules={path: jc.FlattenLinear(2, 2, 2)})
    assert "FlattenLinear is for a Linear or Dense layer" in str(error)


def test_flatten_of_another_size_is_a_mismatch_both_ways(tmp_path):
    rules = {"fc": jc.FlattenLinear(2, 2, 1)}  # 4 divides 8
    error = problems(net(), state(), rules=rules)
    assert error.mismatched == ["fc.weight"]
    with pytest.raises(jc.ConversionError, match=r"size mismatch for fc\.weight"):
        jc.save_torch(Net(nnx.Rngs(0)), tmp_path / "a.safetensors", rules=rules)
    assert not list(tmp_path.iterdir())


def test_an_operation_is_for_one_parameter():
    error = problems(net(), state(), rules={"fc": jc.Identity()})
    assert "an operation is the rule of one parameter, but fc holds fc.bias, fc.kernel" in str(
        error
    )


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ({"ignore": ["("]}, ValueError, r"ignore: invalid regular expression '\('"),
        ({"names": [("(", "x")]}, jc.ConversionError, "names: invalid regular expression"),
        ({"names": lambda name: None}, TypeError, "must return a string, got None for"),
        ({"rules": {"fc": 3}}, TypeError, r"rules\['fc'\] must be a FlattenLinear, .* got 3"),
    ],
)
def test_arguments_that_are_none(how, kind, message):
    with pytest.raises(kind, match=message):
        jc.load_torch(net(), state(), **how)


def test_a_checkpoint_that_is_none():
    with pytest.raises(TypeError, match=r"such as torch_module\.state_dict\(\), .* got Net"):
        jc.load_torch(net(), Net(nnx.Rngs(0)))
    with pytest.raises(ValueError, match="'model' is a dict, not a tensor"):
        jc.load_torch(net(), {"model": state()})


def test_one_pattern_to_ignore():
    tensors = state() | {"xx": np.ones(1)}
    assert jc.plan(net(), tensors, ignore="x+").complete


def test_one_dimension_may_be_an_int():
    class Linen(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Conv(4, 3, name="c", padding="VALID")(x)

    tensors = {"c.weight": np.arange(24, dtype="f4").reshape(4, 2, 3), "c.bias": np.ones(4, "f4")}
    example = jnp.ones((1, 5, 2), "float32")
    variables, _ = jc.load_torch_linen(Linen(), tensors, example=example)
    held = variables["params"]["c"]["kernel"]
    np.testing.assert_array_equal(held, np.transpose(tensors["c.weight"], (2, 1, 0)))
