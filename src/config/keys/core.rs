//! Directories, listeners, time, and who belongs to the ensemble.

use std::path::PathBuf;

use super::super::builder::{to_port, to_u32};
use super::super::key::{
    I32, I32_ALL, Key, int, strict_flag, text, unset_flag, unset_int, unset_text, yes_no,
};
use crate::state::PeerType;

const PORT: (i64, i64) = (0, 65_535);

#[rustfmt::skip] // A table: one row, one line.
pub(super) static KEYS: &[Key] = &[
    text(
        "dataDir",
        "",
        |d, v| {
            if v.is_empty() {
                return Err("dataDir is not set".to_owned());
            }
            d.data_dir = Some(PathBuf::from(v));
            Ok(())
        },
        "directory of the tree and of `myid`; required",
    )
    .file(),
    text(
        "dataLogDir",
        "",
        |d, v| {
            if v.is_empty() {
                return Err("expected a directory, found none; leave the line out for dataDir".to_owned());
            }
            d.log_dir = Some(PathBuf::from(v));
            Ok(())
        },
        "directory of the log; the same as dataDir if unset",
    )
    .file(),
    int("clientPort", PORT, "", |d, n| d.client_port = to_port(n), "plaintext port; 0: any free one").file(),
    text(
        "clientPortAddress",
        "",
        |d, v| {
            d.client_host = Some(v.to_owned());
            Ok(())
        },
        "address of the plaintext listener; every one of both families if unset",
    )
    .file(),
    int(
        "secureClientPort",
        PORT,
        "",
        |d, n| d.secure_client_port = to_port(n),
        "TLS port. TLS is not built yet: a warning, or an error when it is the only port",
    )
    .file(),
    text(
        "secureClientPortAddress",
        "",
        |d, v| {
            d.secure_client_host = Some(v.to_owned());
            Ok(())
        },
        "address of the TLS listener",
    )
    .file(),
    int(
        "clientPortListenBacklog",
        I32_ALL,
        "-1",
        |d, n| d.settings.net.listen_backlog = u32::try_from(n).ok(),
        "length of the accept queue; -1: the system's",
    )
    .file(),
    int(
        "tickTime",
        (0, I32),
        "3000",
        |d, n| d.tick_ms = Some(to_u32(n)),
        "ZooKeeper's base unit of time in milliseconds",
    )
    .file(),
    int(
        "minSessionTimeout",
        I32_ALL,
        "-1",
        |d, n| d.timeout_ms_min = Some(n),
        "shortest session timeout in milliseconds; -1: 2 ticks",
    )
    .file(),
    int(
        "maxSessionTimeout",
        I32_ALL,
        "-1",
        |d, n| d.timeout_ms_max = Some(n),
        "longest session timeout in milliseconds; -1: 20 ticks",
    )
    .file(),
    int(
        "maxClientCnxns",
        I32_ALL,
        "60",
        |d, n| d.settings.net.connections_per_ip_max = to_u32(n),
        "connections from one IP; 0: no limit",
    )
    .file(),
    int(
        "maxCnxns",
        I32_ALL,
        "0",
        |d, n| d.settings.net.connections_max = to_u32(n),
        "connections in all; 0: no limit",
    ),
    int(
        "initLimit",
        I32_ALL,
        "",
        |d, n| d.membership.init_limit_ticks = to_u32(n),
        "ticks that a server may take to find a leader and to catch up; required in an ensemble",
    )
    .file(),
    int(
        "syncLimit",
        I32_ALL,
        "",
        |d, n| d.membership.sync_limit_ticks = to_u32(n),
        "ticks that a server may be silent or behind; required in an ensemble. Elections go by oxkeeper.electionTimeoutMs",
    )
    .file(),
    int("connectToLearnerMasterLimit", I32_ALL, "0", |_, _| (), "ticks to connect to the leader").file().ignored(),
    text(
        "electionAlg",
        "3",
        |_, v| match v.parse::<i32>() {
            Ok(3) => Ok(()),
            _ => Err(format!("Invalid electionAlg value. Only 3 is supported. (found {v:?})")),
        },
        "only 3 exists; elections are Raft's",
    )
    .file(),
    yes_no("leaderServes", "yes", |_, _| (), "`no`: the leader takes no clients").later("the leader serves clients as all others do"),
    text(
        "peerType",
        "participant",
        |d, v| {
            d.membership.peer_type = PeerType::parse(v)?;
            Ok(())
        },
        "this server's role where the server lines do not say",
    )
    .file(),
    strict_flag(
        "quorumListenOnAllIPs",
        "false",
        |d, on| d.membership.listen_on_all_ips = on,
        "peers reach this server on every address",
    ),
    strict_flag(
        "standaloneEnabled",
        "true",
        |d, on| d.membership.standalone_enabled = on,
        "`false`: one voter is an ensemble too, of which it is the leader",
    ),
    strict_flag("reconfigEnabled", "false", |d, on| d.settings.state.reconfig_enabled = on, "the reconfig operation: members that change by a request are in the log, which then counts more than the files; a standalone server answers that it has nothing to change"),
    text(
        "dynamicConfigFile",
        "",
        |d, v| {
            if v.is_empty() {
                return Err("expected a file, found none; leave the line out if there is none".to_owned());
            }
            d.dynamic_file = Some(PathBuf::from(v));
            Ok(())
        },
        "a file that holds the server lines",
    )
    .file(),
    text("server.*", "", |_, _| Ok(()), "`server.N=host:port:port[:role][;[host:]port]`, a member; one voter alone is a standalone server, unless standaloneEnabled says otherwise").file(),
    yes_no(
        "skipACL",
        "no",
        |d, on| d.settings.state.skip_acl = on,
        "`yes`: no ACL is checked",
    )
    .caution("no ACL is checked: every client may read and change everything"),
    strict_flag("syncEnabled", "true", |_, _| (), "observers keep a log").warned("every server keeps its log"),
    unset_flag("observer.syncEnabled", "true", "observers keep a log").warned("every server keeps its log"),
    strict_flag("localSessionsEnabled", "false", |_, _| (), "sessions of one server").later("all sessions are global, which is safe"),
    strict_flag("localSessionsUpgradingEnabled", "false", |_, _| (), "local sessions become global when needed").later("all sessions are global, which is safe"),
    int("observerMasterPort", I32_ALL, "0", |_, _| (), "observers may attach to followers").file().warned("observers follow the leader only"),
    strict_flag("multiAddress.enabled", "false", |d, on| d.multi_address = on, "several addresses in a server line, tried in turn").both(),
    strict_flag("multiAddress.reachabilityCheckEnabled", "true", |_, _| (), "probe the addresses of a server").ignored(),
    int("multiAddress.reachabilityCheckTimeoutMs", I32_ALL, "1000", |_, _| (), "patience of that probe").file().ignored(),
    unset_text("oraclePath", "", "file that breaks a tie between two servers").file().refused("a tie-break file breaks the safety of a majority; use three voters"),
    unset_text("group*", "", "`group.N`, hierarchical quorums; one group of all is accepted").file(),
    unset_text("weight*", "", "`weight.N`, hierarchical quorums; equal weights are accepted").file(),
    strict_flag("quorum.auth.enableSasl", "false", |_, _| (), "SASL between servers").refused("SASL between servers does not exist here, and to go on without it would let any peer in; use oxkeeper.peerSecretFile"),
    strict_flag("quorum.auth.serverRequireSasl", "false", |d, on| d.membership.server_requires_sasl = on, "servers demand SASL of each other"),
    strict_flag("quorum.auth.learnerRequireSasl", "false", |d, on| d.membership.learner_requires_sasl = on, "servers offer SASL to each other"),
    unset_text("quorum.auth.*", "", "names for SASL between servers").file().ignored(),
    int("quorum.cnxn.threads.size", I32_ALL, "20", |_, _| (), "threads for SASL between servers").file().ignored(),
    strict_flag("jvm.pause.monitor", "false", |_, _| (), "watch for pauses of the process").later("pauses of the process are not measured"),
    unset_int("jvm.pause.info-threshold.ms", "1000", "pause worth an info line").file().ignored(),
    unset_int("jvm.pause.warn-threshold.ms", "10000", "pause worth a warning").file().ignored(),
    unset_int("jvm.pause.sleep.time.ms", "500", "pace of the pause monitor").file().ignored(),
];
