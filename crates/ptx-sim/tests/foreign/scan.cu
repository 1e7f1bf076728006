// Prefix sums: one block by warp shuffles, Hillis-Steele in shared memory, and decoupled look-back across blocks.

__device__ unsigned warp_inclusive(unsigned v) {
    for (unsigned d = 1; d < 32; d *= 2) {
        unsigned up = __shfl_up_sync(0xffffffffu, v, d);
        if (threadIdx.x % 32 >= d) v += up;
    }
    return v;
}

// inclusive sum of a block's 256 values; every thread also learns the total
__device__ unsigned block_inclusive(unsigned v, unsigned &total) {
    __shared__ unsigned sums[8];
    v = warp_inclusive(v);
    if (threadIdx.x % 32 == 31) sums[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x < 32) {
        unsigned s = threadIdx.x < 8 ? sums[threadIdx.x] : 0;
        s = warp_inclusive(s);
        if (threadIdx.x < 8) sums[threadIdx.x] = s;
    }
    __syncthreads();
    if (threadIdx.x >= 32) v += sums[threadIdx.x / 32 - 1];
    total = sums[7];
    __syncthreads();
    return v;
}

// independent inclusive scans of 256 elements
extern "C" __global__ void __launch_bounds__(256) scan_blocks(const unsigned *in, unsigned *out, unsigned *totals) {
    unsigned i = blockIdx.x * 256 + threadIdx.x, total;
    out[i] = block_inclusive(in[i], total);
    if (threadIdx.x == 0) totals[blockIdx.x] = total;
}

// exclusive, two buffers in turn; n is the block size
extern "C" __global__ void scan_hillis_steele(const float *in, float *out) {
    extern __shared__ float buffers[];
    unsigned t = threadIdx.x, n = blockDim.x;
    unsigned from = 0, to = n;
    buffers[t] = t > 0 ? in[t - 1] : 0.f;
    __syncthreads();
    for (unsigned d = 1; d < n; d *= 2) {
        buffers[to + t] = t >= d ? buffers[from + t] + buffers[from + t - d] : buffers[from + t];
        unsigned swap = from;
        from = to;
        to = swap;
        __syncthreads();
    }
    out[t] = buffers[from + t];
}

// State of a tile: flag in the high word (0 nothing, 1 its own sum, 2 the sum of all up to it), value in the low word.
__device__ unsigned long long pack(unsigned flag, unsigned value) { return (unsigned long long)flag << 32 | value; }

// exclusive sum over all blocks in one pass; `ticket` and `states` start as zero
extern "C" __global__ void __launch_bounds__(256)
    scan_look_back(const unsigned *in, unsigned *out, unsigned n, unsigned *ticket, volatile unsigned long long *states) {
    __shared__ unsigned tile, before;
    if (threadIdx.x == 0) tile = atomicAdd(ticket, 1u);
    __syncthreads();
    unsigned i = tile * 256 + threadIdx.x, total;
    unsigned v = i < n ? in[i] : 0;
    unsigned inclusive = block_inclusive(v, total);
    if (threadIdx.x < 32) {
        if (threadIdx.x == 0) {
            states[tile] = pack(tile == 0 ? 2 : 1, total);
            if (tile == 0) before = 0;
        }
        if (tile > 0) {
            unsigned sum = 0;
            int base = (int)tile - 1;
            while (true) {
                int at = base - (int)threadIdx.x;
                unsigned long long state;
                do {
                    state = at >= 0 ? states[at] : pack(2, 0);
                } while (__any_sync(0xffffffffu, (state >> 32) == 0));
                unsigned complete = __ballot_sync(0xffffffffu, (state >> 32) == 2);
                // Lanes up to the nearest complete prefix count.
                unsigned nearest = complete ? __ffs(complete) - 1 : 31;
                unsigned part = threadIdx.x <= nearest ? (unsigned)state : 0;
                for (int d = 16; d > 0; d /= 2) part += __shfl_down_sync(0xffffffffu, part, d);
                sum += __shfl_sync(0xffffffffu, part, 0);
                if (complete) break;
                base -= 32;
            }
            if (threadIdx.x == 0) {
                states[tile] = pack(2, sum + total);
                before = sum;
            }
        }
    }
    __syncthreads();
    if (i < n) out[i] = before + inclusive - v;
}
