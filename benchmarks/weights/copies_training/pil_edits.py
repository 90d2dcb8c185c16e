"""Sixteen edits with Pillow, independent of training's: (name, function of a picture, a generator, other pictures)."""
import io
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

def crop(part):
    def f(im, rng, others):
        s = part ** 0.5
        w, h = int(im.width * s), int(im.height * s)
        x, y = int(rng.integers(0, im.width - w + 1)), int(rng.integers(0, im.height - h + 1))
        return im.crop((x, y, x + w, y + h))
    return f
def jpeg(im, q):
    b = io.BytesIO(); im.save(b, "JPEG", quality=q); return Image.open(io.BytesIO(b.getvalue())).convert("RGB")
def text(im, rng, others):
    im = im.copy(); d = ImageDraw.Draw(im)
    for _ in range(3):
        size = int(im.height * rng.uniform(0.06, 0.16))
        d.text((int(rng.integers(0, im.width // 2)), int(rng.integers(0, im.height - size))), "".join(rng.choice(list("ABCDEFGH lmnopqrs!?"), 14)), font=ImageFont.load_default(size), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return im
def sticker(im, rng, others):
    im = im.copy(); d = ImageDraw.Draw(im)
    for _ in range(3):
        s = int(min(im.size) * rng.uniform(0.15, 0.3)); x, y = int(rng.integers(0, im.width - s)), int(rng.integers(0, im.height - s))
        d.ellipse((x, y, x + s, y + s), fill=(255, 210, 40)); d.ellipse((x + s // 4, y + s // 4, x + s // 3, y + s // 3), fill=(0, 0, 0)); d.ellipse((x + 2 * s // 3, y + s // 4, x + 3 * s // 4, y + s // 3), fill=(0, 0, 0)); d.arc((x + s // 4, y + s // 4, x + 3 * s // 4, y + 3 * s // 4), 20, 160, fill=(0, 0, 0), width=3)
    return im
def border(im, rng, others):
    return ImageOps.expand(im, int(min(im.size) * rng.uniform(0.1, 0.3)), tuple(int(v) for v in rng.integers(0, 256, 3)))
def meme(im, rng, others):
    w, h = im.size; out = Image.new("RGB", (w, int(h * 1.45)), "white"); out.paste(im, (0, int(h * 0.25)))
    d = ImageDraw.Draw(out)
    for y in (0.05, 1.28): d.text((10, int(h * y)), "WHEN THE CODE IS SHORT", font=ImageFont.load_default(int(h * 0.09)), fill="black")
    return out
def screenshot(im, rng, others):
    out = Image.new("RGB", (360, 640), (245, 245, 245) if rng.random() < .5 else (20, 20, 20)); d = ImageDraw.Draw(out)
    d.rectangle((0, 0, 360, 50), fill=(60, 90, 160)); d.text((10, 15), "Messages   12:41", font=ImageFont.load_default(18), fill="white")
    pic = ImageOps.contain(im, (340, 420)); out.paste(pic, (10, 110))
    for y in (70, 560, 590): d.text((14, y), "so funny, look at this one", font=ImageFont.load_default(16), fill=(128, 128, 128))
    return out
def collage(im, rng, others):
    out = Image.new("RGB", (400, 400)); spots = [(0, 0), (200, 0), (0, 200), (200, 200)]; k = int(rng.integers(4))
    wide = rng.random() < .5
    if wide:
        out.paste(im.resize((400, 200)), (0, 200 * (k % 2))); o = others[int(rng.integers(len(others)))]; out.paste(o.resize((400, 200)), (0, 200 * (1 - k % 2)))
        return out
    for i, s in enumerate(spots):
        p = im if i == k else others[int(rng.integers(len(others)))]
        out.paste(p.resize((200, 200)), s)
    return out
def blur(im, rng, others): return im.filter(ImageFilter.GaussianBlur(min(im.size) * 0.02))
def colour(im, rng, others):
    im = ImageEnhance.Color(im).enhance(rng.uniform(0, 2.2)); im = ImageEnhance.Brightness(im).enhance(rng.uniform(.6, 1.5))
    h = np.array(im.convert("HSV")); h[..., 0] += np.uint8(rng.integers(0, 40)); return ImageEnhance.Contrast(Image.fromarray(h, "HSV").convert("RGB")).enhance(rng.uniform(.6, 1.6))
def squeeze(im, rng, others): return im.resize((int(im.width * rng.choice([.55, 1.7])), im.height))
def small(im, rng, others): return ImageOps.contain(im, (48, 48))
def several(im, rng, others):
    names = list(rng.choice(["crop60", "mirror", "text", "sticker", "border", "colour", "blur", "jpeg15", "tilt", "meme"], 3, replace=False))
    for n in names: im = EDITS[n](im, rng, others)
    return jpeg(im, 30)
EDITS = {
    "crop60": crop(.6), "crop33": crop(.34), "mirror": lambda im, r, o: ImageOps.mirror(im),
    "turn": lambda im, r, o: im.transpose(Image.Transpose.ROTATE_90 if r.random() < .5 else Image.Transpose.ROTATE_270),
    "tilt": lambda im, r, o: im.rotate(float(r.choice([-1, 1]) * r.uniform(8, 25)), Image.Resampling.BICUBIC, expand=True),
    "text": text, "sticker": sticker, "border": border, "meme": meme, "screenshot": screenshot, "collage": collage, "blur": blur,
    "jpeg5": lambda im, r, o: jpeg(im, 5), "jpeg15": lambda im, r, o: jpeg(im, 15), "colour": colour, "squeeze": squeeze, "small": small, "several": several,
}
NAMES = [n for n in EDITS if n != "jpeg15"] # 17
