# In: samples, test trajectories. Out: the tables of results/{dataset}/, evaluation/*.h5 for the figures


rule evaluate_conformers:
    """Coverage and matching of generated conformers."""
    input:
        conformers=conformers("test"),
        samples="results/{dataset}/samples/conformers/basices.h5",
    output:
        table="results/{dataset}/conformer_covmat.csv",
        per_molecule="results/{dataset}/conformer_covmat_per_molecule.csv",
    log:
        "results/{dataset}/logs/evaluate_conformers.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate_conformers.tsv"
    threads: lambda w: of(w).evaluation.workers
    resources:
        mem_mb=16000,
        runtime=720,
    params:
        settings=section("evaluation"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/evaluate_conformers.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --conformers {input.conformers} --samples basices={input.samples}"
        " --table {output.table} --per-molecule {output.per_molecule} &> {log}"


rule evaluate_jsd:
    """Divergence of bond, angle, torsion and TICA distributions from the reference's."""
    input:
        trajectories=trajectories("test"),
        samples=samples,
        refined=refined_samples,
    output:
        table="results/{dataset}/{task}_jsd.csv",
        per_molecule="results/{dataset}/{task}_jsd_per_molecule.csv",
        data="results/{dataset}/evaluation/{task}.h5",
    log:
        "results/{dataset}/logs/evaluate_jsd_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate_jsd_{task}.tsv"
    threads: lambda w: of(w).evaluation.workers
    resources:
        mem_mb=16000,
        runtime=720,
    params:
        samples=sample_flags,
        settings=section("evaluation"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/evaluate_jsd.py --config {CONFIG} --dataset {wildcards.dataset} --task {wildcards.task}"
        " --trajectories {input.trajectories} --samples {params.samples}"
        " --table {output.table} --per-molecule {output.per_molecule} --figures-data {output.data} &> {log}"


rule evaluate_energies:
    """Force-field energies of frames, hydrogens relaxed, against the reference's."""
    input:
        trajectories=trajectories("test"),
        samples=samples,
        refined=refined_samples,
        manifests=manifests,
    output:
        table="results/{dataset}/{task}_energies.csv",
        per_molecule="results/{dataset}/{task}_energies_per_molecule.csv",
        data="results/{dataset}/evaluation/{task}_energies.h5",
    log:
        "results/{dataset}/logs/evaluate_energies_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate_energies_{task}.tsv"
    threads: lambda w: of(w).evaluation.workers
    resources:
        mem_mb=16000,
        runtime=720,
    params:
        samples=sample_flags,
        settings=section("evaluation"),
        force_field=lambda w: of(w).simulation.force_field,
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/evaluate_energies.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --task {wildcards.task} --trajectories {input.trajectories} --samples {params.samples}"
        " --md results/{wildcards.dataset}/md --table {output.table} --per-molecule {output.per_molecule}"
        " --figures-data {output.data} &> {log}"


rule evaluate_decorrelation:
    """Decorrelation times of torsions against the reference's."""
    input:
        trajectories=trajectories("test"),
        samples=samples,
        refined=refined_samples,
    output:
        table="results/{dataset}/{task}_decorrelation.csv",
        per_molecule="results/{dataset}/{task}_decorrelation_per_molecule.csv",
    log:
        "results/{dataset}/logs/evaluate_decorrelation_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate_decorrelation_{task}.tsv"
    threads: lambda w: of(w).evaluation.workers
    resources:
        mem_mb=16000,
        runtime=720,
    params:
        samples=sample_flags,
        settings=section("evaluation"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/evaluate_decorrelation.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --task {wildcards.task} --trajectories {input.trajectories} --samples {params.samples}"
        " --table {output.table} --per-molecule {output.per_molecule} &> {log}"


rule evaluate_occupancy:
    """Occupancies of the reference's metastates."""
    input:
        trajectories=trajectories("test"),
        samples=samples,
        refined=refined_samples,
    output:
        table="results/{dataset}/{task}_occupancy.csv",
        per_molecule="results/{dataset}/{task}_occupancy_per_molecule.csv",
    log:
        "results/{dataset}/logs/evaluate_occupancy_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate_occupancy_{task}.tsv"
    threads: lambda w: of(w).evaluation.workers
    resources:
        mem_mb=16000,
        runtime=720,
    params:
        samples=sample_flags,
        settings=section("evaluation"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/evaluate_occupancy.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --task {wildcards.task} --trajectories {input.trajectories} --samples {params.samples}"
        " --table {output.table} --per-molecule {output.per_molecule} &> {log}"


rule evaluate_paths:
    """Transition paths of the interpolation task, and of the oracle cut to several lengths."""
    input:
        trajectories=trajectories("test"),
        pairs="results/{dataset}/interpolation_pairs.h5",
        samples=lambda w: samples(w, "interpolation"),
        refined=lambda w: refined_samples(w)[:-1],  # no null model: its frames join nothing
    output:
        table="results/{dataset}/interpolation_paths.csv",
        per_molecule="results/{dataset}/interpolation_paths_per_molecule.csv",
    log:
        "results/{dataset}/logs/evaluate_paths.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate_paths.tsv"
    threads: lambda w: of(w).evaluation.workers
    resources:
        mem_mb=16000,
        runtime=720,
    params:
        samples=sample_flags,
        settings=section("evaluation"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/evaluate_paths.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --trajectories {input.trajectories} --pairs {input.pairs} --samples {params.samples}"
        " --table {output.table} --per-molecule {output.per_molecule} &> {log}"


rule evaluate_refinement:
    """What refinement did to each method's samples; only where the config enables it."""
    input:
        refined=lambda w: [path.replace(".h5", ".csv") for path in refined_samples(w)],
        distances="results/{dataset}/{task}_jsd_per_molecule.csv",
    output:
        table="results/{dataset}/{task}_refinement.csv",
        per_molecule="results/{dataset}/{task}_refinement_per_molecule.csv",
    log:
        "results/{dataset}/logs/evaluate_refinement_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate_refinement_{task}.tsv"
    wildcard_constraints:
        dataset=refining(),
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=section("evaluation"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/evaluate_refinement.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --refined {input.refined} --distances {input.distances}"
        " --table {output.table} --per-molecule {output.per_molecule} &> {log}"
