// Sparse matrix times vector in CSR: a thread a row, and a warp a row.

extern "C" __global__ void spmv_scalar(int rows, const int *row, const int *column, const float *value, const float *x, float *y) {
    int r = blockIdx.x * blockDim.x + threadIdx.x;
    if (r >= rows) return;
    float sum = 0.f;
    for (int k = row[r]; k < row[r + 1]; ++k) sum = fmaf(value[k], __ldg(&x[column[k]]), sum);
    y[r] = sum;
}

extern "C" __global__ void spmv_vector(int rows, const int *row, const int *column, const double *value, const double *x, double *y) {
    int r = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x & 31;
    if (r >= rows) return;
    double sum = 0;
    for (int k = row[r] + lane; k < row[r + 1]; k += 32) sum += value[k] * x[column[k]];
    for (int d = 16; d > 0; d >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, d);
    if (lane == 0) y[r] = sum;
}
