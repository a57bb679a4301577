//! What a bench found: a table to read, and the same as JSON.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use super::aims::Aim;

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    pub bench: String,
    /// Processor, its number, kernel.
    pub machine: String,
    /// What to type for the same.
    pub command: String,
    pub rows: Vec<Row>,
}

/// One measure of ours beside a peer's, a value per round each.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub unit: String,
    pub ours: Vec<f64>,
    pub peer: String,
    pub peer_values: Vec<f64>,
    /// None where the two cannot be divided: nothing to compare with, or a peer at zero.
    pub ratio: Option<Ratio>,
}

/// Ours to the peer's of the same round, over the rounds. Above 1 we are more, which is better only for a rate.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Ratio {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Row {
    pub fn new(name: &str, unit: &str, ours: Vec<f64>, peer: &str, peer_values: Vec<f64>) -> Self {
        let ratio = Ratio::of(&ours, &peer_values);
        Self { name: name.to_owned(), unit: unit.to_owned(), ours, peer: peer.to_owned(), peer_values, ratio }
    }

    /// Runs ours and the peer's by turns, so that a drift of the machine meets both; who begins changes by round.
    pub fn alternate(
        (name, unit, peer): (&str, &str, &str),
        rounds: usize,
        mut run_ours: impl FnMut() -> Result<f64>,
        mut run_peer: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            if round % 2 == 0 {
                ours.push(run_ours().with_context(|| format!("{name}, ours, round {round}"))?);
                peers.push(run_peer().with_context(|| format!("{name}, {peer}, round {round}"))?);
            } else {
                peers.push(run_peer().with_context(|| format!("{name}, {peer}, round {round}"))?);
                ours.push(run_ours().with_context(|| format!("{name}, ours, round {round}"))?);
            }
        }
        Ok(Self::new(name, unit, ours, peer, peers))
    }

    /// At once, for a bench takes minutes.
    pub(super) fn tell(&self) {
        let [name, unit, ours, peer, theirs, _, ratio, _, aim, met] = self.cells();
        eprintln!("{name}: {ours} {unit}, {peer}: {theirs}, ratio {ratio}, aim {aim} {met}");
    }

    /// As every table shows it.
    fn cells(&self) -> [String; 10] {
        let aim = Aim::of(&self.name, &self.peer);
        let ratio =
            |part: fn(Ratio) -> f64| self.ratio.map_or("-".to_owned(), |ratio| format!("{:.2}", part(ratio)));
        [
            self.name.clone(),
            self.unit.clone(),
            shown_median(&self.ours),
            self.peer.clone(),
            shown_median(&self.peer_values),
            ratio(|ratio| ratio.min),
            ratio(|ratio| ratio.median),
            ratio(|ratio| ratio.max),
            aim.map_or("-".to_owned(), |aim| aim.to_string()),
            aim.and_then(|aim| self.meets(aim))
                .map_or("-", |met| if met { "met" } else { "not met" })
                .to_owned(),
        ]
    }

    /// None without a median.
    fn meets(&self, aim: Aim) -> Option<bool> {
        Some(match aim {
            Aim::RatioAtLeast(least) => self.ratio?.median >= least,
            Aim::RatioAtMost(most) => self.ratio?.median <= most,
            Aim::AtLeast(least) => median_of(&self.ours)? >= least,
            Aim::AtMost(most) => median_of(&self.ours)? <= most,
        })
    }
}

impl Ratio {
    fn of(ours: &[f64], peers: &[f64]) -> Option<Self> {
        let divided = ours.iter().zip(peers).map(|(ours, peer)| ours / peer);
        let mut ratios: Vec<_> = divided.filter(|ratio| ratio.is_finite()).collect();
        ratios.sort_by(f64::total_cmp);
        Some(Self { min: *ratios.first()?, median: median(&ratios)?, max: *ratios.last()? })
    }
}

impl Report {
    pub fn new(bench: &str, command: String, rows: Vec<Row>) -> Self {
        Self { bench: bench.to_owned(), machine: machine(), command, rows }
    }

