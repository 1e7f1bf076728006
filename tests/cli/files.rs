//! Data files of one's own: CSV with categories and missing values, NumPy archives, regression.

use std::io::{Seek, Write};

use npyz::WriterBuilder;

use crate::{cli, read, temp, write};

/// Writes an array in NumPy's format.
pub fn write_npy(to: &mut impl Write, values: &[f32], shape: &[u64]) {
    let options = npyz::WriteOptions::new().default_dtype().shape(shape).writer(to);
    let mut writer = options.begin_nd().expect("an array");
    writer.extend(values.iter().copied()).expect("its elements");
    writer.finish().expect("its end");
}

/// Rows of `(size, colour, weight, kind)`: the kind follows from the colour and the size; some cells are missing.
fn table(order: [usize; 4], missing: bool) -> String {
    let header = ["size", "colour", "weight", "kind"];
    let mut lines = vec![order.map(|i| header[i]).join(",")];
    for i in 0..240usize {
        let size = (i * 37 % 101) as f64 / 10.0;
        let colour = ["red", "green", "deep blue"][i * 7 % 3];
        let kind = if colour == "red" || (colour == "green" && size > 5.0) { "apple" } else { "plum, ripe" };
        let weight = format!("{:.2}", size * 3.0 + (i % 5) as f64);
        let weight = if missing && i % 11 == 3 { String::new() } else { weight };
        let colour = if missing && i % 29 == 5 { "" } else { colour };
        let cells = [format!("{size}"), colour.to_owned(), weight, format!("\"{kind}\"")];
        lines.push(order.map(|i| cells[i].clone()).join(","));
    }
    lines.join("\n") + "\n"
}

