//! The same of the servers of an ensemble: a leader, two followers and an observer of 3.9.5, of which
//! one was also asked while it was looking for the others, and a lone leader.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::super::view::{Leading, Learner};
use super::*;
use crate::config::{self, Action, Settings};
use crate::ensemble::{FollowerReport, ProposalBytes, QueueReport, Report, Role};
use crate::state::ServerId;

/// What the genuine server said.
macro_rules! genuine {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../compat-tests/scripts/words/ensemble/",
            $name,
            ".golden"
        ))
    };
}

fn learner(id: u64, votes: bool) -> Learner {
    Learner {
        id: ServerId(id),
        votes,
        is_synced: true,
        lag_entries: 0,
    }
}

fn leader() -> View {
    let leading = Leading {
        uptime: Duration::from_millis(408),
        learners: vec![learner(1, true), learner(2, true), learner(4, false)],
        pending_syncs: 0,
        proposal_bytes: Some(ProposalBytes {
            last: 89,
            min: 48,
            max: 107,
        }),
    };
    View {
        part: Part::Leading(leading),
        voters: Some(3),
    }
}

fn other(part: Part) -> View {
    View {
        part,
        voters: Some(3),
    }
}

fn follower() -> View {
    let leader = ServerId(3);
    other(Part::Following { leader })
}

fn observer() -> View {
    let leader = ServerId(3);
    other(Part::Observing { leader })
}

fn lone() -> View {
    View {
        part: Part::Leading(Leading::default()),
        voters: Some(1),
    }
}

#[test]
fn srvr() {
    let check = |view: View, packets: u64, [min, max]: [u64; 2], mean: f64, genuine: &str| {
        let shown = Overview {
            figures: ServerFigures {
                received: packets,
                sent: packets,
                latency_min_ms: min,
                latency_avg_ms: mean,
                latency_max_ms: max,
                ..overview(STANDALONE).figures
            },
            connections: 2,
            zxid: Zxid(0x1_0000_000c),
            znodes: 13,
            ..overview(view)
        };
        let text = rendered(|out| server::put_overview(out, &shown, None));
        assert_eq!(text, genuine);
    };
    check(leader(), 9, [1, 5], 2.3333, genuine!("leader-srvr"));
    check(follower(), 10, [2, 22], 6.6667, genuine!("follower-srvr"));
    check(observer(), 9, [1, 16], 5.0, genuine!("observer-srvr"));
    let text = rendered(|out| server::put_overview(out, &overview(lone()), None));
    let end = "\nMode: leader\nNode count: 8\nProposal sizes last/min/max: -1/-1/-1\n";
    assert!(text.ends_with(end) && genuine!("lone-srvr").contains("max: -1/-1/-1\n"));
}

/// The lines of `mntr`, by their names.
fn lines(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .collect()
}

/// What `mntr` says of the ensemble is what ZooKeeper says, and on the same servers.
#[test]
fn mntr() {
    let quorum = [
        "zk_version",
        "zk_server_state",
        "zk_peer_state",
        "zk_observer_master_id",
        "zk_quorum_size",
        "zk_learners",
        "zk_synced_followers",
        "zk_synced_observers",
        "zk_synced_non_voting_followers",
        "zk_pending_syncs",
        "zk_last_proposal_size",
        "zk_min_proposal_size",
        "zk_max_proposal_size",
    ];
    for (view, genuine) in [
        (leader(), genuine!("leader-mntr")),
        (follower(), genuine!("follower-mntr")),
        (observer(), genuine!("observer-mntr")),
        (lone(), genuine!("lone-mntr")),
    ] {
        let word = view.word();
        let mut figures = Figures {
            view,
            values: Vec::new(),
            sets: Vec::new(),
        };
        figures.read_quorum();
        let text = rendered(|out| monitor::put(out, &figures, MetricsProvider::Default));
        let (found, genuine) = (lines(&text), lines(genuine));
        for name in quorum {
            assert_eq!(found.get(name), genuine.get(name), "{word}: {name}");
        }
        let both = |name: &str| (found.contains_key(name), genuine.contains_key(name));
        let (here, there) = both("zk_leader_uptime");
        assert_eq!(here, there, "{word}");
        let head: Vec<&str> = text
            .lines()
            .map(|line| line.split('\t').next().unwrap())
            .collect();
        assert_eq!(
            head[..3],
            ["zk_version", "zk_server_state", "zk_peer_state"]
        );
        // Of servers before 3.6: OpenTelemetry takes those that do not keep up from it.
        assert_eq!(found.contains_key("zk_followers"), word == "leader");
    }
}

#[test]
fn those_that_do_not_keep_up_are_not_called_synced() {
    let mut leading = leader().leading().unwrap().clone();
    leading.learners[1].is_synced = false;
    leading.learners[2].is_synced = false;
    leading.learners[1].lag_entries = 70;
    assert_eq!((leading.followers(), leading.synced_followers()), (2, 1));
    assert_eq!(leading.synced_observers(), 0);
    let mut figures = Figures {
        view: other(Part::Leading(leading)),
        values: Vec::new(),
        sets: Vec::new(),
    };
    figures.read_quorum();
    assert_eq!(figures.value("learners"), Some(Number::Whole(3)));
    let lag = ("raft_learner_lag_entries", "2".to_owned(), 70);
    assert!(figures.sets.contains(&lag), "{:?}", figures.sets);
}

/// A server of the recorded ensemble, from the file that it was started with.
fn started_with(servers: &str, my_id: &str) -> Settings {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display();
    let base = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=60\n";
    let path = dir.path().join("zoo.cfg");
    std::fs::write(&path, format!("{base}dataDir={data}\n{servers}")).unwrap();
    std::fs::write(dir.path().join("myid"), my_id).unwrap();
    let words = std::iter::once(path.into_os_string());
    let loaded = config::load(words, &|_| None).unwrap();
    let Action::Run(settings) = loaded.action else {
        panic!("{loaded:?}");
    };
    *settings
}

