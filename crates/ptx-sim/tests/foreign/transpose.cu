// Transposition: naive, through a padded shared tile, and of bytes through four-byte vectors and byte permutation.

extern "C" __global__ void transpose_naive(const float *in, float *out, int rows, int columns) {
    int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y;
    if (r < rows && c < columns) out[c * rows + r] = in[r * columns + c];
}

// blocks of 32 x 8
extern "C" __global__ void transpose_tile(const double *in, double *out, int rows, int columns) {
    __shared__ double tile[32][33];
    int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
#pragma unroll
    for (int k = 0; k < 32; k += 8)
        if (r + k < rows && c < columns) tile[threadIdx.y + k][threadIdx.x] = in[(r + k) * columns + c];
    __syncthreads();
    c = blockIdx.y * 32 + threadIdx.x;
    r = blockIdx.x * 32 + threadIdx.y;
#pragma unroll
    for (int k = 0; k < 32; k += 8)
        if (r + k < columns && c < rows) out[(r + k) * rows + c] = tile[threadIdx.x][threadIdx.y + k];
}

// each thread transposes 4 x 4 bytes; rows and columns are multiples of 4, counted in units of 4
extern "C" __global__ void transpose_bytes(const unsigned *in, unsigned *out, int rows4, int columns4) {
    int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y;
    if (r >= rows4 || c >= columns4) return;
    unsigned v[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = in[(4 * r + k) * columns4 + c];
    unsigned lo0 = __byte_perm(v[0], v[1], 0x5140), hi0 = __byte_perm(v[0], v[1], 0x7362);
    unsigned lo1 = __byte_perm(v[2], v[3], 0x5140), hi1 = __byte_perm(v[2], v[3], 0x7362);
    unsigned *to = out + 4 * c * rows4 + r;
    to[0] = __byte_perm(lo0, lo1, 0x5410);
    to[rows4] = __byte_perm(lo0, lo1, 0x7632);
    to[2 * rows4] = __byte_perm(hi0, hi1, 0x5410);
    to[3 * rows4] = __byte_perm(hi0, hi1, 0x7632);
}
