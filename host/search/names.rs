//! What is said of a name that names nothing.

/// `unknown KIND 'GIVEN'; did you mean 'NEAREST'? (one of A, B, ...)`: the nearest name by edit distance, if one is near.
pub fn unknown<'a>(kind: &str, given: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let near = names.iter().map(|name| (distance(given, name), *name)).min();
    let hint = match near {
        // More edits than a third of the name (or two) make another word, not a slip.
        Some((edits, name)) if edits <= 2.max(name.chars().count() / 3) => format!("did you mean '{name}'? "),
        _ => String::new(),
    };
    format!("unknown {kind} '{given}'; {hint}(one of {})", names.join(", "))
}

/// Levenshtein's distance, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|s| s.to_lowercase().chars().collect::<Vec<_>>());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["random", "evolution", "tpe", "nsga2"];
        assert!(unknown("sampler", "evolutoin", names).contains("did you mean 'evolution'?"));
        assert!(unknown("sampler", "NSGA-2", names).contains("did you mean 'nsga2'?"));
        let far = unknown("sampler", "gradient-descent", names);
        assert!(!far.contains("did you mean") && far.contains("random, evolution, tpe, nsga2"), "{far}");
    }

    #[test]
    fn distances_count_edits() {
        assert_eq!([distance("kitten", "sitting"), distance("", "abc"), distance("Ab", "aB")], [3, 3, 0]);
    }
}
