"""The empirical tangent kernel ``J Jᵀ``, with as much of J in memory as a budget allows.

Neural Tangent Kernel (arXiv 1806.07572), as rich or lazy learning is measured with it (arXiv 2310.08513). J has a row
an output of a sample and a column a parameter. Rows of some samples are held and met by those of all later ones, which
are made in chunks; what was not held is made again. A row that is too long is cut, and the kernels of its parts add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entrokit.evaluation import evaluating

from ._jacobian import Block, SampleJacobian

MEMORY = 512 * 2**20
# Of more rows at once products are no faster, and rows that leave the cache are made more slowly.
_ROWS = 64


def tangent_kernel(
    model: nn.Module,
    inputs: Tensor,
    params: Sequence[str] | None = None,
    chunk: int | None = None,
    *,
    memory: int = MEMORY,
    vectorize: bool = True,
) -> Tensor:
    """K = J Jᵀ of a model: ``[n o, n o]``, sample by sample, for n samples of o outputs each.

    Every row is made once where J fits in ``memory``, and about (T + 1) / 2 times where J is T times as large. The
    model is in eval mode meanwhile.

    Args:
        model: gives a tensor ``[n, ...]`` for inputs ``[n, ...]``, each sample by itself.
        inputs: ``[n, ...]``.
        params: names of the parameters to differentiate; by default all that require a gradient.
        chunk: samples differentiated at a time; by default what ``memory`` allows, up to 64 rows.
        memory: bytes for rows of J; the least that it takes is a few gradients of the largest parameter. The kernel
            itself and the activations of a chunk, o times each, come on top.
        vectorize: by `torch.func`; otherwise one backward pass an output, for models that `torch.func.vmap` cannot run.

    Returns:
        In float64 where a parameter is, in float32 otherwise; of half precision too, whose rows are added in float32.

    Raises:
        ValueError: no samples, an unknown parameter or none, an output that is no tensor ``[n, ...]``, or a chunk or
            memory below 1.
    """
    if not inputs.dim() or not len(inputs):
        raise ValueError(f"tangent_kernel: inputs [n, ...] of at least one sample, got shape {list(inputs.shape)}")
    if memory < 1 or (chunk is not None and chunk < 1):
        raise ValueError(f"tangent_kernel: chunk and memory must be at least 1, got {chunk} and {memory}")
    jacobian = SampleJacobian(model, params, vectorize)
    with evaluating(model), torch.no_grad():
        o = jacobian.outputs(inputs)
        plan = plan_for(len(inputs), o, jacobian.sizes, memory // jacobian.dtype.itemsize, chunk)
        K = torch.zeros(2 * (len(inputs) * o,), dtype=jacobian.dtype, device=jacobian.device)
        for block in plan.blocks:
            for first in range(0, len(plan.chunks), plan.held):
                _meet(K, jacobian, inputs, block, plan.chunks[first:], plan.held)
    return K.triu() + K.triu(1).T


@dataclass(frozen=True)
class Chunk:
    """Rows ``start`` to ``stop`` of J: some samples with all of their outputs, or one with some of them."""

    samples: slice
    outputs: slice
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """How J is cut: rows into chunks, of which so many are ``held``, and columns into blocks."""

    chunks: tuple[Chunk, ...]
    held: int
    blocks: tuple[Block, ...]


def plan_for(n: int, o: int, sizes: Mapping[str, int], entries: int, chunk: int | None) -> Plan:
    """Cuts J so that ``entries`` numbers of it are there: a chunk, what is held, and twice a chunk while one is made.

    A chunk is a sixteenth if it can be and a quarter if it must; then columns are cut.
    """
    rows = max(1, min(entries // 16 // sum(sizes.values()), _ROWS)) if chunk is None else min(chunk, n) * o
    blocks = tuple(_blocks(sizes, max(1, entries // 4 // rows)))
    columns = max(sum(cut.stop - cut.start for cut in block.values()) for block in blocks)
    return Plan(tuple(_chunks(n, o, rows)), max(1, entries // (rows * columns) - 3), blocks)


def _chunks(n: int, o: int, rows: int) -> Iterator[Chunk]:
    if rows >= o:
        size = rows // o
        for i in range(0, n, size):
            samples = slice(i, min(i + size, n))
            yield Chunk(samples, slice(0, o), samples.start * o, samples.stop * o)
        return
    for i in range(n):
        for k in range(0, o, rows):
            outputs = slice(k, min(k + rows, o))
            yield Chunk(slice(i, i + 1), outputs, i * o + outputs.start, i * o + outputs.stop)


def _blocks(sizes: Mapping[str, int], widest: int) -> Iterator[Block]:
    """Parameters together up to so many columns; cut only where one alone has more."""
    block: dict[str, slice] = {}
    width = 0
    for name, size in sizes.items():
        for start in range(0, size, widest):
            stop = min(start + widest, size)
            if width + stop - start > widest:
                yield block
                block, width = {}, 0
            block[name] = slice(start, stop)
            width += stop - start
    yield block


def _meet(
    K: Tensor, jacobian: SampleJacobian, inputs: Tensor, block: Block, chunks: Sequence[Chunk], held: int
) -> None:
    """Adds to K, above its diagonal, the products of the rows of the first chunks with theirs and all later ones."""
    start, stop = chunks[0].start, chunks[:held][-1].stop
    kept = {name: K.new_empty(stop - start, cut.stop - cut.start) for name, cut in block.items()}
    for chunk in chunks:
        known = min(chunk.stop, stop)
        for name, rows in jacobian.rows(inputs[chunk.samples], block, chunk.outputs).items():
            new = rows.flatten(0, 1).to(K.dtype)
            if chunk.start < stop:
                kept[name][chunk.start - start : known - start] = new
            K[start:known, chunk.start : chunk.stop] += kept[name][: known - start] @ new.T
