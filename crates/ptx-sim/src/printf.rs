//! The functions a kernel may call without a body: `vprintf` and `__assertfail`.

use crate::ErrorKind;
use crate::access::{Kind, Memory};
use crate::error::{Fault, Step};
use crate::isa::{Call, Space};

/// Longest string read from device memory.
const MAX_STRING: usize = 4096;

/// Executes a call to a function without a body, lane by lane. `base` is the caller's frame.
pub(crate) fn builtin(name: &str, call: &Call, base: u32, mem: &mut Memory<'_>, mask: u32) -> Step {
    for l in (0..32u32).filter(|l| mask >> l & 1 != 0) {
        let mut arg = |i: usize, bytes: usize| -> Step<u64> {
            match call.args.get(i) {
                Some(&at) => fetch(mem, Space::Local, (base + at) as u64, bytes, l),
                None => Err(Fault::new(ErrorKind::BadCall, format!("`{name}` needs more arguments"))),
            }
        };
        match name {
            "vprintf" => {
                let (format, args) = (arg(0, 8)?, arg(1, 8)?);
                let format = string(mem, format, l)?;
                let text = render(mem, &format, args, l)?;
                mem.ledger.grow(text.len() as u64 + 24)?;
                mem.stats.printf.push(text);
                if let Some(&at) = call.returns.first() {
                    let mut addrs = [0; 32];
                    addrs[l as usize] = (base + at) as u64;
                    if let (Some(arena), offs, _) =
                        mem.part(Space::Local, &addrs, 1 << l, 4, 4, Kind::Write)?
                    {
                        arena.scatter32(&offs, 0, 1 << l, &[0; 32]);
                    }
                }
            }
            "__assertfail" => {
                let (message, file, line, function) = (arg(0, 8)?, arg(1, 8)?, arg(2, 4)?, arg(3, 8)?);
                let text = format!(
                    "`{}` at {}:{line} in {}",
                    string(mem, message, l)?,
                    string(mem, file, l)?,
                    string(mem, function, l)?
                );
                let mut f = Fault::new(ErrorKind::AssertionFailed, text);
                f.lane = Some(l);
                return Err(f);
            }
            _ => return Err(Fault::new(ErrorKind::BadCall, format!("`{name}` has no body"))),
        }
    }
    Ok(())
}

/// Up to eight bytes of device memory, read by one lane.
fn fetch(mem: &mut Memory<'_>, space: Space, addr: u64, bytes: usize, lane: u32) -> Step<u64> {
    let mut addrs = [0; 32];
    addrs[lane as usize] = addr;
    let (arena, offs, _) = mem.part(space, &addrs, 1 << lane, bytes as u32, 1, Kind::Read)?;
    let at = offs[lane as usize];
    let mut raw = [0; 8];
    if let Some(a) = arena {
        raw[..bytes].copy_from_slice(&a.bytes[at..at + bytes]);
    }
    Ok(u64::from_le_bytes(raw))
}

fn string(mem: &mut Memory<'_>, addr: u64, lane: u32) -> Step<String> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_STRING {
        match fetch(mem, Space::Generic, addr + bytes.len() as u64, 1, lane)? as u8 {
            0 => break,
            b => bytes.push(b),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// C's printf with arguments packed at their natural alignment.
fn render(mem: &mut Memory<'_>, format: &str, args: u64, lane: u32) -> Step<String> {
    let mut out = String::new();
    let mut at = 0u64;
    let mut chars = format.chars().peekable();
    while let Some(ch) = chars.next() {
        if ch != '%' {
            out.push(ch);
            continue;
        }
        let (mut left, mut zero, mut plus) = (false, false, false);
        while let Some(&f) = chars.peek() {
            match f {
                '-' => left = true,
                '0' => zero = true,
                '+' => plus = true,
                ' ' | '#' => {}
                _ => break,
            }
            chars.next();
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut n = None;
            while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
                n = Some((n.unwrap_or(0usize) * 10 + d as usize).min(256));
                chars.next();
            }
            n
        };
        let width = number(&mut chars).unwrap_or(0);
        let precision =
            if chars.next_if_eq(&'.').is_some() { Some(number(&mut chars).unwrap_or(0)) } else { None };
        let mut long = false;
        while let Some(m) = chars.next_if(|c| matches!(c, 'l' | 'h' | 'z' | 'j' | 't')) {
            long |= matches!(m, 'l' | 'z' | 'j' | 't');
        }
        let mut take = |bytes: u64| -> Step<u64> {
            at = at.next_multiple_of(bytes);
            let v = fetch(mem, Space::Generic, args.wrapping_add(at), bytes as usize, lane)?;
            at += bytes;
            Ok(v)
        };
        let word = if long { 8 } else { 4 };
        let text = match chars.next() {
            Some('%') => "%".into(),
            Some('d' | 'i') => {
                let v = take(word)?;
                let v = if long { v as i64 } else { v as i32 as i64 };
                if plus && v >= 0 { format!("+{v}") } else { v.to_string() }
            }
            Some('u') => take(word)?.to_string(),
            Some('x') => format!("{:x}", take(word)?),
            Some('X') => format!("{:X}", take(word)?),
            Some('o') => format!("{:o}", take(word)?),
            Some('c') => char::from(take(4)? as u8).to_string(),
            Some('p') => format!("{:#x}", take(8)?),
            Some('s') => {
                let p = take(8)?;
                let s = string(mem, p, lane)?;
                match precision {
                    Some(n) => s.chars().take(n).collect(),
                    None => s,
                }
            }
            Some('f' | 'F') => format!("{:.*}", precision.unwrap_or(6), f64::from_bits(take(8)?)),
            Some('e' | 'E') => format!("{:.*e}", precision.unwrap_or(6), f64::from_bits(take(8)?)),
            Some('g' | 'G') => format!("{}", f64::from_bits(take(8)?)),
            Some(other) => format!("%{other}"),
            None => "%".into(),
        };
        let pad = width.saturating_sub(text.chars().count());
        if left {
            out.push_str(&text);
            out.extend(std::iter::repeat_n(' ', pad));
        } else if zero {
            let digits = text.strip_prefix('-');
            out.push_str(if digits.is_some() { "-" } else { "" });
            out.extend(std::iter::repeat_n('0', pad));
            out.push_str(digits.unwrap_or(&text));
        } else {
            out.extend(std::iter::repeat_n(' ', pad));
            out.push_str(&text);
        }
    }
    Ok(out)
}
