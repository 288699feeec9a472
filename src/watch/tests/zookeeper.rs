//! What ZooKeeper itself did: operations recorded with its `DataTree`, played again.

use super::*;

const RECORD: &str = include_str!("zookeeper.txt");

/// Plays one operation and answers with what it returned and what watchers were told.
fn play(table: &mut WatchTable, operation: &str) -> (String, Vec<String>) {
    let words: Vec<&str> = operation.split(' ').collect();
    let event = match words[..] {
        ["create", path] => created(path),
        ["delete", path] => deleted(path),
        ["set", path] => data_changed(path),
        ["drop", watcher] => {
            table.drop_watcher(WatcherId(watcher.parse().unwrap()));
            return (String::new(), Vec::new());
        }
        [name, watcher, path, code] => {
            let watcher = WatcherId(watcher.parse().unwrap());
            let code: i32 = code.parse().unwrap();
            let answer = match name {
                "add" => {
                    let registration = REGISTRATIONS[usize::try_from(code).unwrap()];
                    table.add(path, watcher, registration);
                    String::new()
                }
                "remove" => table
                    .remove(path, watcher, code.try_into().unwrap())
                    .to_string(),
                "contains" => table
                    .contains(path, watcher, code.try_into().unwrap())
                    .to_string(),
                name => panic!("no operation {name}"),
            };
            return (answer, Vec::new());
        }
        _ => panic!("no operation {operation}"),
    };
    let mut told = Vec::new();
    table.trigger(&event, &mut |notice| {
        told.push(format!(
            "{} {:?} {}",
            notice.watcher.0, notice.kind, notice.path
        ));
    });
    told.sort_by_key(|notice| notice.as_bytes().first().copied());
    (String::new(), told)
}

#[test]
fn zookeeper_tells_the_same() {
    let mut table = WatchTable::new();
    for line in RECORD.lines().filter(|line| !line.starts_with('#')) {
        let [operation, answer, notices, count] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("no record: {line}");
        };
        let (answered, told) = play(&mut table, operation);
        assert_eq!(
            (answered.as_str(), told.join(",").as_str()),
            (answer, notices),
            "{operation}"
        );
        assert_eq!(table.watch_count().to_string(), count, "{operation}");
    }
}
