//! The client of a cloud store: which options count, whose credentials, how
//! long a request may take.
//!
//! It owns how options, environment and AWS profiles become one client. It
//! does not own what is asked of the store, nor which option names exist
//! (`config::options`).
//!
//! | wins | S3 setting |
//! |---|---|
//! | 1 | the table's options, then `[storage.options]` (merged by `config`) |
//! | 2 | the profile that the option `aws_profile` names |
//! | 3 | `AWS_*` of the environment |
//! | 4 | the profile that `AWS_PROFILE` names; the profile `default`, if nothing else has credentials |
//! | 5 | the role of the pod, the task or the machine |
//!
//! The client repeats a request for a few seconds only. Whoever must not fail
//! (a commit, an upload, a deletion) repeats around it, under its own rules.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::profile::{self, Profile, Variable};
use crate::config::{Secret, without_userinfo};
use crate::error::{Error, ErrorKind, Result};

/// The option that names an AWS profile; `object_store` knows nothing of it.
pub const PROFILE_OPTION: &str = "aws_profile";

/// One try of one request, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cloud store by what is asked of it.
pub struct Client {
    pub objects: Arc<dyn ObjectStore>,
    /// Uploads whose parts can be put again.
    pub parts: Arc<dyn MultipartStore>,
}

/// Opens `s3://`, and `gs://` and `az://` where they are compiled in. No request is sent.
pub fn open(url: &Url, options: &BTreeMap<String, Secret>) -> Result<Client> {
    match url.scheme() {
        "s3" | "s3a" => Ok(both(s3(url, options, &|name| std::env::var(name).ok(), std::env::vars_os())?)),
        #[cfg(feature = "gcs")]
        "gs" => gcs(url, options).map(both),
        #[cfg(feature = "azure")]
        "az" | "abfss" => azure(url, options).map(both),
        scheme => {
            Err(Error::new(ErrorKind::Config, format!("location {url}: `{scheme}://` is not supported"))
                .remedy("a location is a path, file:///path or s3://bucket/prefix"))
        }
    }
}

fn both<S: ObjectStore + MultipartStore>(store: S) -> Client {
    let store = Arc::new(store);
    Client { objects: Arc::clone(&store) as _, parts: store }
}

fn s3(
    url: &Url,
    options: &BTreeMap<String, Secret>,
    variable: Variable<'_>,
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<AmazonS3> {
    // What the client refuses it repeats, and a proxy's address may hold a password.
    let bad = |error: &dyn fmt::Display| {
        let text = without_userinfo(&error.to_string());
        Error::new(ErrorKind::Config, format!("location {url}: {text}"))
    };
    let settings = Settings::merge(options, variable, environment)?;
    let mut builder = AmazonS3Builder::new()
        .with_client_options(client_options())
        .with_retry(retry())
        .with_url(url.as_str());
    for (key, value) in settings.0 {
        builder = builder.with_config(key, value);
    }
    builder.build().map_err(|error| bad(&error))
}

/// What S3 is asked with, each setting once.
struct Settings(Vec<(AmazonS3ConfigKey, String)>);

impl Settings {
    fn merge(
        options: &BTreeMap<String, Secret>,
        variable: Variable<'_>,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Settings> {
        use AmazonS3ConfigKey::{
            ContainerCredentialsFullUri, ContainerCredentialsRelativeUri, Endpoint, S3Endpoint,
            SkipSignature, WebIdentityTokenFile,
        };
        let mut settings = Settings(Vec::new());
        for (name, value) in options {
            if let Some(key) = s3_key(name)? {
                settings.set(key, value.reveal());
            }
        }
        let chosen = options.get(PROFILE_OPTION).map(Secret::reveal);
        if let Some(name) = chosen {
            settings.take_profile(
                profile::load(name, variable)?.ok_or_else(|| profile::missing(name, variable))?,
            );
        }
        // What belongs together comes from one place: an endpoint, a set of keys.
        let endpoint = settings.has(Endpoint) || settings.has(S3Endpoint);
        let keys = settings.has_keys() || chosen.is_some();
        for (name, value) in environment {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            let Some(name) = name.starts_with("AWS_").then(|| name.to_ascii_lowercase()) else { continue };
            match name.parse::<AmazonS3ConfigKey>() {
                Ok(Endpoint | S3Endpoint) if endpoint => {}
                Ok(key) if keys && is_credential(key) => {}
                Ok(key) => settings.set(key, value),
                Err(_) => {}
            }
        }
        let others = [
            WebIdentityTokenFile,
            ContainerCredentialsRelativeUri,
            ContainerCredentialsFullUri,
            SkipSignature,
        ];
        if !settings.has_keys() && chosen.is_none() {
            match variable("AWS_PROFILE") {
                Some(name) => {
                    let named = profile::load(&name, variable)?;
                    settings.take_profile(named.ok_or_else(|| profile::missing(&name, variable))?);
                }
                None if others.into_iter().any(|key| settings.has(key)) => {}
                None => {
                    if let Some(profile) = profile::load(profile::DEFAULT, variable)? {
                        settings.take_profile(profile);
                    }
                }
            }
        }
        let endpoint = settings.get(S3Endpoint).or(settings.get(Endpoint));
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            settings.set(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), "true");
        }
        Ok(settings)
    }

    /// The first one to set a key wins.
    fn set(&mut self, key: AmazonS3ConfigKey, value: &str) {
        if !self.has(key) {
            self.0.push((key, value.to_owned()));
        }
    }

    fn get(&self, key: AmazonS3ConfigKey) -> Option<&str> {
        self.0.iter().find(|(one, _)| *one == key).map(|(_, value)| value.as_str())
    }

    fn has(&self, key: AmazonS3ConfigKey) -> bool {
        self.get(key).is_some()
    }

    fn has_keys(&self) -> bool {
        self.has(AmazonS3ConfigKey::AccessKeyId) || self.has(AmazonS3ConfigKey::SecretAccessKey)
    }

    fn take_profile(&mut self, profile: Profile) {
        if !self.has_keys() {
            for (key, value) in profile.credentials {
                self.set(key, &value);
            }
        }
        let more = [
            (AmazonS3ConfigKey::Region, profile.region, AmazonS3ConfigKey::DefaultRegion),
            (AmazonS3ConfigKey::Endpoint, profile.endpoint, AmazonS3ConfigKey::S3Endpoint),
        ];
        for (key, value, instead) in more {
            if let Some(value) = value.filter(|_| !self.has(instead)) {
                self.set(key, &value);
            }
        }
    }
}

