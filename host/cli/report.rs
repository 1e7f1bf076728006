//! Results as text: evaluations, confusion matrices, precision and recall.

use ironwarp::train::Evaluation;
use serde_json::{Map, Value, json};

use super::out;

/// The most classes whose confusion matrix is printed.
const MATRIX_CLASSES: usize = 12;

/// A number for JSON; what is not finite is null.
pub fn number(x: f64) -> Value {
    if x.is_finite() { json!(x) } else { Value::Null }
}

/// `loss 0.0123  accuracy 98.06 %` or `loss ... R2 ...`.
pub fn figures(evaluation: &Evaluation) -> String {
    let loss = format!("loss {:.4}", evaluation.loss);
    match (evaluation.accuracy.is_nan(), evaluation.r2.is_nan()) {
        (false, _) => format!("{loss}  accuracy {:.2} %", 100.0 * evaluation.accuracy),
        (true, false) => format!("{loss}  R2 {:.4}", evaluation.r2),
        (true, true) => loss,
    }
}

/// Adds `PREFIXloss` and `PREFIXaccuracy` (classes) or `PREFIXr2` (numbers).
pub fn insert(map: &mut Map<String, Value>, prefix: &str, evaluation: &Evaluation) {
    map.insert(format!("{prefix}loss"), number(evaluation.loss));
    let (key, value) = if evaluation.confusion.is_empty() {
        ("r2", evaluation.r2)
    } else {
        ("accuracy", evaluation.accuracy)
    };
    map.insert(format!("{prefix}{key}"), number(value));
}

/// Confusion matrix (for 12 classes at most) and precision and recall of each class; nothing for regression.
pub fn classes(evaluation: &Evaluation, names: &[String]) -> String {
    let matrix = &evaluation.confusion;
    let n = matrix.len();
    if n == 0 || names.len() != n {
        return String::new();
    }
    let short = |name: &String| name.chars().take(20).collect::<String>();
    let mut text = String::new();
    if n <= MATRIX_CLASSES {
        let header: Vec<String> =
            std::iter::once("true \\ predicted".into()).chain(names.iter().map(short)).collect();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let row = |i: usize| {
            std::iter::once(short(&names[i])).chain(matrix[i].iter().map(u32::to_string)).collect()
        };
        text += &out::table(&header, &(0..n).map(row).collect::<Vec<_>>(), &[]);
        text.push('\n');
    }
    let rows: Vec<Vec<String>> = (0..n)
        .map(|c| {
            let right = f64::from(matrix[c][c]);
            let truth: u32 = matrix[c].iter().sum();
            let said: u32 = matrix.iter().map(|row| row[c]).sum();
            // No row was given this class, or none has it: the quotient means nothing.
            let share = |of: u32| if of == 0 { "-".into() } else { format!("{:.3}", right / f64::from(of)) };
            vec![short(&names[c]), share(said), share(truth), truth.to_string()]
        })
        .collect();
    text + &out::table(&["class", "precision", "recall", "rows"], &rows, &[])
}

/// The middle of the numbers; 0 for none.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_recall_follow_from_the_matrix() {
        let confusion = vec![vec![8, 2, 0], vec![0, 5, 0], vec![0, 3, 0]];
        let evaluation =
            Evaluation { loss: 0.5, accuracy: 13.0 / 18.0, r2: f64::NAN, confusion, samples: 18 };
        let text = classes(&evaluation, &["a".into(), "b".into(), "c".into()]);
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert!(lines.contains(&vec!["a", "8", "2", "0"]), "{text}");
        assert!(lines.contains(&vec!["a", "1.000", "0.800", "10"]), "{text}");
        assert!(lines.contains(&vec!["b", "0.500", "1.000", "5"]), "{text}");
        assert!(lines.contains(&vec!["c", "-", "0.000", "3"]), "{text}");
        assert_eq!(figures(&evaluation), "loss 0.5000  accuracy 72.22 %");
    }

    #[test]
    fn medians() {
        assert_eq!((median([]), median([3.0, 1.0, 2.0]), median([4.0, 1.0])), (0.0, 2.0, 2.5));
    }
}
