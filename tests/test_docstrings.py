"""The public parts of the networks and the diffusion say what they take and give."""

import importlib
import inspect
import pkgutil

import pytest
import torch

import egi.diffusion
import egi.models
import egi.nn

MODULES = [
    importlib.import_module(f"{package.__name__}.{found.name}")
    for package in (egi.nn, egi.models, egi.diffusion)
    for found in pkgutil.iter_modules(package.__path__)
    if found.name != "__main__"
]
#: a docstring may hand its reader on to the one that has the sections, or give shapes in its one line
ELSEWHERE = ("See `", "arguments and results as those of")


def documented(module):
    """Names and objects of a module's public functions, classes and methods; of autograd functions the class alone."""
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__ or name.startswith("_"):
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            yield name, thing
            if not issubclass(thing, torch.autograd.Function):
                methods = ((key, method) for key, method in vars(thing).items() if inspect.isfunction(method))
                yield from ((f"{name}.{key}", method) for key, method in methods if not key.startswith("_"))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_parameters_and_results_are_described(module):
    for name, thing in documented(module):
        text = inspect.getdoc(thing)
        assert text, name
        signature = inspect.signature(thing.__init__ if inspect.isclass(thing) else thing)
        inherited = inspect.isclass(thing) and "__init__" not in vars(thing)
        if inherited or any(words in text for words in ELSEWHERE) or "Tensor to [" in text:
            continue
        if set(signature.parameters) - {"self"}:
            assert "Parameters\n-----" in text or "Attributes\n-----" in text, f"{name} has arguments"
        if inspect.isfunction(thing) and signature.return_annotation not in ("None", inspect.Signature.empty):
            assert "Returns\n-----" in text or "Yields\n-----" in text, f"{name} returns"
