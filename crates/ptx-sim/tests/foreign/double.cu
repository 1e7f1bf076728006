// Double precision through the headers' library: division, roots, exponentials, trigonometry with large arguments.

// out: 12 values a thread
extern "C" __global__ void doubles(const double *a, const double *b, double *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double x = a[i], y = b[i], *o = out + 12 * i;
    o[0] = x / y;
    o[1] = sqrt(fabs(x));
    o[2] = exp(y);
    o[3] = log(fabs(x));
    o[4] = sin(x);
    o[5] = cos(x);
    o[6] = pow(fabs(x), y);
    o[7] = tanh(y);
    o[8] = cbrt(x);
    o[9] = fmod(x, y);
    o[10] = hypot(x, y);
    o[11] = atan2(x, y);
}

// out: 10 values a thread
extern "C" __global__ void roundings(const double *a, const double *b, double *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double x = a[i], y = b[i], *o = out + 10 * i;
    o[0] = __dadd_ru(x, y) - __dadd_rd(x, y);
    o[1] = __ddiv_rz(x, y);
    o[2] = floor(x) + ceil(y);
    o[3] = rint(x) + round(y) + trunc(x);
    o[4] = __fma_rd(x, y, x);
    o[5] = (double)(long long)x + (double)(unsigned)fabs(y);
    o[6] = (double)(float)x - (double)__double2float_ru(x);
    o[7] = __longlong_as_double(__double_as_longlong(x) ^ (1ll << 63));
    o[8] = (double)__double2int_rn(y) + (double)__double2ull_rd(fabs(x));
    o[9] = fmin(x, y) * copysign(1.0, fmax(x, -y));
}

// out: 12 values a thread
extern "C" __global__ void singles(const float *a, const float *b, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], y = b[i], *o = out + 12 * i;
    o[0] = x / y;
    o[1] = sqrtf(fabsf(x));
    o[2] = expf(y);
    o[3] = logf(fabsf(x));
    o[4] = sinf(x);
    o[5] = cosf(x);
    o[6] = powf(fabsf(x), y);
    o[7] = tanhf(y);
    o[8] = erff(y);
    o[9] = log1pf(fabsf(x)) + expm1f(y);
    o[10] = fmodf(x, y);
    o[11] = rsqrtf(fabsf(x)) + __fdividef(y, x) + __expf(y) + __logf(fabsf(x)) + __sinf(y);
}

__device__ double simpson(double low, double high, int pieces) {
    double h = (high - low) / pieces, s = exp(-low * low) + exp(-high * high);
    for (int k = 1; k < pieces; ++k) s += (k % 2 ? 4 : 2) * exp(-(low + k * h) * (low + k * h));
    return s * h / 3;
}

// integral of the bell curve: 2/sqrt(pi) times it is the error function
extern "C" __global__ void integral(const double *to, double *out, double *reference, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    out[i] = simpson(0, to[i], 64);
    reference[i] = erf(to[i]);
}
