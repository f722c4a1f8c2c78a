from __future__ import annotations

import openmm
import pytest

from egi.cli import UserError
from egi.md import platform


def test_missing_platform_is_an_error_that_names_the_others():
    if "CUDA" in platform.available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UserError, match=r"platform = CUDA cannot be used: .*pip install.*available: .*Reference"):
        platform.choose("CUDA", "explicit")


def test_a_platform_that_fails_is_an_error_with_its_reason(monkeypatch):
    def broken(*arguments):
        raise openmm.OpenMMException("Error loading CUDA module: CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222)")

    monkeypatch.setattr(platform, "available", lambda: ["CPU", "CUDA"])
    monkeypatch.setattr(platform.openmm.Platform, "getPlatformByName", lambda name: name)
    monkeypatch.setattr(platform.openmm, "Context", broken)
    with pytest.raises(
        UserError, match=r"platform = CUDA cannot be used: .*UNSUPPORTED_PTX_VERSION.*nvidia-smi.*cuda1"
    ):
        platform.choose("CUDA", "explicit")


def test_auto_takes_reference_in_vacuum_and_the_first_that_works_in_solvent(caplog):
    caplog.set_level("INFO", "egi")
    assert platform.choose("auto", "vacuum") == "Reference"
    expected = next(n for n in ("CUDA", "HIP", "OpenCL", "CPU") if n in platform.available())
    assert platform.choose("auto", "explicit") == expected
    assert f"on platform {expected}" in caplog.text


class _Machine:
    """Stands in for OpenMM on a machine with the given platforms; contexts fail on those that are `broken`."""

    def __init__(self, monkeypatch, there: list[str], broken: tuple[str, ...] = ()):
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._broken, self._real = broken, openmm.Context
        self._reference = openmm.Platform.getPlatformByName("Reference")
        monkeypatch.setattr(platform, "available", lambda: there)
        monkeypatch.setattr(platform.openmm.Platform, "getPlatformByName", lambda name: name)
        monkeypatch.setattr(platform.openmm, "Context", self._context)

    def _context(self, system, integrator, name, properties):
        self.asked.append((name, properties))
        if name in self._broken:
            raise openmm.OpenMMException(f"No compatible {name} device is available")
        return self._real(system, integrator, self._reference)


@pytest.mark.parametrize(
    ("there", "broken", "chosen"),
    [
        (["Reference", "CPU", "OpenCL", "HIP", "CUDA"], (), "CUDA"),
        (["Reference", "CPU", "OpenCL", "CUDA"], ("CUDA",), "OpenCL"),
        (["Reference", "CPU", "OpenCL", "HIP"], (), "HIP"),
        (["Reference", "CPU", "OpenCL"], ("OpenCL",), "CPU"),
        (["Reference", "CPU"], (), "CPU"),
    ],
)
def test_auto_takes_the_first_gpu_that_works_and_names_it(monkeypatch, caplog, there, broken, chosen):
    machine = _Machine(monkeypatch, there, broken)
    caplog.set_level("INFO", "egi")
    assert platform.choose("auto", "explicit") == chosen
    assert f"on platform {chosen}" in caplog.text
    assert all(asked == ({"Precision": "mixed"} if name != "CPU" else platform.properties("CPU", 1))
               for name, asked in machine.asked)  # fmt: skip


def test_a_gpu_that_was_asked_for_is_taken_or_an_error_but_never_replaced(monkeypatch):
    _Machine(monkeypatch, ["Reference", "CPU", "OpenCL", "CUDA"], ("CUDA",))
    assert platform.choose("OpenCL", "vacuum") == "OpenCL"
    with pytest.raises(UserError, match=r"CUDA cannot be used: No compatible CUDA device.*available: .*OpenCL, CUDA"):
        platform.choose("CUDA", "explicit")
    with pytest.raises(UserError, match=r"HIP cannot be used: this OpenMM does not have it"):
        platform.choose("HIP", "explicit")


def test_properties():
    assert platform.properties("CUDA", 4) == {"Precision": "mixed"}
    assert platform.properties("CPU", 3) == {"Threads": "3", "DeterministicForces": "false"}
    assert platform.properties("CPU", 1) == {"Threads": "1", "DeterministicForces": "true"}
    assert platform.properties("Reference", 3) == {}
