// Escape times: lanes leave the loop one by one; nested breaks and an early return diverge further.

extern "C" __global__ void mandelbrot(unsigned short *out, int w, int h, double x0, double y0, double step, int limit) {
    int px = blockIdx.x * blockDim.x + threadIdx.x, py = blockIdx.y * blockDim.y + threadIdx.y;
    if (px >= w || py >= h) return;
    double cx = x0 + px * step, cy = y0 + py * step, x = 0, y = 0;
    int i = 0;
    while (i < limit) {
        double xx = __dmul_rn(x, x), yy = __dmul_rn(y, y);
        if (__dadd_rn(xx, yy) > 4.0) break;
        y = __dadd_rn(__dmul_rn(__dmul_rn(2.0, x), y), cy);
        x = __dadd_rn(__dsub_rn(xx, yy), cx);
        ++i;
    }
    out[py * w + px] = i;
}

// length of the Collatz sequence; numbers whose sequence passes `stop` report where
extern "C" __global__ void collatz(const unsigned *in, unsigned *out, unsigned n, unsigned stop) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned long long v = in[i];
    unsigned steps = 0;
    for (;;) {
        if (v == stop) {
            out[i] = 0x80000000u | steps;
            return;
        }
        if (v <= 1) break;
        while (v % 2 == 0) {
            v /= 2;
            ++steps;
            if (v == stop) break;
        }
        if (v > 1 && v != stop) {
            v = 3 * v + 1;
            ++steps;
        }
        if (steps > 300) break;
    }
    out[i] = steps;
}
