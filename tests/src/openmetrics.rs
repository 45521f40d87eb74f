//! A strict reader of OpenMetrics 1.0 text: the order of lines, names, labels, values and what each kind of family must
//! have. It is for tests, and refuses what a lenient scraper would let pass.

use std::collections::{BTreeMap, BTreeSet};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// With its suffix.
    pub name: String,
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// One family.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// counter, gauge, histogram, info
    pub kind: String,
    /// In order.
    pub samples: Vec<Sample>,
}

/// The families by name.
///
/// # Errors
/// The first line that is wrong, and why.
pub fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let body = text
        .strip_suffix("# EOF\n")
        .ok_or("it does not end with # EOF")?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in body.split_terminator('\n') {
        let wrong = |why: &str| Err(format!("{why}: {line:?}"));
        if let Some(about) = line.strip_prefix("# ") {
            let mut words = about.splitn(3, ' ');
            let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
            else {
                return wrong("a line about a family has three parts");
            };
            if what == "TYPE" {
                if !is_name(name) {
                    return wrong("no name of a family");
                }
                if !["counter", "gauge", "histogram", "info"].contains(&rest) {
                    return wrong("no kind of a family");
                }
                let family = Family {
                    kind: rest.to_owned(),
                    samples: Vec::new(),
                };
                if families.insert(name.to_owned(), family).is_some() {
                    return wrong("a family twice");
                }
                current = name.to_owned();
                continue;
            }
            if name != current || !families[&current].samples.is_empty() {
                return wrong("this belongs before the samples of its family");
            }
            match what {
                "HELP" => {}
                "UNIT" if name.ends_with(&format!("_{rest}")) => {}
                _ => return wrong("neither TYPE, UNIT nor HELP"),
            }
            continue;
        }
        let sample = sample(line).map_err(|why| format!("{why}: {line:?}"))?;
        if !seen.insert(format!("{}{:?}", sample.name, sample.labels)) {
            return wrong("a sample twice");
        }
        let Some(family) = families.get_mut(&current) else {
            return wrong("a sample without a family");
        };
        let Some(suffix) = sample.name.strip_prefix(current.as_str()) else {
            return wrong("a sample outside its family");
        };
        let fits = match family.kind.as_str() {
            "counter" => suffix == "_total" && sample.value >= 0.0,
            "info" => suffix == "_info" && sample.value == 1.0,
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            _ => suffix.is_empty(),
        };
        if !fits {
            return wrong("this suffix or value does not fit the kind");
        }
        family.samples.push(sample);
    }
    for (name, family) in families.iter().filter(|(_, f)| f.kind == "histogram") {
        histogram(name, family)?;
    }
    Ok(families)
}

/// Of each label set: buckets grow to `+Inf`, which is the count, and there is a sum.
fn histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut sets: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        sets.entry(format!("{labels:?}")).or_default().push(sample);
    }
    for (labels, samples) in sets {
        let wrong = |why: &str| Err(format!("{name}{labels}: {why}"));
        let of = |suffix: &str| {
            let whole = format!("{name}{suffix}");
            samples.iter().filter(move |s| s.name == whole)
        };
        let mut last = (f64::NEG_INFINITY, 0.0);
        for bucket in of("_bucket") {
            let le = match bucket.labels.get("le").map(String::as_str) {
                Some("+Inf") => f64::INFINITY,
                Some(end) => end.parse().map_err(|_| format!("{name}: le {end}"))?,
                None => return wrong("a bucket without le"),
            };
            if le <= last.0 || bucket.value < last.1 {
                return wrong("buckets that do not grow");
            }
            last = (le, bucket.value);
        }
        let count: Vec<f64> = of("_count").map(|s| s.value).collect();
        if last.0 != f64::INFINITY || count != [last.1] || of("_sum").count() != 1 {
            return wrong("no +Inf, or no count and sum that fit");
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Result<Sample, String> {
    let (name, rest) = line.split_once('{').ok_or("no labels")?;
    if !is_name(name) {
        return Err("no name of a sample".to_owned());
    }
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    loop {
        let (label, after) = rest.split_once("=\"").ok_or("no label")?;
        if !is_name(label) {
            return Err(format!("no name of a label: {label:?}"));
        }
        let (mut value, mut end) = (String::new(), None);
        let mut chars = after.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = Some(at);
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => return Err("an escape that is none".to_owned()),
                },
                c => value.push(c),
            }
        }
        let end = end.ok_or("a label without an end")?;
        if labels.insert(label.to_owned(), value).is_some() {
            return Err("a label twice".to_owned());
        }
        let after = &after[end + 1..];
        if let Some(value) = after.strip_prefix("} ") {
            let value = value.parse().map_err(|_| "no number")?;
            let name = name.to_owned();
            return Ok(Sample {
                name,
                labels,
                value,
            });
        }
        rest = after
            .strip_prefix(',')
            .ok_or("neither a label nor the end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_openmetrics_is_refused() {
        let good = "# TYPE a counter\n# HELP a Help.\na_total{n=\"1\"} 3\n# EOF\n";
        assert_eq!(parse(good).unwrap()["a"].samples[0].value, 3.0);
        let bad = [
            "# TYPE a counter\na_total{n=\"1\"} 3\n",
            "# TYPE a counter\na{n=\"1\"} 3\n# EOF\n",
            "# TYPE a gauge\na{n=\"1\"} 3\na{n=\"1\"} 3\n# EOF\n",
            "# TYPE a gauge\n# TYPE a gauge\n# EOF\n",
            "# TYPE a gauge\n# UNIT a seconds\n# EOF\n",
            "# TYPE a gauge\na{n=\"1\"} x\n# EOF\n",
            "# TYPE a gauge\na{n=\"\\x\"} 1\n# EOF\n",
            "# TYPE a gauge\nb{n=\"1\"} 1\n# EOF\n",
            "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum{n=\"1\"} 1\na_count{n=\"1\"} 1\n# EOF\n",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
