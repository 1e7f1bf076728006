"""Triton kernels of ptx-sim's foreign corpus: compiles them to triton_NAME_TARGET.ptx in this folder, without a GPU.

Run by `scripts/foreign-ptx --triton`.
"""

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def vector_add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside), mask=inside)


@triton.jit
def softmax(x, out, stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    v = tl.load(x + row * stride + at, mask=inside, other=-float("inf"))
    v = tl.exp(v - tl.max(v, axis=0))
    tl.store(out + row * stride + at, v / tl.sum(v, axis=0), mask=inside)


@triton.jit
def layer_norm(x, gamma, beta, out, stride, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    mean = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        mean += tl.load(x + row * stride + at, mask=at < columns, other=0.0)
    mean = tl.sum(mean, axis=0) / columns
    square = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        v = tl.load(x + row * stride + at, mask=at < columns, other=0.0)
        d = tl.where(at < columns, v - mean, 0.0)
        square += d * d
    scale = 1 / tl.sqrt(tl.sum(square, axis=0) / columns + eps)
    for start in range(0, columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < columns
        v = tl.load(x + row * stride + at, mask=inside)
        v = (v - mean) * scale * tl.load(gamma + at, mask=inside) + tl.load(beta + at, mask=inside)
        tl.store(out + row * stride + at, v, mask=inside)


@triton.jit
def matmul(a, b, c, m, n, k, stride_a, stride_b, stride_c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    rows = tl.program_id(0) * M + tl.arange(0, M)
    columns = tl.program_id(1) * N + tl.arange(0, N)
    depth = tl.arange(0, K)
    acc = tl.zeros((M, N), dtype=tl.float32)
    for start in range(0, k, K):
        left = k - start
        ta = tl.load(a + rows[:, None] * stride_a + (start + depth)[None, :], mask=(rows[:, None] < m) & (depth[None, :] < left), other=0.0)
        tb = tl.load(b + (start + depth)[:, None] * stride_b + columns[None, :], mask=(columns[None, :] < n) & (depth[:, None] < left), other=0.0)
        acc = tl.dot(ta, tb, acc)
    tl.store(c + rows[:, None] * stride_c + columns[None, :], acc, mask=(rows[:, None] < m) & (columns[None, :] < n))


# Pointers aligned to 16 bytes and strides that are multiples of 16, as the launcher would find them.
ALIGNED = [["tt.divisibility", 16]]
KERNELS = [
    (vector_add, dict(x="*fp32", y="*fp32", out="*fp32", n="i32"), dict(BLOCK=512), "x y out"),
    (softmax, dict(x="*fp32", out="*fp32", stride="i32", columns="i32"), dict(BLOCK=256), "x out"),
    (layer_norm, dict(x="*fp32", gamma="*fp32", beta="*fp32", out="*fp32", stride="i32", columns="i32", eps="fp32"), dict(BLOCK=128), "x gamma beta out"),
    (
        matmul,
        dict(a="*fp16", b="*fp16", c="*fp32", m="i32", n="i32", k="i32", stride_a="i32", stride_b="i32", stride_c="i32"),
        dict(M=64, N=64, K=32),
        "a b c stride_a stride_b stride_c",
    ),
]

for target, capability in [("sm_80", 80), ("sm_90a", 90)]:
    for kernel, signature, constants, aligned in KERNELS:
        names = list(signature) + list(constants)
        source = ASTSource(
            fn=kernel,
            signature={**signature, **{name: "constexpr" for name in constants}},
            constexprs={(names.index(name),): value for name, value in constants.items()},
            attrs={(names.index(name),): ALIGNED for name in aligned.split()},
        )
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4, "num_stages": 3})
        name = f"triton_{kernel.fn.__name__}_{target}.ptx"
        with open(name, "w") as file:
            file.write(compiled.asm["ptx"])
        print(name, "shared", compiled.metadata.shared)
