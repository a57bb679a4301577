//! What is shipped for Prometheus and Grafana names only what the daemons export.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "dist/exported.rs"]
mod exported;
#[path = "dist/query.rs"]
mod query;

use std::{collections::BTreeSet, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;
use vtep_tests::{
    deadline::wait_for,
    lab::{ControllerRole, Layout, NetworkLayout, Site, rig::Rig},
};

use crate::exported::Exported;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    lasting: Option<String>,
    labels: Severity,
    annotations: Annotations,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Severity {
    severity: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    summary: String,
    runbook: String,
}

/// An agent with a controller, and one with a table file; a controller in both roles.
fn exported() -> Exported {
    const LAYOUT: Layout = Layout {
        controllers: &[("vtepd", ControllerRole::Both)],
        networks: &[NetworkLayout { name: "x", vni: 10, controller: "vtepd" }],
        racks: &[],
        sfe_controller: "vtepd",
        vms: &[],
    };
    let rig = Rig::new().unwrap();
    let site = Site::new(&LAYOUT).unwrap();
    site.declare().unwrap();
    wait_for("the network on the agent", std::time::Duration::from_mins(1), || site.is_bound()).unwrap();
    let texts = [rig.agent.metrics(), site.sfe.metrics(), site.controllers.named("vtepd").metrics()]
        .map(Result::unwrap);
    Exported::of(texts.iter().map(String::as_str))
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

fn rules() -> Rules {
    serde_saphyr::from_str(&shipped("dist/alerts.yml")).unwrap()
}

/// Every expression of a panel, and of a variable the metric whose labels it lists.
fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&shipped("dist/grafana-dashboard.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array();
        assert!(
            panel["type"] == "row" || targets.is_some_and(|targets| !targets.is_empty()),
            "{title} is empty"
        );
        for target in targets.into_iter().flatten() {
            queries.push((format!("panel {title}"), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.split(',').next()).unwrap();
            queries.push((format!("variable {}", variable["name"]), inner.to_owned()));
        }
    }
    queries
}

#[test]
fn what_alerts_and_dashboard_ask_for_is_exported() {
    let exported = exported();
    let alerts = rules().groups.into_iter().flat_map(|group| group.rules);
    let queries = alerts.map(|rule| (format!("alert {}", rule.alert), rule.expr)).chain(dashboard_queries());
    let mut problems = Vec::new();
    let mut count = 0;
    for (at, expression) in queries {
        count += 1;
        match query::selectors(&expression) {
            Err(error) => problems.push(format!("{at}: {error} in {expression}")),
            Ok(selectors) => {
                problems.extend(selectors.iter().filter_map(|selector| {
                    exported.problem(selector).map(|problem| format!("{at}: {problem}"))
                }));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 50, "only {count} expressions were found");
}

#[test]
fn a_metric_or_label_that_nobody_exports_is_found() {
    let exported =
        Exported::of(["# TYPE a_frames counter\n# HELP a_frames .\na_frames_total{vni=\"1\"} 5\n"]);
    let problems = |expression| {
        let selectors = query::selectors(expression).unwrap();
        selectors.iter().filter_map(|selector| exported.problem(selector)).count()
    };
    assert_eq!(problems("sum by (instance, vni) (rate(a_frames_total{vni=\"1\"}[5m])) > 0"), 0);
    assert_eq!(problems("a_frame_total"), 1);
    assert_eq!(problems("a_frames"), 1, "a counter's samples end in _total");
    assert_eq!(problems("a_frames_total{bd=\"1\"}"), 1);
    assert_eq!(problems("sum by (bd) (a_frames_total)"), 1);
    query::selectors("rate(a_frames_total[5m]").unwrap_err();
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_nothing_else_has() {
    let runbook = shipped("docs/runbook.md");
    let sections: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let rules = rules();
    let mut alerts = BTreeSet::new();
    for rule in rules.groups.iter().flat_map(|group| &group.rules) {
        assert!(alerts.insert(rule.alert.as_str()), "{} stands twice", rule.alert);
        let anchor = format!("docs/runbook.md#{}", rule.alert.to_lowercase());
        assert_eq!(rule.annotations.runbook, anchor, "of {}", rule.alert);
        assert!(["warning", "critical"].contains(&rule.labels.severity.as_str()), "{}", rule.alert);
        assert!(!rule.annotations.summary.is_empty(), "{}", rule.alert);
        if let Some(lasting) = &rule.lasting {
            promql_parser::util::parse_duration(lasting)
                .unwrap_or_else(|error| panic!("{}: {error}", rule.alert));
        }
    }
    assert_eq!(alerts, sections);
    assert_eq!(
        rules.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(),
        ["vtepd-agent", "vtepd-controller"]
    );
}
