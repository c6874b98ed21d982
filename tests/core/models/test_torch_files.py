"""Files of torch.save are read without running them, whatever they hold."""

import functools
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from napari_medvlsm.core.models.checkpoints.pickle_reader import Inert, StoredTensor
from napari_medvlsm.core.models.checkpoints.torch_files import TorchFile


class Loss:
    """A loss as it lies in upstream's checkpoints."""

    def __init__(self):
        self.weight = torch.ones(3)

    def forward(self, x):
        return x


class Runs:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.made_of = function, arguments

    def __reduce__(self):
        return self.made_of


class Number:
    """A storage that exists in the pickle only."""

    def __init__(self, *pid):
        self.pid = pid


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        return thing.pid if isinstance(thing, Number) else None


def dumped(content, protocol=2) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol).dump(content)
    return out.getvalue()


def archive(path, data: bytes, entries=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        for name, content in entries:
            file.writestr(f"archive/{name}", content)
    return path


def tensor_of(storage, first=0, shape=(2,), strides=(1,)):
    return Runs(torch._utils._rebuild_tensor_v2, storage, first, shape, strides, False, OrderedDict())


def save(content, path, legacy):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_tensors_of_all_types_and_layouts_come_back(tmp_path, legacy):
    shared = torch.arange(12.0)
    state = OrderedDict(
        part=shared[3:7],
        same=shared[5:9].reshape(2, 2),
        turned=torch.arange(6).reshape(2, 3).t(),
        scalar=torch.tensor(3.5),
        empty=torch.zeros(0, 4),
        parameter=torch.nn.Parameter(torch.ones(2, 2)),
        **{str(t).removeprefix("torch."): torch.ones(3).to(t) for t in (torch.float16, torch.bfloat16, torch.int8)},
        mask=torch.tensor([True, False]),
    )
    state._metadata = {"": {"version": 1}}
    with TorchFile(save({"state_dict": state, "epoch": 3}, tmp_path / "a.pt", legacy)) as file:
        assert file.content["epoch"] == 3 and not file.unknown
        found = {name: file.tensor(value) for name, value in file.content["state_dict"].items()}
    assert list(found) == list(state)
    for name, value in state.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_classes_of_others_become_inert(tmp_path, legacy):
    content = {
        "state_dict": OrderedDict(w=torch.ones(2)),
        "hyper_parameters": {"optimizer": functools.partial(torch.optim.AdamW, lr=1e-3), "loss_fn": Loss()},
    }
    with TorchFile(save(content, tmp_path / "a.ckpt", legacy)) as file:
        assert isinstance(file.content["hyper_parameters"]["optimizer"], Inert)
        assert isinstance(file.content["hyper_parameters"]["loss_fn"], Inert)
        assert {"functools.partial", "torch.optim.adamw.AdamW"} <= set(file.unknown)
        assert torch.equal(file.tensor(file.content["state_dict"]["w"]), torch.ones(2))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_that_a_file_asks_for_is_done(tmp_path, legacy, depth, protocol):
    flag = tmp_path / "executed"
    evil = [
        Runs(os.system, f"touch {flag}"),
        Runs(eval, f"open({str(flag)!r}, 'w')"),
        Runs(exec, f"open({str(flag)!r}, 'w')"),
        Runs(getattr, Runs(__import__, "os"), "system"),
        functools.partial(os.system, f"touch {flag}"),
    ]
    content = {"state_dict": {"w": torch.ones(1), "evil": evil}}
    for _ in range(depth):
        content = {"state_dict": content, "more": [content, (evil, {"x": evil[0]})]}
    path = tmp_path / "a.pt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    with TorchFile(path) as file:
        assert isinstance(file.content, dict) and "builtins.eval" in {
            u.replace("__builtin__", "builtins") for u in file.unknown
        }
    assert not flag.exists()


def test_a_state_handed_to_functions_and_classes_changes_nothing(tmp_path):
    before = torch._utils._rebuild_tensor_v2.__defaults__, dict(vars(Inert)), dict(vars(StoredTensor))
    for name in (
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"cx\ny\n",
        b"ctorch\nFloatStorage\n",
    ):
        # (None, {"__defaults__": (1,), "__call__": 1}) by BUILD, to the thing itself and to what it makes.
        state = dumped((None, {"__defaults__": (1,), "__call__": 1, "__setstate__": 1}))[2:-1]
        for made in (b"", b")R", b")\x81"):
            path = archive(tmp_path / "a.pt", b"\x80\x02" + name + made + state + b"b.")
            try:
                with TorchFile(path) as file:
                    assert not isinstance(file.content, type)
            except ValueError as error:
                assert "damaged" in str(error)
    after = torch._utils._rebuild_tensor_v2.__defaults__, dict(vars(Inert)), dict(vars(StoredTensor))
    assert after == before and not hasattr(OrderedDict, "__defaults__")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02" + b"]" * 2_000_001 + b".",  # too many objects
        b"\x80\x02\x82\x01.",  # a name from the registry
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x00.",  # bytes that are not there
        b"\x80\x02}K\x01K\x02K\x03b.",
        b"\x80\x02.",
        b"",
        b"\x80\x02cos\nsystem\nK\x01R.",  # called with a number
    ],
)
def test_pickles_that_make_no_sense_give_a_sentence(tmp_path, data):
    with pytest.raises(ValueError, match="damaged or no file of torch"):
        TorchFile(archive(tmp_path / "a.pt", data))


