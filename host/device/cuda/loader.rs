//! Finds the driver library when the program runs, and the functions in it.
//!
//! `libcuda.so.1` comes with the NVIDIA driver, not with the CUDA toolkit, and most machines have neither.
//! The program therefore never links to it: the first call of any `cu*` function ends here (through
//! `trampolines.rs`), the library is opened once with `dlopen` and each function is looked up once with
//! `dlsym`. Where the library is missing, every driver function returns `CUDA_ERROR_STUB_LIBRARY` (34), and
//! [`library`] says why.
//!
//! `IRONWARP_LIBCUDA` names another library: a driver outside the loader's search path, or a shim that
//! records calls.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

use super::error::{CudaError, DriverCode, LIBRARY_VARIABLE};

#[link(name = "dl")]
unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// Resolve every symbol of the library when it is opened, so that a broken driver fails here and not in the
/// middle of a run.
const RTLD_NOW: c_int = 2;

/// Where the driver is, in the order tried: the soname, then the place Windows Subsystem for Linux keeps it.
const CANDIDATES: [&str; 2] = ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"];

/// An open shared library. It is never closed: function pointers into it live in statics.
#[derive(Debug)]
pub(super) struct Library(NonNull<c_void>);

// SAFETY: a dlopen handle is not tied to a thread, and dlsym may be called from any thread at once.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Opens `name` (a file name to search for, or a path); the error is the dynamic loader's text.
    pub(super) fn open(name: &str) -> Result<Self, String> {
        let file = CString::new(name).map_err(|_| format!("{name:?} contains a NUL byte"))?;
        // SAFETY: `file` is a NUL-terminated string that outlives the call. The library's initialisers run;
        // for a driver library that the user installed or named, that is what loading it means.
        let handle = unsafe { dlopen(file.as_ptr(), RTLD_NOW) };
        NonNull::new(handle).map(Self).ok_or_else(|| {
            // SAFETY: dlerror returns null or a NUL-terminated string that lives until this thread's next dl*
            // call; it is copied at once.
            let text = unsafe { dlerror() };
            if text.is_null() {
                return format!("{name} cannot be opened");
            }
            // SAFETY: not null, and as above.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        })
    }

    /// The address of an exported symbol.
    pub(super) fn symbol(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is open (libraries are never closed) and `name` is NUL-terminated.
        NonNull::new(unsafe { dlsym(self.0.as_ptr(), name.as_ptr()) })
    }
}

/// Where functions come from.
enum Source {
    Library(Library),
    /// Tests put a driver written in Rust behind the same entry points.
    #[cfg(test)]
    Fake(fn(&CStr) -> Option<NonNull<c_void>>),
}

static SOURCE: OnceLock<Result<Source, CudaError>> = OnceLock::new();

fn open() -> Result<Source, CudaError> {
    let missing = |library: String, reason| CudaError::NoDriver { library, reason };
    if let Some(name) = std::env::var_os(LIBRARY_VARIABLE).filter(|name| !name.is_empty()) {
        let name = name.to_string_lossy();
        return Library::open(&name)
            .map(Source::Library)
            .map_err(|reason| missing(name.into_owned(), reason));
    }
    let mut first_reason = None;
    for name in CANDIDATES {
        match Library::open(name) {
            Ok(library) => return Ok(Source::Library(library)),
            Err(reason) => first_reason.get_or_insert(reason),
        };
    }
    Err(missing(CANDIDATES[0].to_owned(), first_reason.unwrap_or_default()))
}

fn source() -> &'static Result<Source, CudaError> {
    SOURCE.get_or_init(open)
}

/// Opens the driver library if that was not tried yet.
///
/// # Errors
/// [`CudaError::NoDriver`] with the dynamic loader's reason, the same one each time: the decision holds for
/// the life of the process.
pub(super) fn library() -> Result<(), CudaError> {
    source().as_ref().map(|_| ()).map_err(Clone::clone)
}

