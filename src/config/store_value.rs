//! What the value of a storage option may be.
//!
//! It owns the kinds of values and their refusals: the client behind puts a
//! value into an address, a header or a number when a request is sent, where
//! a wrong one is a panic or a puzzle. Which names exist is `options`.

use std::time::Duration;

use url::Url;

use super::nearest::choice;
use super::redact::{names_a_secret, without_userinfo};

/// HTTP/2 knows no others.
const FRAME_SIZE: std::ops::RangeInclusive<u32> = 16_384..=16_777_215;
const DURATION: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
const YES_OR_NO: [&str; 10] = ["1", "true", "on", "yes", "y", "0", "false", "off", "no", "n"];
const ENCRYPTIONS: [&str; 4] = ["AES256", "aws:kms", "aws:kms:dsse", "sse-c"];

/// What is wrong with a value, and what to write instead. Neither shows a secret.
#[derive(PartialEq, Eq, Debug)]
pub struct Wrong {
    pub message: String,
    pub remedy: String,
}

/// A variable or a file of a secret often ends with a newline that nobody meant: one is left out.
pub fn without_final_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Whether an option may have this value. `name` is the full one (`aws_region`), `key` as it was written.
pub fn check(name: &str, key: &str, value: &str) -> Result<(), Wrong> {
    let option = Written { key, value };
    match Kind::of(name) {
        Kind::Pem => Ok(()),
        Kind::Address => option.address(),
        Kind::Proxy => option.proxy(),
        Kind::Region => option.region(),
        Kind::Name => option.name(),
        Kind::Path => option.path(),
        Kind::Switch => option.word(&YES_OR_NO, "write `true` or `false`"),
        Kind::Duration => option.duration(),
        Kind::Number => option.number(0..=u32::MAX),
        Kind::FrameSize => option.number(FRAME_SIZE),
        Kind::Encryption => option.word(&ENCRYPTIONS, &format!("use {}", choice(&ENCRYPTIONS))),
        Kind::Checksum => option.word(&["sha256"], "write `sha256`, or leave it out"),
        Kind::CustomerKey => option.customer_key(),
        Kind::Visible => option.visible(),
    }
}

enum Kind {
    /// `http://host:port/path`
    Address,
    /// The same with a user, and other schemes.
    Proxy,
    Region,
    /// A part of a host's name or of a path.
    Name,
    /// The path of an address.
    Path,
    Switch,
    Duration,
    Number,
    FrameSize,
    Encryption,
    Checksum,
    CustomerKey,
    /// Lines of text.
    Pem,
    /// A key, a name, a token, a path: it ends up in a header.
    Visible,
}

impl Kind {
    fn of(name: &str) -> Kind {
        match name {
            "proxy_url" => Kind::Proxy,
            "proxy_ca_certificate" | "google_service_account_key" => Kind::Pem,
            "aws_region" | "aws_default_region" => Kind::Region,
            "aws_container_credentials_relative_uri" => Kind::Path,
            "aws_container_credentials_full_uri" => Kind::Address,
            "aws_server_side_encryption" => Kind::Encryption,
            "aws_sse_customer_key_base64" => Kind::CustomerKey,
            "aws_checksum_algorithm" => Kind::Checksum,
            "pool_max_idle_per_host" => Kind::Number,
            "http2_max_frame_size" => Kind::FrameSize,
            "timeout"
            | "connect_timeout"
            | "pool_idle_timeout"
            | "http2_keep_alive_interval"
            | "http2_keep_alive_timeout" => Kind::Duration,
            "allow_http"
            | "allow_invalid_certificates"
            | "http1_only"
            | "http2_only"
            | "http2_keep_alive_while_idle"
            | "randomize_addresses"
            | "aws_imdsv1_fallback"
            | "aws_virtual_hosted_style_request"
            | "aws_s3_express"
            | "aws_unsigned_payload"
            | "aws_skip_signature"
            | "aws_disable_tagging"
            | "aws_request_payer"
            | "aws_sse_bucket_key_enabled"
            | "google_skip_signature"
            | "azure_skip_signature"
            | "azure_use_fabric_endpoint"
            | "azure_use_azure_cli"
            | "azure_disable_tagging"
            | "azure_storage_use_emulator" => Kind::Switch,
            "google_base_url" | "azure_storage_authority_host" | "azure_fabric_token_service_url" => {
                Kind::Address
            }
            "azure_storage_account_name" | "azure_storage_tenant_id" => Kind::Name,
            _ if name.contains("endpoint") => Kind::Address,
            _ => Kind::Visible,
        }
    }
}

