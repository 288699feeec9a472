//! `/metrics`: the same values as `mntr`, in Prometheus' text format.
//!
//! Names are ZooKeeper's, without `zk_`, counters without `_total`: every dashboard goes by them.
//!
//! zk: PrometheusMetricsProvider.

use std::fmt::{Display, Write as _};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::config::MetricsProvider;
use super::four_letter::{Figures, Number, VERSION};
use super::inspector::{Inner, Inspector};
use super::process::{self, Process};
use crate::io::{Answer, Page};
use crate::metrics::{self, Distribution, Kind, Metric, Reading};

const PATH: &str = "/metrics";
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Answer for Inspector {
    fn page(&self, path: &str, query: &str) -> Option<BoxFuture<'static, Page>> {
        if path != PATH {
            return None;
        }
        let inner = self.inner();
        let wanted = Wanted::parse(query);
        let rendered = tokio::task::spawn_blocking(move || page(&inner, wanted));
        let body = rendered.map(|rendered| {
            rendered.unwrap_or_else(|error| {
                tracing::warn!(%error, "metrics were not rendered");
                String::new()
            })
        });
        Some(
            body.map(|body| Page {
                content_type: CONTENT_TYPE,
                body,
            })
            .boxed(),
        )
    }
}

/// Walks the directories.
fn page(inner: &Inner, wanted: Wanted) -> String {
    let exports_process = match inner.config.metrics_provider {
        MetricsProvider::Prometheus { export_process, .. } => export_process,
        MetricsProvider::Default | MetricsProvider::Null => false,
    };
    // A server without a leader has figures too; only the leader has more.
    let figures = Figures::read(&inner.sources, inner.sources.view());
    let process = exports_process.then(process::read);
    render(&figures, process.as_ref(), wanted)
}

/// The names asked for; none means all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Wanted {
    names: Vec<String>,
}

impl Wanted {
    /// Reads `name[]=a&name[]=b`. zk: MetricsServlet.parse.
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let names = pairs.filter(|(key, _)| unescape(key) == "name[]");
        Self {
            names: names.map(|(_, name)| unescape(name)).collect(),
        }
    }

    fn has(&self, sample: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name == sample)
    }
}

/// Undoes `%5B`; what is no such escape stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.first_chunk::<2>().filter(|_| *first == b'%');
        let value = escaped
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn render(figures: &Figures, process: Option<&Process>, wanted: Wanted) -> String {
    let mut text = Text {
        out: String::new(),
        wanted,
    };
    for (metric, reading) in metrics::each() {
        text.put(metric, reading, figures);
    }
    let (release, commit, _built) = VERSION;
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("zookeeper", release),
        ("commit", commit),
        ("mode", figures.view.word()),
    ];
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let sample = format!("oxkeeper_build_info{{{}}}", labels.join(","));
    text.put_family(
        "oxkeeper_build_info",
        "what this server is",
        "gauge",
        vec![("oxkeeper_build_info".to_owned(), sample, 1.0)],
    );
    if let Some(process) = process {
        text.put_process(process);
    }
    text.out
}

/// A sample: its name, the same with labels, its value.
type Sample = (String, String, f64);

struct Text {
    out: String,
    wanted: Wanted,
}

impl Text {
    fn put(&mut self, metric: &Metric, reading: Reading, figures: &Figures) {
        let name = metric.name;
        let kind = match metric.kind {
            Kind::Gauge | Kind::GaugeSet => "gauge",
            Kind::Counter | Kind::CounterSet => "counter",
            Kind::Summary | Kind::Advanced | Kind::SummarySet | Kind::AdvancedSet => "summary",
        };
        let is_set = matches!(
            metric.kind,
            Kind::GaugeSet | Kind::CounterSet | Kind::SummarySet | Kind::AdvancedSet
        );
        let samples = match reading {
            Reading::Count(count) => vec![plain(name, float(count))],
            Reading::Samples(samples) => summary(name, metric.kind, &samples),
            // A set without members is a family without samples.
            Reading::Elsewhere if is_set => members(name, figures),
            Reading::Elsewhere => match figures.value(name) {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "Prometheus has no other numbers"
                )]
                Some(Number::Whole(whole)) => vec![plain(name, whole as f64)],
                Some(Number::Broken(broken)) => vec![plain(name, broken)],
                // Of the leader only: absent, not zero.
                None => return,
            },
        };
        let unit = match metric.unit {
            "" => String::new(),
            unit => format!(", {unit}"),
        };
        self.put_family(name, &format!("{}{unit}", metric.help), kind, samples);
    }

    /// Families of which nothing is wanted are left out.
    fn put_family(&mut self, name: &str, help: &str, kind: &str, samples: Vec<Sample>) {
        let all = self.wanted.names.is_empty();
        let samples: Vec<_> = samples
            .into_iter()
            .filter(|(name, _, _)| self.wanted.has(name))
            .collect();
        if samples.is_empty() && !all {
            return;
        }
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        for (_, sample, value) in samples {
            if value.is_nan() {
                self.line(format_args!("{sample} NaN"));
            } else {
                self.line(format_args!("{sample} {value:?}"));
            }
        }
    }

    fn line(&mut self, text: impl Display) {
        if write!(self.out, "{text}").is_ok() {
            self.out.push('\n');
        }
    }

    /// The names of Prometheus' own client libraries.
    fn put_process(&mut self, process: &Process) {
        let rows = [
            (
                "process_cpu_seconds_total",
                "counter",
                "user and system time spent, seconds",
                process.cpu_seconds,
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "start of the process, seconds since 1970",
                process.start_seconds,
            ),
            (
                "process_open_fds",
                "gauge",
                "file descriptors in use",
                float(process.files.open),
            ),
            (
                "process_max_fds",
                "gauge",
                "limit of file descriptors",
                float(process.files.max),
            ),
            (
                "process_virtual_memory_bytes",
                "gauge",
                "virtual memory, bytes",
                float(process.virtual_bytes),
            ),
            (
                "process_resident_memory_bytes",
                "gauge",
                "resident memory, bytes",
                float(process.resident_bytes),
            ),
        ];
        for (name, kind, help, value) in rows {
            self.put_family(name, help, kind, vec![plain(name, value)]);
        }
    }
}

