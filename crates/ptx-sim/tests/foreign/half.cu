// Half precision and bfloat16, in pairs and alone.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// out: 9 pairs a thread
extern "C" __global__ void half_pairs(const __half2 *a, const __half2 *b, const __half2 *c, __half2 *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __half2 x = a[i], y = b[i], z = c[i], *o = out + 9 * i;
    o[0] = __hadd2(x, y);
    o[1] = __hmul2(x, y);
    o[2] = __hfma2(x, y, z);
    o[3] = __hsub2(x, z);
    o[4] = __hmin2(x, y);
    o[5] = __hmax2_nan(x, y);
    o[6] = __hgt2(x, y);
    o[7] = __lows2half2(__hneg2(x), __habs2(y));
    o[8] = __hadd2_sat(x, y);
}

// out: 9 pairs a thread
extern "C" __global__ void bfloat_pairs(const __nv_bfloat162 *a, const __nv_bfloat162 *b, const __nv_bfloat162 *c, __nv_bfloat162 *out,
                                        int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __nv_bfloat162 x = a[i], y = b[i], z = c[i], *o = out + 9 * i;
    o[0] = __hadd2(x, y);
    o[1] = __hmul2(x, y);
    o[2] = __hfma2(x, y, z);
    o[3] = __hsub2(x, z);
    o[4] = __hmin2(x, y);
    o[5] = __hmax2(x, y);
    o[6] = __hle2(x, y);
    o[7] = __halves2bfloat162(__hneg(x.x), __habs(y.y));
    o[8] = __hfma2_relu(x, y, z);
}

// out: 6 floats a thread
extern "C" __global__ void half_conversions(const float *in, float *out, short *whole, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = in[i], *o = out + 6 * i;
    o[0] = __half2float(__float2half(v));
    o[1] = __half2float(__float2half_rz(v));
    o[2] = __bfloat162float(__float2bfloat16(v));
    __half2 pair = __floats2half2_rn(v, -v);
    o[3] = __low2float(pair) - __high2float(pair);
    o[4] = __half2float(hsqrt(__float2half(fabsf(v))));
    o[5] = __half2float(__hdiv(__float2half(v), __float2half(3.f)));
    whole[2 * i] = __half2short_rn(__float2half(v));
    whole[2 * i + 1] = __half_as_short(__int2half_rn((int)v));
}

// softmax of rows in half precision, statistics in float; a block of 64 threads a row, an even number of columns
extern "C" __global__ void half_softmax(const __half2 *in, __half2 *out, int pairs) {
    __shared__ float shared[2];
    const __half2 *x = in + (size_t)blockIdx.x * pairs;
    float top = -INFINITY, sum = 0.f;
    for (int k = threadIdx.x; k < pairs; k += 64) {
        float2 v = __half22float2(x[k]);
        top = fmaxf(top, fmaxf(v.x, v.y));
    }
    for (int d = 16; d; d /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = top;
    __syncthreads();
    top = fmaxf(shared[0], shared[1]);
    __syncthreads();
    for (int k = threadIdx.x; k < pairs; k += 64) {
        float2 v = __half22float2(x[k]);
        sum += __expf(v.x - top) + __expf(v.y - top);
    }
    for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = shared[0] + shared[1];
    for (int k = threadIdx.x; k < pairs; k += 64) {
        float2 v = __half22float2(x[k]);
        out[(size_t)blockIdx.x * pairs + k] = __floats2half2_rn(__expf(v.x - top) / sum, __expf(v.y - top) / sum);
    }
}
