"""Train copy hashers on one GPU within a time budget; try some settings briefly, then the best for the rest."""
import argparse, io, json, math, os, sys, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import numpy as np, torch, timm
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import checkpoint_filter_fn
sys.path.insert(0, os.path.dirname(__file__))
from edits import Edits, overlay_bank
from evaluate import scores
import pil_edits

A = argparse.ArgumentParser()
A.add_argument("--pack", required=True); A.add_argument("--weights", required=True); A.add_argument("--out", required=True)
A.add_argument("--seconds", type=float, default=200); A.add_argument("--pilot", type=float, default=20)
A.add_argument("--batch", type=int, default=2048); A.add_argument("--steps", type=int, default=10**9)
A.add_argument("--depth", type=int, default=4); A.add_argument("--size", type=int, default=112); A.add_argument("--limit", type=int, default=10**9)
A.add_argument("--side", type=int, default=192)
A.add_argument("--compile", action="store_true")
A.add_argument("--pilots", default='[{},{"T":0.1},{"T":0.05,"ent":0.3},{"lr":1e-3}]')
o = A.parse_args()
T0 = time.time()
dev = "cuda" if torch.cuda.is_available() else "cpu"
log = lambda *a: print(f"[{time.time()-T0:6.1f}]", *a, flush=True)
MEAN = torch.tensor([0.485, 0.456, 0.406], device=dev).view(1, 3, 1, 1); STD = torch.tensor([0.229, 0.224, 0.225], device=dev).view(1, 3, 1, 1)
CHUNK = 1024 if torch.cuda.is_available() else 64
BITS = (64, 128, 256)

def blobs(name):
    z = np.load(os.path.join(o.pack, name + ".npz")); d, e = z["data"], z["ends"]; s = np.r_[0, e[:-1]]
    return [d[a:b].tobytes() for a, b in zip(s[: o.limit], e[: o.limit])], z["aspect"][: o.limit]
def square(b, side=None):
    im = Image.open(io.BytesIO(b)).convert("RGB"); return np.asarray(im.resize((side, side), Image.BICUBIC))
def view(im): return np.asarray(im.resize((o.size, o.size), Image.BICUBIC))
def edit_job(args):
    blob, others, seed = args
    im = Image.open(io.BytesIO(blob)).convert("RGB"); oth = [Image.open(io.BytesIO(b)).convert("RGB") for b in others]
    return [view(pil_edits.EDITS[n](im, np.random.default_rng([seed, i]), oth).convert("RGB")) for i, n in enumerate(pil_edits.NAMES)]
