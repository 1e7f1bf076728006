//! Attribute macros of `cuda_std`: `#[kernel]`, `#[gpu_only]`, `#[launch_bounds]`, and the two of Rust-CUDA that need
//! no help from rustc's own back end (`#[externally_visible]`, `#[address_space]`).
//!
//! Every macro has two expansions, chosen by `cfg(target_arch = "nvptx64")` in the *generated* code: the device one is
//! what the PTX is made of; the host one lets the kernel crate be an ordinary dependency of the host program.
//!
//! Facts that must reach `cuda_builder` although rustc has no attribute for them travel as comments in the assembly
//! text, `// cuda_std.KEY: ...`; the builder reads them, acts on them, and takes them out.

mod bounds;
mod kernel;
mod paste;

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use std::sync::atomic::{AtomicUsize, Ordering};
use syn::{ItemFn, ItemStatic, parse_macro_input};

/// Registers a function as a GPU kernel.
///
/// The function must be `unsafe`, return nothing, take no `self`, have no generics, and take only `Copy` parameters;
/// anything else is a compile error. Rust-CUDA's hints (`#[kernel(block_dim = 2d)]`) are accepted and unused.
///
/// * On the GPU it becomes a PTX entry point under its own name.
/// * On the host it stays a plain `unsafe fn` (which cannot do anything useful: device functions panic there), and a
///   type of the same name appears beside it that implements `cuda_std::KernelSignature`: what a typed launch checks
///   its arguments against.
///
/// ```text
/// #[kernel]
/// pub unsafe fn fill(n: u32, value: f32, out: *mut f32) {
///     let i = thread::index_1d();
///     if i < n {
///         *out.add(i as usize) = value;
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn kernel(args: TokenStream, item: TokenStream) -> TokenStream {
    let hints = parse_macro_input!(args as kernel::Hints);
    let item = parse_macro_input!(item as ItemFn);
    kernel::expand(hints, item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Says how a kernel is launched: `launch_bounds(max_threads)` or `launch_bounds(max_threads, min_blocks)`, CUDA's
/// `__launch_bounds__`, as constant expressions of type `u32`.
///
/// The compiler then knows how many registers a thread may have: `.maxntid max_threads, 1, 1` (the product counts, so a
/// 16 x 16 block is fine for 256) and `.minnctapersm min_blocks`. Named values are for kernels that need more:
/// `exact = N` gives `.reqntid N, 1, 1` (other blocks cannot be launched), `max_registers = N` gives `.maxnreg N`, and
/// `cluster = N` makes clusters of N blocks along x (`.reqnctapercluster N, 1, 1`, sm_90): an ordinary launch then has them,
/// and its grid must be a multiple.
///
/// A crate that also compiles against Rust-CUDA's own `cuda_std`, which does not have this attribute, hides it from the
/// host:
///
/// ```text
/// #[kernel]
/// #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK, 2))]
/// pub unsafe fn name(...) { ... }
/// ```
///
/// Any other writes `#[launch_bounds(BLOCK, 2)]` below `#[kernel]`, and the host knows the bound too
/// (`KernelSignature::LAUNCH_BOUNDS`).
#[proc_macro_attribute]
pub fn launch_bounds(args: TokenStream, item: TokenStream) -> TokenStream {
    let bounds = parse_macro_input!(args as bounds::Bounds);
    let item = parse_macro_input!(item as ItemFn);
    bounds.expand(item).into()
}

/// Makes a function exist on the GPU only: on the host the same signature is there and calling it panics, naming the
/// function.
#[proc_macro_attribute]
pub fn gpu_only(_args: TokenStream, item: TokenStream) -> TokenStream {
    let ItemFn { attrs, vis, sig, block } = parse_macro_input!(item as ItemFn);
    let mut host_sig = sig.clone();
    host_sig.abi = None;
    // `mut x: T` would warn in a body that never runs.
    for input in &mut host_sig.inputs {
        if let syn::FnArg::Typed(typed) = input
            && let syn::Pat::Ident(pat) = typed.pat.as_mut()
        {
            pat.mutability = None;
        }
    }
    let name = sig.ident.to_string();
    quote! {
        #[cfg(not(target_arch = "nvptx64"))]
        #[allow(unused_variables, clippy::missing_const_for_fn)]
        #(#attrs)* #vis #host_sig {
            ::core::panic!(::core::concat!("`", #name, "` runs only on the GPU"))
        }

        #[cfg(target_arch = "nvptx64")]
        #(#attrs)* #vis #sig #block
    }
    .into()
}

/// Keeps a function that no kernel calls in the PTX, for linking with other PTX. The function must be `no_mangle`,
/// which is all that rustc's own back end needs, so this only checks that it is.
#[proc_macro_attribute]
pub fn externally_visible(_args: TokenStream, item: TokenStream) -> TokenStream {
    let func = parse_macro_input!(item as ItemFn);
    if !func.attrs.iter().any(kernel::is_no_mangle) {
        return syn::Error::new_spanned(
            &func.sig,
            "an #[externally_visible] function must be #[no_mangle] too",
        )
        .into_compile_error()
        .into();
    }
    quote!(#func).into()
}

/// Puts a `static` into an address space (`global`, `shared`, `constant` or `local`).
///
/// On the GPU rustc's own back end can place a static in `global` memory only, so every other name is a compile error
/// there that says what to use instead; on the host the attribute does nothing, as in Rust-CUDA.
#[proc_macro_attribute]
pub fn address_space(args: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemStatic);
    let space = parse_macro_input!(args as syn::Ident);
    let remedy = match space.to_string().as_str() {
        "global" => None,
        "shared" => Some("use `shared_array!` for shared memory"),
        "constant" => Some("use an immutable `static`: it is read through the read-only cache"),
        "local" => Some("use a `let`: it lives in registers or local memory"),
        _ => {
            return syn::Error::new_spanned(
                &space,
                "the address spaces are global, shared, constant and local",
            )
            .into_compile_error()
            .into();
        }
    };
    let device = remedy.map(|remedy| {
        quote! { #[cfg(target_arch = "nvptx64")] ::core::compile_error!(#remedy); }
    });
    quote!(#device #item).into()
}

/// The number of `shared_array!` expansions so far in the crate being compiled.
static SHARED_ARRAYS: AtomicUsize = AtomicUsize::new(0);

/// `shared_array!`'s inner part: `__shared_array!([cuda_std path] type; length)`. The array's name is made of the crate's
/// and a running number, so that two expansions are two arrays, and every inlined copy of one expansion is one array.
#[doc(hidden)]
#[proc_macro]
pub fn __shared_array_name(args: TokenStream) -> TokenStream {
    // `__shared_array_name!(callback_macro tokens)` -> `callback_macro!("name" tokens)`
    let args = proc_macro2::TokenStream::from(args);
    let krate = std::env::var("CARGO_CRATE_NAME").unwrap_or_else(|_| "kernels".into());
    let n = SHARED_ARRAYS.fetch_add(1, Ordering::Relaxed);
    let name = format_ident!("{}_shared_{}", krate, n).to_string();
    quote!(::cuda_std::__shared_array_named!(#name; #args)).into()
}

/// Joins identifiers: `[< a _ b >]` in its input becomes the identifier `a_b`. Used by `cuda_std` to name the atomics.
#[doc(hidden)]
#[proc_macro]
pub fn __paste(input: TokenStream) -> TokenStream {
    paste::paste(input.into()).into()
}
