//! The layers: defaults < file < environment < flags. An unknown key is an error wherever it stands.
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Config, KEYS, Key, rules};

/// Environment variables of the configuration start with this; `__` separates section and key.
const ENVIRONMENT_PREFIX: &str = "HOLDFAST__";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The file given with `--config`.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag,
}

impl Source {
    /// One word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File(_) => "file",
            Self::Environment(_) => "environment",
            Self::Flag => "flag",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("the defaults"),
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Environment(variable) => write!(out, "environment variable {variable}"),
            Self::Flag => out.write_str("the command line"),
        }
    }
}

/// A configuration and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The source of every key, in the order of [`KEYS`].
    pub sources: Vec<Source>,
}

/// A configuration that cannot be used: everything that is wrong with it, not just the first.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.problems))]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not TOML: {message}", .path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// No such section or key.
    #[error("unknown {what} \"{name}\" in {source_name}{}", suggest(.suggestion.as_deref()))]
    Unknown {
        /// `section` or `key`.
        what: &'static str,
        /// What was written.
        name: String,
        /// Where it was written.
        source_name: Source,
        /// The nearest name that exists.
        suggestion: Option<String>,
    },
    /// A value that is not what its key takes.
    #[error("{key} in {source_name}: {message}")]
    Value {
        /// The dotted key.
        key: &'static str,
        /// Where the value stands.
        source_name: Source,
        /// What was wanted.
        message: String,
    },
    /// Limits that contradict each other.
    #[error("{0}")]
    Relation(String),
}

fn suggest(suggestion: Option<&str>) -> String {
    suggestion
        .map(|name| format!(" (did you mean \"{name}\"?)"))
        .unwrap_or_default()
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl Config {
    /// Lays the sources over each other: `file` (TOML) over the defaults, `environment` (all variables of the process;
    /// others than `HOLDFAST__SECTION__KEY` are passed over) over the file, `flags` (dotted key and value, the last one
    /// wins) over everything.
    ///
    /// # Errors
    /// Everything that is wrong: an unreadable file, unknown names with a suggestion, values that do not fit, limits
    /// that contradict each other.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Loaded, ConfigError> {
        let mut layers = Layers::default();
        if let Some(path) = file {
            layers.file(path);
        }
        // Sorted, so that the same environment gives the same report.
        for (variable, value) in environment.into_iter().collect::<BTreeMap<_, _>>() {
            layers.environment(variable, value);
        }
        for (name, value) in flags {
            layers.put(name, value.clone(), Source::Flag);
        }
        layers.finish()
    }
}

/// What the sources have said so far.
#[derive(Default)]
struct Layers {
    said: BTreeMap<&'static str, (String, Source)>,
    problems: Vec<Problem>,
}

