//! Credentials that come from elsewhere while the process runs: a token's
//! file, the answer of a service of the cloud.
//!
//! It owns the look at them before the client puts them into a request: the
//! client takes for granted that they fit, and a line break in one of them
//! would end the process. What options and variables hold is
//! `config::store_value`'s.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use crate::error::{Error, ErrorKind, Result};

/// A token that goes into an address: with every byte escaped an address still holds it.
const QUERY_BYTES_MAX: u64 = 16 << 10;
const HEADER_BYTES_MAX: u64 = 256 << 10;

/// A provider whose credentials are looked at.
#[derive(Debug)]
pub struct Checked<C> {
    inner: Arc<dyn CredentialProvider<Credential = C>>,
    token: Option<TokenFile>,
    /// The part of a credential that no request can hold.
    fault: fn(&C) -> Option<&'static str>,
}

impl Checked<AwsCredential> {
    pub fn aws(
        inner: Arc<dyn CredentialProvider<Credential = AwsCredential>>,
        token: Option<TokenFile>,
    ) -> Checked<AwsCredential> {
        Checked { inner, token, fault: fault_of_aws }
    }
}

#[cfg(any(feature = "gcs", feature = "azure"))]
impl<C> Checked<C> {
    pub fn of(
        inner: Arc<dyn CredentialProvider<Credential = C>>,
        fault: fn(&C) -> Option<&'static str>,
    ) -> Checked<C> {
        Checked { inner, token: None, fault }
    }
}

#[async_trait]
impl<C: fmt::Debug + Send + Sync + 'static> CredentialProvider for Checked<C> {
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        if let Some(token) = &self.token {
            token.check().map_err(|error| refused(error.message))?;
        }
        let credential = self.inner.get_credential().await?;
        match (self.fault)(&credential) {
            None => Ok(credential),
            Some(part) => Err(refused(format!(
                "{part} that the cloud's service gave has a character that no header holds"
            ))),
        }
    }
}

fn refused(why: String) -> object_store::Error {
    object_store::Error::Unauthenticated { path: "credentials".to_owned(), source: why.into() }
}

fn fault_of_aws(credential: &AwsCredential) -> Option<&'static str> {
    if !fits_a_header(&credential.key_id) {
        return Some("the access key id");
    }
    let token = credential.token.as_deref();
    token.is_some_and(|token| !fits_a_header(token)).then_some("the session token")
}

pub fn fits_a_header(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// A file with a token that is written anew from time to time, and read by the client.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    /// Where the path was written.
    key: &'static str,
    /// The token goes into a header as it is, else into an address, escaped.
    header: bool,
    /// When the file that was last found sound was written.
    seen: Mutex<Option<SystemTime>>,
}

impl TokenFile {
    /// `aws_container_authorization_token_file`
    pub fn of_a_container(path: &str) -> TokenFile {
        TokenFile {
            path: path.into(),
            key: "aws_container_authorization_token_file",
            header: true,
            seen: Mutex::default(),
        }
    }

    /// `aws_web_identity_token_file`
    pub fn of_a_web_identity(path: &str) -> TokenFile {
        TokenFile {
            path: path.into(),
            key: "aws_web_identity_token_file",
            header: false,
            seen: Mutex::default(),
        }
    }

    /// A file that cannot be read is the client's to explain, when it needs it.
    ///
    /// # Errors
    /// `Config` for a token that no request can hold.
    pub fn check(&self) -> Result<()> {
        let Ok(file) = std::fs::metadata(&self.path) else { return Ok(()) };
        let written = file.modified().ok();
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if written.is_some() && *seen == written {
            return Ok(());
        }
        let largest = if self.header { HEADER_BYTES_MAX } else { QUERY_BYTES_MAX };
        if file.is_file() && file.len() > largest {
            return Err(
                self.wrong(&format!("has {} bytes", file.len()), "name the file that holds the token alone")
            );
        }
        let Ok(token) = std::fs::read_to_string(&self.path) else { return Ok(()) };
        if token.trim().is_empty() {
            return Err(self.wrong("is empty", "write the token into it"));
        }
        if self.header && !fits_a_header(&token) {
            let what = match token.trim_end_matches(['\n', '\r']) {
                token if fits_a_header(token) => "ends with a line break",
                _ => "has a character that no header holds",
            };
            return Err(
                self.wrong(what, "write the token alone into it: `printf %s \"$TOKEN\"` ends no line")
            );
        }
        *seen = written;
        Ok(())
    }

    fn wrong(&self, what: &str, remedy: &str) -> Error {
        let path = self.path.display();
        Error::new(ErrorKind::Config, format!("the file `{path}` of `{}` {what}", self.key)).remedy(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Given(AwsCredential);

    #[async_trait]
    impl CredentialProvider for Given {
        type Credential = AwsCredential;

        async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
            let AwsCredential { key_id, secret_key, token } = &self.0;
            Ok(Arc::new(AwsCredential {
                key_id: key_id.clone(),
                secret_key: secret_key.clone(),
                token: token.clone(),
            }))
        }
    }

    #[tokio::test]
    async fn what_the_cloud_answers_is_refused_where_no_header_holds_it() {
        for (key_id, token, refused) in [
            ("k", None, None),
            ("k", Some("t"), None),
            ("k\n", None, Some("the access key id")),
            ("k", Some("t\r\nx: y"), Some("the session token")),
            ("k", Some("hunter2\u{e9}"), Some("the session token")),
        ] {
            let token = token.map(str::to_owned);
            let given = AwsCredential { key_id: key_id.to_owned(), secret_key: "s".to_owned(), token };
            let found = Checked::aws(Arc::new(Given(given)), None).get_credential().await;
            let said = found.map(|_| ()).map_err(|error| error.to_string());
            match refused {
                None => assert_eq!(said, Ok(()), "{key_id:?}"),
                Some(part) => {
                    let said = said.unwrap_err();
                    assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
                }
            }
        }
    }

    #[test]
    fn a_token_file_is_refused_by_name_and_looked_at_again_when_it_is_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let (header, query) = (TokenFile::of_a_container(path), TokenFile::of_a_web_identity(path));
        let mut second = 0;
        let mut write = |text: &str| {
            std::fs::write(path, text).unwrap();
            second += 1;
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            file.as_file().set_modified(at).unwrap();
        };
        let said = |token: &TokenFile| token.check().map_err(|error| error.message);
        write("hunter2");
        assert_eq!((said(&header), said(&query)), (Ok(()), Ok(())));
        write("hunter2\n");
        let refused = said(&header).unwrap_err();
        assert_eq!(
            refused,
            format!("the file `{path}` of `aws_container_authorization_token_file` ends with a line break")
        );
        assert_eq!(said(&query), Ok(()), "an address escapes it");
        write("hun\u{7}ter2");
        assert!(said(&header).unwrap_err().ends_with("has a character that no header holds"));
        write("");
        assert!(said(&query).unwrap_err().ends_with("is empty"));
        write(&"x".repeat(17 << 10));
        assert!(said(&query).unwrap_err().ends_with("has 17408 bytes"));
        write("hunter2");
        assert_eq!((said(&header), said(&query)), (Ok(()), Ok(())));
        assert_eq!(said(&TokenFile::of_a_container("/nowhere/token")), Ok(()));
    }
}
