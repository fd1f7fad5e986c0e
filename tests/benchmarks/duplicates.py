"""Copies planted in real collections: how many are found (recall), and how many found pairs are none (precision).

    python tests/benchmarks/duplicates.py                      # all collections, some minutes
    python tests/benchmarks/duplicates.py drive brain --n 20   # some, with so many planted copies of each kind
    python tests/benchmarks/duplicates.py brain --part 300     # a random part of each collection, faster

Each kind of copy is planted on its own, beside the whole collection. A pair counts as false where it joins files
that are neither planted on each other nor alike in the collection as it came. Groups of that are told by
number; what they are only a person can say (in `brain` 12 are identical, more are re-encoded).
"""

import argparse
import io
import time

import numpy as np
import pandas as pd
from chain import DATASETS
from PIL import Image
from scipy import stats

from medlab.cohorts import screening
from medlab.imaging import dicom

FILES = {"drive": "drive/training/images/*.png", "brain": "brain_tumor_4class/*/*/*", "em": "em_isbi2012/train/image/*",
         "lgg": "lgg_mri_seg_survival/images/*.png", "bccd": "bccd/**/*.jpg"}


def collection(name):
    """Grey pictures of a collection as they are stored."""
    if name == "retina":
        with np.load(DATASETS / "medmnist" / "retinamnist.npz") as file:
            return list(np.concatenate([file[f"{part}_images"] for part in ("train", "val", "test")]).mean(axis=-1))
    if name == "chest_ct":
        with np.load(DATASETS / "nsclc_ct_survival" / "central_slices_92.npz") as file:
            return list(file["scan"].astype(float))
    files = sorted(DATASETS.glob(FILES[name])) or sorted(DATASETS.glob(FILES[name].replace("images/", "images/**/")))
    return [np.asarray(Image.open(file).convert("RGB"), float).mean(axis=-1) for file in files]


def encoded(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def copies(pixels) -> dict:
    """One picture copied in each way."""
    low, high = np.percentile(pixels, (0.5, 99.5))
    grey = np.clip((pixels - low) / max(high - low, 1) * 255, 0, 255)
    image = Image.fromarray(grey.astype(np.uint8))
    width, height = image.size

    def crop(share):
        return image.crop((width * share, height * share, width * (1 - share), height * (1 - share)))

    noise = np.random.default_rng(0).normal(0, 0.04 * 255, grey.shape)
    moved = np.roll(np.asarray(image), (round(height * 0.04), -round(width * 0.04)), (0, 1))
    made = {"JPEG 50": encoded(image, 50), "crop 5 %": crop(0.025), "crop 10 %": crop(0.05),
            "shift 4 %": Image.fromarray(moved),
            "mirrored": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "upside down": image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
            "brightness": Image.fromarray((grey * 0.7 + 40).astype(np.uint8)),
            "gamma 0.6": Image.fromarray((255 * (grey / 255) ** 0.6).astype(np.uint8)),
            "half size": image.resize((width // 2, height // 2), Image.Resampling.BICUBIC),
            "turned 2°": image.rotate(2, Image.Resampling.BILINEAR),
            "noise 4 %": Image.fromarray((grey + noise).clip(0, 255).astype(np.uint8))}
    mixed = crop(0.02).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((int(width * 0.8), int(height * 0.8)))
    made["crop, mirror, 80 %, JPEG 60"] = encoded(mixed.point(lambda v: v * 0.8 + 20), 60)
    return {kind: np.asarray(one.convert("L")) for kind, one in made.items()}


def scanned(pictures) -> pd.DataFrame:
    """What `datasets.scan` measures of them."""
    found = [screening.measure(dicom.Image(np.asarray(one)[..., None], None)) for one in pictures]
    return pd.DataFrame(found, columns=screening.COLUMNS)


def pairs(found) -> set:
    return {(a, b) for _, g in found.groupby("group") for a in g["row"] for b in g["row"] if a < b}


def measure(name, n, part=None, seed=0):
    """Rows of the table for one collection, or for a random part of so many images."""
    pictures = collection(name)
    if part and part < len(pictures):
        pictures = [pictures[i] for i in np.random.default_rng(seed).permutation(len(pictures))[:part]]
    base, start = scanned(pictures), time.process_time()
    found = screening.duplicates(base)
    seconds, own = time.process_time() - start, found.set_index("row")["group"]
    print(f"{name}: {len(pictures)} images; {found['group'].nunique()} groups as it came, the largest of "
          f"{found.groupby('group').size().max() if len(found) else 0}; screened in {seconds:.1f} CPU s", flush=True)
    chosen = np.random.default_rng(seed).permutation(len(pictures))[:n]
    made, rows = [copies(pictures[i]) for i in chosen], []
    for kind in made[0]:
        mixed = pd.concat([base, scanned([one[kind] for one in made])], ignore_index=True)
        planted = {(int(i), len(base) + k) for k, i in enumerate(chosen)}
        got, root = pairs(screening.duplicates(mixed)), {b: a for a, b in planted}
        truth = [root.get(a, a) == root.get(b, b) or (own.get(root.get(a, a), -1) == own.get(root.get(b, b), -2))
                 for a, b in got]
        rows.append({"collection": f"{name} ({len(pictures)})", "copy": kind, "planted": len(planted),
                     "hit": len(planted & got), "pairs": len(got), "true": int(sum(truth))})
    return rows


def share(hits, n) -> str:
    """Share with its Wilson interval of 95 % and n."""
    if not n:
        return "none found"
    low, high = stats.binomtest(int(hits), int(n)).proportion_ci(method="wilson")
    return f"{hits / n:.2f} ({low:.2f} to {high:.2f}), n {n}"


def printed(table, hits, n) -> str:
    """Markdown table of copies by collections; the last row over all copies."""
    cells = table.pivot(index="copy", columns="collection", values=[hits, n]).astype(int)
    cells.loc["all"] = cells.sum()
    names = list(dict.fromkeys(table["collection"]))
    lines = [["copy", *names], ["---"] * (len(names) + 1)]
    lines += [[kind, *(share(row[hits, name], row[n, name]) for name in names)] for kind, row in cells.iterrows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cost(n=10_000):
    """CPU seconds of the search alone among so many pictures with one shared frame and detail of their own."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    frame = 60 * np.exp(-np.hypot(*np.mgrid[-1:1:128j, -1:1:128j]) * 2)
    table = pd.DataFrame({"sha": np.arange(n).astype(str), "problem": None, "depth": np.nan, "height": 128,
                          "width": 128, "thumbnail": [
        (110 + frame + gaussian_filter(random.normal(size=(128, 128)), 2) * 150).clip(0, 255).astype(np.uint8).tobytes()
        for _ in range(n)]})
    start = time.process_time()
    screening.duplicates(table)
    print(f"{n} images: {time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["drive", "brain", "lgg", "chest_ct", "retina", "em", "bccd"])
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--part", type=int, help="images of each collection, taken at random; all where not given")
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    start = time.process_time()
    table = pd.DataFrame([row for name in options.names for row in measure(name, options.n, options.part)])
    print("\nRecall: planted copies found\n\n" + printed(table, "hit", "planted"))
    print("\nPrecision: found pairs that are copies\n\n" + printed(table, "true", "pairs"))
    print(f"\n{time.process_time() - start:.0f} CPU s")
    if options.cost:
        cost()
