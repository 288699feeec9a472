//! The manual of the settings, printed from the table.

use super::differences::{DIFFERENCES, Difference};
use super::key::{Key, Reach, Shape, Verdict};
use super::keys::{SECTIONS, Section};

const HEAD: &str = "\
# Configuration

<!-- Printed from src/config/keys/; `OXKEEPER_REGENERATE=1 cargo test --release --lib config::docs` writes it anew. -->

An ordinary zoo.cfg of ZooKeeper 3.9 is understood as it is. The second column says where a key may be written:
`cfg` is zoo.cfg alone; `cfg, -D` is zoo.cfg's `K` or the property `-Dzookeeper.K=V` on the command line, in
`JVMFLAGS` or in `SERVER_JVMFLAGS`; `-D K` is the property without that prefix. zoo.cfg wins over -D, except for
`-D K`. `oxkeeper --check zoo.cfg` lists every mistake and every warning.

A key that is not `honoured` only speaks when its value differs from the default. Unknown keys are warned of and
ignored. A number that cannot be read is a mistake, as in ZooKeeper, for keys of `cfg` alone; for the others, and only
for numbers, the default applies, as in ZooKeeper, and a warning says so.
";

const OTHERWISE: &str = "
## Where a value is judged otherwise

With every other key and value that was tried, this server starts where ZooKeeper 3.9.5 starts, and ends where it ends
(`compat-tests/scripts/zoocfg/verdicts.tsv` lists them). `any such` is every value with which ZooKeeper does what the
third column says.

| Key | Value | ZooKeeper | Here | Why |
| --- | --- | --- | --- | --- |
";

/// The whole manual as Markdown, what `docs/configuration.md` holds.
pub fn markdown() -> String {
    let sections: String = SECTIONS.iter().map(section).collect();
    let differences: String = DIFFERENCES.iter().map(otherwise).collect();
    format!("{HEAD}{sections}{OTHERWISE}{differences}")
}

fn otherwise(difference: &Difference) -> String {
    let quoted = |list: &str| -> String {
        let words = list.split(", ").map(|word| match word {
            "any but empty" => word.to_owned(),
            _ => format!("`{word}`"),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let values = match difference.values {
        "" => "any such".to_owned(),
        values => quoted(values),
    };
    format!(
        "| {} | {values} | {} | {} | {} |\n",
        quoted(difference.keys),
        difference.zookeeper.words(),
        difference.here.words(),
        difference.why
    )
}

fn section(section: &Section) -> String {
    let mut out = format!("\n## {}\n\n", section.title);
    out.push_str("| Key | Where | Value [default] | What becomes of it | Meaning |\n");
    out.push_str("| --- | --- | --- | --- | --- |\n");
    for key in section.keys {
        let cells = [
            names(key),
            reach(key).to_owned(),
            value(key),
            verdict(key),
            key.doc.to_owned(),
        ];
        out.push_str(&format!(
            "| {} |\n",
            cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
        ));
    }
    out
}

fn names(key: &Key) -> String {
    match key.title {
        Some(title) => format!("`{}` (also its title `{title}`)", key.name),
        None => format!("`{}`", key.name),
    }
}

fn reach(key: &Key) -> &'static str {
    match key.reach {
        Reach::File => "cfg",
        Reach::Both => "cfg, -D",
        Reach::BothAndBare => "cfg, -D, -D K",
        Reach::Jvm | Reach::Ours => "cfg, -D K",
    }
}

fn value(key: &Key) -> String {
    let shape = match key.shape {
        Shape::Flag(_) | Shape::LooseFlag(_) => "true, false".to_owned(),
        Shape::YesNo(_) => "yes, no".to_owned(),
        Shape::Int { .. } => "number".to_owned(),
        Shape::Size { .. } => "bytes (K, M, G)".to_owned(),
        Shape::Real(_) => "fraction".to_owned(),
        Shape::Text(_) => "text".to_owned(),
    };
    if key.default.is_empty() {
        shape
    } else {
        format!("{shape} [{}]", key.default)
    }
}

fn verdict(key: &Key) -> String {
    match key.verdict {
        Verdict::Honour => match key.caution {
            Some(caution) => format!("honoured, with a warning: {caution}"),
            None => "honoured".to_owned(),
        },
        Verdict::Later(what) => format!("accepted, not built yet: {what}"),
        Verdict::Ignore => "ignored".to_owned(),
        Verdict::Warn(why) => format!("ignored with a warning: {why}"),
        Verdict::Refuse(why) => format!("**refused**: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// With OXKEEPER_REGENERATE set it writes the page instead.
    #[test]
    fn the_manual_is_not_stale() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        if std::env::var_os("OXKEEPER_REGENERATE").is_some() {
            std::fs::write(&path, markdown()).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == markdown(),
            "{} is stale: run `make fix`",
            path.display()
        );
    }
}
