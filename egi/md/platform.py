"""Which OpenMM platform runs the simulation, chosen once and by name: never a silent fallback."""

from __future__ import annotations

import logging

import openmm

from egi.cli import UserError

log = logging.getLogger("egi")

GPU = ("CUDA", "HIP", "OpenCL")
_ADVICE = {"CUDA": " (nvidia-smi names the CUDA version that the driver has; pip install 'openmm[cuda12]' or "
                   "'openmm[cuda13]' to match)",
           "HIP": " (pip install 'openmm[hip6]')"}  # fmt: skip


def available() -> list[str]:
    """Names of the platforms that this OpenMM has loaded."""
    return [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]


def choose(requested: str, solvent: str) -> str:
    """Name of a platform that works.

    Parameters
    ----------
    requested : str
        A platform's name, or ``auto``: for vacuum Reference (fastest for tens of atoms without a
        cutoff), else the first of CUDA, HIP, OpenCL, CPU that works here.
    solvent : str
        ``explicit`` or ``vacuum``.

    Raises
    ------
    UserError
        If the requested platform is not there or does not work.
    """
    if requested == "auto":
        name = "Reference" if solvent == "vacuum" else next(n for n in (*GPU, "CPU") if not _fault(n))
    else:
        fault = _fault(requested)
        if fault:
            raise UserError(f"platform = {requested} cannot be used: {fault}{_ADVICE.get(requested, '')}; "
                            f"available: {', '.join(available())}; auto takes the first that works")  # fmt: skip
        name = requested
    log.info("OpenMM %s on platform %s", openmm.version.version, name)
    return name


def properties(name: str, threads: int) -> dict[str, str]:
    """Platform properties: mixed precision on GPUs, `threads` and, with one thread, repeatable sums on the CPU."""
    if name in GPU:
        return {"Precision": "mixed"}
    repeats = str(repeatable(name, threads)).lower()
    return {"Threads": str(threads), "DeterministicForces": repeats} if name == "CPU" else {}


def repeatable(name: str, threads: int) -> bool:
    """Whether equal seeds give equal trajectories; with several threads the CPU platform's do not (OpenMM 8.6)."""
    return name == "Reference" or (name == "CPU" and threads == 1)


def precision(name: str) -> str:
    """Precision of the platform as we set it up."""
    return "mixed" if name in GPU else "double" if name == "Reference" else "single"


def _fault(name: str) -> str:
    """Why a platform cannot run one particle for one step; empty if it can."""
    if name not in available():
        hints = [text.splitlines()[0] for text in openmm.Platform.getPluginLoadFailures() if name in text]
        return "; ".join(["this OpenMM does not have it", *hints])
    system = openmm.System()
    system.addParticle(1.0)
    try:
        integrator = openmm.VerletIntegrator(0.001)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(name), properties(name, 1))
        context.setPositions([openmm.Vec3(0, 0, 0)])
        integrator.step(1)
    except openmm.OpenMMException as error:
        return str(error).splitlines()[0]
    return ""
