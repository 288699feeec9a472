//! The table against its handles.

use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_unique_and_follow_the_rules() {
    let mut names = BTreeSet::new();
    for metric in TABLE {
        assert!(names.insert(metric.name), "{} twice", metric.name);
        assert!(
            metric
                .name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        );
        assert!(
            !metric.help.is_empty() && !metric.help.contains('\n'),
            "{}",
            metric.name
        );
    }
}

#[test]
fn every_handle_is_in_the_table_with_its_kind() {
    for (name, counts) in HANDLE_NAMES {
        let found = if *counts {
            CELLS.count(name).is_some()
        } else {
            CELLS.samples(name).is_some()
        };
        assert!(found, "{name}");
    }
}

#[test]
fn the_facade_reaches_the_same_cells() {
    let key = Key::from_name("insecure_admin_count");
    let metadata = Metadata::new("", ::metrics::Level::INFO, None);
    TableRecorder.register_counter(&key, &metadata).increment(3);
    let reading = each().find(|(metric, _)| metric.name == "insecure_admin_count");
    assert!(matches!(reading, Some((_, Reading::Count(3)))));
    TableRecorder
        .register_gauge(&Key::from_name("unheard_of"), &metadata)
        .set(1.0);
}