    /// For `docs/performance.md`.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "`{}` on {}\n\n| measure | unit | ours | peer | peer's | ratio min | median | max | aim | |\n|---|---|---|---|---|---|---|---|---|---|\n",
            self.command, self.machine
        );
        for row in &self.rows {
            text.extend(["| ", &row.cells().join(" | "), " |\n"]);
        }
        text
    }

    pub fn write_json(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        fs::write(path, json).with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
            "measure",
            "unit",
            "ours",
            "peer",
            "peer's",
            "ratio min",
            "median",
            "max",
            "aim",
            "",
            "rounds",
        ]);
        for row in &self.rows {
            table.add_row(row.cells().into_iter().chain([row.ours.len().to_string()]));
        }
        for column in [2, 4, 5, 6, 7, 8, 10] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "bench {} on {}\n{table}", self.bench, self.machine)?;
        write!(
            f,
            "values are medians; a ratio divides ours by the peer's of the same round\n{}",
            self.command
        )
    }
}

fn shown_median(values: &[f64]) -> String {
    match median_of(values) {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.3}"),
    }
}

fn median_of(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median(&sorted)
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], upper) } else { upper })
}

fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{count} × {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        #[track_caller]
        fn check(ours: &[f64], peers: &[f64], expected: Option<(f64, f64, f64)>) {
            let row = Row::new("rate", "1/s", ours.to_vec(), "peer", peers.to_vec());
            assert_eq!(row.ratio.map(|ratio| (ratio.min, ratio.median, ratio.max)), expected);
        }
        check(&[10.0, 40.0, 30.0], &[10.0, 20.0, 10.0], Some((1.0, 2.0, 3.0)));
        check(&[10.0, 30.0], &[10.0, 10.0], Some((1.0, 2.0, 3.0)));
        check(&[1.0], &[0.0], None);
        check(&[1.0], &[], None);
    }

    #[test]
    fn ours_and_the_peers_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let run = |who| {
            order.borrow_mut().push(who);
            Ok(1.0)
        };
        let row = Row::alternate(("rate", "1/s", "peer"), 3, || run('o'), || run('p')).unwrap();
        assert_eq!(order.into_inner(), "oppoop");
        assert_eq!((row.ours.len(), row.peer_values.len()), (3, 3));
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let row = Row::new("rate", "1/s", vec![2.0], "peer", vec![1.0]);
        let report = Report {
            machine: "m".into(),
            ..Report::new("dataplane", "cargo xtask bench dataplane".into(), vec![row])
        };
        let expected = serde_json::json!({
            "bench": "dataplane", "machine": "m", "command": "cargo xtask bench dataplane",
            "rows": [{"name": "rate", "unit": "1/s", "ours": [2.0], "peer": "peer", "peer_values": [1.0],
                      "ratio": {"min": 2.0, "median": 2.0, "max": 2.0}}],
        });
        assert_eq!(serde_json::to_value(report).unwrap(), expected);
    }

    #[test]
    fn an_aim_is_met_by_the_median() {
        #[track_caller]
        fn check(name: &str, peer: &str, ours: &[f64], theirs: &[f64], expected: Option<bool>) {
            let row = Row::new(name, "1/s", ours.to_vec(), peer, theirs.to_vec());
            assert_eq!(Aim::of(name, peer).and_then(|aim| row.meets(aim)), expected);
        }
        let theirs = [1.0, 1.0, 1.0];
        check("out, 1 MACs, TC", "bridge + vxlan", &[2.0, 2.3, 9.0], &theirs, Some(true));
        check("out, 1 MACs, TC", "bridge + vxlan", &[2.0, 2.1, 9.0], &theirs, Some(false));
        check("memory, 1000000 MACs", "vxlan + bridge, netlink", &[23.0], &[500.0], Some(true));
        check("memory, 1000000 MACs", "vxlan + bridge, netlink", &[25.0], &[500.0], Some(false));
        check("memory, 1 MACs", "vxlan + bridge, netlink", &[25.0], &[500.0], None);
    }

    #[test]
    fn the_table_shows_medians_and_ratios() {
        let row = Row::new("rate", "1/s", vec![2.0, 4.0, 9.0], "bridge", vec![2.0, 2.0, 3.0]);
        let shown = Report::new("dataplane", "cargo xtask bench dataplane".into(), vec![row]).to_string();
        for part in
            ["bench dataplane on ", "4.000", "bridge", "1.00", "2.00", "3.00", "cargo xtask bench dataplane"]
        {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
    }
}
