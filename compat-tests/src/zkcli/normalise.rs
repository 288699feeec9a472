//! From what the CLI printed to what can be compared.
//!
//! zxids and session ids become numbered symbols in order of appearance, so that equal ones stay
//! equal; times become `<time>`, except the epoch. Watch events, which another thread prints, are
//! taken out of the answer and listed behind it. Lists that ZooKeeper returns in no stated order
//! are sorted.

use std::net::SocketAddr;

#[derive(Debug)]
pub(super) struct Normaliser {
    server: String,
    zxids: Vec<u64>,
    sessions: Vec<u64>,
}

impl Normaliser {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self {
            server: server.to_string(),
            zxids: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// A script's line as it is sent.
    pub(super) fn fill_in(&self, line: &str) -> String {
        line.replace("${server}", &self.server)
    }

    /// The answer to `command`, as text of whole lines.
    pub(super) fn block(&mut self, command: &str, output: &[String]) -> String {
        let (mut lines, mut events) = split_events(output);
        if command.starts_with("whoami") || command.starts_with("ls -R") {
            lines.sort();
        }
        let mut text = String::new();
        for line in lines {
            if line.starts_with("\tat ") || line.starts_with("\t... ") {
                continue;
            }
            let line = if command.starts_with("getEphemerals") {
                sorted_list(&line)
            } else {
                line
            };
            text += &self.line(&line);
            text.push('\n');
        }
        // Printed by a client that is being closed: when, and whether at all, is chance.
        events.retain(|event| !event.contains("state:Closed "));
        for event in events {
            text += &format!("* {}\n", self.line(&event));
        }
        text
    }

    fn line(&mut self, line: &str) -> String {
        let line = line.replace(&self.server, "<server>");
        if let Some((name, value)) = line.split_once(" = ") {
            match name {
                "cZxid" | "mZxid" | "pZxid" => {
                    return format!("{name} = {}", self.zxid(hex(value)));
                }
                "ephemeralOwner" => return format!("{name} = {}", self.session(hex(value))),
                "ctime" | "mtime" if !value.contains("1970") => return format!("{name} = <time>"),
                _ => return line,
            }
        }
        if let Some((head, value)) = line.split_once(" zxid: ") {
            let zxid = value.parse().ok();
            return format!(
                "{head} zxid: {}",
                if value == "-1" {
                    value.into()
                } else {
                    self.zxid(zxid)
                }
            );
        }
        if line.starts_with("ZooKeeper CLI version: ") {
            return "ZooKeeper CLI version: <version>".into();
        }
        line
    }

    fn zxid(&mut self, value: Option<u64>) -> String {
        symbol("zxid", &mut self.zxids, value)
    }

    fn session(&mut self, value: Option<u64>) -> String {
        symbol("session", &mut self.sessions, value)
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn symbol(name: &str, known: &mut Vec<u64>, value: Option<u64>) -> String {
    match value {
        None => format!("<{name} ?>"),
        Some(0) => "0x0".into(),
        Some(value) => {
            let index = known.iter().position(|k| *k == value).unwrap_or_else(|| {
                known.push(value);
                known.len() - 1
            });
            format!("<{name} {}>", index + 1)
        }
    }
}

/// Takes the watcher's messages out: an empty line, `WATCHER::`, an empty line, the event.
fn split_events(output: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut events): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for line in output {
        let is_event = line.starts_with("WatchedEvent ");
        if !is_event && line != "WATCHER::" {
            lines.push(line.clone());
            continue;
        }
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        if is_event {
            events.push(line.clone());
        }
    }
    (lines, events)
}

fn sorted_list(line: &str) -> String {
    let Some(inner) = line
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return line.to_owned();
    };
    let mut items: Vec<&str> = inner.split(", ").collect();
    items.sort_unstable();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normaliser() -> Normaliser {
        Normaliser::new("127.0.0.1:2181".parse().unwrap())
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn equal_numbers_stay_equal() {
        let text = normaliser().block(
            "stat /a",
            &lines(
                "cZxid = 0x10\nctime = Sat Nov 21 11:00:00 UTC 2026\nmZxid = 0x10\npZxid = 0x11\n",
            ),
        );
        assert_eq!(
            text,
            "cZxid = <zxid 1>\nctime = <time>\nmZxid = <zxid 1>\npZxid = <zxid 2>\n"
        );
    }

    #[test]
    fn events_are_listed_behind_the_answer() {
        let event = "WatchedEvent state:SyncConnected type:NodeCreated path:/a zxid: 16";
        let text = normaliser().block(
            "create /a",
            &lines(&format!("\nWATCHER::\n\n{event}\nCreated /a\n")),
        );
        assert_eq!(
            text,
            "Created /a\n* WatchedEvent state:SyncConnected type:NodeCreated path:/a zxid: <zxid 1>\n"
        );
    }
}