/// A value and the key it was written under.
struct Written<'a> {
    key: &'a str,
    value: &'a str,
}

impl Written<'_> {
    fn wrong<T>(&self, what: impl std::fmt::Display, remedy: impl Into<String>) -> Result<T, Wrong> {
        let key = self.key;
        let message = if names_a_secret(key) {
            format!("the storage option `{key}` {what}")
        } else {
            format!("the storage option `{key}` is `{}`: it {what}", without_userinfo(self.value))
        };
        Err(Wrong { message, remedy: remedy.into() })
    }

    /// Visible ASCII, blanks only within.
    fn visible(&self) -> Result<(), Wrong> {
        if self.value.is_empty() {
            return self.wrong("is empty", "give it a value, or leave it out");
        }
        if let Some(place) = self.value.chars().position(|c| c.is_control()) {
            let (total, place) = (self.value.chars().count(), place + 1);
            let what = format!("has a control character at place {place} of {total}");
            return self.wrong(what, "remove it: a copied line break is a frequent cause");
        }
        if let Some(place) = self.value.chars().position(|c| !c.is_ascii()) {
            let what = format!("has a character that is not ASCII at place {}", place + 1);
            return self.wrong(what, "use letters, digits and signs of ASCII");
        }
        if self.value.trim() != self.value {
            return self.wrong("begins or ends with a blank", "remove the blank");
        }
        Ok(())
    }

    fn address(&self) -> Result<(), Wrong> {
        let url = self.url(&["http", "https"])?;
        if !url.username().is_empty() || url.password().is_some() {
            let remedy = "write the user into `access_key_id` and the password into `secret_access_key`";
            return self.wrong("has a user in it", remedy);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return self.wrong("has a `?` or `#`", "write `http://host:port` or `https://host:port`");
        }
        Ok(())
    }

    fn proxy(&self) -> Result<(), Wrong> {
        self.url(&["http", "https", "socks4", "socks4a", "socks5", "socks5h"]).map(|_| ())
    }

    fn url(&self, schemes: &[&str]) -> Result<Url, Wrong> {
        let example = "write `http://host:port` or `https://host:port`";
        self.visible().map_err(|wrong| {
            let remedy = if self.value.is_empty() {
                "write `http://host:port` or `https://host:port`, or leave it out".to_owned()
            } else {
                wrong.remedy
            };
            Wrong { message: wrong.message, remedy }
        })?;
        if self.value.contains(char::is_whitespace) {
            return self.wrong("has a blank in it", example);
        }
        let Some((scheme, rest)) = self.value.split_once("://") else {
            let shown = without_userinfo(self.value);
            let remedy = format!("write `http://{shown}`, or `https://{shown}` for a server with TLS");
            return self.wrong("has no `http://` before the host", remedy);
        };
        if !schemes.contains(&scheme.to_ascii_lowercase().as_str()) {
            return self.wrong(format!("begins with `{scheme}://`"), example);
        }
        if rest.starts_with('/') {
            return self.wrong("names no host", example);
        }
        // The client reads addresses with another library, which is stricter in places.
        match (Url::parse(self.value), self.value.parse::<http::Uri>()) {
            (Ok(url), Ok(uri)) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(url),
            (Err(error), _) => self.wrong(format!("is not a valid address: {error}"), example),
            (_, Err(error)) => self.wrong(format!("is not a valid address: {error}"), example),
            _ => self.wrong("names no host", example),
        }
    }

    fn region(&self) -> Result<(), Wrong> {
        let host = format!("https://s3.{}.amazonaws.com", self.value);
        let sound = self.is_name() && Url::parse(&host).is_ok() && host.parse::<http::Uri>().is_ok();
        self.visible()?;
        if sound { Ok(()) } else { self.wrong("is not a valid region", "write a region such as `eu-west-1`") }
    }

    fn name(&self) -> Result<(), Wrong> {
        self.visible()?;
        if self.is_name() {
            Ok(())
        } else {
            self.wrong("is not a valid name", "use letters, digits, `.` and `-`")
        }
    }

    fn is_name(&self) -> bool {
        let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        self.value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && outer(self.value.chars().next())
            && outer(self.value.chars().last())
            && !self.value.contains("..")
    }

    fn path(&self) -> Result<(), Wrong> {
        self.visible()?;
        if self.value.starts_with('/') && format!("http://h{}", self.value).parse::<http::Uri>().is_ok() {
            return Ok(());
        }
        self.wrong("is not the path of a URL", "unset it, or write a path such as `/v2/credentials/id`")
    }

    fn word(&self, words: &[&str], remedy: &str) -> Result<(), Wrong> {
        if words.iter().any(|word| word.eq_ignore_ascii_case(self.value)) {
            return Ok(());
        }
        self.wrong("is none of the words that it may be", remedy)
    }

    fn duration(&self) -> Result<(), Wrong> {
        match humantime::parse_duration(self.value) {
            Ok(duration) if DURATION.contains(&duration) => Ok(()),
            Ok(_) => self.wrong("is out of range", "choose from `1ms` to `24h`"),
            Err(_) => {
                let number = !self.value.is_empty() && self.value.bytes().all(|b| b.is_ascii_digit());
                let (what, example) = match number {
                    true => ("has no unit", format!("{}s", self.value)),
                    false => ("is not a valid duration", "30s".to_owned()),
                };
                self.wrong(what, format!("write a number and a unit: `{} = \"{example}\"`", self.key))
            }
        }
    }

    fn number(&self, range: std::ops::RangeInclusive<u32>) -> Result<(), Wrong> {
        match self.value.parse::<u32>() {
            Ok(number) if range.contains(&number) => Ok(()),
            _ => {
                let remedy = format!("write a number from {} to {}", range.start(), range.end());
                self.wrong("is out of range", remedy)
            }
        }
    }

    /// 32 bytes in base64: 43 signs and one `=`.
    fn customer_key(&self) -> Result<(), Wrong> {
        self.visible()?;
        let sign = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
        let body = self.value.strip_suffix('=').unwrap_or(self.value);
        if self.value.len() == 44 && body.len() == 43 && body.chars().all(sign) {
            return Ok(());
        }
        self.wrong("is not a base64 key of 256 bits", "make one with `openssl rand -base64 32`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(name: &str, value: &str) -> (String, String) {
        let wrong = check(name, name, value).unwrap_err();
        (wrong.message, wrong.remedy)
    }

    #[test]
    fn what_people_write_for_an_endpoint_is_refused_with_what_to_write() {
        let cases = [
            ("localhost:9000", "has no `http://` before the host", "write `http://localhost:9000`"),
            ("", "is empty", "write `http://host:port`"),
            ("http://a b:9000", "has a blank in it", "write `http://host:port`"),
            (" http://a:9000", "begins or ends with a blank", "remove the blank"),
            ("http://a:99999", "is not a valid address: invalid port number", "write `http://host:port`"),
            ("http://a:9000\n", "has a control character", "remove it"),
            ("http://", "is not a valid address", "write `http://host:port`"),
            ("http:///x", "names no host", "write `http://host:port`"),
            ("s3://a", "begins with `s3://`", "write `http://host:port`"),
            ("http://u:p@a:9000", "has a user in it", "access_key_id"),
            ("http://a:9000/?x=1", "has a `?` or `#`", "write `http://host:port`"),
        ];
        for (value, what, remedy) in cases {
            let found = wrong("aws_endpoint", value);
            assert!(found.0.contains(what) && found.1.contains(remedy), "{value:?}: {found:?}");
            assert!(!found.0.contains("u:p"), "{found:?}");
        }
        for value in ["http://localhost:9000", "https://s3.example.com/", "http://[::1]:9000", "HTTP://a"] {
            assert_eq!(check("aws_endpoint", "endpoint", value), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_secret_is_refused_by_its_name_and_never_shown() {
        for (name, value) in [
            ("aws_secret_access_key", "hunter2\nx"),
            ("aws_access_key_id", "hunter2 "),
            ("aws_session_token", "hunter2\u{e9}"),
            ("aws_sse_customer_key_base64", "hunter2"),
        ] {
            let (message, remedy) = wrong(name, value);
            assert!(message.contains(name), "{message}");
            assert!(!format!("{message}{remedy}").contains("hunter2"), "{message} {remedy}");
        }
    }

    #[test]
    fn one_final_newline_is_left_out_and_no_more() {
        for (text, left) in [("k\n", "k"), ("k\r\n", "k"), ("k\n\n", "k\n"), ("k ", "k "), ("", "")] {
            assert_eq!(without_final_newline(text), left, "{text:?}");
        }
    }
}
