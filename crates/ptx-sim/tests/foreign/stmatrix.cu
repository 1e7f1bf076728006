// targets: sm_90a
// stmatrix and movmatrix: a 16 x 16 tile of 16-bit values is stored from registers, plain and transposed.
#include <cstdint>

extern "C" __global__ void store_matrices(const uint32_t *in, uint16_t *plain, uint16_t *transposed, uint32_t *moved) {
    __shared__ __align__(16) uint16_t tile[16][24];
    int lane = threadIdx.x;
    uint32_t at = (uint32_t)__cvta_generic_to_shared(&tile[lane % 16][lane / 16 * 8]), r[4];
    for (int i = 0; i < 4; ++i) r[i] = in[4 * lane + i];
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
    __syncwarp();
    for (int i = lane; i < 256; i += 32) plain[i] = tile[i / 16][i % 16];
    __syncwarp();
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
    __syncwarp();
    for (int i = lane; i < 256; i += 32) transposed[i] = tile[i / 16][i % 16];
    uint32_t m;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(m) : "r"(r[0]));
    moved[lane] = m;
}
