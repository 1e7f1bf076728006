// Warp-level primitives: shuffles with widths, votes, match, reductions.

// out: 8 values a thread
extern "C" __global__ void shuffles(const int *in, int *out, int delta) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    int v = in[i], *o = out + 8 * i;
    o[0] = __shfl_sync(0xffffffffu, v, v & 31);
    o[1] = __shfl_sync(0xffffffffu, v, v, 8);
    o[2] = __shfl_up_sync(0xffffffffu, v, delta & 31);
    o[3] = __shfl_up_sync(0xffffffffu, v, 3, 16);
    o[4] = __shfl_down_sync(0xffffffffu, v, delta & 31);
    o[5] = __shfl_down_sync(0xffffffffu, v, 1, 4);
    o[6] = __shfl_xor_sync(0xffffffffu, v, delta & 31);
    o[7] = __shfl_xor_sync(0xffffffffu, v, 9, 8);
}

// out: 8 values a thread
extern "C" __global__ void votes(const int *in, unsigned *out, int threshold) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    int v = in[i];
    unsigned *o = out + 8 * i;
    o[0] = __all_sync(0xffffffffu, v < threshold);
    o[1] = __any_sync(0xffffffffu, v < threshold);
    o[2] = __ballot_sync(0xffffffffu, v < threshold);
    o[3] = __match_any_sync(0xffffffffu, v & 7);
    int same;
    o[4] = __match_all_sync(0xffffffffu, v >> 4, &same) ^ same;
    o[5] = __match_any_sync(0xffffffffu, (long long)(v & 3) << 40);
    // A part of the warp votes on its own.
    if (lane < 20) {
        o[6] = __ballot_sync(0x000fffffu, v & 1);
    } else {
        o[6] = __ballot_sync(0xfff00000u, v & 2);
    }
    __syncwarp();
    o[7] = __popc(__activemask());
}

// out: 8 values a thread
extern "C" __global__ void reductions(const int *in, int *out) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    int v = in[i], *o = out + 8 * i;
    o[0] = __reduce_add_sync(0xffffffffu, v);
    o[1] = __reduce_min_sync(0xffffffffu, v);
    o[2] = __reduce_max_sync(0xffffffffu, v);
    o[3] = __reduce_min_sync(0xffffffffu, (unsigned)v);
    o[4] = __reduce_max_sync(0xffffffffu, (unsigned)v);
    o[5] = __reduce_and_sync(0xffffffffu, (unsigned)v | 0xff);
    o[6] = __reduce_or_sync(0xffffffffu, (unsigned)v & 0xffff00);
    o[7] = __reduce_xor_sync(0xffffffffu, (unsigned)v);
}

// Lanes that hold the same key elect a leader, which adds their number at once.
extern "C" __global__ void aggregate(const unsigned *key, unsigned n, unsigned *count) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned active = __ballot_sync(0xffffffffu, i < n);
    if (i >= n) return;
    unsigned k = key[i] % 16, peers = __match_any_sync(active, k);
    if (__ffs(peers) - 1 == threadIdx.x % 32) atomicAdd(&count[k], __popc(peers));
}

// Neighbours exchange through shared memory with only the warp in step.
extern "C" __global__ void exchange(const float *in, float *out) {
    __shared__ float s[256];
    unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    s[t] = in[i];
    __syncwarp();
    float v = s[t ^ 1];
    __syncwarp();
    s[t] = v * 2.f;
    __syncwarp();
    out[i] = s[t ^ 16];
}

// any, all and count over the block
extern "C" __global__ void block_votes(const int *in, int *out, int threshold) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    int p = in[i] < threshold;
    int any = __syncthreads_or(p), all = __syncthreads_and(p), count = __syncthreads_count(p);
    out[i] = any + 2 * all + 4 * count;
}
