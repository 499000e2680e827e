//! What the server is told: by flags, by the environment, by a file, and what holds when nobody says anything.

use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use bridge_core::{Name, RetentionRule, Retentions};
use bridge_store::Durability;
use bridge_transport::{InvalidSetting, Settings};
use clap::ValueEnum;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::telemetry::{LogFormat, parse_level};

/// Where the bridge listens unless told otherwise.
pub(crate) const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8765);

/// Where the data is unless told otherwise: below the working directory.
pub(crate) const DATA: &str = "bridge-data";

/// Everything a server needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where to listen; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// The directory of the data; made if it is not there.
    pub(crate) data: PathBuf,
    /// What a commit outlives.
    pub(crate) durability: Durability,
    /// What becomes of messages that have ended, by their type.
    pub(crate) retentions: Retentions,
    /// Where messages go before they are removed.
    pub(crate) archive: ArchiveMode,
    /// Origins of pages that may call, besides the server's own.
    pub(crate) allow_origin: Vec<String>,
    /// Names the server answers under, besides loopback's.
    pub(crate) allow_host: Vec<String>,
    /// How the log is written.
    pub(crate) log_format: LogFormat,
    /// What is logged: a level, or levels by target.
    pub(crate) log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: LISTEN,
            data: DATA.into(),
            durability: Durability::Full,
            retentions: Retentions::default(),
            archive: ArchiveMode::Off,
            allow_origin: Vec::new(),
            allow_host: Vec::new(),
            log_format: LogFormat::Text,
            // The protocol library tells each session and each handshake, at a level that others keep for what matters.
            log_level: "info".to_owned(),
        }
    }
}

/// One source of settings: flags with the environment, or a file. What it does not say is left to the next one.
///
/// # Shape
/// ```toml
/// listen = "127.0.0.1:8765"
/// data = "/var/lib/bridge"
/// durability = "full"                        # or "normal"
/// allow_origin = ["https://notes.example"]
/// allow_host = ["bridge.example"]
/// log_format = "text"                        # or "json"
/// log_level = "info"                         # or "warn,bridge_transport=debug"
/// archive = "files"                          # or "off"
///
/// [retention]                                # by type of message
/// default = "medium"                         # immediate, short, medium, long or permanent
/// order = { keep = "long", archive = true }
///
/// [retention.types]                          # the same, and the one place for a type that is called `default`
/// default = { keep = "short" }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Layer {
    /// Address to listen on; loopback only, as there is no authentication yet [default: 127.0.0.1:8765]
    #[arg(long, env = "BRIDGE_LISTEN", value_name = "ADDRESS", value_parser = parse_listen, hide_env_values = true)]
    #[serde(deserialize_with = "read_listen")]
    pub(crate) listen: Option<SocketAddr>,
    /// Directory of the data, made if it is not there [default: bridge-data]
    #[arg(long, env = "BRIDGE_DATA", value_name = "DIRECTORY", hide_env_values = true)]
    #[serde(deserialize_with = "read_data")]
    pub(crate) data: Option<PathBuf>,
    /// What a confirmed message outlives: power failures (full), or the end of the process (normal) [default: full]
    #[arg(
        long,
        env = "BRIDGE_DURABILITY",
        value_name = "MODE",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub(crate) durability: Option<DurabilityMode>,
    /// Origins of other pages that may call, such as `https://notes.example`; repeated or comma-separated
    #[arg(
        long,
        env = "BRIDGE_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = parse_origin,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "read_origins")]
    pub(crate) allow_origin: Option<Vec<String>>,
    /// Other names this server answers under, such as `bridge.example`; repeated or comma-separated
    #[arg(
        long,
        env = "BRIDGE_ALLOW_HOST",
        value_name = "HOST",
        value_delimiter = ',',
        value_parser = parse_host,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "read_hosts")]
    pub(crate) allow_host: Option<Vec<String>>,
    /// Where messages of the types that ask for it go before they are removed: nowhere (off), or to the directory
    /// `archive` beside the data (files) [default: off]
    #[arg(
        long,
        env = "BRIDGE_ARCHIVE",
        value_name = "MODE",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub(crate) archive: Option<ArchiveMode>,
    /// What becomes of messages that have ended.
    #[arg(skip)]
    pub(crate) retention: Retention,
    /// Form of the log on standard error: text or json [default: text]
    #[arg(
        long,
        env = "BRIDGE_LOG_FORMAT",
        value_name = "FORMAT",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: off, error, warn, info, debug or trace; or by part, such as
    /// `warn,bridge_transport=debug` [default: info]
    #[arg(long, env = "BRIDGE_LOG", value_name = "LEVEL", value_parser = parse_level, hide_env_values = true)]
    #[serde(deserialize_with = "read_level")]
    pub(crate) log_level: Option<String>,
}