impl Layers {
    fn file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) => {
                return self.problems.push(Problem::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                let message = error.to_string().trim_end().to_owned();
                return self.problems.push(Problem::Syntax {
                    path: path.to_owned(),
                    message,
                });
            }
        };
        for (section, value) in table {
            let source = Source::File(path.to_owned());
            match value {
                toml::Value::Table(keys) if section_exists(&section) => {
                    for (key, value) in keys {
                        self.file_value(&format!("{section}.{key}"), &value, source.clone());
                    }
                }
                toml::Value::Table(_) => self.unknown_section(section, source),
                // A bare value on top: its key lacks the section.
                toml::Value::String(_)
                | toml::Value::Integer(_)
                | toml::Value::Float(_)
                | toml::Value::Boolean(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_) => self.unknown_key(section, source),
            }
        }
    }

    fn file_value(&mut self, name: &str, value: &toml::Value, source: Source) {
        let text = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            toml::Value::Float(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_) => {
                let Some(key) = key(name) else {
                    return self.unknown_key(name.to_owned(), source);
                };
                let message = "wanted a text, a whole number, true or false".to_owned();
                return self.problems.push(Problem::Value {
                    key: key.name,
                    source_name: source,
                    message,
                });
            }
        };
        self.put(name, text, source);
    }

    fn environment(&mut self, variable: String, value: String) {
        let Some(path) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
            return;
        };
        let name = path.to_ascii_lowercase().replacen("__", ".", 1);
        self.put(&name, value, Source::Environment(variable));
    }

    fn put(&mut self, name: &str, value: String, source: Source) {
        match (key(name), name.split_once('.')) {
            (Some(key), _) => {
                self.said.insert(key.name, (value, source));
            }
            (None, Some((section, _))) if !section_exists(section) => {
                self.unknown_section(section.to_owned(), source);
            }
            (None, _) => self.unknown_key(name.to_owned(), source),
        }
    }

    fn unknown_section(&mut self, name: String, source_name: Source) {
        let suggestion = nearest(&name, KEYS.iter().map(|key| section(key)));
        self.problems.push(Problem::Unknown {
            what: "section",
            name,
            source_name,
            suggestion,
        });
    }

    fn unknown_key(&mut self, name: String, source_name: Source) {
        // A key without its section is suggested with it.
        let bare = KEYS.iter().find(|key| key.name.ends_with(&format!(".{name}")));
        let suggestion = bare
            .map(|key| key.name.to_owned())
            .or_else(|| nearest(&name, KEYS.iter().map(|key| key.name)))
            .map(|key| as_written(&key, &source_name));
        let name = as_written(&name, &source_name);
        self.problems.push(Problem::Unknown {
            what: "key",
            name,
            source_name,
            suggestion,
        });
    }

    fn finish(mut self) -> Result<Loaded, ConfigError> {
        let defaults = Config::default();
        let said = std::mem::take(&mut self.said);
        let text = |name: &'static str| match said.get(name) {
            Some((value, _)) => value.clone(),
            None => KEYS[index(name)].default.to_owned(),
        };
        // One key at a time over the defaults, so that every wrong value is told at once.
        for (name, (value, source)) in &said {
            let one = |asked: &'static str| {
                if asked == *name {
                    value.clone()
                } else {
                    KEYS[index(asked)].default.to_owned()
                }
            };
            if let Err((key, message)) = Config::read(one) {
                self.problems.push(Problem::Value {
                    key,
                    source_name: source.clone(),
                    message,
                });
            }
        }
        let config = Config::read(text).unwrap_or(defaults);
        if self.problems.is_empty() {
            self.problems
                .extend(rules::broken(&config).into_iter().map(Problem::Relation));
        }
        if !self.problems.is_empty() {
            return Err(ConfigError {
                problems: self.problems,
            });
        }
        let source = |key: &Key| {
            said.get(key.name)
                .map_or(Source::Default, |(_, source)| source.clone())
        };
        Ok(Loaded {
            config,
            sources: KEYS.iter().map(source).collect(),
        })
    }
}

fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn index(name: &str) -> usize {
    KEYS.iter()
        .position(|key| key.name == name)
        .expect("asked by names of the list only")
}

fn section(key: &Key) -> &'static str {
    key.name.split_once('.').expect("every key has a section").0
}

fn section_exists(name: &str) -> bool {
    KEYS.iter().any(|key| section(key) == name)
}

/// A dotted key in the spelling of its source.
fn as_written(key: &str, source: &Source) -> String {
    match source {
        Source::Environment(_) => format!(
            "{ENVIRONMENT_PREFIX}{}",
            key.replacen('.', "__", 1).to_ascii_uppercase()
        ),
        Source::Default | Source::File(_) | Source::Flag => key.to_owned(),
    }
}

