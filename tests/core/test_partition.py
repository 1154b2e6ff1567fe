"""Programs for several devices keep the kernels: values, shardings and what moves between devices.

The results are those of lax on one device, exactly: the data are whole numbers.
"""

import os
import textwrap

from support.command import python

from jaxgroups import _native as native
from jaxgroups._op import partition
from jaxgroups._problem.view_ops import apply_views

START = """
    import re
    from functools import partial
    import jax, jax.numpy as jnp, numpy as np
    from jax import lax
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
    import jaxgroups as jg
    from jaxgroups import _native as native

    rng = np.random.default_rng(0)
    KERNELS = not native.status().missing
    mesh = jax.make_mesh((2, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    LAST, FIRST = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")

    def whole(*shape):
        return rng.integers(-4, 5, shape).astype("float32")

    def put(array, spec, mesh=mesh):
        return jax.device_put(array, NamedSharding(mesh, spec))

    def moved(text):
        names = ("all-gather", "all-reduce", "all-to-all", "collective-permute")
        found = {n: len(re.findall(rf" {n}(?:-start)?[(]", text)) for n in names}
        return {name: count for name, count in found.items() if count}

    def same(got, expected, about=""):
        got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(about))

    def with_gradients(f):
        def both(x, w, ct):
            y, back = jax.vjp(f, x, w)
            return (y, *back(ct))
        return both
"""


