// targets: sm_90a
// Warpgroup products: a warp-specialised GEMM fed by tensor maps, A from registers, and one product of every operand type.
#include "hopper.cuh"
#include <cuda.h>
#include <cuda_bf16.h>

__device__ inline void fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N>
__device__ inline void wait_products() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }

// Rows of 128 bytes in the 128-byte swizzle; eight rows are 1024 bytes.
__device__ inline uint64_t swizzled_operand(const void *p) {
    return (uint64_t)(shared_address(p) & 0x3ffff) >> 4 | 1ull << 16 | (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

__device__ inline void product_64x64(float (&d)[32], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, 1, 1, "
        "1, 0, 0;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]),
          "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
          "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
          "+f"(d[31])
        : "l"(a), "l"(b));
}

constexpr int STAGES = 3;
struct Stage {
    __nv_bfloat16 a[128 * 64], b[64 * 64];
};

// C (m x n) = A (m x k) B^T (B is n x k): tiles of 128 x 64 x 64. One warpgroup loads, two multiply 64 rows each.
extern "C" __global__ void __launch_bounds__(384, 1)
    gemm(const __grid_constant__ CUtensorMap map_a, const __grid_constant__ CUtensorMap map_b, float *c, int m, int n, int k) {
    extern __shared__ __align__(1024) unsigned char raw[];
    Stage *stages = (Stage *)raw;
    __shared__ __align__(8) uint64_t full[STAGES], empty[STAGES];
    int row0 = blockIdx.y * 128, column0 = blockIdx.x * 64, steps = (k + 63) / 64, group = threadIdx.x / 128;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; ++i) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], 2);
        }
        fence_barrier_init();
    }
    __syncthreads();
    if (group == 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0)
            for (int s = 0; s < steps; ++s) {
                int slot = s % STAGES;
                if (s >= STAGES) wait(&empty[slot], (s / STAGES - 1) & 1);
                expect(&full[slot], sizeof(Stage));
                tile_load(stages[slot].a, &map_a, s * 64, row0, &full[slot]);
                tile_load(stages[slot].b, &map_b, s * 64, column0, &full[slot]);
            }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        float d[32] = {};
        for (int s = 0; s < steps; ++s) {
            int slot = s % STAGES;
            wait(&full[slot], s / STAGES & 1);
            uint64_t a = swizzled_operand(stages[slot].a + (group - 1) * 64 * 64), b = swizzled_operand(stages[slot].b);
            fence();
#pragma unroll
            for (int q = 0; q < 4; ++q) product_64x64(d, a + 2 * q, b + 2 * q);
            commit_products();
            wait_products<0>();
            if (threadIdx.x % 128 == 0) arrive(&empty[slot]);
        }
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
        for (int j = 0; j < 8; ++j)
            for (int e = 0; e < 4; ++e) {
                int row = row0 + (group - 1) * 64 + 16 * warp + lane / 4 + e / 2 * 8, column = column0 + 8 * j + lane % 4 * 2 + e % 2;
                if (row < m && column < n) c[(size_t)row * n + column] = d[4 * j + e];
            }
    }
}

