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
        a.read(at, &mut raw[..bytes]);
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
        let (mut left, mut zero, mut sign, mut alternate) = (false, false, None, false);
        while let Some(&f) = chars.peek() {
            match f {
                '-' => left = true,
                '0' => zero = true,
                '+' => sign = Some('+'),
                ' ' => sign = sign.or(Some(' ')),
                '#' => alternate = true,
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
        let mut take = |bytes: u64| -> Step<u64> {
            at = at.next_multiple_of(bytes);
            let v = fetch(mem, Space::Generic, args.wrapping_add(at), bytes as usize, lane)?;
            at += bytes;
            Ok(v)
        };
        let width = if chars.next_if_eq(&'*').is_some() {
            let w = take(4)? as i32;
            left |= w < 0;
            (w.unsigned_abs() as usize).min(256)
        } else {
            number(&mut chars).unwrap_or(0)
        };
        let precision = match chars.next_if_eq(&'.') {
            None => None,
            // A negative precision counts as none.
            Some(_) if chars.next_if_eq(&'*').is_some() => {
                usize::try_from(take(4)? as i32).ok().map(|p| p.min(256))
            }
            Some(_) => Some(number(&mut chars).unwrap_or(0)),
        };
        let (mut long, mut short) = (false, 0);
        while let Some(m) = chars.next_if(|c| matches!(c, 'l' | 'h' | 'z' | 'j' | 't')) {
            long |= m != 'h';
            short += (m == 'h') as u32;
        }
        let Some(conversion) = chars.next() else {
            out.push('%');
            break;
        };
        let (word, bits) = if long { (8, 64) } else { (4, 32u32 >> short.min(2)) };
        let numeric = !matches!(conversion, 'c' | 's' | '%');
        let text = match conversion {
            '%' => "%".into(),
            'd' | 'i' => {
                let v = (take(word)? << (64 - bits)) as i64 >> (64 - bits);
                let digits = format!("{:01$}", v.unsigned_abs(), precision.unwrap_or(1));
                signed(digits, v < 0, sign)
            }
            'u' | 'x' | 'X' | 'o' => {
                let v = take(word)? << (64 - bits) >> (64 - bits);
                let n = precision.unwrap_or(1);
                match conversion {
                    'u' => format!("{v:0n$}"),
                    'x' => format!("{}{v:0n$x}", if alternate && v != 0 { "0x" } else { "" }),
                    'X' => format!("{}{v:0n$X}", if alternate && v != 0 { "0X" } else { "" }),
                    _ => format!("{}{v:0n$o}", if alternate && v != 0 { "0" } else { "" }),
                }
            }
            'c' => char::from(take(4)? as u8).to_string(),
            'p' => format!("{:#x}", take(8)?),
            's' => {
                let p = take(8)?;
                let s = string(mem, p, lane)?;
                match precision {
                    Some(n) => s.chars().take(n).collect(),
                    None => s,
                }
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
                let v = f64::from_bits(take(8)?);
                let text = float(v.abs(), conversion.to_ascii_lowercase(), precision.unwrap_or(6), alternate);
                let text = if conversion.is_ascii_uppercase() { text.to_uppercase() } else { text };
                signed(text, v.is_sign_negative(), sign)
            }
            other => format!("%{other}"),
        };
        // A precision takes the place of zeros before an integer.
        zero &= numeric && !(precision.is_some() && matches!(conversion, 'd' | 'i' | 'u' | 'x' | 'X' | 'o'));
        let pad = width.saturating_sub(text.chars().count());
        if left {
            out.push_str(&text);
            out.extend(std::iter::repeat_n(' ', pad));
        } else if zero {
            let signs = text.find(|c| !matches!(c, '-' | '+' | ' ')).unwrap_or(0);
            let head = signs + if text[signs..].starts_with("0x") { 2 } else { 0 };
            out.push_str(&text[..head]);
            out.extend(std::iter::repeat_n('0', pad));
            out.push_str(&text[head..]);
        } else {
            out.extend(std::iter::repeat_n(' ', pad));
            out.push_str(&text);
        }
    }
    Ok(out)
}

/// Digits with their sign; `positive` is what positive numbers get.
fn signed(digits: String, negative: bool, positive: Option<char>) -> String {
    match (negative, positive) {
        (true, _) => format!("-{digits}"),
        (false, Some(c)) => format!("{c}{digits}"),
        (false, None) => digits,
    }
}

/// `%f`, `%e` or `%g` of a number that is not negative.
fn float(v: f64, conversion: char, precision: usize, alternate: bool) -> String {
    if !v.is_finite() {
        return if v.is_nan() { "nan".into() } else { "inf".into() };
    }
    // C writes at least two digits of an exponent, and its sign.
    let scientific = |digits: usize| -> (String, i32) {
        let text = format!("{v:.digits$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        (mantissa.to_string(), exponent.parse().unwrap_or(0))
    };
    let join = |mantissa: &str, exponent: i32| {
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
    };
    match conversion {
        'e' => {
            let (mantissa, exponent) = scientific(precision);
            join(&mantissa, exponent)
        }
        'g' => {
            let digits = precision.max(1);
            let (mantissa, exponent) = scientific(digits - 1);
            let trim = |text: String| match alternate || !text.contains('.') {
                true => text,
                false => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            };
            if exponent < -4 || exponent >= digits as i32 {
                join(&trim(mantissa), exponent)
            } else {
                trim(format!("{v:.*}", (digits as i32 - 1 - exponent) as usize))
            }
        }
        _ => format!("{v:.precision$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_as_in_c() {
        for (v, conversion, precision, want) in [
            (7.25, 'e', 1, "7.2e+00"),
            (1e-300, 'e', 3, "1.000e-300"),
            (0.0, 'g', 6, "0"),
            (1e5, 'g', 6, "100000"),
            (1e6, 'g', 6, "1e+06"),
            (0.0001, 'g', 6, "0.0001"),
            (0.00001, 'g', 6, "1e-05"),
            (999999.5, 'g', 6, "1e+06"),
            (2.5, 'f', 0, "2"),
            (f64::INFINITY, 'f', 6, "inf"),
            (f64::NAN, 'g', 6, "nan"),
        ] {
            assert_eq!(float(v, conversion, precision, false), want);
        }
        assert_eq!(float(1.0, 'g', 3, true), "1.00");
        assert_eq!(signed("7".into(), false, Some(' ')), " 7");
        assert_eq!(signed("7".into(), true, Some('+')), "-7");
    }
}
