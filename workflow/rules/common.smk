# Validation, and every function that rules use to find their inputs, settings and resources.
import json
import os
import sys

from snakemake.exceptions import WorkflowError

from egi.config import (
    AUTOREGRESSIVE,
    METHODS,
    PRETRAINED,
    SPLITS,
    ConfigError,
    parse_settings,
)
from egi.data.fetch import is_remote
from egi.workflow import archive_name, archives, lost_trajectories, write_config

SCRIPTS = os.path.join(workflow.basedir, "workflow", "scripts")
CONFIG = "results/config.yaml"
# the scripts run in the environment that runs Snakemake, also when it was not activated
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]

try:
    SETTINGS = parse_settings(dict(config))
    ARCHIVES = archives(SETTINGS)
    for name, dataset in SETTINGS.datasets.items():
        for split, source in dataset.geom.files.items():
            if not is_remote(source) and not os.path.exists(source):
                raise ConfigError(
                    f"datasets.{name}.geom.files.{split} = {source!r}: no such file or folder; allowed: an existing path, a URL or a DOI"
                )
        released = dataset.simulation.released_path
        if released is not None and not os.path.isdir(released):
            raise ConfigError(
                f"datasets.{name}.simulation.released_path = {released!r}: no such folder; allowed: an existing folder"
            )
except ConfigError as error:
    raise WorkflowError(f"Configuration: {error}") from None

DATASETS = list(SETTINGS.datasets)
TASKS = sorted(
    {task for settings in SETTINGS.datasets.values() for task in settings.tasks}
)


wildcard_constraints:
    dataset="|".join(DATASETS),
    task="unconditional|forward|interpolation",
    method="|".join(METHODS),
    shard=r"\d+",
    archive=r"[^/]+",


def of(wildcards):
    """Settings of the wildcard's dataset."""
    return SETTINGS.datasets[wildcards.dataset]


def canonical(values):
    """Settings as text that does not depend on the order in which a file has them."""
    return json.dumps(values, sort_keys=True)


def section(*names):
    """Sections that a rule depends on, as tracked parameters."""

    def values(wildcards):
        plain = of(wildcards).plain()
        return canonical({name: plain[name] for name in names})

    return values


def task_section(part):
    """One part of the wildcard task's settings."""
    return lambda wildcards: canonical(
        getattr(of(wildcards).tasks[wildcards.task], part).plain()
    )


def conformers(split):
    return f"results/{{dataset}}/conformers/{split}.h5"


def trajectories(split):
    return f"results/{{dataset}}/trajectories/{split}.h5"


def geom_files(wildcards):
    """Local paths of the conformer source, downloads below data/."""
    files = of(wildcards).geom.files.values()
    return [
        f"data/{archive_name(source)}" if is_remote(source) else source
        for source in files
    ]


def geom_flags(wildcards, input):
    return [f"{key}={path}" for key, path in zip(of(wildcards).geom.files, input.files)]


def of_source(source):
    """Wildcard constraint: datasets whose trajectories come from there."""
    names = [n for n, s in SETTINGS.datasets.items() if s.simulation.source == source]
    return "|".join(names) or "(?!)"


def refining():
    """Wildcard constraint: datasets whose samples are refined."""
    names = [n for n, s in SETTINGS.datasets.items() if s.refinement.enabled]
    return "|".join(names) or "(?!)"


def manifests(wildcards):
    return [
        f"results/{wildcards.dataset}/md/shard_{i}.csv"
        for i in range(of(wildcards).simulation.shards)
    ]


def structure_model(wildcards):
    """The pretrained model, for the methods that build on it."""
    return (
        [f"results/{wildcards.dataset}/models/structure.ckpt"]
        if wildcards.method in PRETRAINED
        else []
    )


def start_frames(wildcards):
    """What conditions a task's samples, and which molecules they are of."""
    here = f"results/{wildcards.dataset}"
    files = {"trajectories": f"{here}/trajectories/test.h5"}
    if wildcards.task == "interpolation":
        files["pairs"] = f"{here}/interpolation_pairs.h5"
    if wildcards.task == "unconditional" and wildcards.method in AUTOREGRESSIVE:
        files["conformers"] = f"{here}/conformers/test.h5"
    return files


def start_flags(wildcards, input):
    return [
        f"--{name} {path}"
        for name, path in zip(start_frames(wildcards), start_frames(wildcards).values())
    ]


def methods(dataset, task):
    return SETTINGS.datasets[dataset].tasks[task].methods


