"""Our radiomics beside the reference values of the Image Biomarker Standardisation Initiative.

    python tests/benchmarks/ibsi.py

The digital phantom and the lung CT phantom (`ibsi_ct_lung`) in the configurations A (as stored, -500 to 400 HU, bins of
25 HU, texture per slice), C (2 mm voxels, -1000 to 400 HU, bins of 25 HU) and D (2 mm voxels, 3 standard deviations,
32 bins). References and tolerances: tests/ibsi_reference.csv, from the compliance check of the reference manual (arXiv
1612.07003), every value with moderate to very strong consensus. Beside them what SimpleITK measures in the same mask.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk

from medlab.imaging import formats
from medlab.radiomics import features, textures

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import DATASETS  # noqa: E402

HERE = Path(__file__).parents[1]
SETTINGS = {"phantom": features.Settings(bin_width=1.0, n_bins=None),
            "A": features.Settings(None, -500, 400, 0, 25.0, None, whole=True),
            "C": features.Settings(2.0, -1000, 400, 0, 25.0, None, whole=True),
            "D": features.Settings(2.0, None, None, 3.0, None, 32, whole=True)}
IMAGE = np.array([[[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
                  [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [1, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
                  [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 9, 1, 1], [1, 1, 6, 1, 1]],
                  [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]]])  # z, y, x; 2 mm voxels
MASK = np.ones(IMAGE.shape, bool)
MASK[1, 2, 0] = MASK[2, 2, 2] = False
MASK[2:, 0, 3:] = False


def reference():
    """The reference values: configuration, family, feature, value, tolerance."""
    return pd.read_csv(HERE / "ibsi_reference.csv")


def texture(levels, kind):
    """Co-occurrence features in the ways of IBSI: 2d_averaged, 2d_merged (per slice), 3d_averaged, 3d_merged."""
    merge = kind.endswith("merged")
    if kind.startswith("3d"):
        return textures.glcm(levels, merge=merge)
    slices = pd.DataFrame([textures.glcm(one, merge=merge, n_levels=levels.max()) for one in levels if one.any()])
    return slices.mean().to_dict()


def ours(image, mask, spacing, configuration):
    """Our values of one configuration, by (family, feature), units taken off the names."""
    settings, found = SETTINGS[configuration], {}
    for name, value in features.compute(image, mask, spacing, settings).items():
        family, _, feature = name.partition("_")
        found[family, next((f for f in features.FAMILIES[family] if feature in (f, f"{f}_mm", f"{f}_mm2", f"{f}_mm3",
                                                                                f"{f}_per_mm")), feature)] = value
    if settings.spacing_mm:
        image, mask = features.resample(image, mask, spacing, settings.spacing_mm)
        image = np.rint(image)
    kept, levels = features.intensity_mask(image.astype(float), mask, settings), np.zeros(mask.shape, int)
    levels[kept] = textures.discretise(image[kept], settings.bin_width, settings.n_bins, settings.low)
    for kind in ("2d_averaged", "2d_merged", "3d_averaged", "3d_merged"):
        found |= {(f"glcm_{kind}", name): value for name, value in texture(levels, kind).items()}
    return found


def compare(found, configuration):
    """Table of the references of a configuration with our value and whether it lies within the tolerance.

    References are rounded: ours is rounded to as many significant digits (at least three) before the comparison.
    """
    table = reference().query("configuration == @configuration").reset_index(drop=True)
    table["ours"] = [found[key] for key in zip(table["family"], table["feature"], strict=True)]
    rounded = table["ours"].map(lambda v: float(f"{v:.3g}"))
    exact = table["value"].abs() >= 1000
    off = (rounded.where(~exact | (table["tolerance"] == 0), table["ours"]) - table["value"]).abs()
    half = table["value"].abs().map(lambda v: 0.5 * 10.0 ** (np.floor(np.log10(v)) - 2) if v else 0.0)
    table["agrees"] = off <= table["tolerance"] * (1 + 1e-9) + np.where(exact, half, 0) + 1e-12
    return table


def lung(folder):
    """Grey values (HU), mask and spacing of the lung CT phantom."""
    image = formats.read(folder / "ibsi_ct_lung" / "nifti" / "image" / "phantom.nii.gz")
    mask = formats.read(folder / "ibsi_ct_lung" / "nifti" / "mask" / "mask.nii.gz")
    return np.rint(image.pixels[..., 0]), mask.pixels[..., 0] > 0, image.spacing_mm


def simpleitk(image, mask, spacing):
    """What SimpleITK measures in the same region, under our names."""
    grey, label = (sitk.GetImageFromArray(a) for a in (image.astype(np.float32), mask.astype(np.uint8)))
    for one in (grey, label):
        one.SetSpacing(tuple(map(float, spacing[::-1])))
    form, value = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
    form.ComputeFeretDiameterOff()
    form.Execute(label)
    value.SetNumberOfBins(4096)
    value.Execute(label, grey)
    axes = 4 * np.sqrt(sorted(form.GetPrincipalMoments(1), reverse=True))
    return {"stat_mean": value.GetMean(1), "stat_minimum": value.GetMinimum(1), "stat_maximum": value.GetMaximum(1),
            "stat_variance": value.GetVariance(1), "stat_skewness": value.GetSkewness(1),
            "stat_kurtosis": value.GetKurtosis(1), "morph_voxel_volume_mm3": form.GetPhysicalSize(1),
            "morph_major_axis_mm": axes[0], "morph_minor_axis_mm": axes[1], "morph_least_axis_mm": axes[2],
            "morph_centre_of_mass_shift_mm": float(np.linalg.norm(np.subtract(value.GetCenterOfGravity(1),
                                                                              form.GetCentroid(1))))}


def main():
    pd.set_option("display.max_rows", 500, "display.width", 140)
    image, mask, spacing = lung(DATASETS)
    cases = {"phantom": (IMAGE, MASK, (2.0,) * 3)} | dict.fromkeys("ACD", (image, mask, spacing))
    for name, case in cases.items():
        table = compare(ours(*case, name), name)
        print(f"\nConfiguration {name}: {table['agrees'].sum()} of {len(table)} values within the tolerance of IBSI")
        print(table[["family", "feature", "value", "tolerance", "ours", "agrees"]].to_string(
            index=False, formatters={c: "{:.6g}".format for c in ("value", "tolerance", "ours")}))
    plain = features.compute(image, mask, spacing, features.Settings())
    print("\nThe mask of the lung CT, nothing left out, nothing resampled, beside SimpleITK")
    for name, value in simpleitk(image, mask, spacing).items():
        print(f"{name:32s} ours {plain[name]:14.6g}   SimpleITK {value:14.6g}")


if __name__ == "__main__":
    main()
