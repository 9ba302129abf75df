"""Codes of few bits as dense bytes, and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from entrokit.compression import packing
from entrokit.compression.packing import pack_codes, packed_size, unpack_codes

BITS = range(1, 9)


def by_hand(row, bits):
    """Bytes of a row of codes, through one long binary number."""
    number = sum(code << i * bits for i, code in enumerate(row))
    return list(number.to_bytes(-(-len(row) * bits // 8), "little"))


@st.composite
def rows_of_codes(draw):
    bits = draw(st.integers(1, 8))
    rows, size = draw(st.integers(0, 4)), draw(st.integers(0, 35))
    codes = draw(st.lists(st.integers(0, 2**bits - 1), min_size=rows * size, max_size=rows * size))
    return torch.tensor(codes, dtype=torch.int64).reshape(rows, size), bits


@given(rows_of_codes())
def test_unpacked_is_what_was_packed(drawn):
    codes, bits = drawn
    packed = pack_codes(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (len(codes), -(-codes.shape[1] * bits // 8))
    assert packed.tolist() == [by_hand(row, bits) for row in codes.tolist()]
    again = unpack_codes(packed, bits, codes.shape[1])
    assert again.dtype == torch.uint8
    assert torch.equal(again.long(), codes)


def test_the_layout_of_three_bits():
    # 101 011 110 | lowest first: bits 1,0,1 1,1,0 0,1 | 1.
    assert pack_codes(tensor([5, 3, 6]), 3).tolist() == [0b10_011_101, 0b1]
    assert unpack_codes(tensor([0b10_011_101, 0b1], dtype=torch.uint8), 3, 3).tolist() == [5, 3, 6]


@pytest.mark.parametrize("bits", BITS)
def test_eight_codes_take_as_many_bytes_as_a_code_has_bits(bits):
    full = torch.full((3, 16), 2**bits - 1)
    assert pack_codes(full, bits).tolist() == [[255] * 2 * bits] * 3
    assert packed_size(8, bits) == bits
    assert packed_size(0, bits) == 0
    assert packed_size(9, bits) == bits + 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16])
@pytest.mark.parametrize("shape", [(11,), (2, 3, 5), (0, 4), (3, 0), (1, 1, 1, 7)])
def test_shapes_and_integer_types(shape, dtype):
    codes = torch.randint(8, shape)
    packed = pack_codes(codes.to(dtype), 3)
    assert packed.shape == (*shape[:-1], packed_size(shape[-1], 3))
    assert torch.equal(unpack_codes(packed, 3, shape[-1]).long(), codes)


def test_memory_that_is_not_contiguous():
    codes = torch.randint(16, (9, 6)).T
    packed = pack_codes(codes, 4)
    assert torch.equal(packed, pack_codes(codes.contiguous(), 4))
    spread = torch.zeros(6, 10, dtype=torch.uint8)
    spread[:, ::2] = packed
    assert torch.equal(unpack_codes(spread[:, ::2], 4, 9), codes)


@pytest.mark.parametrize("slab", [1, 20, 64])
def test_many_rows_are_packed_a_slab_at_a_time(slab, monkeypatch):
    codes = torch.randint(32, (7, 20))
    whole = pack_codes(codes, 5)
    monkeypatch.setattr(packing, "_SLAB", slab)
    assert torch.equal(pack_codes(codes, 5), whole)
    assert torch.equal(unpack_codes(whole, 5, 20), codes)


@pytest.mark.parametrize("bits", [0, 9, -1, 2.0, True, None])
def test_widths_that_are_none(bits):
    for call in (
        lambda: pack_codes(tensor([1]), bits),
        lambda: unpack_codes(tensor([1], dtype=torch.uint8), bits, 1),
        lambda: packed_size(1, bits),
    ):
        with pytest.raises(ValueError, match="an integer from 1 to 8, got"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pack_codes(tensor([[0, 1], [4, 9]]), 2), ValueError, r"0 to 3; 2 of 4 are not, .* \[1, 0\]: 4"),
        (lambda: pack_codes(tensor([0, -1]), 8), ValueError, r"0 to 255; 1 of 2 are not, the first at \[1\]: -1"),
        (lambda: pack_codes(tensor(1), 2), ValueError, "a tensor without any"),
        (lambda: pack_codes(tensor([1.0]), 2), TypeError, "integers, got torch.float32"),
        (lambda: pack_codes(tensor([True]), 1), TypeError, "integers, got torch.bool"),
        (lambda: pack_codes([1, 2], 2), TypeError, "integers, got list"),
        (lambda: unpack_codes(tensor([1]), 2, 4), TypeError, "uint8, got torch.int64"),
        (lambda: unpack_codes(torch.zeros(2, 2, dtype=torch.uint8), 3, 6), ValueError, r"3 bytes, .* \[2, 2\] have 2"),
        (lambda: unpack_codes(tensor([255], dtype=torch.uint8), 3, 2), ValueError, "behind code 2 of a row are not 0"),
        (lambda: unpack_codes(tensor([], dtype=torch.uint8), 3, -1), ValueError, "at least 0; got -1"),
        (lambda: packed_size(1.5, 3), ValueError, "got 1.5"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
