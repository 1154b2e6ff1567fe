"""Plans: what is wrong, all at once and in torch's words; names, rules and what no file holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn


class Block(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.conv = jnn.Conv2d(inputs, outputs, (3, 2), bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.features = nnx.Sequential(Block(4, 6, rngs), nnx.relu, Block(6, 8, rngs))
        self.fc = nnx.Linear(8, 5, rngs=rngs)


def net():
    return nnx.eval_shape(lambda: Net(nnx.Rngs(0)))


def state():
    """Torch's tensors for it, all values different."""
    shapes = {}
    for i, (inputs, outputs) in {0: (4, 6), 2: (6, 8)}.items():
        shapes[f"features.{i}.conv.weight"] = (outputs, inputs, 3, 2)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"features.{i}.bn.{name}"] = (outputs,)
    shapes |= {"fc.weight": (5, 8), "fc.bias": (5,)}
    arrays, start = {}, 1
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        arrays[name] = np.arange(start, start + size, dtype="f4").reshape(shape)
        start += size
    for i in (0, 2):
        arrays[f"features.{i}.bn.num_batches_tracked"] = np.array(2**40 + i)
    return arrays


def problems(model, tensors, **how):
    plan = jc.plan(model, tensors, **how)
    with pytest.raises(jc.ConversionError) as error:
        plan.raise_if_incomplete()
    return error.value


def saved(model, directory, **how):
    path = directory / "saved.safetensors"
    jc.save_torch(model, path, overwrite=True, **how)
    with jc.open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.infos}


def assert_same(actual, expected):
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (array.shape, array.dtype), name
        assert actual[name].tobytes() == array.tobytes(), name


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
    assert_same(saved(model, tmp_path, extras=report.extras), state())


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
        return {n: jc.Leaf("both", part) for n, part in zip("ab", parts, strict=True)}

    assert jc.plan(two, tensors, rules=rules(jc.Part(1, 2), jc.Part(0, 2))).complete
    tensors["both"] = np.arange(18, dtype="f4").reshape(6, 3)
    lost = problems(two, tensors, rules=rules(jc.Part(0, 3), jc.Part(2, 3)))
    assert "both is claimed in parts by a, b, which do not make up the whole of it" in str(lost)
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
    assert_same(saved(model, tmp_path, names=names, extras=report.extras), tensors)


def test_patterns_must_match_once_and_all_failures_are_told():
    error = problems(net(), state(), names=[(r"features\.0.*", "a"), (r".*bn", "b")])
    assert len(error.ambiguous) == 3
    assert (
        "'features.0.bn' is matched by 2 of the names patterns 'features\\\\.0.*' '.*bn', and it "
        "must be exactly one"
    ) in error.ambiguous
    assert "'fc' is matched by 0 of the names patterns, and it must be exactly one" in str(error)


def test_prefix_and_its_hint(tmp_path):
    tensors = {f"module.{name}": array for name, array in state().items()}
    error = problems(net(), tensors)
    assert len(error.missing_keys) == 12
    assert 'all keys begin with "module.": pass prefix="module."' in str(error)
    model, report = jc.load_torch(net(), tensors, prefix="module.")
    back = saved(model, tmp_path, prefix="module.", extras=report.extras)
    assert_same(back, tensors)


def test_near_misses_are_hints_only():
    tensors = state()
    tensors["fc.weigth"] = tensors.pop("fc.weight")
    error = problems(net(), tensors)
    assert 'missing "fc.weight" is close to unexpected "fc.weigth"' in str(error)
    assert error.missing_keys == ["fc.weight"]


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
    with pytest.raises(ValueError, match="this one is open"):
        jc.load_torch(net(), jc._files.from_dict(state()), key="model")


# --- rules and names that lead nowhere ------------------------------------------------------------

