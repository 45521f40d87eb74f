//! `midflight metrics`: nodes in numbers, as OpenMetrics text. The texts of several nodes are made one, family by family,
//! because a text may name a family once; every sample has the label `node`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::command::ask::NodesArgs;
use crate::command::{print, print_json};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;

#[derive(Debug, Args)]
pub struct MetricsArgs {
    #[command(flatten)]
    nodes: NodesArgs,
}

pub async fn run(args: MetricsArgs, format: Format) -> Result<Exit, Error> {
    let asked = args
        .nodes
        .ask(false, |agent| async move { agent.metrics().await });
    let answers = asked.await?;
    let good: Vec<(&str, &str)> = answers
        .good()
        .map(|(node, answer)| (node, answer.text.as_str()))
        .collect();
    match format {
        Format::Json => good.iter().try_for_each(|(node, text)| {
            let samples: Vec<Value> = text.lines().filter_map(sample).collect();
            print_json(&json!({"node": node, "metrics": samples}))
        })?,
        // Without a node that answers there is no text, rather than an empty one.
        Format::Text if good.is_empty() => {}
        Format::Text => print(&merge(good.iter().map(|(_, text)| *text)))?,
    }
    answers.end(format)
}

/// One family: the lines that describe it, and its samples.
#[derive(Default)]
struct Family<'a> {
    about: Vec<&'a str>,
    samples: Vec<&'a str>,
}

/// The texts as one. A family is described as the first text that has it does.
fn merge<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    for text in texts {
        let mut name = "";
        let mut is_new = false;
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                name = rest.split(' ').next().unwrap_or_default();
                is_new = !families.contains_key(name);
                if is_new {
                    order.push(name);
                }
            }
            let family = families.entry(name).or_default();
            match (line.starts_with('#'), is_new) {
                (true, true) => family.about.push(line),
                (true, false) => {}
                (false, _) => family.samples.push(line),
            }
        }
    }
    let lines = order
        .iter()
        .filter_map(|name| families.get(name))
        .flat_map(|family| family.about.iter().chain(&family.samples));
    let mut text: String = lines.flat_map(|line| [*line, "\n"]).collect();
    text.push_str("# EOF\n");
    text
}

/// A sample line; `None`: it is none.
fn sample(line: &str) -> Option<Value> {
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_once('{')?;
    let mut labels = serde_json::Map::new();
    let mut rest = rest;
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, after) = unescape(after)?;
        labels.insert(label.trim_start_matches(',').to_owned(), json!(value));
        rest = after;
        if rest.starts_with('}') {
            break;
        }
    }
    let value = rest.strip_prefix("} ")?;
    let number = match value.parse::<u64>() {
        Ok(whole) => json!(whole),
        Err(_) => json!(value.parse::<f64>().ok()?),
    };
    Some(json!({"name": name, "labels": labels, "value": number}))
}

/// The text up to its closing quote, and what follows the quote.
fn unescape(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_nodes_become_one_in_which_a_family_stands_once() {
        let of = |node: &str, value: u32| {
            format!(
                "# TYPE a gauge\n# HELP a Some.\na{{node=\"{node}\"}} {value}\n# TYPE b counter\nb_total{{node=\"{node}\"}} 1\n# EOF\n"
            )
        };
        let (one, two) = (of("n1", 1), of("n2", 2));
        assert_eq!(
            merge([one.as_str(), two.as_str()].into_iter()),
            "# TYPE a gauge\n# HELP a Some.\na{node=\"n1\"} 1\na{node=\"n2\"} 2\n# TYPE b counter\n\
             b_total{node=\"n1\"} 1\nb_total{node=\"n2\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn a_sample_reads_with_its_labels_unescaped() {
        assert_eq!(
            sample("a_total{node=\"n1\",x=\"a\\\"b\\\\,}\"} 3").unwrap(),
            json!({"name": "a_total", "labels": {"node": "n1", "x": "a\"b\\,}"}, "value": 3})
        );
        assert_eq!(sample("a{node=\"n\"} 0.5").unwrap()["value"], json!(0.5));
        assert!(sample("# EOF").is_none());
    }
}
