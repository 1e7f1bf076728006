//! From the compiler's assembly text to the PTX that ships.
//!
//! Three things rustc has no attribute for travel in its output as comments that `cuda_std`'s macros put there; each is
//! acted upon and taken out:
//!
//! * `// cuda_std.bounds: NAME .maxntid 256 .minnctapersm 2` becomes directives in the header of kernel NAME;
//! * `// cuda_std.declare: .shared .align 16 .b8 name[1024];` becomes a declaration at the head of the module, once
//!   however often LLVM copied the block that it stood in.
//!
//! Line tables keep their `.file` and `.loc`; the DWARF sections after the code go, for ptxas rejects LLVM's.
//!
//! LLVM calls C's `memcmp` to compare bytes; nobody provides it on a GPU, so a module that calls it gets one.
//!
//! And the text is made a function of the sources alone: symbols lose the hashes that depend on the checkout's path and
//! on the compiler's version, and lines lose trailing space. Nothing else is changed.

use std::collections::{BTreeMap, HashMap, HashSet};

const BOUNDS: &str = "// cuda_std.bounds: ";
const DECLARE: &str = "// cuda_std.declare: ";

/// The C function: the first difference of the bytes as unsigned numbers, else 0.
const MEMCMP: &str = "
.func (.param .b32 func_retval0) memcmp(
	.param .b64 memcmp_param_0,
	.param .b64 memcmp_param_1,
	.param .b64 memcmp_param_2
)
{
	.reg .pred 	%p<3>;
	.reg .b32 	%r<4>;
	.reg .b64 	%rd<4>;

	ld.param.b64 	%rd1, [memcmp_param_0];
	ld.param.b64 	%rd2, [memcmp_param_1];
	ld.param.b64 	%rd3, [memcmp_param_2];
	mov.b32 	%r3, 0;
$L__memcmp_next:
	setp.eq.s64 	%p1, %rd3, 0;
	@%p1 bra 	$L__memcmp_done;
	ld.b8 	%r1, [%rd1];
	ld.b8 	%r2, [%rd2];
	sub.s32 	%r3, %r1, %r2;
	add.s64 	%rd1, %rd1, 1;
	add.s64 	%rd2, %rd2, 1;
	add.s64 	%rd3, %rd3, -1;
	setp.eq.s32 	%p2, %r3, 0;
	@%p2 bra 	$L__memcmp_next;
$L__memcmp_done:
	st.param.b32 	[func_retval0], %r3;
	ret;
}
";

/// Finishes the assembly text `asm`; see the [module's docs](self). Errors say what is wrong with the text.
pub fn finish(asm: &str) -> Result<String, String> {
    let mut bounds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut declarations: Vec<String> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in asm.lines() {
        let line = line.trim_end();
        let record = line.trim_start();
        if record.starts_with(".section") {
            break;
        }
        // A `debug` target would be assembled without optimisation.
        let line = if line.starts_with(".target ") { line.trim_end_matches(", debug") } else { line };
        if let Some(record) = record.strip_prefix(BOUNDS) {
            let (kernel, directives) = parse_bounds(record)?;
            if bounds.insert(kernel.clone(), directives).is_some() {
                return Err(format!("kernel `{kernel}` has two launch bounds"));
            }
        } else if let Some(declaration) = record.strip_prefix(DECLARE) {
            if !declarations.iter().any(|known| known == declaration) {
                declarations.push(declaration.to_owned());
            }
        } else if !record.starts_with("// .globl") {
            lines.push(line);
        }
    }
    declarations.sort();

    let mut out = String::with_capacity(asm.len());
    let mut kernel: Option<&str> = None;
    let mut headed = false;
    let mut blank = true; // no blank line at the start, nor two in a row
    for line in lines {
        if line.is_empty() {
            if !blank {
                out.push('\n');
            }
            blank = true;
            continue;
        }
        if let Some(rest) = line.strip_prefix(".visible .entry ") {
            kernel = Some(rest.split('(').next().unwrap_or(rest).trim());
        }
        if line == "{"
            && let Some(directives) = kernel.take().and_then(|name| bounds.remove(name))
        {
            for directive in directives {
                out.push_str(&directive);
                out.push('\n');
            }
        }
        out.push_str(line);
        out.push('\n');
        blank = false;
        if line.starts_with(".address_size") {
            headed = true;
            if !declarations.is_empty() {
                out.push('\n');
            }
            for declaration in &declarations {
                out.push_str(declaration);
                out.push('\n');
            }
        }
    }
    if !headed {
        return Err("it has no `.address_size`: is it PTX?".into());
    }
    if let Some((name, _)) = bounds.first_key_value() {
        return Err(format!("launch_bounds is on `{name}`, which is no kernel (is `#[kernel]` missing?)"));
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    // The declaration stays, as that of a function of this module: calls come before the definition.
    let external = ".extern .func  (.param .b32 func_retval0) memcmp\n";
    if out.contains(external) {
        out = out.replace(external, &external[".extern ".len()..]);
        out.push_str(MEMCMP);
    }
    Ok(plain_names(&out))
}

/// `NAME .maxntid 256 .minnctapersm 2` as the kernel's name and the lines of its header.
fn parse_bounds(record: &str) -> Result<(String, Vec<String>), String> {
    let mut words = record.split_whitespace();
    let kernel = words.next().ok_or("a launch-bounds record without a kernel")?.to_owned();
    let mut directives = Vec::new();
    while let Some(directive) = words.next() {
        let value: u32 = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| format!("the launch bounds of `{kernel}`: {directive} needs a number"))?;
        let limit = match directive {
            ".maxntid" | ".reqntid" => 1024,
            ".minnctapersm" => 32,
            ".maxnreg" => 255,
            // More needs an opt-in at the launch.
            ".reqnctapercluster" => 8,
            _ => return Err(format!("the launch bounds of `{kernel}`: unknown directive {directive}")),
        };
        if value == 0 || value > limit {
            return Err(format!(
                "the launch bounds of `{kernel}`: {directive} is {value}, not in 1..={limit}"
            ));
        }
        match directive {
            ".maxntid" | ".reqntid" => directives.push(format!("{directive} {value}, 1, 1")),
            ".reqnctapercluster" => {
                directives.extend([".explicitcluster".into(), format!("{directive} {value}, 1, 1")]);
            }
            _ => directives.push(format!("{directive} {value}")),
        }
    }
    Ok((kernel, directives))
}