fn is_credential(key: AmazonS3ConfigKey) -> bool {
    matches!(
        key,
        AmazonS3ConfigKey::AccessKeyId | AmazonS3ConfigKey::SecretAccessKey | AmazonS3ConfigKey::Token
    )
}

/// The key of an option; none for those that are of another store or of ours.
fn s3_key(name: &str) -> Result<Option<AmazonS3ConfigKey>> {
    let name = name.to_ascii_lowercase();
    if name == PROFILE_OPTION || name.starts_with("google_") || name.starts_with("azure_") {
        return Ok(None);
    }
    name.parse().map(Some).map_err(|_| unknown(&name))
}

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::Config, format!("storage option `{name}` is not known"))
        .remedy("use object_store's keys, such as region, endpoint, access_key_id")
}

#[cfg(feature = "gcs")]
fn gcs(url: &Url, options: &BTreeMap<String, Secret>) -> Result<object_store::gcp::GoogleCloudStorage> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    let mut builder =
        GoogleCloudStorageBuilder::new().with_client_options(client_options()).with_retry(retry());
    for (key, value) in own::<GoogleConfigKey>("google_", options)? {
        builder = builder.with_config(key, value);
    }
    let built = builder.with_url(url.as_str()).build();
    built.map_err(|error| Error::new(ErrorKind::Config, format!("location {url}: {error}")))
}

#[cfg(feature = "azure")]
fn azure(url: &Url, options: &BTreeMap<String, Secret>) -> Result<object_store::azure::MicrosoftAzure> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(client_options()).with_retry(retry());
    for (key, value) in own::<AzureConfigKey>("azure_", options)? {
        builder = builder.with_config(key, value);
    }
    let built = builder.with_url(url.as_str()).build();
    built.map_err(|error| Error::new(ErrorKind::Config, format!("location {url}: {error}")))
}

/// The environment's settings of a store, then the options that are of this store or of every client.
#[cfg(any(feature = "gcs", feature = "azure"))]
fn own<K: std::str::FromStr>(prefix: &str, options: &BTreeMap<String, Secret>) -> Result<Vec<(K, String)>> {
    let mut settings = Vec::new();
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let name = name.to_ascii_lowercase();
        if let Some(key) = name.starts_with(prefix).then(|| name.parse().ok()).flatten() {
            settings.push((key, value.to_owned()));
        }
    }
    for (name, value) in options {
        if name.starts_with(prefix) {
            settings.push((name.parse().map_err(|_| unknown(name))?, value.reveal().to_owned()));
        } else if name.parse::<ClientConfigKey>().is_ok()
            && let Ok(key) = name.parse()
        {
            settings.push((key, value.reveal().to_owned()));
        }
    }
    Ok(settings)
}

fn client_options() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT)
}

