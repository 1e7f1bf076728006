// Cooperative groups: tiles, coalesced groups, labelled partitions, reductions and scans, and a barrier of the whole grid.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
namespace cg = cooperative_groups;

// out: tile sum of 8, tile maximum of 16, exclusive scan in the tile of 32, rank and sizes
extern "C" __global__ void tiles(const int *in, int4 *out) {
    cg::thread_block block = cg::this_thread_block();
    auto t32 = cg::tiled_partition<32>(block);
    auto t16 = cg::tiled_partition<16>(t32);
    auto t8 = cg::tiled_partition<8>(t16);
    unsigned i = blockIdx.x * block.size() + block.thread_rank();
    int v = in[i];
    int4 o;
    o.x = cg::reduce(t8, v, cg::plus<int>());
    o.y = cg::reduce(t16, v, cg::greater<int>());
    o.z = cg::exclusive_scan(t32, v);
    o.w = t8.meta_group_rank() * 1000 + t16.thread_rank() * 10 + t8.shfl(v & 3, 5);
    block.sync();
    out[i] = o;
}

// Threads with even values append them to `list` with one atomic a group.
extern "C" __global__ void filter(const int *in, unsigned n, int *list, unsigned *count) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = in[i];
    if (v % 2 == 0) {
        cg::coalesced_group g = cg::coalesced_threads();
        unsigned base = 0;
        if (g.thread_rank() == 0) base = atomicAdd(count, g.size());
        list[g.shfl(base, 0) + g.thread_rank()] = v;
    }
}

extern "C" __global__ void partitions(const unsigned *label, const int *in, int *out) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    auto warp = cg::tiled_partition<32>(cg::this_thread_block());
    auto g = cg::labeled_partition(warp, label[i] % 3);
    out[2 * i] = cg::reduce(g, in[i], cg::plus<int>());
    auto b = cg::binary_partition(warp, in[i] > 0);
    out[2 * i + 1] = b.size() * 100 + b.thread_rank();
}

// A barrier of all blocks: the counter's high bit flips when everybody has come.
__device__ void grid_sync(unsigned *counter) {
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned add = blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1;
        __threadfence();
        unsigned old = atomicAdd(counter, add);
        while (((old ^ *(volatile unsigned *)counter) & 0x80000000u) == 0) {}
        __threadfence();
    }
    __syncthreads();
}

// `steps` rounds of averaging with the neighbours, in place of as many launches; a and b in turn
extern "C" __global__ void diffuse(float *a, float *b, unsigned n, unsigned steps, unsigned *counter) {
    for (unsigned s = 0; s < steps; ++s) {
        for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
            float left = __ldcg(&a[i > 0 ? i - 1 : i]), right = __ldcg(&a[i + 1 < n ? i + 1 : i]);
            b[i] = 0.25f * left + 0.5f * __ldcg(&a[i]) + 0.25f * right;
        }
        grid_sync(counter);
        float *t = a;
        a = b;
        b = t;
    }
}
