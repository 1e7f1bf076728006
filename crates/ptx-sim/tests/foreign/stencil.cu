// Stencils: five points in 2D through a shared tile with halo, seven points in 3D marching along z in registers.

// blocks of 16 x 16; the border is copied
extern "C" __global__ void stencil_2d(const float *__restrict__ in, float *__restrict__ out, int w, int h, float centre, float side) {
    __shared__ float tile[18][18];
    int x = blockIdx.x * 16 + threadIdx.x, y = blockIdx.y * 16 + threadIdx.y;
    for (int ty = threadIdx.y; ty < 18; ty += 16)
        for (int tx = threadIdx.x; tx < 18; tx += 16) {
            int gx = min(max((int)(blockIdx.x * 16) + tx - 1, 0), w - 1), gy = min(max((int)(blockIdx.y * 16) + ty - 1, 0), h - 1);
            tile[ty][tx] = in[gy * w + gx];
        }
    __syncthreads();
    if (x >= w || y >= h) return;
    int tx = threadIdx.x + 1, ty = threadIdx.y + 1;
    float v = tile[ty][tx];
    if (x > 0 && y > 0 && x < w - 1 && y < h - 1)
        v = centre * v + side * (tile[ty][tx - 1] + tile[ty][tx + 1] + tile[ty - 1][tx] + tile[ty + 1][tx]);
    out[y * w + x] = v;
}

// blocks of 8 x 8; interior only
extern "C" __global__ void stencil_3d(const float *__restrict__ in, float *__restrict__ out, int nx, int ny, int nz, float c0, float c1) {
    int x = blockIdx.x * 8 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
    __shared__ float plane[2][10][10];
    bool inside = x < nx && y < ny;
    bool interior = x > 0 && y > 0 && x < nx - 1 && y < ny - 1;
    size_t stride = (size_t)nx * ny, at = (size_t)y * nx + x;
    float behind = inside ? in[at] : 0.f, here = inside ? in[at + stride] : 0.f;
    for (int z = 1; z < nz - 1; ++z) {
        float ahead = inside ? in[at + (z + 1) * stride] : 0.f;
        float(*p)[10] = plane[z & 1];
        p[threadIdx.y + 1][threadIdx.x + 1] = here;
        if (inside && threadIdx.x == 0 && x > 0) p[threadIdx.y + 1][0] = in[at + z * stride - 1];
        if (inside && threadIdx.x == 7 && x < nx - 1) p[threadIdx.y + 1][9] = in[at + z * stride + 1];
        if (inside && threadIdx.y == 0 && y > 0) p[0][threadIdx.x + 1] = in[at + z * stride - nx];
        if (inside && threadIdx.y == 7 && y < ny - 1) p[9][threadIdx.x + 1] = in[at + z * stride + nx];
        __syncthreads();
        if (interior)
            out[at + z * stride] = c0 * here + c1 * (p[threadIdx.y + 1][threadIdx.x] + p[threadIdx.y + 1][threadIdx.x + 2] +
                                                     p[threadIdx.y][threadIdx.x + 1] + p[threadIdx.y + 2][threadIdx.x + 1] + behind + ahead);
        behind = here;
        here = ahead;
    }
}
