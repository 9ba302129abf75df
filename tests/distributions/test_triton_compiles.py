"""The interpreter accepts more than the compiler does: compile every variant for a GPU, which needs none."""

import os
import subprocess
import sys

import pytest

from ..processes import PATIENCE

PROGRAM = """
import inspect, itertools
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from entrokit.distributions import triton_kernels

TYPES = {"stride": "i32", "out_stride": "i32", "columns": "i32", "offset": "i32", "scale": "fp32",
         "tokens_ptr": "*i64", "index_ptr": "*i64", "top_ptr": "*i64"}

def build(kernel, logits, capability, flags, block):
    names = list(inspect.signature(kernel.fn).parameters)
    constants = {**flags, "BLOCK": block}
    types = {**TYPES, "z_ptr": logits, "out_ptr": logits}
    signature = {n: "constexpr" if n in constants else types.get(n, "*fp32") for n in names}
    source = ASTSource(kernel, signature, {(names.index(n),): value for n, value in constants.items()})
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
    assert compiled.asm["cubin"]

for kernel in (triton_kernels._reduce, triton_kernels._gradient):
    flags = [n for n in inspect.signature(kernel.fn).parameters if n.isupper() and n != "BLOCK"]
    for logits, capability, on in (("*bf16", 90, True), ("*fp32", 90, True), ("*fp16", 80, True), ("*bf16", 80, False)):
        build(kernel, logits, capability, {flag: on for flag in flags}, 4096 if on else 256)
print("compiled")
"""


def test_kernels_compile_for_nvidia_gpus(tmp_path):
    pytest.importorskip("triton.backends.nvidia")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=PATIENCE
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "compiled" in result.stdout
