//! Static and dynamic shared memory.

/// A block-wide array of `len` elements in shared memory: `shared_array![f32; 256]` is a `*mut f32` to it.
///
/// The array is static: one expansion of the macro is one array, however often it is executed or inlined, and two
/// expansions are two arrays. `len` is a constant expression. The array is aligned to 16 bytes, or to its element's
/// alignment where that is more. Its memory is uninitialised.
///
/// The pointer is generic, so that it is an ordinary Rust pointer; loads through it are `ld`, not `ld.shared`. A hot loop
/// can convert it once (`cvta.to.shared`) and use explicit shared-memory instructions.
///
/// # Safety
///
/// Nothing about the use of shared memory is checked. The kernel must uphold:
/// - every element is written before it is read;
/// - a value written by another thread is read only after a [`sync_threads`](crate::thread::sync_threads) that both passed;
/// - an element is not overwritten while another thread may still read it: that takes a barrier too;
/// - no access is out of bounds, whatever the block's size;
/// - nothing is shared between blocks.
///
/// # Example
///
/// ```
/// # #![allow(unsafe_op_in_unsafe_fn)]
/// use cuda_std::{prelude::*, shared_array};
///
/// /// Reverses an array of `n <= 64` elements with one block of `n` threads.
/// #[kernel]
/// pub unsafe fn reverse(data: *mut i32, n: u32) {
///     let tile = shared_array![i32; 64];
///     let i = thread::thread_idx_x();
///     *tile.add(i as usize) = *data.add(i as usize);
///     thread::sync_threads();
///     *data.add(i as usize) = *tile.add((n - 1 - i) as usize);
/// }
/// ```
#[macro_export]
macro_rules! shared_array {
    ($array_type:ty; $len:expr) => {
        $crate::__shared_array_name!($array_type; $len)
    };
}

// rustc cannot place a static in shared memory, and a `.shared` declaration inside `asm!` would be one array for each
// copy that LLVM makes of the block. So the asm only names the array, and its declaration travels in a comment that
// cuda_builder hoists to the head of the module, once for each name.
#[cfg(target_arch = "nvptx64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __shared_array_named {
    ($name:literal; $array_type:ty; $len:expr) => {{
        let array: *mut $array_type;
        // SAFETY: the asm computes an address; it reads and writes no memory.
        #[allow(unused_unsafe)]
        unsafe {
            ::core::arch::asm!(
                ::core::concat!("// cuda_std.declare: .shared .align {align} .b8 ", $name, "_{bytes}[{bytes}];"),
                "{{ .reg .u64 t;",
                ::core::concat!("mov.u64 t, ", $name, "_{bytes};"),
                "cvta.shared.u64 {array}, t; }}",
                array = out(reg64) array,
                bytes = const ::core::mem::size_of::<$array_type>() * ($len),
                align = const {
                    let align = ::core::mem::align_of::<$array_type>();
                    if align < 16 { 16 } else { align }
                },
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        array
    }};
}

#[cfg(not(target_arch = "nvptx64"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __shared_array_named {
    ($name:literal; $array_type:ty; $len:expr) => {{
        // The length is a constant here too, so a mistake in it is found on the host.
        const _: usize = ::core::mem::size_of::<$array_type>() * ($len);
        $crate::shared::__host_array::<$array_type>()
    }};
}

#[doc(hidden)]
#[cfg(not(target_arch = "nvptx64"))]
pub fn __host_array<T>() -> *mut T {
    panic!("`shared_array!` runs only on the GPU")
}

/// A pointer to the dynamic shared memory of the block, whose size the launch chose. Every call gives the same pointer,
/// aligned to 128 bytes. The memory is uninitialised; the rules of [`shared_array!`](crate::shared_array) apply.
#[inline(always)]
#[crate::gpu_only]
pub fn dynamic_shared_mem<T>() -> *mut T {
    let memory: *mut T;
    // SAFETY: the asm computes an address; it reads and writes no memory.
    unsafe {
        core::arch::asm!(
            "// cuda_std.declare: .extern .shared .align 128 .b8 cuda_std_dynamic_shared[];",
            "{{ .reg .u64 t; mov.u64 t, cuda_std_dynamic_shared; cvta.shared.u64 {}, t; }}",
            out(reg64) memory,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    memory
}
