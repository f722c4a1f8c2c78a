# In: tables, evaluation/*.h5, samples, training curves. Out: results/{dataset}/figures/, results/report.html


rule plot_quality:
    """Temperature, density, drift, bonds and frames of every simulated replica, beside the verdict's limits."""
    input:
        "results/{dataset}/md_quality.csv",
    output:
        figures("md_quality"),
    log:
        "results/{dataset}/logs/plot_quality.log",
    benchmark:
        "results/{dataset}/benchmarks/plot_quality.tsv"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=section("simulation"),
    shell:
        "python {SCRIPTS}/plot_quality.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --table {input} --quality {output[0]} &> {log}"


rule plot_training:
    """Training curves of every model; interpolation weights alpha of every block."""
    input:
        curves=curves,
        checkpoints=interpolators,
    output:
        figures("training", "alphas"),
    log:
        "results/{dataset}/logs/plot_training.log",
    benchmark:
        "results/{dataset}/benchmarks/plot_training.tsv"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        checkpoints=lambda w, input: (
            f"--checkpoints {input.checkpoints}" if input.checkpoints else ""
        ),
    shell:
        "python {SCRIPTS}/plot_training.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --curves {input.curves} {params.checkpoints} --training {output[0]} --alphas {output[2]} &> {log}"


rule plot_conformers:
    """Coverage, distributions and examples of generated conformers (paper figures 3 and 7)."""
    input:
        table="results/{dataset}/conformer_covmat_per_molecule.csv",
        reference=conformers("test"),
        samples="results/{dataset}/samples/conformers/basices.h5",
    output:
        figures("conformer_covmat", "conformer_distributions", "conformer_examples"),
    log:
        "results/{dataset}/logs/plot_conformers.log",
    benchmark:
        "results/{dataset}/benchmarks/plot_conformers.tsv"
    resources:
        mem_mb=8000,
        runtime=60,
    shell:
        "python {SCRIPTS}/plot_conformers.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --table {input.table} --reference {input.reference} --samples {input.samples}"
        " --covmat {output[0]} --distributions {output[2]} --examples {output[4]} &> {log}"


rule plot_distributions:
    """Distributions of bonds, angles and torsions, and their divergence by method (4A-B, 6, 8, 10)."""
    input:
        evaluation="results/{dataset}/evaluation/{task}.h5",
        table="results/{dataset}/{task}_jsd_per_molecule.csv",
        decorrelation=lambda w: (
            []
            if w.task == "interpolation"
            else f"results/{w.dataset}/{w.task}_decorrelation_per_molecule.csv"
        ),
    output:
        figures("{task}_distributions", "{task}_jsd"),
    log:
        "results/{dataset}/logs/plot_distributions_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/plot_distributions_{task}.tsv"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        decorrelation=lambda w, input: (
            f"--decorrelation {input.decorrelation}" if input.decorrelation else ""
        ),
    shell:
        "python {SCRIPTS}/plot_distributions.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --evaluation {input.evaluation} --table {input.table} {params.decorrelation}"
        " --distributions {output[0]} --jsd {output[2]} &> {log}"


rule plot_dynamics:
    """Metastate occupancies, torsion autocorrelations, kinetics, free energy surfaces (4C-G, 5A, 9)."""
    input:
        "results/{dataset}/evaluation/{task}.h5",
    output:
        figures(
            "{task}_occupancy",
            "{task}_autocorrelation",
            "{task}_kinetics",
            "{task}_surface",
        ),
    log:
        "results/{dataset}/logs/plot_dynamics_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/plot_dynamics_{task}.tsv"
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "python {SCRIPTS}/plot_dynamics.py --config {CONFIG} --dataset {wildcards.dataset} --evaluation {input}"
        " --occupancy {output[0]} --autocorrelation {output[2]} --kinetics {output[4]} --surface {output[6]} &> {log}"


rule plot_energies:
    """Energies of frames beside the reference's."""
    input:
        "results/{dataset}/evaluation/{task}_energies.h5",
    output:
        figures("{task}_energies"),
    log:
        "results/{dataset}/logs/plot_energies_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/plot_energies_{task}.tsv"
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "python {SCRIPTS}/plot_energies.py --config {CONFIG} --dataset {wildcards.dataset} --evaluation {input}"
        " --output {output[0]} &> {log}"


rule plot_paths:
    """Generated transition paths on the reference surface, and their statistics (5B-D, 6, 11, 12)."""
    input:
        evaluation="results/{dataset}/evaluation/interpolation.h5",
        table="results/{dataset}/interpolation_paths.csv",
        samples=path_samples,
    output:
        figures(
            "interpolation_paths",
            "interpolation_keyframes",
            "interpolation_statistics",
        ),
    log:
        "results/{dataset}/logs/plot_paths.log",
    benchmark:
        "results/{dataset}/benchmarks/plot_paths.tsv"
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "python {SCRIPTS}/plot_paths.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --evaluation {input.evaluation} --table {input.table} --samples {input.samples}"
        " --surface {output[0]} --keyframes {output[2]} --statistics {output[4]} &> {log}"


rule plot_refinement:
    """Raw and refined frames of one molecule side by side, a method and the null model (not in the paper)."""
    input:
        evaluation="results/{dataset}/evaluation/{task}.h5",
        refined=lambda w: shown_refined(w).values(),
    output:
        figures("{task}_refinement"),
    log:
        "results/{dataset}/logs/plot_refinement_{task}.log",
    benchmark:
        "results/{dataset}/benchmarks/plot_refinement_{task}.tsv"
    wildcard_constraints:
        dataset=refining(),
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        refined=lambda w: [f"{m}={path}" for m, path in shown_refined(w).items()],
    shell:
        "python {SCRIPTS}/plot_refinement.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --evaluation {input.evaluation} --refined {params.refined} --figure {output[0]} &> {log}"


rule report:
    """One self-contained page of what ran, every table and figure, and trajectories to look at."""
    input:
        all_tables(),
        all_figures(),
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        datasets=DATASETS,
    shell:
        "python {SCRIPTS}/report.py --config {CONFIG} --results results --datasets {params.datasets}"
        " --inputs {input} --output {output} &> {log}"
