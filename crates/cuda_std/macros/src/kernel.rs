//! `#[kernel]`: the checks, the device entry point, and the host's signature type.

use crate::bounds::Bounds;
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ItemFn, Meta, ReturnType, Token};

/// Rust-CUDA's hints, `grid_dim = 1d, block_dim = 2d`: checked, then dropped, for nothing here needs them.
pub struct Hints;

impl Parse for Hints {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            if key != "grid_dim" && key != "block_dim" {
                return Err(Error::new(key.span(), "the hints are `grid_dim` and `block_dim`"));
            }
            input.parse::<Token![=]>()?;
            let value = input.parse::<syn::Lit>()?;
            let text = quote!(#value).to_string();
            if !["1d", "2d", "3d", "1D", "2D", "3D"].contains(&text.as_str()) {
                return Err(Error::new(value.span(), "a dimension is 1d, 2d or 3d"));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Hints)
    }
}

/// Whether an attribute is `#[no_mangle]` or `#[unsafe(no_mangle)]`.
pub fn is_no_mangle(attr: &Attribute) -> bool {
    attr.path().is_ident("no_mangle")
        || matches!(&attr.meta, Meta::List(list)
            if list.path.is_ident("unsafe") && list.tokens.to_string() == "no_mangle")
}

fn check(item: &ItemFn) -> syn::Result<()> {
    let sig = &item.sig;
    if sig.unsafety.is_none() {
        return Err(Error::new(sig.fn_token.span, "a kernel must be an `unsafe fn`"));
    }
    if let ReturnType::Type(..) = sig.output {
        return Err(Error::new(
            sig.output.span(),
            "a kernel returns nothing: write the result through a pointer",
        ));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new(
            sig.generics.span(),
            "a kernel has no generics: write a generic device function and one kernel for each instance",
        ));
    }
    if sig.asyncness.is_some() || sig.constness.is_some() || sig.variadic.is_some() {
        return Err(Error::new(sig.span(), "a kernel is neither `async`, `const` nor variadic"));
    }
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        return Err(Error::new(receiver.span(), "a kernel cannot be a method"));
    }
    Ok(())
}

/// The two expansions.
pub fn expand(_hints: Hints, item: ItemFn) -> syn::Result<TokenStream> {
    check(&item)?;
    let ItemFn { attrs, vis, sig, block } = item;
    let name = &sig.ident;
    let inputs = &sig.inputs;
    let types: Vec<_> = inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(typed) => Some(&typed.ty),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let copies = types.iter().map(|ty| {
        // The error points at the parameter's type.
        quote_spanned!(ty.span()=> kernel_parameters_must_be_copy::<#ty>();)
    });
    let copy_check = quote! {
        const _: () = {
            fn kernel_parameters_must_be_copy<T: ::core::marker::Copy>() {}
            #[allow(dead_code)]
            fn check() { #(#copies)* }
        };
    };
    let statements = &block.stmts;
    let text = name.to_string();
    let bounds = match Bounds::find(&attrs).as_ref().and_then(Bounds::threads) {
        Some(threads) => quote!(::core::option::Option::Some(#threads)),
        None => quote!(::core::option::Option::None),
    };
    let docs: Vec<_> = attrs.iter().filter(|attr| attr.path().is_ident("doc")).collect();
    let cfgs: Vec<_> = attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect();
    let c_name =
        syn::LitCStr::new(&std::ffi::CString::new(text.clone()).expect("an identifier"), name.span());
    let module = format_ident!("{}", name, span = name.span());

    Ok(quote! {
        #copy_check

        #[cfg(target_arch = "nvptx64")]
        #(#attrs)*
        #[unsafe(no_mangle)]
        #[allow(improper_ctypes_definitions, clippy::too_many_arguments, clippy::missing_safety_doc)]
        #vis unsafe extern "ptx-kernel" fn #name(#inputs) {
            // In debug builds a failed assertion names the kernel it happened in.
            #[cfg(debug_assertions)]
            ::cuda_std::io::__enter_kernel(#c_name);
            #(#statements)*
        }

        #[cfg(not(target_arch = "nvptx64"))]
        #(#attrs)*
        #[allow(clippy::too_many_arguments, clippy::missing_safety_doc)]
        #vis unsafe fn #name(#inputs) {
            #(#statements)*
        }

        #[cfg(not(target_arch = "nvptx64"))]
        #(#cfgs)*
        #(#docs)*
        #[allow(non_camel_case_types)]
        #vis enum #module {}

        #[cfg(not(target_arch = "nvptx64"))]
        #(#cfgs)*
        impl ::cuda_std::KernelSignature for #module {
            type Fn = unsafe fn(#(#types),*);
            const NAME: &'static str = #text;
            const LAUNCH_BOUNDS: ::core::option::Option<u32> = #bounds;
            const FILE: &'static str = ::core::file!();
            const LINE: u32 = ::core::line!();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn error(item: ItemFn) -> String {
        expand(Hints, item).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_kernel_is_an_error_that_says_why() {
        assert!(error(parse_quote! { fn k() {} }).contains("must be an `unsafe fn`"));
        assert!(error(parse_quote! { unsafe fn k() -> u32 { 1 } }).contains("returns nothing"));
        assert!(error(parse_quote! { unsafe fn k<T>(x: T) {} }).contains("no generics"));
        assert!(error(parse_quote! { unsafe fn k(&self) {} }).contains("cannot be a method"));
        assert!(error(parse_quote! { async unsafe fn k() {} }).contains("neither `async`"));
    }

    #[test]
    fn hints_of_rust_cuda_are_checked() {
        for good in ["", "block_dim = 1d", "grid_dim = 2D, block_dim = 3d,"] {
            assert!(syn::parse_str::<Hints>(good).is_ok(), "{good}");
        }
        for bad in ["dim = 1d", "block_dim = 4d", "block_dim"] {
            assert!(syn::parse_str::<Hints>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_expansions_are_there() {
        let out = expand(Hints, parse_quote! { pub unsafe fn k(mut n: u32, x: *mut f32) { *x = n as f32; } });
        let out = out.unwrap().to_string();
        assert!(out.contains("extern \"ptx-kernel\" fn k (mut n : u32 , x : * mut f32)"), "{out}");
        assert!(out.contains("pub enum k { }"), "{out}");
        assert!(out.contains("type Fn = unsafe fn (u32 , * mut f32)"), "{out}");
    }
}
