// flags: -lineinfo
// Real calls: functions that are not inlined, recursion, structures by value, function pointers, virtual methods, jump tables.

struct Pair {
    long long low, high;
    float weight;
};

__noinline__ __device__ Pair combine(Pair a, Pair b, char tag) {
    Pair r;
    r.low = a.low < b.low ? a.low : b.low;
    r.high = a.high > b.high ? a.high : b.high;
    r.weight = a.weight + b.weight * tag;
    return r;
}

extern "C" __global__ void structs(const long long *in, long long *out, float *weight, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    Pair p = {in[i], in[i], 1.f};
    for (int k = 1; k < 5; ++k) {
        long long v = in[(i + k) % n];
        p = combine(p, Pair{v, v + k, 0.5f}, (char)(k - 2));
    }
    out[2 * i] = p.low;
    out[2 * i + 1] = p.high;
    weight[i] = p.weight;
}

__noinline__ __device__ unsigned ackermann(unsigned m, unsigned n) {
    if (m == 0) return n + 1;
    if (n == 0) return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}

__noinline__ __device__ bool odd(unsigned n);
__noinline__ __device__ bool even(unsigned n) { return n == 0 ? true : odd(n - 1); }
__noinline__ __device__ bool odd(unsigned n) { return n == 0 ? false : even(n - 1); }

__device__ void quicksort(int *v, int low, int high) {
    if (low >= high) return;
    int pivot = v[(low + high) / 2], i = low, j = high;
    while (i <= j) {
        while (v[i] < pivot) ++i;
        while (v[j] > pivot) --j;
        if (i <= j) {
            int t = v[i];
            v[i++] = v[j];
            v[j--] = t;
        }
    }
    quicksort(v, low, j);
    quicksort(v, i, high);
}

// each thread sorts 24 numbers in local memory and adds what recursion gives
extern "C" __global__ void recursion(const int *in, int *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v[24];
    for (int k = 0; k < 24; ++k) v[k] = in[24 * i + k];
    quicksort(v, 0, 23);
    for (int k = 0; k < 24; ++k) out[24 * i + k] = v[k];
    out[24 * i] += ackermann(i % 3, i % 5) + (even(i % 20) ? 1000 : 0);
}

__noinline__ __device__ float op_add(float a, float b) { return a + b; }
__noinline__ __device__ float op_sub(float a, float b) { return a - b; }
__noinline__ __device__ float op_mul(float a, float b) { return a * b; }
__noinline__ __device__ float op_div(float a, float b) { return a / b; }
typedef float (*Operation)(float, float);
__device__ Operation operations[4] = {op_add, op_sub, op_mul, op_div};

extern "C" __global__ void pointers(const unsigned char *which, const float *a, const float *b, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = operations[which[i] & 3](a[i], b[i]);
}

struct Shape {
    __device__ virtual float area() const = 0;
    __device__ virtual float scaled(float by) const { return area() * by; }
};
struct Rectangle : Shape {
    float w, h;
    __device__ Rectangle(float w, float h) : w(w), h(h) {}
    __device__ float area() const override { return w * h; }
};
struct Disc : Shape {
    float r;
    __device__ Disc(float r) : r(r) {}
    __device__ float area() const override { return 3.f * r * r; }
    __device__ float scaled(float by) const override { return area() * by * by; }
};

extern "C" __global__ void virtuals(const float *a, const float *b, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    Rectangle rectangle(a[i], b[i]);
    Disc disc(a[i]);
    const Shape *shape = a[i] > b[i] ? (const Shape *)&rectangle : (const Shape *)&disc;
    out[i] = shape->scaled(b[i]) - shape->area();
}

// a stack machine: one instruction a byte
extern "C" __global__ void machine(const unsigned char *program, int length, const unsigned *in, unsigned *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned a = in[i], b = i, c = 1;
    for (int pc = 0; pc < length; ++pc) {
        switch (program[(pc + (a & 1)) % length] % 12) {
        case 0: a += b; break;
        case 1: a -= c; break;
        case 2: b *= a | 1; break;
        case 3: c ^= a >> 3; break;
        case 4: a = b / (c | 1); break;
        case 5: b = a % (c | 7); break;
        case 6: c = __brev(c); break;
        case 7: a = __popc(a) + c; break;
        case 8: b = (b << 5) | (b >> 27); break;
        case 9: { unsigned t = a; a = b; b = c; c = t; break; }
        case 10: if (a > b) c += 17; break;
        default: a = a * 1664525u + 1013904223u;
        }
    }
    out[i] = a ^ b ^ c;
}

// The compiler makes comparisons of its switches; hand-written code has the table.
extern "C" __global__ void jump_table(const unsigned *which, const unsigned *in, unsigned *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned v = in[i];
    for (unsigned k = 0; k < 3; ++k) {
        asm volatile("{\n"
                     "  bra.uni start;\n"
                     "table: .branchtargets zero, one, two, three, three, five;\n"
                     "zero:  add.u32 %0, %0, 77; bra.uni done;\n"
                     "one:   xor.b32 %0, %0, 0x55aa; bra.uni done;\n"
                     "two:   brev.b32 %0, %0; bra.uni done;\n"
                     "three: mul.lo.u32 %0, %0, 2654435761; bra.uni done;\n"
                     "start: brx.idx %1, table;\n"
                     "five:  shr.u32 %0, %0, 1;\n"
                     "done:\n"
                     "}"
                     : "+r"(v)
                     : "r"((which[i] + k) % 6));
    }
    out[i] = v;
}
