//! What of a config is never shown.
//!
//! It owns which keys hold secrets, and the lines of a file without them. It
//! reads text that may be no TOML at all: an error shows the line that is
//! wrong, and a secret may stand in it, or have begun lines before.

use std::ops::Range;

use super::nearest::nearest;

/// Words in a key whose value is not shown on a screen.
const SECRET_WORDS: [&str; 9] = [
    "secret",
    "pass",
    "token",
    "credential",
    "access_key",
    "account_key",
    "customer_key",
    ".pem",
    "oauthbearer.config",
];
/// Keys whose value is not shown even if they are misspelt.
const SECRET_KEYS: [&str; 5] =
    ["password", "key_password", "secret_access_key", "session_token", "access_key_id"];
/// Tables with secrets in them: written as one value, that value may be one.
const SECRET_TABLES: [&str; 3] = ["sasl", "storage", "options"];

/// Whether the value of a key may be a secret, also where the key is misspelt.
pub fn names_a_secret(key: &str) -> bool {
    let key = key.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let last = last_part(&key);
    SECRET_WORDS.iter().any(|word| key.contains(word) || key.replace('-', "_").contains(word))
        || names_a_table(&key)
        || nearest(last, SECRET_KEYS).is_some()
}

/// Whether a key is that of a table with secrets: the keys in it say which of its values they are.
fn names_a_table(key: &str) -> bool {
    SECRET_TABLES.contains(&last_part(key))
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key).trim().trim_matches(['"', '\''])
}

/// A text without what stands before an `@` and holds a colon: `https://***@host`.
pub fn without_userinfo(text: &str) -> String {
    let mut out = text.to_owned();
    for range in userinfos(text).into_iter().rev() {
        out.replace_range(range, "***");
    }
    out
}

/// The file's text up to the end of a line, every secret in it replaced by as many `*`.
pub fn without_secrets(text: &str, end: usize) -> String {
    let text = &text[..text[end..].find('\n').map_or(text.len(), |newline| end + newline)];
    let mut reader = Reader { text, at: 0, open: Vec::new(), hidden: Vec::new() };
    reader.lines();
    let mut hidden = vec![false; text.len()];
    for range in reader.hidden.into_iter().chain(userinfos(text)) {
        hidden[range].fill(true);
    }
    for range in references(text) {
        hidden[range].fill(false);
    }
    let shown = |(at, c): (usize, char)| match c {
        ' ' | '\t' | '\n' | '\r' | '"' | '\'' => c,
        _ if hidden[at] => '*',
        _ => c,
    };
    text.char_indices().map(shown).collect()
}

fn userinfos(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        let before = &text[..at];
        let start = before.rfind(|c: char| c.is_whitespace() || "/\"'`,@".contains(c)).map_or(0, |i| i + 1);
        if before[start..].contains(':') {
            found.push(start..at);
        }
    }
    found
}

/// `${env:NAME}` and `${file:/path}` are no secrets; the default of a variable may be one.
fn references(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("${") {
        let Some(length) = text[start..].find('}') else { break };
        let inner = &text[start..start + length];
        if inner.contains(['\n', '"', '\'']) {
            continue;
        }
        match inner.split_once(":-") {
            Some((name, _)) => {
                found.push(start..start + name.len() + 2);
                found.push(start + length..start + length + 1);
            }
            None => found.push(start..start + length + 1),
        }
    }
    found
}

/// Reads keys and values, whatever else is wrong with them.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The inline tables and arrays around: whether it is an array, and of a key that names a secret.
    open: Vec<(bool, bool)>,
    hidden: Vec<Range<usize>>,
}