def load(ex):
    jobs = {}
    tb, ta = blobs("train"); yb, ya = blobs("tiny"); hb, _ = blobs("held"); db, _ = blobs("distract")
    photo = np.stack(list(ex.map(square, tb, [o.side] * len(tb), chunksize=16)))
    tiny = np.stack(list(ex.map(square, yb, [64] * len(yb), chunksize=256)))
    ref = np.stack(list(ex.map(square, hb + db, [o.size] * (len(hb) + len(db)), chunksize=32)))
    nq = min(100, len(hb)); rng = np.random.default_rng(7)
    q = list(ex.map(edit_job, [(hb[i * len(hb) // nq], [hb[j] for j in rng.integers(0, len(hb), 4)], i) for i in range(nq)], chunksize=2))
    gold = np.repeat([i * len(hb) // nq for i in range(nq)], len(pil_edits.NAMES))
    g = lambda a: torch.from_numpy(a).permute(0, 3, 1, 2).contiguous()
    return g(photo), torch.from_numpy(ta), g(tiny), torch.from_numpy(ya), g(ref), g(np.concatenate([np.stack(v) for v in q])), gold

class Net(torch.nn.Module):
    def __init__(s, depth):
        super().__init__()
        m = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=o.size)
        m.load_state_dict(checkpoint_filter_fn({k: v.float() for k, v in load_file(o.weights).items()}, m))
        m.blocks = m.blocks[:depth]; s.vit = m; s.head = torch.nn.Linear(768, BITS[-1]); s.bn = torch.nn.BatchNorm1d(BITS[-1], affine=False, momentum=0.05)
    def features(s, x):
        t = s.vit.forward_features(x); return torch.cat([t[:, 0], t[:, 1:].mean(1)], 1)
    def forward(s, x): return s.bn(s.head(s.features(x)).float())

def codes(net, pics):
    net.eval(); out = []
    with torch.inference_mode(), torch.autocast(dev, torch.bfloat16):
        for i in range(0, len(pics), CHUNK):
            x = (pics[i:i + CHUNK].to(dev).float() / 255 - MEAN) / STD
            out.append((net(x) > 0).cpu().numpy())
    net.train(); return np.packbits(np.concatenate(out), axis=1)
def measure(net, D):
    b, q = codes(net, D[4]), codes(net, D[5]); r = {}
    for bits in BITS:
        s = scores(q[:, : bits // 8], D[6], b[:, : bits // 8]); r[bits] = {k: round(float(s[k]), 4) for k in ("uap", "clean", "at99")}
        if bits == 64: r["per edit"] = {n: round(float(s["pos"].reshape(-1, len(pil_edits.NAMES))[:, i].mean()), 1) for i, n in enumerate(pil_edits.NAMES)}
    r["score"] = sum(v for bits in BITS for v in r[bits].values()); return r

def loss_of(za, zb, T, ent, q):
    n = len(za); total = 0.0; parts = []
    z = torch.cat([za, zb]); same = torch.arange(2 * n, device=z.device)
    target = (same + n) % (2 * n)
    for bits in BITS:
        u = z[:, :bits]; h = torch.tanh(u); s = h + (u.sign() - h).detach()
        sim = (s.bfloat16() @ s.bfloat16().T).float() / bits if z.is_cuda else s @ s.T / bits
        eye = torch.eye(2 * n, dtype=torch.bool, device=z.device)
        nce = F.cross_entropy((sim / T).masked_fill(eye, -1e4), target)
        other = sim.masked_fill(eye, -1); other = other.masked_fill(torch.zeros_like(eye).scatter_(1, target[:, None], True), -1)
        near = other.topk(1, 1).values[:, 0]              # entropy: push the nearest stranger away
        spread = -torch.log((1 - near).clamp(min=0.02)).mean()
        total = total + nce + ent * spread + q * (h.abs() - 1).pow(2).mean(); parts.append((float(nce.detach()), float(spread.detach())))
    return total / len(BITS), parts

def train(D, seconds, steps, lr=5e-4, T=0.07, ent=0.1, q=0.0, decay=0.8, photos=0.35, name=""):
    photo, pa, tiny, ta, *_ = D
    torch.manual_seed(0); net = Net(o.depth).to(dev)
    groups = []
    for k, p in net.named_parameters():
        level = int(k.split(".")[2]) + 1 if ".blocks." in k else (o.depth + 1 if k.startswith(("head", "vit.norm")) else 0)
        groups.append({"params": [p], "scale": decay ** (o.depth + 1 - level) * (2.0 if k.startswith("head") else 1), "weight_decay": 0.05 if p.ndim > 1 else 0})
    opt = torch.optim.AdamW(groups, lr=lr, fused=dev == "cuda", betas=(0.9, 0.98))
    ema = {k: v.clone() for k, v in net.state_dict().items()}
    fwd = torch.compile(net) if o.compile else net
    edits = EDITS
    start = time.time(); step = 0; frac = 0.0; times = []
    while True:
        now = (time.time() - start) / seconds if steps > 10**8 else step / steps
        frac = max(now, 0)
        if frac >= 1 or step >= steps: break
        for g in opt.param_groups: g["lr"] = lr * g["scale"] * min(1, step / 60) * (0.5 * (1 + math.cos(math.pi * frac)) * 0.98 + 0.02)
        nb = o.batch; k = int(nb * photos)
        i = torch.randperm(len(photo), device=dev)[:k] if k <= len(photo) else torch.randint(len(photo), (k,), device=dev)
        k = len(i)
        j = torch.randperm(len(tiny), device=dev)[: nb - k]
        bg = tiny[torch.randint(len(tiny), (256,), device=dev)]
        with torch.no_grad():
            va = torch.cat([edits(photo[i], pa[i], bg, 0.25), edits(tiny[j], ta[j], bg, 0.25)])
            st = lambda m: torch.empty(m, device=dev).uniform_(0.35, 1.1)
            vb = torch.cat([edits(photo[i], pa[i], bg, st(len(i))), edits(tiny[j], ta[j], bg, st(len(j)))])
            x = ((torch.cat([va, vb]) - MEAN) / STD)
        with torch.autocast(dev, torch.bfloat16): z = fwd(x)
        loss, parts = loss_of(*z.chunk(2), T, ent, q)
        opt.zero_grad(); loss.backward(); torch.nn.utils.clip_grad_norm_(net.parameters(), 3.0); opt.step()
        m = min(0.998, (step + 1) / (step + 20))
        for key, v in net.state_dict().items():
            if v.dtype.is_floating_point: ema[key].lerp_(v, 1 - m)
        step += 1
        if step % 50 == 0 or step == 5: log(name, step, f"frac {frac:.2f} loss {float(loss):.3f}", [tuple(round(x, 2) for x in p) for p in parts], f"{step * 2 * nb / (time.time() - start):.0f} views/s")
    raw = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(ema); e = measure(net, D)
    return e, ema, raw, step

if __name__ == "__main__":
    os.makedirs(o.out, exist_ok=True)
    with ProcessPoolExecutor(min(16, os.cpu_count())) as ex: D = list(load(ex))
    D = [d.to(dev) if torch.is_tensor(d) and i < 4 else d for i, d in enumerate(D)]
    log("loaded", [tuple(d.shape) for d in D])
    EDITS = Edits(o.size, overlay_bank().to(dev))
    pilots = json.loads(o.pilots); found = []
    for kw in pilots:
        e, *_ = train(D, o.pilot, o.steps, name=str(kw), **kw); found.append((e["score"], kw)); log("PILOT", kw, json.dumps(e))
    best = max(found, key=lambda f: f[0])[1] if found else {}
    left = o.seconds - (time.time() - T0) - 6
    e, ema, raw, step = train(D, left, o.steps, name="final", **best)
    log("FINAL", step, best, json.dumps(e))
    json.dump({"best": best, "pilots": found, "final": e, "steps": step, "args": vars(o)}, open(o.out + "/copy.json", "w"))
    half = {k: v.half().contiguous().cpu() if v.dtype.is_floating_point else v.cpu() for k, v in ema.items()}
    save_file(half, "copy_half.safetensors"); blob = open("copy_half.safetensors", "rb").read()
    for n, i in enumerate(range(0, len(blob), 15 << 20)): open(f"{o.out}/copy.part{n}", "wb").write(blob[i:i + (15 << 20)])
    log("saved", len(blob))
