# In: models, test trajectories. Out: results/{dataset}/samples/


rule select_pairs:
    """Start and end frames of the interpolation task, chosen once from the reference's metastates."""
    input:
        trajectories("test"),
    output:
        pairs="results/{dataset}/interpolation_pairs.h5",
        table="results/{dataset}/interpolation_pairs.csv",
    log:
        "results/{dataset}/logs/select_pairs.log",
    benchmark:
        "results/{dataset}/benchmarks/select_pairs.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        settings=section("evaluation"),
        sampling=lambda w: of(w).tasks["interpolation"].sampling.plain(),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/select_pairs.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --trajectories {input} --output {output.pairs} --table {output.table} &> {log}"


rule sample_conformers:
    """Conformers from the structure model, as many as the reference has, times a factor."""
    input:
        model="results/{dataset}/models/structure.ckpt",
        conformers=conformers("test"),
    output:
        "results/{dataset}/samples/conformers/basices.h5",
    log:
        "results/{dataset}/logs/sample_conformers.log",
    benchmark:
        "results/{dataset}/benchmarks/sample_conformers.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=16000,
        runtime=2880,
        gpu=gpus,
    params:
        settings=section("conformer_sampling", "diffusion"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/sample.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --task conformers --method basices --model {input.model} --conformers {input.conformers}"
        " --output {output} &> {log}"


rule sample:
    """Trajectories of the test molecules from one model."""
    input:
        unpack(start_frames),
        model="results/{dataset}/models/{task}/{method}.ckpt",
    output:
        "results/{dataset}/samples/{task}/{method}.h5",
    log:
        "results/{dataset}/logs/sample_{task}_{method}.log",
    benchmark:
        "results/{dataset}/benchmarks/sample_{task}_{method}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=16000,
        runtime=2880,
        gpu=gpus,
    params:
        start=start_flags,
        settings=section("diffusion"),
        sampling=task_section("sampling"),
        frames=lambda w: of(w).tasks[w.task].frames,
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/sample.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --task {wildcards.task} --method {wildcards.method} --model {input.model} {params.start}"
        " --output {output} --export-dir results/{wildcards.dataset}/samples/{wildcards.task}/{wildcards.method}"
        " &> {log}"


rule refine:
    """All-atom frames that obey the force field, from samples; only where the config enables it."""
    input:
        samples="results/{dataset}/samples/{task}/{method}.h5",
        manifests=manifests,
    output:
        samples="results/{dataset}/samples/{task}/{method}_refined.h5",
        table="results/{dataset}/samples/{task}/{method}_refined.csv",
    log:
        "results/{dataset}/logs/refine_{task}_{method}.log",
    benchmark:
        "results/{dataset}/benchmarks/refine_{task}_{method}.tsv"
    wildcard_constraints:
        dataset=refining(),
    threads: SETTINGS.threads
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        settings=section("refinement"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/refine.py --config {CONFIG} --dataset {wildcards.dataset} --threads {threads}"
        " --samples {input.samples} --md results/{wildcards.dataset}/md"
        " --output {output.samples} --table {output.table} &> {log}"


rule refine_etkdg:
    """The null model that refinement is judged by: RDKit conformers, as many as a method's frames, refined."""
    input:
        samples=lambda w: samples(w)[0],
        manifests=manifests,
    output:
        samples="results/{dataset}/samples/{task}/etkdg_refined.h5",
        table="results/{dataset}/samples/{task}/etkdg_refined.csv",
    log:
        "results/{dataset}/logs/refine_{task}_etkdg.log",
    benchmark:
        "results/{dataset}/benchmarks/refine_{task}_etkdg.tsv"
    wildcard_constraints:
        dataset=refining(),
    threads: SETTINGS.threads
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        settings=section("refinement"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/refine.py --etkdg --config {CONFIG} --dataset {wildcards.dataset} --threads {threads}"
        " --samples {input.samples} --md results/{wildcards.dataset}/md"
        " --output {output.samples} --table {output.table} &> {log}"