#[test]
fn categories_and_missing_values() {
    let dir = temp();
    write(&dir.path().join("fruit.csv"), table([0, 3, 1, 2], true));
    let line = "train fruit.csv --target kind --device cpu --hidden 32 --epochs 60 --batch 16 --lr 0.01 --json --out run";
    let run = cli(dir.path(), line).ok();
    for part in ["'colour'", "one-hot", "'weight'", "missing"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    let json = run.json();
    assert!(json["test_accuracy"].as_f64().is_some_and(|a| a > 0.85), "{json}");
    assert_eq!(json["inputs"], 2 + 3);
    // The same rows with their columns in another order, and without the target: the same predictions.
    let predict = |file: &str, columns: &[usize]| {
        let text = table([0, 1, 2, 3], true);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let mut writer = csv::Writer::from_path(dir.path().join(file)).expect("a file");
        let pick = |r: &csv::StringRecord| columns.iter().map(|&c| r[c].to_owned()).collect::<Vec<_>>();
        writer.write_record(pick(reader.headers().expect("a header"))).expect("a header");
        for record in reader.records() {
            writer.write_record(pick(&record.expect("a row"))).expect("a row");
        }
        writer.flush().expect("a file");
        cli(dir.path(), &format!("predict run {file} --device cpu")).ok().stdout
    };
    let all = predict("all.csv", &[0, 1, 2, 3]);
    assert_eq!(all, predict("turned.csv", &[2, 0, 1]));
    assert!(all.contains("\"plum, ripe\"") && all.lines().count() == 241, "{all}");
    let eval = cli(dir.path(), "eval run all.csv --device cpu --json").ok().json();
    assert!(eval["accuracy"].as_f64().is_some_and(|a| a > 0.85), "{eval}");
    cli(dir.path(), "eval run fruit.csv --part test --device cpu").ok();
}

#[test]
fn delimiters_headers_and_indices() {
    let dir = temp();
    let rows: Vec<String> = (0..60).map(|i| format!("{}|{}|{}", i % 2, i, (i * 7) % 13)).collect();
    write(&dir.path().join("plain.txt"), rows.join("\n"));
    let line = "train plain.txt --delimiter | --no-header --target 0 --device cpu --hidden 4 --epochs 2 --quiet --json --out run";
    let json = cli(dir.path(), line).ok().json();
    assert_eq!((&json["inputs"], &json["outputs"]), (&2.into(), &2.into()));
    let eval =
        cli(dir.path(), "eval run plain.txt --delimiter | --no-header --device cpu --part test --json")
            .ok()
            .json();
    assert_eq!(eval["loss"], json["test_loss"]);
}

#[test]
fn numpy_archives_with_a_test_part() {
    let dir = temp();
    let file = std::fs::File::create(dir.path().join("points.npz")).expect("an archive");
    let mut archive = zip::ZipWriter::new(file);
    let sample = |i: usize| [(i % 10) as f32, (i * 3 % 7) as f32];
    let label = |i: usize| f32::from(u8::from(i % 10 > 4));
    for (prefix, rows) in [("train", 0..150), ("test", 150..200)] {
        let x: Vec<f32> = rows.clone().flat_map(sample).collect();
        let y: Vec<f32> = rows.map(label).collect();
        for (name, values, shape) in [
            (format!("x_{prefix}"), &x, vec![y.len() as u64, 2]),
            (format!("y_{prefix}"), &y, vec![y.len() as u64]),
        ] {
            let options = zip::write::SimpleFileOptions::default();
            archive.start_file(format!("{name}.npy"), options).expect("an array");
            write_npy(&mut archive, values, &shape);
        }
    }
    archive.finish().expect("an archive");
    let line = "train points.npz --device cpu --hidden 16 --epochs 80 --lr 0.02 --batch 16 --json --out run";
    let json = cli(dir.path(), line).ok().json();
    assert_eq!((&json["train_rows"], &json["test_rows"]), (&150.into(), &50.into()));
    assert!(json["test_accuracy"].as_f64().is_some_and(|a| a > 0.9), "{json}");
    let eval = cli(dir.path(), "eval run points.npz --device cpu --part test --json").ok().json();
    assert_eq!((&eval["loss"], &eval["rows"]), (&json["test_loss"], &50.into()));
}

#[test]
fn regression_predicts_in_the_units_of_the_data() {
    let dir = temp();
    let line = "train diabetes --device cpu --hidden none --epochs 60 --json --out run";
    let json = cli(dir.path(), line).ok().json();
    assert!(json["test_r2"].as_f64().is_some_and(|r2| r2 > 0.3), "{json}");
    cli(dir.path(), "predict run diabetes --device cpu --out p.csv").ok();
    let text = String::from_utf8(read(&dir.path().join("p.csv"))).expect("text");
    assert_eq!(text.lines().next(), Some("row,prediction"));
    let numbers: Vec<f64> = text.lines().skip(1).filter_map(|l| l.split_once(',')?.1.parse().ok()).collect();
    let diabetes = ironwarp::data::builtin("diabetes").expect("built in");
    let targets = diabetes.values().expect("numbers");
    assert_eq!(numbers.len(), targets.len());
    let mean = |v: &mut dyn Iterator<Item = f64>| v.sum::<f64>() / targets.len() as f64;
    let want = mean(&mut targets.iter().map(|&t| f64::from(t)));
    assert!((mean(&mut numbers.iter().copied()) / want - 1.0).abs() < 0.1);
    let residual = mean(&mut numbers.iter().zip(targets).map(|(p, &t)| (p - f64::from(t)).powi(2)));
    let total = mean(&mut targets.iter().map(|&t| (f64::from(t) - want).powi(2)));
    let eval = cli(dir.path(), "eval run diabetes --device cpu --json").ok().json();
    let r2 = eval["r2"].as_f64().expect("R2");
    assert!(
        (r2 - (1.0 - residual / total)).abs() < 1e-3,
        "{r2}, from the predictions {}",
        1.0 - residual / total
    );
}

#[test]
fn files_behind_other_names() {
    let dir = temp();
    let mut file = std::fs::File::create(dir.path().join("iris")).expect("a file");
    let rows: Vec<String> =
        (0..40).map(|i| format!("{},{}\n", i % 4, if i % 4 > 1 { "up" } else { "down" })).collect();
    file.write_all(("x,way\n".to_owned() + &rows.concat()).as_bytes()).expect("rows");
    file.rewind().expect("a file");
    let json = cli(dir.path(), "train ./iris --device cpu --hidden 4 --epochs 2 --quiet --json").ok().json();
    assert_eq!((&json["inputs"], &json["out"]), (&1.into(), &"runs/iris".into()));
}