impl Reader<'_> {
    fn lines(&mut self) {
        while self.at < self.text.len() {
            match self.open.last() {
                Some(&(true, secret)) => self.value(secret),
                _ => self.key(),
            }
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Up to and with the first of these, or to the end.
    fn skip_past(&mut self, ends: &[char]) -> Option<char> {
        match self.rest().char_indices().find(|(_, c)| ends.contains(c)) {
            Some((offset, end)) => {
                self.at += offset + end.len_utf8();
                Some(end)
            }
            None => {
                self.at = self.text.len();
                None
            }
        }
    }

    /// A key and its value; or a header, a comment, an end of what is open.
    fn key(&mut self) {
        let start = self.at;
        loop {
            match self.skip_past(&['=', '\n', '#', '"', '\'', '}', ',']) {
                Some(quote @ ('"' | '\'')) => {
                    self.skip_past(&[quote, '\n']);
                }
                Some('=') => break,
                Some('#') => return self.comment(false),
                Some('}') => {
                    self.open.pop();
                    return;
                }
                Some(_) | None => return,
            }
        }
        let outer = self.open.iter().any(|(_, secret)| *secret);
        let key = self.text[start..self.at - 1].trim_start_matches(['{', ',']);
        let secret = outer || names_a_secret(key);
        let is_table = names_a_table(key) && self.rest().trim_start_matches([' ', '\t']).starts_with('{');
        self.value(secret && (outer || !is_table));
    }

    fn comment(&mut self, secret: bool) {
        let start = self.at;
        self.skip_past(&['\n']);
        let text = &self.text[start..self.at];
        if secret || names_a_secret(text.split('=').next().unwrap_or(text)) {
            self.hidden.push(start..self.at);
        }
    }

    fn value(&mut self, secret: bool) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        let start = self.at;
        let rest = self.rest();
        let triple = ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(quotes));
        if let Some(quotes) = triple {
            self.at += rest[3..].find(quotes).map_or(rest.len(), |length| length + 6);
        } else {
            match rest.chars().next() {
                Some('"') => self.at += string(rest),
                Some('\'') => {
                    self.at += 1;
                    self.skip_past(&['\'', '\n']);
                }
                Some('{' | '[') => {
                    self.open.push((rest.starts_with('['), secret));
                    self.at += 1;
                    return;
                }
                _ => {}
            }
        }
        // Whatever stands behind it, on this line or before the next value, may belong to it.
        let ends: &[char] = if self.open.is_empty() { &['\n', '#'] } else { &['\n', '#', ',', '}', ']'] };
        let end = self.skip_past(ends);
        if secret {
            self.hidden.push(start..self.at - end.map_or(0, char::len_utf8));
        }
        match end {
            Some('#') => self.comment(secret),
            Some('}' | ']') => {
                self.open.pop();
            }
            _ => {}
        }
    }
}

/// The length of a basic string with its quotes; it ends with its line at the latest.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last line as it is shown.
    fn shown(text: &str) -> String {
        let all = without_secrets(text, text.len());
        assert_eq!(all.chars().count(), text.chars().count(), "columns stay");
        all.rsplit('\n').next().unwrap().to_owned()
    }

    #[test]
    fn a_secret_is_hidden_however_it_is_written() {
        for text in [
            "password = \"hunter2\"",
            "password=hunter2",
            "password = hunter2 hunter2",
            "password = 'hunter2' # hunter2",
            "passwrod = \"hunter2\"",
            "\"sasl.password\" = \"hunter2",
            "sasl.\"password\" = \"hunter2\"",
            "sasl = { username = \"me\", password = \"hunter2\", x = 1 }",
            "sasl = { password = \"hunter2\" x",
            "sasl = \"me:hunter2\"",
            "storage = { secret_access_key = \"hunter2\" }",
            "options = [\"hunter2\", \"hunter2\"]",
            "password = [ \"hunter2\",\n \"hunter2\" ]",
            "password = { a = \"hunter2\", b = { c = \"hunter2\" } }",
            "password = \"\"\"\nx\nhunter2",
            "password = '''\nhunter2\nhunter2''' hunter2",
            "password = \"a\\\"hunter2\"",
            "password = \"${env:PASSWORD:-hunter2}\"",
            "password = \"a${env:PASSWORD}hunter2\"",
            "bogus = 1 # password = \"hunter2\"",
            "# password = hunter2",
            "proxy_url = \"http://me:hunter2@proxy:3128\"",
            "brokers = \"me:hunter2@k:9092\"",
            "\"ssl.key.pem\" = \"hunter2\"",
            "azure_storage_account_key = \"hunter2\"",
            "aws-secret-access-key = \"hunter2\"",
            "x = {}\npassword = \"hunter2\"",
            "x = [1, 2]\npassword = \"hunter2\"",
            "x = [1, 2 # ]\n]\npassword = \"hunter2\"",
        ] {
            assert!(!shown(text).contains("hunter2"), "{text:?}: {:?}", shown(text));
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in [
            "username = \"me\"",
            "location = \"s3://b/x\" # where rows go",
            "password = \"${env:PASSWORD}\"",
            "password = \"${file:/run/secrets/kafka}\"",
            "sasl = { username = \"me\", mechanism = \"plain\" }",
            "password = \"x\"\ntopic = \"orders\"",
            "contact = \"me@example.org\"",
            "schema = \"\"\"\nid BIGINT,\npass_count INT\"\"\"",
        ] {
            assert_eq!(shown(text), text.rsplit('\n').next().unwrap());
        }
        assert_eq!(without_userinfo("a `u:p@h:1` and http://u:p@h/x"), "a `***@h:1` and http://***@h/x");
    }
}
