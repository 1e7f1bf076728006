// targets: sm_90a
// Clusters: distributed shared memory, remote barriers, copies from block to block, multicast loads.
#include "hopper.cuh"
#include <cooperative_groups.h>
#include <cuda.h>
namespace cg = cooperative_groups;

// A histogram of 256 bins spread over a cluster of four blocks: each block owns 64 bins in its shared memory.
extern "C" __global__ void __cluster_dims__(4, 1, 1) cluster_histogram(const unsigned char *in, int n, unsigned *bins) {
    __shared__ unsigned mine[64];
    cg::cluster_group cluster = cg::this_cluster();
    for (int i = threadIdx.x; i < 64; i += blockDim.x) mine[i] = 0;
    cluster.sync();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        unsigned char v = in[i];
        unsigned *there = cluster.map_shared_rank(mine, v / 64);
        atomicAdd(there + v % 64, 1u);
    }
    cluster.sync();
    for (int i = threadIdx.x; i < 64; i += blockDim.x)
        if (mine[i]) atomicAdd(&bins[64 * cluster.block_rank() + i], mine[i]);
}

// Row sums over a cluster of any size along x: every block sums its part, then reads the others' results.
extern "C" __global__ void cluster_sums(const float *in, float *out, int columns) {
    __shared__ float partial[4], sum;
    cg::cluster_group cluster = cg::this_cluster();
    unsigned rank = cluster.block_rank(), ranks = cluster.num_blocks(), row = blockIdx.x / ranks;
    float s = 0.f;
    for (int c = rank * blockDim.x + threadIdx.x; c < columns; c += ranks * blockDim.x) s += in[row * columns + c];
    for (int d = 16; d; d /= 2) s += __shfl_xor_sync(~0u, s, d);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = s;
    __syncthreads();
    if (threadIdx.x == 0) {
        s = 0.f;
        for (int w = 0; w < blockDim.x / 32; ++w) s += partial[w];
        sum = s;
    }
    cluster.sync();
    if (threadIdx.x == 0) {
        float total = 0.f;
        for (unsigned r = 0; r < ranks; ++r) total += *cluster.map_shared_rank(&sum, r);
        out[blockIdx.x] = total;
    }
    cluster.sync();
}

__device__ uint32_t remote(const void *p, uint32_t rank) {
    uint32_t there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(p)), "r"(rank));
    return there;
}

__device__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Blocks pass tiles of 128 numbers around a ring, adding their own: copies between shared memories, counted by the receiver's barrier.
extern "C" __global__ void __launch_bounds__(128) ring_sum(const int *in, int *out, int ranks) {
    __shared__ __align__(128) int own[128], outgoing[2][128], incoming[2][128];
    __shared__ __align__(8) uint64_t full[2];
    uint32_t rank, t = threadIdx.x;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    if (t == 0) {
        barrier_init(&full[0], 1);
        barrier_init(&full[1], 1);
        fence_barrier_init();
    }
    own[t] = in[blockIdx.x * 128 + t];
    outgoing[0][t] = own[t];
    fence_async();
    __syncthreads();
    cluster_barrier();
    uint32_t next = (rank + 1) % ranks;
    for (int step = 0; step + 1 < ranks; ++step) {
        int slot = step & 1;
        if (t == 0) {
            expect(&full[slot], 512);
            asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], 512, [%2];" ::"r"(
                             remote(incoming[slot], next)),
                         "r"(shared_address(outgoing[slot])), "r"(remote(&full[slot], next))
                         : "memory");
        }
        wait(&full[slot], step / 2 & 1);
        outgoing[slot ^ 1][t] = incoming[slot][t] + own[t];
        fence_async();
        // Everybody has read this round's tile before anybody sends the next round's.
        cluster_barrier();
    }
    out[blockIdx.x * 128 + t] = outgoing[(ranks - 1) & 1][t];
    cluster_barrier();
}

// Each thread sends one word to its neighbour block by st.async and waits for the one it gets; arrivals of a remote barrier as well.
extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(64) send_words(const unsigned *in, unsigned *out) {
    __shared__ unsigned inbox[64];
    __shared__ __align__(8) uint64_t full, seen;
    uint32_t rank, t = threadIdx.x;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    if (t == 0) {
        barrier_init(&full, 1);
        barrier_init(&seen, 64);
        fence_barrier_init();
        expect(&full, 256);
    }
    __syncthreads();
    cluster_barrier();
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(remote(&inbox[t], rank ^ 1)),
                 "r"(in[blockIdx.x * 64 + t]), "r"(remote(&full, rank ^ 1))
                 : "memory");
    wait(&full, 0);
    unsigned v = inbox[t];
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(remote(&seen, rank ^ 1)) : "memory");
    wait(&seen, 0);
    out[blockIdx.x * 64 + t] = v + rank;
    cluster_barrier();
}

// Two blocks load half a tile each and multicast it to both.
extern "C" __global__ void __cluster_dims__(2, 1, 1) multicast(const __grid_constant__ CUtensorMap map, float *out) {
    __shared__ __align__(1024) float tile[16][32];
    __shared__ __align__(8) uint64_t full;
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    if (threadIdx.x == 0) {
        barrier_init(&full, 1);
        fence_barrier_init();
        expect(&full, sizeof(tile));
    }
    __syncthreads();
    cluster_barrier();
    if (threadIdx.x == 0) {
        int y = blockIdx.x / 2 * 16 + rank * 8;
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], "
                     "[%4], %5;" ::"r"(shared_address(tile[rank * 8])),
                     "l"(&map), "r"(0), "r"(y), "r"(shared_address(&full)), "h"((short)3)
                     : "memory");
    }
    wait(&full, 0);
    for (int i = threadIdx.x; i < 512; i += blockDim.x) out[blockIdx.x * 512 + i] = tile[i / 32][i % 32] + rank;
    cluster_barrier();
}
