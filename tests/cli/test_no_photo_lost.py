"""Deleting what `th dedup --spare` names: of every picture a copy is left, whatever lies in the folder."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

import transhash
from transhash import hamming

NAMES = ["a b.png", "-rf.png", "line\nbreak.png", "'q\".png", "ü.png", "$HOME.png", "*.png", "\udcff.png", "#1.png"]


def picture(rng):
    """A picture of large areas, which a perceptual hash tells apart."""
    small = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((72, 72), Image.Resampling.BICUBIC)


def fill(folder, rng):
    """Write pictures, and copies, near-copies, links and damaged files of some of them."""
    places = [folder, folder / "albums", folder / "albums" / "2024", folder / "zoo"]
    for place in places:
        place.mkdir(exist_ok=True)
    for number in range(12):
        image = picture(rng)
        name = NAMES[number % len(NAMES)] if number % 2 else f"{number}.png"
        first = places[rng.integers(4)] / name
        image.save(first)
        for copy in range(rng.integers(4)):
            other = places[rng.integers(4)] / f"{number} {copy} {name}"
            how = rng.integers(6)
            if how == 0:
                shutil.copy(first, other)
            elif how == 1:
                other.symlink_to(os.path.relpath(first, other.parent))
            elif how == 2:
                os.link(first, other)
            elif how == 3:
                image.resize((50, 50)).save(other)
            elif how == 4:
                image.save(other.with_suffix(".jpg"), quality=40)
            else:
                other.write_bytes(first.read_bytes()[:200])
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "albums" / "up").symlink_to("..")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_of_every_picture_a_copy_is_left(th_inside, tmp_path, seed):
    rng = np.random.default_rng(seed)
    photos = tmp_path / "photos"
    photos.mkdir()
    fill(photos, rng)
    radius = int(rng.choice([0, 2, 6, 12]))
    th_inside("encode", "photos", "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    what = "c.h5"
    if seed % 2:
        th_inside("index", "build", "c.h5", "-o", "i.index", cwd=tmp_path)
        what = "i.index"
    sorted(photos.rglob("*.png"))[rng.integers(10)].unlink()  # by hand, after it was encoded
    before = transhash.encode(photos, "phash")
    done = th_inside("dedup", what, "--radius", radius, "--spare", "-0", cwd=tmp_path)
    spare = done.stdout.encode("utf-8", "surrogateescape")
    if spare:
        subprocess.run(["xargs", "-0", "rm", "--"], input=spare, check=True, cwd=tmp_path)
    after = transhash.encode(photos, "phash")
    assert len(before) - len(after) == spare.count(b"\0")
    assert hamming.distances(before.packed, after.packed).min(axis=1).max() <= radius
