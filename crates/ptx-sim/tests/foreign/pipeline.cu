// A GEMM in half precision with a ring of stages filled by cp.async, fragments by ldmatrix, products by mma.sync.
#include <cstdint>
#include <cuda_fp16.h>

constexpr int TILE = 64, DEPTH = 32, STAGES = 3, PITCH = DEPTH + 8;

__device__ void copy16(uint32_t to, const void *from, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// C (m x n) = A (m x k) B^T (B is n x k); m and n any, k a multiple of 32; blocks of 128 threads, dynamic shared memory
extern "C" __global__ void __launch_bounds__(128) gemm(int m, int n, int k, const __half *a, const __half *b, float *c) {
    extern __shared__ __align__(16) __half stages[];
    int t = threadIdx.x, lane = t % 32, warp = t / 32, row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
    uint32_t base = (uint32_t)__cvta_generic_to_shared(stages);
    auto load = [&](int stage, int at) {
        for (int i = t; i < 2 * TILE * DEPTH / 8; i += 128) {
            int matrix = i / (TILE * DEPTH / 8), r = i / (DEPTH / 8) % TILE, q = i % (DEPTH / 8) * 8;
            int row = (matrix ? column0 : row0) + r, rows = matrix ? n : m;
            const __half *from = (matrix ? b : a) + (size_t)min(row, rows - 1) * k + at + q;
            copy16(base + (((stage * 2 + matrix) * TILE + r) * PITCH + q) * 2, from, row < rows);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    float acc[2][4][4] = {};
    int wr = warp / 2 * 32, wc = warp % 2 * 32, steps = k / DEPTH;
    for (int s = 0; s < STAGES - 1; ++s) {
        if (s < steps) load(s, s * DEPTH);
        else asm volatile("cp.async.commit_group;" ::: "memory");
    }
    for (int s = 0; s < steps; ++s) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
        __syncthreads();
        if (s + STAGES - 1 < steps) load((s + STAGES - 1) % STAGES, (s + STAGES - 1) * DEPTH);
        else asm volatile("cp.async.commit_group;" ::: "memory");
        uint32_t sa = base + (s % STAGES) * 2 * TILE * PITCH * 2, sb = sa + TILE * PITCH * 2;
#pragma unroll
        for (int q = 0; q < DEPTH; q += 16) {
            uint32_t fa[2][4], fb[4][2];
#pragma unroll
            for (int i = 0; i < 2; ++i)
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                             : "=r"(fa[i][0]), "=r"(fa[i][1]), "=r"(fa[i][2]), "=r"(fa[i][3])
                             : "r"(sa + ((wr + 16 * i + lane % 16) * PITCH + q + lane / 16 * 8) * 2));
#pragma unroll
            for (int j = 0; j < 4; j += 2)
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                             : "=r"(fb[j][0]), "=r"(fb[j][1]), "=r"(fb[j + 1][0]), "=r"(fb[j + 1][1])
                             : "r"(sb + ((wc + 8 * j + lane / 16 * 8 + lane % 8) * PITCH + q + lane / 8 % 2 * 8) * 2));
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                                 : "+f"(acc[i][j][0]), "+f"(acc[i][j][1]), "+f"(acc[i][j][2]), "+f"(acc[i][j][3])
                                 : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(fb[j][0]), "r"(fb[j][1]));
        }
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 4; ++j)
            for (int e = 0; e < 4; ++e) {
                int row = row0 + wr + 16 * i + lane / 4 + e / 2 * 8, column = column0 + wc + 8 * j + lane % 4 * 2 + e % 2;
                if (row < m && column < n) c[(size_t)row * n + column] = acc[i][j][e];
            }
}

// Copies of 4, 8 and 16 bytes with fewer source bytes than destination bytes: the rest is zero.
extern "C" __global__ void short_copies(const unsigned char *in, unsigned char *out, int bytes4, int bytes8, int bytes16) {
    __shared__ __align__(16) unsigned char s[64][32];
    int t = threadIdx.x;
    uint32_t to = (uint32_t)__cvta_generic_to_shared(s[t]);
    const unsigned char *from = in + 32 * t;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes4) : "memory");
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to + 8), "l"(from + 8), "r"(bytes8) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to + 16), "l"(from + 16), "r"(bytes16) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    for (int i = 0; i < 4; ++i) out[32 * t + i] = s[t][i];
    for (int i = 4; i < 8; ++i) out[32 * t + i] = 0xcc;
    for (int i = 8; i < 16; ++i) out[32 * t + i] = s[t][i];
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    for (int i = 16; i < 32; ++i) out[32 * t + i] = s[t][i];
}