NOWHERE = [
    ({"rules": {"clasifier": jc.FlattenLinear(2, 2, 2)}}, "rules has 'clasifier'", None),
    ({"rules": {"f": jc.FlattenLinear(2, 2, 2)}}, "rules has 'f'", "fc"),
    ({"rules": {"params.fcc": jc.FlattenLinear(2, 2, 2)}}, "rules has 'params.fcc'", "fc"),
    ({"names": {"features.0": "stem"}}, "names has 'features.0'", "features"),
    ({"names": {"fc.weight": "w"}}, "names has 'fc.weight'", None),
]


@pytest.mark.parametrize(("how", "said", "near"), NOWHERE)
def test_a_misspelt_path_is_an_error_not_a_lost_rule(how, said, near):
    error = problems(net(), state(), **how)
    (note,) = error.unknown
    assert note.startswith(f"{said}, which is no layer here that takes one")
    assert near is None or f"near it: '{near}" in note


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


# --- what is shared -------------------------------------------------------------------------------


class Tied(nnx.Module):
    def __init__(self, rngs):
        block = Block(4, 6, rngs)
        self.one, self.two = block, block
        scale = nnx.Param(jnp.ones(3))
        self.scale, self.again = scale, scale


def tied_state():
    tensors = {k.removeprefix("features.0."): v for k, v in state().items() if "features.0" in k}
    both = {f"{name}.{k}": v for name in ("one", "two") for k, v in tensors.items()}
    scale = np.array([3, 1, 2], "f4")
    return both | {"scale": scale, "again": scale}


def copies(tensors):
    return {name: array.copy() for name, array in tensors.items()}


@pytest.mark.parametrize("change", [dict, copies])
def test_shared_tensors_survive(change, tmp_path):
    """The same memory in the file, or two copies that agree."""
    tied = nnx.eval_shape(lambda: Tied(nnx.Rngs(0)))
    model, report = jc.load_torch(tied, change(tied_state()))
    assert model.one is model.two
    assert model.scale is model.again
    assert report.missing_keys == report.unexpected_keys == []
    assert_same(saved(model, tmp_path, extras=report.extras), tied_state())


def test_shared_tensors_that_differ_are_refused(tmp_path):
    for name in ("two.conv.weight", "two.bn.num_batches_tracked", "again"):
        tensors = copies(tied_state())
        tensors[name] = tensors[name] + 1
        tied = nnx.eval_shape(lambda: Tied(nnx.Rngs(0)))
        with pytest.raises(ValueError, match=r"are one tensor in the model, but they differ"):
            jc.load_torch(tied, tensors)
    tensors = copies(tied_state())
    tensors["scale"] = tensors["scale"].reshape(3, 1)
    with pytest.raises(ValueError, match=r"are one tensor in the model, but they differ"):
        jc.load_torch(nnx.eval_shape(lambda: Tied(nnx.Rngs(0))), tensors)


def test_one_name_of_a_shared_tensor_is_enough(tmp_path):
    tensors = {k: v for k, v in tied_state().items() if not k.startswith(("one", "scale"))}
    tied = nnx.eval_shape(lambda: Tied(nnx.Rngs(0)))
    model, report = jc.load_torch(tied, tensors)
    assert report.missing_keys == []
    np.testing.assert_array_equal(model.scale.get_value(), [3, 1, 2])


def test_a_name_whose_memory_is_used_elsewhere_is_not_unexpected(tmp_path):
    """torch ties two layers of which the Flax model has one, under either name."""
    weight = np.arange(12, dtype="f4").reshape(4, 3)
    make = nnx.eval_shape(lambda: nnx.Dict(b=nnx.Embed(4, 3, rngs=nnx.Rngs(0))))
    for name in ("a", "c"):
        plan = jc.plan(make, {f"{name}.weight": weight, "b.weight": weight})
        assert sorted(e.status for e in plan.entries) == ["alias", "ok"]
    plan = jc.plan(make, {"c.weight": weight.copy(), "b.weight": weight})
    assert sorted(e.status for e in plan.entries) == ["ok", "unexpected"]


# --- settings that no file holds ------------------------------------------------------------------