/// The candidate most like `name`, if any is like it at all.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{JournalBackend, Length};
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holdfast.toml");
        std::fs::write(&path, file).unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let flags: Vec<_> = flags.iter().map(owned).collect();
        Config::load(Some(&path), environment.iter().map(owned), &flags)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    fn refused(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        load(file, environment, flags).unwrap_err()
    }

    #[test]
    fn later_layers_win_and_are_named() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\nconnections_max = 1\n[policy]\nttl = \"1m\"\n[keys]\nrequired = true\n";
        let environment = [
            ("HOLDFAST__POLICY__TTL", "2m"),
            ("HOLDFAST__SERVER__LISTEN", "127.0.0.1:2"),
            ("PATH", "/"),
        ];
        let flags = [
            ("server.listen", "127.0.0.1:3"),
            ("server.listen", "127.0.0.1:4"),
            ("journal.backend", "file"),
        ];
        let Loaded { config, sources } = load(file, &environment, &flags).unwrap();
        assert_eq!(config.server.listen.port(), 4);
        assert_eq!(config.server.connections_max, 1);
        assert_eq!(config.policy.ttl, Length::from_millis(120_000));
        assert!(config.keys.required);
        assert_eq!(config.journal.backend, JournalBackend::File);
        assert_eq!(sources[index("server.listen")], Source::Flag);
        assert_eq!(
            sources[index("policy.ttl")],
            Source::Environment("HOLDFAST__POLICY__TTL".to_owned())
        );
        assert_eq!(sources[index("server.connections_max")].word(), "file");
        assert_eq!(sources[index("log.level")], Source::Default);
    }

    #[test]
    fn every_default_can_be_read_and_is_shown_as_written() {
        let config = Config::default();
        for (key, shown) in KEYS.iter().zip(config.show()) {
            let same_length = matches!((key.default, shown.as_str()), ("24h", "1d") | ("60s", "1m"));
            assert!(shown == key.default || same_length, "{}: {shown}", key.name);
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_its_source_and_a_suggestion() {
        assert_eq!(
            refused("[server]\nlissten = \"127.0.0.1:1\"\n", &[], &[]),
            "unknown key \"server.lissten\" in FILE (did you mean \"server.listen\"?)"
        );
        assert_eq!(
            refused("[jornal]\nbackend = \"file\"\n", &[], &[]),
            "unknown section \"jornal\" in FILE (did you mean \"journal\"?)"
        );
        assert_eq!(
            refused("listen = \"127.0.0.1:1\"\n", &[], &[]),
            "unknown key \"listen\" in FILE (did you mean \"server.listen\"?)"
        );
        assert_eq!(
            refused("", &[("HOLDFAST__POLICY__TTLL", "1m")], &[]),
            "unknown key \"HOLDFAST__POLICY__TTLL\" in environment variable HOLDFAST__POLICY__TTLL \
             (did you mean \"HOLDFAST__POLICY__TTL\"?)"
        );
        assert_eq!(
            refused("", &[], &[("policy.max_tll", "1m")]),
            "unknown key \"policy.max_tll\" in the command line (did you mean \"policy.max_ttl\"?)"
        );
        assert_eq!(
            refused("", &[], &[("xyzzy", "1")]),
            "unknown key \"xyzzy\" in the command line"
        );
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let told = refused(
            "[policy]\nttl = 15\n[log]\nformat = [\"text\"]\n",
            &[("HOLDFAST__KEYS__REQUIRED", "yes")],
            &[("server.body_max", "64KB")],
        );
        assert_eq!(
            told.lines().collect::<Vec<_>>(),
            [
                "log.format in FILE: wanted a text, a whole number, true or false",
                "keys.required in environment variable HOLDFAST__KEYS__REQUIRED: \"yes\" is not true or false",
                "policy.ttl in FILE: \"15\" is not a length with its unit, like 500ms, 5s, 15m, 24h or 7d",
                "server.body_max in the command line: \"64KB\" is not a size with its unit, \
                 like 512B, 64KiB, 256MiB or 8GiB",
            ]
        );
    }

    #[test]
    fn contradicting_limits_are_refused() {
        let told = refused("[retention]\nended = \"1h\"\n", &[], &[]);
        assert_eq!(told, "retention.keys must not exceed retention.ended: 1d > 1h");
    }

    #[test]
    fn a_file_that_is_missing_or_no_toml_is_named() {
        assert!(refused("[server\n", &[], &[]).starts_with("FILE is not TOML: "));
        let missing = Config::load(Some(Path::new("no/such/holdfast.toml")), [], &[]).unwrap_err();
        assert!(
            missing
                .to_string()
                .starts_with("cannot read no/such/holdfast.toml: "),
            "{missing}"
        );
    }
}