/// The samples of a set. zk: PrometheusMetricsProvider calls the label so.
fn members(name: &str, figures: &Figures) -> Vec<Sample> {
    let found = figures.sets.iter().filter(|(known, ..)| *known == name);
    found
        .map(|(_, key, value)| {
            let sample = format!("{name}{{key=\"{key}\"}}");
            (name.to_owned(), sample, float(*value))
        })
        .collect()
}

fn plain(name: &str, value: f64) -> Sample {
    (name.to_owned(), name.to_owned(), value)
}

/// zk: PrometheusSummary: the median; of an advanced one two more.
fn summary(name: &str, kind: Kind, samples: &Distribution) -> Vec<Sample> {
    let quantiles: &[(&str, u64)] = if kind == Kind::Advanced {
        &[("0.5", 500), ("0.9", 900), ("0.99", 990)]
    } else {
        &[("0.5", 500)]
    };
    let quantiles = quantiles.iter().map(|(label, per_thousand)| {
        let value = samples.quantile(*per_thousand).map_or(f64::NAN, float);
        (
            name.to_owned(),
            format!("{name}{{quantile=\"{label}\"}}"),
            value,
        )
    });
    let count = plain(&format!("{name}_count"), float(samples.count));
    let sum = plain(&format!("{name}_sum"), float(samples.sum));
    quantiles.chain([count, sum]).collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::view::{Part, View};
    use super::*;

    fn figures() -> Figures {
        Figures {
            view: View {
                part: Part::Standalone,
                voters: None,
            },
            sets: vec![("raft_learner_lag_entries", "2".to_owned(), 7)],
            values: vec![
                ("znode_count", Number::Whole(5)),
                ("avg_latency", Number::Broken(1.25)),
            ],
        }
    }

    /// Takes the text apart as a scraper does: family to its type, sample to its value.
    fn parse(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, f64>) {
        let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
        let mut helped = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("help has a text");
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("type has a kind");
                assert!(helped.contains(name), "{line}");
                assert!(
                    types.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "{line}"
                );
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("sample has a value");
                let name = sample.split('{').next().expect("a name");
                let family = name
                    .strip_suffix("_count")
                    .filter(|name| types.contains_key(*name));
                let family = family.or(name
                    .strip_suffix("_sum")
                    .filter(|name| types.contains_key(*name)));
                assert!(
                    types.contains_key(family.unwrap_or(name)),
                    "{line}: no TYPE"
                );
                if let Some(labels) = sample
                    .strip_prefix(name)
                    .filter(|labels| !labels.is_empty())
                {
                    let inside = labels.strip_prefix('{').and_then(|l| l.strip_suffix('}'));
                    for label in inside.expect("braces").split(',') {
                        let (_, quoted) = label.split_once('=').expect("a label");
                        assert!(quoted.starts_with('"') && quoted.ends_with('"'), "{line}");
                    }
                }
                let value: f64 = value.parse().expect("a number");
                assert!(
                    samples.insert(sample.to_owned(), value).is_none(),
                    "{line}: twice"
                );
            }
        }
        (types, samples)
    }

    #[test]
    fn a_scraper_understands_it() {
        let process = Process {
            cpu_seconds: 1.5,
            ..Process::default()
        };
        let (types, samples) = parse(&render(&figures(), Some(&process), Wanted::default()));
        assert_eq!(samples["znode_count"], 5.0);
        assert_eq!(samples["avg_latency"], 1.25);
        assert_eq!(samples["process_cpu_seconds_total"], 1.5);
        assert_eq!(types["fsynctime"], "summary");
        assert_eq!(types["outstanding_changes_queued"], "counter");
        assert_eq!(types["write_per_namespace"], "summary");
        assert_eq!(types["raft_learner_lag_entries"], "gauge");
        assert_eq!(samples["raft_learner_lag_entries{key=\"2\"}"], 7.0);
        assert!(samples.contains_key("fsynctime{quantile=\"0.5\"}"));
        assert!(!samples.contains_key("fsynctime{quantile=\"0.9\"}"));
        assert!(samples.contains_key("readlatency{quantile=\"0.99\"}"));
        assert!(samples.contains_key("readlatency_count"));
        assert!(samples["prep_process_time{quantile=\"0.5\"}"].is_nan());
        assert!(
            !types.contains_key("synced_followers"),
            "absent unless this server leads"
        );
    }

    #[test]
    fn only_what_is_wanted() {
        let wanted = Wanted::parse("name[]=znode_count&x=1&name%5B%5D=fsynctime_count");
        assert_eq!(wanted.names, ["znode_count", "fsynctime_count"]);
        let text = render(&figures(), None, wanted);
        let (types, samples) = parse(&text);
        assert_eq!(types.len(), 2);
        let names: Vec<_> = samples.keys().map(String::as_str).collect();
        assert_eq!(names, ["fsynctime_count", "znode_count"]);
        assert_eq!(unescape("%zz%5b%"), "%zz[%");
    }
}
