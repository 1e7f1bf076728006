//! Text and failures from the GPU: `print!`, `println!`, `assert_eq!`, `assert_ne!`, and panics.
//!
//! # Printing
//!
//! CUDA's `vprintf` writes into a buffer on the device that the host prints at its next synchronisation: a launch, a
//! blocking copy, a stream's or the device's synchronisation. One call is atomic, and the text of each call is cut at
//! 511 bytes here. Old text is lost when the buffer (1 MiB unless the host changes it) is full.
//!
//! # Failures
//!
//! A failed assertion calls CUDA's `__assertfail`: the driver prints file, line, function, block, thread and message,
//! every later call of the host returns "device-side assert triggered", and no thread goes on. As the function it names
//! the kernel in debug builds, and the module in release builds.
//!
//! * [`assert_eq!`](crate::assert_eq) and [`assert_ne!`](crate::assert_ne) of this crate, imported by name, do that in every
//!   build. (They are not in the prelude: rustc calls a name ambiguous that both a glob and its own prelude bring.)
//! * A panic (core's `assert!`, a bounds check, an overflow check) does it in debug builds; in release builds it traps and
//!   the host sees a launch failure without a text, because carrying the text would cost every kernel registers.
//!
//! To name the kernel, debug builds keep 8 bytes of static shared memory in each kernel.

#[cfg(target_arch = "nvptx64")]
pub use core::arch::nvptx::vprintf;

#[cfg(target_arch = "nvptx64")]
unsafe extern "C" {
    /// Reports a failed assertion to the host; see the module's docs. The strings end with NUL, `char_size` is 1.
    pub fn __assertfail(
        message: *const u8,
        file: *const u8,
        line: u32,
        function: *const u8,
        char_size: usize,
    );
}

/// Bytes of a formatted text, its NUL included.
#[cfg(target_arch = "nvptx64")]
const TEXT_BYTES: usize = 512;

/// A C string formatted on the stack; what does not fit is cut.
#[cfg(target_arch = "nvptx64")]
struct Text {
    bytes: core::mem::MaybeUninit<[u8; TEXT_BYTES]>,
    len: usize,
}

#[cfg(target_arch = "nvptx64")]
impl Text {
    fn new(text: core::fmt::Arguments<'_>) -> Self {
        let mut out = Text { bytes: core::mem::MaybeUninit::uninit(), len: 0 };
        // Writing into the buffer cannot fail; a Display that fails leaves what it wrote so far.
        let _ = core::fmt::Write::write_fmt(&mut out, text);
        out.push(0);
        out
    }

    fn push(&mut self, byte: u8) {
        // SAFETY: `len` stays below TEXT_BYTES, for write_str leaves the last byte to the NUL.
        unsafe { *self.as_mut_ptr().add(self.len) = byte };
        self.len += 1;
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr().cast()
    }

    fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr().cast()
    }
}

#[cfg(target_arch = "nvptx64")]
impl core::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for &byte in text.as_bytes() {
            if self.len < TEXT_BYTES - 1 {
                self.push(byte);
            }
        }
        Ok(())
    }
}

/// `print!`'s function, and with `"\n"` as its end `println!`'s.
#[doc(hidden)]
#[inline(never)]
pub fn __print(text: core::fmt::Arguments<'_>, end: &str) {
    #[cfg(target_arch = "nvptx64")]
    {
        let text = Text::new(format_args!("{text}{end}"));
        let arguments = [text.as_ptr()];
        // SAFETY: the format takes one string, the argument list holds one pointer to a string that ends with NUL.
        unsafe { vprintf(c"%s".as_ptr().cast(), arguments.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "nvptx64"))]
    std::print!("{text}{end}");
}

/// `assert_eq!`'s and `assert_ne!`'s function: `module` and `file` end with NUL on the GPU.
#[doc(hidden)]
#[inline(never)]
#[cold]
pub fn __assertion_failed(
    text: core::fmt::Arguments<'_>,
    file: &'static str,
    line: u32,
    module: &'static str,
) -> ! {
    #[cfg(target_arch = "nvptx64")]
    fail(text, file.as_ptr(), line, module.as_ptr());
    #[cfg(not(target_arch = "nvptx64"))]
    panic!("{text} ({}:{line}, {})", file.trim_end_matches('\0'), module.trim_end_matches('\0'));
}