/// 429, 5xx, time-outs and cut connections, with jitter.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(8),
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use object_store::signer::Signer;

    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
    }

    fn opened(of: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<AmazonS3> {
        let environment = options(environment);
        let variable = |name: &str| environment.get(name).map(|value| value.reveal().to_owned());
        let all = environment.iter().map(|(name, value)| (name.into(), value.reveal().into()));
        s3(&Url::parse("s3://lake/t").unwrap(), &options(of), &variable, all)
    }

    /// Who signs, and where the request goes.
    async fn signed(store: AmazonS3) -> (String, Option<String>, String) {
        let credential = store.credentials().get_credential().await.unwrap();
        let path = Path::from("t/x");
        let url = store.signed_url("PUT".parse().unwrap(), &path, Duration::from_secs(1)).await.unwrap();
        let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
        (credential.key_id.clone(), credential.token.clone(), place)
    }

    const KEYS: [(&str, &str); 2] = [("aws_access_key_id", "OPT"), ("aws_secret_access_key", "s")];
    const ENVIRONMENT: [(&str, &str); 3] =
        [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "T")];

    fn profiles(directory: &tempfile::TempDir) -> (String, String) {
        let file = directory.path().join("credentials");
        let text = "[default]\naws_access_key_id=DEF\naws_secret_access_key=s\n\
                    [lake]\naws_access_key_id=LAKE\naws_secret_access_key=s\nregion=eu-west-1\n";
        std::fs::write(&file, text).unwrap();
        ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), file.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn options_win_over_a_profile_over_the_environment_over_the_default_profile() {
        let directory = tempfile::tempdir().unwrap();
        let file = profiles(&directory);
        let file = (file.0.as_str(), file.1.as_str());
        let of = |chosen: &[(&str, &str)], environment: &[(&str, &str)]| {
            let environment = [environment, &[file]].concat();
            let opened = opened(chosen, &environment).unwrap();
            async {
                let (key, token, _) = signed(opened).await;
                (key, token)
            }
        };
        let named = ("aws_profile", "lake");
        let with = |key: &str| (key.to_owned(), None);
        assert_eq!(of(&[&KEYS[..], &[named]].concat(), &ENVIRONMENT).await, with("OPT"));
        assert_eq!(of(&KEYS, &ENVIRONMENT).await, with("OPT"), "another's token is not taken along");
        assert_eq!(of(&[named], &ENVIRONMENT).await, with("LAKE"));
        assert_eq!(of(&[], &ENVIRONMENT).await, ("ENV".to_owned(), Some("T".to_owned())));
        assert_eq!(of(&[], &[("AWS_PROFILE", "lake")]).await, with("LAKE"));
        assert_eq!(of(&[], &[]).await, with("DEF"));
    }

    #[tokio::test]
    async fn the_profile_brings_its_region_and_the_address_has_the_style_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = profiles(&directory);
        let environment = [(file.0.as_str(), file.1.as_str()), ("AWS_PROFILE", "lake")];
        let place = |of: &[(&str, &str)]| {
            let opened = opened(of, &environment).unwrap();
            async { signed(opened).await.2 }
        };
        assert_eq!(place(&[]).await, "https://s3.eu-west-1.amazonaws.com/lake/t/x");
        let virtual_hosted = ("aws_virtual_hosted_style_request", "true");
        assert_eq!(place(&[virtual_hosted]).await, "https://lake.s3.eu-west-1.amazonaws.com/t/x");
        let minio = ("aws_endpoint", "http://minio:9000");
        assert_eq!(place(&[minio]).await, "http://minio:9000/lake/t/x");
        let own = ("aws_endpoint", "http://lake.minio:9000");
        assert_eq!(place(&[own, virtual_hosted]).await, "http://lake.minio:9000/t/x");
    }

    #[test]
    fn an_endpoint_of_the_options_is_not_overruled_by_the_environment() {
        let of = options(&[("aws_endpoint", "http://here:1")]);
        let environment = [("AWS_ENDPOINT_URL_S3".into(), "http://there:2".into())];
        let settings = Settings::merge(&of, &|_| None, environment).unwrap();
        assert_eq!(settings.get(AmazonS3ConfigKey::S3Endpoint), None);
        assert_eq!(settings.get(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)), Some("true"));
    }

    #[test]
    fn a_profile_that_is_not_there_is_an_error_that_names_those_that_are() {
        let directory = tempfile::tempdir().unwrap();
        let file = profiles(&directory);
        let error = opened(&[("aws_profile", "laek")], &[(file.0.as_str(), file.1.as_str())]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains("`laek`") && error.message.contains("default, lake"), "{error}");
    }

    #[test]
    fn options_of_the_client_arrive_there() {
        let settings = [("proxy_url", "not a url")];
        let error = opened(&[&KEYS[..], &settings].concat(), &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        let settings = [("timeout", "soon")];
        assert!(opened(&[&KEYS[..], &settings].concat(), &[]).is_err());
    }
}