/// Puts `lookup` in the driver's place; must come before any driver call of the process.
#[cfg(test)]
pub(super) fn install_fake(lookup: fn(&CStr) -> Option<NonNull<c_void>>) {
    assert!(SOURCE.set(Ok(Source::Fake(lookup))).is_ok(), "a driver library is already loaded");
}

fn lookup(name: &CStr) -> Option<NonNull<c_void>> {
    match source() {
        Ok(Source::Library(library)) => library.symbol(name),
        #[cfg(test)]
        Ok(Source::Fake(lookup)) => lookup(name),
        Err(_) => None,
    }
}

/// What a trampoline jumps to: the driver's function, or one that returns an error code.
///
/// The two functions that put errors into words work without a driver as well, because `cust` calls them when
/// it prints an error.
pub(super) fn target(name: &CStr) -> *const c_void {
    if let Some(found) = lookup(name) {
        return found.as_ptr();
    }
    match (name.to_bytes(), source()) {
        (b"cuGetErrorString" | b"cuGetErrorName", _) => error_text as *const c_void,
        (_, Err(_)) => no_library as *const c_void,
        (_, Ok(_)) => no_function as *const c_void,
    }
}

/// A driver function that is newer than the bindings of `cust`, by name: exported by the library, or given by
/// `cuGetProcAddress`.
///
/// # Errors
/// [`CudaError::NoDriver`], or `CUDA_ERROR_NOT_SUPPORTED` where the installed driver is too old to have it.
pub(super) fn entry_point(name: &CStr) -> Result<NonNull<c_void>, CudaError> {
    library()?;
    if let Some(found) = lookup(name) {
        return Ok(found);
    }
    let (mut version, mut address) = (0, std::ptr::null_mut());
    // SAFETY: both outputs are live locals of the right type, and the name is NUL-terminated. Where the
    // driver lacks one of the functions, the trampoline returns a code and writes nothing.
    let raw = unsafe {
        match super::sys::cuDriverGetVersion(&mut version) {
            0 => super::sys::cuGetProcAddress(name.as_ptr(), &mut address, version, 0),
            raw => raw,
        }
    };
    NonNull::new(address)
        .filter(|_| raw == 0)
        .ok_or(CudaError::Driver { call: "cuGetProcAddress", code: DriverCode::NOT_SUPPORTED })
}

/// Stands in for every function when there is no library. The C calling convention lets it ignore whatever
/// arguments it is called with.
extern "C" fn no_library() -> u32 {
    DriverCode::STUB_LIBRARY.0
}

/// Stands in for a function that the installed driver does not have.
extern "C" fn no_function() -> u32 {
    DriverCode::NOT_SUPPORTED.0
}

/// Stands in for `cuGetErrorString(error, &text)` and `cuGetErrorName`.
extern "C" fn error_text(_code: u32, text: *mut *const c_char) -> u32 {
    if text.is_null() {
        return DriverCode::INVALID_VALUE.0;
    }
    // SAFETY: the caller passes a place for one pointer, as the function's contract says, and it is not null.
    unsafe { *text = c"no NVIDIA driver is loaded".as_ptr() };
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_libraries_and_finds_symbols() {
        let maths = Library::open("libm.so.6").expect("every Linux with glibc has libm");
        let cosine = maths.symbol(c"cos").expect("libm has cos");
        // SAFETY: C's cos takes and returns a double.
        let cosine: extern "C" fn(f64) -> f64 = unsafe { std::mem::transmute(cosine.as_ptr()) };
        assert!((cosine(1.25) - 1.25f64.cos()).abs() < 1e-15);
        assert!(maths.symbol(c"cuInit").is_none());
    }

    #[test]
    fn says_why_a_library_does_not_open() {
        let reason = Library::open("libironwarp-no-such-driver.so.1").unwrap_err();
        assert!(reason.contains("libironwarp-no-such-driver.so.1"), "{reason}");
        assert!(Library::open("a\0b").unwrap_err().contains("NUL"));
    }
}
