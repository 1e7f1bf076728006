//! `launch_bounds(...)`: its arguments, and the record it leaves for `cuda_builder`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, ItemFn, Meta, Token};

/// The parsed arguments: constant expressions of type `u32`.
pub struct Bounds {
    max_threads: Option<Expr>,
    min_blocks: Option<Expr>,
    exact: Option<Expr>,
    max_registers: Option<Expr>,
    cluster: Option<Expr>,
}

impl Parse for Bounds {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut out =
            Bounds { max_threads: None, min_blocks: None, exact: None, max_registers: None, cluster: None };
        let mut place = 0;
        while !input.is_empty() {
            let slot = if input.peek(syn::Ident) && input.peek2(Token![=]) && !input.peek2(Token![==]) {
                let key: syn::Ident = input.parse()?;
                input.parse::<Token![=]>()?;
                match key.to_string().as_str() {
                    "exact" => &mut out.exact,
                    "max_registers" => &mut out.max_registers,
                    "cluster" => &mut out.cluster,
                    _ => {
                        return Err(syn::Error::new(
                            key.span(),
                            "expected `exact = N`, `max_registers = N` or `cluster = N`",
                        ));
                    }
                }
            } else {
                place += 1;
                match place {
                    1 => &mut out.max_threads,
                    2 => &mut out.min_blocks,
                    _ => {
                        return Err(
                            input.error("launch_bounds takes max_threads and min_blocks, no third value")
                        );
                    }
                }
            };
            if slot.replace(input.parse()?).is_some() {
                return Err(input.error("this value is given twice"));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if out.max_threads.is_none() && out.exact.is_none() {
            return Err(input.error("launch_bounds needs the number of threads: launch_bounds(256)"));
        }
        if out.max_threads.is_some() && out.exact.is_some() {
            return Err(input.error("either a maximum or `exact = N` threads, not both"));
        }
        Ok(out)
    }
}

impl Bounds {
    /// Finds `#[launch_bounds(...)]` among a kernel's attributes: below `#[kernel]` it is still there.
    pub fn find(attrs: &[Attribute]) -> Option<Bounds> {
        attrs.iter().find_map(|attr| match &attr.meta {
            Meta::List(list) if list.path.segments.last()?.ident == "launch_bounds" => list.parse_args().ok(),
            _ => None,
        })
    }

    /// The most threads a block may have.
    pub fn threads(&self) -> Option<&Expr> {
        self.max_threads.as_ref().or(self.exact.as_ref())
    }

    /// The function as it was, and on the GPU the record `// cuda_std.bounds: NAME directive value ...`.
    pub fn expand(&self, item: ItemFn) -> TokenStream {
        let mut text = format!("// cuda_std.bounds: {}", item.sig.ident);
        let mut values = Vec::new();
        for (directive, value) in [
            (".maxntid", &self.max_threads),
            (".reqntid", &self.exact),
            (".minnctapersm", &self.min_blocks),
            (".maxnreg", &self.max_registers),
            (".reqnctapercluster", &self.cluster),
        ] {
            if let Some(value) = value {
                text.push_str(&format!(" {directive} {{}}"));
                values.push(quote!(const { let value: u32 = #value; value }));
            }
        }
        quote! {
            #[cfg(target_arch = "nvptx64")]
            ::core::arch::global_asm!(#text, #(#values),*);
            #item
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn parse(text: &str) -> Result<Bounds, String> {
        syn::parse_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_leaves_its_record() {
        let record = |text: &str| {
            let item = parse_quote! { unsafe fn k() {} };
            let out = parse(text).unwrap().expand(item).to_string();
            let start = out.find("// cuda_std").unwrap();
            out[start..start + out[start..].find('"').unwrap()].to_owned()
        };
        assert_eq!(record("256"), "// cuda_std.bounds: k .maxntid {}");
        assert_eq!(record("2 * BLOCK, 3"), "// cuda_std.bounds: k .maxntid {} .minnctapersm {}");
        assert_eq!(
            record("exact = 384, max_registers = 168,"),
            "// cuda_std.bounds: k .reqntid {} .maxnreg {}"
        );
        assert_eq!(record("256, cluster = 2"), "// cuda_std.bounds: k .maxntid {} .reqnctapercluster {}");
    }

    #[test]
    fn mistakes_say_what_is_expected() {
        let error = |text: &str| parse(text).err().unwrap();
        assert!(error("").contains("needs the number of threads"));
        assert!(error("max_registers = 32").contains("needs the number of threads"));
        assert!(error("1, 2, 3").contains("no third value"));
        assert!(error("threads = 3").contains("expected `exact = N`"));
        assert!(error("256, exact = 256").contains("not both"));
        assert!(error("exact = 1, exact = 2").contains("twice"));
    }

    #[test]
    fn bounds_are_found_below_the_kernel() {
        let item: ItemFn = parse_quote! { #[doc = "x"] #[cuda_std::launch_bounds(BLOCK)] unsafe fn k() {} };
        let threads = Bounds::find(&item.attrs).unwrap().threads().map(|expr| quote!(#expr).to_string());
        assert_eq!(threads.as_deref(), Some("BLOCK"));
        let item: ItemFn = parse_quote! { #[inline] unsafe fn k() {} };
        assert!(Bounds::find(&item.attrs).is_none());
    }
}