/// What a confirmed message outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DurabilityMode {
    /// The end of the process, of the operating system and of the power.
    Full,
    /// The end of the process.
    Normal,
}

/// Where messages go before they are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ArchiveMode {
    /// Nowhere.
    Off,
    /// To files beside the data.
    Files,
}

/// How long messages are kept, by their type: as far as it is said, over what holds otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Types that are not named, in place of a day.
    default: Option<Keep>,
    types: Vec<(Name, TypeRetention)>,
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Types)
    }
}

/// Reads a table by types. By hand, so that an error is told with its own line.
struct Types;

impl<'de> Visitor<'de> for Types {
    type Value = Retention;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of types of messages")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Retention, M::Error> {
        let mut retention = Retention::default();
        while let Some(kind) = map.next_key::<String>()? {
            match &*kind {
                "default" => retention.default = Some(map.next_value()?),
                "types" => retention.types.extend(map.next_value::<Named>()?.0),
                _ => retention.types.push((name(&kind)?, map.next_value()?)),
            }
        }
        Ok(retention)
    }
}

fn name<E: Error>(kind: &str) -> Result<Name, E> {
    Name::new(kind).map_err(E::custom)
}

/// What stands under `types`: a table of types, whatever they are called; or, as under any other name, what becomes of messages
/// of the type that is called so.
struct Named(Vec<(Name, TypeRetention)>);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(NamedTypes)
    }
}

struct NamedTypes;

impl<'de> Visitor<'de> for NamedTypes {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Types.expecting(f)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Named, M::Error> {
        let (mut types, mut keep, mut archive) = (Vec::new(), None, None);
        while let Some(kind) = map.next_key::<String>()? {
            let said = match &*kind {
                "keep" | "archive" => map.next_value()?,
                _ => Said::Type(map.next_value()?),
            };
            match said {
                Said::Type(rule) => types.push((name(&kind)?, rule)),
                Said::Keep(given) if kind == "keep" => keep = Some(given),
                Said::Archive(given) if kind == "archive" => archive = Some(given),
                _ => return Err(M::Error::custom(format_args!("`{kind}` has the value of another word"))),
            }
        }
        match (keep, archive) {
            (Some(keep), archive) => {
                let rule = TypeRetention { keep, archive: archive.unwrap_or_default() };
                types.push((Name::from_static("types"), rule));
            }
            (None, Some(_)) => return Err(M::Error::missing_field("keep")),
            (None, None) => {}
        }
        Ok(Named(types))
    }
}

