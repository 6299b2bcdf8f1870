//! A strict reader of the OpenMetrics text format 1.0, as far as gauges, counters and infos go: what Prometheus would
//! silently bend, this refuses.

use std::collections::HashSet;

/// One value.
#[derive(Debug)]
pub struct Sample {
    /// As written: `x_total`.
    pub name: String,
    /// `x_total{a=1,b=2}`, labels in the order of the text.
    pub series: String,
    /// The value.
    pub value: f64,
}

struct Family {
    name: String,
    kind: String,
}

/// Reads a whole exposition. Errors name the line.
pub fn parse(text: &str) -> Result<Vec<Sample>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with `# EOF` and a line break")?;
    let (mut families, mut seen, mut samples) = (HashSet::new(), HashSet::new(), Vec::new());
    let (mut family, mut helped): (Option<Family>, Option<String>) = (None, None);
    for (index, line) in body.lines().enumerate() {
        let fail = |why: &str| format!("line {}: {why}: {line:?}", index + 1);
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| fail("no help text"))?;
            if help.trim().is_empty() || help.contains('"') || help.contains('\\') {
                return Err(fail("help is empty or needs escaping"));
            }
            helped = Some(name.into());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| fail("no type"))?;
            check_name(name).map_err(|why| fail(&why))?;
            if !matches!(kind, "gauge" | "counter" | "info") {
                return Err(fail("unknown type"));
            }
            if !families.insert(name.to_string()) {
                return Err(fail("this family came before: its lines must stand together"));
            }
            if helped.take().as_deref() != Some(name) {
                return Err(fail("no help before the type"));
            }
            family = Some(Family { name: name.into(), kind: kind.into() });
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').ok_or_else(|| fail("no unit"))?;
            let base = matches!(unit, "seconds" | "bytes");
            if !base || family.as_ref().is_none_or(|f| f.name != name) || !name.ends_with(&format!("_{unit}")) {
                return Err(fail("a unit is a base unit, belongs to the type before it and ends its name"));
            }
        } else {
            let sample = parse_sample(line).map_err(|why| fail(&why))?;
            let family = family.as_ref().ok_or_else(|| fail("a sample without a type"))?;
            let suffix = match family.kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            if sample.name != format!("{}{suffix}", family.name) {
                return Err(fail("the sample's name does not fit its type"));
            }
            if family.kind == "counter" && sample.value < 0.0 || !sample.value.is_finite() {
                return Err(fail("not a value of this type"));
            }
            if !seen.insert(sample.series.clone()) {
                return Err(fail("this series came before"));
            }
            samples.push(sample);
        }
    }
    Ok(samples)
}

fn parse_sample(line: &str) -> Result<Sample, String> {
    let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').ok_or("labels without end")?),
        None => (series, ""),
    };
    check_name(name)?;
    let mut shown = Vec::new();
    let mut keys = HashSet::new();
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (key, quoted) = label.split_once('=').ok_or("a label without =")?;
        let text = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or("a label without quotes")?;
        if !matches!(key, "bus" | "device" | "uplink" | "version") || !keys.insert(key) {
            return Err(format!("label {key} is not one that is bounded, or is there twice"));
        }
        if text.is_empty() || text.contains(['"', '\\', '\n']) {
            return Err("a label that is empty or needs escaping".into());
        }
        shown.push(format!("{key}={text}"));
    }
    if series.contains('{') && shown.is_empty() {
        return Err("braces without labels".into());
    }
    let braces = if shown.is_empty() { String::new() } else { format!("{{{}}}", shown.join(",")) };
    let value = value.parse().map_err(|_| "no number")?;
    Ok(Sample { name: name.into(), series: format!("{name}{braces}"), value })
}

fn check_name(name: &str) -> Result<(), String> {
    let good = name.starts_with("fieldway_")
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if good { Ok(()) } else { Err(format!("{name:?} is no name of ours")) }
}

#[test]
fn the_strict_reader_refuses_what_it_should() {
    let good = "# HELP fieldway_a b\n# TYPE fieldway_a counter\nfieldway_a_total{bus=\"x\"} 1\n# EOF\n";
    assert_eq!(parse(good).unwrap()[0].series, "fieldway_a_total{bus=x}");
    for (from, to) in [
        ("# EOF\n", ""),
        ("fieldway_a_total", "fieldway_a"),
        ("fieldway_a_total", "fieldway_b_total"),
        ("bus=", "point="),
        ("bus=\"x\"", ""),
        ("} 1", "} -1"),
        ("} 1", "} one"),
        ("# HELP fieldway_a b\n", ""),
        ("counter", "histogram"),
        ("# EOF", "fieldway_a_total{bus=\"x\"} 1\n# EOF"),
        ("# EOF", "# HELP fieldway_a b\n# TYPE fieldway_a counter\n# EOF"),
        ("# TYPE fieldway_a counter\n", "# TYPE fieldway_a counter\n# UNIT fieldway_a seconds\n"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(parse(&bad).is_err(), "{bad}");
    }
}