@pytest.mark.parametrize(
    "key",
    [
        b")" + b"\x85" * 200_000,  # so many tuples in one another, whose hash overflows the stack
        b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(40)),  # a tuple of itself twice, and so on: 2**40 hashes
    ],
)
@pytest.mark.parametrize(("before", "after"), [(b"}", b"K\x01s."), (b"\x8f(", b"\x90.")], ids=["dict", "set"])
def test_keys_that_cannot_be_hashed_in_time_are_not_hashed(tmp_path, before, key, after):
    with TorchFile(archive(tmp_path / "a.pt", b"\x80\x02" + before + key + after)) as file:
        assert len(file.content) == (0 if before == b"}" else 1)


def test_a_large_number_of_a_remembered_object_takes_no_memory(tmp_path):
    with TorchFile(archive(tmp_path / "a.pt", b"\x80\x02]r\xff\xff\xff\x7f.")) as file:
        assert file.content == []


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 10**15), shape=(10**15,)),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 4)),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), shape=(3,)),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), first=1),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), first=-1),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), strides=(-1,)),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), shape=(2, 2)),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), shape=(2_000_000, 2_000_000), strides=(0, 0)),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), shape=(0, 2**70), strides=(1, 1)),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), shape=(1,), strides=(2**70,)),
        tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 2), shape=("2",)),
        tensor_of(Number("storage", torch.FloatStorage, "../../../etc/passwd", "cpu", 2)),
        tensor_of(Number("storage", torch.FloatStorage, "/etc/passwd", "cpu", 2)),
        tensor_of(Number("something else", 7)),
        tensor_of(None),
    ],
)
def test_tensors_that_claim_what_is_not_there_give_a_sentence(tmp_path, tensor):
    path = archive(tmp_path / "a.pt", dumped({"w": tensor}), [("data/0", struct.pack("<2f", 1, 2))])
    with TorchFile(path) as file, pytest.raises(ValueError, match=r"a\.pt cannot be read: .*copy it again"):
        file.tensor(file.content["w"])