#[cfg(target_arch = "nvptx64")]
fn fail(text: core::fmt::Arguments<'_>, file: *const u8, line: u32, function: *const u8) -> ! {
    let text = Text::new(text);
    #[cfg(debug_assertions)]
    let function = {
        let _ = function;
        kernel_name()
    };
    // SAFETY: all three are C strings.
    unsafe { __assertfail(text.as_ptr(), file, line, function, 1) };
    core::intrinsics::abort()
}

/// Remembers the kernel's name for a failure report: the first statement of every kernel in a debug build.
#[doc(hidden)]
#[inline(always)]
#[cfg(target_arch = "nvptx64")]
pub fn __enter_kernel(name: &'static core::ffi::CStr) {
    // Every thread of a block writes the same value, so no barrier is needed before one of them reads it.
    // SAFETY: the variable is this module's own.
    unsafe {
        core::arch::asm!(
            "// cuda_std.declare: .shared .align 8 .b8 cuda_std_kernel_name[8];",
            "st.shared.u64 [cuda_std_kernel_name], {};",
            in(reg64) name.as_ptr(),
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(all(target_arch = "nvptx64", debug_assertions))]
fn kernel_name() -> *const u8 {
    let name: *const u8;
    // SAFETY: every kernel of a debug build wrote its name at its start.
    unsafe {
        core::arch::asm!(
            "// cuda_std.declare: .shared .align 8 .b8 cuda_std_kernel_name[8];",
            "ld.shared.u64 {}, [cuda_std_kernel_name];",
            out(reg64) name,
            options(nostack, preserves_flags),
        );
    }
    name
}

#[cfg(target_arch = "nvptx64")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(debug_assertions)]
    {
        let (file, line) = match info.location() {
            Some(location) => (location.file_as_c_str().as_ptr().cast(), location.line()),
            None => (c"?".as_ptr().cast(), 0),
        };
        fail(format_args!("{}", info.message()), file, line, core::ptr::null());
    }
    #[cfg(not(debug_assertions))]
    {
        let _ = info;
        core::intrinsics::abort()
    }
}

/// `std::print!` for the GPU; see [`io`](crate::io). On the host it is `std::print!`.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => {
        $crate::io::__print(::core::format_args!($($arg)*), "")
    };
}

/// `std::println!` for the GPU; see [`io`](crate::io). On the host it is `std::println!`.
#[macro_export]
macro_rules! println {
    () => { $crate::io::__print(::core::format_args!(""), "\n") };
    ($($arg:tt)*) => {
        $crate::io::__print(::core::format_args!($($arg)*), "\n")
    };
}

/// `assert_eq!` and `assert_ne!`: `$holds` is the comparison of `a` and `b`, `$sign` its text.
#[doc(hidden)]
#[macro_export]
macro_rules! __assert_compare {
    ($a:expr, $b:expr, $sign:literal, |$l:ident, $r:ident| $holds:expr, $($text:tt)*) => {
        match (&$a, &$b) {
            ($l, $r) => {
                if !$holds {
                    $crate::io::__assertion_failed(
                        ::core::format_args!(
                            "{} {} {} (left: {:?}, right: {:?}) {}",
                            ::core::stringify!($a),
                            $sign,
                            ::core::stringify!($b),
                            $l,
                            $r,
                            ::core::format_args!($($text)*)
                        ),
                        ::core::concat!(::core::file!(), "\0"),
                        ::core::line!(),
                        ::core::concat!(::core::module_path!(), "\0"),
                    )
                }
            }
        }
    };
}

/// Asserts that two expressions are equal; a failure reports both values, file, line and kernel to the host. See
/// [`io`](crate::io).
#[macro_export]
macro_rules! assert_eq {
    ($a:expr, $b:expr $(,)?) => { $crate::__assert_compare!($a, $b, "==", |l, r| *l == *r, "") };
    ($a:expr, $b:expr, $($text:tt)+) => { $crate::__assert_compare!($a, $b, "==", |l, r| *l == *r, $($text)+) };
}

/// Asserts that two expressions are not equal; a failure reports both values, file, line and kernel to the host. See
/// [`io`](crate::io).
#[macro_export]
macro_rules! assert_ne {
    ($a:expr, $b:expr $(,)?) => { $crate::__assert_compare!($a, $b, "!=", |l, r| *l != *r, "") };
    ($a:expr, $b:expr, $($text:tt)+) => { $crate::__assert_compare!($a, $b, "!=", |l, r| *l != *r, $($text)+) };
}
