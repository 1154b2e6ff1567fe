"""Structures of modules that `port` writes, or refuses; torch judges the values."""

import pytest

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to port")

from support.ported import assert_equal, made  # noqa: E402

from jaxgroups.port import PortError, port  # noqa: E402

nn = torch.nn
pytestmark = pytest.mark.usefixtures("flax_promotion")


class Paired(nn.Module):
    """An item of a Sequential that takes a list or tuple and gives one."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.left, self.right = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        left, right = x
        left = self.left(left)
        return self.kind([torch.relu(left), self.right(right) - left])


@pytest.mark.parametrize("kind", [list, tuple])
def test_items_of_a_sequential_that_hand_on_several_values(kind):
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential()
            self.items = nn.Sequential(Paired(kind), Paired(kind), Paired(kind))
            self.named = nn.Sequential()
            self.named.add_module("only", Paired(kind))

        def forward(self, x, y):
            return self.named(self.items(self.stem(kind([x, y]))))

    ported = port(made(Chain), ((2, 4, 6, 5), (2, 4, 6, 5)))
    assert ported.source.count("\nclass ") == 2
    assert_equal(ported, (2, 4, 6, 5), (2, 4, 6, 5))
    assert_equal(ported, (3, 4, 5, 5), (3, 4, 5, 5))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return [self.conv(x), x[:, :1].repeat(1, 4, 1, 1)]


class Join(nn.Module):
    def forward(self, x):
        return x[0] + x[1]


def test_a_whole_that_is_a_sequential_of_items_that_hand_on_several_values():
    def chain():
        items = [nn.Conv2d(3, 3, 3), Two(), Paired(list), Join(), nn.ReLU(), nn.Conv2d(4, 5, 1)]
        return nn.Sequential(*items)

    ported = port(made(chain), (2, 3, 8, 7))
    assert "class Sequential(nnx.List):" in ported.source
    assert_equal(ported, (3, 3, 9, 8))


class Numbered(nn.Module):
    """Children with numbers as names, and one with a name."""

    def __init__(self, kernels, extra):
        super().__init__()
        for i, size in enumerate(kernels):
            self.add_module(str(i), nn.Conv2d(4, 4, size, padding=size // 2, groups=2))
        self.extra = extra

    def forward(self, x):
        parts = [m(x) for name, m in self.named_children() if name.isdigit()]
        return self.extra(torch.cat(parts, 1))


class Looped(nn.ModuleList):
    def forward(self, x):
        for item in self:
            x = item(x)
        return x


def test_children_with_numbers_as_names():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixed = Numbered((1, 3, 5), nn.Conv2d(12, 4, 1))
            self.looped = Looped(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x):
            return self.looped(self.mixed(x))

    ported = port(made(Net), (2, 4, 6, 5))
    assert 'getattr(self, "2")(x)' in ported.source
    assert "for layer in self:" in ported.source
    assert "super().__init__([jnn.Conv2d(4, 4, 3, padding=1, rngs=rngs) for _ in range(3)])" in (
        ported.source
    )
    names = {name for name, _ in ported.module.named_parameters()}
    assert {"mixed.0.weight", "mixed.extra.weight", "looped.2.bias"} <= names
    assert_equal(ported, (3, 4, 7, 6))


class Called(nn.Module):
    """Defines ``__call__`` in place of ``forward``, so that torch runs none of its hooks."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def __call__(self, x):
        return torch.relu(self.conv(x))


class CalledAgain(Called):
    pass


def test_a_class_that_defines_call_in_place_of_forward():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(Called(), CalledAgain())

        def forward(self, x):
            return self.body(x) + x

    ported = port(made(Net), (2, 4, 6, 5))
    assert "class Called(nnx.Module):" in ported.source
    assert_equal(ported, (3, 4, 7, 6))
    assert "forward" not in vars(Called)
    assert "__call__" in vars(Called)


def test_a_setting_that_is_computed_from_a_shape():
    """It was written as the number of a node of the traced graph."""

    class Blur(nn.Module):
        def forward(self, x):
            channels = x.shape[1] * 2
            x = torch.cat([x, x], 1)
            weight = torch.ones(3, 3, dtype=x.dtype).repeat(channels, 1, 1, 1) / 9
            return torch.nn.functional.conv2d(x, weight, groups=channels)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.blur = nn.Conv2d(3, 4, 1), Blur()

        def forward(self, x):
            return self.blur(self.conv(x))

    ported = port(made(Net), (2, 3, 6, 5))
    assert "groups=8" in ported.source
    assert_equal(ported, (3, 3, 7, 6))


