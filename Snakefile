# The workflow of egi: from molecules to trajectories, models, samples, tables and a report.
#   snakemake --cores 2                              everything at demo scale (config/config.yaml)
#   snakemake --cores 2 results/drugs/forward_jsd.csv
#   snakemake --cores 2 --configfile config/benchmark.yaml
#   snakemake --profile slurm all                    the paper's protocol on a cluster
from snakemake.utils import min_version

min_version("9.0")

if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/conformers.smk"
include: "workflow/rules/simulation.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"


rule all:
    """Every table and figure of every dataset, and the report."""
    default_target: True
    input:
        all_tables(),
        all_figures(),
        "results/report.html",
    localrule: True


onstart:
    write_resolved_config()


onsuccess:
    print_summary()
