// targets: sm_90a
// Bulk copies in one dimension: loads counted by an mbarrier, stores and reductions in groups, a ring with a producer warp.
#include "hopper.cuh"

// c = a + b; blocks of 128 threads and 1024 elements, n a multiple of 4
extern "C" __global__ void bulk_add(const float *a, const float *b, float *c, int n) {
    __shared__ __align__(128) float ta[1024], tb[1024];
    __shared__ __align__(8) uint64_t full;
    int at = blockIdx.x * 1024, count = min(1024, n - at);
    if (threadIdx.x == 0) {
        barrier_init(&full, 1);
        fence_barrier_init();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        expect(&full, 8 * count);
        bulk_load(ta, a + at, 4 * count, &full);
        bulk_load(tb, b + at, 4 * count, &full);
    }
    wait(&full, 0);
    for (int i = threadIdx.x; i < count; i += 128) ta[i] += tb[i];
    fence_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        bulk_store(c + at, ta, 4 * count);
        commit();
        wait_read<0>();
    }
}

// sums of `rows` rows of 256 numbers: warp 0 loads them into a ring of four, warps 1 to 4 add two columns a thread
extern "C" __global__ void __launch_bounds__(160) bulk_ring(const int *in, int *out, int rows) {
    __shared__ __align__(128) int ring[4][256];
    __shared__ __align__(8) uint64_t full[4], empty[4];
    if (threadIdx.x == 0) {
        for (int i = 0; i < 4; ++i) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], 128);
        }
        fence_barrier_init();
    }
    __syncthreads();
    const int *mine = in + (size_t)blockIdx.x * rows * 256;
    if (threadIdx.x < 32) {
        if (threadIdx.x == 0)
            for (int r = 0; r < rows; ++r) {
                int slot = r % 4;
                if (r >= 4) wait(&empty[slot], (r / 4 - 1) & 1);
                expect(&full[slot], 1024);
                bulk_load(ring[slot], mine + r * 256, 1024, &full[slot]);
            }
    } else {
        int t = threadIdx.x - 32, x = 0, y = 0;
        for (int r = 0; r < rows; ++r) {
            int slot = r % 4;
            wait(&full[slot], r / 4 & 1);
            x += ring[slot][t];
            y += ring[slot][t + 128] * (r + 1);
            arrive(&empty[slot]);
        }
        out[blockIdx.x * 256 + t] = x;
        out[blockIdx.x * 256 + t + 128] = y;
    }
}

// every block adds its tile to the same 256 numbers, as integers, floats and by maximum
extern "C" __global__ void bulk_reductions(const int *in, unsigned *sum, float *floats, int *maximum) {
    __shared__ __align__(128) int tile[256];
    __shared__ __align__(128) float wide[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) {
        tile[i] = in[blockIdx.x * 256 + i];
        wide[i] = (float)(tile[i] & 255);
    }
    fence_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%0], [%1], 1024;" ::"l"(sum), "r"(shared_address(tile))
                     : "memory");
        asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.max.s32 [%0], [%1], 1024;" ::"l"(maximum), "r"(shared_address(tile))
                     : "memory");
        commit();
        asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], 1024;" ::"l"(floats), "r"(shared_address(wide))
                     : "memory");
        commit();
        wait_all<0>();
    }
}

// out = 2 in, in a grid that depends on the one before it
extern "C" __global__ void dependent(const float *in, float *out, int n) {
    asm volatile("griddepcontrol.wait;" ::: "memory");
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = 2.f * in[i];
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
