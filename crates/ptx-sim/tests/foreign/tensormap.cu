// targets: sm_90a
// Tensor maps: tiles of two dimensions in every swizzle, of three and five dimensions, stores and reductions.
#include "hopper.cuh"
#include <cuda.h>

// Where byte `offset` of a tile lies: bits 4 to 6 are xored with bits 7 to 9, as many as the swizzle has.
template <int SPAN>
__device__ int swizzled(int offset) {
    constexpr int bits = SPAN == 128 ? 7 : SPAN == 64 ? 3 : SPAN == 32 ? 1 : 0;
    return offset ^ ((offset >> 7 & bits) << 4);
}

// A tile of 16 rows: dumped as it was loaded (outside elements are zero), and 2 x + 1 stored at the same coordinates of another tensor.
template <int WIDTH, int SPAN>
__device__ void through(const CUtensorMap *in, const CUtensorMap *out, float *dump, int shift_x, int shift_y) {
    __shared__ __align__(1024) unsigned char from[16 * WIDTH], to[16 * WIDTH];
    __shared__ __align__(8) uint64_t full;
    int x = blockIdx.x * (WIDTH / 4) + shift_x, y = blockIdx.y * 16 + shift_y;
    if (threadIdx.x == 0) {
        barrier_init(&full, 1);
        fence_barrier_init();
        asm volatile("prefetch.tensormap [%0];" ::"l"(in) : "memory");
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        expect(&full, 16 * WIDTH);
        tile_load(from, in, x, y, &full);
    }
    wait(&full, 0);
    for (int i = threadIdx.x; i < 4 * WIDTH; i += blockDim.x) {
        float v = *(float *)(from + swizzled<SPAN>(4 * i));
        dump[(blockIdx.y * gridDim.x + blockIdx.x) * 4 * WIDTH + i] = v;
        *(float *)(to + swizzled<SPAN>(4 * i)) = 2.f * v + 1.f;
    }
    fence_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        tile_store(out, to, x, y);
        commit();
        wait_read<0>();
    }
}

#define THROUGH(NAME, WIDTH, SPAN)                                                                                                         \
    extern "C" __global__ void NAME(const __grid_constant__ CUtensorMap in, const __grid_constant__ CUtensorMap out, float *dump, int x, int y) { \
        through<WIDTH, SPAN>(&in, &out, dump, x, y);                                                                                       \
    }
THROUGH(tile_plain, 48, 0)
THROUGH(tile_32, 32, 32)
THROUGH(tile_64, 64, 64)
THROUGH(tile_128, 128, 128)

// boxes of 8 x 4 x 2 numbers are added to another tensor
extern "C" __global__ void volume_add(const __grid_constant__ CUtensorMap in, const __grid_constant__ CUtensorMap out) {
    __shared__ __align__(128) unsigned tile[64];
    __shared__ __align__(8) uint64_t full;
    int x = blockIdx.x * 8, y = blockIdx.y * 4, z = blockIdx.z * 2;
    if (threadIdx.x == 0) {
        barrier_init(&full, 1);
        fence_barrier_init();
        expect(&full, sizeof(tile));
        asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(
                         shared_address(tile)),
                     "l"(&in), "r"(x), "r"(y), "r"(z), "r"(shared_address(&full))
                     : "memory");
        wait(&full, 0);
        for (int i = 0; i < 64; ++i) tile[i] = tile[i] * 3 + 1;
        fence_async();
        asm volatile("cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(&out), "r"(x), "r"(y),
                     "r"(z), "r"(shared_address(tile))
                     : "memory");
        commit();
        wait_all<0>();
    }
}

// one box of 8 x 2 x 3 x 2 x 2 numbers of 16 bits from a tensor of five dimensions whose map lies in global memory
extern "C" __global__ void five_dimensions(const CUtensorMap *in, unsigned short *out, int c0, int c1, int c2, int c3, int c4) {
    __shared__ __align__(128) unsigned short tile[192];
    __shared__ __align__(8) uint64_t full;
    if (threadIdx.x == 0) {
        asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(in) : "memory");
        barrier_init(&full, 1);
        fence_barrier_init();
        expect(&full, sizeof(tile));
        asm volatile(
            "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(
                shared_address(tile)),
            "l"(in), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4), "r"(shared_address(&full))
            : "memory");
    }
    __syncthreads();
    wait(&full, 0);
    for (int i = threadIdx.x; i < 192; i += blockDim.x) out[i] = tile[i];
}
