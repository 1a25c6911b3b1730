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

use crate::config::{Secret, store_value_from_outside, without_userinfo};
use crate::error::{Error, ErrorKind, Result};
use crate::stores::credentials::{Checked, TokenFile};
use crate::stores::profile::{self, Profile, Variable};

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
        "gs" => gcs(url, options, std::env::vars_os()).map(both),
        #[cfg(feature = "azure")]
        "az" | "abfss" => azure(url, options, std::env::vars_os()).map(both),
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
    let fixed = settings.has_keys();
    let token = settings.token_file();
    if let Some(token) = token.as_ref().filter(|_| !fixed) {
        token.check()?;
    }
    let mut builder = AmazonS3Builder::new()
        .with_client_options(client_options())
        .with_retry(retry())
        .with_url(url.as_str());
    for (key, value) in settings.0 {
        builder = builder.with_config(key, value);
    }
    let build = |builder: AmazonS3Builder| builder.build().map_err(|error| bad(&error));
    if fixed {
        return build(builder);
    }
    // Whose credentials they are is the client's to find out: the first one is only asked for that.
    let found = Arc::clone(build(builder.clone())?.credentials());
    build(builder.with_credentials(Arc::new(Checked::aws(found, token))))
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
                name,
                profile::load(name, variable)?.ok_or_else(|| profile::missing(name, variable))?,
            )?;
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
                Ok(key) if settings.has(key) => {}
                Ok(key) => {
                    let source = format!("environment variable {}", name.to_ascii_uppercase());
                    settings.set(key, &store_value_from_outside(&source, key.as_ref(), value)?);
                }
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
                    settings.take_profile(&name, named.ok_or_else(|| profile::missing(&name, variable))?)?;
                }
                None if others.into_iter().any(|key| settings.has(key)) => {}
                None => {
                    if let Some(profile) = profile::load(profile::DEFAULT, variable)? {
                        settings.take_profile(profile::DEFAULT, profile)?;
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

    /// The file that the client reads a token from, where it does.
    fn token_file(&self) -> Option<TokenFile> {
        use AmazonS3ConfigKey::{
            ContainerAuthorizationTokenFile, ContainerCredentialsFullUri, ContainerCredentialsRelativeUri,
            RoleArn, WebIdentityTokenFile,
        };
        if let Some(path) = self.get(WebIdentityTokenFile).filter(|_| self.has(RoleArn)) {
            return Some(TokenFile::of_a_web_identity(path));
        }
        let of_a_container =
            self.has(ContainerCredentialsFullUri) && !self.has(ContainerCredentialsRelativeUri);
        self.get(ContainerAuthorizationTokenFile).filter(|_| of_a_container).map(TokenFile::of_a_container)
    }

    fn take_profile(&mut self, name: &str, profile: Profile) -> Result<()> {
        let source = format!("AWS profile `{name}`");
        let checked =
            |key: AmazonS3ConfigKey, value: &str| store_value_from_outside(&source, key.as_ref(), value);
        if !self.has_keys() {
            for (key, value) in profile.credentials {
                self.set(key, &checked(key, &value)?);
            }
        }
        let more = [
            (AmazonS3ConfigKey::Region, profile.region, AmazonS3ConfigKey::DefaultRegion),
            (AmazonS3ConfigKey::Endpoint, profile.endpoint, AmazonS3ConfigKey::S3Endpoint),
        ];
        for (key, value, instead) in more {
            if let Some(value) = value.filter(|_| !self.has(instead) && !self.has(key)) {
                self.set(key, &checked(key, &value)?);
            }
        }
        Ok(())
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
fn gcs(
    url: &Url,
    options: &BTreeMap<String, Secret>,
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<object_store::gcp::GoogleCloudStorage> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

    use crate::stores::credentials::fits_a_header;
    let mut builder =
        GoogleCloudStorageBuilder::new().with_client_options(client_options()).with_retry(retry());
    for (key, value) in own::<GoogleConfigKey>("google_", options, environment)? {
        builder = builder.with_config(key, value);
    }
    let build = |builder: GoogleCloudStorageBuilder| {
        builder.build().map_err(|error| Error::new(ErrorKind::Config, format!("location {url}: {error}")))
    };
    builder = builder.with_url(url.as_str());
    let found = Arc::clone(build(builder.clone())?.credentials());
    let checked = Checked::of(found, |of| (!fits_a_header(&of.bearer)).then_some("the token"));
    build(builder.with_credentials(Arc::new(checked)))
}

#[cfg(feature = "azure")]
fn azure(
    url: &Url,
    options: &BTreeMap<String, Secret>,
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<object_store::azure::MicrosoftAzure> {
    use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzureBuilder};

    use crate::stores::credentials::fits_a_header;
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(client_options()).with_retry(retry());
    for (key, value) in own::<AzureConfigKey>("azure_", options, environment)? {
        builder = builder.with_config(key, value);
    }
    let build = |builder: MicrosoftAzureBuilder| {
        builder.build().map_err(|error| Error::new(ErrorKind::Config, format!("location {url}: {error}")))
    };
    builder = builder.with_url(url.as_str());
    let found = Arc::clone(build(builder.clone())?.credentials());
    let checked = Checked::of(found, |of| match of {
        AzureCredential::BearerToken(token) => (!fits_a_header(token)).then_some("the token"),
        _ => None,
    });
    build(builder.with_credentials(Arc::new(checked)))
}

/// The environment's settings of a store, then the options that are of this store or of every client.
#[cfg(any(feature = "gcs", feature = "azure"))]
fn own<K: std::str::FromStr + AsRef<str>>(
    prefix: &str,
    options: &BTreeMap<String, Secret>,
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<Vec<(K, String)>> {
    let mut settings = Vec::new();
    for (name, value) in environment {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let name = name.to_ascii_lowercase();
        if let Some(key) = name.starts_with(prefix).then(|| name.parse::<K>().ok()).flatten() {
            let source = format!("environment variable {}", name.to_ascii_uppercase());
            let value = store_value_from_outside(&source, key.as_ref(), value)?;
            settings.push((key, value));
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
    use std::time::SystemTime;

    use object_store::ObjectStoreExt as _;
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

    /// Values that once ended in a panic, and their like.
    const HOSTILE: [&str; 30] = [
        "",
        " ",
        "\n",
        "\r\n",
        "\0",
        "\u{7f}",
        "\u{1b}[2J",
        "x\n",
        "x\ny",
        " x",
        "x ",
        "x\ty",
        "é",
        "\u{2028}",
        "localhost:9000",
        "http://",
        "https://",
        "http://:9000",
        "http://a:99999",
        "http://a b",
        "http://[::1",
        "http://%zz",
        "http://a\\b",
        "//a",
        "://",
        "-1",
        "99999999999999999999",
        "0s",
        "true\n",
        "%",
    ];

    #[tokio::test(start_paused = true)]
    async fn no_value_of_any_option_ends_in_a_panic() {
        for name in EVERY_OPTION {
            for value in HOSTILE {
                let variable = name.strip_prefix("aws_").unwrap_or(name).to_ascii_uppercase();
                let variable = format!("AWS_{variable}");
                let mut settings = vec![("AWS_ALLOW_HTTP", "true"), (variable.as_str(), value)];
                // Keys of its own would hide what other sources of credentials are asked.
                let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
                if !name.contains("credentials") && !name.contains("metadata") {
                    settings.extend(keys.into_iter().filter(|(key, _)| *key != variable));
                }
                if !name.contains("endpoint") {
                    settings.push(("AWS_ENDPOINT_URL", "http://127.0.0.1:1"));
                }
                match opened(&[], &settings) {
                    Err(error) => assert_eq!(error.kind, ErrorKind::Config, "{variable}={value:?}: {error}"),
                    Ok(store) => asked(&store, &variable, value).await,
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_bucket_and_no_region_ends_in_a_panic() {
        let buckets = ["xn--a", "a..b", "-a", "a-", "_a", ".a", "a.", "1.2.3.4", "a_b", "0x1", "xn--a--x-s3"];
        let regions = ["eu-west-1", "xn--a", "a_b", "1.2", "A"];
        for (bucket, region) in buckets.iter().flat_map(|bucket| regions.map(|region| (*bucket, region))) {
            let pairs = [("region".to_owned(), region.to_owned())];
            let Ok((url, checked)) = crate::config::table_address(&format!("s3://{bucket}/t"), &pairs) else {
                continue;
            };
            for style in ["aws_unsigned_payload", "aws_virtual_hosted_style_request", "aws_s3_express"] {
                // Nothing is resolved: a proxy where nobody listens is asked instead.
                let proxy = ("proxy_url", "http://127.0.0.1:1");
                let mut settings = options(&[&KEYS[..], &[proxy, (style, "true")]].concat());
                settings.extend(checked.clone());
                if let Ok(store) = s3(&url, &settings, &|_| None, []) {
                    asked(&store, bucket, region).await;
                }
            }
        }
    }

    #[cfg(any(feature = "gcs", feature = "azure"))]
    #[tokio::test(start_paused = true)]
    async fn no_value_of_the_other_stores_ends_in_a_panic() {
        let names = [
            "google_service_account",
            "google_service_account_key",
            "google_bucket",
            "google_application_credentials",
            "google_base_url",
            "google_skip_signature",
            "azure_storage_account_name",
            "azure_storage_account_key",
            "azure_client_id",
            "azure_client_secret",
            "azure_tenant_id",
            "azure_authority_host",
            "azure_storage_sas_key",
            "azure_storage_token",
            "azure_storage_endpoint",
            "azure_endpoint",
            "azure_use_fabric_endpoint",
            "azure_msi_endpoint",
            "azure_object_id",
            "azure_msi_resource_id",
            "azure_federated_token_file",
            "azure_container_name",
            "azure_use_azure_cli",
            "azure_skip_signature",
            "azure_disable_tagging",
            "azure_fabric_token_service_url",
            "azure_fabric_workload_host",
            "azure_fabric_session_token",
            "azure_fabric_cluster_identifier",
            "azure_storage_use_emulator",
        ];
        let google: &[(&str, &str)] = &[("google_base_url", "http://127.0.0.1:1"), ("allow_http", "true")];
        let account = ("azure_storage_account_name", "a");
        let secret = ("azure_client_secret", "s");
        let azure: &[&[(&str, &str)]] = &[
            &[account, ("azure_storage_account_key", "a2V5"), ("azure_endpoint", "http://127.0.0.1:1")],
            &[
                account,
                ("azure_client_id", "c"),
                secret,
                ("azure_tenant_id", "t"),
                ("azure_authority_host", "http://127.0.0.1:1"),
            ],
            &[
                account,
                ("azure_fabric_token_service_url", "http://127.0.0.1:1"),
                ("azure_fabric_workload_host", "h"),
                ("azure_fabric_session_token", "t"),
                ("azure_fabric_cluster_identifier", "i"),
            ],
            &[account, ("azure_msi_endpoint", "http://127.0.0.1:1")],
        ];
        for (name, value) in names.into_iter().flat_map(|name| HOSTILE.map(|value| (name, value))) {
            let sets = if name.starts_with("google") { std::slice::from_ref(&google) } else { azure };
            for set in sets {
                let mut all: BTreeMap<&str, &str> = set.iter().copied().collect();
                all.insert(name, value);
                let environment =
                    all.iter().map(|(name, value)| (name.to_ascii_uppercase().into(), (*value).into()));
                let mut own = options(&[("allow_http", "true"), ("proxy_url", "http://127.0.0.1:1")]);
                own.insert("timeout".to_owned(), Secret::new("1s"));
                let opened = open_other(name, &own, environment.collect());
                match opened {
                    Err(error) => assert_eq!(error.kind, ErrorKind::Config, "{name}={value:?}: {error}"),
                    Ok(client) => asked(&*client.objects, name, value).await,
                }
            }
        }
    }

    #[cfg(any(feature = "gcs", feature = "azure"))]
    fn open_other(
        name: &str,
        own: &BTreeMap<String, Secret>,
        environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Client> {
        let url = |text: &str| Url::parse(text).unwrap();
        #[cfg(feature = "gcs")]
        if name.starts_with("google") {
            return gcs(&url("gs://lake/t"), own, environment).map(both);
        }
        #[cfg(feature = "azure")]
        if name.starts_with("azure") {
            return azure(&url("az://lake/t"), own, environment).map(both);
        }
        Err(Error::new(ErrorKind::Config, format!("{name} is of a store that is not in this build")))
    }

    #[tokio::test]
    async fn a_token_file_of_a_container_with_a_line_break_is_refused_and_ends_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let environment = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path),
            ("AWS_REGION", "eu"),
        ];
        std::fs::write(path, "hunter2\n").unwrap();
        let error = opened(&[], &environment).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.ends_with("ends with a line break"), "{error}");
        // It was sound at start, and is written anew.
        std::fs::write(path, "hunter2").unwrap();
        let store = opened(&[], &environment).unwrap();
        std::fs::write(path, "hunter2\n").unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        file.as_file().set_modified(later).unwrap();
        let error = store.put(&Path::from("t/x"), "x".into()).await.unwrap_err();
        assert!(error.to_string().contains("ends with a line break"), "{error}");
    }

    /// A request is put together and sent to where nobody listens.
    async fn asked(store: &dyn ObjectStore, variable: &str, value: &str) {
        let path = Path::from("t/x");
        let request = store.put(&path, "x".into());
        let request = std::panic::AssertUnwindSafe(request);
        let request = futures::FutureExt::catch_unwind(request);
        let answer = tokio::time::timeout(Duration::from_secs(60), request).await;
        assert!(!matches!(answer, Ok(Err(_))), "{variable}={value:?} ends in a panic");
    }

    const EVERY_OPTION: [&str; 43] = [
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_region",
        "aws_default_region",
        "aws_endpoint",
        "aws_endpoint_url",
        "aws_endpoint_url_s3",
        "aws_endpoint_url_sts",
        "aws_bucket",
        "aws_imdsv1_fallback",
        "aws_metadata_endpoint",
        "aws_virtual_hosted_style_request",
        "aws_unsigned_payload",
        "aws_checksum_algorithm",
        "aws_container_credentials_relative_uri",
        "aws_container_credentials_full_uri",
        "aws_container_authorization_token_file",
        "aws_role_arn",
        "aws_role_session_name",
        "aws_skip_signature",
        "aws_disable_tagging",
        "aws_request_payer",
        "aws_s3_express",
        "aws_server_side_encryption",
        "aws_sse_kms_key_id",
        "aws_sse_bucket_key_enabled",
        "aws_sse_customer_key_base64",
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "timeout",
        "default_content_type",
        "http1_only",
        "http2_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_max_frame_size",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_url",
        "proxy_excludes",
        "user_agent",
    ];

    #[tokio::test]
    async fn a_newline_behind_a_secret_of_the_environment_is_left_out() {
        let environment = ENVIRONMENT.map(|(name, value)| (name, format!("{value}\n")));
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let (key, token, _) = signed(opened(&[], &environment).unwrap()).await;
        assert_eq!((key.as_str(), token.as_deref()), ("ENV", Some("T")));
        let error = opened(&[], &[("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "hun\nter2")]);
        let message = error.unwrap_err().message;
        assert!(message.starts_with("environment variable AWS_SECRET_ACCESS_KEY: "), "{message}");
        assert!(!message.contains("hun"), "{message}");
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
