// Atomics of many types, scopes and orders; a lock, a queue between threads, message passing through volatile flags.
#include <cuda/atomic>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// one cell of each kind, all threads at once
extern "C" __global__ void cells32(const int *in, int n, int *signed_cells, unsigned *cells, float *sum, int *block_counts) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = in[i];
    unsigned u = (unsigned)v;
    atomicMin(&signed_cells[0], v);
    atomicMax(&signed_cells[1], v);
    atomicSub(&signed_cells[2], v);
    atomicMin(&cells[0], u);
    atomicMax(&cells[1], u);
    atomicAnd(&cells[2], u | 0xffff);
    atomicOr(&cells[3], u & 0xffff00);
    atomicXor(&cells[4], u);
    atomicInc(&cells[5], 100);
    atomicDec(&cells[6], 50);
    atomicExch(&cells[7], u);
    atomicAdd_block(&block_counts[blockIdx.x], 1);
    atomicAdd_system(&signed_cells[3], 2);
    atomicAdd(sum, (float)(v & 15));
}

extern "C" __global__ void cells64(const long long *in, int n, long long *signed_cells, unsigned long long *cells, double *sum) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long v = in[i];
    atomicMin(&signed_cells[0], v);
    atomicMax(&signed_cells[1], v);
    atomicAdd(&cells[0], (unsigned long long)v);
    atomicXor(&cells[1], (unsigned long long)v);
    atomicAnd(&cells[2], (unsigned long long)v | 0xffffffffull);
    atomicOr(&cells[3], (unsigned long long)v & 0xff00ff00ff00ull);
    // the product modulo 2^64 by compare and swap
    unsigned long long old = *(volatile unsigned long long *)&cells[4], seen;
    do {
        seen = old;
        old = atomicCAS(&cells[4], seen, seen * ((unsigned long long)v | 1));
    } while (old != seen);
    atomicAdd(sum, (double)(v & 255));
}

extern "C" __global__ void small_types(const int *in, int n, __half2 *halves, __nv_bfloat162 *bfloats, unsigned short *maximum) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = in[i];
    atomicAdd(halves, __floats2half2_rn((float)(v & 3), (float)(v >> 2 & 1)));
    __nv_bfloat162 add = __floats2bfloat162_rn((float)(v & 1), (float)(v >> 1 & 1));
#if __CUDA_ARCH__ >= 900
    atomicAdd(bfloats, add);
#else
    // The header's own loop starts with a plain load, which races with the other threads' updates.
    unsigned *word = (unsigned *)bfloats, was = *(volatile unsigned *)word, expected;
    do {
        expected = was;
        __nv_bfloat162 sum = __hadd2(*(__nv_bfloat162 *)&expected, add);
        was = atomicCAS(word, expected, *(unsigned *)&sum);
    } while (was != expected);
#endif
    // the maximum of 16-bit numbers by compare and swap of 16 bits
    unsigned short mine = (unsigned short)v, old = *(volatile unsigned short *)maximum, seen;
    while (old < mine) {
        seen = old;
        old = atomicCAS(maximum, seen, mine);
        if (old == seen) break;
    }
}

// the headers' atomics with scopes and orders
extern "C" __global__ void references(const int *in, int n, int *total, unsigned *best, double *product_log) {
    __shared__ int block_total;
    cuda::atomic_ref<int, cuda::thread_scope_block> local(block_total);
    if (threadIdx.x == 0) local.store(0, cuda::memory_order_relaxed);
    __syncthreads();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        local.fetch_add(in[i], cuda::memory_order_relaxed);
        cuda::atomic_ref<unsigned, cuda::thread_scope_device> b(*best);
        b.fetch_max((unsigned)in[i] >> 8, cuda::memory_order_acq_rel);
        cuda::atomic_ref<double, cuda::thread_scope_system> p(*product_log);
        p.fetch_add(0.5, cuda::memory_order_seq_cst);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        cuda::atomic_ref<int, cuda::thread_scope_device> g(*total);
        g.fetch_add(local.load(cuda::memory_order_relaxed), cuda::memory_order_relaxed);
    }
}

// a spin lock around plain updates
extern "C" __global__ void locked(int *lock, int *data, int rounds) {
    for (int k = 0; k < rounds; ++k) {
        bool done = false;
        while (!done) {
            if (atomicCAS(lock, 0, 1) == 0) {
                __threadfence();
                volatile int *d = data;
                d[0] += 1;
                d[1] = d[0] * 3;
                __threadfence();
                atomicExch(lock, 0);
                done = true;
            }
        }
    }
}

// warp 0 hands values to warp 1 through a ring in shared memory
extern "C" __global__ void ring(const int *in, int *out, int n) {
    __shared__ int slots[8];
    __shared__ cuda::atomic<int, cuda::thread_scope_block> head, tail;
    if (threadIdx.x == 0) {
        head.store(0, cuda::memory_order_relaxed);
        tail.store(0, cuda::memory_order_relaxed);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int k = 0; k < n; ++k) {
            while (k - tail.load(cuda::memory_order_acquire) >= 8) {}
            slots[k % 8] = in[k];
            head.store(k + 1, cuda::memory_order_release);
        }
    } else if (threadIdx.x == 32) {
        for (int k = 0; k < n; ++k) {
            while (head.load(cuda::memory_order_acquire) <= k) {}
            out[k] = slots[k % 8] + 1;
            tail.store(k + 1, cuda::memory_order_release);
        }
    }
}

// every block but the first waits for the one before it, through a volatile flag and fences
extern "C" __global__ void chain(volatile int *flags, volatile int *message, int *out) {
    if (threadIdx.x == 0) {
        int b = blockIdx.x;
        if (b > 0) {
            while (flags[b - 1] == 0) {}
            __threadfence();
        }
        int v = b > 0 ? message[b - 1] : 1;
        message[b] = v * 3 + b;
        __threadfence();
        flags[b] = 1;
        out[b] = v;
    }
}