/// What stands for a type, or for a word of the one that is called `types`.
enum Said {
    Type(TypeRetention),
    Keep(Keep),
    Archive(bool),
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what becomes of a type of messages")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Said, M::Error> {
        TypeRetention::deserialize(MapAccessDeserializer::new(map)).map(Said::Type)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Said, E> {
        Keep::deserialize(word.into_deserializer()).map(Said::Keep)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Said, E> {
        Ok(Said::Archive(flag))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeRetention {
    keep: Keep,
    #[serde(default)]
    archive: bool,
}

/// How long a message is kept after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keep(bridge_core::Retention);

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        let known = bridge_core::Retention::ALL.into_iter().find(|known| known.as_str() == word);
        known.map(Self).ok_or_else(|| {
            let all = bridge_core::Retention::ALL.map(bridge_core::Retention::as_str).join(", ");
            D::Error::custom(format_args!("messages are kept {all}, not `{word}`"))
        })
    }
}

impl Retention {
    fn over(self, mut below: Retentions) -> Retentions {
        if let Some(Keep(retention)) = self.default {
            below.set_other(RetentionRule { retention, archive: false });
        }
        for (kind, TypeRetention { keep: Keep(retention), archive }) in self.types {
            below.set(kind, RetentionRule { retention, archive });
        }
        below
    }
}

impl From<DurabilityMode> for Durability {
    fn from(mode: DurabilityMode) -> Self {
        match mode {
            DurabilityMode::Full => Self::Full,
            DurabilityMode::Normal => Self::Normal,
        }
    }
}

impl Layer {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// That it cannot be read; or the line and the key that are wrong.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("it cannot be read: {error}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start).min(text.len());
            let number = text[..start].matches('\n').count() + 1;
            let line = text.lines().nth(number - 1).unwrap_or_default().trim();
            format!("line {number}, `{line}`: {}", error.message().replace('\n', ", "))
        })
    }

    /// What this layer says, and where it says nothing, what `below` says.
    #[must_use]
    pub(crate) fn over(self, below: Config) -> Config {
        Config {
            listen: self.listen.unwrap_or(below.listen),
            data: self.data.unwrap_or(below.data),
            durability: self.durability.map_or(below.durability, Into::into),
            retentions: self.retention.over(below.retentions),
            archive: self.archive.unwrap_or(below.archive),
            allow_origin: self.allow_origin.unwrap_or(below.allow_origin),
            allow_host: self.allow_host.unwrap_or(below.allow_host),
            log_format: self.log_format.unwrap_or(below.log_format),
            log_level: self.log_level.unwrap_or(below.log_level),
        }
    }
}

/// Reads an address to listen on, which nobody else must reach. `localhost` is the one name it knows.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        None => text.to_owned(),
    };
    let address: SocketAddr = address.parse().map_err(|_| format!("an address reads like {LISTEN}"))?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "there is no authentication yet, so whoever reaches it could read and write everything. Use a \
         loopback address, such as 127.0.0.1:{}, and reach it from elsewhere through a tunnel or a proxy \
         that checks who is there",
        address.port(),
    ))
}

fn parse_origin(text: &str) -> Result<String, InvalidSetting> {
    let mut settings = Settings::default();
    settings.allowed_origins.push(text.to_owned());
    settings.check().map(|()| text.to_owned())
}

fn parse_host(text: &str) -> Result<String, InvalidSetting> {
    let mut settings = Settings::default();
    settings.allowed_hosts.push(text.to_owned());
    settings.check().map(|()| text.to_owned())
}

fn read_listen<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    parse_listen(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

fn read_data<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let data = PathBuf::deserialize(from)?;
    if data.as_os_str().is_empty() { Err(D::Error::custom("no directory is named")) } else { Ok(Some(data)) }
}

fn read_origins<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    each(&Vec::deserialize(from)?, parse_origin)
}

fn read_hosts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    each(&Vec::deserialize(from)?, parse_host)
}

