"""PET phantom: what is measured against what is true, without noise and with it, from DICOM through the import.

    python tests/benchmarks/pet.py [--noisy 20]

Spheres of SUV 8 in a background of 1, resolution 5 mm (FWHM), voxels of 2.5 mm. A Gaussian resolution leaves the centre
of a ball of twice its width only 0.86 of the contrast, so that no plain measure can be within 1 % there; `resolved`
takes the resolution into account.
"""

import argparse
import time

import numpy as np
import pandas as pd
from chain import workplace


def errors(suv, image, person):
    """Relative errors of each sphere."""
    from medlab.pet import hot_spots, uptake
    from medlab.phantoms import pet

    spots = uptake.hot_spots(suv, image.spacing_mm, 2.5, 0.2, image.affine, pet.FWHM_MM).assign(scan="")
    places = dict(zip(("x_mm", "y_mm", "z_mm"), pet.places(person).T, strict=True))
    found, _ = hot_spots.match(spots, pd.DataFrame(person["spheres"]).assign(scan="", **places))
    beside = spots.loc[found["spot"]]
    volume = np.pi * found["diameter_mm"].to_numpy() ** 3 / 6000
    uptakes = ("suv_max", "suv_peak", "resolved_suv")
    of = {name: beside[name].to_numpy() / found["suv"].to_numpy() - 1 for name in uptakes}
    of |= {name: beside[name].to_numpy() / volume - 1 for name in beside if name.startswith("mtv")}
    of["resolved_volume"] = beside["resolved_volume_ml"].to_numpy() / volume - 1
    return pd.DataFrame(of, index=found["diameter_mm"].to_numpy())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--noisy", type=int, default=20, help="realisations of the noise")
    asked = parser.parse_args()
    with workplace() as place:
        from medlab.imaging import series
        from medlab.pet import headers, suv
        from medlab.phantoms import common, pet, pet_dicom

        person, tables = pet.sample(1, 0)[0], []
        for k in range(asked.noisy + 1):
            values = pet.render(person, common.generator(k, 0, 1), noise=float(k > 0))[0]
            folder = pet_dicom.write_pet(place / str(k), 0, person, values)
            numbers, _ = headers.of_series("PT", list(folder.iterdir()))
            image = series.read_series(folder.iterdir())
            tables.append(errors(image.pixels[..., 0] * np.float32(suv.factor(numbers)[0]), image, person))
        pd.set_option("display.width", 200, "display.max_columns", 20)
        print("Without noise, relative error by true diameter (mm):")
        print(tables[0].round(4).to_string())
        stack = np.stack([t.to_numpy() for t in tables[1:]])
        for title, of in ("Mean", np.nanmean), ("Standard deviation", np.nanstd):
            print(f"{title} over {asked.noisy} realisations of the noise:")
            print(pd.DataFrame(of(stack, axis=0), tables[0].index, tables[0].columns).round(4).to_string())


if __name__ == "__main__":
    start = time.time()
    main()
    print(f"{time.time() - start:.0f} s")
