"""Reading foreign pickles without running anything from them.

Names in a pickle resolve to the stand-ins below or to an error: no class or function of another package is ever called
with what the file says, and nothing of the file is executed. Molecules and tensors stay bytes until they are asked for.
The machine is Python's own pickle virtual machine with three changes: names come from `ALLOWED`, state may only be set
on instances of stand-ins, and the extension registry is closed. Very large numbers in a hostile file can still exhaust
memory.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

import numpy as np
from rdkit import Chem


class UnpickleError(ValueError):
    """A pickle that is damaged, or asks for what is not allowed; the message names it."""


class _Frozen(type):
    """Classes whose attributes cannot be set."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise UnpickleError(f"pickle sets {name} of {cls.__name__}")


class StandIn(metaclass=_Frozen):
    """Base of what takes the place of foreign classes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Ignore the state."""


class Inert(StandIn):
    """Any class or function of networkx: takes everything, does nothing."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


class Record(StandIn):
    """PyTorch Geometric's Data and its storages: the attributes as a dict."""

    __slots__ = ("state",)

    def __new__(cls) -> Record:
        made = object.__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise UnpickleError(f"state of a Data object is {type(state).__name__}; wanted dict")
        self.state = state

    def fields(self) -> dict[str, Any]:
        """Attributes of a Data object of PyG 1.x (directly in its dict) or 2.x (in its storage's mapping)."""
        store = self.state.get("_store")
        return store.state.get("_mapping", {}) if isinstance(store, Record) else self.state


class LazyMol(StandIn):
    """An RDKit molecule, decoded by `mol`."""

    __slots__ = ("binary",)

    def __init__(self, binary: bytes = b""):
        if not isinstance(binary, bytes):
            raise UnpickleError(f"an RDKit molecule is made of {type(binary).__name__}; wanted bytes")
        self.binary = binary

    def __reduce__(self) -> tuple:
        return LazyMol, (self.binary,)

    def mol(self) -> Chem.Mol:
        """The molecule."""
        try:
            return Chem.Mol(self.binary)
        except Exception as error:  # RDKit raises RuntimeError and others for a damaged binary
            raise UnpickleError(f"RDKit molecule is damaged: {error}") from error


class Dtype(StandIn):
    """A plain numeric dtype of NumPy."""

    __slots__ = ("code",)

    def __init__(self, code: str = "", align: Any = False, copy: Any = True):
        if not isinstance(code, str) or not re.fullmatch(r"[fiub][1248]|S\d{1,4}|U\d{1,4}", code):
            raise UnpickleError(f"array of dtype {code!r}; allowed: plain numbers and strings")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise UnpickleError(f"byte order {order!r} of a dtype; allowed: < > | =")
        self.code = ("<" if order in "|=" else order) + self.code.lstrip("<>")

    def __reduce__(self) -> tuple:
        return _dtype, (self.code,)

    def numpy(self) -> np.dtype:
        """The dtype itself."""
        return np.dtype(self.code)


def _dtype(code: str) -> Dtype:
    made = Dtype(code.lstrip("<>"))
    made.code = code
    return made


class Array(StandIn):
    """A NumPy array, decoded by `numpy`."""

    __slots__ = ("order", "raw", "shape", "type")

    def __init__(self, *ignored: Any):
        self.shape, self.type, self.order, self.raw = (0,), None, "C", b""

    def __setstate__(self, state: Any) -> None:
        match state:
            case (int(), tuple() as shape, Dtype() as kind, fortran, bytes() as raw):
                self.shape, self.type, self.order, self.raw = shape, kind, "F" if fortran else "C", raw
            case _:
                raise UnpickleError("array whose content is not plain numbers")

    def __reduce__(self) -> tuple:
        return _array, (self.raw, self.type, self.shape, self.order)

    def numpy(self) -> np.ndarray:
        """The array itself."""
        kind = np.dtype("f8") if self.type is None else self.type.numpy()
        return np.frombuffer(self.raw, kind).reshape(self.shape, order=self.order)


