//! `__paste!`: identifiers made of parts, `[< fetch_ $op _ $ty >]`.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// Replaces every `[< ... >]` in `input` by one identifier, whatever the nesting.
pub fn paste(input: TokenStream) -> TokenStream {
    input
        .into_iter()
        .map(|tree| match tree {
            TokenTree::Group(group) => match joined(&group) {
                Some(ident) => TokenTree::Ident(ident),
                None => {
                    let mut out = Group::new(group.delimiter(), paste(group.stream()));
                    out.set_span(group.span());
                    TokenTree::Group(out)
                }
            },
            other => other,
        })
        .collect()
}

fn joined(group: &Group) -> Option<Ident> {
    if group.delimiter() != Delimiter::Bracket {
        return None;
    }
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    let is = |tree: Option<&TokenTree>, c| matches!(tree, Some(TokenTree::Punct(p)) if p.as_char() == c);
    if tokens.len() < 3 || !is(tokens.first(), '<') || !is(tokens.last(), '>') {
        return None;
    }
    let mut name = String::new();
    for token in &tokens[1..tokens.len() - 1] {
        part(token, &mut name);
    }
    Some(Ident::new(&name, Span::call_site()))
}

fn part(token: &TokenTree, name: &mut String) {
    match token {
        TokenTree::Ident(ident) => name.push_str(&ident.to_string()),
        TokenTree::Literal(literal) => name.push_str(&literal.to_string()),
        // A `$name:ident` or `$ty:ty` of macro_rules arrives in an invisible group.
        TokenTree::Group(group) => group.stream().into_iter().for_each(|t| part(&t, name)),
        TokenTree::Punct(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::paste;

    #[test]
    fn parts_become_one_identifier_and_other_brackets_stay() {
        let input = "fn [< a _ b 32 >] (x : [< u 32 >]) { [x , y] ; z [0] < w }";
        assert_eq!(paste(input.parse().unwrap()).to_string(), "fn a_b32 (x : u32) { [x , y] ; z [0] < w }");
    }
}
