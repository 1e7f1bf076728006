// Integer tricks: bits, bytes, dot products of bytes, funnel shifts, high products, 64- and 128-bit arithmetic; Philox random numbers.
#include <cstdint>

// out: 20 values a thread
extern "C" __global__ void words(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    uint32_t x = a[i], y = b[i], z = c[i], *o = out + 20 * i;
    o[0] = __popc(x) + 64 * __clz(y) + 4096 * __ffs(z);
    o[1] = __brev(x);
    o[2] = __byte_perm(x, y, z & 0x7777);
    o[3] = __dp4a((int)x, (int)y, (int)z);
    o[4] = __dp4a(x, y, z);
    o[5] = __dp2a_lo((int)x, (int)y, (int)z);
    o[6] = __dp2a_hi(x, y, z);
    o[7] = __funnelshift_l(x, y, z);
    o[8] = __funnelshift_rc(x, y, z & 63);
    o[9] = __umulhi(x, y);
    o[10] = __mulhi((int)x, (int)y);
    o[11] = __umul24(x, y) + __mul24((int)y, (int)z);
    o[12] = __sad((int)x, (int)y, z);
    o[13] = __uhadd(x, y) ^ __rhadd((int)x, (int)y);
    o[14] = (x & y) | (~y & z);
    o[15] = (x / (y | 1)) + (uint32_t)((int)x % ((int)z | 1));
    o[16] = (uint32_t)((int)x >> (y & 31)) ^ (x << (z & 31));
    o[17] = max((int)x, (int)y) ^ min(x, z);
    o[18] = (uint32_t)(int8_t)x + (uint32_t)(int16_t)y + (uint8_t)z;
    o[19] = __vadd4(x, y) ^ __vhaddu4(y, z) ^ __vmaxs2(x, z) ^ __vcmpgtu4(x, y);
}

// out: 10 values a thread
extern "C" __global__ void long_words(const uint64_t *a, const uint64_t *b, uint64_t *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    uint64_t x = a[i], y = b[i], *o = out + 10 * i;
    o[0] = x / (y | 1);
    o[1] = x % (y | 1);
    o[2] = (uint64_t)((int64_t)x / ((int64_t)y | 1)) ^ (uint64_t)((int64_t)x % ((int64_t)y | 1));
    o[3] = __umul64hi(x, y);
    o[4] = (uint64_t)__mul64hi((int64_t)x, (int64_t)y);
    o[5] = __popcll(x) + 128 * __clzll(y) + 32768 * __ffsll(x & y);
    o[6] = __brevll(x) ^ (x << (y & 63)) ^ (uint64_t)((int64_t)x >> (y >> 58));
    unsigned __int128 p = (unsigned __int128)x * y + ((unsigned __int128)y << 37);
    o[7] = (uint64_t)(p >> 64) ^ (uint64_t)p;
    unsigned __int128 q = ((unsigned __int128)x << 64 | y) / (y >> 20 | 1);
    o[8] = (uint64_t)(q >> 64) ^ (uint64_t)q;
    o[9] = x > y ? x - y : (uint64_t)(int64_t)(int32_t)y;
}

__device__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        uint32_t h0 = __umulhi(0xD2511F53u, counter.x), l0 = 0xD2511F53u * counter.x;
        uint32_t h1 = __umulhi(0xCD9E8D57u, counter.z), l1 = 0xCD9E8D57u * counter.z;
        counter = make_uint4(h1 ^ counter.y ^ key.x, l1, h0 ^ counter.w ^ key.y, l0);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}

// normal numbers by Box and Muller beside the raw ones
extern "C" __global__ void random_numbers(uint2 key, uint4 *raw, float2 *normal, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    uint4 r = philox(make_uint4(i, 0, 0, 0), key);
    raw[i] = r;
    float u = (r.x + 0.5f) * 2.3283064e-10f, angle = r.y * 1.4629181e-9f;
    float radius = sqrtf(-2.f * logf(u)), s, c;
    sincosf(angle, &s, &c);
    normal[i] = make_float2(radius * c, radius * s);
}
