"""External validation of a frozen network: a cohort of the embedded simulation as it is, and as from another scanner.

    python tests/benchmarks/external.py                 # 150 patients each, cohort seeds 1 (made from) and 2 (others)
    python tests/benchmarks/external.py --patients 600
    python tests/benchmarks/external.py --keep FOLDER   # datasets and runs stay there and are not made twice

The run `dev` is trained on cohort seed 1. `ext` are other patients of the same simulation, `shifted` the same patients
with the images of another scanner: noise of 60 HU added, soft tissue 15 % denser. Wanted: of `shifted` the noise is
shown to differ and the histograms are farther apart than by chance, of `ext` they are not; and the slopes that are
recalibrated on the patients of `shifted` (cross-validated) lie between 0.9 and 1.1.
"""

import argparse
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from chain import medlab, workplace

PARAMETERS = {"dataset": "dev", "steps": "1-5", "image_size": 64, "epochs": 24, "capacity": 0.75, "dropout": 0.3,
              "learning_rate": 0.003, "sanity_gate": False, "n_bootstrap": 300, "survival_bootstrap": 200}
NOISE_HU, DENSER = 60, 1.15


def other_scanner(folder, name):
    """The dataset `ext` with images as another scanner would give them."""
    shutil.copytree(folder / "data" / "ext", folder / "data" / name)
    rng = np.random.default_rng(0)
    for path in sorted((folder / "data" / name / "images").glob("*.nii.gz")):
        image = nib.load(path)
        hu = np.asarray(image.dataobj, float)
        hu = np.where(hu > 0, DENSER * hu, hu) + rng.normal(0, NOISE_HU, hu.shape)
        path.unlink()  # it may be a link to what the import has made
        nib.save(nib.Nifti1Image(np.clip(hu, -1024, 3071).astype(np.int16), image.affine), path)
    card = yaml.safe_load((folder / "data" / name / "card.yaml").read_text())
    card.pop("sha256", None)
    (folder / "data" / name / "card.yaml").write_text(yaml.safe_dump(card, allow_unicode=True))


def executed(folder, name, parameters, result):
    """A run, if it has no result yet; its result."""
    place = folder / "reports" / name
    place.mkdir(parents=True, exist_ok=True)
    if not (place / result).exists():
        (place / "params.yaml").write_text(yaml.safe_dump(parameters))
        medlab("run", name)
    return json.loads((place / result).read_text())


def numbers(result):
    """What is compared of an external.json."""
    label, survival, drift = result["label"], result["survival"], result["drift"]
    pixels = {row["name"]: row["value"] for row in drift["tables"]["grey values"]}
    found = {"auc": label["auc"], "c": survival["models"][survival["main"]]["c_harrell"]} | pixels
    found |= {"histogram distance": drift["histograms"]["distance"], "by chance": drift["histograms"]["by_chance"]}
    found |= {"label slope": label["calibration_slope"], "label intercept": label["calibration_intercept"],
              "label slope recalibrated": label["recalibrated"]["calibration_slope"]}
    risks = survival["recalibration"]
    return found | {"risk O/E": risks["as it is"]["oe"], "risk slope": risks["as it is"]["slope"],
                    "risk O/E recalibrated": risks["level and slope"]["oe"],
                    "risk slope recalibrated": risks["level and slope"]["slope"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patients", type=int, default=150)
    parser.add_argument("--keep", type=Path, help="folder for datasets and runs")
    known = parser.parse_args()
    with workplace(known.keep) as folder:
        for name, seed in (("dev", 1), ("ext", 2)):
            if not (folder / "data" / name).exists():
                medlab("import", "synthetic:thorax", name, "--patients", known.patients, "--seed", seed)
        if not (folder / "data" / "shifted").exists():
            other_scanner(folder, "shifted")
        survival = executed(folder, "dev", PARAMETERS, "survival.json")
        label = json.loads((folder / "reports" / "dev" / "metrics.json").read_text())
        own = {"auc": label["auc"], "c": survival["models"][survival["main"]]["c_harrell"],
               "label slope": label["calibration_slope"]}
        found = {"own test part": own} | {name: numbers(executed(
            folder, f"external-{name}", {"dataset": name, "model_of": "dev"}, "external.json"))
            for name in ("ext", "shifted")}
        table = pd.DataFrame(found)
        print(table.reindex(pd.DataFrame(found["shifted"], [0]).columns).round(3).to_string())
        seen = table["shifted"]
        slopes = [seen["label slope recalibrated"], seen["risk slope recalibrated"]]
        print(f"drift seen: {seen['histogram distance'] > seen['by chance']}, noise {seen['noise']:+.1f} SD (without "
              f"it {table.loc['noise', 'ext']:+.1f}); slopes recalibrated {slopes[0]:.2f} and {slopes[1]:.2f}, "
              f"within 0.9 to 1.1: {all(0.9 <= slope <= 1.1 for slope in slopes)}")


if __name__ == "__main__":
    main()
