"""Parameters stay where the model has them: their shardings and devices survive a load."""

import os
import textwrap

from support.command import python

PLACED = """
    import jax, numpy as np
    from flax import nnx
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P, SingleDeviceSharding
    from jaxgroups.convert import load_torch

    class Model(nnx.Module):
        def __init__(self, rngs, *axes):
            init = nnx.initializers.lecun_normal()
            init = nnx.with_partitioning(init, axes) if axes else init
            self.conv = nnx.Conv(3, 8, (2, 5), kernel_init=init, rngs=rngs)
            self.norm = nnx.BatchNorm(8, rngs=rngs)
            self.own = nnx.Param(np.zeros((4, 6), "float32"))

    rng = np.random.default_rng(0)
    whole = lambda *shape: rng.integers(-9, 9, shape).astype("float32")
    state = {
        "conv.weight": whole(8, 3, 2, 5), "conv.bias": whole(8), "own": whole(4, 6),
        "norm.weight": whole(8), "norm.bias": whole(8),
        "norm.running_mean": whole(8), "norm.running_var": whole(8),
    }
    expected = {
        "conv.kernel": state["conv.weight"].transpose(2, 3, 1, 0), "conv.bias": state["conv.bias"],
        "own": state["own"], "norm.scale": state["norm.weight"], "norm.bias": state["norm.bias"],
        "norm.mean": state["norm.running_mean"], "norm.var": state["norm.running_var"],
    }

    def leaves(model):
        state = nnx.to_flat_state(nnx.state(model))
        return {".".join(map(str, path)): leaf.get_value() for path, leaf in state}

    def check(model, shardings, committed=True):
        found = leaves(model)
        assert set(found) == set(expected)
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
            assert array.committed == committed, name
            if committed:
                assert array.sharding.is_equivalent_to(shardings[name], array.ndim), (
                    name, array.sharding)

    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((2, 2), ("x", "y"), axis_types=(kind,) * 2)
        specs = dict.fromkeys(expected, P()) | {"conv.kernel": P(None, None, None, "y"),
            "own": P("x", None), "norm.mean": P(("x", "y")), "norm.scale": P("y")}
        shardings = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
        model = Model(nnx.Rngs(0))
        for path, leaf in nnx.to_flat_state(nnx.state(model)):
            leaf.set_value(jax.device_put(leaf.get_value(), shardings[".".join(path)]))
            nnx.update(model, nnx.from_flat_state([(path, leaf)]))
        before = {name: array.sharding for name, array in leaves(model).items()}
        assert before == shardings
        for dtype in ("keep", "model", "float16"):
            load_torch(model, state, dtype=dtype)
            check(model, shardings)
        # of an abstract model the type names the axes, and the mesh that is set has the devices
        with jax.set_mesh(mesh):
            abstract = nnx.eval_shape(lambda: Model(nnx.Rngs(0), None, None, None, "y"))
            load_torch(abstract, state)
            kernel = abstract.conv.kernel.get_value()
            assert kernel.sharding == shardings["conv.kernel"], kernel.sharding
            np.testing.assert_array_equal(kernel, expected["conv.kernel"])

    # all on one device that is not the first
    model = Model(nnx.Rngs(0))
    second = SingleDeviceSharding(jax.devices()[1])
    nnx.update(model, jax.device_put(nnx.state(model), second))
    load_torch(model, state)
    check(model, dict.fromkeys(expected, second))
    # bound to no device before, so bound to none after
    model = Model(nnx.Rngs(0))
    load_torch(model, state)
    check(model, {}, committed=False)
    print("fine")
"""


def test_a_load_keeps_shardings_and_devices():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = python("-P", "-c", textwrap.dedent(PLACED), env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "fine\n"
