"""MobileViT: a transformer over the pixels of a map that is unfolded into patches."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def conv_1x1_bn(inp, oup):
    return nn.Sequential(nn.Conv2d(inp, oup, 1, 1, 0, bias=False), nn.BatchNorm2d(oup), nn.SiLU())


def conv_nxn_bn(inp, oup, kernel_size=3, stride=1):
    return nn.Sequential(
        nn.Conv2d(inp, oup, kernel_size, stride, 1, bias=False), nn.BatchNorm2d(oup), nn.SiLU()
    )


class PreNorm(nn.Module):
    def __init__(self, dim, fn):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x, **kwargs):
        return self.fn(self.norm(x), **kwargs)


class FeedForward(nn.Module):
    def __init__(self, dim, hidden_dim, dropout=0.0):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, dim),
            nn.Dropout(dropout),
        )

    def forward(self, x):
        return self.net(x)


class Attention(nn.Module):
    def __init__(self, dim, heads=2, dim_head=6, dropout=0.0):
        super().__init__()
        inner_dim = dim_head * heads
        self.heads = heads
        self.scale = dim_head**-0.5
        self.attend = nn.Softmax(dim=-1)
        self.to_qkv = nn.Linear(dim, inner_dim * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner_dim, dim), nn.Dropout(dropout))

    def forward(self, x):
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        b, p, n, hd = qkv[0].shape
        q, k, v = (t.reshape(b, p, n, self.heads, hd // self.heads).transpose(2, 3) for t in qkv)
        dots = torch.matmul(q, k.transpose(-1, -2)) * self.scale
        attn = self.attend(dots)
        out = torch.matmul(attn, v)
        out = out.transpose(2, 3).reshape(b, p, n, hd)
        return self.to_out(out)


class Transformer(nn.Module):
    def __init__(self, dim, depth, heads, dim_head, mlp_dim, dropout=0.0):
        super().__init__()
        self.layers = nn.ModuleList([])
        for _ in range(depth):
            self.layers.append(
                nn.ModuleList(
                    [
                        PreNorm(dim, Attention(dim, heads, dim_head, dropout)),
                        PreNorm(dim, FeedForward(dim, mlp_dim, dropout)),
                    ]
                )
            )

    def forward(self, x):
        for attn, ff in self.layers:
            x = attn(x) + x
            x = ff(x) + x
        return x


class MobileViTBlock(nn.Module):
    """Patches as einops writes them: ``b d (h ph) (w pw) -> b (ph pw) (h w) d``."""

    def __init__(self, dim=12, depth=2, channel=6, kernel_size=3, patch_size=(2, 2), mlp_dim=20):
        super().__init__()
        self.ph, self.pw = patch_size
        self.conv1 = conv_nxn_bn(channel, channel, kernel_size)
        self.conv2 = conv_1x1_bn(channel, dim)
        self.transformer = Transformer(dim, depth, 2, 6, mlp_dim, 0.1)
        self.conv3 = conv_1x1_bn(dim, channel)
        self.conv4 = conv_nxn_bn(2 * channel, channel, kernel_size)

    def forward(self, x):
        y = x.clone()
        x = self.conv1(x)
        x = self.conv2(x)
        b, d, h, w = x.shape
        x = x.reshape(b, d, h // self.ph, self.ph, w // self.pw, self.pw)
        x = x.permute(0, 3, 5, 2, 4, 1).reshape(b, self.ph * self.pw, -1, d)
        x = self.transformer(x)
        x = x.reshape(b, self.ph, self.pw, h // self.ph, w // self.pw, d)
        x = x.permute(0, 5, 3, 1, 4, 2).reshape(b, d, h, w)
        x = self.conv3(x)
        x = torch.cat((x, y), 1)
        x = self.conv4(x)
        return x


class FoldingBlock(nn.Module):
    """Patches as Apple's code writes them: one reshape and transposes, channels first."""

    def __init__(self, in_channels=6, transformer_dim=12, patch_h=2, patch_w=2):
        super().__init__()
        self.local_rep = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1),
            nn.Conv2d(in_channels, transformer_dim, 1, bias=False),
        )
        self.global_rep = Transformer(transformer_dim, 1, 2, 6, 20)
        self.conv_proj = nn.Conv2d(transformer_dim, in_channels, 1)
        self.patch_w = patch_w
        self.patch_h = patch_h
        self.patch_area = self.patch_w * self.patch_h

    def unfolding(self, feature_map):
        patch_w, patch_h = self.patch_w, self.patch_h
        batch_size, in_channels, orig_h, orig_w = feature_map.shape
        new_h = -(-orig_h // patch_h) * patch_h
        new_w = -(-orig_w // patch_w) * patch_w
        if new_w != orig_w or new_h != orig_h:
            feature_map = F.interpolate(
                feature_map, size=(new_h, new_w), mode="bilinear", align_corners=False
            )
        num_patch_w = new_w // patch_w
        num_patch_h = new_h // patch_h
        num_patches = num_patch_h * num_patch_w
        x = feature_map.reshape(
            batch_size * in_channels * num_patch_h, patch_h, num_patch_w, patch_w
        )
        x = x.transpose(1, 2)
        x = x.reshape(batch_size, in_channels, num_patches, self.patch_area)
        x = x.transpose(1, 3)
        info = (batch_size, num_patches, num_patch_w, num_patch_h)
        return x, info

    def folding(self, patches, info):
        batch_size, num_patches, num_patch_w, num_patch_h = info
        channels = patches.shape[-1]
        patches = patches.contiguous().view(batch_size, self.patch_area, num_patches, -1)
        patches = patches.transpose(1, 3)
        feature_map = patches.reshape(
            batch_size * channels * num_patch_h, num_patch_w, self.patch_h, self.patch_w
        )
        feature_map = feature_map.transpose(1, 2)
        feature_map = feature_map.reshape(
            batch_size, channels, num_patch_h * self.patch_h, num_patch_w * self.patch_w
        )
        return feature_map

    def forward(self, x):
        res = x
        fm = self.local_rep(x)
        patches, info = self.unfolding(fm)
        patches = self.global_rep(patches)
        fm = self.folding(patches, info)
        return res + self.conv_proj(fm)
