// Histograms: atomics in global memory, in shared memory per block, and one private copy a warp; 64-bit counters as well.

extern "C" __global__ void histogram_global(const unsigned char *in, unsigned n, unsigned *bins) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&bins[in[i]], 1u);
}

extern "C" __global__ void histogram_shared(const uchar4 *in, unsigned n4, unsigned *bins) {
    __shared__ unsigned local[256];
    for (unsigned b = threadIdx.x; b < 256; b += blockDim.x) local[b] = 0;
    __syncthreads();
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n4; i += gridDim.x * blockDim.x) {
        uchar4 v = in[i];
        atomicAdd(&local[v.x], 1u);
        atomicAdd(&local[v.y], 1u);
        atomicAdd(&local[v.z], 1u);
        atomicAdd(&local[v.w], 1u);
    }
    __syncthreads();
    for (unsigned b = threadIdx.x; b < 256; b += blockDim.x)
        if (local[b]) atomicAdd(&bins[b], local[b]);
}

// weights by bin of 64; blocks of 128
extern "C" __global__ void histogram_warps(const unsigned *in, const unsigned long long *weight, unsigned n,
                                           unsigned long long *bins) {
    __shared__ unsigned long long copies[4][64];
    unsigned warp = threadIdx.x / 32;
    for (unsigned b = threadIdx.x; b < 4 * 64; b += blockDim.x) copies[b / 64][b % 64] = 0;
    __syncthreads();
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&copies[warp][in[i] >> 26], weight[i]);
    __syncthreads();
    for (unsigned b = threadIdx.x; b < 64; b += blockDim.x)
        atomicAdd(&bins[b], copies[0][b] + copies[1][b] + copies[2][b] + copies[3][b]);
}
