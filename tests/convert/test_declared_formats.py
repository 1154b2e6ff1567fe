"""What a file declares of itself: another framework, a parametrization, wrappers in its names."""

import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy
from flax import linen as nn
from flax import nnx
from support.checkpoints import written

import jaxgroups as jg
import jaxgroups.convert as jc

# the tests read them in plans and reports
pytestmark = pytest.mark.filterwarnings("ignore::jaxgroups.convert.ConversionWarning")


class Net(nnx.Module):
    """A convolution whose kernel is as long as in/groups: MLX's layout has the same shape."""

    def __init__(self, rngs):
        self.conv = jg.nnx.Conv2d(6, 8, (3, 3), groups=2, rngs=rngs)
        self.fc = nnx.Linear(5, 5, rngs=rngs)


class Linears(nnx.Module):
    def __init__(self, rngs):
        self.emb = nnx.Embed(7, 5, rngs=rngs)
        self.fc = nnx.Linear(5, 5, rngs=rngs)


class Vectors(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(5, epsilon=1e-5, rngs=rngs)


def counted(*shape):
    return np.arange(np.prod(shape), dtype="f4").reshape(shape)


NET = {
    "conv.weight": counted(8, 3, 3, 3),
    "conv.bias": counted(8),
    "fc.weight": counted(5, 5),
    "fc.bias": counted(5),
}
LINEARS = {"emb.weight": counted(7, 5), "fc.weight": counted(5, 5), "fc.bias": counted(5)}
VECTORS = {"norm.weight": counted(5), "norm.bias": counted(5) + 5}


def mlx(arrays):
    """The arrays as MLX keeps them: a convolution's as (out, *kernel, in/groups)."""
    return {n: np.moveaxis(a, 1, -1).copy() if a.ndim > 2 else a for n, a in arrays.items()}


def abstract(kind):
    return nnx.eval_shape(lambda: kind(nnx.Rngs(0)))


def test_mlx_with_a_convolution_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(mlx(NET), path, {"format": "mlx"})
    for call in (jc.plan, jc.load_torch):
        with pytest.raises(jc.CheckpointError) as caught:
            call(abstract(Net), path)
        assert str(caught.value) == (
            f"{path}: its metadata have format='mlx', so conv.weight are in MLX's layout (out, "
            "*kernel, in/groups), not in torch's: pass a dict of arrays, a convolution's as "
            "numpy.moveaxis(w, -1, 1), a transposed one's as numpy.moveaxis(w, -1, 0); if the "
            'layout is torch\'s after all, write the file again with metadata={"format": "pt"}'
        )


def test_the_remedy_for_mlx_gives_the_right_kernel(tmp_path):
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(mlx(NET), path, {"format": "mlx"})
    arrays = safetensors.numpy.load_file(path)
    arrays["conv.weight"] = np.moveaxis(arrays["conv.weight"], -1, 1)
    model, report = jc.load_torch(abstract(Net), arrays)
    expected = NET["conv.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.conv.kernel.get_value(), expected)
    assert report.warnings == []


def test_mlx_without_a_convolution_is_loaded(tmp_path):
    """Its linear layers and embeddings are torch's."""
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(mlx(LINEARS), path, {"format": "mlx"})
    model, report = jc.load_torch(abstract(Linears), path)
    np.testing.assert_array_equal(model.fc.kernel.get_value(), LINEARS["fc.weight"].T)
    np.testing.assert_array_equal(model.emb.embedding.get_value(), LINEARS["emb.weight"])
    assert report.warnings == []


def test_a_plan_of_a_torch_file_does_not_convert_one_of_mlx(tmp_path):
    """Names, shapes and dtypes agree, so nothing else tells the two files apart."""
    torch, other = tmp_path / "torch.safetensors", tmp_path / "mlx.safetensors"
    safetensors.numpy.save_file(NET, torch, {"format": "pt"})
    safetensors.numpy.save_file(mlx(NET), other, {"format": "mlx"})
    plan = jc.plan(abstract(Net), torch)
    with pytest.raises(jc.CheckpointError, match="its metadata have format='mlx'"):
        jc.convert_file(other, tmp_path / "out.safetensors", plan)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("flax", r"so its layout is Flax's: load it with safetensors\.flax\.load_file"),
        ("jax", "so its layout is JAX's"),
        ("tf", "so its layout is TensorFlow's: save the model from PyTorch, or pass a dict"),
        ("paddle", r"so its layout is Paddle's, with linear weights \(in, out\): transpose them"),
    ],
)
def test_other_frameworks_are_refused(tmp_path, format, message):
    path = tmp_path / "net.safetensors"
    safetensors.flax.save_file(LINEARS, path, {"format": format})
    with pytest.raises(jc.CheckpointError, match=message):
        jc.plan(abstract(Linears), path)


