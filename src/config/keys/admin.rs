//! What operators ask a running server, and what it tells by itself.

use super::super::builder::{Builder, to_port};
use super::super::key::{I32_ALL, Key, flag, int, text, unset_flag, unset_int, unset_text};

const HTTP: &str = "the AdminServer's HTTP commands do not exist";
const PORT: (i64, i64) = (0, 65_535);
const CLASS: &str = "metricsProvider.className";
const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";

#[rustfmt::skip] // A table: one row, one line.
pub(super) static KEYS: &[Key] = &[
    text(
        "4lw.commands.whitelist",
        "srvr",
        Builder::set_commands,
        "four-letter words that are answered, between commas; `*`: all; `srvr` always is",
    ),
    unset_text("admin.enableServer", "", "the AdminServer; it does not run, as with `false`").quiet("false").later(HTTP),
    unset_text("admin.serverAddress", "0.0.0.0", "address of the AdminServer").later(HTTP),
    unset_int("admin.serverPort", "8080", "port of the AdminServer").later(HTTP),
    unset_int("admin.idleTimeout", "30000", "patience of the AdminServer").ignored(),
    unset_text("admin.commandURL", "/commands", "path of the AdminServer").later(HTTP),
    unset_int("admin.httpVersion", "11", "HTTP of the AdminServer").ignored(),
    unset_flag("admin.portUnification", "false", "HTTPS of the AdminServer").later(HTTP),
    unset_flag("admin.forceHttps", "false", "HTTPS of the AdminServer").later(HTTP),
    unset_flag("admin.needClientAuth", "false", "HTTPS of the AdminServer").later(HTTP),
    unset_flag("admin.snapshot.enabled", "true", "snapshot by the AdminServer").ignored(),
    unset_flag("admin.restore.enabled", "true", "restore by the AdminServer").ignored(),
    unset_int("admin.rateLimiterIntervalInMS", "300000", "pace of snapshot and restore").ignored(),
    text(
        "metricsProvider.className",
        "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        Builder::set_metrics_class,
        "`org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider` serves metrics over HTTP",
    )
    .file(),
    text(
        "metricsProvider.httpHost",
        "0.0.0.0",
        |d, v| {
            d.metrics_host = Some(v.to_owned());
            Ok(())
        },
        "address of Prometheus' metrics",
    )
    .file()
    .only_if(CLASS, PROMETHEUS),
    int(
        "metricsProvider.httpPort",
        PORT,
        "7000",
        |d, n| d.metrics_port = to_port(n),
        "port of Prometheus' metrics",
    )
    .file()
    .only_if(CLASS, PROMETHEUS),
    flag(
        "metricsProvider.exportJvmInfo",
        "true",
        |d, on| d.metrics_process = Some(on),
        "export figures of the process",
    )
    .file()
    .only_if(CLASS, PROMETHEUS),
    int("metricsProvider.numWorkerThreads", I32_ALL, "1", |_, _| (), "threads of the metrics").file().only_if(CLASS, PROMETHEUS).ignored(),
    int("metricsProvider.maxQueueSize", I32_ALL, "1000000", |_, _| (), "threads of the metrics").file().only_if(CLASS, PROMETHEUS).ignored(),
    unset_int("metricsProvider.workerShutdownTimeoutMs", "1000", "threads of the metrics").file().only_if(CLASS, PROMETHEUS).ignored(),
    unset_text("metricsProvider.*", "", "of other metrics classes").file().warned("no metrics provider here knows it"),
    unset_flag("audit.enable", "false", "a log of who changed what").later("NO AUDIT LOG IS WRITTEN"),
    unset_text("audit.impl.class", "org.apache.zookeeper.audit.Slf4jAuditLogger", "class of the audit log").only_if("audit.enable", "true").refused("JVM plug-ins cannot be loaded, and the audit log would be missing"),
    unset_text("jmx.log4j.disable", "", "JMX").ignored(),
    unset_text("jmx.log4j.mbean", "", "JMX").ignored(),
    unset_text("log.dir", "", "logging of the scripts; logs go to stdout here").ignored(),
    unset_text("log.file", "", "logging of the scripts; logs go to stdout here").ignored(),
    unset_text("log.threshold", "", "logging of the scripts; logs go to stdout here").ignored(),
    unset_text("root.logger", "", "logging of the scripts; logs go to stdout here").ignored(),
    unset_text("console.threshold", "", "logging of the scripts; logs go to stdout here").ignored(),
    unset_text("auditlog.*", "", "logging of the scripts; logs go to stdout here").ignored(),
    unset_text("tracelog.*", "", "logging of the scripts; logs go to stdout here").ignored(),
];
