//! A small parser that takes well-formed XML only; of HTML also the doctype, elements without an end, and raw text in
//! `style` and `script`.

/// An element: its own text without that of its children, in the order of start tags.
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub text: String,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.0 == name).map(|a| a.1.as_str())
    }
}

/// The elements of `text`. Error: what is not well-formed, with the place.
pub fn parse(text: &str, html: bool) -> Result<Vec<Element>, String> {
    let mut elements: Vec<Element> = vec![];
    let mut open: Vec<usize> = vec![];
    let mut rest = text;
    let mut roots = 0;
    let near = |rest: &str| rest.chars().take(80).collect::<String>();
    if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\n') {
        return Err(format!("a control character {c:?}"));
    }
    while !rest.is_empty() {
        let Some(at) = rest.find('<') else {
            if rest.trim().is_empty() {
                break;
            }
            return Err(format!("text after the end: {}", near(rest)));
        };
        let content = unescape(&rest[..at])?;
        match open.last() {
            Some(i) => elements[*i].text.push_str(&content),
            None if content.trim().is_empty() => {}
            None => return Err(format!("text outside: {content}")),
        }
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("<?xml") {
            rest = after.split_once("?>").ok_or("an open declaration")?.1;
        } else if html && rest.starts_with("<!doctype html>") {
            rest = &rest["<!doctype html>".len()..];
        } else if let Some(after) = rest.strip_prefix("</") {
            let (name, after) = after.split_once('>').ok_or("an open end tag")?;
            let i = open.pop().ok_or_else(|| format!("</{name}> ends nothing"))?;
            if elements[i].name != name {
                return Err(format!("</{name}> ends <{}>", elements[i].name));
            }
            rest = after;
        } else {
            let (element, closed, after) =
                start_tag(&rest[1..]).map_err(|e| format!("{e}: {}", near(rest)))?;
            let name = element.name.clone();
            if open.is_empty() {
                roots += 1;
            }
            elements.push(element);
            rest = after;
            let void = html && ["meta", "br"].contains(&name.as_str());
            if html && ["style", "script"].contains(&name.as_str()) {
                let end = format!("</{name}>");
                let (raw, after) = rest.split_once(&end).ok_or("an open raw text")?;
                if let Some(last) = elements.last_mut() {
                    last.text = raw.to_owned();
                }
                rest = after;
            } else if !closed && !void {
                open.push(elements.len() - 1);
            }
        }
    }
    match (open.last(), roots) {
        (Some(i), _) => Err(format!("<{}> is not closed", elements[*i].name)),
        (None, 1) => Ok(elements),
        (None, n) => Err(format!("{n} roots")),
    }
}

/// The element that starts after `<`, whether it is closed at once, and what follows.
fn start_tag(text: &str) -> Result<(Element, bool, &str), String> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ':';
    let end = text.find(|c| !named(c)).ok_or("an open tag")?;
    let mut element = Element { name: text[..end].to_owned(), attributes: vec![], text: String::new() };
    if element.name.is_empty() {
        return Err("no name".into());
    }
    let mut rest = &text[end..];
    loop {
        let trimmed = rest.trim_start();
        if let Some(after) = trimmed.strip_prefix("/>") {
            return Ok((element, true, after));
        }
        if let Some(after) = trimmed.strip_prefix('>') {
            return Ok((element, false, after));
        }
        if trimmed.len() == rest.len() {
            return Err("no space before an attribute".into());
        }
        let (name, after) = trimmed.split_once("=\"").ok_or("an attribute without a value")?;
        if name.is_empty() || !name.chars().all(named) {
            return Err(format!("an attribute called '{name}'"));
        }
        if element.attributes.iter().any(|a| a.0 == name) {
            return Err(format!("'{name}' twice"));
        }
        let (value, after) = after.split_once('"').ok_or("an open attribute")?;
        if value.contains('<') {
            return Err(format!("'<' in {name}"));
        }
        element.attributes.push((name.to_owned(), unescape(value)?));
        rest = after;
    }
}

/// The text that escapes stand for; a lone `&` or `>` is an error.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['&', '>']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&#39;", '\'')];
        let (escape, c) = known
            .iter()
            .find(|k| rest.starts_with(k.0))
            .ok_or_else(|| format!("a lone '&' or '>' in '{text}'"))?;
        out.push(*c);
        rest = &rest[escape.len()..];
    }
    Ok(out + rest)
}

#[test]
fn the_parser_refuses_what_is_not_well_formed() {
    for text in [
        "<a><b></a></b>",
        "<a>",
        "<a x=1/>",
        "<a x=\"1\" x=\"2\"/>",
        "<a>&nbsp;</a>",
        "<a>1 > 2</a>",
        "<a x=\"<\"/>",
        "<a/><b/>",
        "<a>\u{1}</a>",
        "a",
    ] {
        assert!(parse(text, false).is_err(), "{text}");
    }
    let elements = parse("<a x=\"1 &lt; 2\">b<c/>d</a>", false).expect("well-formed");
    assert_eq!((elements[0].attribute("x"), elements[0].text.as_str()), (Some("1 < 2"), "bd"));
}
