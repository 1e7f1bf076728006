// Address spaces: local arrays with dynamic indices, constant tables, initialised globals, structures by value, dynamic shared memory.
#include <cstdint>

// the `k` smallest of a row by insertion into a local array
extern "C" __global__ void local_arrays(const float *in, int columns, int k, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float best[16];
    int filled = 0;
    for (int c = 0; c < columns; ++c) {
        float v = in[i * columns + c];
        int at = filled;
        while (at > 0 && best[at - 1] > v) {
            if (at < k) best[at] = best[at - 1];
            --at;
        }
        if (at < k) {
            best[at] = v;
            filled = min(filled + 1, k);
        }
    }
    for (int j = 0; j < k; ++j) out[i * k + j] = best[j];
}

__constant__ unsigned crc_nibbles[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                         0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
struct Filter {
    float tap[5];
    short shift;
    double gain;
    const char *name;
};
__constant__ Filter filters[3] = {{{1.f, -2.f, 0.5f, 3.f, -1.f}, 1, 0.25, "first"},
                                  {{0.f, 1.f, 0.f, -1.f, 2.f}, -2, 1.5, "second"},
                                  {{0.1f, 0.2f, 0.4f, 0.2f, 0.1f}, 0, -3.0, "third"}};
__device__ unsigned total_letters = 7;
__device__ const uint16_t primes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53};

extern "C" __global__ void crc32(const unsigned char *in, int length, unsigned *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned crc = ~0u;
    for (int k = 0; k < length; ++k) {
        crc ^= in[i * length + k];
        crc = (crc >> 4) ^ crc_nibbles[crc & 15];
        crc = (crc >> 4) ^ crc_nibbles[crc & 15];
    }
    out[i] = ~crc;
}

extern "C" __global__ void filtered(const float *in, const unsigned char *which, double *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const Filter &f = filters[which[i] % 3];
    float s = 0.f;
    for (int k = 0; k < 5; ++k) {
        int at = i + k + f.shift;
        if (at >= 0 && at < n) s = fmaf(f.tap[k], in[at], s);
    }
    unsigned letters = 0;
    for (const char *p = f.name; *p; ++p) ++letters;
    atomicAdd(&total_letters, letters);
    out[i] = s * f.gain + letters + primes[i & 15];
}

extern "C" __global__ void letters(unsigned *out) { *out = total_letters; }

struct Settings {
    int8_t sign;
    int16_t offset[7];
    double scale;
    float table[32];
    struct {
        unsigned char bytes[3];
        long long wide;
    } inner;
    float *out;
};

// a structure by value, indexed dynamically and through a reference
extern "C" __global__ void settings(const __grid_constant__ Settings s, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const Settings *p = &s;
    s.out[i] = s.sign * p->table[i % 32] + s.offset[i % 7] + (float)(s.scale * s.inner.bytes[i % 3]) + (float)s.inner.wide;
}

// the same, with a copy the kernel changes
extern "C" __global__ void changed_settings(Settings s, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    s.table[i % 32] += i;
    float sum = 0.f;
    for (int k = 0; k < 32; ++k) sum += s.table[(k + i) % 32];
    s.out[i] = sum + s.offset[(i + 3) % 7];
}

// dynamic shared memory cut into arrays of several types
extern "C" __global__ void carved(const double *in, double *out, int n) {
    extern __shared__ __align__(16) unsigned char raw[];
    double *d = (double *)raw;
    float *f = (float *)(d + blockDim.x);
    short *h = (short *)(f + blockDim.x);
    signed char *c = (signed char *)(h + blockDim.x);
    int t = threadIdx.x, i = blockIdx.x * blockDim.x + t, m = blockDim.x;
    double v = i < n ? in[i] : 0.0;
    d[t] = v;
    f[t] = (float)v;
    h[t] = (short)(v * 8);
    c[t] = (signed char)t;
    __syncthreads();
    int u = m - 1 - t;
    if (i < n) out[i] = d[u] + f[(t + 1) % m] + h[(t + 2) % m] + c[u];
}

// unaligned copies, bytes and vectors of all widths
extern "C" __global__ void vectors(const uint4 *in, uint4 *out, const ushort2 *a, uchar2 *b, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    uint4 v = in[i];
    v.x ^= v.w;
    v.y += v.z;
    out[i] = v;
    ushort2 s = a[i];
    b[i] = make_uchar2(s.x >> 4, s.y & 0xff);
    int4 *signed_out = (int4 *)out;
    int4 w = signed_out[i];
    w.z = w.z >> 3;
    signed_out[i] = w;
}
