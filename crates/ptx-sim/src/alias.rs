//! Global memory as several threads see it that run blocks of one launch at once: each access is an atomic one of the
//! element's size, with acquire and release semantics (plain moves on x86-64), so kernels that synchronise through memory
//! find what they were promised, and threads of the simulator never race.
//!
//! What a kernel's own race does is undefined in PTX and stays confined here to the values it reads: Rust leaves concurrent
//! atomic accesses of different sizes to one place unspecified, processors do not.

use crate::arena::Arena;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// The bytes of an [`Arena`], and its initialisation bits, shared between threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alias {
    bytes: NonNull<u8>,
    len: usize,
    /// One bit per byte; none once all bytes were written.
    init: Option<NonNull<u64>>,
    words: usize,
}

// SAFETY: an alias is a pointer to bytes that are accessed through atomics only for as long as aliases exist; `Alias::new`
// puts that on its caller.
unsafe impl Send for Alias {}

/// Serialises atomics at addresses that no instruction of the host can update at once.
static MISALIGNED: Mutex<()> = Mutex::new(());

macro_rules! element {
    ($load:ident, $store:ident, $t:ty, $atomic:ty) => {
        impl Alias {
            /// The element at byte `at`.
            #[inline]
            pub(crate) fn $load(&self, at: usize) -> $t {
                const N: usize = size_of::<$t>();
                let p = self.place(at, N).cast::<$t>();
                if p.is_aligned() {
                    // SAFETY: `place` checked the bounds, the line above the alignment; the bytes outlive the alias and
                    // nobody accesses them but through atomics (contract of `Alias::new`).
                    return unsafe { <$atomic>::from_ptr(p.as_ptr()) }.load(Ordering::Acquire);
                }
                let mut raw = [0; N];
                self.read(at, &mut raw);
                <$t>::from_le_bytes(raw)
            }

            /// Sets the element at byte `at`.
            #[inline]
            pub(crate) fn $store(&self, at: usize, v: $t) {
                let p = self.place(at, size_of::<$t>()).cast::<$t>();
                if p.is_aligned() {
                    // SAFETY: as for loads.
                    unsafe { <$atomic>::from_ptr(p.as_ptr()) }.store(v, Ordering::Release);
                } else {
                    self.write(at, &v.to_le_bytes());
                }
            }
        }
    };
}
element!(load8, store8, u8, AtomicU8);
element!(load16, store16, u16, AtomicU16);
element!(load32, store32, u32, AtomicU32);
element!(load64, store64, u64, AtomicU64);

impl Alias {
    /// Shares an arena.
    ///
    /// # Safety
    /// While the alias or a copy of it is used, the arena must not be accessed in any other way, moved out of or dropped.
    pub(crate) unsafe fn new(arena: &mut Arena) -> Alias {
        let words = arena.init.words_mut();
        let (init, n) = (NonNull::new(words.as_mut_ptr()), words.len());
        let init = init.filter(|_| n > 0);
        let bytes = NonNull::from(arena.bytes.as_mut_slice());
        Alias { bytes: bytes.cast(), len: bytes.len(), init, words: n }
    }

    /// A pointer to `n` bytes from `at` on, which panics like a slice when they are not all inside.
    #[inline]
    fn place(&self, at: usize, n: usize) -> NonNull<u8> {
        assert!(at <= self.len && n <= self.len - at, "{n} bytes at {at} of {}", self.len);
        // SAFETY: the assertion keeps the sum inside the allocation.
        unsafe { self.bytes.add(at) }
    }

    /// Copies bytes out, one by one.
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) {
        out.iter_mut().enumerate().for_each(|(i, b)| *b = self.load8(at + i));
    }

    /// Copies bytes in, one by one.
    pub(crate) fn write(&self, at: usize, data: &[u8]) {
        data.iter().enumerate().for_each(|(i, b)| self.store8(at + i, *b));
    }

    /// Replaces the element of `bytes` (2, 4 or 8) at `at` by `f` of it, at once; the element before.
    pub(crate) fn update(&self, at: usize, bytes: usize, f: impl Fn(u64) -> u64) -> u64 {
        macro_rules! update {
            ($t:ty, $atomic:ty) => {{
                let p = self.place(at, bytes).cast::<$t>();
                if p.is_aligned() {
                    // SAFETY: as for loads.
                    let cell = unsafe { <$atomic>::from_ptr(p.as_ptr()) };
                    let mut old = cell.load(Ordering::Acquire);
                    loop {
                        let new = f(old as u64) as $t;
                        match cell.compare_exchange_weak(old, new, Ordering::SeqCst, Ordering::Acquire) {
                            Ok(_) => return old as u64,
                            Err(now) => old = now,
                        }
                    }
                }
            }};
        }
        match bytes {
            2 => update!(u16, AtomicU16),
            4 => update!(u32, AtomicU32),
            _ => update!(u64, AtomicU64),
        }
        let _guard = MISALIGNED.lock();
        let mut raw = [0; 8];
        self.read(at, &mut raw[..bytes]);
        let old = u64::from_le_bytes(raw);
        self.write(at, &f(old).to_le_bytes()[..bytes]);
        old
    }

    /// Bytes `at..at + n` have been written.
    #[inline]
    pub(crate) fn initialise(&self, at: usize, n: usize) {
        let Some(init) = self.init else { return };
        crate::arena::each_word(at, n, |w, mask| {
            assert!(w < self.words);
            // SAFETY: the assertion keeps the pointer inside the words, which are aligned, outlive the alias and are accessed
            // through atomics only (contract of `Alias::new`).
            let word = unsafe { AtomicU64::from_ptr(init.add(w).as_ptr()) };
            if word.load(Ordering::Relaxed) & mask != mask {
                word.fetch_or(mask, Ordering::Relaxed);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_bytes_and_bits() {
        let mut arena = Arena::new(4096);
        arena.bytes.fill(0);
        // SAFETY: the arena is touched again only when the threads below have ended.
        let alias = unsafe { Alias::new(&mut arena) };
        std::thread::scope(|s| {
            for t in 0..4usize {
                s.spawn(move || {
                    let alias = &{ alias };
                    for i in 0..1000 {
                        alias.update(8, 4, |v| v + 1);
                        alias.update(17, 4, |v| v + 2);
                        alias.store16(64 + 8 * (t + 4 * (i % 100)), i as u16);
                        alias.initialise(64 + 8 * (t + 4 * (i % 100)), 2);
                    }
                });
            }
        });
        assert_eq!((alias.load32(8), alias.load32(17)), (4000, 8000));
        arena.init.recount(4096);
        let written = (0..4096).filter(|i| arena.init.test(*i, 1)).count();
        assert_eq!(written, 800);
        assert!(arena.init.test(64 + 8 * 399, 2) && !arena.init.test(64 + 8 * 399, 3));
        assert_eq!(arena.bytes[64..66], 900u16.to_le_bytes());
    }

    #[test]
    #[should_panic(expected = "4 bytes at 61 of 64")]
    fn outside_is_no_place() {
        let mut arena = Arena::new(64);
        // SAFETY: the arena is not touched again.
        unsafe { Alias::new(&mut arena) }.load32(61);
    }
}
