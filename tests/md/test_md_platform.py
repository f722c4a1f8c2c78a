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

    monkeypatch.setattr(platform.openmm, "Context", broken)
    with pytest.raises(UserError, match=r"platform = CPU cannot be used: .*UNSUPPORTED_PTX_VERSION"):
        platform.choose("CPU", "explicit")


def test_auto_takes_reference_in_vacuum_and_the_first_that_works_in_solvent(caplog):
    caplog.set_level("INFO", "egi")
    assert platform.choose("auto", "vacuum") == "Reference"
    expected = next(n for n in ("CUDA", "HIP", "OpenCL", "CPU") if n in platform.available())
    assert platform.choose("auto", "explicit") == expected
    assert f"on platform {expected}" in caplog.text


def test_properties():
    assert platform.properties("CUDA", 4) == {"Precision": "mixed"}
    assert platform.properties("CPU", 3) == {"Threads": "3", "DeterministicForces": "false"}
    assert platform.properties("CPU", 1) == {"Threads": "1", "DeterministicForces": "true"}
    assert platform.properties("Reference", 3) == {}