def test_a_setting_that_depends_on_the_image():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3, 2, 2))

        def forward(self, x):
            return torch.nn.functional.conv2d(x, self.weight, stride=(x.shape[2] // 4, 3))

    ported = port(made(Net), (2, 3, 8, 11))
    assert "stride=(x.shape[1] // 4, 3)" in ported.source
    assert_equal(ported, (2, 3, 12, 11))


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x, before=None):
        return self.conv(x) if before is None else self.conv(x) * before


def test_a_shared_module_whose_calls_do_different_things_is_refused():
    """It was written as one module of two classes, which raised a TypeError when it ran."""

    class Owner(nn.Module):
        def __init__(self, shared):
            super().__init__()
            self.shared = shared

        def forward(self, x, before=None):
            return self.shared(x) if before is None else self.shared(x, before)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            shared = Optional()
            self.one, self.other = Owner(shared), Owner(shared)

        def forward(self, x):
            return self.other(x, self.one(x))

    text = "Optional in other.shared: the module stands at several places, and its calls there do"
    with pytest.raises(PortError, match=text):
        port(made(Net), (2, 4, 6, 5))
    with pytest.raises(PortError, match=text):
        port(made(Net), (2, 4, 6, 5), partial=True)


class Pooled(nn.Module):
    def forward(self, x):
        n, c, h, w = x.shape
        return x.view(n, c, h // 4, 4, w // 4, 4).mean((3, 5))


@pytest.fixture
def hard_to_trace(monkeypatch):
    """Torch solves no equations of sizes, as happens in networks with several resolutions."""
    export = torch.export.export

    def without_automatic_sizes(module, args, kwargs, dynamic_shapes, strict):
        for axes in (dynamic_shapes or {}).values():
            if any(axis > 1 and dim == torch.export.Dim.AUTO for axis, dim in axes.items()):
                raise RuntimeError("the inequality cannot be solved")
        return export(module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=strict)

    monkeypatch.setattr(torch.export, "export", without_automatic_sizes)


@pytest.mark.usefixtures("hard_to_trace")
def test_images_of_round_sizes_are_no_constants():
    ported = port(made(Pooled), (2, 3, 64, 96))
    assert "multiples of 32" in ported.notes[0]
    assert "* Torch can trace it for image sizes that are multiples of 32 only" in ported.source
    assert "// 4, 4, x.shape[3] // 4, 4)" in ported.source
    assert_equal(ported, (1, 3, 96, 64))


@pytest.mark.usefixtures("hard_to_trace")
def test_sizes_that_are_constants_are_told_in_the_source():
    ported = port(made(Pooled), (2, 3, 64, 20))
    assert "for the image size of the example only" in " ".join(ported.source[:300].split())
    assert "(N, 3, 64, 20) -> (N, 3, 16, 5)" in ported.source


class Excited(nn.Module):
    def __init__(self, squeezed=0):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.gate = None
        if squeezed:
            self.gate = nn.Sequential(nn.Conv2d(4, squeezed, 1), nn.Conv2d(squeezed, 4, 1))

    def forward(self, x):
        x = self.conv(x)
        return x if self.gate is None else self.gate(x)


def test_a_part_that_is_left_out_needs_no_argument():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = Excited(), Excited(2), Excited(3)

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    ported = port(made(Net), (2, 4, 6, 5))
    assert "def __init__(self, out_channels: int | None = None, *, rngs: nnx.Rngs)" in ported.source
    assert "if out_channels is not None" in ported.source
    assert "self.a = Excited(rngs=rngs)" in ported.source
    assert_equal(ported, (3, 4, 7, 6))


def test_dropout_functions_drop_where_training_mode_does_something_else_too():
    class Net(nn.Module):
        def forward(self, x):
            x = torch.nn.functional.dropout(x, 0.5, training=self.training)
            return x + torch.rand_like(x) if self.training else x

    ported = port(made(Net), (2, 6))
    assert "self.dropout = nnx.Dropout(0.5, rngs=rngs)" in ported.source
    assert "* The original calls rand_like in one mode only" in ported.source


class Rounded(nn.Module):
    """A straight-through estimator."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.conv(x)
        return x + (x.round() - x).detach()


class Blocked(nn.Module):
    """Blocks without gradients, around operations and around a module; one within the other."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 1), Rounded()

    @torch.no_grad()
    def scale(self, x):
        return x.abs().mean()

    def forward(self, x):
        y = self.one(x)
        with torch.no_grad():
            a, b = self.other(x).split(2, 1)
            with torch.no_grad():
                a = a * 2
        return (y * torch.cat([b, a], 1)) * self.scale(y)


@pytest.mark.parametrize("kind", [Rounded, Blocked])
def test_gradients_stop_where_they_do_in_torch(kind):
    ported = port(made(kind), (2, 3, 6, 5))
    assert ported.source.count("jax.lax.stop_gradient(") == {Rounded: 1, Blocked: 5}[kind]
    proof = ported.prove(steps=2)
    assert proof.verdict == "equal", str(proof)


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_backward_of_its_own_is_told():
    class Net(Rounded):
        def forward(self, x):
            return Sign.apply(self.conv(x))

    ported = port(made(Net), (2, 3, 6, 5))
    assert ported.notes[0].startswith("Sign computes gradients by a rule of its own, which is not")
    assert "* Sign computes gradients by a rule of its own" in ported.source


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.scale = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x):
        return self.conv(x)


class Ended(Conv):
    """A block that ends by an error, and a size that is computed in a block."""

    def forward(self, x):
        y = self.conv(x)
        try:
            with torch.no_grad():
                half = x.shape[2] // 2
                z = y * 2
                raise ValueError
        except ValueError:
            pass
        return z * y + torch.nn.functional.interpolate(y, (half, 2)).mean()


def test_a_block_without_gradients_that_ends_by_an_error():
    ported = port(made(Ended), (2, 3, 8, 7))
    assert ported.source.count("jax.lax.stop_gradient(") == 1
    assert ported.prove(steps=1).verdict == "equal"


def test_constants_have_no_gradient_to_stop():
    class Net(Conv):
        @torch.no_grad()
        def grid(self, x):
            return torch.linspace(-1, 1, x.shape[3], dtype=x.dtype).repeat(x.shape[2], 1)

        def forward(self, x):
            return self.conv(x) * torch.tensor(2.0) * self.grid(x)

    ported = port(made(Net), (2, 3, 8, 7))
    assert "stop_gradient" not in ported.source
    assert "axis 3: 7" in ported.notes[0]  # torch.linspace takes a number only
    assert_equal(ported, (3, 3, 6, 7))


class Clamped(Conv):
    def forward(self, x):
        with torch.no_grad():
            self.scale.clamp_(-1, 1)
        return self.conv(x) * self.scale


class Cast(Conv):
    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            return self.conv(x) * 2


class Both(Conv):
    def __call__(self, x):
        return super().__call__(x) * 2


class Open(Conv):
    def forward(self, x):
        torch.no_grad().__enter__()
        return self.conv(x)


REFUSED = {
    Clamped: "an operation in place within torch.no_grad, on a tensor from before it",
    Cast: "a block that torch traces as a graph of its own cannot be ported",
    Both: "Both defines __call__ besides forward, which torch.export does not run",
    Open: "a block of torch.no_grad that does not end cannot be ported",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind):
    before = torch.is_grad_enabled()
    try:
        with pytest.raises(PortError, match=REFUSED[kind]):
            port(made(kind), (2, 3, 8, 7))
    finally:
        torch.set_grad_enabled(before)


@pytest.mark.parametrize("name", ["00", "a-b", "class"])
def test_a_name_that_python_has_not_is_refused(name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name, nn.Conv2d(3, 3, 1))

        def forward(self, x):
            return self._modules[name](x)

    with pytest.raises(PortError, match=f"the name '{name}', which cannot be written in Python"):
        port(made(Net), (2, 3, 8, 7))


class Calls(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def __call__(self, x):
        return self.conv(x) * 2


class CallsMore(Calls):
    def __call__(self, x):
        return super().__call__(x) + 1


class CallsBoth(Calls):
    def forward(self, x):
        return self.conv(x) + 5


@pytest.mark.parametrize("kinds", [(Calls, CallsMore), (CallsMore,), (Calls, CallsBoth), (Both,)])
def test_classes_that_extend_one_with_call(kinds):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.items = nn.ModuleList(kind() for kind in kinds)

        def forward(self, x):
            for item in self.items:
                x = item(x)
            return x

    assert_equal(port(made(Net), (2, 3, 8, 7)), (3, 3, 6, 5))


def test_lists_of_different_lengths():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.short = Looped(nn.Conv2d(3, 3, 1) for _ in range(2))
            self.long = Looped(nn.Conv2d(3, 3, 1) for _ in range(3))

        def forward(self, x):
            return self.long(self.short(x))

    assert_equal(port(made(Net), (2, 3, 8, 7)), (3, 3, 6, 5))


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (lambda n: n > 64, "if the size of axis 2 is less than 65"),
        (lambda n: n < 200, "if the size of axis 2 is more than 199"),
    ],
)
def test_a_branch_on_a_size_is_told(condition, text):
    class Net(Conv):
        def forward(self, x):
            return self.conv(x) * (2 if condition(x.shape[2]) else 3)

    (note,) = port(made(Net), (2, 3, 128, 7)).notes
    assert text in note


def test_a_window_that_must_fit_is_no_branch():
    class Net(Conv):
        def forward(self, x):
            return torch.nn.functional.avg_pool2d(self.conv(x), 50)

    assert port(made(Net), (2, 3, 128, 96)).notes == []


@pytest.mark.usefixtures("hard_to_trace")
def test_several_images_of_round_sizes():
    class Net(nn.Module):
        def forward(self, x, y, z):
            return x.mean((2, 3)) + y.mean((2, 3)) + z

    ported = port(made(Net), ((2, 3, 64, 96), (2, 3, 96, 128), (2, 3)))
    assert "multiples of 32" in ported.notes[0]
    assert_equal(ported, (1, 3, 96, 96), (1, 3, 32, 64), (1, 3))