// D (64 x 16) = A (64 x 16, half precision, from registers) B (16 x 16, row-major: the transposed operand), twice over
extern "C" __global__ void __launch_bounds__(128) from_registers(const uint16_t *a, const uint16_t *b, float *d) {
    // Core matrices of 8 rows of k times 8 columns of n, 128 bytes each: along n first, then along k.
    __shared__ __align__(128) uint16_t sb[256];
    for (int i = threadIdx.x; i < 256; i += 128) {
        int k = i / 16, n = i % 16;
        sb[(k / 8 * 2 + n / 8) * 64 + k % 8 * 8 + n % 8] = b[i];
    }
    fence_async();
    __syncthreads();
    int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
    uint32_t r[4];
    for (int i = 0; i < 4; ++i) r[i] = *(const uint32_t *)&a[(row + i % 2 * 8) * 16 + column + i / 2 * 8];
    // Where n is the major dimension, the leading offset goes along k and the stride along n.
    uint64_t descriptor = (uint64_t)(shared_address(sb) & 0x3ffff) >> 4 | (uint64_t)(256 >> 4) << 16 | (uint64_t)(128 >> 4) << 32;
    float acc[8];
    fence();
    asm volatile("wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7}, {%8,%9,%10,%11}, %12, 0, 1, 1, 1;"
                 : "=f"(acc[0]), "=f"(acc[1]), "=f"(acc[2]), "=f"(acc[3]), "=f"(acc[4]), "=f"(acc[5]), "=f"(acc[6]), "=f"(acc[7])
                 : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "l"(descriptor));
    asm volatile("wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7}, {%8,%9,%10,%11}, %12, 1, 1, 1, 1;"
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]), "+f"(acc[4]), "+f"(acc[5]), "+f"(acc[6]), "+f"(acc[7])
                 : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "l"(descriptor));
    commit_products();
    wait_products<0>();
    for (int j = 0; j < 2; ++j)
        for (int e = 0; e < 4; ++e) d[(row + e / 2 * 8) * 16 + 8 * j + column + e % 2] = acc[4 * j + e];
}

// D (64 x 8) = A (64 rows of 32 bytes) B (8 rows of 32 bytes) for every type of 8, 16 and 32 bits; no swizzle
extern "C" __global__ void __launch_bounds__(128) types(const uint32_t *a, const uint32_t *b, float *floats, int *ints, int which) {
    // Core matrices of 8 rows of 16 bytes; the second half of k 128 bytes behind the first, eight rows further 256 bytes.
    __shared__ __align__(128) uint32_t sa[512], sb[64];
    for (int i = threadIdx.x; i < 512; i += 128) {
        int row = i / 8, word = i % 8;
        sa[row / 8 * 64 + word / 4 * 32 + row % 8 * 4 + word % 4] = a[i];
        if (i < 64) sb[word / 4 * 32 + row * 4 + word % 4] = b[i];
    }
    fence_async();
    __syncthreads();
    uint64_t strides = (uint64_t)(128 >> 4) << 16 | (uint64_t)(256 >> 4) << 32;
    uint64_t da = (uint64_t)(shared_address(sa) & 0x3ffff) >> 4 | strides, db = (uint64_t)(shared_address(sb) & 0x3ffff) >> 4 | strides;
    float f[4] = {};
    int n[4] = {};
#define PRODUCT(SHAPE, KIND, V, TAIL)                                                         \
    asm volatile("wgmma.fence.sync.aligned;\n"                                                \
                 "wgmma.mma_async.sync.aligned." SHAPE " {%0,%1,%2,%3}, %4, %5, 0" TAIL ";\n" \
                 "wgmma.commit_group.sync.aligned;\n"                                         \
                 "wgmma.wait_group.sync.aligned 0;"                                           \
                 : KIND(V[0]), KIND(V[1]), KIND(V[2]), KIND(V[3])                             \
                 : "l"(da), "l"(db)                                                           \
                 : "memory")
    if (which == 0) PRODUCT("m64n8k16.f32.f16.f16", "=f", f, ", 1, 1, 0, 0");
    else if (which == 1) PRODUCT("m64n8k16.f32.bf16.bf16", "=f", f, ", 1, -1, 0, 0");
    else if (which == 2) PRODUCT("m64n8k8.f32.tf32.tf32", "=f", f, ", 1, 1");
    else if (which == 3) PRODUCT("m64n8k32.f32.e4m3.e5m2", "=f", f, ", 1, 1");
    else PRODUCT("m64n8k32.s32.s8.u8", "=r", n, "");
    int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
    for (int e = 0; e < 4; ++e) {
        int at = (row + e / 2 * 8) * 8 + column + e % 2;
        floats[at] = f[e];
        ints[at] = n[e];
    }
}
