# In: a conformer source (SMILES, SDF, GEOM). Out: results/{dataset}/conformers/*.h5, molecules.csv


rule fetch:
    """Download an archive by URL or DOI, shared by all datasets."""
    output:
        "data/{archive}",
    log:
        "results/logs/fetch_{archive}.log",
    benchmark:
        "results/benchmarks/fetch_{archive}.tsv"
    retries: 2
    resources:
        mem_mb=2000,
        runtime=720,
    params:
        source=lambda w: ARCHIVES[w.archive][0],
        checksum=lambda w: (
            f"--checksum {ARCHIVES[w.archive][1]}" if ARCHIVES[w.archive][1] else ""
        ),
    shell:
        "python {SCRIPTS}/fetch.py --source {params.source:q} --output {output:q} {params.checksum} &> {log:q}"


rule filter_geom:
    """Read conformers, filter them, split them; every rejected one is listed with its reason."""
    input:
        files=geom_files,
    output:
        train=conformers("train"),
        val=conformers("val"),
        test=conformers("test"),
        rejects="results/{dataset}/conformers/rejects.csv",
        counts="results/{dataset}/conformers/counts.csv",
    log:
        "results/{dataset}/logs/filter_geom.log",
    benchmark:
        "results/{dataset}/benchmarks/filter_geom.tsv"
    threads: lambda w: of(w).geom.workers
    resources:
        mem_mb=16000,
        runtime=720,
    params:
        files=geom_flags,
        settings=section("geom"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/filter_geom.py --config {CONFIG} --dataset {wildcards.dataset} --files {params.files:q}"
        " --train {output.train} --val {output.val} --test {output.test}"
        " --rejects {output.rejects} --counts {output.counts} &> {log}"


rule select_molecules:
    """Choose the molecules to simulate and the conformers that start their replicas."""
    input:
        conformers=[conformers(split) for split in SPLITS],
    output:
        "results/{dataset}/molecules.csv",
    log:
        "results/{dataset}/logs/select_molecules.log",
    benchmark:
        "results/{dataset}/benchmarks/select_molecules.tsv"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        settings=section("selection"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/select_molecules.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --conformers {input.conformers} --output {output} &> {log}"