fn read_level<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    parse_level(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

fn each<E: Error>(
    texts: &[String],
    parse: fn(&str) -> Result<String, InvalidSetting>,
) -> Result<Option<Vec<String>>, E> {
    texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map(Some).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_nearer_counts_more() {
        let file = Layer::parse("data = '/srv/a'\nlog_level = 'debug'").unwrap();
        let flags = Layer { data: Some("/srv/b".into()), ..Layer::default() };
        let config = flags.over(file.over(Config::default()));
        assert_eq!(config.data, Path::new("/srv/b"));
        assert_eq!(config.log_level, "debug");
        assert_eq!(config.listen, LISTEN);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = Layer::parse("data = '/srv/a'\nlissten = '127.0.0.1:1'\n").unwrap_err();
        assert!(error.starts_with("line 2, `lissten = '127.0.0.1:1'`: unknown field `lissten`"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        for (text, expected) in [
            ("\n\nlisten = 'here'", "line 3, `listen = 'here'`: an address reads like"),
            ("durability = 'some'", "line 1, `durability = 'some'`: unknown variant `some`"),
            ("listen = '0.0.0.0:1'", "line 1, `listen = '0.0.0.0:1'`: there is no authentication yet"),
            (
                "allow_origin = ['https://a.example', '*']",
                "line 1, `allow_origin = ['https://a.example', '*']`: \"*\" is",
            ),
            (
                "allow_host = ['http://a.example']",
                "line 1, `allow_host = ['http://a.example']`: \"http://a.example\" is",
            ),
            ("log_level = 'loud'", "line 1, `log_level = 'loud'`: a level is"),
            ("data = ''", "line 1, `data = ''`: no directory is named"),
            ("data = 7", "line 1, `data = 7`: invalid type: integer `7`"),
            ("data = ", "line 1, `data =`: "),
        ] {
            let error = Layer::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn how_long_messages_are_kept_is_said_by_type() {
        let text =
            "archive = 'files'\n[retention]\ndefault = 'short'\norder = { keep = 'long', archive = true }";
        let config = Layer::parse(text).unwrap().over(Config::default());
        let of = |kind| config.retentions.of(&Name::from_static(kind));
        let long = RetentionRule { retention: bridge_core::Retention::Long, archive: true };
        assert_eq!((of("order"), config.archive), (long, ArchiveMode::Files));
        assert_eq!(of("anything").retention, bridge_core::Retention::Short);
        assert_eq!(of("audit").retention, bridge_core::Retention::Permanent);
        for (text, expected) in [
            ("[retention]\ndefault = 'often'", "messages are kept immediate, short, medium, long, permanent"),
            ("[retention]\norder = { kept = 'long' }", "unknown field `kept`"),
            ("[retention]\n'' = { keep = 'long' }", "a name has 1 to 255 bytes"),
            ("archive = 'tape'", "unknown variant `tape`"),
        ] {
            let error = Layer::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_type_may_be_called_like_a_word_of_the_table() {
        let keeps = |text: &str, kind| {
            let config = Layer::parse(text).unwrap().over(Config::default());
            let RetentionRule { retention, archive } = config.retentions.of(&Name::from_static(kind));
            (retention.as_str(), archive)
        };
        let text = "[retention]\ndefault = 'short'\n[retention.types]\n\
                    default = { keep = 'long', archive = true }\n\
                    keep = { keep = 'permanent' }\ntypes = { keep = 'immediate' }";
        assert_eq!((keeps(text, "default"), keeps(text, "other")), (("long", true), ("short", false)));
        assert_eq!((keeps(text, "keep").0, keeps(text, "types").0), ("permanent", "immediate"));
        // As under any other name.
        for text in
            ["[retention]\ntypes = { keep = 'long' }", "[retention.types]\nkeep = 'long'\narchive = false"]
        {
            assert_eq!((keeps(text, "types"), keeps(text, "keep")), (("long", false), ("medium", false)));
        }
        for (text, expected) in [
            ("[retention.types]\norder = 'long'", "line 2, `order = 'long'`: invalid type: string \"long\""),
            (
                "[retention.types]\n\norder = { kept = 'long' }",
                "line 3, `order = { kept = 'long' }`: unknown field `kept`",
            ),
            (
                "[retention.types]\n\nkeep = 'often'",
                "line 3, `keep = 'often'`: messages are kept immediate, short",
            ),
            ("[retention.types]\nkeep = true", "`keep` has the value of another word"),
            ("[retention.types]\narchive = true", "missing field `keep`"),
            ("[retention.types]\n'' = { keep = 'long' }", "a name has 1 to 255 bytes"),
            ("[retention]\ntypes = 'long'", "line 2, `types = 'long'`: invalid type: string"),
        ] {
            let error = Layer::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn only_loopback_needs_no_authentication() {
        for (address, safe) in [
            ("127.0.0.1:0", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("192.168.0.4:1", false),
            ("[::]:1", false),
        ] {
            assert_eq!(parse_listen(address).is_ok(), safe, "{address}");
        }
    }

    #[test]
    fn localhost_is_an_address() {
        assert_eq!(parse_listen("localhost:80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert!(parse_listen("example.org:80").is_err());
    }
}
