// flags: -lineinfo
// Sums and maxima: a shared-memory tree, warp shuffles, and one-pass reduction in which the last block to finish adds up the others.

extern "C" __global__ void reduce_tree(const int *in, int *out, unsigned n) {
    __shared__ int tile[256];
    unsigned t = threadIdx.x;
    int sum = 0;
    for (unsigned i = blockIdx.x * blockDim.x + t; i < n; i += gridDim.x * blockDim.x) sum += in[i];
    tile[t] = sum;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half >>= 1) {
        if (t < half) tile[t] += tile[t + half];
        __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = tile[0];
}

template <typename T, typename F>
__device__ T block_reduce(T v, T neutral, F op) {
    __shared__ T partial[32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    for (int d = 16; d > 0; d /= 2) v = op(v, __shfl_xor_sync(0xffffffffu, v, d));
    if (lane == 0) partial[warp] = v;
    __syncthreads();
    v = lane < warps ? partial[lane] : neutral;
    for (int d = 16; d > 0; d /= 2) v = op(v, __shfl_down_sync(0xffffffffu, v, d));
    __syncthreads();
    return v;
}

// sum and maximum of floats; blocks of whole warps
extern "C" __global__ void reduce_shuffle(const float *in, float *sum, float *maximum, unsigned n) {
    float s = 0.f, m = -INFINITY;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        s += in[i];
        m = fmaxf(m, in[i]);
    }
    s = block_reduce(s, 0.f, [](float a, float b) { return a + b; });
    m = block_reduce(m, -INFINITY, [](float a, float b) { return fmaxf(a, b); });
    if (threadIdx.x == 0) {
        sum[blockIdx.x] = s;
        maximum[blockIdx.x] = m;
    }
}

__device__ unsigned finished;

// `result` is the sum of all; `partial` has one element a block
extern "C" __global__ void reduce_last_block(const unsigned long long *in, volatile unsigned long long *partial,
                                             unsigned long long *result, unsigned n) {
    __shared__ bool last;
    unsigned long long s = 0;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) s += in[i];
    s = block_reduce(s, 0ull, [](unsigned long long a, unsigned long long b) { return a + b; });
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = s;
        __threadfence();
        last = atomicInc(&finished, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    s = 0;
    for (unsigned i = threadIdx.x; i < gridDim.x; i += blockDim.x) s += partial[i];
    s = block_reduce(s, 0ull, [](unsigned long long a, unsigned long long b) { return a + b; });
    if (threadIdx.x == 0) *result = s;
}