LINT = [
    (lambda rngs: nnx.LayerNorm(5, rngs=rngs), "LayerNorm has epsilon=1e-06, its default in Flax"),
    (lambda rngs: nnx.GroupNorm(6, num_groups=2, rngs=rngs), "GroupNorm has epsilon=1e-06"),
    (lambda rngs: nnx.InstanceNorm(5, rngs=rngs), "InstanceNorm has epsilon=1e-06"),
    (
        lambda rngs: nnx.RMSNorm(5, rngs=rngs),
        "RMSNorm has epsilon=1e-06, its default in Flax; torch's d",
    ),
    (lambda rngs: nnx.BatchNorm(5, rngs=rngs), "BatchNorm has momentum=0.99, its default in Flax"),
    (
        lambda rngs: nnx.Conv(2, 3, (3, 3), strides=(2, 1), rngs=rngs),
        "padding='SAME' with strides=(2, 1) pads by the input's size",
    ),
    (
        lambda rngs: nnx.ConvTranspose(2, 3, (3, 3), strides=2, padding="SAME_LOWER", rngs=rngs),
        "padding='SAME_LOWER' with strides=",
    ),
    (
        lambda rngs: nnx.LinearGeneral((2, 3, 4), 5, axis=(1, 2, 3), rngs=rngs),
        "it reads the axes (1, 2, 3) together; torch flattens a feature map as (C, H, W)",
    ),
]
QUIET = [
    lambda rngs: nnx.LayerNorm(5, epsilon=1e-5, rngs=rngs),
    lambda rngs: nnx.RMSNorm(5, epsilon=1e-5, rngs=rngs),
    lambda rngs: nnx.BatchNorm(5, momentum=0.9, epsilon=1e-6, rngs=rngs),
    lambda rngs: nnx.Conv(2, 3, (3, 3), rngs=rngs),
    lambda rngs: nnx.Conv(2, 3, (3, 3), strides=2, padding=((1, 1), (1, 1)), rngs=rngs),
    lambda rngs: jnn.Conv2d(2, 3, 3, stride=2, padding=1, rngs=rngs),
    lambda rngs: nnx.MultiHeadAttention(2, 6, rngs=rngs),
    lambda rngs: nnx.Sequential(nnx.Linear(4, 24, rngs=rngs), nnx.Linear(24, 4, rngs=rngs)),
]


def warnings_of(layer):
    model = nnx.eval_shape(lambda: nnx.Dict(layer=layer(nnx.Rngs(0))))
    return jc.plan(model, {}).warnings


@pytest.mark.parametrize(("layer", "said"), LINT)
def test_lint(layer, said):
    (warning,) = warnings_of(layer)
    assert warning.startswith(f"layer: {said}")


@pytest.mark.parametrize("layer", QUIET)
def test_no_lint_without_a_reason(layer):
    assert warnings_of(layer) == []


def test_lint_says_a_thing_once():
    (warning,) = warnings_of(lambda rngs: nnx.List(nnx.LayerNorm(n, rngs=rngs) for n in (3, 4, 5)))
    assert warning.startswith("layer.0 and 2 more: LayerNorm has epsilon=1e-06")


class Vgg(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3), padding="VALID")(x)
        x = nn.Dense(20)(x.reshape(x.shape[0], -1))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


