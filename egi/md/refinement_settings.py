"""Settings of refinement (not in the paper)."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, model_validator

from egi.section import Section
from egi.units import KilojoulesPerMole, PerPicosecond, Picoseconds, whole_multiple


class RefinementSettings(Section):
    """Restrained minimisation and Langevin dynamics of each generated frame; force field and temperature are the MD's.

    The restraint of a torsion theta at its generated value theta0 is ``k (1 - cos(theta - theta0))``.
    """

    enabled: bool = False
    #: reflect frames whose stereocentres are all inverted
    reflect: bool = True
    #: k while minimising and in the first part of the dynamics, and in its second part
    stiff_kilojoule_per_mole: KilojoulesPerMole = 300.0
    soft_kilojoule_per_mole: KilojoulesPerMole = 5.0
    stiff_time_ps: Picoseconds = Decimal("0.2")
    soft_time_ps: Picoseconds = Decimal("0.4")
    timestep_ps: Picoseconds = Decimal("0.004")
    #: high enough for bonds and angles to reach the temperature in 0.6 ps, low enough for slow torsions to settle
    friction_per_ps: PerPicosecond = 10.0
    minimise_iterations: int = Field(50, gt=0)

    @model_validator(mode="after")
    def _check(self) -> RefinementSettings:
        whole_multiple(self.stiff_time_ps, self.timestep_ps, "stiff_time", "timestep")
        whole_multiple(self.soft_time_ps, self.timestep_ps, "soft_time", "timestep")
        return self
