import builtins
import functools
import io
import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch_geometric.data import Data

from egi.chem.unpickle import ALLOWED, LazyMol, LazyTensor, UnpickleError, load, stream

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def read(value, protocol=4):
    return load(io.BytesIO(pickle.dumps(value, protocol)))


class Reduced:
    """Pickles to whatever the test wants."""

    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


@pytest.fixture
def alarm(tmp_path):
    """A command that leaves a file if anything runs it."""
    mark = tmp_path / "ran"
    yield f"touch {mark}"
    assert not mark.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values(protocol):
    value = {"a": [1, 2.5, None, True, "é", b"\x00\xff", (1, 2)], "b": OrderedDict(x=1), "c": {1, 2}, "d": 2**100}
    assert read(value, protocol) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i8", "u1", "?", ">f4"])
def test_numpy(protocol, dtype):
    dtype = dtype.replace("?", "b1")
    array = np.arange(12).reshape(3, 4).astype(dtype)
    for wanted in (array, array.T, array[::2], np.zeros((0, 3), dtype)):
        found = read(wanted, protocol).numpy()
        np.testing.assert_array_equal(found, wanted)
        assert found.shape == wanted.shape
    assert read(array[1, 2], protocol) == array[1, 2]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.bool])
def test_torch(protocol, dtype):
    tensor = torch.arange(24).reshape(2, 3, 4).to(dtype)
    for wanted in (tensor, tensor.transpose(0, 2), tensor[1, :, ::2], tensor[0, 0, 0], torch.zeros(0, 3, dtype=dtype)):
        np.testing.assert_array_equal(read(wanted, protocol).numpy(), wanted.numpy())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rdkit(protocol):
    mol = Chem.AddHs(Chem.MolFromSmiles("CC[C@H](C)O"))
    found = read(mol, protocol)
    assert isinstance(found, LazyMol) and Chem.MolToSmiles(found.mol()) == Chem.MolToSmiles(mol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_networkx_is_inert(protocol):
    graph = networkx.path_graph(4)
    list(graph.nodes), graph.adj, graph.edges, graph.degree
    assert read({"nx": graph, "after": 3}, protocol)["after"] == 3
    assert read(networkx.MultiDiGraph([(1, 2)]), protocol) is not None


def test_networkx_need_not_be_installed(monkeypatch):
    raw = pickle.dumps({"nx": networkx.path_graph(4), "after": 3})
    for name in [name for name in sys.modules if name.split(".")[0] == "networkx"]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it now fails
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(raw)
    assert load(io.BytesIO(raw))["after"] == 3


def test_lazy_things_survive_the_way_to_a_worker():
    sent = [read(Chem.MolFromSmiles("CO")), read(torch.arange(3)), read(np.arange(3, dtype=">i4"))]
    mol, tensor, array = pickle.loads(pickle.dumps(sent))
    assert mol.mol().GetNumAtoms() == 2
    np.testing.assert_array_equal(tensor.numpy(), [0, 1, 2])
    np.testing.assert_array_equal(array.numpy(), [0, 1, 2])


# --- hostile files


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec, subprocess.check_output, getattr, open])
def test_functions_are_refused_by_name(alarm, protocol, function):
    argument = f"__import__('os').system({alarm!r})" if function in (eval, exec) else alarm
    name = rf"pickle asks for [\w.]*{function.__name__}, which is not allowed"
    for hostile in (Reduced(function, (argument,)), [{"conformers": [Reduced(function, (argument,))]}]):
        with pytest.raises(UnpickleError, match=name):
            read(hostile, protocol)


def test_dotted_and_nested_names_are_refused():
    for module, name in (("rdkit.Chem.rdchem", "Mol.__init__"), ("egi.chem.unpickle", "load"), ("torch", "load")):
        code = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode()
        with pytest.raises(UnpickleError, match=f"{module}.{name}, which is not allowed"):
            load(io.BytesIO(code + b"\x93."))


def test_reduce_inside_an_allowed_class(alarm):
    nested = Reduced(os.system, (alarm,))
    for kind in (Chem.rdchem.Mol, torch._utils._rebuild_tensor_v2, OrderedDict, np.dtype):
        with pytest.raises(UnpickleError, match=r"posix\.system"):
            read(Reduced(kind, (nested,)))


def test_state_of_an_allowed_class(alarm):
    data = Data.__new__(Data)
    data.__dict__["_store"] = Reduced(os.system, (alarm,))
    with pytest.raises(UnpickleError, match=r"posix\.system"):
        read(data)
    hostile = pickle.PROTO + b"\x04ctorch_geometric.data.data\nData\n)\x81X\x04\x00\x00\x00evilb."
    with pytest.raises(UnpickleError, match="state of a Data object is str; wanted dict"):
        load(io.BytesIO(hostile))


@pytest.mark.parametrize("name", ["torch_geometric.data.data\nData", "collections\nOrderedDict", "_codecs\nencode"])
def test_state_of_a_class_or_function_cannot_be_set(name):
    hostile = b"\x80\x02c" + name.encode() + b"\nN}X\x0c\x00\x00\x00__setstate__c_codecs\nencode\ns\x86b."
    with pytest.raises(UnpickleError, match="pickle sets the state of"):
        load(io.BytesIO(hostile))
    assert "__setstate__" not in vars(OrderedDict)