@pytest.mark.parametrize("format", [None, "pt", "PT", "pytorch", "torch"])
def test_no_word_on_torch(tmp_path, format):
    """safetensors' own writers for numpy and jax write no format unless one is given."""
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(NET, path, None if format is None else {"format": format})
    plan = jc.plan(abstract(Net), path)
    assert plan.complete
    assert plan.warnings == []


@pytest.mark.parametrize("format", ["np", "", "\x1b[2J\nsure"])
def test_a_format_that_tells_nothing_is_warned_of(tmp_path, format):
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(NET, path, {"format": format})
    warning = (
        f"{path}: its metadata have format={format!r}, which does not determine a layout: "
        "conv.weight and 1 more are taken as torch's, (out, in/groups, *kernel) and (out, in)"
    )
    plan = jc.plan(abstract(Net), path)
    assert plan.warnings == [warning]
    assert f"warning: {warning}" in plan.report()
    assert jc.load_torch(abstract(Net), path)[1].warnings == [warning]
    out = tmp_path / "out.safetensors"
    assert jc.convert_file(path, out, plan) == []  # the plan has it
    plan.warnings.clear()
    assert jc.convert_file(path, out, plan, overwrite=True) == [warning]


def test_vectors_have_one_layout_only(tmp_path):
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(VECTORS, path, {"format": "np"})
    assert jc.plan(abstract(Vectors), path).warnings == []


@pytest.mark.parametrize(
    ("format", "layout"), [("mlx", "unknown"), ("pt", "torch"), (None, "torch")]
)
def test_explain_does_not_count_filters_in_an_unknown_layout(tmp_path, format, layout):
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(NET, path, {"format": format} if format else None)
    answer = jg.explain(path)
    row = next(row for row in answer.tensors if row.name == "conv.weight")
    assert answer.layout == layout
    known = layout == "torch"
    assert row.filters == (8 if known else None)
    assert row.kernel_size == ((3, 3) if known else None)
    assert ("its metadata have format='mlx'" in answer.note) is not known
    assert ("its metadata have format='mlx'" in str(answer)) is not known


# --- parametrizations -----------------------------------------------------------------------------


def normed(name):
    """The two tensors of a weight norm, by one of torch's spellings of their names."""
    module, _, tensor = name.rpartition(".")
    front = f"{module}.parametrizations.{tensor}"
    return {f"{front}.original0": counted(5, 1) + 1, f"{front}.original1": counted(5, 5) + 2}


def test_two_originals_are_said_to_be_taken_as_a_weight_norm(tmp_path):
    arrays = {n: a for n, a in LINEARS.items() if n != "fc.weight"} | normed("fc.weight")
    plan = jc.plan(abstract(Linears), arrays)
    assert plan.complete
    assert plan.warnings == [
        "fc.parametrizations.weight.original1: a parametrization of two tensors is taken as a "
        "weight norm; the file does not name it: for another one, call "
        "torch.nn.utils.parametrize.remove_parametrizations before saving in torch"
    ]
    model, report = jc.load_torch(abstract(Linears), arrays)
    assert report.warnings == plan.warnings
    v = counted(5, 5).astype("f8") + 2
    merged = (counted(5, 1) + 1) * v / np.sqrt((v * v).sum(1, keepdims=True))
    np.testing.assert_allclose(model.fc.kernel.get_value(), merged.T, rtol=1e-6)


