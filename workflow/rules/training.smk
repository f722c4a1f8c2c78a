# In: conformers, trajectories. Out: results/{dataset}/models/


rule pretrain:
    """Train the structure model (BasicES) on conformers."""
    input:
        train=conformers("train"),
        val=conformers("val"),
    output:
        model="results/{dataset}/models/structure.ckpt",
        curve="results/{dataset}/models/structure.csv",
    log:
        "results/{dataset}/logs/pretrain.log",
    benchmark:
        "results/{dataset}/benchmarks/pretrain.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=32000,
        runtime=10080,
        gpu=training_gpus(lambda w: of(w).pretraining),
    params:
        settings=section("model", "diffusion", "pretraining"),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/pretrain.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --train {input.train} --val {input.val} --output {output.model} --curve {output.curve} &> {log}"


rule finetune:
    """Train a trajectory model for one task."""
    input:
        train=trajectories("train"),
        val=trajectories("val"),
        structure=structure_model,
    output:
        model="results/{dataset}/models/{task}/{method}.ckpt",
        curve="results/{dataset}/models/{task}/{method}.csv",
    log:
        "results/{dataset}/logs/finetune_{task}_{method}.log",
    benchmark:
        "results/{dataset}/benchmarks/finetune_{task}_{method}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=32000,
        runtime=10080,
        gpu=training_gpus(lambda w: of(w).tasks[w.task].training),
    params:
        settings=section("model", "diffusion"),
        training=task_section("training"),
        frames=lambda w: of(w).tasks[w.task].frames,
        structure=lambda w, input: (
            f"--structure {input.structure}" if input.structure else ""
        ),
        seed=SETTINGS.seed,
    shell:
        "python {SCRIPTS}/finetune.py --config {CONFIG} --dataset {wildcards.dataset}"
        " --task {wildcards.task} --method {wildcards.method} --train {input.train} --val {input.val}"
        " {params.structure} --output {output.model} --curve {output.curve} &> {log}"
