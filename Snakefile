# Many runs (folds, seeds, datasets) over cores or a cluster:
#   snakemake -c2 reports/brain-s0/index.html reports/brain-s1/index.html
#   snakemake --executor slurm --jobs 20 ...
# What is stale inside a run is decided by `medlab run`, not here.
import os

REPORTS = os.environ.get("MEDLAB_REPORTS", "reports")


wildcard_constraints:
    run=r"[A-Za-z0-9_-]+",


rule all:
    input:
        expand(REPORTS + "/{run}/index.html", run=glob_wildcards(REPORTS + "/{run}/params.yaml").run),


rule run:
    input:
        REPORTS + "/{run}/params.yaml",
    output:
        REPORTS + "/{run}/index.html",
    shell:
        "medlab run {wildcards.run}"
