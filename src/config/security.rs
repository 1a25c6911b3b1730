//! How we prove who we are to Kafka, and how it proves itself to us: `auth`,
//! `[kafka.tls]` and `[kafka.sasl]`.
//!
//! It owns their types, what goes together, and which settings of librdkafka
//! they stand for. Handing them to librdkafka is `source::kafka`.

use std::fmt;
use std::fs::File;

use toml::Spanned;

use super::raw;
use super::reader::{Given, Reader};
use super::source::{SourcePosition, reason};
use crate::error::{Error, Result};

/// Text that no output ever holds: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for whoever has to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How connections to the brokers are secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Neither encrypted nor authenticated, unless [kafka.librdkafka] says otherwise.
    None,
    Tls(Tls),
    /// SASL is spoken over TLS only: a password never travels in the clear.
    Sasl(Sasl, Tls),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities that may sign the broker's certificate; none: the system's.
    pub ca: Option<String>,
    pub client: Option<ClientCertificate>,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub cert: String,
    pub key: String,
    pub key_password: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    const ALL: [(&'static str, Mechanism); 3] = [
        ("scram-sha-512", Mechanism::ScramSha512),
        ("scram-sha-256", Mechanism::ScramSha256),
        ("plain", Mechanism::Plain),
    ];

    /// As Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Settings of librdkafka that `auth` takes over, and where they are written instead.
const OWNED: [(&str, &str); 10] = [
    ("security.protocol", "`auth` under [kafka]"),
    ("sasl.mechanism", "`mechanism` under [kafka.sasl]"),
    ("sasl.mechanisms", "`mechanism` under [kafka.sasl]"),
    ("sasl.username", "`username` under [kafka.sasl]"),
    ("sasl.password", "`password` under [kafka.sasl]"),
    ("ssl.ca.location", "`ca` under [kafka.tls]"),
    ("ssl.ca.pem", "`ca` under [kafka.tls]"),
    ("ssl.certificate.location", "`cert` under [kafka.tls]"),
    ("ssl.key.location", "`key` under [kafka.tls]"),
    ("ssl.key.password", "`key_password` under [kafka.tls]"),
];

/// Where a setting of librdkafka is written once `auth` is; `None`: it is passed on.
pub fn owner(setting: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, _)| setting.eq_ignore_ascii_case(owned)).map(|(_, place)| *place)
}

