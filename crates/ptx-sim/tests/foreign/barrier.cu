// flags: -diag-suppress 20054
// Barriers of the C++ library: split arrive and wait, producers and consumers, asynchronous copies, pipelines.
#include <cooperative_groups.h>
#include <cuda/barrier>
#include <cuda/pipeline>
namespace cg = cooperative_groups;
using Barrier = cuda::barrier<cuda::thread_scope_block>;

// rounds of neighbour averaging in shared memory; each thread works on its own between arriving and waiting
extern "C" __global__ void split_barrier(const float *in, float *out, float *side, int rounds) {
    __shared__ float s[2][128];
    __shared__ Barrier bar;
    int t = threadIdx.x, n = blockDim.x;
    if (t == 0) init(&bar, n);
    s[0][t] = in[blockIdx.x * n + t];
    __syncthreads();
    float own = 0.f;
    for (int r = 0; r < rounds; ++r) {
        float *from = s[r & 1], *to = s[~r & 1];
        to[t] = 0.5f * from[t] + 0.25f * (from[(t + 1) % n] + from[(t + n - 1) % n]);
        auto token = bar.arrive();
        own += (float)(r + t);
        bar.wait(std::move(token));
    }
    out[blockIdx.x * n + t] = s[rounds & 1][t];
    side[blockIdx.x * n + t] = own;
}

// warp 0 fills two buffers in turn, warps 1 to 3 sum them up
extern "C" __global__ void __launch_bounds__(128) producer_consumer(const int *in, int *out, int batches) {
    __shared__ int buffer[2][96];
    __shared__ Barrier ready[2], filled[2];
    if (threadIdx.x < 4) init(threadIdx.x < 2 ? &ready[threadIdx.x] : &filled[threadIdx.x - 2], 128);
    __syncthreads();
    if (threadIdx.x < 32) {
        for (int b = 0; b < batches; ++b) {
            ready[b % 2].arrive_and_wait();
            for (int i = threadIdx.x; i < 96; i += 32) buffer[b % 2][i] = in[96 * b + i];
            (void)filled[b % 2].arrive();
        }
    } else {
        int c = threadIdx.x - 32, sum = 0;
        (void)ready[0].arrive();
        (void)ready[1].arrive();
        for (int b = 0; b < batches; ++b) {
            filled[b % 2].arrive_and_wait();
            sum = sum * 3 + buffer[b % 2][95 - c];
            (void)ready[b % 2].arrive();
        }
        out[c] = sum;
    }
}

// whole-block asynchronous copies completed through a barrier
extern "C" __global__ void copy_async(const int4 *in, int *out, int tiles) {
    __shared__ __align__(16) int4 tile[64];
    __shared__ Barrier bar;
    auto block = cg::this_thread_block();
    if (block.thread_rank() == 0) init(&bar, block.size());
    block.sync();
    int sum = 0;
    for (int k = 0; k < tiles; ++k) {
        cuda::memcpy_async(block, tile, in + 64 * k, cuda::aligned_size_t<16>(sizeof(tile)), bar);
        bar.arrive_and_wait();
        const int *words = (const int *)tile;
        for (int i = 0; i < 4; ++i) sum += words[(threadIdx.x * 5 + i * 17) % 256] * (k + 1);
        block.sync();
    }
    out[threadIdx.x] = sum;
}

// a pipeline of three stages for each thread alone, and one of two stages for the whole block
extern "C" __global__ void thread_pipeline(const float4 *in, float4 *out, int n) {
    __shared__ float4 stage[3][64];
    auto pipe = cuda::make_pipeline();
    int t = threadIdx.x;
    for (int k = 0; k < n + 2; ++k) {
        if (k < n) {
            pipe.producer_acquire();
            cuda::memcpy_async(&stage[k % 3][t], &in[k * 64 + t], cuda::aligned_size_t<16>(16), pipe);
            pipe.producer_commit();
        }
        if (k >= 2) {
            if (k < n) cuda::pipeline_consumer_wait_prior<2>(pipe);
            else cuda::pipeline_consumer_wait_prior<0>(pipe);
            float4 v = stage[(k - 2) % 3][t];
            out[(k - 2) * 64 + t] = make_float4(v.w, v.z + k, v.y, v.x);
            pipe.consumer_release();
        }
    }
}

extern "C" __global__ void block_pipeline(const int *in, int *out, int n) {
    __shared__ __align__(16) int stage[2][128];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
    auto block = cg::this_thread_block();
    auto pipe = cuda::make_pipeline(block, &state);
    for (int k = 0; k < n + 1; ++k) {
        if (k < n) {
            pipe.producer_acquire();
            cuda::memcpy_async(block, stage[k % 2], in + 128 * k, cuda::aligned_size_t<16>(sizeof(stage[0])), pipe);
            pipe.producer_commit();
        }
        if (k > 0) {
            pipe.consumer_wait();
            out[(k - 1) * 128 + threadIdx.x] = stage[(k - 1) % 2][127 - threadIdx.x] + 1;
            pipe.consumer_release();
        }
    }
}