#[test]
fn conf() {
    let four: String = [
        (1, "participant", "127.0.0.1:"),
        (2, "participant", "127.0.0.1:"),
    ]
    .into_iter()
    .chain([(3, "participant", ""), (4, "observer", "127.0.0.1:")])
    .map(|(id, role, host)| {
        format!("server.{id}=127.0.0.1:2888{id}:3888{id}:{role};{host}2181{id}\n")
    })
    .collect();
    let one = "standaloneEnabled=false\nserver.7=127.0.0.1:28887:38887;127.0.0.1:21817\n";
    for (servers, my_id, genuine) in [
        (four.as_str(), "3", genuine!("leader-conf")),
        (&four, "1", genuine!("follower-conf")),
        (&four, "4", genuine!("observer-conf")),
        (one, "7", genuine!("lone-conf")),
    ] {
        let mut conf = started_with(servers, my_id).admin.conf;
        (conf.data_dir, conf.log_dir) = (PathBuf::from("/dir"), PathBuf::from("/dir"));
        let storage = StorageStats::default();
        let text = rendered(|out| server::put_conf(out, &conf, None, &storage));
        let genuine = genuine.replace("<dir>", "/dir").replace("<bytes>", "0");
        assert_eq!(text, genuine);
    }
}

/// Ports of several addresses stand side by side, each once.
#[test]
fn conf_of_several_addresses() {
    let line = "standaloneEnabled=false\nmultiAddress.enabled=true\n\
                server.7=b:2888:3888|a:2888:3889|c:2889:3888;21817\n";
    let conf = started_with(line, "7").admin.conf;
    let text = rendered(|out| server::put_conf(out, &conf, None, &StorageStats::default()));
    assert!(
        text.contains("\nelectionPort=3888|3889\nquorumPort=2888|2889\n"),
        "{text}"
    );
}

#[test]
fn while_it_looks_for_a_leader() {
    for line in genuine!("looking").lines() {
        let (name, genuine) = line.split_once(": ").unwrap();
        let word = Word::parse(name.as_bytes().try_into().unwrap()).unwrap();
        if word == Word::Gtmk {
            continue; // The inspector's own.
        }
        let text = rendered(|out| put_unserved(word, out));
        let ends = !matches!(word, Word::Ruok | Word::Isro | Word::Hash);
        let end = if ends { "\n" } else { "" };
        assert_eq!(text, format!("{genuine}{end}"), "{name}");
    }
    assert!(rendered(|out| put_unserved(Word::Envi, out)).starts_with("Environment:\n"));
}

fn report(role: Role) -> Report {
    Report {
        role,
        term: 3,
        leader: None,
        last_log: Some(100),
        committed: None,
        applied: None,
        checkpoint: None,
        purged: None,
        queue: QueueReport::default(),
        serves: true,
        leads_for: Some(Duration::from_secs(2)),
        voters: 3,
        followers: Vec::new(),
        proposal_bytes: None,
        pending_syncs: 0,
    }
}

#[test]
fn the_part_is_what_the_ensemble_reports() {
    let of = |role, voters| {
        let view = View::of(&report(role), voters);
        (view.word(), view.serves(), view.peer_state())
    };
    let leader = Some(ServerId(3));
    let leads = Role::Leader { term: 3 };
    assert_eq!(of(leads, None), ("standalone", true, None));
    let leading = ("leader", true, Some("leading - broadcast"));
    assert_eq!(of(leads, Some(1)), leading);
    let follows = ("follower", true, Some("following - broadcast"));
    assert_eq!(of(Role::Follower { leader }, Some(3)), follows);
    let observes = ("observer", true, Some("observing - broadcast"));
    assert_eq!(of(Role::Observer { leader }, Some(3)), observes);
    let looks = ("looking", false, Some("looking - election"));
    for role in [
        Role::Follower { leader: None },
        Role::Observer { leader: None },
        Role::Candidate,
        Role::Stopped,
    ] {
        assert_eq!(of(role, Some(3)), looks, "{role}");
        assert_eq!(of(role, None).0, "looking", "{role}");
    }
    // A leader without its quorum, a follower that is cut off.
    for role in [leads, Role::Follower { leader }] {
        let cut_off = Report {
            serves: false,
            ..report(role)
        };
        assert!(!View::of(&cut_off, Some(3)).serves(), "{role}");
    }
}

#[test]
fn learners_are_those_that_are_connected() {
    let follower = |server, is_up, matched| FollowerReport {
        server: ServerId(server),
        votes: server != 7,
        is_up,
        matched,
    };
    let leads = Report {
        followers: vec![
            follower(1, true, Some(100)),
            follower(2, false, Some(100)),
            follower(4, true, None),
            follower(5, true, Some(36)),
            follower(6, true, Some(35)),
            follower(7, true, Some(100)),
        ],
        ..report(Role::Leader { term: 3 })
    };
    let view = View::of(&leads, Some(5));
    let leading = view.leading().unwrap();
    let found = leading.learners.iter();
    let found: Vec<_> = found
        .map(|one| (one.id.0, one.is_synced, one.lag_entries))
        .collect();
    assert_eq!(
        found,
        [
            (1, true, 0),
            (4, false, 101),
            (5, true, 64),
            (6, false, 65),
            (7, true, 0)
        ]
    );
    assert_eq!((leading.followers(), leading.synced_followers()), (4, 2));
    assert_eq!(leading.synced_observers(), 1);
    assert_eq!(leading.uptime, Duration::from_secs(2));
}
