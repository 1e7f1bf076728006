//! Four consecutive `f32` at a time: one vector access where all four exist and are aligned, scalar accesses elsewhere.

/// Four elements that load and store as one.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Quad(pub f32, pub f32, pub f32, pub f32);

impl From<[f32; 4]> for Quad {
    #[inline(always)]
    fn from([a, b, c, d]: [f32; 4]) -> Quad {
        Quad(a, b, c, d)
    }
}

impl From<Quad> for [f32; 4] {
    #[inline(always)]
    fn from(q: Quad) -> [f32; 4] {
        [q.0, q.1, q.2, q.3]
    }
}

/// Whether `p` may be accessed as a [`Quad`].
#[inline(always)]
pub(crate) fn is_aligned4(p: *const f32) -> bool {
    (p as usize).is_multiple_of(16)
}

/// Loads `x[i..i + count]` (count from 1; at most four are read), zeros in the rest.
///
/// # Safety
/// - `x` covers `i + min(count, 4)` elements.
/// - `aligned` only when `x` is 16-byte aligned and `i` a multiple of four.
#[inline(always)]
pub(crate) unsafe fn load4(x: *const f32, i: u32, count: u32, aligned: bool) -> [f32; 4] {
    // SAFETY: nothing past `count` is read, and the vector form only where four aligned elements exist.
    unsafe {
        let p = x.add(i as usize);
        if aligned && count >= 4 {
            let q = *(p as *const Quad);
            [q.0, q.1, q.2, q.3]
        } else {
            [
                *p,
                if count > 1 { *p.add(1) } else { 0.0 },
                if count > 2 { *p.add(2) } else { 0.0 },
                if count > 3 { *p.add(3) } else { 0.0 },
            ]
        }
    }
}

/// Stores the first `min(count, 4)` of `v` at `x[i..]`.
///
/// # Safety
/// - As [`load4`].
#[inline(always)]
pub(crate) unsafe fn store4(x: *mut f32, i: u32, count: u32, aligned: bool, v: [f32; 4]) {
    // SAFETY: nothing past `count` is written, and the vector form only where four aligned elements exist.
    unsafe {
        let p = x.add(i as usize);
        if aligned && count >= 4 {
            *(p as *mut Quad) = Quad(v[0], v[1], v[2], v[3]);
        } else {
            *p = v[0];
            if count > 1 {
                *p.add(1) = v[1];
            }
            if count > 2 {
                *p.add(2) = v[2];
            }
            if count > 3 {
                *p.add(3) = v[3];
            }
        }
    }
}