def test_the_old_names_of_a_weight_norm_are_its_alone():
    arrays = {n: a for n, a in LINEARS.items() if n != "fc.weight"}
    arrays |= {"fc.weight_g": counted(5, 1) + 1, "fc.weight_v": counted(5, 5) + 2}
    plan = jc.plan(abstract(Linears), arrays)
    assert [e.status for e in plan.entries if e.flax == "fc.kernel"] == ["folded"]
    assert plan.warnings == []


# --- wrappers -------------------------------------------------------------------------------------


class Block(nnx.Module):
    def __init__(self, rngs):
        self.inner = Linears(rngs)
        self.body = nnx.Sequential(nnx.Linear(2, 3, rngs=rngs), nnx.Linear(3, 4, rngs=rngs))


class LinenBlock(nn.Module):
    def setup(self):
        self.body = nn.Sequential([nn.Dense(3), nn.Dense(4)])

    def __call__(self, x):
        return self.body(x)


BODY = {
    "body.0.weight": counted(3, 2),
    "body.0.bias": counted(3),
    "body.1.weight": counted(4, 3),
    "body.1.bias": counted(4),
}
BLOCK = {f"inner.{name}": array for name, array in LINEARS.items()} | BODY


def renamed(arrays, **parts):
    """The arrays with names in the file: ``inner="inner._orig_mod"`` for a part of the name."""
    return {
        ".".join(parts.get(part, part) for part in name.split(".")): array
        for name, array in arrays.items()
    }


def hinted(model, arrays, **how):
    """The hint of a plan that lacks all of its wrapped keys."""
    plan = jc.plan(model, arrays, **how)
    with pytest.raises(jc.ConversionError) as caught:
        plan.raise_if_incomplete()
    (hint,) = plan.hints
    assert f"\thint: {hint}" in str(caught.value)
    return hint


