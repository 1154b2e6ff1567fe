"""Small torch networks, each with one thing that `port` must get right."""

import torch
import torch.nn.functional as F
from torch import nn


class Unit(nn.Module):
    """A residual unit. Its shortcut is a convolution where the shapes differ."""

    def __init__(self, i, o, stride=1, final=True):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, stride=stride, padding=1, groups=2, bias=False)
        self.bn = nn.BatchNorm2d(o)
        self.shortcut = nn.Conv2d(i, o, 1, stride=stride) if i != o else None
        if final:
            self.activ = nn.ReLU(inplace=True)
        self.final = final

    def forward(self, x):
        identity = x if self.shortcut is None else self.shortcut(x)
        x = self.bn(self.conv(x))
        x = x + identity
        if self.final:
            x = self.activ(x)
        return x


class Residual(nn.Module):
    """A stem, three units in a list, and a classifier."""

    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2), nn.MaxPool2d(2))
        self.units = nn.ModuleList([Unit(8, 12, 2), Unit(12, 12), Unit(12, 12, final=False)])
        self.head = nn.Linear(12, classes)

    def forward(self, x):
        x = self.stem(x)
        for unit in self.units:
            x = unit(x)
        x = x.mean((2, 3))
        return self.head(x)


class Flattened(nn.Module):
    """A feature map that a Linear reads: no transposition."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 3)))
        self.classifier = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(24, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 2)
        )

    def forward(self, x):
        x = self.features(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class Shuffled(nn.Module):
    """A channel shuffle by hand: one transposition."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(6, 6, 1, groups=3)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, groups=2)

    def forward(self, x):
        x = self.conv1(x)
        n, c, h, w = x.size()
        x = x.view(n, 3, c // 3, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.conv2(x)


class Resized(nn.Module):
    """Sizes that torch computes from the input."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2, groups=2)

    def forward(self, x):
        y = self.up(self.down(x))
        y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        h, w = x.shape[2] // 2, x.shape[3]
        z = F.interpolate(y, size=(h + 1, w), mode="nearest")
        return torch.cat([x, y], dim=1), z


class Scaled(nn.Module):
    """Parameters and buffers that belong to no layer, and a saved count."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.gamma = nn.Parameter(torch.tensor([0.5, 1.5, -1.0, 2.0]).view(4, 1, 1))
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))
        self.register_buffer("steps", torch.tensor(3))
        self.scale = nn.Parameter(torch.full((3,), 0.25))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.conv((x - self.mean) * self.scale[:, None, None]) * self.gamma


class Twice(nn.Module):
    """One layer that is called twice, and one object under two names."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.same = self.conv

    def forward(self, x):
        return self.same(torch.relu(self.conv(self.conv(x))))


class Several(nn.Module):
    """Two inputs, and outputs in a dictionary."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3)
        self.vector = nn.Linear(5, 4)

    def forward(self, image, vector, scale=None):
        y = self.image(image)
        v = self.vector(vector)
        if scale is not None:
            y = y * scale
        return {"map": y + v[:, :, None, None], "rest": (v, [y.amax(dim=(2, 3))])}


class Dropping(nn.Module):
    """Dropout by functions: one that follows the mode, one that never drops."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        x = F.dropout(self.fc(x), p=0.25, training=self.training)
        return F.dropout(x, p=0.5, training=False)


class Noisy(nn.Module):
    """Random numbers in training mode."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        x = self.fc(x)
        return x * torch.rand(1) if self.training else x


class Absent(nn.Module):
    """Two operations without a rule, in a child and in the module itself."""

    def __init__(self):
        super().__init__()
        self.inner = Lgamma()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        return torch.erfinv(torch.tanh(self.inner(self.conv(x))))


class Lgamma(nn.Module):
    def forward(self, x):
        return torch.lgamma(x)


class Viewed(nn.Module):
    """An operation in place on a view of a tensor that is used later."""

    def forward(self, x):
        x = x * 2
        x[:, :1].mul_(3)
        return x


class Swish(nn.Module):
    def __init__(self, beta):
        super().__init__()
        self.beta = beta

    def forward(self, x):
        return torch.special.i1e(x) * self.beta


class WithSwish(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.swish = Swish(1.5)

    def forward(self, x):
        return self.swish(self.conv(x))


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.conv = nn.Conv1d(3, 4, 2)

    def forward(self, tokens):
        return self.conv(self.embed(tokens).transpose(1, 2))


class Pooled(nn.Module):
    """A classifier by convolution: its map is 1x1 for one size of the input only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.pool = nn.AvgPool2d(6)

    def forward(self, x):
        return self.pool(self.conv(x)).view(x.size(0), -1)


class Gate(nn.Module):
    """Scales each channel."""

    def __init__(self, c):
        super().__init__()
        self.fc = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class Gated(nn.Module):
    """A convolution, behind a gate in some places."""

    def __init__(self, i, o, gate):
        super().__init__()
        self.gate = Gate(i) if gate else None
        self.conv = nn.Conv2d(i, o, 1)

    def forward(self, x):
        if self.gate is not None:
            x = self.gate(x)
        return self.conv(x)


class Gates(nn.Module):
    """The first unit has no gate, the others have: their class uses a class of its own."""

    def __init__(self):
        super().__init__()
        self.first = Gated(2, 3, False)
        self.second = Gated(3, 4, True)
        self.third = Gated(4, 5, True)

    def forward(self, x):
        return self.third(self.second(self.first(x)))


class Merged(nn.Module):
    """Reshapes by height and width, which a square example does not tell apart."""

    def forward(self, x):
        n, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(n, h, w * c)
        return x.reshape(n, c * h, w), x.reshape(n, c, h * w).transpose(1, 2), y
