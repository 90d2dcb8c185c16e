"""Pack pictures for the device: squashed squares as JPEG in one npz-like file, and held-out photos as they are, smaller."""
import glob, io, random, sys
import numpy as np
from PIL import Image, ImageOps
from concurrent.futures import ThreadPoolExecutor
root='images/'
photos=sorted(glob.glob(root+'photos/**/*.*',recursive=True)); photos=[p for p in photos if p.lower().endswith(('jpg','jpeg'))]
flickr=sorted(glob.glob(root+'flickr/*.jpg')); bsds=sorted(glob.glob(root+'bsds/**/*.jpg',recursive=True))
tiny=sorted(glob.glob(root+'tiny/tiny-imagenet/train/*/*')); random.Random(0).shuffle(tiny); 
tv=sorted(glob.glob(root+'tiny/tiny-imagenet/val/*/*')); random.Random(0).shuffle(tv)
print(len(photos),len(flickr),len(bsds),len(tiny),len(tv))
held=photos+flickr[800:]
train=flickr[:800]+bsds
def sq(p,side,q):
    im=Image.open(p).convert('RGB'); b=io.BytesIO(); a=im.width/im.height
    im.resize((side,side),Image.Resampling.LANCZOS).save(b,'JPEG',quality=q); return b.getvalue(),a
def sm(p,side,q):
    im=Image.open(p).convert('RGB'); b=io.BytesIO(); ImageOps.contain(im,(side,side)).save(b,'JPEG',quality=q); return b.getvalue(),im.width/im.height
def raw(p):
    b=open(p,'rb').read(); return b,1.0
def put(name,rows):
    blobs=[r[0] for r in rows]; np.savez(name,data=np.frombuffer(b''.join(blobs),np.uint8),ends=np.cumsum([len(b) for b in blobs]),aspect=np.array([r[1] for r in rows],np.float32))
import os
out='pack/'; os.makedirs(out,exist_ok=True)
with ThreadPoolExecutor(2) as ex:
    put(out+'train.npz',list(ex.map(lambda p:sq(p,240,85),train)))
    put(out+'held.npz',list(ex.map(lambda p:sm(p,320,84),held)))
    n=int(sys.argv[1])
    put(out+'tiny.npz',list(ex.map(raw,tiny[:n])))
    put(out+'distract.npz',list(ex.map(raw,tv[:500])))
for f in os.listdir(out): print(f,os.path.getsize(out+f)/2**20)
