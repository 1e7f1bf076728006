//! Reports of searches: pages and figures are well-formed whatever the data, refer to nothing outside, stay small, and are
//! the same for the same data.

#[path = "../../examples/search_report.rs"]
#[allow(dead_code)]
mod example;
mod markup;
mod random;

use ironwarp::report::figure::{self, Figure};
use ironwarp::report::svg::text::width;
use ironwarp::report::{self, SearchReport};
use ironwarp::search::trial::State;
use markup::Element;
use proptest::prelude::*;

fn made_up(trials: u64) -> SearchReport {
    example::made_up(trials).expect("the example's trials")
}

/// Numbers of attributes are numbers, and nothing but a name space looks like an address.
fn check_markup(text: &str, html: bool) -> Vec<Element> {
    let elements = markup::parse(text, html).unwrap_or_else(|e| panic!("{e}"));
    for element in &elements {
        for (name, value) in &element.attributes {
            let geometry =
                ["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "width", "height", "d", "viewBox"];
            if geometry.contains(&name.as_str()) {
                let fine = |c: char| c.is_ascii_digit() || ".- MLHVQ".contains(c);
                assert!(
                    !value.is_empty() && value.chars().all(fine),
                    "<{} {name}=\"{value}\">",
                    element.name
                );
            }
            let outside = ["href", "src", "srcset", "action", "xlink:href"].contains(&name.as_str());
            assert!(!outside || value.starts_with('#'), "<{} {name}=\"{value}\">", element.name);
        }
        assert!(!["link", "img", "iframe", "image", "use", "object"].contains(&element.name.as_str()));
        if ["style", "script"].contains(&element.name.as_str()) {
            for word in ["http", "url(", "@import", "//cdn", "fetch("] {
                assert!(!element.text.contains(word), "<{}> holds {word}", element.name);
            }
        }
    }
    elements
}

/// Left, top, right, bottom of each text, by the kit's own measure.
fn text_boxes(figure: &Figure) -> Vec<(String, [f64; 4])> {
    let elements = check_markup(&figure.inline(), false);
    let texts = elements.iter().filter(|e| e.name == "text");
    texts
        .map(|e| {
            let of = |name: &str| e.attribute(name).unwrap_or_default();
            let classes: Vec<&str> = of("class").split(' ').collect();
            let sizes = [("s", 11.0), ("xs", 10.0), ("l", 15.0), ("xl", 20.0)];
            let size = sizes.iter().find(|s| classes.contains(&s.0)).map_or(12.0, |s| s.1);
            let (x, y): (f64, f64) = (of("x").parse().expect("x"), of("y").parse().expect("y"));
            let w = width(&e.text, size);
            let left = match of("text-anchor") {
                "middle" => x - w / 2.0,
                "end" => x - w,
                _ => x,
            };
            (e.text.clone(), [left, y - 0.7 * size, left + w, y + 0.2 * size])
        })
        .collect()
}

fn check_no_overlap(figure: &Figure) {
    let boxes = text_boxes(figure);
    for (i, (text, a)) in boxes.iter().enumerate() {
        assert!(a[1] >= -1.0 && a[3] <= figure.svg.height + 1.0, "{}: '{text}' at {a:?}", figure.name);
        for (other, b) in &boxes[..i] {
            let apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
            assert!(apart, "{}: '{text}' {a:?} lies on '{other}' {b:?}", figure.name);
        }
    }
}

#[test]
fn labels_of_the_example_do_not_overlap() {
    for n in [12, 60, 518] {
        for figure in figure::all(&made_up(n)) {
            check_no_overlap(&figure);
        }
    }
}

#[test]
fn the_page_tells_what_a_reader_needs() {
    let report = made_up(300);
    let page = report::html(&report);
    let elements = check_markup(&page, true);
    let text: String = elements.iter().map(|e| e.text.as_str()).collect::<Vec<_>>().join("\n");
    let best = report.best.as_ref().expect("a best model");
    let test = best.test.as_ref().expect("a test value");
    for part in [
        report.command.as_str(),
        &best.architecture,
        &format!("{:.2} %", 100.0 * test.mean),
        &format!("{:.2} %", 100.0 * test.low),
        "The search beat the default MLP (64-64, relu)",
        "The test part, 360 rows, was set aside before the search began",
        "lower the learning rate",
        "ironwarp study export digits.db csv",
        "1, 2, 3, 4, 5",
    ] {
        assert!(text.contains(part), "the page lacks '{part}'");
    }
    let figures = figure::all(&report);
    assert_eq!(figures.len(), 11);
    for figure in &figures {
        let anchor = format!("figure-{}", figure.name);
        assert!(elements.iter().any(|e| e.attribute("id") == Some(&anchor)), "{anchor}");
        assert!(text.contains(&figure.caption), "{}", figure.name);
    }
    let rows = elements.iter().filter(|e| e.name == "tr").count();
    assert!((50..150).contains(&rows), "{rows}");
}

#[test]
fn a_search_that_did_not_pay_says_so() {
    let mut report = made_up(100);
    let swap = |report: &mut SearchReport| {
        let (best, baseline) =
            (report.best.as_mut().expect("best"), report.baseline.as_mut().expect("baseline"));
        std::mem::swap(&mut best.test, &mut baseline.test);
    };
    swap(&mut report);
    for text in [report::html(&report), report::terminal(&report, 80, false).replace('\n', " ")] {
        assert!(text.contains("The search did not beat the default MLP"), "{text}");
    }
    let test = report.best.as_ref().and_then(|b| b.test.clone());
    report.baseline.as_mut().expect("baseline").test = test;
    assert!(report::html(&report).contains("The search did not measurably beat the default MLP"));
    assert_eq!(report.summary()["baseline"]["verdict"], "unclear");
}

#[test]
fn five_thousand_trials_stay_below_two_megabytes() {
    let report = made_up(5000);
    let page = report::html(&report);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(page.contains("of 5,000 trials") || page.contains("Of 5,000 trials"));
    let figures = figure::all(&report);
    for figure in &figures {
        assert!(figure.standalone().len() < 400_000, "{}: {}", figure.name, figure.standalone().len());
    }
    let history = figures.iter().find(|f| f.name == "history").expect("a history");
    assert!(history.caption.contains("Of 5,000 trials, 1,500 are drawn"), "{}", history.caption);
}

#[test]
fn files_are_whole_and_the_same_each_time() {
    let report = made_up(80);
    let dir = tempfile::tempdir().expect("a directory");
    report::write_html(&report, &dir.path().join("a/report.html")).expect("written");
    let page = std::fs::read_to_string(dir.path().join("a/report.html")).expect("read");
    assert_eq!(page, report::html(&made_up(80)));
    let files = report::write_svg_files(&report, &dir.path().join("svg")).expect("written");
    assert_eq!(files.len(), figure::all(&report).len());
    for (file, figure) in files.iter().zip(figure::all(&report)) {
        let text = std::fs::read_to_string(file).expect("read");
        let elements = check_markup(&text, false);
        assert!(elements.iter().any(|e| e.name == "title" && e.text == figure.title), "{}", file.display());
        assert!(elements.iter().any(|e| e.name == "desc" && e.text == figure.caption));
        assert_eq!(text.matches("http").count(), 1, "the name space alone");
        // A file of its own needs no property that a page would define.
        assert!(!text.contains("var("), "{}", file.display());
    }
    // Where no directory can be, the error names the place.
    let file = dir.path().join("a/report.html/x.html");
    let error = report::write_html(&report, &file).expect_err("a file is no directory").to_string();
    assert!(error.contains("report.html"), "{error}");
}

#[test]
fn the_summary_has_the_keys_of_the_contract() {
    let report = made_up(120);
    let summary = report.summary();
    for key in [
        "best_architecture",
        "val_accuracy",
        "test_accuracy",
        "trials",
        "seconds",
        "trials_per_second",
        "study",
    ] {
        assert!(!summary[key].is_null(), "{key}: {summary}");
    }
    assert_eq!(summary["pareto"].as_array().map(Vec::len), Some(report.front.len()));
    assert_eq!(summary["trials"], 120);
    assert_eq!(summary["baseline"]["verdict"], "better");
}

#[test]
fn terminal_lines_fit_and_are_plain_without_colour() {
    let report = made_up(518);
    for columns in [60, 80, 100] {
        let text = report::terminal(&report, columns, false);
        assert!(!text.contains('\x1b'));
        for line in text.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
        for part in ["best architecture", "Pareto front", "what mattered", "nwot", "█"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    assert!(report::terminal(&report, 80, true).contains("\x1b[1m"));
}

#[test]
fn the_history_marks_every_state() {
    let report = made_up(200);
    let counts = report.counts();
    let history = figure::history(&report.measure(), &report.trials).expect("a history");
    let elements = check_markup(&history.inline(), false);
    let tips = elements.iter().filter(|e| e.name == "title").filter(|e| e.text.contains("NaN after")).count();
    assert_eq!(tips, counts.failed, "each failed trial tells its reason");
    assert!(report.trials.iter().any(|t| t.state == State::Failed));
    // Rungs: as many trials as the bars say.
    let survival = figure::survival(&report.trials, report.setting.steps, &report.pruner).expect("bars");
    let done = |step: u64| report.trials.iter().filter(|t| t.last().is_some_and(|r| r.step >= step)).count();
    for step in [1, 4, 10, 20] {
        assert!(survival.inline().contains(&format!("step {step}: {} trial", done(step))), "step {step}");
    }
}

/// A study without a file knows its sampler and pruner too.
#[test]
fn a_search_in_memory_names_its_sampler_and_pruner() {
    use ironwarp::search::Search;
    use ironwarp::search::{pruner::Asha, sampler::Evolution, space::network::NetworkSpace};
    let device = ironwarp::Device::cpu();
    let parts = ironwarp::data::builtin("iris").expect("iris").standardized().stratified_split(0.7, 3);
    let parts = parts.expect("two parts");
    let search = Search::new(NetworkSpace::default_for(4, 3, parts.train.rows()))
        .sampler(Evolution::default())
        .pruner(Asha::default())
        .screen(2)
        .trials(3)
        .epochs(2)
        .final_epochs(1)
        .finalists(1);
    let found = search.run(&device, &parts.train).expect("a search");
    assert_eq!(found.study.path(), None);
    let pair = (&parts.train, &parts.test);
    let report = SearchReport::of(&found, None, None, pair, &device).expect("a report");
    assert_eq!((report.sampler.as_str(), report.pruner.as_str()), ("evolution, best of 2 by score", "asha"));
    let page = report::html(&report);
    assert!(page.contains("evolution, best of 2 by score") && page.contains("asha"));
}

/// A search itself, on real data.
#[test]
fn a_search_reports_what_it_found() {
    use ironwarp::search::builder::Search;
    use ironwarp::search::metric::Metric;
    use ironwarp::search::space::network::NetworkSpace;
    let device = ironwarp::Device::cpu();
    let parts = ironwarp::data::builtin("iris").expect("iris").standardized().stratified_split(0.7, 3);
    let parts = parts.expect("two parts");
    let space = NetworkSpace::default_for(4, 3, parts.train.rows());
    let search = Search::new(space).objectives([Metric::Accuracy, Metric::Parameters]).trials(14).epochs(4);
    let about = serde_json::json!({"command": ["search", "iris", "--out", "my run"]});
    let dir = tempfile::tempdir().expect("a directory");
    let search = search.final_epochs(5).finalists(2).seed(5).about(about).study(dir.path().join("iris.db"));
    let found = search.run(&device, &parts.train);
    let found = found.expect("a search");
    let best = found.best.as_ref().expect("a winner");
    let pair = (&parts.train, &parts.test);
    let tested = found.test(&device, &best.architecture, pair, 2).expect("tested");
    let baseline = found.baseline(&device, pair, 2).expect("tested");
    let report = SearchReport::of(&found, Some(&tested), Some(&baseline), pair, &device).expect("a report");
    let page = report::html(&report);
    check_markup(&page, true);
    let expected = [
        "ironwarp search iris --out &#39;my run&#39;".to_owned(),
        format!("{:.2} %", 100.0 * tested.metric.mean),
        "default network (128-64)".to_owned(),
        "cross-validation over all rows that the search saw".to_owned(),
        "iris.db csv".to_owned(),
        "id=\"figure-confusion\"".to_owned(),
        "id=\"figure-pareto\"".to_owned(),
    ];
    for part in expected {
        assert!(page.contains(&part), "the page lacks '{part}'");
    }
    assert_eq!(report.trials.len(), 14);
    assert!(!report.front.is_empty());
    for figure in figure::all(&report) {
        check_no_overlap(&figure);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_data_the_page_is_well_formed(report in random::reports()) {
        let page = report::html(&report);
        check_markup(&page, true);
        prop_assert!(!page.contains("<evil") && !page.contains("&evil") && !page.contains("\"evil"), "{page}");
        prop_assert_eq!(&page, &report::html(&report));
        for figure in figure::all(&report) {
            let text = figure.standalone();
            check_markup(&text, false);
            prop_assert!(figure.svg.height > 0.0 && figure.svg.height < 4000.0);
        }
        let text = report::terminal(&report, 80, false);
        prop_assert!(text.lines().all(|l| l.chars().count() <= 80), "{}", text);
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text);
        let summary = report.summary().to_string();
        prop_assert!(serde_json::from_str::<serde_json::Value>(&summary).is_ok());
    }
}

#[test]
fn a_roofline_without_measurements_is_none() {
    let point = |flops| figure::Point {
        roof: "bf16".into(),
        label: "x".into(),
        intensity: 10.0,
        flops,
        yardstick: None,
    };
    let of = |points, roof: &str| {
        let roofs = vec![figure::Roof { name: roof.into(), flops: 1e14 }];
        let (device, yardstick) = ("GPU".into(), "other".into());
        figure::roofline(&figure::Roofline { device, bandwidth: 1e12, roofs, yardstick, points })
    };
    assert!(of(vec![], "bf16").is_none() && of(vec![point(1e13)], "fp32").is_none());
    assert!(of(vec![point(f64::NAN), point(0.0)], "bf16").is_none());
    assert!(of(vec![point(1e13)], "bf16").is_some_and(|f| !f.caption.contains("Rings")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rooflines_are_well_formed_whatever_was_measured(
        roofs in proptest::collection::vec(1e9f64..1e16, 1..6),
        bandwidth in 1e9f64..1e14,
        points in proptest::collection::vec((0usize..7, 1e-3f64..1e5, 1e3f64..1e16, any::<bool>()), 1..40),
    ) {
        let name = |i: usize| format!("<type {i}>");
        let roofs: Vec<figure::Roof> =
            roofs.iter().enumerate().map(|(i, &flops)| figure::Roof { name: name(i), flops }).collect();
        let drawn = points.iter().filter(|p| p.0 < roofs.len()).count();
        let points = points.iter().map(|&(roof, intensity, flops, compared)| figure::Point {
            roof: name(roof), label: "1x2x3 & more".into(), intensity, flops, yardstick: compared.then_some(flops * 1.1),
        }).collect();
        let data = figure::Roofline { device: "A <GPU>".into(), bandwidth, roofs, yardstick: "a yardstick".into(), points };
        let figure = figure::roofline(&data);
        prop_assert_eq!(figure.is_some(), drawn > 0);
        if let Some(figure) = figure {
            let elements = check_markup(&figure.standalone(), false);
            let dots = elements.iter().filter(|e| e.attribute("class").is_some_and(|c| c.starts_with("dot ")));
            let tipped = dots.filter(|e| e.attribute("r") == Some("4.2")).count();
            prop_assert_eq!(tipped, drawn);
            check_no_overlap(&figure);
        }
    }
}