/// Renames every mangled symbol of `text` to the same name without hashes.
fn plain_names(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let mut out = String::with_capacity(text.len());
    let mut names: HashMap<&str, String> = HashMap::new();
    let mut taken: HashSet<String> = HashSet::new();
    let mut rest = text;
    while !rest.is_empty() {
        let start = rest.find(is_name).unwrap_or(rest.len());
        let (other, tail) = rest.split_at(start);
        out.push_str(other);
        let end = tail.find(|c| !is_name(c)).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(end);
        rest = tail;
        // `NAME_param_0` is a symbol of its own in the text, but has to follow NAME.
        let (symbol, suffix) = match name.find("_param_") {
            Some(at) => name.split_at(at),
            None => (name, ""),
        };
        match names.get(symbol) {
            Some(plain) => out.push_str(plain),
            None => match plain_name(symbol) {
                Some(plain) => {
                    let mut unique = plain.clone();
                    let mut n = 2;
                    while !taken.insert(unique.clone()) {
                        unique = format!("{plain}_{n}");
                        n += 1;
                    }
                    out.push_str(&unique);
                    names.insert(symbol, unique);
                }
                None => out.push_str(symbol),
            },
        }
        out.push_str(suffix);
    }
    out
}

/// A mangled symbol without its hashes; `None` for any other name.
fn plain_name(symbol: &str) -> Option<String> {
    if symbol.starts_with("_R") {
        // v0: a crate is `C` [`s` base-62 `_`] length name; drop the disambiguator.
        let mut out = String::new();
        let mut rest = symbol;
        while let Some(at) = rest.find("Cs") {
            let tail = &rest[at + 2..];
            let digits = tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len());
            let after = &tail[digits..];
            let named = after.strip_prefix('_').is_some_and(|s| s.starts_with(|c: char| c.is_ascii_digit()));
            if named {
                out.push_str(&rest[..at + 1]);
                rest = &after[1..];
            } else {
                out.push_str(&rest[..at + 2]);
                rest = tail;
            }
        }
        out.push_str(rest);
        return Some(out);
    }
    if symbol.starts_with("_ZN") {
        // Legacy: ... `17h` and 16 hexadecimal digits `E`.
        let at = symbol.rfind("17h")?;
        let hash = symbol.get(at + 3..at + 19)?;
        return hash
            .chars()
            .all(|c| c.is_ascii_hexdigit())
            .then(|| format!("{}{}", &symbol[..at], &symbol[at + 19..]));
    }
    // A constant without a name: anon.HASH.N and alloc_HASH. The number is given anew by order of appearance.
    if symbol.starts_with("anon_$_") {
        return Some("anon".into());
    }
    if let Some(hash) = symbol.strip_prefix("alloc_") {
        return (hash.len() == 32 && hash.chars().all(|c| c.is_ascii_hexdigit())).then(|| "alloc".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASM: &str = "//\n// Generated by LLVM NVPTX Back-End\n//\n\n.version 7.1\n.target sm_80\n.address_size 64\n\n\n\
        // cuda_std.bounds: k .maxntid 256 .minnctapersm 2\n\n\t// .globl\tk\n.visible .entry k(\n\t.param .u32 k_param_0\n)\n\
        {\n\t// begin inline asm\n\t// cuda_std.declare: .shared .align 16 .b8 t_64[64];\n{ mov.u64 a, t_64; }\n\
        \t// begin inline asm\n\t// cuda_std.declare: .shared .align 16 .b8 t_64[64];\n\tret;   \n}\n\
        .visible .entry other(\n)\n{\n\tret;\n}\n\n";

    #[test]
    fn launch_bounds_go_into_the_header_of_their_kernel_only() {
        let ptx = finish(ASM).unwrap();
        assert!(
            ptx.contains("\t.param .u32 k_param_0\n)\n.maxntid 256, 1, 1\n.minnctapersm 2\n{\n"),
            "{ptx}"
        );
        assert!(ptx.contains(".entry other(\n)\n{\n"), "{ptx}");
        assert!(!ptx.contains("cuda_std."), "{ptx}");
    }

    #[test]
    fn clusters_are_explicit_and_bounded() {
        let asm = ASM.replace(".minnctapersm 2", ".maxnreg 168 .reqnctapercluster 2");
        let ptx = finish(&asm).unwrap();
        let header = "\n.maxntid 256, 1, 1\n.maxnreg 168\n.explicitcluster\n.reqnctapercluster 2, 1, 1\n{";
        assert!(ptx.contains(header), "{ptx}");
        let error = finish(&asm.replace("cluster 2", "cluster 9")).unwrap_err();
        assert!(error.contains("`k`: .reqnctapercluster is 9, not in 1..=8"), "{error}");
    }

    #[test]
    fn shared_arrays_are_declared_once_at_the_head() {
        let ptx = finish(ASM).unwrap();
        assert_eq!(ptx.matches(".shared .align 16 .b8 t_64[64];").count(), 1);
        assert!(ptx.contains(".address_size 64\n\n.shared .align 16 .b8 t_64[64];\n\n.visible"), "{ptx}");
    }

    #[test]
    fn text_is_a_fixed_point_and_has_no_trailing_space() {
        let ptx = finish(ASM).unwrap();
        assert_eq!(finish(&ptx).unwrap(), ptx);
        assert!(ptx.lines().all(|line| line.trim_end() == line));
        assert!(ptx.ends_with("}\n"));
    }

    #[test]
    fn symbols_lose_their_hashes_and_stay_apart() {
        let head = ".address_size 64\n";
        let asm = |hash: &str| {
            format!(
                "{head}call _RNvNtCs{hash}_4core9panicking5panic, (_RNvNtCs{hash}_4core9panicking5panic_param_0);\n\
                 call _ZN4core3fmt17h{h}E, (x);\ncall _ZN4core3fmt17h{g}E, (y);\n\
                 ld.global.u8 r, [anon_$_{hash}_$_7];\nld.global.u8 r, [alloc_{h}{h}];\n",
                h = "0123456789abcdef",
                g = "fedcba9876543210",
            )
        };
        let ptx = finish(&asm("anIojcP8aaR")).unwrap();
        assert_eq!(ptx, finish(&asm("kQ2")).unwrap());
        assert_eq!(
            ptx,
            format!(
                "{head}call _RNvNtC4core9panicking5panic, (_RNvNtC4core9panicking5panic_param_0);\n\
                 call _ZN4core3fmtE, (x);\ncall _ZN4core3fmtE_2, (y);\n\
                 ld.global.u8 r, [anon];\nld.global.u8 r, [alloc];\n"
            )
        );
    }

    #[test]
    fn line_tables_stay_and_debug_sections_go() {
        let asm = ".version 7.1\n.target sm_80, debug\n.address_size 64\n\t.file\t1 \"a.rs\"\n\t.loc\t1 2 3\n\
                   \t.section\t.debug_info\n\t{\n.b8 1\n\t}\n$L__sec_end0:\n";
        let ptx = finish(asm).unwrap();
        assert_eq!(
            ptx,
            ".version 7.1\n.target sm_80\n.address_size 64\n\t.file\t1 \"a.rs\"\n\t.loc\t1 2 3\n"
        );
    }

    #[test]
    fn a_called_memcmp_is_provided() {
        let call = "call.uni (retval0), memcmp, (param0, param1, param2);\n";
        let asm = format!(
            ".address_size 64\n.extern .func  (.param .b32 func_retval0) memcmp\n(\n\t.param .b64 memcmp_param_0\n)\n;\n{call}"
        );
        let ptx = finish(&asm).unwrap();
        assert!(!ptx.contains(".extern"), "{ptx}");
        assert_eq!(ptx.matches("memcmp(\n").count(), 1, "{ptx}");
        assert!(!finish(".address_size 64\n").unwrap().contains("memcmp"));
    }

    #[test]
    fn bad_records_are_errors_that_name_the_kernel() {
        let with = |record: &str| finish(&format!(".address_size 64\n// cuda_std.bounds: {record}\n"));
        assert!(with("f .maxntid 32").unwrap_err().contains("`f`, which is no kernel"));
        assert!(with("f .maxntid 2048").unwrap_err().contains("not in 1..=1024"));
        assert!(with("f .maxntid many").unwrap_err().contains("needs a number"));
        assert!(with("f .frobnicate 1").unwrap_err().contains("unknown directive"));
        assert!(finish("ret;\n").unwrap_err().contains("is it PTX?"));
        let twice = ".address_size 64\n// cuda_std.bounds: f .maxntid 1\n// cuda_std.bounds: f .maxntid 2\n";
        assert!(finish(twice).unwrap_err().contains("two launch bounds"));
    }
}
