//! "Did you mean": the known name nearest to one that is not known.

/// Least number of insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string
/// alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (vec![], (0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        (before, last) = (last, row);
    }
    last[b.len()]
}

/// The name nearest to `word`, the first of several; `None` when all are too far: more than a third of the letters (at
/// least one) differ. Capitals do not count.
///
/// ```
/// use ironwarp::search::nearest::nearest;
/// assert_eq!(nearest("evolutoin", ["random", "evolution", "tpe"]), Some("evolution"));
/// assert_eq!(nearest("annealing", ["random", "evolution", "tpe"]), None);
/// ```
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |s: &str| s.to_lowercase().chars().collect::<Vec<_>>();
    let word = letters(word);
    let far = |name: &str| distance(&word, &letters(name));
    let best = names.into_iter().map(|name| (far(name), name)).min_by_key(|(d, _)| *d)?;
    (best.0 <= (word.len().max(best.1.chars().count()) / 3).max(1)).then_some(best.1)
}

/// Text to append to an error: `lead 'name'?` with the nearest name, or nothing.
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>, lead: &str) -> String {
    nearest(word, names).map_or(String::new(), |name| format!("{lead} '{name}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_mended_and_strangers_are_not() {
        let names = ["depth", "width", "activation", "dropout", "lr"];
        for (word, name) in [
            ("widht", "width"),
            ("Depth", "depth"),
            ("activations", "activation"),
            ("l", "lr"),
            ("dropuot", "dropout"),
        ] {
            assert_eq!(nearest(word, names), Some(name), "{word}");
        }
        for word in ["", "momentum", "xyz"] {
            assert_eq!(nearest(word, names), None, "{word}");
        }
        assert_eq!(nearest("a", []), None);
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        let of = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!((of("", "abc"), of("abc", ""), of("kitten", "sitting")), (3, 3, 3));
        assert_eq!((of("ab", "ba"), of("ca", "abc")), (1, 3));
    }
}
