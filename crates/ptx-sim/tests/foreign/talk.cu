// printf and assert.
#include <cassert>
#include <cstdio>

extern "C" __global__ void talk(const double *x, const char *who, int n) {
    int i = threadIdx.x;
    if (i >= n) return;
    printf("%s: %d of %u has %.3f, %5.1e and %c%%; %lld %#x %08.2f\n", who, i, (unsigned)n, x[i], x[i], 'a' + i, -(long long)i << 40,
           255 * i, -x[i]);
    if (i == 0) printf("no arguments\n");
}

extern "C" __global__ void check(const int *x, int n, int *out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    assert(x[i] >= 0 && "must not be negative");
    out[i] = 2 * x[i];
}