def test_what_lint_says_of_a_linen_flatten_works_as_it_is_said():
    """Its path has the collection in front, which must not lose the rule."""
    example = (jax.ShapeDtypeStruct((1, 5, 4, 2), "float32"), False)
    rng = np.random.default_rng(0)
    shapes = {"c.weight": (8, 2, 3, 3), "c.bias": (8,), "d.weight": (20, 48), "d.bias": (20,)}
    shapes |= {"e.weight": (3, 20), "e.bias": (3,)}
    tensors = {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    how = {"example": example, "names": {"params.Conv_0": "c", "Dense_0": "d", "Dense_1": "e"}}
    (warning,) = jc.plan(Vgg(), tensors, **how).warnings
    assert warning.startswith("params.Dense_0 reads 48 = 8 * 6 features")
    assert 'rules={"params.Dense_0": FlattenLinear(8, h, w)} with h * w = 6' in warning
    rules = {"params.Dense_0": jc.FlattenLinear(8, 3, 2)}
    variables, report = jc.load_torch_linen(Vgg(), tensors, rules=rules, **how)
    assert not report.warnings
    kernel = variables["params"]["Dense_0"]["kernel"].reshape(3, 2, 8, 20)
    weight = tensors["d.weight"].reshape(20, 8, 3, 2)
    for o, c, y, x in np.ndindex(weight.shape):
        assert kernel[y, x, c, o] == weight[o, c, y, x]


def test_a_norm_over_several_axes_is_told_and_can_be_told_otherwise():
    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.LayerNorm(epsilon=1e-5, reduction_axes=(1, 2), feature_axes=(1, 2))(x)

    tensors = {n: np.arange(9, dtype="f4").reshape(3, 3) for n in ("n.weight", "n.bias")}
    how = {"example": jnp.ones((2, 3, 3), "float32"), "names": {"LayerNorm_0": "n"}}
    variables, report = jc.load_torch_linen(Norm(), tensors, **how)
    (warning,) = report.warnings
    assert warning.startswith("params.LayerNorm_0: a norm over 2 axes is taken as torch's (C, *s")
    held = variables["params"]["LayerNorm_0"]["scale"]
    np.testing.assert_array_equal(held, tensors["n.weight"].T)
    rules = {f"LayerNorm_0.{leaf}": jc.Identity() for leaf in ("scale", "bias")}
    variables, report = jc.load_torch_linen(Norm(), tensors, rules=rules, **how)
    assert not report.warnings
    held = variables["params"]["LayerNorm_0"]["scale"]
    np.testing.assert_array_equal(held, tensors["n.weight"])


# --- linen and nnx structures ---------------------------------------------------------------------


class Stack(nn.Module):
    def setup(self):
        self.stem = nn.Sequential([nn.Dense(4), nn.relu, nn.remat(nn.Dense)(5)])
        self.own = nn.remat(Own)()

    def __call__(self, x):
        return self.own(self.stem(x))


class Own(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x * self.param("gain", nn.initializers.ones, (5,), "float32")[None]


def test_a_linen_sequential_counts_as_torch_does():
    shapes = {"stem.0.weight": (4, 3), "stem.0.bias": (4,), "stem.2.weight": (5, 4)}
    shapes |= {"stem.2.bias": (5,), "own.gain": (5,)}
    tensors = {name: np.ones(shape, "f4") for name, shape in shapes.items()}
    variables, _ = jc.load_torch_linen(Stack(), tensors, example=jnp.ones((2, 3), "float32"))
    assert variables["params"]["stem"]["layers_2"]["kernel"].shape == (4, 5)


def test_random_streams_of_an_abstract_model_become_real():
    def make():
        rngs = nnx.Rngs(0)
        layers = [nnx.Linear(50, 60, rngs=rngs)] + [nnx.Dropout(0.5, rngs=rngs) for _ in "ab"]
        return nnx.Sequential(*layers)

    tensors = {"0.weight": np.ones((60, 50), "f4"), "0.bias": np.ones(60, "f4")}
    model, _ = jc.load_torch(nnx.eval_shape(make), tensors)
    out = nnx.jit(lambda m, x: m(x))(model, jnp.ones((3, 50), "float32"))
    assert 0.1 < np.mean(np.asarray(out) == 0) < 0.9
    one, two = (model.layers[i].rngs.key.get_value() for i in (1, 2))
    assert not np.array_equal(jax.random.key_data(one), jax.random.key_data(two))


def test_a_model_that_is_none_is_refused():
    for model in (None, Net, Vgg(), "net"):
        with pytest.raises(TypeError, match=r"model must be a flax\.nnx\.Module"):
            jc.plan(model, {})