def run(body, devices=4):
    env = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    script = textwrap.dedent(START) + textwrap.dedent(body) + "\nprint('fine')\n"
    done = python("-P", "-c", script, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "fine\n"


# name: x, w, arguments, shardings of x and w, the result's, what moves forward
SPLIT = """
    same_size = dict(window_strides=(1, 1), padding="SAME")
    CASES = {
        "batch": ((8, 6, 5, 12), (3, 3, 4, 6), dict(g=3), (P("x"), P()), P("x"), {}),
        "batch over both axes": (
            (8, 6, 5, 12), (3, 3, 4, 6), dict(g=3), (P(("y", "x")), P()), P(("y", "x")), {}),
        "groups": (
            (3, 6, 5, 16), (3, 2, 4, 8), dict(g=4), (P(None, None, None, "x"),) * 2,
            P(None, None, None, "x"), {}),
        "groups, channels first": (
            (3, 8, 7, 5), (16, 2, 3, 3), dict(g=4, dimension_numbers=FIRST),
            (P(None, "y"), P("y")), P(None, "y"), {}),
        "depthwise": (
            (4, 6, 5, 8), (3, 3, 1, 16), dict(g=8),
            (P("y", None, None, "x"), P(None, None, None, "x")), P("y", None, None, "x"), {}),
        "groups and outputs of a group": (
            (3, 6, 5, 6), (3, 3, 3, 8), dict(g=2), (P(), P(None, None, None, ("x", "y"))),
            P(None, None, None, ("x", "y")), {}),
        "outputs": (
            (3, 6, 5, 6), (3, 3, 6, 8), {}, (P(), P(None, None, None, "x")),
            P(None, None, None, "x"), {}),
        "inputs": (
            (3, 6, 5, 6), (3, 3, 6, 7), {}, (P(None, None, None, "x"), P(None, None, "x")),
            P(), {"all-reduce": 1}),
        "batch and inputs": (
            (4, 6, 5, 6), (3, 3, 6, 7), {}, (P("y", None, None, "x"), P(None, None, "x")),
            P("y"), {"all-reduce": 1}),
        "weights split by the axis of the batch": (
            (8, 6, 5, 8), (3, 3, 4, 6), dict(g=2), (P("x"), P(None, None, None, "x")),
            P("x"), {"all-gather": 1}),
        "height": (
            (2, 8, 5, 4), (3, 3, 2, 6), dict(g=2), (P(None, "x"), P()), P(None, "x"),
            {"collective-permute": 2}),
        "height and width": (
            (2, 8, 12, 4), (3, 5, 2, 6), dict(g=2), (P(None, "x", "y"), P()), P(None, "x", "y"),
            {"collective-permute": 4}),
        "height over both axes, strided": (
            (2, 16, 5, 4), (3, 3, 2, 6), dict(g=2, window_strides=(2, 1), padding=((1, 1), (1, 1))),
            (P(None, ("y", "x")), P()), P(None, ("y", "x")), {"collective-permute": 1}),
        "height of a transposed convolution": (
            (2, 8, 5, 4), (4, 3, 2, 6),
            dict(g=2, lhs_dilation=(2, 1), padding=((2, 2), (1, 1))),
            (P(None, "x"), P()), P(None, "x"), {"collective-permute": 2}),
    }
    for name, (xs, ws, how, specs, out, moves) in CASES.items():
        kw = same_size | dict(dimension_numbers=LAST) | how
        kw["feature_group_count"] = kw.pop("g", 1)
        ours = partial(jg.conv_general_dilated, **kw)
        theirs = partial(lax.conv_general_dilated, **kw)
        x, w = whole(*xs), whole(*ws)
        y = theirs(x, w)
        ct = whole(*y.shape)
        xd, wd, ctd = put(x, specs[0]), put(w, specs[1]), put(ct, out)
        forward = jax.jit(ours).lower(xd, wd).compile()
        got = forward(xd, wd)
        same(got, y, name)
        assert got.sharding.is_equivalent_to(NamedSharding(mesh, out), 4), (name, got.sharding)
        assert moved(forward.as_text()) == moves, (name, moved(forward.as_text()))
        both = jax.jit(with_gradients(ours)).lower(xd, wd, ctd).compile()
        same(both(xd, wd, ctd), with_gradients(theirs)(x, w, ct), name)
        text = both.as_text()
        assert moved(text).get("collective-permute", 0) <= 3 * moves.get("collective-permute", 0)
        if KERNELS and kw["feature_group_count"] > 1:  # without groups XLA's own may be chosen
            assert " convolution(" not in text, name
            assert text.count('custom_call_target="jaxgroups_forward"') == 2, name
            assert text.count('custom_call_target="jaxgroups_weight_gradient"') >= 1, name
"""


def test_values_and_what_moves():
    run(SPLIT)


# what fits no factor is gathered, and every result may be wanted in any sharding
UNEVEN = """
    cases = {
        "3 groups on 2 devices": ((3, 6, 5, 12), (3, 3, 4, 6), 3, "SAME", P(None, None, None, "x")),
        "valid": ((2, 16, 5, 4), (3, 3, 2, 6), 2, "VALID", P(None, "x")),
        "unequal padding": ((2, 12, 5, 4), (4, 3, 2, 6), 2, ((3, 1), (-1, 2)), P(None, ("x", "y"))),
        "a window wider than a part": ((2, 8, 5, 4), (8, 3, 2, 6), 2, "SAME", P(None, ("y", "x"))),
    }
    outs = (P("x"), P(None, None, "y"), P(None, None, None, "y"), P())
    for (name, (xs, ws, g, padding, spec)), out in zip(cases.items(), outs, strict=True):
        kw = dict(window_strides=(1, 1), padding=padding, dimension_numbers=LAST,
                  feature_group_count=g)
        x, w = whole(*xs), whole(*ws)
        ours, theirs = (
            with_gradients(partial(f, **kw))
            for f in (jg.conv_general_dilated, lax.conv_general_dilated)
        )
        ct = whole(*lax.conv_general_dilated(x, w, **kw).shape)
        fits = out if ct.shape[0] % 2 == 0 and ct.shape[2] % 2 == 0 else P()
        shardings = tuple(NamedSharding(mesh, s) for s in (fits, spec, P()))
        got = jax.jit(ours, out_shardings=shardings)(put(x, spec), put(w, P()), put(ct, P()))
        same(got, theirs(x, w, ct), name)
        for array, sharding in zip(got, shardings, strict=True):
            assert array.sharding.is_equivalent_to(sharding, 4), name
"""


def test_what_does_not_divide_is_gathered():
    run(UNEVEN)


TRANSFORMED = """
    kw = dict(window_strides=(1, 1), padding="SAME", dimension_numbers=LAST, feature_group_count=4)
    ours, theirs = (
        partial(f, **kw) for f in (jg.conv_general_dilated, lax.conv_general_dilated)
    )
    x, w, b = whole(4, 6, 5, 8), whole(3, 3, 2, 8), whole(8)
    xd, wd, bd = put(x, P("x")), put(w, P()), put(b, P())

    WAYS = {
        "vmap": lambda f: lambda x, w: jax.vmap(f, (0, None))(jnp.stack([x, 2 * x]), w),
        "vmap of weights": lambda f: lambda x, w: jax.vmap(f, (None, 0))(x, jnp.stack([w, -w])),
        "jvp": lambda f: lambda x, w: jax.jvp(f, (x, w), (x[::-1], w[::-1])),
        "remat": lambda f: jax.grad(
            lambda x, w: jnp.sum(jax.checkpoint(f)(x, w) ** 2), (0, 1)),
        "scan": lambda f: lambda x, w: lax.scan(
            lambda c, w: (f(c, w) % 7, jnp.sum(c)), x, jnp.stack([w, -w])),
        "cond": lambda f: lambda x, w: lax.cond(w[0, 0, 0, 0] > 9, f, lambda x, w: f(x, -w), x, w),
        "of a result": lambda f: lambda x, w: f(f(x, w) % 5, w),
    }
    for name, way in WAYS.items():
        same(jax.jit(way(ours))(xd, wd), jax.jit(way(theirs))(x, w), name)

    # the functions with a bias, forward and transposed, channels split too
    for spec, wspec in ((P("x"), P()), (P("x", None, None, "y"), P(None, None, None, "y"))):
        conv = lambda x, w, b: jg.conv2d(x, w, b, padding=1, groups=4, data_format="channels_last")
        bs = P(*wspec[3:])
        y = theirs(x, w) + b
        same(jax.jit(conv)(put(x, spec), put(w, wspec), put(b, bs)), y, spec)
        loss = lambda *a: jnp.sum(conv(*a) ** 2)
        got = jax.jit(jax.grad(loss, (0, 1, 2)))(put(x, spec), put(w, wspec), put(b, bs))
        expected = jax.grad(lambda x, w, b: jnp.sum((theirs(x, w) + b) ** 2), (0, 1, 2))(x, w, b)
        same(got, expected, spec)
    # a bias is added once to a sum over devices
    dense = lambda x, w, b: jg.conv2d(x, w, b, padding=1, data_format="channels_last")
    w2 = whole(3, 3, 8, 6)
    y = lax.conv_general_dilated(x, w2, (1, 1), "SAME", dimension_numbers=LAST) + b[:6]
    split = put(x, P(None, None, None, "x")), put(w2, P(None, None, "x"))
    same(jax.jit(dense)(*split, b[:6]), y, "bias")
    up = lambda x, w, b: jg.conv_transpose2d(
        x, w, b, stride=2, padding=1, groups=2, data_format="channels_last")
    wt, bt = whole(4, 4, 3, 8), whole(6)
    same(jax.jit(up)(xd, wt, bt), up(x, wt, bt), "transposed")
    for dtype in ("bfloat16", "float16"):
        small = [jnp.asarray(a % 3, dtype) for a in (x, w2, b[:6])]
        y = dense(*(a.astype("float32") for a in small)).astype(dtype)
        at = P(None, None, None, "x"), P(None, None, "x"), P()
        same(jax.jit(dense)(*map(put, small, at)), y, dtype)
    whole_numbers = x.astype("int32"), w.astype("int32")
    same(jax.jit(ours)(put(whole_numbers[0], P("x")), whole_numbers[1]),
         theirs(x, w).astype("int32"), "integers")

    # a named implementation is that of each part; empty arrays; lax's own layers
    for name in ("xla", "shift", "matmul"):
        named = lambda x, w: jg.conv2d(
            x, w, padding=1, groups=4, data_format="channels_last", implementation=name)
        text = jax.jit(named).lower(xd, wd).compile().as_text()
        assert (" convolution(" in text) == (name == "xla"), name
        assert "jaxgroups_forward" not in text
        same(jax.jit(named)(xd, wd), theirs(x, w), name)
    empty = put(x[:, :, :0], P("x"))
    same(jax.jit(ours)(empty, wd), theirs(x[:, :, :0], w), "empty")
    assert "jaxgroups" not in jax.jit(theirs).lower(xd, wd).as_text()
    with jg.accelerate():
        if KERNELS:
            assert "jaxgroups_forward" in jax.jit(theirs).lower(xd, wd).compile().as_text()
        accelerated = jax.jit(with_gradients(theirs))(xd, wd, xd)
    same(accelerated, with_gradients(theirs)(x, w, x), "accelerate")

    # 64-bit types that are switched on for the lowering alone
    with jax.enable_x64(True):
        x64, w64 = put(x.astype("float64"), P("x")), put(w.astype("float64"), P())
        lowered = jax.jit(ours).lower(x64, w64)
    compiled = lowered.compile()
    with jax.enable_x64(True):
        same(compiled(x64, w64), theirs(x.astype("float64"), w.astype("float64")), "float64")
"""


def test_transformations_and_dtypes():
    run(TRANSFORMED)


TYPES = """
    kw = dict(window_strides=(1, 1), padding="SAME", dimension_numbers=LAST, feature_group_count=4)
    ours, theirs = (
        partial(f, **kw) for f in (jg.conv_general_dilated, lax.conv_general_dilated)
    )
    x, w = whole(4, 6, 5, 8), whole(3, 3, 2, 8)
    expected = with_gradients(theirs)(x, w, x)
    kernels = lambda f, *a: "jaxgroups_forward" in jax.jit(f).lower(*a).compile().as_text()

    explicit = jax.make_mesh((2, 2), ("x", "y"), axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(explicit):
        xe, we = put(x, P("x"), explicit), put(w, P(), explicit)
        y, *gradients = jax.jit(with_gradients(ours))(xe, we, xe)
        same((y, *gradients), expected, "explicit")
        assert y.sharding.spec[0] == gradients[0].sharding.spec[0] == "x"
        assert kernels(ours, xe, we) == KERNELS
        at = NamedSharding(explicit, P("x", None, None, "y"))
        y = jax.jit(partial(ours, out_sharding=at))(xe, we)
        same(y, expected[0], "out_sharding")
        assert y.sharding.spec == at.spec
        for f in (theirs, ours):
            try:
                jax.jit(f)(put(x, P(None, None, None, "x"), explicit), we)
            except Exception as error:
                assert "out_sharding" in str(error)
            else:
                raise AssertionError("lax refuses this sharding without out_sharding=")

    # inside a shard_map over all axes the program is that of a device; over some, XLA's own
    every = jax.shard_map(ours, mesh=mesh, in_specs=(P("x"), P()), out_specs=P("x"))
    same(jax.jit(every)(x, w), expected[0], "shard_map")
    assert kernels(every, x, w) == KERNELS
    some = jax.shard_map(
        ours, mesh=mesh, in_specs=(P("x"), P()), out_specs=P("x"), axis_names={"x"})
    same(jax.jit(some)(put(x, P(("x", "y"))), w), expected[0], "some axes")
    same(jax.jit(with_gradients(some))(put(x, P("x")), w, put(x, P("x"))), expected, "some axes")
    same(jax.pmap(ours, in_axes=(0, None))(x[:, None], w)[:, 0], expected[0], "pmap")

    # two meshes in one program, a mesh without devices, and a program to export
    other = jax.make_mesh((4,), ("z",), axis_types=(AxisType.Auto,))
    both = jax.jit(lambda x, u, w: (ours(x, w), ours(u, w)))
    same(both(put(x, P("x")), put(x, P("z"), other), w), (expected[0],) * 2, "two meshes")
    abstract = jax.sharding.AbstractMesh(
        (4,), ("z",), axis_types=(AxisType.Auto,))
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(abstract, P("z")))
    weights = jax.ShapeDtypeStruct(w.shape, w.dtype, sharding=NamedSharding(abstract, P()))
    jax.jit(ours).trace(shape, weights).lower(lowering_platforms=("cpu",))
    xd, wd = put(x, P("x")), put(w, P())
    at = (xd.sharding, wd.sharding, xd.sharding)
    exported = jax.export.export(jax.jit(with_gradients(ours), in_shardings=at))(xd, wd, xd)
    assert "jaxgroups_partitioned" not in exported.mlir_module()
    same(exported.call(xd, wd, xd), expected, "export")
    (n,) = jax.export.symbolic_shape("n")
    like = jax.ShapeDtypeStruct((2 * n, *x.shape[1:]), x.dtype)
    exported = jax.export.export(jax.jit(ours, in_shardings=(xd.sharding, wd.sharding)))(like, wd)
    same(exported.call(xd, wd), expected[0], "symbolic")
"""


def test_kinds_of_meshes_and_programs():
    run(TYPES)


CACHED = """
    import sys
    from pathlib import Path
    folder, window = Path(sys.argv[1]), sys.argv[2]
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    kw = dict(window_strides=(1, 1), padding=((2, 2), (2, 2)), dimension_numbers=LAST,
              feature_group_count=2)
    # two convolutions whose operands and results have the same shapes
    near = dict(kw, padding=((1, 1), (1, 1)))
    far = dict(kw, rhs_dilation=(2, 2))
    x, w = whole(4, 6, 5, 4), whole(3, 3, 2, 6)
    before = len(list(folder.iterdir()))
    f = partial(jg.conv_general_dilated, **{"near": near, "far": far}[window])
    g = partial(lax.conv_general_dilated, **{"near": near, "far": far}[window])
    same(jax.jit(f)(put(x, P("x")), put(w, P())), g(x, w), window)
    grown = len(list(folder.iterdir())) > before
    assert grown == (sys.argv[3] == "new"), window
"""


def test_a_compilation_cache_knows_programs_by_what_they_compute(tmp_path):
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    script = textwrap.dedent(START) + textwrap.dedent(CACHED)
    for window, grows in (("near", "new"), ("far", "new"), ("near", "known"), ("far", "known")):
        done = python("-P", "-c", script, str(tmp_path), window, grows, env=env)
        assert done.returncode == 0, done.stderr[-3000:]


def test_the_text_of_a_part_tells_the_kernels(monkeypatch):
    part = partition.Part(apply_views, (("precision", None),))
    native.version.cache_clear()
    here = partition.key_of(part)
    monkeypatch.setattr(native, "status", lambda: native.Status("missing"))
    native.version.cache_clear()
    without = partition.key_of(part)
    native.version.cache_clear()
    assert without.endswith("kernels none")
    monkeypatch.undo()
    assert (here == without) == bool(native.status().missing)


def test_the_kernels_run_without_their_library_too():
    """The same programs of XLA's operations alone, part by part."""
    env = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAXGROUPS_NATIVE": "0",
    }
    script = textwrap.dedent(START) + textwrap.dedent(SPLIT)
    done = python("-P", "-c", script, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
