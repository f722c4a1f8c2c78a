# In: molecules.csv, conformers. Out: results/{dataset}/md/shard_*.csv and folders, trajectories/*.h5


rule simulate:
    """Molecular dynamics of one shard of the molecules; resumes at the replica and segment where it stopped."""
    input:
        molecules="results/{dataset}/molecules.csv",
        conformers=[conformers(split) for split in SPLITS],
    output:
        "results/{dataset}/md/shard_{shard}.csv",
    log:
        "results/{dataset}/logs/simulate_{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/simulate_{shard}.tsv"
    wildcard_constraints:
        dataset=of_source("openmm"),
    threads: lambda w: max(SETTINGS.threads, of(w).simulation.concurrent_replicas)
    resources:
        mem_mb=8000,
        runtime=2880,
        gpu=gpus,
    params:
        settings=section("simulation", "selection"),
        shards=lambda w: of(w).simulation.shards,
        lost=lambda w: lost_trajectories(f"results/{w.dataset}/md/shard_{w.shard}.csv"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/simulate.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --molecules {input.molecules} --conformers {input.conformers}"
        " --shard {wildcards.shard} --shards {params.shards} --output {output} &> {log}"


rule import_released:
    """Trajectories released by others, one shard of the molecules; each folder's fate is in released_shard_*.csv."""
    input:
        molecules="results/{dataset}/molecules.csv",
        conformers=[conformers(split) for split in SPLITS],
    output:
        "results/{dataset}/md/shard_{shard}.csv",
    log:
        "results/{dataset}/logs/import_released_{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/import_released_{shard}.tsv"
    wildcard_constraints:
        dataset=of_source("released"),
    resources:
        mem_mb=8000,
        runtime=720,
    params:
        settings=section("simulation"),
        shards=lambda w: of(w).simulation.shards,
    shell:
        "python {SCRIPTS}/import_released.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --molecules {input.molecules} --conformers {input.conformers}"
        " --shard {wildcards.shard} --shards {params.shards} --output {output} &> {log}"


rule assess_md:
    """Physical quality of every replica, with a verdict; subsampling takes only those that pass."""
    input:
        manifests=manifests,
        molecules="results/{dataset}/molecules.csv",
        conformers=[conformers(split) for split in SPLITS],
    output:
        "results/{dataset}/md_quality.csv",
    log:
        "results/{dataset}/logs/assess_md.log",
    benchmark:
        "results/{dataset}/benchmarks/assess_md.tsv"
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        settings=section("simulation"),
    shell:
        "python {SCRIPTS}/assess_md.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --manifests {input.manifests} --molecules {input.molecules} --conformers {input.conformers}"
        " --output {output} &> {log}"


rule subsample:
    """Model frames: exact stride, modelled atoms, rigid motion removed."""
    input:
        manifests=manifests,
        quality="results/{dataset}/md_quality.csv",
        molecules="results/{dataset}/molecules.csv",
        conformers=[conformers(split) for split in SPLITS],
    output:
        train=trajectories("train"),
        val=trajectories("val"),
        test=trajectories("test"),
        rejects="results/{dataset}/trajectories/rejects.csv",
    log:
        "results/{dataset}/logs/subsample.log",
    benchmark:
        "results/{dataset}/benchmarks/subsample.tsv"
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        settings=section("subsample", "simulation"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/subsample.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --manifests {input.manifests} --quality {input.quality}"
        " --molecules {input.molecules} --conformers {input.conformers}"
        " --train {output.train} --val {output.val} --test {output.test} --rejects {output.rejects} &> {log}"
