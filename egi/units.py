"""Physical quantities in settings: strings with units in, plain numbers in one unit out."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

UNITS = {
    "ps": "ps",
    "angstrom": "angstrom",
    "kelvin": "kelvin",
    "bar": "bar",
    "per_ps": "1/ps",
    "amu": "amu",
    "seconds": "second",
    "kilojoule_per_mole": "kJ/mol",
}


class ConfigError(ValueError):
    """A setting that cannot be used; each line names the key, the value and what is allowed."""


@lru_cache(maxsize=1)
def _registry():
    import pint  # slow to import, needed only where a config is read

    return pint.UnitRegistry(non_int_type=Decimal)


def _quantity(unit: str, kind: type) -> Any:
    """Annotated type: a string with a unit of `unit`'s dimension, kept as a number in `unit`."""

    def parse(value: Any) -> Any:
        """The number that a text such as '4 fs' is in the field's unit; ValueError without unit or not positive."""
        import pint

        if not isinstance(value, str):
            raise ValueError(f"needs a value with a unit, such as '1 {unit}'")
        try:
            magnitude = _registry().Quantity(value).to(unit).magnitude
        except (pint.PintError, AssertionError, SyntaxError, TypeError) as error:
            raise ValueError(f"needs a value with a unit that converts to {unit}") from error
        if not isinstance(magnitude, Decimal | int) or magnitude <= 0:
            raise ValueError(f"needs a positive value with a unit, such as '1 {unit}'")
        return kind(magnitude)

    def dump(value: Any) -> str:
        return f"{value.normalize():f} {unit}" if isinstance(value, Decimal) else f"{value!r} {unit}"

    return Annotated[kind, BeforeValidator(parse), PlainSerializer(dump)]


Picoseconds = _quantity("ps", Decimal)
Angstrom = _quantity(UNITS["angstrom"], float)
Kelvin = _quantity(UNITS["kelvin"], float)
Bar = _quantity(UNITS["bar"], float)
PerPicosecond = _quantity(UNITS["per_ps"], float)
Amu = _quantity(UNITS["amu"], float)
Seconds = _quantity(UNITS["seconds"], float)
KilojoulesPerMole = _quantity(UNITS["kilojoule_per_mole"], float)


def yaml_name(field: str) -> str:
    """A field's name without its unit: `timestep_ps` is written `timestep` in YAML."""
    for suffix in sorted(UNITS, key=len, reverse=True):
        if field.endswith("_" + suffix):
            return field[: -len(suffix) - 1]
    return field


def whole_multiple(total: Decimal, step: Decimal, total_name: str, step_name: str) -> int:
    """Exact number of steps in a time.

    Parameters
    ----------
    total, step : Decimal
        Times in ps.
    total_name, step_name : str
        Names of the two settings, for the error.

    Returns
    -------
    int

    Raises
    ------
    ConfigError
        If `total` is no whole multiple of `step`.
    """
    count, remainder = divmod(total, step)
    if remainder != 0 or count < 1:
        raise ConfigError(
            f"{total_name} = {total} ps is no whole number of {step_name} = {step} ps; "
            f"allowed: a multiple of {step_name}"
        )
    return int(count)
