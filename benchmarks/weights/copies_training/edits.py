"""Strong edits of whole batches of pictures as tensors, on any device: what people do to photos they pass on.

    edits = Edits(size=112, overlays=overlay_bank())
    views = edits(pictures, aspects, others, strength=1.0)     # (n, 3, 112, 112) float, 0 to 1

Every edit is drawn for each picture by itself. Geometry is one inverse mapping (crop, squeeze, tilt, quarter turn, mirror,
perspective, smaller on a background), sampled once, from the level of a pyramid that fits its scale.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CANVAS = 160
_QUANT = torch.tensor(
    [[16,11,10,16,24,40,51,61],[12,12,14,19,26,58,60,55],[14,13,16,24,40,57,69,56],[14,17,22,29,51,87,80,62],
     [18,22,37,56,68,109,103,77],[24,35,55,64,81,104,113,92],[49,64,78,87,103,121,120,101],[72,92,95,98,112,100,103,99]],
    dtype=torch.float32)
_CHROMA = torch.tensor(
    [[17,18,24,47,99,99,99,99],[18,21,26,66,99,99,99,99],[24,26,56,99,99,99,99,99],[47,66,99,99,99,99,99,99],
     *[[99]*8]*4], dtype=torch.float32)
_YCC = torch.tensor([[0.299,0.587,0.114],[-0.168736,-0.331264,0.5],[0.5,-0.418688,-0.081312]])


def _dct() -> Tensor:
    k = torch.arange(8).float()
    d = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) * math.sqrt(2 / 8)
    d[0] /= math.sqrt(2)
    return d


class Edits:
    def __init__(self, size: int, overlays: Tensor, canvas: int = CANVAS) -> None:
        self.size, self.canvas, self.overlays = size, canvas, overlays

    def __call__(self, pictures: Tensor, aspects: Tensor, others: Tensor, strength: "float | Tensor" = 1.0) -> Tensor:
        """pictures (n,3,S,S) uint8 squashed squares, aspects (n,) width/height, others (m,3,s,s) uint8 backgrounds."""
        n, dev = len(pictures), pictures.device
        p = lambda chance: torch.rand(n, device=dev) < chance * strength  # noqa
        views = self._geometry(pictures, aspects, others, p)
        views = self._colour(views, p)
        views = self._overlay(views, p)
        views = self._overlay(views, lambda c: p(c * 0.4))
        if True:
            order = torch.randperm(3).tolist()
            for step in order:
                views = (self._blur, self._downscale, self._noise)[step](views, p)
            views = self._jpeg(views, p)
        views = F.interpolate(views, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False)
        return views.clamp(0, 1)

    # -- geometry
    def _geometry(self, pictures: Tensor, aspects: Tensor, others: Tensor, p) -> Tensor:
        n, dev, R = len(pictures), pictures.device, self.canvas
        U = lambda low, high: torch.empty(n, device=dev).uniform_(low, high)
        one = torch.ones(n, device=dev)
        crop = p(0.6)
        area = torch.where(crop, torch.exp(U(math.log(0.12), 0)), one)
        skew = torch.where(crop & p(0.5), torch.exp(U(-0.5, 0.5)), one)
        sx, sy = (area * skew).sqrt().clamp(max=1), (area / skew).sqrt().clamp(max=1)
        cx, cy = (1 - sx) * U(-1, 1), (1 - sy) * U(-1, 1)
        a = aspects * sx / sy
        a = a * torch.where(p(0.25), torch.exp(U(-0.7, 0.7)), one)  # squeeze, seen by turns alone
        tilt = torch.where(p(0.25), U(-1, 1) * math.pi / 5, 0 * one)
        turn = torch.where(p(0.15), torch.randint(1, 4, (n,), device=dev).float(), 0 * one) * math.pi / 2
        angle = tilt + turn
        flip = torch.where(p(0.35), -one, one)
        co, si = angle.cos(), angle.sin()
        W, H = a * co.abs() + si.abs(), a * si.abs() + co.abs()
        inside = p(0.2)  # tilted, then cut so that no corners show
        fit = torch.where(inside, U(0.6, 0.8), one)
        small = p(0.4)
        zx = torch.where(small, U(0.4, 0.95), one)
        zy = torch.where(small, torch.where(torch.rand(n, device=dev) < 0.5, zx, U(0.4, 1.0)), one)
        ox, oy = (1 - zx) * U(-1, 1), (1 - zy) * U(-1, 1)
        px = torch.where(p(0.15), U(-0.25, 0.25), 0 * one)
        py = torch.where(p(0.15), U(-0.25, 0.25), 0 * one)
        base = (torch.arange(R, device=dev).float() + 0.5) * 2 / R - 1
        v, u = torch.meshgrid(base, base, indexing="ij")
        e = lambda t: t[:, None, None]
        u = (u[None] - e(ox)) / e(zx) * e(fit)
        v = (v[None] - e(oy)) / e(zy) * e(fit)
        w = 1 + e(px) * u + e(py) * v
        u, v = u / w, v / w
        x, y = u * e(W), v * e(H)
        qx, qy = (x * e(co) + y * e(si)) / e(a), -x * e(si) + y * e(co)
        mask = ((qx.abs() <= 1) & (qy.abs() <= 1))[:, None]
        gx = e(cx) + e(sx) * qx * e(flip)
        gy = e(cy) + e(sy) * qy
        grid = torch.stack([gx, gy], -1)
        scale = (pictures.shape[-1] * torch.maximum(sx / zx, sy / zy) / R)
        level = (scale.log2() + 0.3).round().clamp(0, 2).long()
        out = torch.empty(n, 3, R, R, device=dev)
        source = pictures.float() / 255
        for depth in range(3):
            rows = (level == depth).nonzero()[:, 0]
            if len(rows):
                part = source[rows]
                if depth:
                    part = F.avg_pool2d(part, 2**depth)
                out[rows] = F.grid_sample(part, grid[rows], mode="bilinear", padding_mode="border", align_corners=False)
        return torch.where(mask, out, self._background(out, source, others))

    def _background(self, out: Tensor, source: Tensor, others: Tensor) -> Tensor:
        n, dev, R = len(out), out.device, self.canvas
        kind = torch.rand(n, device=dev)
        plain = torch.rand(n, 3, 1, 1, device=dev)
        plain = torch.where((torch.rand(n, device=dev) < 0.6)[:, None, None, None], (plain[:, :1] > 0.5).float().expand(-1, 3, -1, -1), plain)
        back = plain.expand(-1, -1, R, R).clone()
        rows = (kind < 0.5).nonzero()[:, 0]
        if len(rows):
            pick = torch.randint(len(others), (3, len(rows)), device=dev)
            left = others[pick[0]].float() / 255
            side = left.shape[-1]
            both = left.clone()
            two = torch.rand(len(rows), device=dev)
            right, low = others[pick[1]].float() / 255, others[pick[2]].float() / 255
            half = side // 2
            m = (two < 0.4)[:, None, None, None]
            both[..., half:] = torch.where(m, right[..., half:], both[..., half:])
            m = (two < 0.2)[:, None, None, None]
            both[..., half:, :] = torch.where(m, low[..., half:, :], both[..., half:, :])
            back[rows] = F.interpolate(both, (R, R), mode="bilinear", align_corners=False)
        rows = ((kind >= 0.5) & (kind < 0.65)).nonzero()[:, 0]
        if len(rows):
            tiny = F.interpolate(source[rows], (12, 12), mode="area")
            back[rows] = F.interpolate(tiny, (R, R), mode="bicubic", align_corners=False).clamp(0, 1)
        return back

    # -- colour
    def _colour(self, views: Tensor, p) -> Tensor:
        n, dev = len(views), views.device
        U = lambda low, high: torch.empty(n, device=dev).uniform_(low, high)
        one, zero = torch.ones(n, device=dev), torch.zeros(n, device=dev)
        sat = torch.where(p(0.35), U(0, 2.0), one)
        sat = torch.where(p(0.1), zero, sat)
        hue = torch.where(p(0.2), U(-1, 1) * math.pi * 0.35, zero)
        contrast = torch.where(p(0.4), torch.exp(U(-0.7, 0.7)), one)
        bright = torch.where(p(0.4), U(-0.3, 0.3), zero)
        to = _YCC.to(dev)
        back = torch.linalg.inv(to)
        rot = torch.zeros(n, 3, 3, device=dev)
        rot[:, 0, 0] = 1
        rot[:, 1, 1], rot[:, 1, 2] = sat * hue.cos(), -sat * hue.sin()
        rot[:, 2, 1], rot[:, 2, 2] = sat * hue.sin(), sat * hue.cos()
        mix = back @ rot @ to
        tint = torch.where(p(0.2)[:, None], torch.empty(n, 3, device=dev).uniform_(0.7, 1.3), torch.ones(n, 3, device=dev))
        mix = mix * tint[:, :, None] * contrast[:, None, None]
        mean = views.mean((1, 2, 3))
        views = torch.einsum("nij,njhw->nihw", mix, views) + (mean * (1 - contrast) + bright)[:, None, None, None]
        views = views.clamp(0, 1)
        gamma = torch.where(p(0.2), torch.exp(U(-0.7, 0.7)), one)
        views = views.clamp(min=1e-4) ** gamma[:, None, None, None]
        return torch.where(p(0.02)[:, None, None, None], 1 - views, views)

    # -- overlays
    def _overlay(self, views: Tensor, p) -> Tensor:
        n, dev, R = len(views), views.device, self.canvas
        rows = p(0.4).nonzero()[:, 0]
        m = len(rows)
        if not m:
            return views
        U = lambda low, high: torch.empty(m, device=dev).uniform_(low, high)
        pick = self.overlays[torch.randint(len(self.overlays), (m,), device=dev)].float() / 255
        z = torch.exp(U(math.log(0.25), math.log(1.2)))
        angle = torch.where(torch.rand(m, device=dev) < 0.4, U(-0.6, 0.6), 0 * z)
        theta = torch.zeros(m, 2, 3, device=dev)
        theta[:, 0, 0], theta[:, 0, 1] = angle.cos() / z, angle.sin() / z
        theta[:, 1, 0], theta[:, 1, 1] = -angle.sin() / z, angle.cos() / z
        tx, ty = U(-0.8, 0.8), U(-0.8, 0.8)
        theta[:, 0, 2] = -(theta[:, 0, 0] * tx + theta[:, 0, 1] * ty)
        theta[:, 1, 2] = -(theta[:, 1, 0] * tx + theta[:, 1, 1] * ty)
        grid = F.affine_grid(theta, [m, 4, R, R], align_corners=False)
        layer = F.grid_sample(pick, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        alpha = layer[:, 3:] * U(0.6, 1)[:, None, None, None]
        views = views.clone()
        views[rows] = views[rows] * (1 - alpha) + layer[:, :3] * alpha
        return views

    # -- quality
    def _blur(self, views: Tensor, p) -> Tensor:
        which = torch.where(p(0.3), torch.randint(4, (len(views),), device=views.device), -1)
        views = views.clone()
        for level, sigma in enumerate((0.8, 1.5, 2.5, 4.0)):
            rows = (which == level).nonzero()[:, 0]
            if len(rows):
                radius = int(3 * sigma)
                k = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=views.device) / sigma) ** 2)
                k = (k / k.sum()).expand(3, 1, -1)
                part = F.pad(views[rows], [radius] * 4, mode="replicate")
                part = F.conv2d(part, k[:, :, None, :], groups=3)
                views[rows] = F.conv2d(part, k[:, :, :, None], groups=3)
        return views

    def _downscale(self, views: Tensor, p) -> Tensor:
        which = torch.where(p(0.3), torch.randint(4, (len(views),), device=views.device), -1)
        views = views.clone()
        for level, side in enumerate((24, 36, 48, 72)):
            rows = (which == level).nonzero()[:, 0]
            if len(rows):
                part = F.interpolate(views[rows], (side, side), mode="bilinear", antialias=True, align_corners=False)
                how = "nearest" if torch.rand(()) < 0.3 else "bilinear"
                views[rows] = F.interpolate(part, (self.canvas, self.canvas), mode=how)
        return views

    def _noise(self, views: Tensor, p) -> Tensor:
        n, dev = len(views), views.device
        sigma = torch.where(p(0.2), torch.rand(n, device=dev) * 0.15, torch.zeros(n, device=dev))
        return (views + torch.randn_like(views) * sigma[:, None, None, None]).clamp(0, 1)

    def _jpeg(self, views: Tensor, p) -> Tensor:
        which = torch.where(p(0.45), torch.randint(4, (len(views),), device=views.device), -1)
        views = views.clone()
        dev, R = views.device, self.canvas
        D, to = _dct().to(dev), _YCC.to(dev)
        back = torch.linalg.inv(to)
        for level, quality in enumerate((3, 8, 20, 45)):
            rows = (which == level).nonzero()[:, 0]
            if not len(rows):
                continue
            scale = (5000 / quality if quality < 50 else 200 - 2 * quality) / 100
            tables = torch.stack([_QUANT, _CHROMA, _CHROMA]).to(dev)
            tables = (tables * scale).round().clamp(1, 255)[:, None, None]
            ycc = torch.einsum("ij,njhw->nihw", to, views[rows]) * 255
            ycc[:, 0] -= 128
            b = ycc.view(len(rows), 3, R // 8, 8, R // 8, 8).permute(0, 1, 2, 4, 3, 5)
            c = (D @ b @ D.T / tables).round() * tables
            b = (D.T @ c @ D).permute(0, 1, 2, 4, 3, 5).reshape(len(rows), 3, R, R)
            b[:, 0] += 128
            views[rows] = (torch.einsum("ij,njhw->nihw", back, b) / 255).clamp(0, 1)
        return views


def overlay_bank(count: int = 400, side: int = 160, seed: int = 0) -> Tensor:
    """Stickers, captions and bars: (count, 4, side, side) uint8."""
    rng = np.random.default_rng(seed)
    bank = np.zeros((count, side, side, 4), np.uint8)
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !?.,#@&")
    for place in range(count):
        layer = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        draw = ImageDraw.Draw(layer)
        colour = lambda: tuple(int(v) for v in (rng.integers(0, 256, 3) if rng.random() < 0.6 else rng.choice([0, 255]) * np.ones(3)))
        kind = rng.random()
        if kind < 0.55:  # text, with or without a bar behind it
            size = int(rng.integers(10, 48))
            font = ImageFont.load_default(size)
            rows = int(rng.integers(1, 4))
            y = int(rng.integers(0, side - size))
            if rng.random() < 0.4:
                draw.rectangle((0, y - 4, side, y + rows * size + 8), fill=(*colour(), 255))
            for row in range(rows):
                text = "".join(rng.choice(letters, int(rng.integers(4, 24))))
                stroke = int(rng.integers(0, 3))
                draw.text((int(rng.integers(0, 30)), y + row * size), text, font=font, fill=(*colour(), 255), stroke_width=stroke, stroke_fill=(*colour(), 255))
        else:  # shapes one over another, as emoji and logos are
            for _ in range(int(rng.integers(1, 7))):
                x0, y0 = rng.integers(10, 110, 2)
                w, h = rng.integers(10, 50, 2)
                box = (int(x0), int(y0), int(x0 + w), int(y0 + h))
                shape = (draw.ellipse, draw.rectangle, lambda b, fill, width=1, outline=None: draw.pieslice(b, 0, int(rng.integers(90, 360)), fill=fill), lambda b, fill, width=1, outline=None: draw.rounded_rectangle(b, 8, fill=fill))[int(rng.integers(4))]
                shape(box, fill=(*colour(), 255))
        bank[place] = np.asarray(layer)
    return torch.from_numpy(bank).permute(0, 3, 1, 2).contiguous()
