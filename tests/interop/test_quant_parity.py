"""Quantised formats byte for byte against the Python libraries: block types and GGUF files against `gguf`, NF4 against bitsandbytes."""

import importlib.util
import os
import subprocess
from pathlib import Path

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # bitsandbytes would compile for a minute what runs in a moment

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf import quants
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch

import program

PROBE = Path(os.environ.get("GRAFT_BIN", program.REPOSITORY / "build" / "release" / "bin")).parent / "tests" / "format_probe"
pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE.name} is not built")

WRITABLE = [Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1]
READ_ONLY = [Type.Q4_K, Type.Q5_K, Type.Q6_K]
HALVES = {Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2],
          Type.Q6_K: [208]}


def probe(task: str, tensors: dict, folder: Path) -> Path:
    question, answer = folder / f"{task}-in.safetensors", folder / f"{task}-out.safetensors"
    save_file(tensors, question)
    done = subprocess.run([str(PROBE), task, str(question), str(answer)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return answer


def same_bits(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.tobytes() == np.ascontiguousarray(theirs).tobytes()


def random_blocks(kind: Type, blocks: int, generator: np.random.Generator) -> np.ndarray:
    """Any bytes at all, but with finite scales over the whole range of halves: every code and every scale byte occurs."""
    raw = generator.integers(0, 256, (blocks, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for offset in HALVES[kind]:
        bits = generator.integers(0, 1 << 16, blocks, dtype=np.uint16)
        bits[(bits & 0x7C00) == 0x7C00] &= 0x83FF  # infinities and NaN become subnormal
        raw[:, offset:offset + 2] = bits[:, None].view(np.uint8).reshape(blocks, 2)
    return raw


@pytest.mark.parametrize("kind", WRITABLE + READ_ONLY, ids=lambda kind: kind.name)
def test_expanded_blocks_have_the_bits_of_gguf(kind, tmp_path):
    raw = random_blocks(kind, 2000, np.random.default_rng(int(kind)))
    answer = load_torch(probe("blocks", {f"{kind.name}.x": raw}, tmp_path))
    expected = quants.dequantize(raw, kind)
    assert same_bits(answer["x.f32"].numpy(), expected)
    narrow = torch.from_numpy(expected.ravel()).to(torch.bfloat16)
    assert torch.equal(answer["x.bf16"].view(torch.int16), narrow.view(torch.int16))


def test_every_half_becomes_the_same_float(tmp_path):
    bits = np.arange(1 << 16, dtype=np.uint16)
    floats = load_torch(probe("blocks", {"F16.x": bits.view(np.uint8).reshape(-1, 2)}, tmp_path))["x.f32"].numpy()
    number = (bits & 0x7C00) != 0x7C00  # numpy leaves the quiet bit of NaN to the processor
    assert same_bits(floats[number], bits.view(np.float16).astype(np.float32)[number])
    assert np.array_equal(np.isnan(floats), np.isnan(bits.view(np.float16)))


def test_q8_0_has_the_bytes_of_gguf(tmp_path):
    generator = np.random.default_rng(8)
    data = {
        "gauss": generator.standard_normal((40, 64)).astype(np.float32),
        "outliers": (generator.standard_normal((40, 64)) * 10.0 ** generator.integers(-6, 5, (40, 64))).astype(np.float32),
        "zeros": np.zeros((1, 32), np.float32),
        "ties": np.tile(np.concatenate([[127.0], np.arange(31) + 0.5]).astype(np.float32), (2, 1)),
    }
    answer = load_file(probe("q8_0", data, tmp_path))
    for name, values in data.items():
        assert same_bits(answer[name], quants.quantize(values, Type.Q8_0)), name


def nf4_cases() -> dict:
    generator = np.random.default_rng(4)
    gauss = lambda *shape: generator.standard_normal(shape).astype(np.float32)
    cases = {f"64.gauss{size}": gauss(size) * np.float32(0.02) for size in (1, 2, 31, 63, 64, 65, 127, 128, 4097, 64 * 256, 64 * 257 + 13, 64 * 4100)}
    cases["64.matrix"] = gauss(576, 1536) * np.float32(0.05)
    outliers = gauss(64 * 300)
    outliers[::97] *= np.float32(50.0)
    cases["64.outliers"] = outliers
    cases["64.uniform"] = generator.uniform(-1, 1, 64 * 300).astype(np.float32)
    cases["64.zeros"] = np.zeros(64 * 3 + 5, np.float32)
    cases["64.zero_blocks"] = np.concatenate([np.zeros(64, np.float32), gauss(64 * 5)])
    cases["64.tiny"] = (gauss(64 * 40) * np.float32(1e-38)).astype(np.float32)
    cases["64.constant"] = np.full(64 * 300, 0.25, np.float32)
    middles = torch.tensor(np.convolve(bnb_table(), [0.5, 0.5], "valid"), dtype=torch.float32).numpy()
    cases["64.borders"] = np.concatenate([[np.float32(1.0)], middles, np.nextafter(middles, np.float32(2)), np.nextafter(middles, np.float32(-2)),
                                          np.zeros(18, np.float32)]).astype(np.float32)
    for block in (32, 128, 256, 4096):
        cases[f"{block}.block{block}"] = gauss(9001)
    return cases


def bnb_table() -> np.ndarray:
    import bitsandbytes.functional as functional

    return functional.get_4bit_type("nf4", device="cpu").numpy()


@pytest.fixture(scope="module")
def one_thread():
    """torch adds on one thread: the mean of the scales, which bitsandbytes subtracts, depends on the order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_nf4_has_the_bytes_of_bitsandbytes(one_thread, tmp_path):
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    import bitsandbytes.functional as functional

    cases = nf4_cases()
    answer = load_torch(probe("nf4", cases, tmp_path))
    for key, values in cases.items():
        block, name = key.split(".")
        weights = torch.from_numpy(values)
        codes, nested = functional.quantize_4bit(weights, blocksize=int(block), compress_statistics=True, quant_type="nf4")
        _, plain = functional.quantize_4bit(weights, blocksize=int(block), compress_statistics=False, quant_type="nf4")
        expected = {"codes": codes, "absmax": plain.absmax, "absmax_codes": nested.absmax, "nested_code": nested.state2.code,
                    "nested_absmax": nested.state2.absmax, "nested_offset": nested.offset,
                    "f32": functional.dequantize_4bit(codes, nested)}
        for part, theirs in expected.items():
            assert same_bits(answer[f"{name}.{part}"].numpy(), theirs.numpy()), f"{name}: {part}"
        # Not against its own bf16 kernel: on AVX-512 that one rounds before it scales, and flushes denormals.
        narrow = functional.dequantize_4bit(codes, nested).to(torch.bfloat16)
        assert torch.equal(answer[f"{name}.bf16"].view(torch.int16), narrow.reshape(-1).view(torch.int16)), f"{name}: bf16"


def test_a_gguf_file_survives_reading_and_writing(tmp_path):
    generator = np.random.default_rng(1)
    original, copy = tmp_path / "original.gguf", tmp_path / "copy.gguf"
    writer = gguf.GGUFWriter(original, "llama")
    writer.add_name("Größe 水")
    writer.add_float32("a.float", 0.1)
    writer.add_bool("a.flag", True)
    writer.add_int32("a.int", -7)
    writer.add_array("a.texts", ["", "a", "Ġb", "\n"])
    writer.add_array("a.ints", [1, -2, 3])
    writer.add_array("a.floats", [0.5, -1.5])
    writer.add_array("a.flags", [True, False])
    tensors = {kind: random_blocks(kind, 12, generator).reshape(3, -1) for kind in WRITABLE + READ_ONLY}
    for kind, raw in tensors.items():
        writer.add_tensor(f"blk.{kind.name}", raw, raw_dtype=kind)
    plain = {"f32": generator.standard_normal((2, 3, 5)).astype(np.float32), "f16": generator.standard_normal(7).astype(np.float16)}
    for name, values in plain.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    done = subprocess.run([str(PROBE), "gguf-copy", str(original), str(copy)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, after = gguf.GGUFReader(original), gguf.GGUFReader(copy)
    keys = [key for key in before.fields if not key.startswith("GGUF.")]
    assert sorted(keys) == sorted(key for key in after.fields if not key.startswith("GGUF."))
    for key in keys:
        assert after.fields[key].contents() == before.fields[key].contents(), key
    theirs = {tensor.name: tensor for tensor in before.tensors}
    assert sorted(theirs) == sorted(tensor.name for tensor in after.tensors)
    for tensor in after.tensors:
        same = theirs[tensor.name]
        assert tensor.tensor_type == same.tensor_type and list(tensor.shape) == list(same.shape)
        assert tensor.data.tobytes() == same.data.tobytes(), tensor.name
