"""What the demo runs are worth: ways to train on the embedded cohort, chosen by validation, then the test part once.

    python tests/benchmarks/showcase.py class                      # every way, cohort seeds 1 and 2, validation only
    python tests/benchmarks/showcase.py lesions --ways "the demo"  # one way for the lesions
    python tests/benchmarks/showcase.py class --open               # the demo itself, cohort seed 0, test part

Wanted of the class, 600 patients, on two quiet cores, cohort included, in 5 minutes: test AUC at least 0.90, its lower
limit above 0.80, ahead of the clinical table (interval of the paired difference without 0), fused C above clinical C.
Of the lesions: sensitivity at least 0.60 at 1 false positive per scan (aim 0.75).
"""

import argparse
import json
from pathlib import Path

import yaml
from chain import medlab, workplace

REPORTS = Path(__file__).parents[2] / "reports"
FLIPS = {"detection_augmentation": "none, flip=luz, contrast=0.1, brightness=0.02"}  # a nodule has no left and right
WAYS = {
    "class": {
        "the demo": {}, "default network": {"image_size": 96, "epochs": 20, "capacity": 1.0, "learning_rate": 0.002,
                                            "dropout": 0.2},
        "64 pixels, 24 epochs": {"image_size": 64, "epochs": 24}, "half the width, 24 epochs": {"capacity": 0.5,
                                                                                                "epochs": 24},
        "window full": {"window": "full"}, "window lung": {"window": "lung"}, "whole chest": {"region": "none"},
        "batch 8": {"batch_size": 8, "epochs": 14}, "network resnet18": {"network": "resnet18", "capacity": 0.5}},
    "lesions": {
        "the demo": {}, "no flips": {"detection_augmentation": "auto"}, "flips": FLIPS,
        "whole chest": {"region": "none", "image_size": 128}, "8 epochs": {"detection_epochs": 8},
        "24 channels": {"detection_width": 24}, "rate 0.005": {"detection_learning_rate": 0.005}},
}
RUNS = {"class": ("demo", {"steps": "1-4", "open_test": False, "sanity_gate": False}),
        "lesions": ("demo-lesions", {"steps": "1, 2, 7", "detection_open_test": False})}


def outcome(folder, task):
    """Numbers of a run: of validation while its test part is closed."""
    if task == "lesions":
        found = json.loads((folder / "detection.json").read_text())
        return {"part": found["part"], "lesions": found["n_lesions"],
                "sensitivity at 1 FP": _text(found, "sensitivity_at_1fp")}
    found, curves = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "training"))
    said = {"validation AUC": _text(found["validation"], "auc"), "verdict": curves["verdicts"]["label"]["verdict"]}
    if found["n_images"]:
        table = found["difference_auc"]["clinical table"]
        said |= {"test AUC": _text(found, "auc"), "minus clinical table": _text(table, "value", "low", "high"),
                 "ceiling": _text(found["references"]["simulated probability"], "auc")}
        models = json.loads((folder / "survival.json").read_text())["models"]
        said |= {f"C {name}": _text(models[name], "c_harrell") for name in ("clinical", "fused", "truth")}
    return said


def _text(row, name, low=None, high=None):
    return f"{row[name]:.3f} ({row[low or name + '_low']:.3f} to {row[high or name + '_high']:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=WAYS)
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="of the cohorts and trainings")
    parser.add_argument("--ways", nargs="+", help="names; default: all")
    parser.add_argument("--open", action="store_true", help="only the demo, on cohort seed 0, with the test part")
    parser.add_argument("--keep", type=Path, help="folder for datasets and runs")
    known = parser.parse_args()
    run, closed = RUNS[known.task]
    demo, rows = yaml.safe_load((REPORTS / run / "params.yaml").read_text(encoding="utf-8")), []
    with workplace(known.keep) as base:
        for seed in [0] if known.open else known.seeds:
            name = f"thorax{seed}"
            made = medlab("import", "synthetic:thorax", name, "--patients", known.patients, "--seed", seed) if not (
                base / "data" / name).exists() else (0, 0)
            for k, (way, changes) in enumerate({"the demo": {}}.items() if known.open else WAYS[known.task].items()):
                if known.ways and way not in known.ways:
                    continue
                folder = base / "reports" / f"{known.task}{k}-{name}"
                folder.mkdir(parents=True, exist_ok=True)
                own = demo | ({} if known.open else closed) | changes | {"dataset": name, "seed": seed}
                (folder / "params.yaml").write_text(yaml.safe_dump(own))
                wall, cpu = medlab("run", folder.name)
                rows.append({"way": way, "cohort seed": seed, **outcome(folder, known.task),
                             "s": round(wall), "CPU s": round(cpu), "cohort s": round(made[0])})
                print(rows[-1], flush=True)
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    print(*(f"| {' | '.join(map(str, row.values()))} |" for row in rows), sep="\n")


if __name__ == "__main__":
    main()
