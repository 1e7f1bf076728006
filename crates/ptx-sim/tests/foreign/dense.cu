// Dense float kernels: a register-tiled GEMM with vector loads, layer normalisation by Welford, an FFT in shared memory, a radix sort.

// C = alpha A B + beta C; tiles of 64 x 64 x 8, 16 x 16 threads with 4 x 4 values each; m, n multiples of 64, k of 8
extern "C" __global__ void __launch_bounds__(256)
    sgemm(int m, int n, int k, float alpha, const float *__restrict__ a, const float *__restrict__ b, float beta, float *__restrict__ c) {
    __shared__ float as[2][8][64], bs[2][8][64];
    int t = threadIdx.x, tx = t % 16, ty = t / 16;
    const float *pa = a + (size_t)(blockIdx.y * 64 + t / 4) * k + t % 4 * 2;
    const float *pb = b + (size_t)(t / 32) * n + blockIdx.x * 64 + t % 32 * 2;
    float acc[4][4] = {};
    float2 va = *(const float2 *)pa, vb = *(const float2 *)pb;
    int buffer = 0;
    for (int p = 0; p < k; p += 8) {
        as[buffer][t % 4 * 2][t / 4] = va.x;
        as[buffer][t % 4 * 2 + 1][t / 4] = va.y;
        *(float2 *)&bs[buffer][t / 32][t % 32 * 2] = vb;
        __syncthreads();
        if (p + 8 < k) {
            va = *(const float2 *)(pa + p + 8);
            vb = *(const float2 *)(pb + (size_t)(p + 8) * n);
        }
#pragma unroll
        for (int q = 0; q < 8; ++q) {
            float4 x = *(float4 *)&as[buffer][q][ty * 4], y = *(float4 *)&bs[buffer][q][tx * 4];
            float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) acc[i][j] += xs[i] * ys[j];
        }
        buffer ^= 1;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float4 *to = (float4 *)&c[(size_t)(blockIdx.y * 64 + ty * 4 + i) * n + blockIdx.x * 64 + tx * 4], old = *to;
        *to = make_float4(alpha * acc[i][0] + beta * old.x, alpha * acc[i][1] + beta * old.y, alpha * acc[i][2] + beta * old.z,
                          alpha * acc[i][3] + beta * old.w);
    }
}

struct Moments {
    float mean, m2;
    int count;
};

__device__ Moments merge(Moments a, Moments b) {
    int count = a.count + b.count;
    if (count == 0) return a;
    float d = b.mean - a.mean, share = (float)b.count / count;
    return {a.mean + d * share, a.m2 + b.m2 + d * d * a.count * share, count};
}

// one warp a row
extern "C" __global__ void layer_norm(const float *in, const float *gamma, const float *beta, float *out, int rows, int columns, float eps) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    Moments m = {0.f, 0.f, 0};
    for (int c = lane; c < columns; c += 32) {
        float v = in[row * columns + c];
        m.count++;
        float d = v - m.mean;
        m.mean += d / m.count;
        m.m2 += d * (v - m.mean);
    }
    for (int d = 16; d; d /= 2) {
        Moments o = {__shfl_xor_sync(~0u, m.mean, d), __shfl_xor_sync(~0u, m.m2, d), __shfl_xor_sync(~0u, m.count, d)};
        m = (lane & d) ? merge(o, m) : merge(m, o);
    }
    float scale = rsqrtf(m.m2 / columns + eps);
    for (int c = lane; c < columns; c += 32) out[row * columns + c] = (in[row * columns + c] - m.mean) * scale * gamma[c] + beta[c];
}

// a block of 128 threads transforms 256 complex numbers, radix 2, bit-reversed input
extern "C" __global__ void fft256(const float2 *in, float2 *out) {
    __shared__ float2 s[256];
    int t = threadIdx.x;
    for (int i = t; i < 256; i += 128) s[__brev(i) >> 24] = in[blockIdx.x * 256 + i];
    __syncthreads();
    for (int half = 1; half < 256; half *= 2) {
        int k = t & (half - 1), i = 2 * t - k;
        float sine, cosine;
        sincospif(-(float)k / half, &sine, &cosine);
        float2 a = s[i], b = s[i + half];
        float2 w = make_float2(b.x * cosine - b.y * sine, b.x * sine + b.y * cosine);
        s[i] = make_float2(a.x + w.x, a.y + w.y);
        s[i + half] = make_float2(a.x - w.x, a.y - w.y);
        __syncthreads();
    }
    for (int i = t; i < 256; i += 128) out[blockIdx.x * 256 + i] = s[i];
}

// 256 threads sort 256 keys, two bits a pass, ranks by ballots
extern "C" __global__ void radix_sort(unsigned *keys) {
    __shared__ unsigned s[256], counts[4][8];
    unsigned t = threadIdx.x, lane = t % 32, warp = t / 32, key = keys[blockIdx.x * 256 + t];
    for (unsigned shift = 0; shift < 32; shift += 2) {
        unsigned digit = key >> shift & 3, mine = 0;
        for (unsigned d = 0; d < 4; ++d) {
            unsigned votes = __ballot_sync(~0u, digit == d);
            if (digit == d) mine = votes;
            if (lane == 0) counts[d][warp] = __popc(votes);
        }
        unsigned rank = __popc(mine & ((1u << lane) - 1));
        __syncthreads();
        if (t < 32) {
            unsigned *c = &counts[0][0], v = c[t], sum = v;
            for (unsigned d = 1; d < 32; d *= 2) {
                unsigned up = __shfl_up_sync(~0u, sum, d);
                if (t >= d) sum += up;
            }
            c[t] = sum - v;
        }
        __syncthreads();
        s[counts[digit][warp] + rank] = key;
        __syncthreads();
        key = s[t];
        __syncthreads();
    }
    keys[blockIdx.x * 256 + t] = key;
}