def test_tensor_bytes_are_not_run_either(alarm):
    for payload in (pickle.dumps(Reduced(os.system, (alarm,))), _torch_saved(Reduced(os.system, (alarm,)))):
        tensor = read(
            Reduced(torch._utils._rebuild_tensor_v2, (_Storage(payload), 0, (1,), (1,), False, OrderedDict()))
        )
        assert isinstance(tensor, LazyTensor)
        with pytest.raises(UnpickleError):
            tensor.numpy()


class _Storage:
    def __init__(self, payload):
        self.payload = payload

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.payload,)


def _torch_saved(value):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_tensor_outside_its_storage_is_refused():
    raw = pickle.dumps(torch.arange(4.0))
    good = load(io.BytesIO(raw))
    for offset, shape, strides in ((0, (5,), (1,)), (2, (3,), (1,)), (0, (2, 2), (1, 4))):
        with pytest.raises(UnpickleError, match="in a storage of 4 numbers"):
            LazyTensor(good.storage, offset, shape, strides).numpy()
    for arguments in ((good.storage, -1, (1,), (1,)), (good.storage, 0, (1,), (-1,)), ("x", 0, (1,), (1,))):
        with pytest.raises(UnpickleError, match="tensor that is not made of"):
            LazyTensor(*arguments)


def test_object_arrays_are_refused():
    with pytest.raises(UnpickleError, match="dtype 'O8'; allowed: plain numbers"):
        read(np.array([{}, []], dtype=object))


def test_extension_registry_and_persistent_ids_are_refused():
    with pytest.raises(UnpickleError, match="extension registry"):
        load(io.BytesIO(b"\x80\x02\x82\x01."))
    with pytest.raises(UnpickleError, match="persistent id"):
        load(io.BytesIO(b"\x80\x02X\x01\x00\x00\x00aQ."))


def test_nothing_allowed_can_call_back():
    reachable = {value for value in ALLOWED.values() if callable(value)}
    assert not reachable & {eval, exec, getattr, setattr, open, __import__, type, map, filter, os.system}
    assert all(
        getattr(value, "__module__", "") in ("egi.chem.unpickle", "builtins", "collections") for value in reachable
    )


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_give_a_value_or_an_unpickle_error(raw):
    for start in (b"", b"\x80\x02", b"\x80\x04]("):
        try:
            load(io.BytesIO(start + raw))
            list(stream(io.BytesIO(start + raw)))
        except UnpickleError:
            continue


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_pickles_give_a_value_or_an_unpickle_error(data):
    raw = bytearray(_sample())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        list(stream(io.BytesIO(bytes(raw[:cut]))))
    except UnpickleError:
        return


@functools.cache  # the same bytes for every example: torch's storage keys differ from call to call
def _sample() -> bytes:
    item = {"pos": torch.zeros(2, 3), "nx": networkx.path_graph(3), "rdmol": Chem.MolFromSmiles("CO"), "x": np.ones(2)}
    return pickle.dumps([item, Data(pos=torch.zeros(1, 3), smiles="C")], 2)


# --- streaming


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_stream_gives_the_items(protocol):
    items = [{"k": k, "text": f"item {k % 3}", "pos": torch.full((2, 3), float(k))} for k in range(2500)]
    found = list(stream(io.BytesIO(pickle.dumps(items, protocol))))
    assert [item["k"] for item in found] == list(range(2500))
    assert [item["text"] for item in found] == [item["text"] for item in items]
    np.testing.assert_array_equal(found[2400]["pos"].numpy(), items[2400]["pos"].numpy())


def test_stream_keeps_what_neighbours_share():
    shared = {"large": np.zeros(50)}
    items = [{"k": k, "shared": shared if 900 < k < 1100 else None} for k in range(3000)]
    found = list(stream(io.BytesIO(pickle.dumps(items))))
    assert found[1050]["shared"] is found[950]["shared"] and found[2999]["shared"] is None


def test_stream_reads_as_it_goes():
    file = io.BytesIO(pickle.dumps([{"k": k, "raw": os.urandom(200)} for k in range(20000)]))
    iterator = stream(file)
    next(iterator)
    assert file.tell() < 1e6


@pytest.mark.parametrize("value", [{"a": 1}, (1, 2), None, 3])
def test_stream_wants_a_list(value):
    with pytest.raises(UnpickleError, match=f"pickle holds {type(value).__name__}; wanted a list"):
        list(stream(io.BytesIO(pickle.dumps(value))))
    assert list(stream(io.BytesIO(pickle.dumps([])))) == []


def test_cut_off_stream_gives_what_is_whole_and_an_error():
    raw = pickle.dumps([{"k": k} for k in range(5000)])
    found = []
    with pytest.raises(UnpickleError, match="pickle is damaged"):
        found.extend(stream(io.BytesIO(raw[: len(raw) // 2])))
