//! A mutator that knows what PTX looks like: it works on statements and words, so that most mutants still parse and get
//! as far as the decoder and the simulator. One mutation in four is libFuzzer's own, on bytes.

use libfuzzer_sys::fuzzer_mutate;

/// Opcodes with operands that fit the registers of `PROLOGUE`; `#` marks where a random number goes.
const STATEMENTS: &str = include_str!("../ptx.dict.txt");

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn word(b: char) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, '_' | '$' | '%')
}

/// The words of a text as byte ranges; dots separate, so that a modifier is a word of its own.
fn words(text: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut start = None;
    for (i, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (word(c), start) {
            (true, None) => start = Some(i),
            (false, Some(s)) => {
                out.push((s, i));
                start = None;
            }
            _ => {}
        }
    }
    out
}

fn number(r: &mut Random) -> String {
    match r.below(6) {
        0 => r.below(5).to_string(),
        1 => (1u64 << r.below(64)).to_string(),
        2 => format!("-{}", r.below(300)),
        3 => format!("0x{:x}", r.next()),
        4 => format!("0f{:08X}", r.next() as u32),
        _ => (4 * r.below(64)).to_string(),
    }
}

/// A statement of the dictionary with random numbers in place of `#`.
fn statement(r: &mut Random) -> String {
    let lines: Vec<&str> = STATEMENTS.lines().filter(|l| !l.is_empty()).collect();
    let mut out = String::new();
    for c in lines[r.below(lines.len())].chars() {
        match c {
            '#' => out.push_str(&number(r)),
            c => out.push(c),
        }
    }
    out
}

fn change(text: &str, r: &mut Random) -> String {
    let mut parts: Vec<String> = text.split_inclusive([';', '{', '}']).map(str::to_string).collect();
    let n = parts.len();
    let at = r.below(n);
    match r.below(8) {
        0 if n > 1 => {
            parts.remove(at);
        }
        1 => {
            let copy = parts[r.below(n)].clone();
            parts.insert(at, copy);
        }
        2 if n > 1 => parts.swap(at, r.below(n)),
        3 | 4 => parts.insert(at, format!("\n\t{}", statement(r))),
        _ => {
            // A word becomes another one of the text, a number, or a word of the dictionary.
            let whole = parts.concat();
            let list = words(&whole);
            if list.is_empty() {
                return whole;
            }
            let (from, to) = list[r.below(list.len())];
            let fresh = match r.below(3) {
                0 => {
                    let (a, b) = list[r.below(list.len())];
                    whole[a..b].to_string()
                }
                1 => number(r),
                _ => {
                    let s = statement(r);
                    let list = words(&s);
                    list.get(r.below(list.len())).map_or("ret".into(), |&(a, b)| s[a..b].to_string())
                }
            };
            return format!("{}{fresh}{}", &whole[..from], &whole[to..]);
        }
    }
    parts.concat()
}

/// A mutation for `fuzz_mutator!`.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut r = Random(seed as u64);
    let text = match std::str::from_utf8(&data[..size]) {
        Ok(t) if !t.is_empty() && r.below(4) > 0 => t.to_string(),
        _ => return fuzzer_mutate(data, size, max_size),
    };
    let mut out = text;
    for _ in 0..=r.below(4) {
        out = change(&out, &mut r);
    }
    let n = out.len().min(max_size);
    data[..n].copy_from_slice(&out.as_bytes()[..n]);
    n
}
