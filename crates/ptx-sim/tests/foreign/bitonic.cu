// Bitonic sort: 512 keys with values in shared memory, one compare-exchange step in global memory, and 32 keys in registers of a warp.

extern "C" __global__ void __launch_bounds__(256) bitonic_shared(unsigned *keys, unsigned *values) {
    __shared__ unsigned k[512], v[512];
    unsigned t = threadIdx.x, base = blockIdx.x * 512;
    for (unsigned i = t; i < 512; i += 256) {
        k[i] = keys[base + i];
        v[i] = values[base + i];
    }
    __syncthreads();
    for (unsigned size = 2; size <= 512; size *= 2)
        for (unsigned stride = size / 2; stride > 0; stride /= 2) {
            unsigned a = 2 * t - (t & (stride - 1)), b = a + stride;
            bool up = (a & size) == 0;
            if ((k[a] > k[b]) == up) {
                unsigned swap = k[a];
                k[a] = k[b];
                k[b] = swap;
                swap = v[a];
                v[a] = v[b];
                v[b] = swap;
            }
            __syncthreads();
        }
    for (unsigned i = t; i < 512; i += 256) {
        keys[base + i] = k[i];
        values[base + i] = v[i];
    }
}

extern "C" __global__ void bitonic_step(long long *keys, unsigned size, unsigned stride) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, other = i ^ stride;
    if (other <= i) return;
    long long a = keys[i], b = keys[other];
    if ((a > b) == ((i & size) == 0)) {
        keys[i] = b;
        keys[other] = a;
    }
}

extern "C" __global__ void bitonic_warp(float *keys) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    float v = keys[i];
#pragma unroll
    for (unsigned size = 2; size <= 32; size *= 2)
#pragma unroll
        for (unsigned stride = size / 2; stride > 0; stride /= 2) {
            float o = __shfl_xor_sync(0xffffffffu, v, stride);
            bool lower = (lane & stride) == 0, up = (lane & size) == 0;
            v = lower == up ? fminf(v, o) : fmaxf(v, o);
        }
    keys[i] = v;
}