def _array(raw: Any, kind: Any, shape: Any, order: Any = "C") -> Array:
    made = Array()
    made.__setstate__((1, shape, kind, order == "F", bytes(raw)))
    return made


def _scalar(kind: Any, raw: Any) -> Any:
    if not isinstance(kind, Dtype) or not isinstance(raw, bytes):
        raise UnpickleError("scalar that is no plain number")
    return np.frombuffer(raw, kind.numpy())[0].item()


_STORAGES = {
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "LongStorage": "i8", "IntStorage": "i4",
    "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


class LazyTensor(StandIn):
    """A torch tensor, decoded by `numpy`."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage: Any = None, offset: Any = 0, shape: Any = (), strides: Any = (), *ignored: Any):
        sizes = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
        if not isinstance(storage, bytes) or not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise UnpickleError("tensor that is not made of a storage, an offset, a shape and strides")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def __reduce__(self) -> tuple:
        return LazyTensor, (self.storage, self.offset, self.shape, self.strides)

    def numpy(self) -> np.ndarray:
        """The tensor as an array."""
        flat = _read_storage(self.storage)
        if 0 in self.shape:
            return np.empty(self.shape, flat.dtype)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if last >= len(flat):
            raise UnpickleError(f"tensor of shape {self.shape} in a storage of {len(flat)} numbers")
        steps = [step * flat.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps).copy()


def _storage_bytes(raw: Any) -> bytes:
    if not isinstance(raw, bytes):
        raise UnpickleError("tensor storage that is no bytes")
    return raw


def _read_storage(raw: bytes) -> np.ndarray:
    """Numbers of a storage in torch's legacy format: five pickles, the count, the raw numbers."""
    file = io.BytesIO(raw)
    values = [load(file) for _ in range(5)]
    if not isinstance(values[3], tuple) or len(values[3]) < 5 or values[3][1] not in _STORAGES.values():
        raise UnpickleError("tensor storage is not in torch's legacy format")
    kind, count = np.dtype(values[3][1]), int.from_bytes(file.read(8), "little")
    if count * kind.itemsize > len(raw) - file.tell():
        raise UnpickleError(f"tensor storage is cut off: {count} numbers announced")
    return np.frombuffer(raw, kind, count, file.tell())


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """How protocols below 3 write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnpickleError(f"_codecs.encode to {encoding!r}; allowed: latin1")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """How protocols below 3 write no bytes at all."""
    return b""


def _reconstructor(kind: Any, base: Any, state: Any) -> StandIn:
    """How protocols below 2 make objects."""
    if not (isinstance(kind, type) and issubclass(kind, StandIn)) or state is not None:
        raise UnpickleError("copyreg._reconstructor of something that is no stand-in")
    return kind()


_DATA = ("data.data.Data", "data.Data", "data.storage.GlobalStorage", "data.storage.BaseStorage")
ALLOWED: dict[tuple[str, str], Any] = {
    ("rdkit.Chem.rdchem", "Mol"): LazyMol,
    ("rdkit.Chem", "Mol"): LazyMol,
    ("torch._utils", "_rebuild_tensor_v2"): LazyTensor,
    ("torch._utils", "_rebuild_tensor"): LazyTensor,
    ("torch.storage", "_load_from_bytes"): _storage_bytes,
    ("torch_geometric.data.data", "DataEdgeAttr"): Inert,
    ("torch_geometric.data.data", "DataTensorAttr"): Inert,
    ("numpy", "dtype"): Dtype,
    ("numpy", "ndarray"): Array,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _empty_bytes,
    ("__builtin__", "bytes"): _empty_bytes,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("copy_reg", "_reconstructor"): _reconstructor,
    ("collections", "OrderedDict"): OrderedDict,
    **{tuple(f"torch_geometric.{name}".rsplit(".", 1)): Record for name in _DATA},
    **{("torch", name): code for name, code in _STORAGES.items()},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array for core in ("core", "_core")},
    **{
        (module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (dict, list, set, frozenset)
    },
    ("builtins", "object"): object,
    ("__builtin__", "object"): object,
}


class _Machine(pickle._Unpickler):
    """Python's pickle machine with closed doors.

    Items of a list at the top level can be taken out while it is read; what was remembered of them (the memo) is then
    forgotten, except for small things that later items refer to.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.file = file
        self.remembered = 0
        self.recent: set[int] = set()

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if module == "networkx" or module.startswith("networkx."):
            return Inert
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise UnpickleError(f"pickle asks for {module}.{name}, which is not allowed") from None

    def persistent_load(self, pid: Any) -> Any:
        """References to tensor storages, as plain tuples."""
        if isinstance(pid, tuple) and pid[:1] == ("storage",):
            return pid
        raise UnpickleError(f"pickle has a persistent id {str(pid)[:50]!r}, which is not allowed")

    def load_build(self) -> None:
        """Set state, on instances of stand-ins only."""
        if not isinstance(self.stack[-2], StandIn | OrderedDict):
            raise UnpickleError(f"pickle sets the state of {type(self.stack[-2]).__name__}, which is not allowed")
        state = self.stack.pop()
        if isinstance(self.stack[-1], StandIn):
            self.stack[-1].__setstate__(state)

    def load_ext(self) -> None:
        raise UnpickleError("pickle uses the extension registry, which is not allowed")

    def load_frame(self) -> None:
        """Skip the announcement of a frame when reading without frames."""
        if self.read == self._file_read:
            self.read(8)
        else:
            super().load_frame()

    def load_memoize(self) -> None:
        self.memo[self.remembered] = self.stack[-1]
        self.remembered += 1

    def items(self) -> Iterator[Any]:
        """Items of the list that the pickle holds, in batches as they were written.

        Frames only announce how much to read ahead; a buffered file needs no such advice, and is faster without.
        """
        self.read, self.readline, self.readinto = self._file_read, self._file_readline, self.file.readinto
        self.metastack, self.stack, self.proto = [], [], 0
        self.append = self.stack.append
        dispatch, read = self.dispatch, self.read
        try:
            while True:
                dispatch[read(1)[0]](self)
                if not self.metastack and len(self.stack) == 1 and type(self.stack[0]) is list and self.stack[0]:
                    value = self.stack[0]
                    yield from value
                    value.clear()
                    self._forget()
        except pickle._Stop as stop:
            if not isinstance(stop.value, list):
                raise UnpickleError(f"pickle holds {type(stop.value).__name__}; wanted a list") from None

    def _forget(self) -> None:
        """Drop large remembered things that are older than the last batch."""
        small = (str, int, float, type, Dtype, tuple)
        callables = type(_encode)
        self.memo = {
            key: value for key, value in self.memo.items()
            if key not in self.recent or isinstance(value, (*small, callables))
        }  # fmt: skip
        self.recent = set(self.memo)

    dispatch: ClassVar[dict] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.MEMOIZE[0]: load_memoize,
        pickle.FRAME[0]: load_frame,
        **dict.fromkeys((pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]), load_ext),
    }


def load(file: BinaryIO) -> Any:
    """The object of one pickle.

    Raises
    ------
    UnpickleError
        If the pickle is damaged or asks for what is not allowed.
    """
    try:
        return _Machine(file).load()
    except UnpickleError:
        raise
    except Exception as error:  # a damaged pickle can raise anything from inside the machine
        raise UnpickleError(f"pickle is damaged: {type(error).__name__} {error}") from error


def stream(file: BinaryIO) -> Iterator[Any]:
    """Items of a pickled list, one after the other, in memory that does not grow with the file.

    Raises
    ------
    UnpickleError
        As `load`; or if an item refers to a part of an item far before it.
    """
    try:
        yield from _Machine(file).items()
    except UnpickleError:
        raise
    except Exception as error:  # a damaged pickle can raise anything from inside the machine
        raise UnpickleError(f"pickle is damaged: {type(error).__name__} {error}") from error
