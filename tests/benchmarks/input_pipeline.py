"""Images per second of the input pipeline beside Keras' ImageDataGenerator, and memory on a ten times larger cohort.

Same pictures (180 x 180 grey), same augmentation (rotation, shifts, shear, zoom, left-right flip, edges repeated,
bilinear), batches of 32, one process each in turn: ``python tests/benchmarks/input_pipeline.py``. Wanted: at least
4.5 times from prepared arrays and 2.5 times from PNG files, and memory that does not grow with the cohort.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

N, SIDE, BATCH = 1024, 180, 32
TRAIN = """
import resource, sys
import numpy as np
from medlab.networks import fusion, models, pipeline, policies
images = np.load(sys.argv[1], mmap_mode="r")
y = (np.arange(len(images)) % 2)[:, None]
model = fusion.build("compact", images.shape[1:], 1, {}, survival=False, label=("binary", 2), capacity=0.25)
model.compile("adam", {"label": models.loss("binary")})
rows = np.arange(len(images))[:, None]
data = pipeline.dataset(images, {"label": y}, 32, rows=rows, inputs={"present": rows >= 0},
                        policy=policies.policy("MR"), shuffle=True, repeat=True)
model.fit(data, steps_per_epoch=pipeline.steps(len(images), 32), epochs=1, verbose=0, shuffle=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


class Pictures:
    """PNG files as an array that is read row by row: all that `pipeline.dataset` asks for."""

    def __init__(self, files):
        self.files, self.shape, self.dtype = files, (len(files), SIDE, SIDE, 1), np.dtype("uint8")

    def __len__(self):
        return len(self.files)

    def __getitem__(self, rows):
        return np.stack([np.asarray(Image.open(self.files[row]))[..., None] for row in rows])


def pictures(folder):
    """`N` textured pictures as PNG files in one class folder, and as one array."""
    noise = np.random.default_rng(0).normal(128, 120, (N, SIDE, SIDE))
    array = ndimage.gaussian_filter(noise, (0, 2, 2)).clip(0, 255).astype("uint8")
    (folder / "png" / "a").mkdir(parents=True)
    for i, picture in enumerate(array):
        Image.fromarray(picture).save(folder / "png" / "a" / f"{i:04d}.png")
    np.save(folder / "images.npy", array[..., None])
    return sorted((folder / "png" / "a").iterdir())


def rate(batches, n=3 * N):
    """Images per second, after the first batches."""
    batches = iter(batches)
    for _ in range(4):
        next(batches)
    start, done = time.perf_counter(), 0
    while done < n:
        batch = next(batches)
        done += len(batch[0] if isinstance(batch, tuple) else batch)
    return done / (time.perf_counter() - start)


def generator():
    """The generator of the classic recipe, bilinear like ours (its default)."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(rotation_range=40, width_shift_range=0.2, height_shift_range=0.2, shear_range=0.2,
                              zoom_range=0.2, horizontal_flip=True, fill_mode="nearest", interpolation_order=1)


def memory(folder, n):
    """Peak resident memory (MB) of a process that trains one epoch on n images of 256 x 256."""
    path = folder / f"{n}.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False,
                                                    "shape": (n, 256, 256, 1)})
        for _ in range(n):
            file.write(np.random.bytes(256 * 256))
    done = subprocess.run([sys.executable, "-c", TRAIN, str(path)], capture_output=True, text=True, check=True)
    size = path.stat().st_size / 1e6
    path.unlink()
    return float(done.stdout), size


def main():
    from medlab.networks import pipeline, policies

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = pictures(folder)
        images = np.load(folder / "images.npy", mmap_mode="r")
        policy = policies.policy("classic")
        ours = {"arrays": pipeline.dataset(images, batch_size=BATCH, policy=policy, shuffle=True, repeat=True),
                "PNG files": pipeline.dataset(Pictures(files), batch_size=BATCH, policy=policy, shuffle=True,
                                              repeat=True)}
        theirs = {"arrays": lambda: generator().flow(np.asarray(images), batch_size=BATCH),
                  "PNG files": lambda: generator().flow_from_directory(
                      folder / "png", (SIDE, SIDE), "grayscale", class_mode=None, batch_size=BATCH)}
        for source, wanted in (("arrays", 4.5), ("PNG files", 2.5)):
            slow, fast = rate(theirs[source](), N), rate(ours[source])
            print(f"{source}: ImageDataGenerator {slow:.0f} images/s, medlab {fast:.0f} images/s, "
                  f"{fast / slow:.1f} times (wanted {wanted})", flush=True)
        (few, small), (many, large) = memory(folder, 300), memory(folder, 3000)
        print(f"training on {small:.0f} MB of images: peak memory {few:.0f} MB; on {large:.0f} MB: {many:.0f} MB "
              f"({many - few:+.0f} MB)")


if __name__ == "__main__":
    main()
