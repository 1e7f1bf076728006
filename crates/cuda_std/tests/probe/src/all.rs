//! The kernels of a release build.

use cuda_std::ptr::AddressSpace;
use cuda_std::assert_ne;
use cuda_std::{prelude::*, shared_array};
use cuda_std::{mem, misc, ptr, shared, warp};
use gpu_kernels::ptx as x;

#[kernel]
pub unsafe fn probe_thread(out: *mut u32) {
    let i = thread::index();
    let v = thread::index_3d();
    let mut sum = v.x + v.y + v.z + thread::index_2d().y + thread::warp_size();
    sum += thread::sync_threads_count(sum & 1);
    sum += thread::sync_threads_and(sum & 1) + thread::sync_threads_or(sum & 2);
    thread::grid_fence();
    thread::device_fence();
    thread::system_fence();
    thread::nanosleep(10);
    if thread::first() {
        sum += 1;
    }
    warp::sync_warp(u32::MAX);
    sum += warp::lane_id() + mem::dynamic_smem_size() + mem::total_smem_size() + misc::clock() as u32;
    misc::profiler_counter(3);
    *out.add(i as usize) = sum;
}

#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(64, 2))]
pub unsafe fn probe_shared(data: *mut f32) {
    let (a, b) = (shared_array![f32; 64], shared_array![u64; 8]);
    let dynamic = shared::dynamic_shared_mem::<f32>();
    let i = thread::thread_idx_x() as usize;
    *a.add(i) = *data.add(i);
    *dynamic.add(i) = 2.0;
    if i < 8 {
        *b.add(i) = i as u64;
    }
    thread::sync_threads();
    let inside = ptr::is_in_address_space(a, AddressSpace::Shared);
    let address = ptr::convert_generic_to_specific_address_space(a as *const f32, AddressSpace::Shared);
    let back = ptr::convert_specific_address_space_to_generic(address, AddressSpace::Shared);
    *data.add(i) = *back.add(63 - i) * *dynamic.add(i) + *b.add(i & 7) as f32 + inside as u32 as f32;
}

#[kernel]
pub unsafe fn probe_ptx(data: *mut f32, bits: *mut u32) {
    let i = thread::thread_idx_x();
    let v = *data.add(i as usize);
    let u = *bits.add(i as usize);
    let mut f = x::shfl_down_f32(v, 1) + x::shfl_xor_f32(v, 2) + x::shfl_idx_f32(v, 3);
    let mut n = x::shfl_down(u, 1) + x::shfl_up(u, 1) + x::shfl_xor(u, 2) + x::shfl_idx(u, 3);
    n += x::ballot(v > 0.0) + x::any(v > 1.0) as u32 + x::all(v > 2.0) as u32 + x::activemask();
    n += x::redux_add(u) + x::redux_min(u) + x::redux_max(u) + x::mulhi_u32(u, n) + x::prmt(u, n, 0x5410);
    f += x::ex2_approx(v) + x::lg2_approx(v) + x::rcp_approx(v) + x::rsqrt_approx(v);
    f += x::tanh_approx(v) + x::sqrt_rn(v) + x::fma(v, v, v);
    f += x::f16_to_f32(x::f32_to_f16(v)) + x::bf16_to_f32(x::f32_to_bf16(v));
    let tile = shared_array![f32; 256];
    let at = x::shared_address(tile as *const f32) + 16 * i;
    x::st_shared_f32x4(at, x::ld_global_f32x4(data));
    x::st_shared_f32(at, x::ld_global_nc_f32(data) + x::ld_global_nc_f32x4(data)[1]);
    let [a, b, c, d] = x::ld_shared_f32x4(at);
    x::st_global_f32x4(data.add(4 * i as usize), [a, b + f, c, d + x::ld_shared_f32(at)]);
    *bits.add(i as usize) = n;
}

#[kernel]
pub unsafe fn probe_atomic(f: *mut f32, d: *mut f64, n: *mut u32, m: *mut i64) {
    use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
    use cuda_std::atomic::{intrinsics as raw, mid, AtomicF32, BlockAtomicF64, SystemAtomicF64};
    let a = &*(f as *const AtomicF32);
    let b = &*(d as *const BlockAtomicF64);
    let c = &*(d as *const SystemAtomicF64);
    a.store(a.load(Acquire) + a.fetch_add(1.5, Relaxed) + a.fetch_sub(2.5, SeqCst), Release);
    b.fetch_or(b.fetch_and(b.fetch_xor(3.0, AcqRel), Acquire), Release);
    c.store(c.load(SeqCst) + c.fetch_sub(0.5, Relaxed), SeqCst);
    let mut u = mid::atomic_fetch_add_u32_device(n, Relaxed, 3) + mid::atomic_fetch_sub_u32_block(n, AcqRel, 2);
    u += mid::atomic_fetch_min_u32_system(n, Release, 5) + mid::atomic_fetch_exch_u32_device(n, SeqCst, 9);
    u += raw::atomic_fetch_cas_acqrel_u32_device(n, u, 7) + raw::atomic_fetch_inc_volatile_u32_block(n);
    u += raw::atomic_load_volatile_32_system(n) + raw::atomic_fetch_dec_release_u32_system(n);
    let mut i = mid::atomic_fetch_max_i64_device(m, Relaxed, -3) + mid::atomic_fetch_add_i64_device(m, Acquire, -4);
    i += mid::atomic_fetch_sub_i64_system(m, Relaxed, i) + raw::atomic_fetch_and_volatile_i64_block(m, 6);
    i += raw::atomic_fetch_cas_volatile_i64_system(m, i, 1);
    mid::device_thread_fence(SeqCst);
    mid::block_thread_fence(AcqRel);
    mid::system_thread_fence(Release);
    raw::membar_block();
    *m.add(1) = i + u as i64;
}

