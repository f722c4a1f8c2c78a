"""Checkpoints: plain content, strict loading, transfer of the structure model."""

from __future__ import annotations

import pytest
import torch

from egi.config import ModelSettings
from egi.models import CLASSES, build, load, load_structure, save


@pytest.mark.parametrize("method", CLASSES)
def test_round_trip_keeps_the_output(method, tmp_path, batch, inputs, settings, stir):
    model = stir(build(method, settings))
    save(tmp_path / "deep" / "model.ckpt", model, extra={"step": 7})
    loaded = load(tmp_path / "deep" / "model.ckpt")
    assert (loaded.method, loaded.settings) == (method, settings)
    assert torch.equal(loaded(batch, *inputs), model(batch, *inputs))
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]


def test_content_is_plain_and_both_weights_are_kept(tmp_path, settings):
    model, raw = build("basices", settings), build("basices", settings)
    save(tmp_path / "a.ckpt", model, raw_state=raw.state_dict(), extra={"note": "x"})
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert (content["format"], content["version"], content["method"]) == ("egi-model", 1, "basices")
    assert content["settings"] == settings.plain() and content["extra"] == {"note": "x"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]
    for kind, wanted in (("ema", model), ("raw", raw)):
        seen = load(tmp_path / "a.ckpt", weights=kind)
        assert all(torch.equal(seen.state_dict()[name], tensor) for name, tensor in wanted.state_dict().items())


@pytest.mark.parametrize("method", ["egi", "egi_unfrozen"])
def test_structure_goes_into_the_interpolator(method, tmp_path, batch, inputs, settings, stir):
    structure, model = stir(build("basices", settings)), build(method, settings)
    save(tmp_path / "structure.ckpt", structure)
    load_structure(model, tmp_path / "structure.ckpt")
    model.alpha_override = 1
    assert torch.equal(model(batch, *inputs), structure(batch, *inputs))
    assert {p.requires_grad for p in model.structure.parameters()} == {method != "egi"}


def test_checkpoint_of_another_method_is_named(tmp_path, settings):
    save(tmp_path / "g.ckpt", build("geotdm", settings))
    with pytest.raises(ValueError, match=r"g.ckpt is a checkpoint of method 'geotdm'; wanted 'egi'"):
        load(tmp_path / "g.ckpt", method="egi")
    with pytest.raises(ValueError, match=r"method 'geotdm'; wanted 'basices'"):
        load_structure(build("egi", settings), tmp_path / "g.ckpt")


def test_structure_of_another_width_is_named(tmp_path, settings):
    save(tmp_path / "s.ckpt", build("basices", ModelSettings(hidden=24, layers=2)))
    with pytest.raises(ValueError, match=r"another architecture: hidden = 24 \(wanted 16\)"):
        load_structure(build("egi", settings), tmp_path / "s.ckpt")


def test_only_interpolators_take_a_structure_model(tmp_path, settings):
    save(tmp_path / "s.ckpt", build("basices", settings))
    with pytest.raises(ValueError, match="model is 'geotdm'; wanted an EGInterpolator"):
        load_structure(build("geotdm", settings), tmp_path / "s.ckpt")


@pytest.mark.parametrize("change", ["missing", "stray", "shape"])
def test_weights_that_do_not_fit_are_refused(tmp_path, settings, change):
    model = build("basices", settings)
    save(tmp_path / "s.ckpt", model)
    content = torch.load(tmp_path / "s.ckpt", weights_only=True)
    name = "layers.1.egcl.message.weight"
    if change == "missing":
        del content["ema"][name]
    elif change == "stray":
        content["ema"]["head.weight"] = torch.zeros(1)
    else:
        content["ema"][name] = torch.zeros(3, 3)
    torch.save(content, tmp_path / "s.ckpt")
    pattern = "head.weight" if change == "stray" else r"layers\.1\.egcl\.message\.weight"
    with pytest.raises(ValueError, match=pattern):
        load(tmp_path / "s.ckpt")
    with pytest.raises(ValueError, match=pattern):
        load_structure(build("egi", settings), tmp_path / "s.ckpt")


def test_other_files_are_refused(tmp_path, settings):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save({"format": "egi-model", "version": 9}, tmp_path / "new.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match=r"text.ckpt cannot be read as a checkpoint"):
        load(tmp_path / "text.ckpt")
    with pytest.raises(ValueError, match=r"version 9; wanted 'egi-model', version 1"):
        load(tmp_path / "new.ckpt")
    with pytest.raises(ValueError, match=r"format None"):
        load(tmp_path / "list.ckpt")
    save(tmp_path / "a.ckpt", build("basices", settings))
    with pytest.raises(ValueError, match=r"weights = 'best'; wanted one of"):
        load(tmp_path / "a.ckpt", weights="best")