def test_compressed_entries_are_refused(tmp_path):
    tensor = tensor_of(Number("storage", torch.ByteStorage, "0", "cpu", 10**7), shape=(10**7,))
    plain = archive(tmp_path / "a.pt", dumped({"w": tensor}))
    with zipfile.ZipFile(plain, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data/0", bytes(10**7))
        # So that the file itself would have room for the numbers.
        file.writestr("archive/other", bytes(10**7), zipfile.ZIP_STORED)
    with TorchFile(plain) as file, pytest.raises(ValueError, match="announced"):
        file.tensor(file.content["w"])


def test_half_files_and_other_files_give_a_sentence(tmp_path):
    whole = {legacy: save({"w": torch.ones(1000)}, tmp_path / f"{legacy}.pt", legacy).read_bytes() for legacy in (0, 1)}
    cases = {
        "empty": (b"", "it is empty"),
        "text": (b"version https://git-lfs.github.com/spec/v1\n" * 3, "no file of torch.save"),
        "zip": (whole[0][: len(whole[0]) // 2], "no complete archive"),
        "legacy": (whole[1][:-100], "ends too early"),
        "early": (whole[1][:60], "damaged or no file"),
        "pickle": (pickle.dumps({"w": 1}), "not one of torch.save"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / f"{name}.ckpt"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            TorchFile(path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme.txt", "no weights")
    with pytest.raises(ValueError, match=r"not one of torch\.save"):
        TorchFile(tmp_path / "other.zip")
    archive(tmp_path / "script.pt", dumped({}), [("code/model.py", "pass"), ("constants.pkl", dumped(()))])
    with pytest.raises(ValueError, match="TorchScript archive, which is a program"):
        TorchFile(tmp_path / "script.pt")
    archive(tmp_path / "big.pt", dumped({}), [("byteorder", "big")])
    with pytest.raises(ValueError, match="high byte first"):
        TorchFile(tmp_path / "big.pt")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_files_with_wrong_bytes_never_do_more_than_raise(tmp_path, legacy, rng):
    content = {"state_dict": {"w": torch.ones(5), "v": torch.zeros(2, 2)}, "loss": Loss()}
    whole = bytearray(save(content, tmp_path / "whole.pt", legacy).read_bytes())
    path = tmp_path / "a.pt"
    for _ in range(300):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            with TorchFile(path) as file:
                found = file.content.get("state_dict") if isinstance(file.content, dict) else None
                for value in found.values() if isinstance(found, dict) else ():
                    if isinstance(value, StoredTensor):
                        file.tensor(value)
        except ValueError as error:
            assert "cannot be read" in str(error)


# What would take for ever, or all the memory -----------------------------------------------------------------------


def opcodes(*parts) -> bytes:
    return pickle.PROTO + b"\2" + b"".join(parts) + pickle.STOP


def test_more_axes_than_torch_counts_are_refused(tmp_path):
    tensor = tensor_of(Number("storage", torch.FloatStorage, "0", "cpu", 1), shape=(1,) * 65, strides=(1,) * 65)
    path = archive(tmp_path / "a.pt", dumped({"w": tensor}), [("data/0", struct.pack("<f", 1))])
    with TorchFile(path) as file, pytest.raises(ValueError, match="no valid shape of at most 64 axes"):
        file.tensor(file.content["w"])


def test_keys_are_texts_or_integers(tmp_path):
    def item(key):
        return key + pickle.BININT1 + b"\1" + pickle.SETITEM

    nested = pickle.EMPTY_TUPLE + (pickle.DUP + pickle.TUPLE2) * 40  # hashed, this takes 2 ** 40 steps
    keys = (pickle.BINUNICODE + b"\1\0\0\0w", pickle.BININT1 + b"\2", nested, pickle.NONE, pickle.EMPTY_LIST)
    path = archive(tmp_path / "a.pt", opcodes(pickle.EMPTY_DICT, *map(item, keys)))
    with TorchFile(path) as file:
        assert file.content == {"w": 1, 2: 1}


def test_a_value_that_is_used_again_and_again_costs_no_time(tmp_path):
    pair = pickle.MARK + pickle.NONE * 2 + pickle.LIST + pickle.BINPUT + b"\0"
    pairs = pickle.MARK + (pickle.BINGET + b"\0") * 100_000 + pickle.LIST + pickle.BINPUT + b"\1"
    ordered = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.BINPUT + b"\2"
    call = pickle.BINGET + b"\2" + pickle.BINGET + b"\1" + pickle.TUPLE1 + pickle.REDUCE + pickle.POP
    wide = pickle.MARK + pickle.NONE * 100_000 + pickle.TUPLE + pickle.BINPUT + b"\3"
    spread = pickle.BINGET + b"\2" + pickle.BINGET + b"\3" + pickle.REDUCE + pickle.POP
    for data in (pair + pairs + ordered + call * 50_000, ordered + wide + spread * 50_000):
        path = archive(tmp_path / "a.pt", opcodes(data))
        with pytest.raises(ValueError, match="damaged or no file"):
            TorchFile(path)


def test_long_names_are_not_put_together(tmp_path):
    name = pickle.BINUNICODE + struct.pack("<I", 10**6) + b"x" * 10**6 + pickle.BINPUT + b"\0"
    path = archive(
        tmp_path / "a.pt", opcodes(name, (pickle.BINGET + b"\0" + pickle.DUP + pickle.STACK_GLOBAL) * 10_000)
    )
    with pytest.raises(ValueError, match="damaged or no file"):
        TorchFile(path)


def test_all_tensors_together_are_bounded_by_the_file(tmp_path):
    storage = Number("storage", torch.FloatStorage, "0", "cpu", 10_000)
    many = {f"w{i}": tensor_of(storage, shape=(10_000,), strides=(1,)) for i in range(100)}
    path = archive(tmp_path / "a.pt", dumped(many), [("data/0", bytes(40_000))])
    with TorchFile(path) as file, pytest.raises(ValueError, match="share the same numbers"):
        for stored in file.content.values():
            file.tensor(stored)