#[kernel]
pub unsafe fn probe_intrinsics(x: *mut f32, n: *mut i32, d: *mut f64, l: *mut i64) {
    use cuda_std::intrinsics::*;
    let (f, i, g, j) = (*x, *n, *d, *l);
    let mut s = 0.0;
    fast_sincosf(f, &mut s, x.add(1));
    *x = s + fast_expf(f) + fast_exp10f(f) + fast_logf(f) + fast_log10f(f) + fast_powf(f, s) + fast_tanf(f)
        + fast_fdividef(f, s) + fadd_rd(f, s) + fsub_ru(f, s) + fmul_rz(f, s) + fdiv_rn(f, s) + frcp_ru(f)
        + fsqrt_rz(f) + fmaf_rd(f, s, f) + frsqrt_rn(f) + half2float(float2half_rn(f)) + saturatef(f)
        + int2float_rd(i) + uint2float_rz(i) + ll2float_ru(j) + ull2float_rn(j) + double2float_rz(g);
    *n = float2int_rd(f) + float2uint_ru(f) + double2int_rn(g) + double2uint_rz(g) + byte_perm(i, i, 0x5140) + brev(i)
        + clz(i) + ffs(i) + popc(i) + mulhi(i, 3) + sad(i, 2, 1) + isnanf(f) + ilogbf(f);
    *d = dadd_rd(g, 1.0) + dmul_ru(g, g) + ddiv_rz(g, 3.0) + drcp_rn(g) + dsqrt_ru(g) + fma_rz(g, g, g)
        + ll2double_rd(j) + ull2double_ru(j) + int2double_rn(i) + uint2double_rn(i) + hiloint2double(i, 3);
    *l = float2ll_rn(f) + float2ull_rz(f) + double2ll_ru(g) + double2ull_rd(g) + mul64hi(j, 5) + umul64hi(j, 6);
}

#[kernel]
pub unsafe fn probe_float_ext(x: *mut f32, d: *mut f64) {
    use cuda_std::FloatExt as F;
    macro_rules! all {
        ($at:expr) => {{
            let v = *$at;
            let (fraction, exponent) = v.frexp();
            let (s, c) = v.sincospi();
            *$at = F::cospi(v) + F::sinpi(v) + v.error_function() + v.complementary_error_function()
                + v.inv_complementary_error_function() + v.scaled_complementary_error_function() + fraction
                + v.ldexp(exponent) + v.j0() + v.j1() + v.jn(3) + v.y0() + v.y1() + v.yn(3) + v.log_gamma() + v.gamma()
                + F::log1p(v) + v.norm_cdf() + v.inv_norm_cdf() + v.rcbrt() + v.saturate()
                + v.scale_by_n(v.unbiased_exp()) + s * c;
        }};
    }
    all!(x);
    all!(d);
}

macro_rules! math {
    ($name:ident, $ty:ty) => {
        /// Every function of GpuFloat, one output each.
        #[kernel]
        pub unsafe fn $name(n: u32, x: *const $ty, y: *const $ty, out: *mut $ty) {
            use cuda_std::GpuFloat as F;
            let i = thread::index_1d();
            if i >= n {
                return;
            }
            let (x, y) = (*x.add(i as usize), *y.add(i as usize));
            let mut to = out.add(i as usize);
            let mut put = |value: $ty| {
                *to = value;
                to = to.add(n as usize);
            };
            put(F::floor(x));
            put(F::ceil(x));
            put(F::round(x));
            put(F::trunc(x));
            put(F::fract(x));
            put(F::abs(x));
            put(F::signum(x));
            put(F::copysign(x, y));
            put(F::mul_add(x, y, 1.5));
            put(F::div_euclid(x, y));
            put(F::rem_euclid(x, y));
            put(F::powi(x, 7));
            put(F::powf(x, y));
            put(F::sqrt(x));
            put(F::exp(x));
            put(F::exp2(x));
            put(F::ln(x));
            put(F::log(x, y));
            put(F::log2(x));
            put(F::log10(x));
            put(F::cbrt(x));
            put(F::hypot(x, y));
            put(F::sin(x));
            put(F::cos(x));
            put(F::tan(x));
            put(F::asin(x));
            put(F::acos(x));
            put(F::atan(x));
            put(F::atan2(x, y));
            put(F::sin_cos(x).0);
            put(F::sin_cos(x).1);
            put(F::exp_m1(x));
            put(F::ln_1p(x));
            put(F::sinh(x));
            put(F::cosh(x));
            put(F::tanh(x));
            put(F::asinh(x));
            put(F::acosh(x));
            put(F::atanh(x));
        }
    };
}
math!(probe_math_f32, f32);
math!(probe_math_f64, f64);
#[kernel]
pub unsafe fn probe_print(n: u32) {
    println!("thread {} of {n}", thread::thread_idx_x());
    println!();
    println!("plain");
    print!("{:?} {:.3}", thread::thread_idx(), 1.5f32);
    assert_ne!(n, 8, "n is {n}");
}

