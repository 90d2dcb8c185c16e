import numpy as np
def scores(query, gold, base):
    """query (q,B/8) uint8, gold (q,) index in base, base (n,B/8). µAP over all pairs with ties counted against us, recall without a false pair, recall at 99 %."""
    d = np.bitwise_count(query[:, None] ^ base[None]).sum(-1).astype(int)
    q = len(query)
    pos = d[np.arange(q), gold]
    m = np.ones_like(d, bool); m[np.arange(q), gold] = False
    neg = d[m]
    top = d.max() + 1
    p = np.bincount(pos, minlength=top); n = np.bincount(neg, minlength=top)
    cp, cn = p.cumsum(), n.cumsum()
    prec = cp / np.maximum(cp + cn, 1)
    ap = (p * prec).sum() / q            # ties counted against us
    clean = cp[cn == 0]; at99 = cp[prec >= .99]
    return dict(uap=ap, clean=(clean.max() if len(clean) else 0) / q, at99=(at99.max() if len(at99) else 0) / q, pos=pos)
