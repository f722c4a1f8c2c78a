"""Shape checks at the models' entry; each error names the argument, what was wanted and what came."""

from __future__ import annotations

import torch
from torch import Tensor


def check_shape(name: str, tensor: Tensor, wanted: tuple[int | str, ...]) -> None:
    """Compare a tensor's shape with the wanted one.

    Parameters
    ----------
    name : str
        Argument's name, for the error.
    tensor : Tensor
    wanted : tuple of int or str
        Sizes; a string stands for any size of that meaning.

    Raises
    ------
    ValueError
        If number of axes or a fixed size differs.
    """
    fits = tensor.ndim == len(wanted) and all(
        isinstance(size, str) or size == got for size, got in zip(wanted, tensor.shape, strict=True)
    )
    if not fits:
        shown = "[" + ", ".join(str(size) for size in wanted) + "]"
        raise ValueError(f"{name} has shape {list(tensor.shape)}; wanted {shown}")


def check_range(subject: str, values: Tensor, count: int) -> None:
    """Compare integers with the range 0..count - 1.

    Parameters
    ----------
    subject : str
        Beginning of the error, such as "edge_index has nodes".
    values : [...] long Tensor
    count : int

    Raises
    ------
    ValueError
        If one lies outside.
    """
    if values.numel() == 0:
        return
    least, most = (int(bound) for bound in values.aminmax())
    if least < 0 or most >= count:
        raise ValueError(f"{subject} {least}..{most}; wanted 0..{count - 1}")


def check_inputs(batch, positions: Tensor, step: Tensor | None, condition: Tensor | None) -> None:
    """Check what a network is called with.

    Parameters
    ----------
    batch : torch_geometric.data.Batch or Data
    positions : [nodes, frames, 3] Tensor
    step : [graphs] integer Tensor or None
    condition : [nodes, frames] bool Tensor or None

    Raises
    ------
    ValueError
        Wrong shape or type, or an atom all of whose frames are given.
    """
    check_shape("positions", positions, (batch.num_nodes, "frames", 3))
    if not positions.is_floating_point() or positions.shape[1] == 0:
        raise ValueError(
            f"positions is {positions.dtype} with {positions.shape[1]} frames; wanted floating point, at least 1 frame"
        )
    if step is not None:
        check_shape("step", step, (graph_count(batch),))
        if step.is_floating_point() or step.dtype == torch.bool:
            raise ValueError(f"step is {step.dtype}; wanted integers from 1")
    if condition is not None:
        check_shape("condition", condition, (batch.num_nodes, positions.shape[1]))
        if condition.dtype != torch.bool:
            raise ValueError(f"condition is {condition.dtype}; wanted torch.bool, True = given")
        if condition.all(dim=1).any():
            raise ValueError("condition gives all frames of an atom; wanted at least one frame to generate")


def graph_count(batch) -> int:
    """Number of molecules.

    Parameters
    ----------
    batch : torch_geometric.data.Batch or Data

    Returns
    -------
    int
        One for a single Data without `batch`.
    """
    return getattr(batch, "num_graphs", 1)


def graph_of_node(batch) -> Tensor:
    """The molecule that each node belongs to.

    Parameters
    ----------
    batch : torch_geometric.data.Batch or Data

    Returns
    -------
    [nodes] long Tensor
        Zeros for a single Data without `batch`.
    """
    assignment = getattr(batch, "batch", None)
    return batch.atomic_numbers.new_zeros(batch.num_nodes) if assignment is None else assignment
