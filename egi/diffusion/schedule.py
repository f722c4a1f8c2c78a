"""Linear noise schedule and the samplers' schedulers, on diffusers (FACTS 11; DESIGN 4).

Steps are counted as in the paper, 1..1000. diffusers counts the same steps 0..999: its timestep
is ours minus one, and its ``alphas_cumprod[step - 1]`` is our abar at `step`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from egi.config import DiffusionSettings, SamplingSettings

#: (current sample, predicted noise) -> sample at the next lower step
Update = Callable[[Tensor, Tensor], Tensor]


class Schedule:
    """Noise levels of the forward process x_step = sqrt(abar) x_0 + sqrt(1 - abar) noise.

    Parameters
    ----------
    settings : DiffusionSettings

    Attributes
    ----------
    steps : int
        Number of diffusion steps; the levels are 1..steps.
    alpha_bar : [steps + 1] float32 Tensor
        abar of each step, with 1 (no noise) at index 0.
    """

    def __init__(self, settings: DiffusionSettings):
        self.settings = settings
        self.steps = settings.steps
        self._common = {
            "num_train_timesteps": settings.steps,
            "beta_start": settings.beta_start,
            "beta_end": settings.beta_end,
            "beta_schedule": "linear",
            "prediction_type": "epsilon",
        }
        cumulative = DDPMScheduler(**self._common, clip_sample=False).alphas_cumprod
        self.alpha_bar = torch.cat([cumulative.new_ones(1), cumulative])

    def draw_steps(self, graphs: int, generator: torch.Generator) -> Tensor:
        """Steps drawn uniformly from 1..steps, one a molecule (Eq. 1).

        Parameters
        ----------
        graphs : int
        generator : torch.Generator

        Returns
        -------
        [graphs] long Tensor
            On the generator's device.
        """
        return torch.randint(1, self.steps + 1, (graphs,), generator=generator, device=generator.device)

    def scales(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of x_0 and noise in the forward process, sqrt(abar) and sqrt(1 - abar) (paper 3).

        Parameters
        ----------
        step : [graphs] long Tensor
            0..steps.

        Returns
        -------
        tuple of two [graphs, 1, 1] float32 Tensor
        """
        alpha_bar = self.alpha_bar.to(step.device)[step].view(-1, 1, 1)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def reverse(self, sampling: SamplingSettings, generator: torch.Generator) -> Iterator[tuple[int, Update]]:
        """The reverse process from the last step to 0 in `sampling.steps` evaluations of the network.

        DDPM (Ho et al. 2020), stochastic DDIM with eta (Song et al. 2021) or SDE-DPM-Solver++ (Lu et al. 2022), by
        diffusers' schedulers.

        Parameters
        ----------
        sampling : SamplingSettings
            Sampler, its steps and eta.
        generator : torch.Generator
            For the noise that the sampler adds.

        Yields
        ------
        step : int
            Step at which the network is to be evaluated, first `self.steps`.
        update : callable
            Takes the sample at `step` and the predicted noise, returns the sample at the next lower step.

        Raises
        ------
        ValueError
            If more evaluations are asked for than there are steps.
        """
        if sampling.steps > self.steps:
            raise ValueError(f"sampling.steps = {sampling.steps}; allowed: at most diffusion.steps = {self.steps}")
        levels = torch.linspace(self.steps, 0, sampling.steps + 1, dtype=torch.float64).round().long().tolist()
        scheduler, options = self._scheduler(sampling, [level - 1 for level in levels[:-1]])
        for level, below in pairwise(levels):
            if sampling.sampler == "ddim":  # it derives its stride from this count: an exact one for uneven strides
                scheduler.num_inference_steps = Fraction(self.steps, level - below)

            def update(sample: Tensor, noise: Tensor, timestep: int = level - 1) -> Tensor:
                return scheduler.step(noise, timestep, sample, generator=generator, **options).prev_sample

            yield level, update

    def _scheduler(self, sampling: SamplingSettings, timesteps: list[int]) -> tuple[Any, dict[str, float]]:
        """A fresh diffusers scheduler that visits `timesteps`, and options of its step."""
        if sampling.sampler == "ddpm":  # posterior variance, "fixed_small"
            scheduler = DDPMScheduler(**self._common, clip_sample=False)
            scheduler.set_timesteps(timesteps=timesteps)
            return scheduler, {}
        if sampling.sampler == "ddim":
            return DDIMScheduler(**self._common, clip_sample=False, set_alpha_to_one=True), {"eta": sampling.eta}
        scheduler = DPMSolverMultistepScheduler(**self._common, algorithm_type="sde-dpmsolver++")
        scheduler.set_timesteps(timesteps=timesteps)
        return scheduler, {}
