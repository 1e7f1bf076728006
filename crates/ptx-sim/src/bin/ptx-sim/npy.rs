//! NumPy's `.npy` files, formats 1.0 to 3.0: a magic number, a version, the length of a header, the header (a Python dictionary
//! with `descr`, `fortran_order` and `shape`), the elements. Read in either byte order and either axis order, kept and
//! written little-endian in C order. A malformed file is an error with the byte it goes wrong at, never a panic and never an
//! allocation that its own size does not justify.

use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Element types: NumPy's kind letter and the size. `V2` is how NumPy stores a bfloat16 it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    pub kind: char,
    pub bytes: usize,
}

impl Element {
    const ALL: [(&'static str, char, usize); 19] = [
        ("bool", 'b', 1),
        ("u8", 'u', 1),
        ("b8", 'u', 1),
        ("s8", 'i', 1),
        ("u16", 'u', 2),
        ("b16", 'u', 2),
        ("s16", 'i', 2),
        ("u32", 'u', 4),
        ("b32", 'u', 4),
        ("s32", 'i', 4),
        ("u64", 'u', 8),
        ("b64", 'u', 8),
        ("s64", 'i', 8),
        ("f16", 'f', 2),
        ("bf16", 'V', 2),
        ("f32", 'f', 4),
        ("f64", 'f', 8),
        ("i32", 'i', 4),
        ("i64", 'i', 8),
    ];

    /// The element of a PTX type.
    pub fn named(name: &str) -> Option<Self> {
        Element::ALL.iter().find(|e| e.0 == name).map(|&(_, kind, bytes)| Element { kind, bytes })
    }

    fn descr(self) -> String {
        let order = if self.bytes == 1 { '|' } else { '<' };
        format!("{order}{}{}", self.kind, self.bytes)
    }

    /// `'<f4'` and the like: the element, and whether its bytes are the wrong way round.
    fn parse(descr: &str) -> Option<(Self, bool)> {
        let (order, rest) = descr.split_at_checked(1)?;
        let (kind, size) = rest.split_at_checked(1)?;
        let e = Element { kind: kind.chars().next()?, bytes: size.parse().ok()? };
        let known =
            Element::ALL.iter().any(|a| (a.1, a.2) == (e.kind, e.bytes)) || (e.kind, e.bytes) == ('V', 1);
        let swapped = match order {
            "<" | "|" => false,
            "=" => cfg!(target_endian = "big"),
            ">" => e.bytes > 1,
            _ => return None,
        };
        known.then_some((e, swapped))
    }
}

/// An array: C order, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub element: Element,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// Bytes of so many elements; `None` when they exceed the address space.
pub fn size(element: Element, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(element.bytes, |n, &d| n.checked_mul(d))
}

/// What is wrong with a file, and at which byte.
pub type Malformed = (usize, String);

/// Reads a file. The error is one line: path, 1, byte, what is wrong.
pub fn read(path: &Path) -> Result<Array, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}:1:1: cannot be read: {e}", path.display()))?;
    parse(&bytes).map_err(|(at, what)| format!("{}:1:{}: {what}", path.display(), at + 1))
}

pub fn parse(bytes: &[u8]) -> Result<Array, Malformed> {
    if !bytes.starts_with(MAGIC) {
        return Err((0, "no NumPy file: it does not start with `\\x93NUMPY`".into()));
    }
    let short = || (bytes.len(), "the file ends inside its header".to_string());
    let version = *bytes.get(6).ok_or_else(short)?;
    let (length, at): (usize, usize) = match version {
        1 => (
            u16::from_le_bytes(*bytes.get(8..10).and_then(|b| b.first_chunk()).ok_or_else(short)?) as usize,
            10,
        ),
        2 | 3 => (
            u32::from_le_bytes(*bytes.get(8..12).and_then(|b| b.first_chunk()).ok_or_else(short)?) as usize,
            12,
        ),
        v => return Err((6, format!("format version {v}; 1, 2 and 3 are known"))),
    };
    let header = at.checked_add(length).and_then(|end| bytes.get(at..end)).ok_or_else(short)?;
    let text =
        std::str::from_utf8(header).map_err(|e| (at + e.valid_up_to(), "the header is not UTF-8".into()))?;
    let mut h = Header { text, pos: 0 };
    let (descr, fortran, shape) = h.dictionary().map_err(|what| (at + h.pos, what))?;
    let Some((element, swapped)) = Element::parse(&descr) else {
        return Err((at, format!("elements of type '{descr}'; bool, integers, f2, f4, f8 and V2 are known")));
    };
    let want = size(element, &shape).ok_or((at, format!("a shape of {shape:?} is too large")))?;
    let data = &bytes[at + length..];
    if data.len() != want {
        let have = data.len();
        return Err((at + length, format!("{have} bytes of elements, the shape {shape:?} needs {want}")));
    }
    let mut data = data.to_vec();
    if swapped {
        data.chunks_mut(element.bytes).for_each(<[u8]>::reverse);
    }
    if fortran && shape.len() > 1 {
        data = transposed(&data, element.bytes, &shape);
    }
    Ok(Array { element, shape, data })
}

