"""The library's two networks in PyTorch, and their parameters under the library's names and layouts.

Ho, Jain, Abbeel 2020 (arXiv:2006.11239, appendix B), and the tutorial's U-Net. NCHW as PyTorch has it.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def timestep_embedding(t, channels):
    half = channels // 2
    freq = torch.exp(torch.arange(half, dtype=torch.float64) * -(math.log(10000) / (half - 1)))
    arg = t.double()[:, None] * freq[None]
    return torch.cat([arg.sin(), arg.cos()], 1)


class ResidualBlock(nn.Module):
    def __init__(self, cin, cout, temb, groups):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, cin, 1e-6), nn.Conv2d(cin, cout, 3, padding=1)
        self.time = nn.Linear(temb, cout)
        self.norm2, self.conv2 = nn.GroupNorm(groups, cout, 1e-6), nn.Conv2d(cout, cout, 3, padding=1)
        self.shortcut = nn.Conv2d(cin, cout, 1) if cin != cout else None
        self.dropout = nn.Dropout(0.0)

    def forward(self, x, e):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(e))[:, :, None, None]
        return (self.shortcut(x) if self.shortcut else x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class Attention(nn.Module):
    def __init__(self, c, heads, groups):
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(groups, c, 1e-6)
        self.qkv, self.out = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(-1, -2).reshape(b, c, h, w))


class Stage(nn.Module):
    def __init__(self, cin, cout, temb, groups, heads, attend):
        super().__init__()
        self.block = ResidualBlock(cin, cout, temb, groups)
        self.attention = Attention(cout, heads, groups) if attend else None

    def forward(self, x, e):
        h = self.block(x, e)
        return self.attention(h) if self.attention else h


class Level(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages, self.resample = nn.ModuleList(), None


class TimeMlp(nn.Module):
    def __init__(self, channels, activation):
        super().__init__()
        self.channels, self.activation = channels, activation
        self.linear1, self.linear2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, 4 * channels)

    def forward(self, t):
        e = timestep_embedding(t, self.channels).to(self.linear1.weight.dtype)
        return self.linear2(self.activation(self.linear1(e)))


class UNet(nn.Module):
    def __init__(self, image_channels, channels, multipliers, blocks, attention_levels, heads, groups):
        super().__init__()
        temb, c, skips = 4 * channels, channels, [channels]
        self.time = TimeMlp(channels, F.silu)
        self.conv_in = nn.Conv2d(image_channels, channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, m in enumerate(multipliers):
            level = Level()
            for _ in range(blocks):
                level.stages.append(Stage(c, channels * m, temb, groups, heads, i in attention_levels))
                c = channels * m
                skips.append(c)
            if i + 1 < len(multipliers):
                level.resample = nn.Conv2d(c, c, 3, 2)
                skips.append(c)
            self.down.append(level)
        self.middle = nn.ModuleList([Stage(c, c, temb, groups, heads, True), Stage(c, c, temb, groups, heads, False)])
        for i, m in reversed(list(enumerate(multipliers))):
            level = Level()
            for _ in range(blocks + 1):
                level.stages.append(Stage(c + skips.pop(), channels * m, temb, groups, heads, i in attention_levels))
                c = channels * m
            if i:
                level.resample = nn.Conv2d(c, c, 3, padding=1)
            self.up.append(level)
        self.norm_out, self.conv_out = nn.GroupNorm(groups, c, 1e-6), nn.Conv2d(c, image_channels, 3, padding=1)

    def forward(self, x, t):
        e = self.time(t)
        h = self.conv_in(x)
        skips = [h]
        for level in self.down:
            for stage in level.stages:
                h = stage(h, e)
                skips.append(h)
            if level.resample:
                h = level.resample(F.pad(h, (0, 1, 0, 1)))
                skips.append(h)
        for stage in self.middle:
            h = stage(h, e)
        for level in self.up:
            for stage in level.stages:
                h = stage(torch.cat([h, skips.pop()], 1), e)
            if level.resample:
                h = level.resample(F.interpolate(h, scale_factor=2, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(h)))


class UpLevel(nn.Module):
    def __init__(self, cin, cout, temb, groups, heads, attend):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(cin, cout, 4, 2, 1)
        self.stage = Stage(2 * cout, cout, temb, groups, heads, attend)


class TutorialUNet(nn.Module):
    def __init__(self, image_channels, levels, attention_levels, heads, groups):
        super().__init__()
        temb, c = 4 * levels[0], levels[0]
        self.time = TimeMlp(levels[0], F.gelu)
        self.conv_in = nn.Conv2d(image_channels, c, 3, padding=1)
        self.down, self.middle, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, level in enumerate(levels):
            self.down.append(Stage(c, level, temb, groups, heads, i in attention_levels))
            c = level
        for _ in range(2):
            self.middle.append(Stage(c, c, temb, groups, heads, False))
        for i, level in reversed(list(enumerate(levels))):
            self.up.append(UpLevel(c, level, temb, groups, heads, i in attention_levels))
            c = level
        self.final = nn.ModuleList(Stage(c, c, temb, groups, heads, False) for _ in range(2))
        self.conv_out = nn.Conv2d(c, image_channels, 1)

    def forward(self, x, t):
        e = self.time(t)
        h, skips = self.conv_in(x), []
        for stage in self.down:
            skips.append(stage(h, e))
            h = F.max_pool2d(skips[-1], 2)
        for stage in self.middle:
            h = stage(h, e)
        for level in self.up:
            h = level.stage(torch.cat([level.upsample(h), skips.pop()], 1), e)
        for stage in self.final:
            h = stage(h, e)
        return self.conv_out(h)


def in_our_layout(network, pick):
    """{our name: tensor in our layout} of pick(parameter) for every parameter of the network."""
    result = {}
    for path, module in network.named_modules():
        if isinstance(module, nn.ConvTranspose2d):
            layout = lambda w: w.permute(2, 3, 0, 1)  # (in, out, kh, kw) to (kh, kw, in, out)
        elif isinstance(module, nn.Conv2d):
            layout = lambda w: w.permute(2, 3, 1, 0)  # (out, in, kh, kw) to (kh, kw, in, out)
        elif isinstance(module, nn.Linear):
            layout = lambda w: w.T
        elif isinstance(module, nn.GroupNorm):
            result[path + ".gamma"], result[path + ".beta"] = pick(module.weight), pick(module.bias)
            continue
        else:
            continue
        result[path + ".weight"], result[path + ".bias"] = layout(pick(module.weight)), pick(module.bias)
    return result


def to_nhwc(x):
    return x.permute(0, 2, 3, 1)
