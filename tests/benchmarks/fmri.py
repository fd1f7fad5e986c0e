"""Notebook 09 on the simulated run and on a real one.

    python tests/benchmarks/fmri.py phantom --seeds 4 5 6 7
    python tests/benchmarks/fmri.py localizer ../shared/datasets/fmri_oneback_localizer

Wanted: phantom, recall of active voxels at least 0.9 with false discoveries at most 5 %; localizer, NIfTI and DICOM of
the first volumes agree, any task gives a peak z above 8 in visual cortex, under 4 minutes on 2 cores.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from chain import workplace


def dataset(folder, cohort, card):
    folder.mkdir(parents=True, exist_ok=True)
    cohort.to_csv(folder / "cohort.csv", index=False)
    (folder / "card.yaml").write_text(yaml.safe_dump(card))


def run(name, place, **parameters):
    """Execute the run; its functional.json and the seconds."""
    from medlab import storage

    folder = place / "reports" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump({"dataset": name, **parameters}))
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "medlab", "run", name], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    return storage.read_json(folder / "functional.json"), time.perf_counter() - start


def phantom(place, seeds):
    from medlab.phantoms import bold as bold_phantom

    for seed in seeds:
        name = f"phantom{seed}"
        cohort, truth = bold_phantom.bold(place / "data" / name, seed=seed)
        truth.to_csv(place / "data" / name / "truth.csv", index=False)
        dataset(place / "data" / name, cohort, bold_phantom.CARD)
        found, seconds = run(name, place)
        print(f"phantom seed {seed}: {seconds:.0f} s")
        for contrast in ("task", "face - house"):
            print(f"  {contrast}: " + ", ".join(f"{k} {v:.3f}" for k, v in found["truth"][contrast].items()))
        rest = {k: v for k, v in found["truth"].items() if not isinstance(v, dict)}
        print("  " + ", ".join(f"{k} {v:.3f}" for k, v in rest.items()), flush=True)


def localizer(place, source):
    from medlab.fmri import bold as fmri_bold

    source = Path(source).resolve()
    file = next((source / "func").glob("*_bold.nii.gz"))
    whole, first = fmri_bold.read(file), fmri_bold.read(source / "dicom_first3volumes", fewest=3)
    same = np.array_equal(np.asarray(whole.image.dataobj)[..., :3], np.asarray(first.image.dataobj))
    apart = np.abs(whole.image.affine - first.image.affine).max()
    print(f"NIfTI and DICOM: values equal {same}, affine within {apart:.1e} mm, repetition time {whole.tr_s} and "
          f"{first.tr_s} s")
    folder = place / "data" / "localizer"
    (folder / "func").mkdir(parents=True)
    for one in (source / "func").iterdir():
        shutil.copyfile(one, folder / "func" / one.name)
    row = {"patient_id": "sub-02", "image": f"func/{file.name}", "frame": 0,
           "events": f"func/{file.name.replace('_bold.nii.gz', '_events.tsv')}"}
    dataset(folder, pd.DataFrame([row]), {"title": "One-back localizer", "modality": "bold", "intensity": "arbitrary"})
    found, seconds = run("localizer", place, fmri_contrasts="task, face - 0.5*house - 0.5*scene, scene - face")
    print(f"localizer: {seconds:.0f} s; tSNR {found['tsnr']:.0f}, mean displacement {found['fd_mean_mm']:.2f} mm, Dice "
          f"with the template {found['mni_dice']:.2f}")
    clusters = pd.read_csv(place / "reports" / "localizer" / "clusters.csv")
    for name, one in found["contrasts"].items():
        print(f"  {name}: " + ", ".join(f"{k} {np.round(v, 2) if not isinstance(v, str) else v}" for k, v in one.items()
                                        if v is not None))
        print(clusters[clusters["contrast"] == name].head(5).round(1).to_string())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["phantom", "localizer"])
    parser.add_argument("source", nargs="?", help="folder of the localizer")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    given = parser.parse_args()
    with workplace() as base:
        if given.what == "phantom":
            phantom(base, given.seeds)
        else:
            localizer(base, given.source)


if __name__ == "__main__":
    main()