def samples(wildcards, task=None):
    """Samples of every method of a task."""
    task = task or wildcards.task
    return [
        f"results/{wildcards.dataset}/samples/{task}/{m}.h5"
        for m in methods(wildcards.dataset, task)
    ]


def task_of(wildcards):
    """Task of the wildcard; rules without one are about interpolation."""
    return getattr(wildcards, "task", "interpolation")


def refined_methods(wildcards):
    """Every method of a task and a null model, last; none unless the config asks for refinement."""
    names = [*methods(wildcards.dataset, task_of(wildcards)), "etkdg"]
    return names if of(wildcards).refinement.enabled else []


def refined_samples(wildcards):
    folder = f"results/{wildcards.dataset}/samples/{task_of(wildcards)}"
    return [f"{folder}/{name}_refined.h5" for name in refined_methods(wildcards)]


def shown_refined(wildcards):
    """Refined samples to draw by method: EGInterpolator's, else the last method's, and the null model's."""
    files = dict(zip(refined_methods(wildcards), refined_samples(wildcards)))
    return {
        m: files[m] for m in ("egi" if "egi" in files else list(files)[-2], "etkdg")
    }


def path_samples(wildcards):
    """Interpolations to draw: EGInterpolator's, else the last method's."""
    paths = samples(wildcards, "interpolation")
    return next((path for path in paths if path.endswith("/egi.h5")), paths[-1])


def sample_flags(wildcards, input):
    """Raw samples, then refined ones: the file says which it is."""
    raw = methods(wildcards.dataset, task_of(wildcards))
    pairs = [*zip(raw, input.samples), *zip(refined_methods(wildcards), input.refined)]
    return [f"{method}={path}" for method, path in pairs]


def tables(dataset):
    """Every table of a dataset."""
    tasks = SETTINGS.datasets[dataset].tasks
    names = ["conformer_covmat"]
    names += [f"{task}_{kind}" for task in tasks for kind in ("jsd", "energies")]
    names += [
        f"{t}_{kind}"
        for t in tasks
        if t != "interpolation"
        for kind in ("decorrelation", "occupancy")
    ]
    names += ["interpolation_paths"] if "interpolation" in tasks else []
    if SETTINGS.datasets[dataset].refinement.enabled:
        names += [f"{task}_refinement" for task in tasks]
    return [f"results/{dataset}/{name}.csv" for name in names]


def all_tables():
    return [table for dataset in DATASETS for table in tables(dataset)]


def gpus(wildcards):
    """GPUs of a job; none where the config says cpu."""
    return 0 if SETTINGS.device == "cpu" else 1


def training_gpus(training):
    """GPUs of a training job: as many as it has devices."""
    return lambda wildcards: (
        0 if SETTINGS.device == "cpu" else training(wildcards).devices
    )


def write_resolved_config():
    write_config(CONFIG, SETTINGS)


def print_summary():
    made = [
        path for path in [*all_tables(), "results/report.html"] if os.path.exists(path)
    ]
    print("Finished. Made:\n  " + "\n  ".join(made), file=sys.stderr)


def figures(*names):
    """SVG and PNG of each figure, in this order."""
    return [
        f"results/{{dataset}}/figures/{name}.{kind}"
        for name in names
        for kind in ("svg", "png")
    ]


def all_figures():
    """Every figure of every dataset."""
    made = []
    for dataset, settings in SETTINGS.datasets.items():
        names = [
            "md_quality",
            "training",
            "alphas",
            "conformer_covmat",
            "conformer_distributions",
            "conformer_examples",
        ]
        for task in settings.tasks:
            kinds = (
                ("paths", "keyframes", "statistics")
                if task == "interpolation"
                else ("occupancy", "autocorrelation", "kinetics", "surface")
            )
            kinds += ("refinement",) if settings.refinement.enabled else ()
            names += [
                f"{task}_{kind}"
                for kind in ("distributions", "jsd", "energies", *kinds)
            ]
        made += [path.format(dataset=dataset) for path in figures(*names)]
    return made


def trained(wildcards):
    """Task and method of every trajectory model of the dataset."""
    return [
        (task, method)
        for task in of(wildcards).tasks
        for method in methods(wildcards.dataset, task)
    ]


def curves(wildcards):
    models = f"results/{wildcards.dataset}/models"
    return [
        f"{models}/structure.csv",
        *(f"{models}/{task}/{method}.csv" for task, method in trained(wildcards)),
    ]


def interpolators(wildcards):
    """Checkpoints of the models that have an alpha."""
    models = f"results/{wildcards.dataset}/models"
    return [
        f"{models}/{task}/{method}.ckpt"
        for task, method in trained(wildcards)
        if method == "egi"
    ]