CASES = {
    "a compiled module": (
        {"body": "body._orig_mod"},
        "the checkpoint has _orig_mod (from torch.compile) within its names: pass "
        'names={"body": "body._orig_mod"}',
        {"names": {"body": "body._orig_mod"}},
    ),
    "a module within a module": (
        {"inner": "inner.module", "fc": "fc._orig_mod"},
        "the checkpoint has _orig_mod (from torch.compile) and module (from DataParallel) within "
        'its names: pass names={"inner": "inner.module", "inner.fc": "inner.module.fc._orig_mod"}',
        {"names": {"inner": "inner.module", "inner.fc": "inner.module.fc._orig_mod"}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrapper_within_the_names(case):
    parts, hint, how = CASES[case]
    arrays = renamed(BLOCK, **parts)
    assert hinted(abstract(Block), arrays) == hint
    model, _ = jc.load_torch(abstract(Block), arrays, **how)
    np.testing.assert_array_equal(model.body.layers[1].kernel.get_value(), BODY["body.1.weight"].T)
    fc = model.inner.fc.kernel.get_value()
    np.testing.assert_array_equal(fc, LINEARS["fc.weight"].T)


def test_wrappers_in_front_and_within():
    arrays = {f"module._orig_mod.{n}": a for n, a in renamed(BLOCK, fc="fc._orig_mod").items()}
    assert hinted(abstract(Block), arrays) == (
        "the checkpoint has _orig_mod (from torch.compile) and module (from DataParallel) within "
        'its names: pass names={"inner.fc": "inner.fc._orig_mod"}, prefix="module._orig_mod."'
    )
    how = {"names": {"inner.fc": "inner.fc._orig_mod"}, "prefix": "module._orig_mod."}
    model, _ = jc.load_torch(abstract(Block), arrays, **how)
    fc = model.inner.fc.kernel.get_value()
    np.testing.assert_array_equal(fc, LINEARS["fc.weight"].T)


def test_a_wrapper_behind_a_prefix_that_was_given():
    arrays = {f"model._orig_mod.{n}": a for n, a in BLOCK.items()}
    hint = 'all keys begin with "model._orig_mod.": pass prefix="model._orig_mod."'
    assert hinted(abstract(Block), arrays, prefix="model.") == hint
    assert jc.plan(abstract(Block), arrays, prefix="model._orig_mod.").complete


def test_a_wrapper_within_the_names_of_linen():
    arrays = renamed(BODY, body="body._orig_mod")
    example = np.zeros((1, 2), "f4")
    hint = hinted(LinenBlock(), arrays, example=example)
    assert hint.endswith('pass names={"body": "body._orig_mod"}')
    names = {"body": "body._orig_mod"}
    assert jc.plan(LinenBlock(), arrays, names=names, example=example).complete


def test_a_module_of_the_model_that_is_called_module():
    """Only what the file has more is a wrapper's."""

    class Outer(nnx.Module):
        def __init__(self, rngs):
            self.module = Linears(rngs)

    arrays = {f"module.{n}": a for n, a in LINEARS.items()}
    assert jc.plan(abstract(Outer), arrays).complete
    wrapped = renamed(arrays, fc="fc._orig_mod")
    hint = hinted(abstract(Outer), wrapped)
    assert hint.endswith('pass names={"module.fc": "module.fc._orig_mod"}')
    assert jc.plan(abstract(Outer), wrapped, names={"module.fc": "module.fc._orig_mod"}).complete


def test_names_that_a_function_gives_get_no_table():
    arrays = renamed(BODY, body="body._orig_mod")
    with pytest.raises(jc.ConversionError) as caught:
        jc.load_torch(abstract(Block), arrays, names=lambda name: name, ignore="x")
    message = "hint: the checkpoint has _orig_mod (from torch.compile) within its names: remove it"
    assert message in str(caught.value)


def test_no_hint_without_a_wrapper(tmp_path):
    arrays = dict(BLOCK)
    del arrays["body.0.bias"]
    plan = jc.plan(abstract(Block), arrays | {"body.9.bias": counted(3)})
    assert not any("wrapp" in hint or "within its names" in hint for hint in plan.hints)


# --- symbolic links -------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_symbolic_link_is_not_overwritten(tmp_path, overwrite, there):
    """Neither the link nor what it leads to: which one is meant cannot be known."""
    source = written(tmp_path / "net.safetensors", NET)
    plan = jc.plan(abstract(Net), source)
    model, _ = jc.load_torch(abstract(Net), source)
    for name in ("out.safetensors", "out", "plan.json"):
        target, link = tmp_path / f"elsewhere-{name}", tmp_path / name
        if there:
            target.write_bytes(b"precious")
        link.symlink_to(target)
        before = sorted(p.name for p in tmp_path.iterdir())
        calls = [lambda link=link: jc.convert_file(source, link, plan, overwrite=overwrite)]
        if name == "out.safetensors":
            calls.append(lambda link=link: jc.save_torch(model, link, overwrite=overwrite))
        if name == "plan.json":
            calls = [lambda link=link: plan.to_json(link)]
        for call in calls:
            with pytest.raises(jc.CheckpointError) as caught:
                call()
            assert str(caught.value) == (
                f"{link}: it is a symbolic link to {target}, and neither the link nor what it "
                "leads to is overwritten: remove the link, or give the path that it leads to"
            )
        assert sorted(p.name for p in tmp_path.iterdir()) == before
        assert link.is_symlink()
        assert not there or target.read_bytes() == b"precious"