/// From Fortran order, where the first index runs fastest, to C order.
fn transposed(data: &[u8], bytes: usize, shape: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..data.len() / bytes {
        let mut at = 0;
        for (i, n) in index.iter().zip(shape).rev() {
            at = at * n + i;
        }
        out.extend_from_slice(&data[at * bytes..(at + 1) * bytes]);
        for (i, n) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *n {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// The file's bytes, format 1.0 (2.0 for a shape that needs it).
pub fn encode(a: &Array) -> Vec<u8> {
    let dims: Vec<String> = a.shape.iter().map(|d| format!("{d},")).collect();
    let dims = dims.join(" ");
    let shape = if a.shape.len() > 1 { dims.trim_end_matches(',') } else { &dims };
    let mut header =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}", a.element.descr());
    let before = if header.len() + 64 > u16::MAX as usize { 12 } else { 10 };
    // The elements start at a multiple of 64.
    while !(before + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut out = MAGIC.to_vec();
    if before == 10 {
        out.extend([1, 0]);
        out.extend((header.len() as u16).to_le_bytes());
    } else {
        out.extend([2, 0]);
        out.extend((header.len() as u32).to_le_bytes());
    }
    out.extend(header.as_bytes());
    out.extend(&a.data);
    out
}

/// Writes a file in one piece: whoever reads it sees the old one or the whole new one.
pub fn write(path: &Path, a: &Array) -> std::io::Result<()> {
    super::output::replace(path, &encode(a))
}

/// The dictionary of a header.
struct Header<'a> {
    text: &'a str,
    pos: usize,
}

impl Header<'_> {
    fn blanks(&mut self) {
        let rest = &self.text[self.pos..];
        self.pos += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, c: char) -> bool {
        self.blanks();
        let hit = self.text[self.pos..].starts_with(c);
        self.pos += if hit { c.len_utf8() } else { 0 };
        hit
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.eat(c) { Ok(()) } else { Err(format!("expected `{c}` in the header")) }
    }

    fn string(&mut self) -> Result<String, String> {
        self.blanks();
        let quote = ['\'', '"'].into_iter().find(|q| self.text[self.pos..].starts_with(*q));
        let quote = quote.ok_or("expected a string in the header")?;
        let rest = &self.text[self.pos + 1..];
        let end = rest.find(quote).ok_or("a string in the header does not end")?;
        self.pos += end + 2;
        Ok(rest[..end].to_string())
    }

    fn dictionary(&mut self) -> Result<(String, bool, Vec<usize>), String> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.eat('}') {
            let key = self.string()?;
            self.expect(':')?;
            self.blanks();
            match key.as_str() {
                "descr" if self.text[self.pos..].starts_with('[') => {
                    return Err("records are not supported".into());
                }
                "descr" => descr = Some(self.string()?),
                "fortran_order" => {
                    let word = ["True", "False"].into_iter().find(|w| self.text[self.pos..].starts_with(w));
                    let word = word.ok_or("`fortran_order` is neither True nor False")?;
                    self.pos += word.len();
                    fortran = Some(word == "True");
                }
                "shape" => shape = Some(self.shape()?),
                _ => return Err(format!("`{key}` does not belong into the header")),
            }
            if !self.eat(',') {
                self.expect('}')?;
                break;
            }
        }
        let missing = |what| format!("the header has no `{what}`");
        Ok((
            descr.ok_or_else(|| missing("descr"))?,
            fortran.ok_or_else(|| missing("fortran_order"))?,
            shape.ok_or_else(|| missing("shape"))?,
        ))
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        let mut dims = vec![];
        self.expect('(')?;
        while !self.eat(')') {
            let rest = &self.text[self.pos..];
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            dims.push(rest[..digits].parse().map_err(|_| "a dimension of the shape is no number")?);
            self.pos += digits;
            if !self.eat(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut out = [MAGIC, &[version, 0]].concat();
        match version {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        [out, header.into_bytes(), data.to_vec()].concat()
    }

    #[test]
    fn orders_and_versions() {
        let numbers: Vec<u16> = (0..6).map(|i| 0x1234 + 77 * i).collect();
        let little: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        let big: Vec<u8> = numbers.iter().flat_map(|v| v.to_be_bytes()).collect();
        // Element (i, j) of 2 x 3 is at 2 * j + i in Fortran order.
        let fortran: Vec<u8> =
            [0, 3, 1, 4, 2, 5].iter().flat_map(|&i: &usize| numbers[i].to_be_bytes()).collect();
        for version in 1..=3 {
            for (descr, order, data) in
                [("<u2", "False", &little), (">u2", "False", &big), (">u2", "True", &fortran)]
            {
                let a = parse(&file(version, descr, order, "(2, 3)", data)).unwrap();
                assert_eq!(
                    (a.shape.as_slice(), &a.data),
                    (&[2, 3][..], &little),
                    "{version} {descr} {order}"
                );
            }
        }
    }

    #[test]
    fn round_trips() {
        for (name, shape) in [
            ("f32", vec![3, 5]),
            ("bf16", vec![7]),
            ("s64", vec![]),
            ("bool", vec![2, 1, 4]),
            ("u8", vec![0, 3]),
        ] {
            let element = Element::named(name).unwrap();
            let n = size(element, &shape).unwrap();
            let a = Array { element, shape, data: (0..n).map(|i| (i * 37 + 11) as u8).collect() };
            let bytes = encode(&a);
            assert_eq!(parse(&bytes).unwrap(), a);
            assert_eq!((bytes.len() - n) % 64, 0);
        }
    }

    proptest::proptest! {
        /// Bytes that are no file, and files with bytes changed, give an array or an error.
        #[test]
        fn no_bytes_panic(
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            changes in proptest::collection::vec((0usize..160, proptest::num::u8::ANY), 0..6),
        ) {
            let _ = parse(&noise);
            let _ = parse(&[MAGIC, &[1, 0], &noise].concat());
            let mut bytes = file(1, ">f4", "True", "(2, 3)", &[7; 24]);
            for (at, b) in changes {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = b;
                }
            }
            if let Ok(a) = parse(&bytes) {
                proptest::prop_assert_eq!(Some(a.data.len()), size(a.element, &a.shape));
            }
        }
    }

    #[test]
    fn malformed_files_are_errors() {
        let good = file(1, "<f4", "False", "(2,)", &[1; 8]);
        assert!(parse(&good).is_ok());
        for end in 0..good.len() {
            assert!(parse(&good[..end]).is_err(), "cut at {end}");
        }
        for (descr, order, shape, says) in [
            ("<c8", "False", "(1,)", "type '<c8'"),
            ("O", "False", "(1,)", "type 'O'"),
            ("<f4", "Perhaps", "(2,)", "fortran_order"),
            ("<f4", "False", "(2, x)", "no number"),
            ("<f4", "False", "(99999999999999, 99999999999999)", "too large"),
            ("<f4", "False", "(3,)", "needs 12"),
            ("<f4", "False", "(-1,)", "no number"),
        ] {
            let e = parse(&file(2, descr, order, shape, &[1; 8])).unwrap_err();
            assert!(e.1.contains(says), "{e:?}");
        }
        let mut huge = good.clone();
        (huge[6], huge[11]) = (2, 0xff);
        assert!(parse(&huge).unwrap_err().1.contains("ends inside"));
    }
}
