//! `-Dname=value` words: from the command line, and from the environment that ZooKeeper's scripts pass
//! to the JVM. What only a JVM understands is dropped with one line per source.
//!
//! zk: zkServer.sh starts java with SERVER_JVMFLAGS and then JVMFLAGS, so the latter wins.

use super::finding::{Findings, Source};
use super::gather::Gathered;

/// The variables that hold JVM flags, the weaker first.
const VARIABLES: [&str; 2] = ["SERVER_JVMFLAGS", "JVMFLAGS"];

/// Takes the properties of both variables.
pub(crate) fn take_environment(
    env: &dyn Fn(&str) -> Option<String>,
    gathered: &mut Gathered,
    findings: &mut Findings,
) {
    for name in VARIABLES {
        let Some(text) = env(name) else { continue };
        let origin = Source::Environment(name);
        let words = shlex::split(&text).unwrap_or_else(|| {
            findings.warn(
                &origin,
                "",
                "a quote is not closed; split at spaces instead",
            );
            text.split_whitespace().map(str::to_owned).collect()
        });
        take(&words, &origin, gathered, findings);
    }
}

/// Takes the properties among `words`, in their order: the last one of a name counts.
pub(crate) fn take(
    words: &[String],
    origin: &Source,
    gathered: &mut Gathered,
    findings: &mut Findings,
) {
    let mut dropped = Vec::new();
    for word in words {
        let (name, value) = match word.strip_prefix("-D") {
            Some(property) => property.split_once('=').unwrap_or((property, "")),
            None => {
                dropped.push(word.as_str());
                continue;
            }
        };
        if !gathered.take_property(name.trim(), value.trim(), origin, findings) {
            dropped.push(word.split('=').next().unwrap_or(word));
        }
    }
    if dropped.iter().any(|word| word.starts_with("-javaagent")) {
        let text = "dropped -javaagent: metrics that a Java agent would export do not exist; see \
                    metricsProvider.className";
        findings.warn(origin, "", text);
    }
    let rest: Vec<&str> = dropped
        .into_iter()
        .filter(|word| !word.starts_with("-javaagent"))
        .collect();
    if !rest.is_empty() {
        findings.warn(
            origin,
            "",
            format!("dropped, for a JVM only: {}", rest.join(" ")),
        );
    }
}
