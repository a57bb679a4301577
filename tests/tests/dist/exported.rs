//! What daemons export, by their own word.

use std::collections::{BTreeMap, BTreeSet};

use crate::query::Selector;

/// Labels that Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];
/// What Prometheus makes for every target.
const MADE: &str = "up";

/// By the name of its samples, the labels of each metric. `None`: there was no sample to see them.
pub(crate) struct Exported(BTreeMap<String, Option<BTreeSet<String>>>);

impl Exported {
    /// Of the text that scrapers get.
    pub(crate) fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut metrics: BTreeMap<String, Option<BTreeSet<String>>> = BTreeMap::new();
        for line in texts.into_iter().flat_map(str::lines) {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').unwrap();
                let suffix = if kind == "counter" { "_total" } else { "" };
                metrics.entry(format!("{name}{suffix}")).or_default();
            } else if !line.starts_with('#') {
                let end = line.find(['{', ' ']).unwrap();
                let labels = line[end..].strip_prefix('{').map(labels).unwrap_or_default();
                metrics.entry(line[..end].to_owned()).or_default().get_or_insert_default().extend(labels);
            }
        }
        Self(metrics)
    }

    /// Why a query by this selector finds nothing.
    pub(crate) fn problem(&self, selector: &Selector) -> Option<String> {
        let Selector { metric, labels } = selector;
        if metric == MADE {
            return None;
        }
        let Some(known) = self.0.get(metric) else { return Some(format!("nothing exports {metric}")) };
        let known = known.as_ref()?;
        let lacks = |label: &&String| !known.contains(*label) && !ADDED.contains(&label.as_str());
        labels.iter().find(lacks).map(|label| format!("{metric} has no label {label}; it has {known:?}"))
    }
}

/// Of a sample's text after the opening brace.
fn labels(mut rest: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    while let Some((name, value)) = rest.split_once("=\"") {
        labels.insert(name.trim_start_matches(',').to_owned());
        let mut escaped = false;
        let end = value.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        rest = &value[end.unwrap() + 1..];
        if rest.starts_with('}') {
            break;
        }
    }
    labels
}
