// Tensor cores through inline assembly, fragments loaded by hand from the layouts the PTX manual gives, and by ldmatrix.
#include <cstdint>
#include <cuda_fp16.h>

__device__ uint32_t pair(const uint16_t *p) { return *(const uint32_t *)p; }

// one warp: D (16 x 8) = A (16 x 16, row-major) B (16 x 8, column-major) + C, all four types of 16 bits at once
extern "C" __global__ void mma_16816(const uint16_t *half_a, const uint16_t *half_b, const uint16_t *bf_a, const uint16_t *bf_b, const float *c,
                                     float *half_d, float *bf_d) {
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    float acc[2][4];
    for (int k = 0; k < 2; ++k) {
        const uint16_t *a = k ? bf_a : half_a, *b = k ? bf_b : half_b;
        uint32_t fa[4] = {pair(a + g * 16 + 2 * t), pair(a + (g + 8) * 16 + 2 * t), pair(a + g * 16 + 2 * t + 8),
                          pair(a + (g + 8) * 16 + 2 * t + 8)};
        uint32_t fb[2] = {pair(b + g * 16 + 2 * t), pair(b + g * 16 + 2 * t + 8)};
        for (int i = 0; i < 4; ++i) acc[k][i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
        if (k == 0)
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                         : "+f"(acc[k][0]), "+f"(acc[k][1]), "+f"(acc[k][2]), "+f"(acc[k][3])
                         : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
        else
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                         : "+f"(acc[k][0]), "+f"(acc[k][1]), "+f"(acc[k][2]), "+f"(acc[k][3])
                         : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    }
    for (int i = 0; i < 4; ++i) {
        half_d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = acc[0][i];
        bf_d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = acc[1][i];
    }
}

// D (16 x 8) = A (16 x 32, row-major) B (32 x 8, column-major), signed by signed and unsigned by signed
extern "C" __global__ void mma_bytes(const uint8_t *a, const uint8_t *b, int *ss, int *us) {
    int lane = threadIdx.x, g = lane / 4, t = lane % 4, s[4] = {}, u[4] = {};
    uint32_t fa[4] = {*(const uint32_t *)(a + g * 32 + 4 * t), *(const uint32_t *)(a + (g + 8) * 32 + 4 * t),
                      *(const uint32_t *)(a + g * 32 + 4 * t + 16), *(const uint32_t *)(a + (g + 8) * 32 + 4 * t + 16)};
    uint32_t fb[2] = {*(const uint32_t *)(b + g * 32 + 4 * t), *(const uint32_t *)(b + g * 32 + 4 * t + 16)};
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(s[0]), "+r"(s[1]), "+r"(s[2]), "+r"(s[3])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    asm volatile("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(u[0]), "+r"(u[1]), "+r"(u[2]), "+r"(u[3])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int i = 0; i < 4; ++i) {
        ss[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = s[i];
        us[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = u[i];
    }
}

// D (16 x 8) = A (16 x 8, row-major) B (8 x 8, column-major) in tf32; D (8 x 8) = A (8 x 4) B (4 x 8) in doubles
extern "C" __global__ void mma_tf32_double(const uint32_t *a, const uint32_t *b, float *d, const double *a64, const double *b64, double *d64) {
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    float acc[4] = {};
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
                 : "r"(a[g * 8 + t]), "r"(a[(g + 8) * 8 + t]), "r"(a[g * 8 + t + 4]), "r"(a[(g + 8) * 8 + t + 4]), "r"(b[g * 8 + t]),
                   "r"(b[g * 8 + t + 4]));
    for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = acc[i];
    double wide[2] = {1.0, -1.0};
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                 : "+d"(wide[0]), "+d"(wide[1])
                 : "d"(a64[g * 4 + t]), "d"(b64[g * 4 + t]));
    d64[g * 8 + 2 * t] = wide[0];
    d64[g * 8 + 2 * t + 1] = wide[1];
}

// 16 x 16 tiles of 16-bit values through ldmatrix, plain and transposed, into registers and out again by hand
extern "C" __global__ void load_matrices(const uint16_t *in, uint32_t *plain, uint32_t *transposed, uint32_t *two) {
    __shared__ __align__(16) uint16_t tile[16][24];
    int lane = threadIdx.x;
    for (int i = lane; i < 256; i += 32) tile[i / 16][i % 16] = in[i];
    __syncwarp();
    uint32_t at = (uint32_t)__cvta_generic_to_shared(&tile[lane % 16][lane / 16 * 8]), r[4];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
    for (int i = 0; i < 4; ++i) plain[4 * lane + i] = r[i];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at));
    for (int i = 0; i < 4; ++i) transposed[4 * lane + i] = r[i];
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(at));
    for (int i = 0; i < 2; ++i) two[2 * lane + i] = r[i];
}