impl Reader<'_> {
    /// `None` where `auth` is absent: then [kafka.librdkafka] has the whole say.
    pub(super) fn security(&self, raw: &raw::Kafka) -> Result<Option<Security>> {
        let Some(auth) = self.text("THALWEG__KAFKA__AUTH", &raw.auth)? else {
            self.without_effect("tls", raw.tls.as_ref().map(Spanned::span), "tls` or `sasl")?;
            self.without_effect("sasl", raw.sasl.as_ref().map(Spanned::span), "sasl")?;
            return Ok(None);
        };
        let security = match auth.text.as_str() {
            "none" => {
                self.without_effect("tls", raw.tls.as_ref().map(Spanned::span), "tls` or `sasl")?;
                self.without_effect("sasl", raw.sasl.as_ref().map(Spanned::span), "sasl")?;
                Security::None
            }
            "tls" => {
                self.without_effect("sasl", raw.sasl.as_ref().map(Spanned::span), "sasl")?;
                Security::Tls(self.tls(raw)?)
            }
            "sasl" => Security::Sasl(self.sasl(raw, &auth)?, self.tls(raw)?),
            "ssl" => {
                let wrong = self.at(&auth, "unknown value `ssl` for `kafka.auth`");
                return Err(wrong.remedy("did you mean `tls`?"));
            }
            "msk-iam" => {
                let later = self.at(&auth, "`kafka.auth = \"msk-iam\"` is not available in this version");
                return Err(later.remedy("use `sasl` with SCRAM, or `tls` with a client certificate"));
            }
            _ => return Err(self.unknown_word(&auth, "kafka.auth", &["none", "tls", "sasl"])),
        };
        Ok(Some(security))
    }

    fn without_effect(&self, section: &str, span: Option<std::ops::Range<usize>>, auth: &str) -> Result<()> {
        match span {
            None => Ok(()),
            Some(span) => {
                let message = format!("[kafka.{section}] has no effect without `auth`");
                let remedy = format!("write `auth` as `{auth}` under [kafka]");
                Err(self.source.error(&SourcePosition::File(span), message, "").remedy(remedy))
            }
        }
    }

    fn sasl(&self, raw: &raw::Kafka, auth: &Given) -> Result<Sasl> {
        let none = raw::Sasl::default();
        let (raw, place) = match &raw.sasl {
            Some(section) => (section.get_ref(), SourcePosition::File(section.span())),
            None => (&none, auth.place.clone()),
        };
        let needed = |key: &str, given: Option<Given>| match given {
            Some(given) if !given.text.is_empty() => Ok(given),
            Some(given) => Err(self
                .at(&given, format!("`kafka.sasl.{key}` is empty"))
                .remedy("write it, or its reference")),
            None => {
                let example = match key {
                    "username" => "username = \"thalweg\"",
                    _ => "password = \"${env:KAFKA_PASSWORD}\"",
                };
                let message = format!("`auth = \"sasl\"` needs `kafka.sasl.{key}`");
                Err(self
                    .source
                    .error(&place, message, "")
                    .remedy(format!("add `{example}` under [kafka.sasl]")))
            }
        };
        let mechanism = match self.text("THALWEG__KAFKA__SASL__MECHANISM", &raw.mechanism)? {
            Some(given) => self.mechanism(&given)?,
            None => Mechanism::ScramSha512,
        };
        let username = needed("username", self.text("THALWEG__KAFKA__SASL__USERNAME", &raw.username)?)?;
        let password = needed("password", self.text("THALWEG__KAFKA__SASL__PASSWORD", &raw.password)?)?;
        Ok(Sasl { mechanism, username: username.text, password: Secret::new(password.text) })
    }

    /// Kafka's own spelling, `SCRAM-SHA-512`, is understood too.
    fn mechanism(&self, given: &Given) -> Result<Mechanism> {
        let word = given.text.to_ascii_lowercase();
        match Mechanism::ALL.iter().find(|(name, _)| *name == word) {
            Some((_, mechanism)) => Ok(*mechanism),
            None => {
                Err(self.unknown_word(given, "kafka.sasl.mechanism", &Mechanism::ALL.map(|(name, _)| name)))
            }
        }
    }

    fn tls(&self, raw: &raw::Kafka) -> Result<Tls> {
        let none = raw::Tls::default();
        let raw = raw.tls.as_ref().map_or(&none, Spanned::get_ref);
        let ca = self.text("THALWEG__KAFKA__TLS__CA", &raw.ca)?;
        let cert = self.text("THALWEG__KAFKA__TLS__CERT", &raw.cert)?;
        let key = self.text("THALWEG__KAFKA__TLS__KEY", &raw.key)?;
        let key_password = self.text("THALWEG__KAFKA__TLS__KEY_PASSWORD", &raw.key_password)?;
        for file in [&ca, &cert, &key].into_iter().flatten() {
            self.readable(file)?;
        }
        let client = match (cert, key, key_password) {
            (Some(cert), Some(key), password) => Some(ClientCertificate {
                cert: cert.text,
                key: key.text,
                key_password: password.map(|password| Secret::new(password.text)),
            }),
            (Some(cert), None, _) => return Err(self.alone(&cert, "cert", "key")),
            (None, Some(key), _) => return Err(self.alone(&key, "key", "cert")),
            (None, None, Some(password)) => return Err(self.alone(&password, "key_password", "key")),
            (None, None, None) => None,
        };
        Ok(Tls { ca: ca.map(|ca| ca.text), client })
    }

    fn alone(&self, given: &Given, there: &str, missing: &str) -> Error {
        self.at(given, format!("`kafka.tls.{there}` stands without `{missing}`"))
            .remedy("a client's certificate needs both `cert` and `key`, two PEM files")
    }

    fn readable(&self, file: &Given) -> Result<()> {
        let what = match std::fs::metadata(&file.text) {
            Ok(found) if !found.is_file() => "it is not a file".to_owned(),
            Ok(_) => match File::open(&file.text) {
                Ok(_) => return Ok(()),
                Err(error) => reason(&error),
            },
            Err(error) => reason(&error),
        };
        Err(self
            .at(file, format!("cannot read `{}`: {what}", file.text))
            .remedy("check the path and its permissions: it should be a PEM file"))
    }
}
